//! One rendered snapshot per error.

use super::{load_files, told};

/// Makes a test of a manifest, with its `--set`s, whose rendered errors are compared with a snapshot.
macro_rules! told {
    ($($name:ident: $text:expr $(, $set:literal)*;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(told($text, &[$($set),*]));
            }
        )*
    };
}

told! {
    a_tab_for_indentation: "pipeline: p\nstages:\n  a:\n    uses: dedup\n\tneeds: b\n";
    a_glob_without_quotes: "pipeline: p\nstages:\n  a: { uses: ingest, with: { sources: [{ glob: **/*.html }] } }\n";
    a_pipeline_without_a_name: "pipeline: null\nstages:\n  a: { uses: ingest }\n";
    no_stages: "pipeline: p\nstages: {}\n";
    names_that_leave_their_folder: "pipeline: ..\nstages:\n  -a: { uses: ingest }\n";
    names_that_are_too_long: "pipeline: a123456789a123456789a123456789a123456789a123456789a123456789a123456789\nstages:\n  a: { uses: ingest }\n";
    anchors_beside_the_sections: "pipeline: p\nx-defaults: &d { threshold: 0.5 }\nstages:\n  a: { uses: ingest }\n";
    fields_as_other_tools_call_them: "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, inputs: docs, resources: { cpu: 2, mem: 2G } }
  base: { uses: pretrain, params: {}, with: { learning_rate: 1, max_steps: 3, warmup: 2, block_size: 7 } }
";
    settings_beside_with: "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, needs: docs, vocabulary_size: 100 }
  base: { uses: pretrain, learning_rate: 1, steps: 3 }
";
    a_field_one_column_to_the_left: "pipeline: p\nstages:\n  a:\n    uses: ingest\n   with: {}\n";
    text_that_is_not_yaml: "pipeline: p\nstages:\n  a: { uses: dedup\n  b: 3\n";
    a_tag: "pipeline: !!int 3\nstages: {}\n";
    two_documents: "pipeline: p\nstages: {}\n---\npipeline: q\n";
    a_field_given_twice: "\
pipeline: p
stages:
  a:
    uses: ingest
    with: { errors_max: 1 }
    uses: dedup
";
    unknown_fields_everywhere: "\
pipeline: p
stags: {}
stages:
  a:
    uses: ingest
    nead: []
    with: { errors_mx: 1, sourcs: [], sources: [{ glob: { patern: x, pattern: y } }] }
";
    every_wrong_value_of_a_config: "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, needs: docs }
  tokens: { uses: tokenize, needs: [docs, words] }
  base:
    uses: pretrain
    needs: { train: tokens, tokenizer: words }
    with:
      preset: gpt-smal
      steps: many
      languages: [en, [de], null]
      samples: yes
      optimizer: { lr: 2, warmup_steps: -1 }
";
    wrong_types_of_whole_sections: "pipeline: [p]\nvars: 3\nstages:\n  a: ingest\n  b: { uses: ingest, with: [1] }\n  c: { uses: [ingest] }\n";
    stages_that_are_a_list: "pipeline: p\nstages: [a, b]\n";
    choices_that_are_wrong: "\
pipeline: p
stages:
  a:
    uses: ingest
    with: { sources: [rust-docs, { globb: x }, { glob: x, rust-docs: [] }, { rust-docs: [[x]] }, {}] }
";
    values_out_of_range: "\
pipeline: p
stages:
  a:
    uses: split
    needs: b
    with: { offsets: [1, 3e9, 1.5] }
    retry: -1
    timeout: 90
    grace: soon
    resources: { cpus: 0, memory: 16 GB of it, gpus: 1.5 }
  b: { uses: dedup, needs: c, with: { threshold: .nan } }
  c: { uses: dedup, needs: d, with: { threshold: 1e300 } }
  d: { uses: ingest, with: { errors_max: 4294967296 } }
";
    misfits_across_fields: "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, needs: docs }
  tokens: { uses: tokenize, needs: [docs, words] }
  base:
    uses: pretrain
    needs: { train: tokens, tokenizer: words }
    with: { steps: 50, optimizer: { lr: 0 } }
";
    unknown_stage_type: "pipeline: p\nstages:\n  a: { uses: ingset, with: { errors_max: x } }\n  b: { uses: dedup, needs: a }\n";
    stages_without_type: "pipeline: p\nstages:\n  a: { with: {} }\n  b:\n";
    unknown_stage_and_ports_in_needs: "\
pipeline: p
stages:
  docs: { uses: ingest }
  unique: { uses: dedup, needs: dcs }
  words: { uses: tokenizer, needs: docs.document }
  tokens: { uses: tokenize, needs: { documens: docs, tokenizer: words } }
  again: { uses: dedup, needs: { documents: [[docs]] } }
";
    wrong_port_kinds: "\
pipeline: p
stages:
  docs: { uses: ingest }
  words: { uses: tokenizer, needs: docs }
  unique: { uses: dedup, needs: words }
  tokens: { uses: tokenize, needs: { documents: docs, tokenizer: docs } }
  base: { uses: pretrain, needs: { train: unique, tokenizer: words } }
  more: { uses: ingest, needs: docs }
";
    missing_inputs: "\
pipeline: p
stages:
  docs: { uses: ingest }
  sets: { uses: split, needs: docs }
  tokens: { uses: tokenize, needs: sets.train }
  base: { uses: pretrain }
";
    ambiguous_needs: "\
pipeline: p
stages:
  docs: { uses: ingest }
  sets: { uses: split, needs: docs }
  unique: { uses: dedup, needs: sets }
  words: { uses: tokenizer, needs: docs }
  tokens: { uses: tokenize, needs: [docs, words] }
  base: { uses: compare, needs: tokens }
  plot: { uses: script, needs: base }
";
    too_many_for_one_input: "\
pipeline: p
stages:
  docs: { uses: ingest }
  more: { uses: ingest }
  unique: { uses: dedup, needs: [docs, more] }
  again: { uses: dedup, needs: { documents: { a: docs, b: more } } }
";
    a_circle: "\
pipeline: p
stages:
  a: { uses: dedup, needs: c }
  b: { uses: dedup, needs: [a] }
  c: { uses: dedup, needs: { documents: b.unique } }
  own: { uses: dedup, needs: own }
";
    kinds_and_inputs_of_ones_own: "\
pipeline: p
stages:
  docs: { uses: ingest }
  plot: { uses: script, needs: { a-b: docs }, with: { outputs: { figure: filez } } }
";
    names_that_are_none: "pipeline: a/b\nstages:\n  'a b': { uses: ingest }\n  a.b: { uses: ingest }\n";
    a_version_from_the_future: "version: 2\npipeline: p\nstages: {}\n";
    what_comes_later: "\
pipeline: p
stages:
  a: { uses: ingest, executor: slurm }
  b: { uses: ingest, executor: locl }
";
    matrices_that_are_wrong: "\
pipeline: p
stages:
  a: { uses: ingest, matrix: [] }
  b: { uses: ingest, matrix: { 1x: [1], most: 3, none: [], some: [[1], 2] } }
  c: { uses: ingest, matrix: { errors_max: [1, 1.0] }, with: { errors_max: ${matrix.errors_max} } }
  d: { uses: ingest, matrix: { errors_max: [1, 2] } }
  e: { uses: ingest, matrix: { most: [1, 2] }, with: { errors_max: ${matrix.mots} } }
  f: { uses: ingest, with: { errors_max: ${matrix.most} } }
  g: { uses: ingest, matrix: { most: [few, 2] }, with: { errors_max: ${matrix.most} } }
  h: { uses: ingest, matrix: [seed] }
";
    matrices_that_are_too_large: "\
pipeline: p
stages:
  a:
    uses: ingest
    matrix: { a: ${vars.ten}, b: ${vars.ten}, c: ${vars.ten}, d: ${vars.ten}, e: [1, 2] }
    with: { errors_max: '${matrix.a}${matrix.b}${matrix.c}${matrix.d}${matrix.e}' }
vars: { ten: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }
";
    stages_of_matrices_that_do_not_meet: "\
pipeline: p
stages:
  docs: { uses: ingest, matrix: { most: [1, 2] }, with: { errors_max: ${matrix.most} } }
  one: { uses: dedup, needs: 'docs[most=1]' }
  other: { uses: dedup, needs: 'docs[most=3]' }
  axis: { uses: dedup, needs: 'docs[mst=1]' }
  open: { uses: dedup, needs: 'docs[most=1' }
  more: { uses: dedup, needs: docs, matrix: { most: [1, 2, 3] }, with: { threshold: '0.${matrix.most}' } }
";
    expectations_and_prices: "\
pipeline: p
prices: { cpu: -1, cores: 2 }
stages:
  a: { uses: ingest, expect: { loss: {}, words: { min: 3, max: 2 }, pages: { least: 1 } } }
";
    variables: "\
pipeline: p
vars: { name: x, loop: '${vars.hole}', hole: '${vars.loop}', broken: '${env.NOPE}', list: [a] }
stages:
  a:
    uses: ingest
    with: { errors_max: ${vars.nam}, sources: [{ rust-docs: [${vars.broken}, ${var.name}, 'x${vars.list}'] }] }
  b: { uses: ingest, with: { errors_max: ${vars.name} } }
";
    environment_and_secrets: "\
pipeline: p
stages:
  a:
    uses: ingest
    with:
      errors_max: ${env.ERRORS}
      sources: [{ rust-docs: [${secret.HF}, '${secret.TOKEN}', '${env.NOPE:-${vars.x}}', '${env.a b}', '${x'] }]
  '${vars.x}': { uses: ingest }
";
    a_wrong_value_from_a_variable: "\
pipeline: p
vars: { most: a few }
stages:
  a: { uses: ingest, with: { errors_max: ${vars.most} } }
";
    wrong_sets: "pipeline: p\nvars: { x: 1, list: [1] }\nstages:\n  base: { uses: ingest, with: { sources: ${vars.list} } }\n",
        "stages", "stages.bas.with.errors_max=1", "stages.base.with.errors_mx=1", "vars.y=1", "vars.list[1]=2",
        "stages.base[0]=1", "stages.base.with.sources[0]=1", "extends=x", "a..b=1", "a[=1", "stages.base.with.errors_max=[1",
        "stages.base.with.errors_max.x=1", "vars.x=1: 2: 3";
    a_missing_pipeline_and_no_stages: "{}";
    nothing_at_all: "";
}

