//! What lies in the repository beside the code: the schema, the pipelines and the examples fit the program.

#![cfg(all(feature = "data", feature = "model"))]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn pipe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pipe"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program starts")
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_schema_is_that_of_the_program() {
    let committed = fs::read_to_string(path("pipe.schema.json")).expect("the schema is there");
    let printed = String::from_utf8(pipe(&["schema"]).stdout).expect("UTF-8");
    assert!(committed == printed, "renew it: cargo run --release -- schema > pipe.schema.json");
}

#[test]
fn manifests_are_right() {
    let pipelines = fs::read_dir(path("pipelines")).expect("there are pipelines");
    let mut manifests: Vec<String> = pipelines
        .map(|entry| format!("pipelines/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    manifests.extend(["examples/embed.yaml", "examples/plot/pipeline.yaml"].map(str::to_owned));
    assert!(manifests.len() > 3, "{manifests:?}");
    for manifest in manifests {
        let ended = pipe(&["graph", &manifest]);
        assert!(ended.status.success(), "{manifest}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn the_reference_describes_every_stage_type_of_the_readme() {
    let readme = fs::read_to_string(path("README.md")).expect("the readme is there");
    let (_, after) = readme.split_once("\n## Stages\n").expect("it has a section on stages");
    let (section, _) = after.split_once("\n## ").expect("and one after it");
    let listed = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let overview = String::from_utf8(pipe(&["stages"]).stdout).expect("UTF-8");
    let known =
        overview.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    assert_eq!(listed.collect::<Vec<_>>(), known.collect::<Vec<_>>());
}
