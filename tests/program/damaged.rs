//! Damage in the cache is found, named and mended; damaged bytes are never used.

use crate::project::{Project, below};
use std::path::PathBuf;

const ALL: &str = "abc\nwxyzABC\nWXYZ";

/// The place of what a stage of `LETTERS` made, and a stage that reads it, by its command's first word.
const READ_BY: [(&str, &str, &str); 5] = [
    ("first", "joined", "cat $PIPE_INPUT_a"),
    ("second", "shorter", "head"),
    ("shorter", "joined", "cat $PIPE_INPUT_a"),
    ("joined", "upper", "tr"),
    ("upper", "report", "cat $PIPE_INPUT_both"),
];

fn object_of(project: &Project, stage: &str) -> PathBuf {
    let port = if stage == "report" { "report" } else { "text" };
    let made = below(&project.path(&format!("out/{stage}/{port}/")));
    let [file] = &made[..] else { panic!("{made:?} of {stage}") };
    file.canonicalize().unwrap()
}

fn name(path: &std::path::Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_run_that_needs_damaged_bytes_makes_them_again() {
    for (stage, reader, word) in READ_BY {
        let project = Project::letters("");
        project.run(&[]).expect(0);
        let object = object_of(&project, stage);
        project.flip(&object);
        project.pipe(&["cache", "verify"]).expect(1).prints(&[&format!("object {}", name(&object))]);
        project.pipe(&["get", "pipeline.yaml", stage, "got"]).expect(1).says(&["damaged", name(&object)]);
        assert!(below(&project.path("got")).iter().all(|path| !path.is_file()), "damaged bytes got out");
        project.edit(&format!("'{word}"), &format!("'true; {word}"));
        let ran = project.ran(&[]);
        assert!(ran.contains(&stage.to_owned()) && ran.contains(&reader.to_owned()), "{stage}: {ran:?}");
        assert_eq!(project.read("out/report/report/all.txt"), ALL, "{stage}");
        project.assert_clean();
        assert_eq!(project.ran(&[]), [""; 0]);
    }
}

#[test]
fn any_damage_is_named_repaired_and_mended_by_a_run() {
    let project = Project::letters("echo words;");
    project.run(&[]).expect(0);
    let made = project.outputs();
    for (tree, kind) in [("objects", "object"), ("artifacts", "artifact"), ("records", "record")] {
        let files = below(&project.path(&format!(".pipe/{tree}"))).into_iter().filter(|path| path.is_file());
        for file in files.collect::<Vec<_>>() {
            project.flip(&file);
            let named = format!("{kind} {}", name(&file));
            project.pipe(&["cache", "verify"]).expect(1).prints(&[&named]).says(&["1 damaged"]);
            project.pipe(&["cache", "verify", "--repair"]).expect(1).prints(&[&named]);
            project.pipe(&["cache", "verify"]).expect(0);
            project.run(&[]).expect(0);
            assert_eq!(project.outputs(), made, "after {named}");
            for stage in ["first", "report"] {
                let folder = tempfile::tempdir().unwrap();
                let place = folder.path().to_str().unwrap();
                let got = project.pipe(&["get", "pipeline.yaml", stage, place]);
                // What no stage and no target reads is made again only when somebody asks for it.
                if got.code == Some(1) {
                    project.run(&[stage]).expect(0);
                    project.pipe(&["get", "pipeline.yaml", stage, place]).expect(0);
                }
            }
            project.assert_clean();
        }
    }
}

#[test]
fn a_missing_object_is_made_again_when_it_is_wanted() {
    for stage in ["first", "joined", "report"] {
        let project = Project::letters("");
        project.run(&[]).expect(0);
        std::fs::remove_file(object_of(&project, stage)).unwrap();
        project
            .pipe(&["get", "pipeline.yaml", stage, "got"])
            .expect(1)
            .says(&["missing from the cache", &format!("pipe run pipeline.yaml {stage}")]);
        let plan = project.plan(&[stage]);
        assert_eq!(plan[stage]["plan"], "run", "{plan:?}");
        let outcomes = project.outcomes(&[stage]);
        assert_eq!(outcomes[stage], "ran", "{outcomes:?}");
        assert_eq!(project.read("out/report/report/all.txt"), ALL);
        project.assert_clean();
    }
}

#[test]
fn a_damaged_record_is_the_reason_of_a_run() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let key = project.plan(&[])["upper"]["key"].as_str().unwrap().to_owned();
    let record = below(&project.path(".pipe/records")).into_iter().find(|path| path.ends_with(&key)).unwrap();
    project.flip(&record);
    assert_eq!(project.plan(&[])["upper"]["why"][0]["reason"], "record_damaged");
    project.run(&[]).expect(0).says(&["upper: running: its record in the cache is damaged"]);
    assert_eq!(project.ran(&[]), [""; 0]);
    project.assert_clean();
}
