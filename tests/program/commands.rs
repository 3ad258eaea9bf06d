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
d=$PIPE_DURABLE; here=HERE; n=$(cat $d/n 2>/dev/null || echo 0)
while [ $n -lt 6 ]; do n=$((n+1)); echo $n >> $here/trace; echo $n > $d/new; mv $d/new $d/n
if [ $n = 3 ] && [ ! -e $here/again ]; then touch $here/at-three; sleep 60; fi; done
cp $d/n $PIPE_OUTPUT_text/n.txt";
    let project = Project::one(run, "");
    // A name that holds a variable is not seen: a file that the line names would be an input.
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

#[test]
fn a_command_may_get_shards_one_at_a_time() {
    let project = Project::new(
        "pipeline: each\nstages:\n  \
         many: { uses: command, with: { run: 'cp in/* $PIPE_OUTPUT_text/', outputs: { text: files }, files: ['in/*'] } }\n  \
         rest: { uses: command, with: { run: 'echo rest > $PIPE_OUTPUT_text/r', outputs: { text: files } } }\n  \
         upper:\n    uses: command\n    needs: { text: many, beside: rest }\n    with:\n      each: text\n      \
         run: |\n        echo ran >> HERE/trace\n        tr a-z A-Z < $PIPE_INPUT_text/shard.txt > $PIPE_OUTPUT_text/shard.txt\n        \
         cat $PIPE_INPUT_beside/r >> $PIPE_OUTPUT_text/shard.txt; wc -c < $PIPE_INPUT_text/shard.txt > $PIPE_OUTPUT_counts/bytes\n        \
         echo \"{\\\"event\\\":\\\"metric\\\",\\\"name\\\":\\\"shards\\\",\\\"value\\\":1}\" >> $PIPE_EVENTS\n      \
         outputs: { text: files, counts: files }\n",
    );
    project.edit("HERE", project.root().to_str().unwrap());
    for (name, text) in [("a.txt", "one\n"), ("b.txt", "two\n"), ("c.txt", "three\n"), ("d.txt", "one\n")] {
        project.write(&format!("in/{name}"), text);
    }
    project.run(&[]).expect(0);
    for (name, text) in [("a.txt", "ONE\nrest\n"), ("c.txt", "THREE\nrest\n"), ("d.txt", "ONE\nrest\n")] {
        assert_eq!(project.read(&format!("out/upper/text/{name}")), text);
    }
    assert_eq!(project.read("out/upper/counts/c/bytes").trim(), "6");
    let runs = || project.read("trace").lines().count();
    assert_eq!(runs(), 3, "equal shards run once");
    let shown = project.pipe(&["show", "pipeline.yaml", "upper", "--json"]).expect(0).json();
    assert_eq!(shown["record"]["metrics"][0]["value"], 4.0, "the sum over shards");

    // One changed shard is one run; a changed input beside them is one for each.
    project.write("in/b.txt", "four\n");
    project.run(&[]).expect(0);
    assert_eq!(runs(), 4);
    assert_eq!(project.read("out/upper/text/b.txt"), "FOUR\nrest\n");
    project.edit("echo rest", "echo other");
    project.run(&[]).expect(0);
    assert_eq!(runs(), 7);

    project.edit("each: text", "each: texts");
    project.run(&[]).expect(2).says(&["pipe::manifest::unknown_input", "no input `texts`", "text"]);
}

#[cfg(feature = "data")]
#[test]
fn what_a_command_makes_has_to_be_of_its_kind() {
    let run = "echo 'no Parquet' > $PIPE_OUTPUT_text/a.parquet";
    let project = Project::one(run, "");
    project.edit("text: files", "text: documents");
    project
        .run(&[])
        .expect(1)
        .says(&["the output `text` of the command is not valid `documents`", "a.parquet"]);
}

