//! `out/`: links to what stages made.

use crate::project::{Project, below};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

fn manifest(pipeline: &str, text: &str) -> String {
    format!(
        "pipeline: {pipeline}\nstages:\n  only:\n    uses: command\n    with: {{ run: 'echo {text} > $PIPE_OUTPUT_text/a', outputs: {{ text: files }} }}\n"
    )
}

#[test]
fn pipelines_with_equal_stage_names_do_not_overwrite_each_other() {
    let project = Project::new(&manifest("one", "first"));
    project.write("other.yaml", &manifest("two", "second"));
    project.pipe(&["run", "pipeline.yaml"]).expect(0);
    project.pipe(&["run", "other.yaml"]).expect(0);
    assert_eq!(project.read("out/one/only/text/a"), "first\n");
    assert_eq!(project.read("out/two/only/text/a"), "second\n");
    assert!(!project.path("out/only").is_symlink(), "which of the two it would be, nobody could tell");
    project.pipe(&["run", "pipeline.yaml"]).expect(0);
    assert!(!project.path("out/only").is_symlink());
    symlink("../data", project.path("out/only")).unwrap();
    project.pipe(&["run", "pipeline.yaml"]).expect(0);
    assert_eq!(fs::read_link(project.path("out/only")).unwrap(), std::path::Path::new("../data"));
    assert_eq!(project.read("out/.gitignore"), "*\n");
}

#[test]
fn links_of_a_project_that_moved_lead_to_its_own_cache() {
    let project = Project::new(&manifest("one", "first"));
    fs::create_dir(project.path("before")).unwrap();
    fs::create_dir(project.path("before/.pipe")).unwrap();
    fs::rename(project.path("pipeline.yaml"), project.path("before/pipeline.yaml")).unwrap();
    project.pipe(&["run", "before/pipeline.yaml"]).expect(0);
    assert_eq!(project.read("before/out/one/only/text/a"), "first\n");
    fs::rename(project.path("before"), project.path("after")).unwrap();
    assert_eq!(project.read("after/out/one/only/text/a"), "first\n");
    project.pipe(&["run", "after/pipeline.yaml"]).expect(0);
    assert_eq!(project.read("after/out/only/text/a"), "first\n");
}

