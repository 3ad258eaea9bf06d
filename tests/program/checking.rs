//! What `pipe check` finds before anything runs: names of metrics, columns of sources, tokenizer files, templates.

use crate::project::{Ended, Project, wait_for};
use std::{
    fmt::Write,
    fs,
    process::{Command, Stdio},
};

const MANIFEST: &str = "\
pipeline: checks
stages:
  rows:
    uses: ingest
    with: { sources: [{ glob: in/rows.jsonl, columns: { metadata: [topic] } }] }
  text: { uses: clean, needs: rows, with: { profile: web, languages: [en] } }
  unique: { uses: dedup, needs: text }
  sets: { uses: split, needs: unique }
  vocabulary: { uses: tokenizer, needs: { documents: sets.train }, with: { vocabulary_size: 300 } }
  ids: { uses: tokenize, needs: { train: sets.train, tokenizer: vocabulary } }
  labelled: { uses: examples, needs: text, with: { label: '{{ metadata.topic }}' } }
";

fn project() -> Project {
    let project = Project::new(MANIFEST);
    let line = |n: usize| {
        let mut text = String::new();
        for at in 0..12 {
            let word = |salt: usize| {
                ["stone", "river", "metal", "wood", "glass", "sand", "salt"][(n * 3 + at * salt) % 7]
            };
            write!(text, "The {} {} that we have keeps to the {} of {n}. ", word(1), n * 7 + at, word(2))
                .unwrap();
        }
        format!("{}\n", serde_json::json!({ "text": text, "topic": "stone" }))
    };
    project.write("in/rows.jsonl", &(0..20).map(line).collect::<String>());
    project
}

/// The same without a rule that drops a document.
fn project_without_rules() -> Project {
    let project = project();
    project.edit("with: { profile: web, languages: [en] }", "with: { profile: none }");
    project
}

fn check(project: &Project) -> Ended {
    project.pipe(&["check", "pipeline.yaml"])
}

#[test]
fn a_wrong_name_under_expect_is_refused_with_the_right_one() {
    let project = project();
    let names = [
        ("rows", "document", "documents"),
        ("text", "dropped.gopher_word_min", "dropped.gopher_words_min"),
        ("text", "dropped.page_no_contents", "dropped.page_no_content"),
        ("text", "lines_cut.c4_line_javascrip", "lines_cut.c4_line_javascript"),
        ("unique", "removed_nearly", "removed_near"),
        ("sets", "validatio", "validation"),
        ("vocabulary", "merge", "merges"),
        ("ids", "token_train", "tokens_train"),
        ("labelled", "left_outs", "left_out"),
    ];
    for (stage, wrong, right) in names {
        let set = |name: &str| format!("stages.{stage}.expect={{\"{name}\": {{min: 0}}}}");
        project
            .pipe(&["check", "pipeline.yaml", "--set", &set(wrong)])
            .expect(2)
            .says(&[&format!("`{stage}` reports no metric `{wrong}`"), &format!("`{right}`")]);
        project.pipe(&["check", "pipeline.yaml", "--set", &set(right)]).expect(0);
    }
}

#[test]
fn a_wrong_name_under_expect_of_a_matrix_is_refused_once() {
    let project = project();
    project.edit(
        "  unique: { uses: dedup, needs: text }",
        "  unique: { uses: dedup, needs: text, matrix: { t: [0.7, 0.8] }, with: { threshold: '${matrix.t}' }, expect: { removed: { min: 0 } } }",
    );
    let ended = check(&project).expect(2);
    ended.says(&["`unique[t=0.7]` reports no metric `removed`", "1 error"]);
}

#[test]
fn a_count_of_nothing_is_zero_and_not_unknown() {
    let project = project();
    let expect = |bounds: &str| format!("stages.text.expect={{\"dropped.c4_lorem_ipsum\": {bounds}}}");
    project.run(&["text", "--set", &expect("{max: 3}")]).expect(0);
    project.run(&["text", "--set", &expect("{min: 1}")]).expect(1).says(&["dropped.c4_lorem_ipsum"]);
}

