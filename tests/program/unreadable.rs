//! Files of the engine's own that cannot be read: each is an error or a warning that names the file and says what to
//! do, and is never taken for none.

use crate::project::{LETTERS, Project, below};
use std::{fs, path::Path};

/// Puts a folder where a file was: no user at all can read that as a file.
fn spoil(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

/// The folder of the only run.
fn run_folder(project: &Project) -> std::path::PathBuf {
    let mut runs = fs::read_dir(project.path(".pipe/runs")).unwrap();
    runs.next().unwrap().unwrap().path()
}

#[test]
fn a_journal_that_cannot_be_read_is_an_error() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let path = project.path(".pipe/journal/letters/upper.jsonl");
    project.edit("tr a-z A-Z", "tr b-z B-Z");
    let whole = fs::read_to_string(&path).unwrap();

    spoil(&path);
    let named = path.file_name().unwrap().to_str().unwrap();
    for call in
        [&["plan", "pipeline.yaml"][..], &["run", "pipeline.yaml"], &["why", "pipeline.yaml", "upper"]]
    {
        project.pipe(call).expect(2).says(&["cannot read the journal", named, "help: make it readable"]);
    }
    // What needs no journal goes on without.
    project.pipe(&["check", "pipeline.yaml"]).expect(0);
    fs::remove_dir(&path).unwrap();

    fs::write(&path, "no line of ours\n").unwrap();
    project.pipe(&["plan", "pipeline.yaml"]).expect(2).says(&["is damaged", named, "help: delete the file"]);
    fs::write(&path, whole.replace("\"version\":2", "\"version\":9")).unwrap();
    project.pipe(&["plan", "pipeline.yaml"]).expect(2).says(&["version 9", named, "use a newer pipe"]);

    // A line that a crash cut, and one of an older version, say nothing; the others count.
    let older = r#"{"key":"0","seconds":1.0,"memory_peak":0,"output_bytes":0,"shares":[1,1]}"#;
    fs::write(&path, format!("{older}\n{{\"version\":2,\"key\"\n{whole}")).unwrap();
    let plan = project.plan(&[]);
    assert_eq!(plan["upper"]["estimate"]["runs"], 1, "{}", plan["upper"]);
    fs::write(&path, format!("{older}\n")).unwrap();
    project.run(&[]).expect(0);
}

#[test]
fn a_journal_that_cannot_be_written_is_a_warning() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let path = project.path(".pipe/journal/other");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    project.write(
        "other.yaml",
        &LETTERS.replace("pipeline: letters", "pipeline: other").replace("BEFORE ", ": ;"),
    );
    let ended = project.pipe(&["run", "other.yaml", "--ignore-disk"]);
    // A file where the folder of journals is expected cannot be read either.
    ended.expect(2).says(&["journal", "other"]);
}

#[test]
fn events_that_cannot_be_read_are_an_error() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let run = run_folder(&project);
    let events = run.join("events.jsonl");
    let whole = fs::read_to_string(&events).unwrap();
    spoil(&events);
    for call in [&["report", "pipeline.yaml"][..], &["cache", "gc", "--max-size", "1GiB"]] {
        project.pipe(call).expect(2).says(&[
            "cannot read the events",
            "events.jsonl",
            "help: make it readable",
        ]);
    }
    // A run that was broken off is known by its events alone.
    let closed = fs::read(run.join("stages.json")).unwrap();
    fs::remove_file(run.join("stages.json")).unwrap();
    for call in [&["history", "pipeline.yaml"][..], &["diff", "pipeline.yaml", "last", "last"]] {
        project.pipe(call).expect(2).says(&["cannot read the events", "events.jsonl"]);
    }
    fs::write(run.join("stages.json"), closed).unwrap();
    fs::remove_dir(&events).unwrap();

    // Lines that are no events are told; those that only a newer program knows are not.
    let future = r#"{"at":1.0,"event":"of_the_future","stage":1}"#;
    fs::write(&events, format!("half a li{whole}{future}\n")).unwrap();
    let ended = project.pipe(&["report", "pipeline.yaml", "-o", "r.html"]).expect(0);
    ended.says(&["warning: 1 line of", "events.jsonl", "cannot be read", "help:"]);
}

