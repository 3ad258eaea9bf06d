//! What a command may tell, and what it may keep.

use crate::project::{Project, below, wait_for};
use rustix::process::Signal;

#[test]
fn figures_that_a_command_tells_are_recorded() {
    let tell = [
        r#"{"event":"metric","name":"lines","value":1}"#,
        r#"{"event":"metric","name":"lines","value":3,"unit":"line","better":"higher"}"#,
        r#"{"event":"metric","name":"loss","step":7,"value":0.5}"#,
        r#"{"event":"note","message":"half way"}"#,
        r#"{"event":"progress","unit":"lines","done":1,"total":2}"#,
        "no event at all",
    ];
    let tell: String = tell.iter().map(|line| format!("echo '{line}' >> $PIPE_EVENTS; ")).collect();
    let project = Project::one(&format!("{tell}echo x > $PIPE_OUTPUT_text/a.txt"), "");
    let events = project.run(&["--json"]).expect(0).stdout;
    assert!(events.contains("half way"), "{events}");
    let shown = project.pipe(&["show", "pipeline.yaml", "only", "--json"]).expect(0).json();
    let figures = shown["record"]["metrics"].as_array().unwrap();
    let told: Vec<_> = figures.iter().map(|figure| (&figure["name"], &figure["value"])).collect();
    assert_eq!(told, [(&"lines".into(), &3.0.into()), (&"loss".into(), &0.5.into())]);
    assert_eq!((&figures[0]["unit"], &figures[0]["better"]), (&"line".into(), &"higher".into()));
}

#[test]
fn a_command_cannot_pass_for_its_worker() {
    let done = r#"{"event":"done","outputs":{},"metrics":[],"instruction_sets":[]}"#;
    // Descriptor 3 is the command's own channel, and the worker's is closed to it.
    let run =
        format!("echo '{done}' >> $PIPE_EVENTS; for n in 3 4 5 6 7 8 9; do echo '{done}' >&$n; done; exit 1");
    let project = Project::one(&run, "");
    project.run(&[]).expect(1);
    let run = format!("echo '{done}' >> $PIPE_EVENTS; echo x > $PIPE_OUTPUT_text/a.txt");
    let project = Project::one(&run, "");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a.txt"), "x\n");
}

#[test]
fn a_command_that_writes_without_end_is_no_harm() {
    let project = Project::one(
        "head -c 50000000 /dev/zero >> $PIPE_EVENTS; head -c 50000000 /dev/zero | tr '\\0' '\\n' >> $PIPE_EVENTS; \
         echo x > $PIPE_OUTPUT_text/a.txt",
        "",
    );
    project.run(&[]).expect(0);
}

#[test]
fn a_command_goes_on_from_what_it_kept() {
    let run = "\
d=$PIPE_DURABLE; n=$(cat $d/n 2>/dev/null || echo 0)
while [ $n -lt 6 ]; do n=$((n+1)); echo $n >> HERE/trace; echo $n > $d/new; mv $d/new $d/n
if [ $n = 3 ] && [ ! -e HERE/again ]; then touch HERE/at-three; sleep 60; fi; done
cp $d/n $PIPE_OUTPUT_text/n.txt";
    let project = Project::one(run, "");
    // Whole paths: a relative one that is a file would be an input.
    project.edit("HERE", project.root().to_str().unwrap());
    let engine = project.start(&[]);
    wait_for(&project.path("at-three"));
    engine.signal_group(Signal::KILL);
    engine.end();
    project.wait_for_silence();
    project.write("again", "");
    project.run(&[]).expect(0);
    assert_eq!(project.read("trace"), "1\n2\n3\n4\n5\n6\n", "nothing was done twice");
    assert_eq!(project.read("out/only/text/n.txt"), "6\n");
    project.assert_clean();
    let kept = below(&project.path(".pipe/work/durable"));
    assert!(kept.is_empty(), "worthless once it is recorded: {kept:?}");
}
