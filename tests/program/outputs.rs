//! `out/`: links to what stages made.

use crate::project::Project;

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
    assert_eq!(project.read("out/only/text/a"), "first\n", "the first pipeline keeps the short name");
    assert_eq!(project.read("out/.gitignore"), "*\n");
}