#[test]
fn a_pipeline_called_like_a_stage_of_another_one_writes_nothing_into_its_output() {
    let project = Project::new(&manifest("one", "first"));
    project.write("other.yaml", &manifest("only", "second").replace("  only:\n", "  text:\n"));
    project.run(&[]).expect(0);
    project.pipe(&["run", "other.yaml"]).expect(0);
    let files: Vec<_> = fs::read_dir(project.path("out/one/only/text")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(project.read("out/only/text/text/a"), "second\n");
}

#[test]
fn links_are_those_of_the_last_full_run_that_went_well() {
    let project = Project::new(&manifest("one", "first"));
    let failing =
        "  worse:\n    uses: command\n    needs: only\n    with: { run: 'cat $PIPE_INPUT_only/a; exit 3' }\n";
    project.run(&[]).expect(0);
    project.edit("echo first", "echo second");
    let good = project.read("pipeline.yaml");
    project
        .write("pipeline.yaml", &(good.clone() + &failing.replace("needs: only", "needs: { only: only }")));
    project.run(&[]).expect(1);
    assert_eq!(project.read("out/one/only/text/a"), "first\n");
    project.write("pipeline.yaml", &good);
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/one/only/text/a"), "second\n");
    // A stage that is gone takes its links along.
    project.edit("  only:\n", "  renamed:\n");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/one/renamed/text/a"), "second\n");
    assert!(!project.path("out/one/only").exists());
}

#[test]
fn what_is_in_the_way_of_a_link_stays_and_is_named() {
    let project = Project::new(&manifest("one", "first"));
    project.write("out/one/only/text/mine", "mine");
    project.write("keep/b", "");
    fs::create_dir(project.path("out/only")).unwrap();
    symlink("../../keep/b", project.path("out/only/link")).unwrap();
    project.run(&[]).expect(0).says(&["out/one/only/text", "move it away"]);
    assert_eq!(project.read("out/one/only/text/mine"), "mine");
    assert!(project.path("out/only/link").is_symlink());
    let blocked = Project::new(&manifest("one", "first"));
    blocked.write("out", "a file");
    blocked.run(&[]).expect(0).says(&["cannot link"]);
    assert_eq!(blocked.read("out"), "a file");
}

#[test]
fn an_output_that_has_a_provenance_of_its_own_keeps_it() {
    let project = Project::one("echo mine > $PIPE_OUTPUT_text/provenance.json", "");
    project.run(&[]).expect(0);
    project.pipe(&["get", "pipeline.yaml", "only", "got"]).expect(0);
    assert_eq!(project.read("got/provenance.json"), "mine\n");
    assert!(project.read("got/provenance.pipe.json").contains("\"pipeline\""));
}

#[test]
fn an_output_folder_that_its_command_removed_or_replaced_is_named() {
    for line in [
        "rm -rf $PIPE_OUTPUT_text",
        "rm -rf $PIPE_OUTPUT_text; echo 1 > $PIPE_OUTPUT_text",
        "rm -rf $PIPE_OUTPUT_text; ln -s /etc $PIPE_OUTPUT_text",
    ] {
        let project = Project::one(line, "");
        project.run(&[]).expect(1).says(&["removed or replaced the folder of its output `text`"]);
    }
}

#[test]
fn two_manifests_do_not_share_a_lock_file() {
    let project = Project::new(&manifest("one", "first"));
    project.run(&[]).expect(0);
    project.write("pipeline.yml", &manifest("two", "second"));
    let ended = project.pipe(&["run", "pipeline.yml"]);
    assert_ne!(ended.code, Some(0));
    ended.says(&["pipeline.yaml", "pipeline.lock", "rename one of them"]);
}

#[test]
fn a_lock_file_that_is_a_pipe_is_an_error() {
    let project = Project::new(&manifest("one", "first"));
    let made = std::process::Command::new("mkfifo").arg(project.path("pipeline.lock")).status().unwrap();
    assert!(made.success());
    let ended = project.pipe(&["plan", "pipeline.yaml"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    ended.says(&["pipeline.lock", "not a regular file"]);
}

#[test]
fn a_run_out_of_bounds_moves_no_link() {
    let run = "echo '{\\\"event\\\":\\\"metric\\\",\\\"name\\\":\\\"m\\\",\\\"value\\\":1}' >> $PIPE_EVENTS; echo first > $PIPE_OUTPUT_text/a";
    let project = Project::new(&format!(
        "pipeline: one\nstages:\n  only:\n    uses: command\n    with: {{ run: \"{run}\", outputs: {{ text: files }} }}\n    expect: {{ m: {{ max: 2 }} }}\n"
    ));
    project.run(&[]).expect(0);
    project.edit(":1}", ":5}");
    project.edit("echo first", "echo second");
    project.run(&[]).expect(1).says(&["out of bounds"]);
    assert_eq!(project.read("out/one/only/text/a"), "first\n");
}

#[test]
fn what_was_changed_below_out_is_restored() {
    let project = Project::new(
        "pipeline: p\nstages:\n  only:\n    uses: command\n    with:\n      run: |\n        mkdir $PIPE_OUTPUT_o/below\n        \
         echo one > $PIPE_OUTPUT_o/below/data.txt\n        printf '#!/bin/sh\\necho made\\n' > $PIPE_OUTPUT_o/tool\n        \
         chmod +x $PIPE_OUTPUT_o/tool\n      outputs: { o: files }\n",
    );
    project.run(&[]).expect(0);
    let (tool, data) = (project.path("out/p/only/o/tool"), project.path("out/p/only/o/below/data.txt"));
    let tree = fs::canonicalize(project.path("out/p/only/o")).unwrap();
    let before = fs::metadata(&tree).unwrap().ino();
    project.run(&[]).expect(0);
    assert_eq!(fs::metadata(&tree).unwrap().ino(), before, "a tree that is whole stays");

    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&tool, "#!/bin/sh\necho fake\n").unwrap();
    project.run(&[]).expect(0);
    assert_eq!(fs::read_to_string(&tool).unwrap(), "#!/bin/sh\necho made\n");
    assert_eq!(fs::metadata(&tool).unwrap().permissions().mode() & 0o777, 0o555);

    fs::remove_file(&data).unwrap();
    fs::write(&data, "other\n").unwrap();
    fs::write(project.path("out/p/only/o/below/notes.txt"), "mine\n").unwrap();
    project.run(&[]).expect(0);
    assert_eq!(fs::read_to_string(&data).unwrap(), "one\n");
    assert_eq!(project.read("out/p/only/o/below/notes.txt"), "mine\n", "what a user adds stays");
    assert_eq!(fs::read_dir(project.path(".pipe/trees")).unwrap().count(), 1, "no leftovers");
}

#[test]
fn a_link_of_the_user_in_the_place_of_an_output_stays() {
    let project = Project::new(&manifest("one", "first"));
    project.run(&[]).expect(0);
    let port = project.path("out/one/only/text");
    fs::remove_file(&port).unwrap();
    symlink("/usr", &port).unwrap();
    project.run(&[]).expect(0).says(&["there is a link that leads elsewhere"]);
    assert_eq!(fs::read_link(&port).unwrap(), std::path::Path::new("/usr"));
}

#[test]
fn out_may_be_a_link_to_another_disk() {
    let (project, elsewhere) = (Project::new(&manifest("one", "first")), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), project.path("out")).unwrap();
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/one/only/text/a"), "first\n");
}

#[test]
fn outputs_that_are_damaged_and_not_needed_are_named() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let object = fs::canonicalize(&below(&project.path("out/shorter/text/"))[0]).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "WRONG\n").unwrap();
    project.run(&[]).expect(0).says(&["outputs of shorter are missing from the cache or damaged"]);
    project.run(&["shorter"]).expect(0);
    let told = project.run(&[]).expect(0);
    assert!(!told.stderr.contains("missing"), "{}", told.stderr);
}

#[test]
fn shards_that_differ_only_in_their_extension_have_outputs_of_their_own() {
    let project = Project::new(
        "pipeline: each\nstages:\n  \
         many: { uses: command, with: { run: 'cp in/* $PIPE_OUTPUT_text/', outputs: { text: files }, files: ['in/*'] } }\n  \
         upper:\n    uses: command\n    needs: { text: many }\n    with:\n      each: text\n      \
         run: tr a-z A-Z < $PIPE_INPUT_text/shard | tee $PIPE_OUTPUT_text/shard.txt > $PIPE_OUTPUT_text/below\n      \
         outputs: { text: files }\n",
    );
    for name in ["a.jsonl", "a.csv", "a.jsonl.gz", "b.csv"] {
        project.write(&format!("in/{name}"), &format!("{name}\n"));
    }
    project.run(&[]).expect(0);
    let of = |name: &str| project.read(&format!("out/upper/text/{name}"));
    for (label, text) in
        [("a.jsonl", "A.JSONL\n"), ("a.csv", "A.CSV\n"), ("a.jsonl.gz", "A.JSONL.GZ\n"), ("b", "B.CSV\n")]
    {
        assert_eq!(
            (of(&format!("{label}.txt")).as_str(), of(&format!("{label}/below")).as_str()),
            (text, text)
        );
    }
}
