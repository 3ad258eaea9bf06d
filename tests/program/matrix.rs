//! Stages that a matrix stands for, stages that keep what they have, figures that are expected, hours that cost.

use crate::project::Project;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A corpus, six models of it, a score for each, and one stage that takes all scores.
const SWEEP: &str = "\
pipeline: sweep
stages:
  corpus:
    uses: command
    with: { run: 'cp in/corpus.txt $PIPE_OUTPUT_text/a.txt', outputs: { text: files } }
  base:
    uses: command
    needs: { text: corpus }
    matrix: { lr: [1e-3, 3e-4, 1e-4], seed: [1, 2] }
    with:
      run: |
        cat $PIPE_INPUT_text/a.txt > $PIPE_OUTPUT_model/model.txt
        echo ${matrix.lr} ${matrix.seed} >> $PIPE_OUTPUT_model/model.txt
      outputs: { model: files }
  scores:
    uses: command
    needs: { model: base }
    with:
      run: |
        lr=$(tail -n 1 $PIPE_INPUT_model/model.txt | cut -d ' ' -f 1)
        seed=$(tail -n 1 $PIPE_INPUT_model/model.txt | cut -d ' ' -f 2)
        loss=$(awk \"BEGIN { print 2 + $lr * 1000 + $seed / 10 }\")
        echo '{\"event\": \"metric\", \"name\": \"loss\", \"value\": '$loss', \"better\": \"lower\"}' >> $PIPE_EVENTS
        echo $loss > $PIPE_OUTPUT_score/score.txt
      outputs: { score: files }
  all:
    uses: command
    needs: { scores: [scores] }
    with: { run: 'ls $PIPE_INPUT_scores > $PIPE_OUTPUT_list/list.txt', outputs: { list: files } }
";

fn sweep() -> Project {
    let project = Project::new(SWEEP);
    project.write("in/corpus.txt", "some words\n");
    project
}

/// How many stages ended in each way, by entry of the manifest.
fn counted(outcomes: &BTreeMap<String, String>) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for (stage, outcome) in outcomes {
        let base = stage.split('[').next().unwrap_or_default();
        *counts.entry((base.to_owned(), outcome.clone())).or_default() += 1;
    }
    counts
}

fn counts<'a>(all: impl IntoIterator<Item = (&'a str, &'a str, usize)>) -> BTreeMap<(String, String), usize> {
    all.into_iter().map(|(base, outcome, count)| ((base.to_owned(), outcome.to_owned()), count)).collect()
}

#[test]
fn history_names_metrics_of_a_matrix_with_several_axes() {
    let project = sweep();
    project.run(&[]).expect(0);
    let columns = |metric: &str| {
        let told = project.pipe(&["history", "pipeline.yaml", "--json", "--metric", metric]).expect(0).json();
        told["runs"][0]["values"].as_object().unwrap().clone()
    };
    let named = columns("scores[lr=1e-3,seed=2].loss");
    assert_eq!(named.len(), 1);
    assert_eq!(named["scores[lr=1e-3,seed=2].loss"], 3.2);
    assert_eq!(columns("scores[lr=1e-3,seed=2].loss,scores[lr=1e-4,seed=1].loss").len(), 2);
    assert_eq!((columns("scores[seed=2].loss").len(), columns("scores.loss").len()), (3, 6));
    let wrong = ["history", "pipeline.yaml", "--metric", "scores[lr=1,seed=2].loss"];
    project
        .pipe(&wrong)
        .expect(2)
        .says(&["metric `scores[lr=1,seed=2].loss`", "stages that report it: scores[lr=1e-3,seed=1], "]);
}

#[test]
fn a_matrix_runs_what_it_shares_once_and_nothing_again() {
    let project = sweep();
    let first = project.run(&[]).expect(0);
    first.says(&["scores: mean ± standard deviation over 2 seeds", "lr", "loss", "1e-3", "3.1500 ± 0.0707"]);
    let again = project.outcomes(&[]);
    assert_eq!(
        counted(&again),
        counts([
            ("corpus", "cached", 1),
            ("base", "cached", 6),
            ("scores", "cached", 6),
            ("all", "cached", 1)
        ])
    );
    project.pipe(&["get", "pipeline.yaml", "all", "list"]).expect(0);
    let listed = project.read("list/list.txt");
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.contains("lr=3e-4,seed=2"), "{listed}");
    project.assert_clean();
}

