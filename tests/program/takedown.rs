//! A takedown with trained models: from the page in the training batches to the card of the model without it.

use crate::account::{in_cache, rows, stop, trace};
use crate::project::{Ended, Project};
use pipe_stage::Digest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const MANIFEST: &str = "\
pipeline: takedown
stages:
  rows:
    uses: ingest
    with:
      sources: [{ glob: 'in/rows.jsonl', columns: { text: body, url: link } }]
      errors_max: 5
  wanted: { uses: remove, needs: rows, with: { urls: lists/urls.txt } }
  text: { uses: clean, needs: wanted, with: { profile: docs, pii: [email] } }
  unique: { uses: dedup, needs: text }
  sets: { uses: split, needs: unique, with: { validation: 0.1, test: 0.1 } }
  vocabulary: { uses: tokenizer, needs: { documents: sets.train }, with: { vocabulary_size: 400 } }
  tokens:
    uses: tokenize
    needs: { train: sets.train, validation: sets.validation, test: sets.test, tokenizer: vocabulary }
  base:
    uses: pretrain
    needs: { train: tokens.train, validation: tokens.validation, tokenizer: vocabulary }
    with:
      preset: gpt-tiny
      model: { context_length: 64 }
      steps: 60
      batch_size: 8
      warmup_steps: 2
      validation: { eval_interval: 0 }
  classifier:
    uses: finetune
    needs: { model: base, train: sets.train, validation: sets.validation }
    with:
      label: '^/([^/]+)/'
      min_documents_per_label: 2
      max_length: 32
      steps: 12
      batch_size: 8
      warmup_steps: 1
      validation: { eval_interval: 0 }
  export:
    uses: export
    needs: { model: base, documents: { train: sets.train }, removals: wanted.report }
    with: { name: taken down }
";

const URL: &str = "https://e.org/page/12";
const ID: &str = "rows/rows.jsonl:13";
/// In the text of the page, and in no other.
const TEXT: &str = "This is page 12.";

/// The pipeline after a run without entries on the list. Every third page has an address of another label.
fn trained() -> Project {
    let project = Project::new(MANIFEST);
    let labelled = |line: &str| match line.contains("/page/") && line.len().is_multiple_of(3) {
        true => line.replace("/page/", "/note/"),
        false => line.to_owned(),
    };
    let text: String = rows().lines().map(|line| labelled(line) + "\n").collect();
    let text = text.replace("e.org/note/12\"", "e.org/page/12\"");
    project.write("in/rows.jsonl", &text);
    project.write("lists/urls.txt", "");
    ok(&project.run(&[]));
    project
}