#[cfg(all(feature = "data", feature = "model"))]
#[test]
fn models_tokenizers_metrics_and_tokens_of_a_command_are_read_when_it_ends() {
    let config = r#"{"model_type":"gpt2"}"#;
    for (kind, run, told) in [
        ("model", "echo > a.bin", "it has no file `config.json`"),
        ("model", &format!("echo '{config}' > config.json"), "not valid `model`: config.json"),
        ("tokenizer", "echo '{}' > vocab.json", "it has no file `tokenizer.json`"),
        ("tokenizer", "echo '{}' > tokenizer.json", "not valid `tokenizer`: tokenizer.json"),
        ("metrics", "echo '# loss: 2' > scores.md", "no file `*.json` or `*.jsonl` holds a number"),
        ("metrics", "echo '{\"loss\": NaN}' > scores.json", "`scores.json` is not JSON"),
        ("metrics", "echo '{\"loss\": 1' > history.jsonl", "`history.jsonl` is not JSON Lines"),
        ("tokens", "echo no Parquet > a.parquet", "a.parquet"),
    ] {
        let project = Project::one(&format!("cd $PIPE_OUTPUT_text\n{run}"), "");
        project.edit("text: files", &format!("text: {kind}"));
        let ended = project.run(&[]).expect(1);
        ended.says(&[&format!("the output `text` of the command is not valid `{kind}`"), told, "help: "]);
    }
    let run =
        "cd $PIPE_OUTPUT_text; echo '{\"step\": 1, \"loss\": 2.5}' > history.jsonl; echo '# Notes' > a.md";
    let project = Project::one(run, "");
    project.edit("text: files", "text: metrics");
    project.run(&[]).expect(0);
}

#[test]
fn each_command_sees_the_gpus_that_it_was_given() {
    let project = Project::new(
        "\
pipeline: p
stages:
  one: { uses: command, resources: { cpus: 1, gpus: 1 }, with: { run: 'RUN', outputs: { seen: files } } }
  two: { uses: command, resources: { cpus: 1, gpus: 2 }, with: { run: ': ; RUN', outputs: { seen: files } } }
  many: { uses: command, resources: { gpus: 4 }, with: { run: 'RUN', outputs: { seen: files } } }
",
    );
    // The first two hold what they have until both have it.
    let wait = "echo $CUDA_VISIBLE_DEVICES > $PIPE_OUTPUT_seen/gpus.txt; d=.; touch $d/there$CUDA_VISIBLE_DEVICES; \
                while ! [ -e $d/there4 -a -e $d/there7,GPU-a ]; do sleep 0.01; done";
    project.edit("RUN", wait);
    let run = |more: &[&str]| {
        let words = [&["run", "pipeline.yaml"], more].concat();
        let mut command = project.command(&words);
        command.env("CUDA_VISIBLE_DEVICES", "4,7,GPU-a");
        Project::ended_of(command.output().unwrap())
    };
    run(&["--cpus", "2", "one", "two"]).expect(0);
    let seen = |stage: &str| {
        project.pipe(&["get", "pipeline.yaml", stage, stage]).expect(0);
        project.read(&format!("{stage}/gpus.txt"))
    };
    assert_eq!([seen("one"), seen("two")], ["4\n", "7,GPU-a\n"]);
    run(&["many"]).expect(2).says(&["gpus: 4", "3"]);
}

#[test]
fn commands_share_a_worker_and_nothing_else() {
    let project = Project::new(
        "\
pipeline: p
stages:
  large:
    uses: command
    with: { run: 'echo large; echo $PPID > $PIPE_OUTPUT_o/worker; head -c 99999999 /dev/zero | tail -c 99999998 > $TMPDIR/zeros', outputs: { o: files } }
  small:
    uses: command
    needs: { before: large }
    with: { run: 'echo small; echo $PPID > $PIPE_OUTPUT_o/worker', outputs: { o: files } }
  leaves:
    uses: command
    needs: { before: small }
    with: { run: 'sleep 1000 & echo $PPID > $PIPE_OUTPUT_o/worker', outputs: { o: files } }
  last:
    uses: command
    needs: { before: leaves }
    with: { run: 'echo $PPID > $PIPE_OUTPUT_o/worker', outputs: { o: files } }
",
    );
    project.run(&[]).expect(0);
    let worker = |stage: &str| project.read(&format!("out/{stage}/o/worker"));
    assert_eq!(worker("large"), worker("small"));
    assert_eq!(worker("small"), worker("leaves"));
    // What it left behind ended with its worker.
    assert_ne!(worker("leaves"), worker("last"));
    project.assert_clean();
    let peak = |stage: &str| {
        let shown = project.pipe(&["show", "pipeline.yaml", stage, "--json"]).expect(0).json();
        shown["record"]["memory_peak"].as_u64().unwrap() >> 20
    };
    assert!(peak("large") > 90 && peak("small") < 60, "{} and {} MiB", peak("large"), peak("small"));
    let log = |stage: &str| project.pipe(&["logs", "pipeline.yaml", stage]).expect(0).stdout;
    assert_eq!((log("large").as_str(), log("small").as_str()), ("large\n", "small\n"));
}

