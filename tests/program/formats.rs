//! Data in other formats than pages: what a swap of the format costs, and what broken input says.

use crate::project::Project;
use pipe_data::documents::{Document, DocumentWriter};
use std::{collections::BTreeMap, fmt::Write, fs};

const MANIFEST: &str = "\
pipeline: formats
stages:
  rows:
    uses: ingest
    with:
      sources: [{ glob: 'in/rows.jsonl', columns: { id: key, text: body, url: link } }]
      shard_by: id
      shard_documents: 16
  text: { uses: clean, needs: rows, with: { profile: docs } }
  unique: { uses: dedup, needs: text }
";

/// Key, body and link of each row; every tenth body is that of the row before it.
fn rows() -> Vec<[String; 3]> {
    const NOUNS: [&str; 13] = [
        "compiler", "garden", "river", "ledger", "teacher", "market", "engine", "letter", "winter",
        "harbour", "village", "question", "machine",
    ];
    const VERBS: [&str; 7] = ["keeps", "follows", "carries", "opens", "measures", "finds", "remembers"];
    let body = |n: usize| {
        let mut text = format!("This is page {n}, and it is \"quoted\".\n\n");
        for sentence in 0..12 {
            let word = |words: &[&'static str], salt: usize| {
                words[(n * 31 + sentence * (salt + 4) + salt) % words.len()]
            };
            let (noun, verb, other) = (word(&NOUNS, 1), word(&VERBS, 2), word(&NOUNS, 5));
            write!(text, "The {noun} that we have {verb} {} to the {other}. ", n * 7 + sentence).unwrap();
        }
        text
    };
    let row = |n: usize| [format!("k{n}"), body(n - usize::from(n % 10 == 9)), format!("https://e.org/{n}")];
    (0..100).map(row).collect()
}

fn jsonl() -> String {
    let line = |[key, body, link]: &[String; 3]| {
        format!("{}\n", serde_json::json!({ "key": key, "body": body, "link": link, "more": [1] }))
    };
    rows().iter().map(line).collect()
}

fn csv() -> String {
    let mut text = "link,body,key\n".to_owned();
    for [key, body, link] in rows() {
        writeln!(text, "{link},\"{}\",{key}", body.replace('"', "\"\"")).unwrap();
    }
    text
}

/// Documents are Parquet files like any other.
fn parquet() -> Vec<u8> {
    let mut writer = DocumentWriter::new(Vec::new()).unwrap();
    for [id, text, url] in rows() {
        writer.push(&Document { id, text, url, ..Document::default() }).unwrap();
    }
    writer.finish().unwrap()
}

fn outcomes(project: &Project) -> BTreeMap<String, String> {
    project.outcomes(&[])
}

fn expected(rows: &str, others: &str) -> BTreeMap<String, String> {
    [("rows", rows), ("text", others), ("unique", others)].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
}

#[test]
fn another_format_of_the_same_rows_leaves_all_below_cached() {
    let project = Project::new(MANIFEST);
    project.write("in/rows.jsonl", &jsonl());
    project.write("in/rows.csv", &csv());
    fs::write(project.path("in/rows.parquet"), parquet()).unwrap();
    assert_eq!(outcomes(&project), expected("ran", "ran"));
    let first = project.outputs();
    let figures = project.lock()["stages"]["text"]["metrics"].clone();
    assert!(figures["documents"].as_f64().is_some_and(|documents| documents > 50.0), "{figures}");

    project.edit(
        "in/rows.jsonl', columns: { id: key, text: body, url: link }",
        "in/rows.parquet', columns: { id: id, text: text, url: url }",
    );
    assert_eq!(outcomes(&project), expected("ran", "cached"));
    assert_eq!(project.outputs(), first);

    project.edit(
        "in/rows.parquet', columns: { id: id, text: text, url: url }",
        "in/rows.csv', columns: { id: key, text: body, url: link }",
    );
    assert_eq!(outcomes(&project), expected("ran", "cached"));
    assert_eq!(project.outputs(), first);
    project.assert_clean();
}