fn ok(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

fn json(project: &Project, words: &[&str]) -> Value {
    let ended = project.pipe(words);
    ok(&ended);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn batch(project: &Project, stage: &str, step: u64) -> Value {
    json(project, &["data", "batch", "pipeline.yaml", stage, "--step", &step.to_string(), "--json"])
}

fn ids(batch: &Value) -> BTreeSet<&str> {
    let rows = batch["rows"].as_array().unwrap();
    let documents = rows.iter().flat_map(|row| row["documents"].as_array().unwrap());
    documents.map(|document| document["id"].as_str().unwrap()).collect()
}

/// Keys of the models that a purge names, by stage.
fn models(told: &Value, field: &str) -> BTreeSet<(String, String)> {
    let of = |model: &Value| {
        let name = model["names"][0].as_str().unwrap().to_owned();
        (name, model["key"].as_str().unwrap().to_owned())
    };
    told[field].as_array().unwrap().iter().map(of).collect()
}

fn keys(project: &Project) -> BTreeSet<(String, String)> {
    let lock: Value = serde_json::from_str(&project.read("pipeline.lock")).unwrap();
    let key = |stage: &str| lock["stages"][stage]["key"].as_str().unwrap().to_owned();
    ["base", "classifier", "export"].map(|stage| (format!("takedown/{stage}"), key(stage))).into()
}

fn card(project: &Project) -> String {
    let folder = project.path("model");
    fs::remove_dir_all(&folder).ok();
    ok(&project.pipe(&["get", "pipeline.yaml", "export", "model"]));
    project.read("model/README.md")
}

fn purge(project: &Project, more: &[&str]) -> Ended {
    project.pipe(&[&["cache", "purge", "--url-file", "lists/urls.txt"], more].concat())
}

#[test]
fn a_page_is_taken_down_from_the_batches_to_the_card() {
    let project = trained();
    // Which steps saw it: what `trace` says is what `batch` shows.
    let traced = trace(&project, URL);
    for (stage, steps_max) in [("base", 60), ("classifier", 12)] {
        let training = &stop(&traced, stage)["training"];
        let steps: Vec<u64> =
            training["steps"].as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
        assert!(!steps.is_empty() && training["steps_count"] == steps.len(), "{stage}: {training}");
        for step in 1..=steps_max {
            let batch = batch(&project, stage, step);
            assert_eq!(ids(&batch).contains(ID), steps.contains(&step), "{stage}, step {step}: {batch}");
        }
    }
    let seen =
        batch(&project, "classifier", stop(&traced, "classifier")["training"]["steps"][0].as_u64().unwrap());
    let row = seen["rows"].as_array().unwrap().iter().find(|row| row["documents"][0]["id"] == ID).unwrap();
    assert_eq!((&row["label"], &row["tokens"]), (&"page".into(), &32.into()));
    let text = row["documents"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(TEXT), "{text}");
    let before = keys(&project);
    assert!(!card(&project).contains("| urls.txt | url | 1"));

    project.write("request.txt", URL);
    let told = json(&project, &["data", "remove", "pipeline.yaml", "--url-file", "request.txt", "--json"]);
    assert_eq!((&told["documents"], &told["shards"]), (&1.into(), &1.into()));
    assert_eq!(told["models"], serde_json::json!(["base", "classifier", "export"]));
    let plan = project.plan(&[]);
    assert_eq!(plan["wanted"]["plan"], "run", "{}", plan["wanted"]);
    ok(&project.run(&[]));

    // The card names the list by its digest, and not what is on it.
    let card = card(&project);
    let digest = Digest::of(&fs::read(project.path("lists/urls.txt")).unwrap());
    assert!(card.contains(&format!("| urls.txt | url | 1 | 1 | `{digest}` |")), "{card}");
    assert!(!card.contains("e.org"), "{card}");

    let rehearsed: Value = serde_json::from_str(&purge(&project, &["--dry-run", "--json"]).stdout).unwrap();
    assert_eq!(models(&rehearsed, "models"), before, "only those that saw the page");
    assert_eq!(rehearsed["models_unknown"], serde_json::json!([]));
    ok(&purge(&project, &["--yes"]));
    let (names, texts) = in_cache(&project);
    assert!(!names.contains(ID) && !texts.contains(TEXT));
    ok(&project.pipe(&["cache", "verify"]));
    let outcomes = project.outcomes(&[]);
    assert!(outcomes.values().all(|outcome| outcome == "cached"), "{outcomes:?}");
    fs::remove_dir_all(project.path("model")).unwrap();
    ok(&project.pipe(&["get", "pipeline.yaml", "export", "model"]));
    assert_eq!(project.read("model/README.md"), card, "the model without the page is still there");

    // Without the documents, nobody knows what the models of the list were made of; those that are left were not.
    let again: Value = serde_json::from_str(&purge(&project, &["--dry-run", "--json"]).stdout).unwrap();
    assert_eq!((&again["with_documents"], &again["models_unknown"]), (&0.into(), &serde_json::json!([])));
}

#[test]
fn a_purge_that_is_killed_is_finished_by_the_next() {
    let project = trained();
    project.write("lists/urls.txt", URL);
    ok(&project.run(&[]));
    let listed = project.path(".pipe/work/purge.json");
    for wait in [0, 1, 2, 4] {
        let mut child = project
            .command(&["cache", "purge", "--url-file", "lists/urls.txt", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !listed.exists() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        ok(&project.pipe(&["cache", "verify"]));
    }
    let finished = purge(&project, &["--yes"]);
    ok(&finished);
    assert!(!listed.exists(), "{}", finished.stderr);
    let (names, texts) = in_cache(&project);
    assert!(!names.contains(ID) && !texts.contains(TEXT));
    let left = crate::project::below(&project.path(".pipe/work/tmp"));
    assert!(left.iter().all(|path| path.is_dir()), "{left:?}");
    assert!(project.outcomes(&[]).values().all(|outcome| outcome == "cached"));
}

#[test]
fn a_purge_waits_for_no_one() {
    let project = trained();
    project.write("lists/urls.txt", URL);
    // A run of a slow command is active.
    project.write(
        "slow.yaml",
        "pipeline: slow\nstages:\n  slow: { uses: command, with: { run: 'sleep 60; touch $PIPE_OUTPUT_out/done', outputs: { out: files } } }\n",
    );
    let mut run = project.command(&["run", "slow.yaml"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let runs = project.path(".pipe/runs");
    crate::project::wait_until(&|| "it runs".to_owned(), || {
        crate::project::below(&runs).iter().any(|path| path.ends_with("slow.spec.json"))
    });
    let refused = purge(&project, &["--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("is active in this cache"), "{}", refused.stderr);
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    run.wait().unwrap();
    assert!(in_cache(&project).0.contains(ID));

    // Two at once: one of them does it, and the other says so.
    let spawn = || -> Command {
        let mut command = project.command(&["cache", "purge", "--url-file", "lists/urls.txt", "--yes"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let (mut one, mut two) = (spawn(), spawn());
    let (one, two) = (one.spawn().unwrap(), two.spawn().unwrap());
    let ended = [one.wait_with_output().unwrap(), two.wait_with_output().unwrap()];
    let texts = ended.each_ref().map(|ended| String::from_utf8_lossy(&ended.stderr).into_owned());
    assert!(ended.iter().any(|ended| ended.status.success()), "{texts:?}");
    for (ended, text) in ended.iter().zip(&texts) {
        let is_fine = ended.status.success()
            && (text.contains("not deleted: source files") || text.contains("nothing is deleted"));
        assert!(is_fine || text.contains("is already deleting from this cache"), "{texts:?}");
    }
    assert!(!in_cache(&project).0.contains(ID));
    ok(&project.pipe(&["cache", "verify"]));
}
