//! The results of valid manifests.

use super::{GOOD, load_files, right, types};
use crate::{
    graph::{Drawing, Graph, draw, rows},
    manifest::{Executor, Memory, Need, Time},
    reference, schema,
};
use serde_json::json;

/// Returns the essence of a `pretrain` stage whose `with` is this text.
fn essence_of_base(with: &str) -> serde_json::Value {
    let start = "\
pipeline: p
stages:
  a: { uses: script, with: { outputs: { t: tokens, v: tokenizer } } }
  b:
    uses: pretrain
    needs: { train: a.t, tokenizer: a.v }
";
    right(&(start.to_owned() + with), &[]).stages["b"].config.essence.clone()
}

#[test]
fn formatting_and_spelled_out_defaults_keep_the_essence() {
    let plain = essence_of_base("    with: { steps: 2000, optimizer: { lr: 0.001 } }\n");
    assert_eq!(plain, json!({ "steps": 2000, "optimizer": { "lr": 0.001 } }));
    let spelled = "    with: # a comment\n      optimizer:\n        warmup_steps: 100\n        \"lr\": 1e-3\n      \
                   preset: gpt-small\n      steps: 0x7d0\n      languages: []\n";
    assert_eq!(essence_of_base(spelled), plain);
    assert_eq!(essence_of_base("    with: { steps: 2e3, optimizer: { lr: 0.001 } }\n"), plain);
    assert_eq!(essence_of_base(""), essence_of_base("    with: { optimizer: {} }\n"));
    assert_eq!(essence_of_base("    with:\n"), essence_of_base(""));
    assert_ne!(essence_of_base("    with: { steps: 2001, optimizer: { lr: 0.001 } }\n"), plain);
}

#[test]
fn a_manifest_becomes_stages_needs_and_resources() {
    let manifest = right(GOOD, &[]);
    let base = &manifest.stages["base"];
    assert_eq!(manifest.pipeline, "gpt-small");
    assert_eq!(types()[base.uses].name, "pretrain");
    assert_eq!(base.config.essence, json!({ "languages": ["en", "de"], "optimizer": { "lr": 1e-3 } }));
    assert_eq!(base.config.json["steps"], 1000);
    assert_eq!(base.resources.memory, Some(Memory(16 << 30)));
    assert_eq!(base.resources.time, Some(Time(5_400_000)));
    assert_eq!((base.retry.times, base.executor), (2, Executor::Local));
    let needs = |stage: &str, input: &str| {
        let need =
            |need: &Need| (manifest.stages[need.stage].name_place, need.output.clone(), need.label.clone());
        manifest.stages[stage].needs[input].iter().map(need).collect::<Vec<_>>()
    };
    let place = |stage: &str| manifest.stages[stage].name_place;
    assert_eq!(needs("tokens", "documents"), [(place("sets"), "train".into(), None)]);
    assert_eq!(needs("tokens", "tokenizer"), [(place("vocabulary"), "tokenizer".into(), None)]);
    let labelled = [("tokens", "a"), ("held", "b")];
    assert_eq!(
        needs("plot", "others"),
        labelled.map(|(stage, label)| (place(stage), "tokens".into(), Some(label.into())))
    );
    assert_eq!(manifest.stages["again"].config.essence, manifest.stages["unique"].config.essence);
}

#[test]
fn sets_reach_into_lists_and_variables() {
    let sets = [
        "stages.pages.with.sources[0].rust-docs[1]=core",
        "stages.pages.with.sources.1.glob.pattern=x=y",
        "vars.all[0]=zh",
        "stages.again.with.threshold=0.5",
        "stages.base.with.optimizer={ warmup_steps: 7 }",
        "stages.base.resources.memory=",
    ];
    let manifest = right(GOOD, &sets);
    let essence = |stage: &str| &manifest.stages[stage].config.essence;
    let sources = json!([{ "rust-docs": ["book", "core"] }, { "glob": { "pattern": "x=y" } }]);
    assert_eq!(essence("pages"), &json!({ "sources": sources }));
    assert_eq!(essence("again"), &json!({ "threshold": 0.5 }));
    assert_eq!(essence("base")["languages"], json!(["zh", "de"]));
    assert_eq!(essence("base")["optimizer"], json!({ "lr": 1e-3, "warmup_steps": 7 }));
    assert_eq!(manifest.stages["base"].resources.memory, None);
}