#[test]
fn a_run_folder_that_cannot_be_read_is_an_error() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let run = run_folder(&project);
    let calls = [
        &["history", "pipeline.yaml"][..],
        &["runs", "ls", "pipeline.yaml"],
        &["status", "pipeline.yaml"],
        &["logs", "pipeline.yaml", "first"],
        &["report", "pipeline.yaml"],
        &["cache", "gc", "--max-size", "1GiB"],
        &["cache", "pins"],
    ];
    let head = fs::read_to_string(run.join("run.json")).unwrap();
    for (text, told) in [(head[..20].to_owned(), "is damaged"), (head.replacen(":1", ":9", 1), "version 9")] {
        fs::write(run.join("run.json"), text).unwrap();
        for call in calls {
            project.pipe(call).expect(2).says(&[told, "run.json", "help:"]);
        }
    }
    spoil(&run.join("run.json"));
    for call in calls {
        project.pipe(call).expect(2).says(&["run.json", "help:"]);
    }
    fs::remove_dir(run.join("run.json")).unwrap();
    fs::write(run.join("run.json"), head).unwrap();
    spoil(&run.join("first.log"));
    project.pipe(&["logs", "pipeline.yaml", "first"]).expect(1).says(&[
        "cannot read the log",
        "first.log",
        "help:",
    ]);
}

#[test]
fn the_collector_stops_at_a_record_of_a_newer_version() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    let before = project.objects();
    let is_record = |path: &std::path::PathBuf| path.is_file();
    let record = below(&project.path(".pipe/records")).into_iter().find(is_record).unwrap();
    // The checksum is over key and body; a newer program writes it too.
    let key: pipe_cache::Digest = record.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let body = br#"{"version":99,"something":"new"}"#;
    let checksum = pipe_cache::Hasher::derive("pipe record v1").update(key.as_bytes()).update(body).finish();
    fs::set_permissions(&record, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&record, [&body[..], format!("\n{checksum}\n").as_bytes()].concat()).unwrap();
    let gc = ["cache", "gc", "--max-size", "0B", "--recent", "0s", "--young", "0s"];
    fs::remove_file(project.path("pipeline.lock")).unwrap();
    project.pipe(&gc).expect(2).says(&["format 99", "use a newer pipe"]);
    assert_eq!(project.objects(), before);
}

#[test]
fn what_cannot_be_swept_up_is_a_warning() {
    let project = Project::letters("");
    project.run(&["first"]).expect(0);
    let leftover = project.path(&format!(".pipe/work/durable/{}", "0".repeat(64)));
    fs::write(&leftover, "").unwrap();
    let texts =
        ["warning: leftovers of a dead process stay in the cache", &"0".repeat(64), "help: delete them"];
    let ended = project.run(&[]).expect(0).says(&texts);
    assert_eq!(ended.stderr.matches("leftovers").count(), 1, "told once:\n{}", ended.stderr);
    let told = project.pipe(&["cache", "gc", "--max-size", "1GiB", "--json"]).expect(0).says(&texts).json();
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(1), "{told}");
    let lines = project.run(&["--json", "--force", "first"]).expect(0).stdout;
    let is_warning = |line: &&str| line.contains(r#""event":"warning","message":"leftovers"#);
    assert_eq!(lines.lines().filter(is_warning).count(), 1, "{lines}");
}

#[test]
fn a_cache_that_is_none_or_too_new_is_named_with_what_to_do() {
    let project = Project::letters("");
    project.run(&[]).expect(0);
    fs::write(project.path(".pipe/version"), "pipe store 99\n").unwrap();
    for words in [&["run", "pipeline.yaml"][..], &["plan", "pipeline.yaml"], &["cache", "du"]] {
        project.pipe(words).expect(2).says(&["format 99", "use a newer pipe", "--cache"]);
    }
    assert_eq!(project.read(".pipe/version"), "pipe store 99\n");
    fs::write(project.path(".pipe/version"), "pipe store 1\n").unwrap();
    fs::create_dir(project.path("other")).unwrap();
    project.write("other/mine.txt", "");
    project.run(&["--cache", "other"]).expect(2).says(&["is not a cache", "empty folder"]);
}