#[test]
fn columns_are_looked_for_in_files_of_every_format_and_compression() {
    let lines = "{\"body\": \"a\"}\n{\"body\": \"b\"}\n";
    let array = "[{\"body\": \"a\"}, {\"body\": \"b\"}]";
    let compressed = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), text).unwrap();
        let output = Command::new("gzip").arg("-c").arg(folder.path().join("a")).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let parquet = {
        use pipe_data::documents::{Document, DocumentWriter};
        let mut writer = DocumentWriter::new(Vec::new()).unwrap();
        writer.push(&Document { id: "a".into(), text: "a".into(), ..Document::default() }).unwrap();
        writer.finish().unwrap()
    };
    let files: [(&str, Vec<u8>); 7] = [
        ("rows.jsonl", lines.into()),
        ("rows.jsonl.gz", compressed(lines)),
        ("rows.json", array.into()),
        ("rows.csv", "body,n\na,1\n".into()),
        ("rows.csv.gz", compressed("body,n\na,1\n")),
        ("rows.tsv", "body\tn\na\t1\n".into()),
        ("rows.parquet", parquet),
    ];
    for (name, bytes) in files {
        let project = project();
        fs::write(project.path(&format!("in/{name}")), bytes).unwrap();
        project.edit(
            "in/rows.jsonl, columns: { metadata: [topic] }",
            &format!("in/{name}, columns: {{ text: txt }}"),
        );
        project.edit("metadata.topic", "source");
        check(&project).expect(2).says(&["txt", name, "pipeline.yaml:5"]);
        assert!(!project.path(".pipe").exists(), "{name}: a check writes nothing");
    }
}