#[test]
fn one_more_value_runs_its_own_stages_alone() {
    let project = sweep();
    project.run(&[]).expect(0);
    project.edit("seed: [1, 2]", "seed: [1, 2, 3]");
    assert_eq!(
        counted(&project.outcomes(&[])),
        counts([
            ("corpus", "cached", 1),
            ("base", "cached", 6),
            ("base", "ran", 3),
            ("scores", "cached", 6),
            ("scores", "ran", 3),
            ("all", "ran", 1)
        ])
    );
}

#[test]
fn a_stage_of_a_matrix_is_a_target_and_so_are_all_of_them() {
    let project = sweep();
    let ran = project.outcomes(&["scores[lr=3e-4,seed=2]"]);
    assert_eq!(counted(&ran), counts([("corpus", "ran", 1), ("base", "ran", 1), ("scores", "ran", 1)]));
    let ran = project.outcomes(&["scores"]);
    assert_eq!(
        counted(&ran),
        counts([
            ("corpus", "cached", 1),
            ("base", "cached", 1),
            ("base", "ran", 5),
            ("scores", "cached", 1),
            ("scores", "ran", 5)
        ])
    );
    project.pipe(&["run", "pipeline.yaml", "scores[lr=2]"]).expect(2).says(&["lr=2", "1e-3"]);
}

#[test]
fn the_stages_of_a_matrix_are_shown_side_by_side() {
    let project = sweep();
    project.run(&[]).expect(0);
    let shown = project.pipe(&["show", "pipeline.yaml", "scores", "--json"]).expect(0).json();
    let rows = shown["comparison"]["rows"].as_array().unwrap();
    let means: Vec<f64> = rows.iter().map(|row| row["metrics"][0]["mean"].as_f64().unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["stages"].clone()).collect::<Vec<_>>(), [2, 2, 2]);
    for (mean, expected) in means.iter().zip([3.15, 2.45, 2.25]) {
        assert!((mean - expected).abs() < 1e-9, "{means:?}");
    }
    project.pipe(&["why", "pipeline.yaml", "base[lr=1e-3,seed=1]"]).expect(0).prints(&["is up to date"]);
}

/// A tokenizer that is kept, and what depends on it.
const KEPT: &str = "\
pipeline: kept
stages:
  corpus:
    uses: command
    with: { run: 'cp in/corpus.txt $PIPE_OUTPUT_text/a.txt', outputs: { text: files } }
  vocabulary:
    uses: command
    needs: { text: corpus }
    FREEZE
    with: { run: 'tr \" \" \"\\n\" < $PIPE_INPUT_text/a.txt | sort -u > $PIPE_OUTPUT_words/words.txt', outputs: { words: files } }
  tokens:
    uses: command
    needs: { text: corpus, words: vocabulary }
    with: { run: 'cat $PIPE_INPUT_text/a.txt $PIPE_INPUT_words/words.txt > $PIPE_OUTPUT_tokens/t.txt', outputs: { tokens: files } }
";

#[test]
fn a_frozen_stage_keeps_its_output_and_the_plan_says_how_stale_it_is() {
    let project = Project::new(&KEPT.replace("FREEZE", "freeze: true"));
    project.write("in/corpus.txt", "some words\n");
    project.run(&[]).expect(0);
    let kept = project.outputs()["vocabulary"].clone();

    project.write("in/corpus.txt", "some other words\n");
    let plan = project.plan(&[]);
    assert_eq!(plan["vocabulary"]["plan"], "frozen");
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["frozen", "may be stale: depends on corpus"]);
    let outcomes = project.outcomes(&[]);
    assert_eq!(
        outcomes.values().map(String::as_str).collect::<Vec<_>>(),
        ["ran", "ran", "frozen"],
        "{outcomes:?}"
    );
    assert_eq!(project.outputs()["vocabulary"], kept);
    project.pipe(&["why", "pipeline.yaml", "vocabulary"]).expect(0).prints(&["`vocabulary` is frozen"]);
    project
        .pipe(&["show", "pipeline.yaml", "vocabulary"])
        .expect(0)
        .prints(&["frozen    it keeps this result"]);
    project.pipe(&["report", "-o", "report.html"]).expect(0);
    assert!(project.read("report.html").contains(", 1 frozen"));
    project.pipe(&["get", "pipeline.yaml", "tokens", "out-tokens"]).expect(0);
    assert_eq!(project.read("out-tokens/t.txt"), "some other words\nsome\nwords\n");
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["would run: input `text` (corpus) changed"]);
    project.run(&["--locked"]).expect(0);
    project.pipe(&["verify", "pipeline.yaml"]).expect(0).prints(&["vocabulary: frozen, not run again"]);

    project.edit("freeze: true", "");
    let outcomes = project.outcomes(&[]);
    assert_eq!(
        outcomes.values().map(String::as_str).collect::<Vec<_>>(),
        ["cached", "ran", "ran"],
        "{outcomes:?}"
    );
}

