//! The account of documents: the way of each through the stages, samples of what was left out, and training batches.

use crate::project::{Ended, Project};
use serde_json::Value;
use std::fmt::Write;

const MANIFEST: &str = "\
pipeline: account
stages:
  rows:
    uses: ingest
    with:
      sources: [{ glob: 'in/rows.jsonl', columns: { text: body, url: link } }]
      errors_max: 5
  text: { uses: clean, needs: rows, with: { profile: docs, pii: [email] } }
  unique: { uses: dedup, needs: text }
  sets: { uses: split, needs: unique, with: { validation: 0.1, test: 0.1 } }
  vocabulary: { uses: tokenizer, needs: { documents: sets.train }, with: { vocabulary_size: 400 } }
  tokens:
    uses: tokenize
    needs: { train: sets.train, validation: sets.validation, test: sets.test, tokenizer: vocabulary }
  mixed: { uses: mix, needs: { sets: { web: tokens } }, with: { repeats_max: 1.5 } }
";

/// 100 rows: row 9, 19, … repeat the one before, row 7, 32, … are too short, and the last is no JSON.
pub(crate) fn rows() -> String {
    const NOUNS: [&str; 8] =
        ["compiler", "garden", "river", "ledger", "teacher", "market", "engine", "letter"];
    const VERBS: [&str; 5] = ["keeps", "follows", "carries", "opens", "measures"];
    let body = |n: usize| {
        let mut text = format!("This is page {n}. Write to user{n}@example.org today.\n\n");
        for sentence in 0..14 {
            let word = |words: &[&'static str], salt: usize| {
                words[(n * 31 + sentence * (salt + 4) + salt * n) % words.len()]
            };
            let (noun, verb, other) = (word(&NOUNS, 1), word(&VERBS, 2), word(&NOUNS, 5));
            let number = n * 7 + sentence * n;
            write!(text, "The {noun} that we have {verb} {number} to the {other} and {n} with it. ").unwrap();
        }
        text
    };
    let row = |n: usize| {
        let body = if n % 25 == 7 { "Too short.".to_owned() } else { body(n - usize::from(n % 10 == 9)) };
        serde_json::json!({ "body": body, "link": format!("https://e.org/page/{n}") }).to_string() + "\n"
    };
    (0..100).map(row).collect::<String>() + "not JSON\n"
}

fn finished() -> Project {
    let project = Project::new(MANIFEST);
    project.write("in/rows.jsonl", &rows());
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("0 of 0 tasks"), "{}", ended.stderr);
    project
}