#[test]
fn a_tokenizer_file_is_read_before_hours_of_other_stages() {
    let project = project();
    project.edit(
        "needs: { documents: sets.train }, with: { vocabulary_size: 300 }",
        "with: { from: mine/tokenizer.json }",
    );
    check(&project).expect(2).says(&["no such folder", "mine"]);
    project.write("mine/tokenizer_config.json", "{}");
    check(&project).expect(2).says(&["no file matches `tokenizer.json`"]);
    project.write("mine/tokenizer.json", "version https://git-lfs.github.com/spec/v1\n");
    check(&project).expect(2).says(&["tokenizer.json cannot be read", "pipeline.yaml:9"]);
    project.write("mine/tokenizer.json", r#"{"model": {"type": "WordLevel", "vocab": {}}}"#);
    check(&project).expect(2).says(&["a model of type `WordLevel`"]);
    project.edit("from: mine/tokenizer.json", "from: mine");
    check(&project).expect(2).says(&["`mine` is a folder", "`mine/tokenizer.json`"]);

    // One that was trained here is one that can be used, unless its normalizer cannot.
    let other = project_without_rules();
    other.run(&["vocabulary"]).expect(0);
    other.pipe(&["get", "pipeline.yaml", "vocabulary", "trained"]).expect(0);
    let json = other.read("trained/tokenizer.json");
    project.edit("from: mine", "from: mine/tokenizer.json");
    project.write("mine/tokenizer_config.json", &other.read("trained/tokenizer_config.json"));
    project.write("mine/tokenizer.json", &json);
    check(&project).expect(0);
    let normalized = json.replace("\"normalizer\": null", "\"normalizer\": { \"type\": \"Precompiled\" }");
    assert_ne!(normalized, json);
    project.write("mine/tokenizer.json", &normalized);
    check(&project).expect(2).says(&["Precompiled"]);
}

#[test]
fn templates_are_checked_for_names_that_stand_for_nothing() {
    for (template, message) in [
        ("{{ topic }}", "uses an unknown variable, `topic`"),
        ("{{ metadata.topic | uper }}", "uses an unknown filter, `uper`"),
        ("{% if text is numeric %}a{% endif %}", "uses an unknown test, `numeric`"),
        ("{{ metadata.topic", "is not a valid template"),
    ] {
        let project = project();
        project.edit("'{{ metadata.topic }}'", &format!("'{template}'"));
        check(&project).expect(2).says(&[message, "pipeline.yaml:11"]);
    }
}

#[test]
fn metadata_that_no_document_has_is_found_before_anything_runs() {
    let project = project();
    project.edit(
        "unique: { uses: dedup, needs: text }",
        "unique: { uses: dedup, needs: text, with: { score: quality } }",
    );
    check(&project).expect(2).says(&[
        "no document has `quality` in its metadata",
        "`topic`",
        "pipeline.yaml:7",
    ]);
    project.edit("score: quality", "score: language_score");
    check(&project).expect(0);
    project.edit("metadata.topic", "metadata.topics");
    check(&project).expect(2).says(&["no document has `topics` in its metadata", "pipeline.yaml:11"]);
    project.edit("metadata: [topic]", "metadata: ['*']");
    check(&project).expect(0);
}

#[test]
fn sets_that_leave_nothing_for_training_are_refused() {
    let project = project();
    project.edit(
        "uses: split, needs: unique",
        "uses: split, needs: unique, with: { validation: 0.5, test: 0.5 }",
    );
    check(&project).expect(2).says(&["adds up to 1 with `validation`", "pipeline.yaml:8"]);
}

#[test]
fn token_files_are_compared_with_their_index_and_element() {
    let project = project();
    project.edit(
        "ids: { uses: tokenize, needs: { train: sets.train, tokenizer: vocabulary } }",
        "ids: { uses: ingest-tokens, needs: vocabulary, with: { train: in/*.bin } }",
    );
    fs::write(project.path("in/a.bin"), [1, 0, 2]).unwrap();
    check(&project).expect(2).says(&["`a.bin` ends in the middle of an id"]);
    fs::write(project.path("in/a.bin"), [1, 0, 2, 0]).unwrap();
    check(&project).expect(0);
    fs::write(project.path("in/a.idx"), [1]).unwrap();
    check(&project).expect(2).says(&["`a.idx` is not a Megatron index"]);
    fs::remove_file(project.path("in/a.bin")).unwrap();
    check(&project).expect(2).says(&["`a.idx` has no `a.bin` next to it"]);
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let project = project();
    fs::create_dir(project.path("in/v2")).unwrap();
    fs::rename(project.path("in/rows.jsonl"), project.path("in/v2/rows.jsonl")).unwrap();
    std::os::unix::fs::symlink("v2", project.path("in/current")).unwrap();
    project.edit("in/rows.jsonl", "'in/**/*.jsonl'");
    project.run(&["rows"]).expect(0).says(&["documents 20"]);
}

#[test]
fn estimates_grow_with_the_sources_and_say_so() {
    let project = project_without_rules();
    project.run(&["sets"]).expect(0);
    let before = project.plan(&["--force-all", "sets"]);
    let text = project.read("in/rows.jsonl");
    project.write("in/rows.jsonl", &text.repeat(3));
    let plan = project.plan(&["sets"]);
    let estimate = |stage: &str, field: &str| plan[stage]["estimate"][field].clone();
    let bytes = |stage: &str| estimate(stage, "output_bytes").as_u64().unwrap();
    assert_eq!(estimate("rows", "scale")["time"].as_f64(), Some(3.0));
    assert_eq!(bytes("rows"), 3 * before["rows"]["estimate"]["output_bytes"].as_u64().unwrap());
    // Stages whose inputs are yet to be made follow the stages that make them.
    for stage in ["text", "unique", "sets"] {
        let factor = estimate(stage, "scale")["time"].as_f64().unwrap();
        assert!((factor - 3.0).abs() < 0.01, "{stage}: {factor}");
        assert_eq!(estimate(stage, "inputs_expected"), true);
    }
    project
        .pipe(&["plan", "pipeline.yaml", "sets"])
        .expect(0)
        .prints(&["rows: time 3x, disk 3x\n", "text: time 3x, disk 3x, by the expected size of its inputs"]);
}

#[test]
fn the_log_of_a_built_in_stage_can_be_followed() {
    let project = project_without_rules();
    let wait = "stages:\n  wait: { uses: command, with: { run: 'touch there; while ! [ -e go ]; do sleep 0.05; done; echo > $PIPE_OUTPUT_text/a', outputs: { text: files } } }\n";
    project.edit("stages:\n", wait);
    let engine = project.start(&["--jobs", "1"]);
    wait_for(&project.path("there"));
    let mut logs = project.command(&["logs", "-f", "pipeline.yaml", "vocabulary"]);
    let logs = logs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    project.write("go", "");
    let followed = Project::ended_of(logs.wait_with_output().unwrap()).expect(0).stdout;
    drop(engine);
    let whole = project.pipe(&["logs", "pipeline.yaml", "vocabulary"]).expect(0).stdout;
    assert_eq!(followed, whole);
    for told in ["counted", "train"] {
        assert!(whole.contains(told), "{whole}");
    }
}

#[test]
fn pages_without_clean_and_examples_without_labels_are_refused_before_a_run() {
    let project = project();
    project.write("in/pages/a.html", "<p>Some text.</p>");
    project.edit(
        "  text:",
        "  pages: { uses: ingest, with: { sources: [{ glob: 'in/pages/*.html' }] } }\n  words: { uses: tokenizer, needs: pages }\n  text:",
    );
    check(&project)
        .expect(2)
        .says(&["the documents in `needs` are HTML pages", "put a stage `clean` between"]);
    project
        .edit("needs: pages }", "needs: { documents: cleaned } }\n  cleaned: { uses: clean, needs: pages }");
    check(&project).expect(0);
    let labels = "labelled: { uses: examples, needs: text, with: { label: '{{ metadata.topic }}' } }";
    let model = "\n  base: { uses: pretrain, needs: { train: ids, validation: ids, tokenizer: vocabulary }, with: { preset: gpt-tiny } }\n  \
                 sorted: { uses: finetune, needs: { model: base, train: labelled, validation: labelled } }";
    project.edit(labels, &format!("{labels}{model}"));
    check(&project).expect(0);
    project.edit("with: { label: '{{ metadata.topic }}' }", "with: { prompt: '{{ text }}', answer: yes }");
    check(&project).expect(2).says(&["have no labels", "set `label` of their stage `examples`"]);
}