#[test]
fn what_a_frozen_stage_keeps_is_not_made_anew_from_other_inputs() {
    let project = Project::new(&KEPT.replace("FREEZE", "freeze: true"));
    project.write("in/corpus.txt", "some words\n");
    project.run(&[]).expect(0);
    std::fs::remove_dir_all(project.path(".pipe")).unwrap();
    // From the same inputs it may be: that makes the same.
    project.run(&["--locked"]).expect(0);
    std::fs::remove_dir_all(project.path(".pipe")).unwrap();
    project.write("in/corpus.txt", "some other words\n");
    // Whether the new corpus is the old one is not known yet.
    let plan = project.plan(&[]);
    assert_eq!((&plan["corpus"]["plan"], &plan["vocabulary"]["plan"]), (&json!("run"), &json!("depends")));
    project.run(&[]).expect(1).says(&["it is frozen", "remove `freeze`"]);
    let plan = project.plan(&[]);
    assert_eq!(
        (&plan["vocabulary"]["plan"], &plan["vocabulary"]["estimate"]),
        (&json!("fails"), &json!(null))
    );
    assert_eq!(plan["tokens"]["plan"], "depends");
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&[
        "fails",
        "1 frozen result missing from the cache, so a run would fail",
        "remove `freeze`",
    ]);
    project.pipe(&["why", "pipeline.yaml", "vocabulary"]).expect(0).prints(&["`vocabulary` would fail"]);
    project
        .pipe(&["get", "pipeline.yaml", "vocabulary", "x"])
        .expect(1)
        .says(&["is frozen", "copy the cache"]);
}

#[test]
fn a_frozen_stage_whose_outputs_are_gone_is_planned_as_it_runs() {
    let project = Project::new(&KEPT.replace("FREEZE", "freeze: true"));
    project.write("in/corpus.txt", "some words\n");
    project.run(&[]).expect(0);
    project.write("in/corpus.txt", "some other words\n");
    project.run(&["corpus"]).expect(0);
    std::fs::remove_dir_all(project.path(".pipe/objects")).unwrap();
    std::fs::create_dir(project.path(".pipe/objects")).unwrap();
    project.run(&["corpus"]).expect(0);
    let plan = project.plan(&[]);
    assert_eq!(plan["vocabulary"]["plan"], "fails", "{plan:?}");
    project.run(&[]).expect(1).says(&["it is frozen"]);
    project.write("in/corpus.txt", "some words\n");
    project.run(&["corpus"]).expect(0);
    assert_eq!(project.plan(&[])["vocabulary"]["plan"], "run", "from the same inputs it may be made again");
    project.run(&[]).expect(0);
}

#[test]
fn a_figure_outside_its_bounds_fails_the_run_and_keeps_all_that_was_made() {
    let project = sweep();
    project.edit(
        "  scores:\n    uses: command\n",
        "  scores:\n    uses: command\n    expect: { loss: { max: 3.0 } }\n",
    );
    project.run(&[]).expect(1).says(&[
        "out of bounds",
        "scores[lr=1e-3,seed=1]",
        "3.100",
        "at most 3",
        "2 metrics out of bounds",
    ]);
    let all = project.outcomes_of(1, &[]);
    assert!(all.values().all(|outcome| outcome == "cached"), "{all:?}");
    project.edit("max: 3.0", "max: 3.5");
    project.run(&[]).expect(0);
    project.edit("loss: { max", "lss: { max");
    project.run(&[]).expect(2).says(&["reports no metric `lss`", "did you mean `loss`"]);
}

#[test]
fn hours_cost_what_the_manifest_says() {
    let project = sweep();
    project.edit("pipeline: sweep\n", "pipeline: sweep\nprices: { cpu: 3600, currency: EUR }\n");
    project.edit(
        "  all:\n    uses: command\n",
        "  all:\n    uses: command\n    resources: { cpus: 2, time: 90s }\n",
    );
    let plan = project.plan(&[]);
    assert_eq!(plan["all"]["cost"], 180.0);
    assert_eq!(plan["corpus"]["cost"], Value::Null);
    project.pipe(&["plan", "pipeline.yaml"]).expect(0).prints(&["cost", "180", "EUR", "13 unknown"]);
}