#[test]
fn broken_rows_fail_beyond_what_is_allowed_and_are_listed() {
    let project = Project::new(MANIFEST);
    project.write("in/rows.jsonl", &format!("{}{{\"key\": \"x\"}}\nnot JSON\n", jsonl()));
    project.run(&["rows"]).expect(1).says(&[
        "2 of 102 rows could not be read, but `errors_max` is 0",
        "`rows/rows.jsonl, row 101`: it has no text in the column `body`",
        "`rows/rows.jsonl, row 102`: it is not a JSON object",
        "errors_max",
    ]);
    project.edit("shard_documents: 16", "shard_documents: 16\n      errors_max: 2");
    project.run(&["rows"]).expect(0);
    project.pipe(&["get", "pipeline.yaml", "rows.rejected", "rejected"]).expect(0);
    let files = fs::read_dir(project.path("rejected/rows")).unwrap().map(|file| file.unwrap().path());
    let rejected: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(rejected.contains(r#"{"id":"rows/rows.jsonl","row":102,"reason":"json""#), "{rejected}");
}

#[test]
fn settings_of_another_format_are_told_at_their_place() {
    let project = Project::new(&MANIFEST.replace("rows.jsonl", "*.html"));
    project.write("in/a.html", "<p>A");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&[
        "columns",
        "is for files of records",
        "set `format`",
    ]);
}

#[test]
fn a_page_that_is_not_cleaned_yet_is_shown() {
    let project = Project::new(
        "pipeline: p\nstages:\n  pages: { uses: ingest, with: { sources: [{ glob: 'in/*.html', name: s }] } }\n",
    );
    project.write("in/a.html", "<title>T</title>\n<p>Caf\u{e9} \u{1f980}\n");
    project.run(&[]).expect(0);
    project.pipe(&["show", "pipeline.yaml", "pages"]).expect(0).prints(&[
        "1 document in 1 shard",
        "characters of HTML",
        "<p>Caf\u{e9} \u{1f980}",
    ]);
}

#[test]
fn a_tokenizer_is_trained_or_taken_and_check_says_so() {
    let project = Project::new("pipeline: p\nstages:\n  vocabulary: { uses: tokenizer, with: {} }\n");
    let check = |errors: &[&str]| {
        project.pipe(&["check", "pipeline.yaml"]).expect(2).says(errors);
    };
    check(&["`from`: neither this nor the input `documents` is given", "add `documents` to `needs`"]);
    project.edit("with: {}", "with: { from: t.json, vocabulary_size: 4096, pattern: gpt2 }");
    check(&["`vocabulary_size`: has no effect beside `from`", "`pattern`: has no effect"]);
    // A stage that does not exist is the only error; what may follow from it is not reported.
    project.edit("with: { from: t.json, vocabulary_size: 4096, pattern: gpt2 }", "needs: pages");
    let told = project.pipe(&["check", "pipeline.yaml"]).expect(2);
    assert!(told.stderr.contains("`pages`") && !told.stderr.contains("`from`"), "{}", told.stderr);
}

#[test]
fn documents_that_a_rule_dropped_are_sampled_with_value_and_threshold() {
    let project = Project::new(MANIFEST);
    let same = "The same line again.\n".repeat(20);
    let line = |n: usize| {
        let body = if n < 25 { &*same } else { "Too short." };
        format!("{}\n", serde_json::json!({ "key": format!("k{n}"), "body": body, "link": "" }))
    };
    project.write("in/rows.jsonl", &(0..30).map(line).collect::<String>());
    project.run(&["text"]).expect(0);
    let sample = |rule: &str, more: &[&str]| {
        let words = ["data", "sample", "pipeline.yaml", "text", "--dropped-by", rule];
        project.pipe(&[&words, more].concat()).expect(0)
    };
    let told = sample("gopher_duplicate_lines", &["-n", "20"]);
    let heads = told.stdout.lines().filter(|line| line.contains("by gopher_duplicate_lines: "));
    let heads: Vec<&str> = heads.collect();
    assert!(heads.len() == 20 && heads.iter().all(|line| line.contains(" (threshold ")), "{}", told.stdout);
    let told = told.says(&["20 of 25 documents left out by `gopher_duplicate_lines`"]);
    assert_eq!(sample("gopher_duplicate_lines", &["-n", "20"]).stdout, told.stdout);
    sample("any", &["-n", "1"]).says(&["1 of 30 documents left out for any reason"]);
    sample("no_rule", &[]).says(&["0 of 0", "gopher_duplicate_lines (25)"]);

    let page = project.path("stats.html");
    let words = ["data", "stats", "pipeline.yaml", "text", "--dropped", "--html"];
    let stats =
        |more: &[&str]| project.pipe(&[&words[..], &[page.to_str().unwrap()], more].concat()).expect(0);
    let told = stats(&[]);
    assert!(told.stdout.starts_with("30 documents"), "{}", told.stdout);
    assert!(
        told.stdout.lines().any(|line| line.starts_with("gopher_duplicate_lines") && line.contains("25"))
    );
    let shown = stats(&["--json"]).json();
    assert_eq!((&shown["total"]["documents"], &shown["rules"][0]["documents"]), (&30.into(), &25.into()));
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("gopher_duplicate_lines"), "{html}");
}