#[test]
fn loops_and_files_that_are_not_there() {
    let told = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        load_files(&files, &[]).map_or_else(|report| report.rendered(), |_| "no fault".into())
    };
    let main = ("main.yaml", "extends: ./base/low.yaml\npipeline: p\n");
    insta::assert_snapshot!(
        "extends_loop",
        told(&[main, ("base/low.yaml", "extends: ../main.yaml\nstages: {}\n")])
    );
    insta::assert_snapshot!("extends_nothing", told(&[main]));
    insta::assert_snapshot!("no_such_manifest", told(&[]));
    insta::assert_snapshot!("extends_a_list", told(&[("main.yaml", "extends: [a]\npipeline: p\n")]));
}

#[test]
fn faults_point_into_each_file_after_layers() {
    let files: &[(&str, &[u8])] = &[
        ("main.yaml", b"extends: base.yaml\npipeline: p\nvars:\n  most: a few\n"),
        (
            "base.yaml",
            "# ä\r\nstages:\r\n  a:\r\n    uses: ingest\r\n    with:\r\n      errors_max: ${vars.most}\r\n"
                .as_bytes(),
        ),
    ];
    insta::assert_snapshot!(load_files(files, &[]).expect_err("it is wrong").rendered());
}

#[test]
fn faults_for_programs() {
    let report =
        super::load_one("pipeline: p\nstages:\n  ä: { uses: dedup, needs: b, with: { treshold: 1 } }\n", &[]);
    let report = report.expect_err("it is wrong").to_json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).expect("invariant: JSON can be written"));
}