#[test]
fn an_input_or_output_that_is_used_and_not_declared_is_found_by_check() {
    let project = Project::one(
        "echo x > $PIPE_OUTPUT_text/a; echo y > $PIPE_OUTPUT_texts/b; : $${PIPE_OUTPUT_z:-}; cat \"$PIPE_INPUT_c/d\"",
        "",
    );
    let told = project.pipe(&["check", "pipeline.yaml"]).expect(2);
    let told =
        told.says(&["no output `texts`", "did you mean `$PIPE_OUTPUT_text`? (declared outputs: text)"]);
    assert!(!told.stderr.contains("`z`"), "{}", told.stderr);
    project.edit("PIPE_OUTPUT_texts", "PIPE_OUTPUT_text");
    let told = project.pipe(&["plan", "pipeline.yaml"]).expect(2);
    told.says(&[
        "there is no input `c`",
        "declare it: `needs: { c: STAGE }` (declared inputs: none)",
        "run: |",
    ]);
    // A variable that the line sets, and one that no shell expands.
    project.edit("cat ", "PIPE_INPUT_c=.; awk '{ $PIPE_INPUT_d }' pipeline.yaml; touch d; cat ");
    project.run(&[]).expect(0);
    let project = Project::letters("");
    project.edit("cat $PIPE_INPUT_a/a.txt $PIPE_INPUT_b", "cat $PIPE_INPUT_a/a.txt $PIPE_INPUT_bb");
    project
        .pipe(&["check", "pipeline.yaml"])
        .expect(2)
        .says(&["there is no input `bb`", "did you mean `$PIPE_INPUT_b`? (declared inputs: a, b)"]);
}

#[test]
fn what_is_not_found_on_the_path_is_explained() {
    let project = Project::one("no-such-program --now", "");
    project.run(&[]).expect(1).says(&[
        "not found",
        "help: commands run with PATH=/usr/local/sbin",
        "`env: [PATH]`",
    ]);
    // As Python prints it, in whatever version.
    let project = Project::one("echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", "");
    project.run(&[]).expect(1).says(&["help: commands run with PATH=", "`.venv/bin/python`"]);
    // As the shell of this system prints them.
    for (line, help) in [
        ("cat $CORPUS", "`env: [CORPUS]`"),
        ("sh missing.sh", "commands run in the project root"),
        ("./missing.sh", "`./missing.sh`, or the interpreter in its first line"),
        ("echo > tool.sh; ./tool.sh", "`chmod +x ./tool.sh`"),
    ] {
        Project::one(line, "").run(&[]).expect(1).says(&["help: ", help]);
    }
    let project = Project::one("echo 'page not found' >&2; exit 1", "");
    let ended = project.run(&[]).expect(1);
    assert!(!ended.stderr.contains("help:"), "{}", ended.stderr);
}

#[test]
fn a_variable_of_the_shell_in_braces_is_explained() {
    let project =
        Project::one("for F in a b; do echo ${F} ${F%.txt} ${vasr.x}; done > $PIPE_OUTPUT_text/a", "");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&[
        "is written `$F` or `$${F}`",
        "is written `$${F%.txt}`",
        "did you mean `vars`?",
    ]);
    project.edit(" ${vasr.x}", "");
    project.edit("${F", "$${F");
    project.run(&[]).expect(0);
    assert_eq!(project.read("out/only/text/a"), "a a\nb b\n");
}

#[test]
fn check_says_which_metrics_of_a_command_it_cannot_check() {
    let metric =
        r#"echo '{"event":"metric","name":"lines","value":3}' >> $PIPE_EVENTS; echo > $PIPE_OUTPUT_text/a"#;
    let project = Project::one(metric, "matrix: { n: [1, 2] }\nexpect: { line: { min: 1 } }");
    project.edit("echo > ", "echo ${matrix.n} > ");
    let check = || project.pipe(&["check", "pipeline.yaml"]).expect(0);
    check()
        .says(&["note: which metrics `only[n=1]` reports is known when it has run", "`line` under `expect`"]);
    project.run(&[]).expect(2).says(&["`only[n=1]` reports no metric `line`", "did you mean `lines`?"]);
    check().says(&[
        "`expect` of `only[n=1]` names `line`, which its last run did not report",
        "did you mean `lines`?",
    ]);
    let ended = check();
    assert_eq!(ended.stderr.matches("note").count(), 1, "once for a matrix: {}", ended.stderr);
    project.edit("line: {", "lines: {");
    let ended = check();
    assert!(!ended.stderr.contains("note"), "{}", ended.stderr);
}
