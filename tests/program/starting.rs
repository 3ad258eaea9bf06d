//! A new project, and the workflow that comes with it.

use crate::project::Project;

fn started() -> Project {
    let project = Project::new("not part of it");
    project.pipe(&["init", "fables", "--ci", "github"]).expect(0).prints(&["fables/pipeline.yaml"]);
    project
}

/// The calls of the program in the workflow, in order.
fn calls(project: &Project) -> Vec<String> {
    let workflow = project.read("fables/.github/workflows/pipeline.yml");
    let line = |line: &str| {
        let line = line.trim().trim_start_matches("run: ");
        let call = line.strip_prefix("pipe ")?;
        Some(
            call.trim_end_matches("|| true")
                .trim_end_matches("2>&1 ")
                .trim_end_matches(" 2>&1")
                .trim()
                .to_owned(),
        )
    };
    workflow.lines().filter_map(line).collect()
}

#[test]
fn a_new_project_runs_and_so_does_its_workflow() {
    let project = started();
    let pipe = |call: &str| {
        let mut command = project.command(&call.split_whitespace().collect::<Vec<_>>());
        Project::ended_of(command.current_dir(project.path("fables")).output().unwrap())
    };
    pipe("run pipeline.yaml").expect(0).says(&["bits_per_byte"]);
    assert!(project.path("fables/pipeline.lock").exists());
    let calls = calls(&project);
    assert!(calls.contains(&"run pipeline.yaml --locked".to_owned()), "{calls:?}");
    assert_eq!(calls.len(), 6, "{calls:?}");
    for call in &calls {
        pipe(call).expect(0);
    }
    assert!(project.read("fables/report.html").starts_with("<!doctype html>"));

    // Another setting is not what the lock file says, and figures out of bounds fail the workflow too.
    let text = project.read("fables/pipeline.yaml");
    project.write("fables/pipeline.yaml", &text.replace("seed: 1\n", "seed: 2\n"));
    pipe("run pipeline.yaml --locked")
        .expect(1)
        .says(&["base: with.seed 1 -> 2", "and stages that depend on these: scores, export"]);
    project.write("fables/pipeline.yaml", &text.replace("max: 4", "max: 0.5"));
    pipe("run pipeline.yaml --locked").expect(1).says(&["out of bounds", "at most 0.5"]);
}

#[test]
fn the_call_that_it_suggests_works_in_a_folder_whose_name_has_a_space() {
    let project = Project::new("not part of it");
    project.pipe(&["init", "my project"]).expect(0).says(&["pipe run 'my project/pipeline.yaml'"]);
}

#[test]
fn what_is_there_is_not_written_over() {
    let project = started();
    project.write("fables/pipeline.yaml", "mine");
    project.pipe(&["init", "fables"]).expect(2).says(&["already exists", "nothing was written"]);
    assert_eq!(project.read("fables/pipeline.yaml"), "mine");
    project.pipe(&["init", "more", "--ci", "gitlab"]).expect(2).says(&["no workflow for `gitlab`", "github"]);
    assert!(!project.path("more").exists());
}

#[test]
fn names_that_a_shell_would_take_apart_are_quoted() {
    let project = Project::new("not part of it");
    for (folder, name) in
        [("my project", "myproject"), ("it's $HOME; `ls`", "itsHOMEls"), ("weiß", "wei"), ("-x", "x")]
    {
        let ended = project.pipe(&["init", "--", folder]).expect(0);
        let told = ended.stderr.lines().find_map(|line| line.strip_prefix("now run it: pipe ")).unwrap();
        // What a shell makes of the line is a call that works.
        let mut shell = std::process::Command::new("/bin/sh");
        let call = told.replacen("run ", "check ", 1);
        shell.args(["-c", &format!("\"$0\" {call}"), env!("CARGO_BIN_EXE_pipe")]).current_dir(project.root());
        let checked = Project::ended_of(shell.env_remove("PIPE_CACHE").output().unwrap()).expect(0);
        assert!(checked.stdout.contains(&format!("`{name}` is valid")), "{told}: {}", checked.stdout);
    }
}