#[test]
fn faults_of_targets() {
    let manifest = super::right(super::GOOD, &[]);
    assert_eq!(manifest.targets(["base", "pages"]).expect("both are there"), [7, 0]);
    let report = manifest.targets(["base", "vocabluary"]).expect_err("one is not there");
    insta::assert_snapshot!(report.rendered());
}

#[test]
fn a_manifest_removes_and_changes_stages_that_it_extends_and_no_others() {
    let base = "pipeline: p\nstages:\n  docs: { uses: ingest }\n  unique: { uses: dedup, needs: docs }\n";
    let over =
        |text: &str| load_files(&[("main.yaml", text.as_bytes()), ("base.yaml", base.as_bytes())], &[]);
    let removed = over("extends: base.yaml\nstages:\n  unique:\n");
    assert_eq!(removed.expect("it is right").stages.len(), 1);
    let by_set = load_files(&[("main.yaml", base.as_bytes())], &["stages.unique=null"]);
    assert_eq!(by_set.expect("it is right").stages.len(), 1);
    let told = over("extends: base.yaml\nstages:\n  uniqe: { with: { threshold: 0.5 } }\n  gone: null\n");
    insta::assert_snapshot!(told.expect_err("two stages are not there").rendered());
}

#[test]
fn manifests_that_extend_one_another_too_often_are_no_loop() {
    let names: Vec<String> = (0..70).map(|number| format!("{number}.yaml")).collect();
    let texts: Vec<String> = (1..71).map(|number| format!("extends: {number}.yaml\n")).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("main.yaml", b"extends: 0.yaml\n")];
    files.extend(names.iter().map(String::as_str).zip(texts.iter().map(|text| text.as_bytes())));
    let told = load_files(&files, &[]).expect_err("they are too many").rendered();
    assert!(told.contains("more than 64 manifests extend one another"), "{told}");
}