#[test]
fn documents_are_counted_by_what_they_are() {
    let project = Project::new(MANIFEST);
    project.write("in/rows.jsonl", &jsonl());
    project.run(&[]).expect(0);
    let stats = |stage: &str| {
        project.pipe(&["data", "stats", "pipeline.yaml", stage, "--hosts", "--json"]).expect(0).json()
    };
    let (before, after) = (stats("text"), stats("unique"));
    let rows = |stats: &serde_json::Value, by: &str| {
        let groups = stats["groups"].as_array().unwrap();
        groups.iter().find(|group| group["by"] == by).unwrap()["rows"].as_array().unwrap().clone()
    };
    assert_eq!(before["total"]["documents"], 100);
    assert_eq!((rows(&before, "source").len(), &rows(&before, "source")[0]["value"]), (1, &"rows".into()));
    assert_eq!(
        (&rows(&before, "host")[0]["value"], &rows(&before, "host")[0]["documents"]),
        (&"e.org".into(), &100.into())
    );
    let by_length: u64 =
        rows(&before, "characters").iter().map(|row| row["documents"].as_u64().unwrap()).sum();
    assert_eq!(by_length, 100);
    // Every tenth document was a copy of the one before it.
    assert_eq!((&after["total"]["documents"], &after["clusters"][0]["size"]), (&90.into(), &2.into()));
    let told = project.pipe(&["data", "stats", "pipeline.yaml", "unique"]).expect(0).stdout;
    assert!(told.starts_with("90 documents") && told.contains("cluster of"), "{told}");
}

#[test]
fn chats_without_text_become_examples_and_stages_that_read_text_refuse_them() {
    let project = Project::new(
        "pipeline: p
stages:
  chats:
    uses: ingest
    with: { sources: [{ glob: chats.jsonl, columns: { metadata: [messages] } }] }
  pairs:
    uses: examples
    needs: chats
    with: { prompt: '{{ metadata.messages[0].content }}', answer: '{{ metadata.messages[-1].content }}' }
  cleaned: { uses: clean, needs: pairs, with: { profile: none } }
",
    );
    let chat = |n: usize| {
        let message = |role: &str, text: &str| serde_json::json!({ "role": role, "content": text });
        let messages = [message("user", &format!("Question {n}?")), message("assistant", "Answer.")];
        format!("{}\n", serde_json::json!({ "messages": messages }))
    };
    project.write("chats.jsonl", &(0..5).map(chat).collect::<String>());
    project
        .pipe(&["check", "pipeline.yaml"])
        .expect(2)
        .says(&["it has no text in the column `text`", "columns: { text: null, metadata: [messages] }"]);
    project.edit("columns: { metadata", "columns: { text: null, metadata");
    project.run(&[]).expect(0);
    let made = project.lock()["stages"]["cleaned"]["metrics"]["documents"].as_f64();
    assert_eq!(made, Some(5.0));
    project.edit("needs: pairs, with", "needs: chats, with");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&[
        "the documents in `needs` have no text, since `columns.text` of their `ingest` is null",
        "with a stage `examples`",
    ]);
}

#[test]
fn a_stage_that_drops_everything_warns_with_the_rule() {
    let project = Project::new(MANIFEST);
    project.write("in/rows.jsonl", "{\"key\": \"a\", \"body\": \"Too short.\", \"link\": \"\"}\n");
    project.run(&["text"]).expect(0).says(&[
        "text: warning: no documents are left; main reason: dropped by `characters_min`, see the output \
         `dropped` (1 of 1)",
    ]);
}