pub(crate) fn trace(project: &Project, document: &str) -> Value {
    let ended = project.pipe(&["data", "trace", "pipeline.yaml", document, "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The outcome of each stage.
fn outcomes(traced: &Value) -> Vec<(String, String)> {
    let text = |stop: &Value, name: &str| stop[name].as_str().unwrap().to_owned();
    let stages = traced["documents"][0]["stages"].as_array().unwrap();
    stages.iter().map(|stop| (text(stop, "stage"), text(stop, "outcome"))).collect()
}

pub(crate) fn stop<'t>(traced: &'t Value, stage: &str) -> &'t Value {
    let stages = traced["documents"][0]["stages"].as_array().unwrap();
    stages.iter().find(|stop| stop["stage"] == stage).unwrap()
}

/// The lines of a sample as JSON.
fn sample(project: &Project, words: &[&str]) -> Vec<Value> {
    let ended = project.pipe(&[&["data", "sample", "pipeline.yaml"], words, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn error(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    &ended.stderr
}

#[test]
fn a_kept_document_is_followed_from_its_row_to_its_tokens() {
    let project = finished();
    let traced = trace(&project, "https://www.e.org/page/12/");
    let document = &traced["documents"][0];
    assert_eq!(document["id"], "rows/rows.jsonl:13");
    assert_eq!(document["origin"]["row"], 13);
    assert!(document["origin"]["path"].as_str().unwrap().ends_with("in/rows.jsonl"));
    let outcomes = outcomes(&traced);
    assert_eq!(outcomes[0], ("rows".to_owned(), "read".to_owned()));
    assert_eq!(outcomes[1], ("text".to_owned(), "changed".to_owned()));
    assert_eq!(stop(&traced, "text")["change"]["masked"]["email_address"], 1);
    assert_eq!(stop(&traced, "unique")["document"]["facts"]["cluster_size"], "1");
    let set = stop(&traced, "sets")["places"][0]["output"].clone();
    let tokens = &stop(&traced, "tokens")["places"][0];
    assert_eq!(tokens["output"], set);
    assert!(tokens["tokens"]["count"].as_u64().unwrap() > 100);
    // Only shards of the same name are looked into.
    assert!(traced["shards_read"].as_u64().unwrap() <= 12, "{traced}");
    // By its id, and as text.
    let text = project.pipe(&["data", "trace", "pipeline.yaml", "rows/rows.jsonl:13"]);
    assert!(text.stdout.contains("1 masked as email_address"), "{}", text.stdout);
    assert!(text.stdout.contains("rows.jsonl, row 13"), "{}", text.stdout);
}

#[test]
fn a_dropped_document_is_followed_to_the_rule() {
    let project = finished();
    let traced = trace(&project, "rows/rows.jsonl:8");
    assert_eq!(outcomes(&traced).last().unwrap(), &("text".to_owned(), "dropped".to_owned()));
    let reason = &stop(&traced, "text")["reasons"][0];
    let value = |name: &str| reason[name].as_str().unwrap().to_owned();
    assert!(!value("rule").is_empty() && value("value") != value("threshold"), "{reason}");
    // One of the two copies is dropped, and says which one is kept.
    let copies = ["rows/rows.jsonl:9", "rows/rows.jsonl:10"].map(|id| trace(&project, id));
    let dropped = copies.iter().find(|traced| stop(traced, "unique")["outcome"] == "dropped").unwrap();
    let kept = copies.iter().find(|traced| stop(traced, "unique")["outcome"] != "dropped").unwrap();
    assert_eq!(stop(dropped, "unique")["reasons"][0]["kept"], kept["documents"][0]["id"]);
    assert_eq!(stop(kept, "unique")["document"]["facts"]["cluster_size"], "2");
}

#[test]
fn documents_that_are_nowhere_are_explained() {
    let project = finished();
    let call = |document: &str| project.pipe(&["data", "trace", "pipeline.yaml", document]);
    let rejected = call("rows/rows.jsonl:101");
    assert!(
        error(&rejected).contains("`rows` rejected `rows/rows.jsonl`, row 101: json"),
        "{}",
        rejected.stderr
    );
    let similar = call("rows/row.jsonl:55");
    assert!(error(&similar).contains("similar: `rows/rows.jsonl:5"), "{}", similar.stderr);
    let several = call("rows/rows.jsonl:5");
    assert_eq!(several.code, Some(0), "an id that is whole, although others begin with it");
    let several = call("rows/rows.jsonl:");
    assert!(error(&several).contains("is the beginning of several documents"), "{}", several.stderr);
    let missing = call("https://e.org/page/1000");
    assert!(error(&missing).contains("no document has the address"), "{}", missing.stderr);
}

#[test]
fn samples_show_what_each_stage_left_out() {
    let project = finished();
    let short = sample(&project, &["text", "--dropped-by", "any", "-n", "100"]);
    assert_eq!(short.len(), 4);
    let rule = short[0]["reason"]["rule"].as_str().unwrap();
    assert_eq!(sample(&project, &["text", "--dropped-by", rule, "-n", "100"]).len(), 4);
    let copies = sample(&project, &["unique", "--dropped-by", "duplicate", "-n", "100"]);
    assert_eq!(copies.len(), 10);
    for copy in &copies {
        assert!(copy["text"].as_str().unwrap().starts_with("This is page"), "{copy}");
        assert!(copy["reason"]["kept"].is_string());
    }
    let rejected = sample(&project, &["rows", "--dropped-by", "json"]);
    assert_eq!(rejected[0]["id"], "rows/rows.jsonl, row 101");
    let mixed = sample(&project, &["mixed", "-n", "1000"]).len();
    assert!(mixed > 60, "{mixed}");
    // The same number of characters everywhere.
    let shown = project.pipe(&["show", "pipeline.yaml", "text.documents"]).stdout;
    let first = &sample(&project, &["text", "-n", "1000"])[0];
    let (id, characters) = (first["id"].as_str().unwrap(), first["characters"].as_u64().unwrap());
    assert!(shown.contains(&format!("{id}  {characters} characters")), "{shown}");
    let unknown = project.pipe(&["data", "sample", "pipeline.yaml", "text", "--dropped-by", "gopher"]);
    assert!(unknown.stderr.contains(&format!("were left out: {rule} (4)")), "{}", unknown.stderr);
    let none = project.pipe(&["data", "sample", "pipeline.yaml", "vocabulary", "--dropped-by", "any"]);
    assert!(error(&none).contains("`vocabulary` leaves no documents out"), "{}", none.stderr);
}

/// The pipeline with a stage that takes documents out, before `clean`.
fn with_lists() -> Project {
    let wanted = "  wanted: { uses: remove, needs: rows, with: { urls: lists/urls.txt } }\n  text: { uses: clean, needs: wanted,";
    let project = Project::new(&MANIFEST.replace("  text: { uses: clean, needs: rows,", wanted));
    project.write("in/rows.jsonl", &rows());
    project.write("lists/urls.txt", "");
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    project
}

/// Ids of documents and tokens in all objects of the cache, and the texts.
pub(crate) fn in_cache(project: &Project) -> (std::collections::BTreeSet<String>, String) {
    use pipe_data::documents::DocumentReader;
    let (mut ids, mut texts) = (std::collections::BTreeSet::new(), String::new());
    for path in
        crate::project::below(&project.path(".pipe/objects")).into_iter().filter(|path| path.is_file())
    {
        let is_tokens = pipe_data::tokens::each_id(&path, None, |_, id| {
            ids.insert(id.to_owned());
        });
        if is_tokens.is_ok() {
            continue;
        }
        let Ok(reader) = DocumentReader::open(&path) else {
            texts += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
            continue;
        };
        for row in reader.rows().unwrap() {
            let document = row.unwrap().document;
            ids.insert(document.id);
            texts += &document.text;
        }
    }
    (ids, texts)
}

#[test]
fn a_takedown_leaves_nothing_of_the_document_in_the_cache() {
    let project = with_lists();
    let url = "https://e.org/page/12";
    let ended = project.pipe(&[
        "data",
        "remove",
        "pipeline.yaml",
        "--url",
        url,
        "--url",
        "https://e.org/none",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["documents"], &told["shards"]), (&1.into(), &1.into()));
    assert_eq!(told["unmatched"][0], "https://e.org/none");
    assert!(told["stages"].as_array().unwrap().contains(&"tokens".into()), "{told}");
    assert_eq!(project.read("lists/urls.txt"), "https://e.org/page/12\nhttps://e.org/none\n");
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 entry of the lists without a document: `https://e.org/none`"),
        "{}",
        ended.stderr
    );
    let traced = trace(&project, url);
    assert_eq!(outcomes(&traced).last().unwrap(), &("wanted".to_owned(), "dropped".to_owned()));
    assert_eq!(stop(&traced, "wanted")["reasons"][0]["by"], "url");

    // Shards from before still have it.
    let id = "rows/rows.jsonl:13";
    assert!(in_cache(&project).0.contains(id) && in_cache(&project).1.contains("This is page 12."));
    let purge =
        |more: &[&str]| project.pipe(&[&["cache", "purge", "--url-file", "lists/urls.txt"], more].concat());
    let rehearsed = purge(&["--dry-run"]);
    assert_eq!(rehearsed.code, Some(0), "{}", rehearsed.stderr);
    assert!(rehearsed.stdout.contains("account/tokens (tokenize)"), "{}", rehearsed.stdout);
    assert!(rehearsed.stdout.contains("no document: https://e.org/none"), "{}", rehearsed.stdout);
    assert!(in_cache(&project).0.contains(id), "a rehearsal deletes nothing");
    let asked = purge(&[]);
    assert!(error(&asked).contains("without confirmation"), "{}", asked.stderr);
    let purged = purge(&["--yes"]);
    assert_eq!(purged.code, Some(0), "{}", purged.stderr);
    let (ids, texts) = in_cache(&project);
    assert!(!ids.contains(id) && !texts.contains("This is page 12."));
    assert!(ids.contains("rows/rows.jsonl:12"), "other documents stay");

    // All is up to date, and the results are those without the document.
    let outcomes = project.outcomes(&[]);
    assert!(outcomes.values().all(|outcome| outcome == "cached"), "{outcomes:?}");
    assert!(!in_cache(&project).0.contains(id));
    let again = purge(&["--yes"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("nothing is deleted"), "{}", again.stderr);
}

#[test]
fn removals_that_no_stage_can_take_are_refused() {
    let project = finished();
    let none = project.pipe(&["data", "remove", "pipeline.yaml", "--id", "x"]);
    assert!(error(&none).contains("no stage of type `remove`"), "{}", none.stderr);
    let project = with_lists();
    let no_list = project.pipe(&["data", "remove", "pipeline.yaml", "--host", "e.org"]);
    assert!(error(&no_list).contains("the stage `wanted` has no list of hosts"), "{}", no_list.stderr);
    let nothing = project.pipe(&["data", "remove", "pipeline.yaml"]);
    assert!(error(&nothing).contains("no documents are named"), "{}", nothing.stderr);
    let dry =
        project.pipe(&["data", "remove", "pipeline.yaml", "--url", "https://e.org/page/3", "--dry-run"]);
    assert!(dry.stdout.contains("1 document in 1 of"), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(project.read("lists/urls.txt"), "");
}