#[test]
fn interpolation_needs_no_quotes_in_flow_style() {
    let text = "\
pipeline: p
vars: { n: 7, list: [a, 'b, c'], text: x }
stages:
  a:
    uses: ingest
    with: {errors_max: ${vars.n}, sources: [{rust-docs: [${vars.text}, ${env.NOPE:-a, [b]: #c}, x${vars.n}y, '$${z}']}]} # ${vars.no}
  b:
    uses: ingest
    with:
      errors_max: '${vars.n}'
      sources: [{rust-docs: ${vars.list}}, {glob: {pattern: \"${env.EMPTY:-d}\\t${secret.TOKEN}${env.RATE}\"}}]
";
    let manifest = right(text, &[]);
    let docs = json!(["x", "a, [b]: #c", "x7y", "${z}"]);
    assert_eq!(
        manifest.stages["a"].config.essence,
        json!({ "errors_max": 7, "sources": [{ "rust-docs": docs }] })
    );
    let pattern = "d\t${secret.TOKEN}fast";
    let sources = json!([{ "rust-docs": ["a", "b, c"] }, { "glob": { "pattern": pattern } }]);
    assert_eq!(manifest.stages["b"].config.essence, json!({ "errors_max": 7, "sources": sources }));
    assert_eq!(manifest.used.environment.iter().collect::<Vec<_>>(), ["EMPTY", "NOPE", "RATE"]);
    assert_eq!(manifest.used.secrets.iter().collect::<Vec<_>>(), ["TOKEN"]);
}

#[test]
fn a_manifest_lies_over_the_one_that_it_extends() {
    let files: &[(&str, &[u8])] = &[
        ("main.yaml", b"extends: low/base.yaml\npipeline: p\nvars: { n: 2 }\nstages:\n  a: { with: { errors_max: 5 } }\n"),
        (
            "low/base.yaml",
            b"version: 1\npipeline: q\nvars: { n: 1 }\nstages:\n  a: { uses: ingest, retry: ${vars.n}, with: { errors_max: 3 } }\n",
        ),
    ];
    let manifest = load_files(files, &[]).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((manifest.pipeline.as_str(), manifest.stages["a"].retry.times), ("p", 2));
    assert_eq!(manifest.stages["a"].config.essence, json!({ "errors_max": 5 }));
    assert_eq!(manifest.texts().map(|(name, _)| name).collect::<Vec<_>>(), ["main.yaml", "low/base.yaml"]);
}

#[test]
fn an_output_without_a_name_goes_to_the_input_that_is_required() {
    let text = "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, needs: docs }
  tokens: { uses: tokenize, needs: [docs, words] }
  base: { uses: pretrain, needs: [tokens, words] }
";
    let needs = &right(text, &[]).stages["base"].needs;
    assert_eq!(needs.keys().map(String::as_str).collect::<Vec<_>>(), ["tokenizer", "train"]);
}

#[test]
fn a_matrix_stands_for_a_stage_of_each_combination() {
    let text = "\
pipeline: p
stages:
  docs: { uses: ingest, matrix: { most: [1, 2], by: ['a b', '3'] }, with: { errors_max: ${matrix.most}, sources: [{ rust-docs: ['${matrix.by}'] }] } }
  unique: { uses: dedup, needs: docs }
  one: { uses: dedup, needs: 'docs[most=2,by=a%20b]' }
  plot: { uses: script, needs: { all: [unique] }, with: { outputs: { figure: files } } }
  rows: { uses: script, needs: { all: [unique] }, matrix: [most], with: { outputs: { figure: files } } }
";
    let manifest = right(text, &[]);
    let names: Vec<&str> = manifest.stages.keys().map(|name| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "docs[most=1,by=a%20b]",
            "docs[most=1,by=%223%22]",
            "docs[most=2,by=a%20b]",
            "docs[most=2,by=%223%22]",
            "unique[most=1,by=a%20b]",
            "unique[most=1,by=%223%22]",
            "unique[most=2,by=a%20b]",
            "unique[most=2,by=%223%22]",
            "one",
            "plot",
            "rows[most=1]",
            "rows[most=2]"
        ]
    );
    let essence = |stage: &str| &manifest.stages[stage].config.essence;
    let sources = json!([{ "rust-docs": ["a b"] }]);
    assert_eq!(essence(names[2]), &json!({ "errors_max": 2, "sources": sources }));
    let needs = |stage: &str| -> Vec<(usize, Option<String>)> {
        let needs = manifest.stages[stage].needs.values().flatten();
        needs.map(|need| (need.stage, need.label.clone())).collect()
    };
    assert_eq!(needs(names[7]), [(3, None)]);
    assert_eq!(needs("one"), [(2, None)]);
    assert_eq!(needs("plot").iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), [4, 5, 6, 7]);
    let labels: Vec<_> = needs("rows[most=2]");
    let label = |by: &str| Some(format!("unique[by={by}]"));
    assert_eq!(labels, [(6, label("a%20b")), (7, label("%223%22"))]);
}

#[test]
fn places_of_fields_serve_later_faults() {
    let manifest = right(GOOD, &[]);
    let misfit = pipe_stage::Misfit::new("sources[1].glob.pattern", "no file matches").help("look again");
    let mut faults = crate::manifest::Faults::default();
    faults.push(manifest.misfit(0, &misfit));
    faults.push(manifest.misfit(1, &pipe_stage::Misfit::new("elsewhere", "is not given")));
    insta::assert_snapshot!(manifest.report(faults).rendered());
}

#[test]
fn byte_order_mark_and_carriage_returns_change_nothing() {
    let windows = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    let (one, other) = (right(GOOD, &[]), right(&windows, &[]));
    for (name, stage) in &one.stages {
        assert_eq!(stage.config.essence, other.stages[name.as_str()].config.essence, "{name}");
    }
}

#[test]
fn stages_run_after_what_they_need_and_else_in_the_order_of_the_text() {
    let text = "\
pipeline: p
stages:
  last: { uses: dedup, needs: first }
  other: { uses: ingest }
  first: { uses: dedup, needs: root }
  root: { uses: ingest }
";
    let manifest = right(text, &[]);
    let graph = Graph::new(&manifest);
    assert_eq!(graph.order(), [1, 3, 2, 0]);
    assert_eq!(graph.subset(&[2]), [3, 2]);
    assert_eq!(graph.subset(&[]), graph.order());
    assert_eq!((graph.upstream(0), graph.downstream(3)), (vec![2], vec![2]));
}

#[test]
fn graphs_are_drawn_in_three_ways() {
    let manifest = right(GOOD, &[]);
    let graph = Graph::new(&manifest);
    let drawn = |drawing| draw(drawing, &graph, &manifest, &types(), graph.order());
    let rows = rows(&graph, &manifest, &types(), graph.order());
    let lines: Vec<String> =
        rows.iter().map(|[name, kind, inputs]| format!("{name:10}  {kind:9}  {inputs}")).collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    insta::assert_snapshot!("graph_text", lines.join("\n"));
    insta::assert_snapshot!("graph_mermaid", drawn(Drawing::Mermaid));
    insta::assert_snapshot!("graph_dot", drawn(Drawing::Dot));
}

#[test]
fn stage_types_are_documented_from_their_schemas() {
    let types = types();
    let (ingest, pretrain) = (reference::text(&types[0], 100), reference::text(&types[5], 100));
    insta::assert_snapshot!(
        "reference",
        [reference::overview(&types, 100), ingest, pretrain].join("\n---\n")
    );
    for columns in [60, 100] {
        let text = reference::text(&types[5], columns);
        assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
    }
    let fields = reference::json(&types[5])["fields"].as_array().map_or(0, Vec::len);
    assert_eq!(fields, 7, "five fields, and two of the optimizer");
}

#[test]
fn the_schema_of_manifests_names_every_type() {
    let schema = schema::manifest(&types());
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).expect("invariant: JSON can be written"));
}
