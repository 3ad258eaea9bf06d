//! Owns: a project in a temporary folder, and calls of the built program on it.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A wait that takes longer than this fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Six stages over two files: `first` and `second` read one each; all the rest depends on both.
///
/// Each line starts with `BEFORE`, to be replaced by what a test wants a command to do besides its work.
pub(crate) const LETTERS: &str = "\
pipeline: letters
stages:
  first:
    uses: command
    with: { run: 'BEFORE cp in/first.txt $PIPE_OUTPUT_text/a.txt', outputs: { text: files } }
  second:
    uses: command
    with: { run: 'BEFORE cp in/second.txt $PIPE_OUTPUT_text/b.txt', outputs: { text: files } }
  shorter:
    uses: command
    needs: { text: second }
    with: { run: 'BEFORE head -c 4 $PIPE_INPUT_text/b.txt > $PIPE_OUTPUT_text/b.txt', outputs: { text: files } }
  joined:
    uses: command
    needs: { a: first, b: shorter }
    with: { run: 'BEFORE cat $PIPE_INPUT_a/a.txt $PIPE_INPUT_b/b.txt > $PIPE_OUTPUT_text/c.txt', outputs: { text: files } }
  upper:
    uses: command
    needs: { text: joined }
    with: { run: 'BEFORE tr a-z A-Z < $PIPE_INPUT_text/c.txt > $PIPE_OUTPUT_text/d.txt', outputs: { text: files } }
  report:
    uses: command
    needs: { both: { plain: joined, upper: upper } }
    with: { run: 'BEFORE cat $PIPE_INPUT_both/plain/c.txt $PIPE_INPUT_both/upper/d.txt > $PIPE_OUTPUT_report/all.txt', outputs: { report: files } }
";

/// The stages of [`LETTERS`] in running order.
pub(crate) const STAGES: [&str; 6] = ["first", "second", "shorter", "joined", "upper", "report"];

/// A folder with `pipeline.yaml` and what belongs to it; removed at the end.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

/// How a call of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// Makes a project with this manifest.
    pub(crate) fn new(manifest: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pipe-test-").tempdir().unwrap();
        let project = Self { folder };
        project.write("pipeline.yaml", manifest);
        project
    }

    /// Makes a project of [`LETTERS`], with this before each of its commands.
    pub(crate) fn letters(before: &str) -> Self {
        let project = Self::new(&LETTERS.replace("BEFORE ", before));
        project.write("in/first.txt", "abc\n");
        project.write("in/second.txt", "wxyz and more\n");
        project
    }

    /// Makes a project of one stage, `only`, with one output `text`. `more` holds further fields of the stage.
    pub(crate) fn one(run: &str, more: &str) -> Self {
        Self::new(&format!(
            "pipeline: one\nstages:\n  only:\n    uses: command\n    with:\n      run: |\n        {}\n      \
             outputs: {{ text: files }}\n{}",
            run.replace('\n', "\n        "),
            more.lines().map(|line| format!("    {line}\n")).collect::<String>()
        ))
    }

    /// How a call that was made by hand ended.
    pub(crate) fn ended_of(output: std::process::Output) -> Ended {
        ended(output)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces a text that stands in the manifest.
    pub(crate) fn edit(&self, before: &str, after: &str) {
        let text = self.read("pipeline.yaml");
        assert!(text.contains(before), "no `{before}` in:\n{text}");
        self.write("pipeline.yaml", &text.replace(before, after));
    }

    /// A call of the program in the project's folder, with nothing of the tests' own environment that matters.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
        command.args(words).current_dir(self.root()).stdin(Stdio::null());
        command.env_remove("PIPE_CACHE").env_remove("PIPE_EVENTS").env("NO_COLOR", "1");
        command
    }

    /// Calls the program: `["plan", "pipeline.yaml"]`.
    pub(crate) fn pipe(&self, words: &[&str]) -> Ended {
        ended(self.command(words).output().unwrap())
    }

    /// `pipe run pipeline.yaml`, with more words.
    pub(crate) fn run(&self, more: &[&str]) -> Ended {
        self.pipe(&[&["run", "pipeline.yaml"], more].concat())
    }

    /// Starts `pipe run pipeline.yaml` in a process group of its own.
    pub(crate) fn start(&self, more: &[&str]) -> Engine {
        let mut command = self.command(&[&["run", "pipeline.yaml"], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap();
        Engine { pid: child.id() as i32, child: Some(child) }
    }

    /// What ran and what was cached in a run that has to end well: the stages by outcome.
    pub(crate) fn outcomes(&self, more: &[&str]) -> BTreeMap<String, String> {
        self.outcomes_of(0, more)
    }

    /// The same of a run that ends with this code.
    pub(crate) fn outcomes_of(&self, code: i32, more: &[&str]) -> BTreeMap<String, String> {
        let ended = self.run(&[more, &["--json"]].concat()).expect(code);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = lines.rev().find(|line| line.get("summary").is_some()).unwrap();
        let row = |row: &Value| (text(&row["stage"]), text(&row["outcome"]));
        last["summary"].as_array().unwrap().iter().map(row).collect()
    }

    /// The stages that ran in a run that has to end well.
    pub(crate) fn ran(&self, more: &[&str]) -> Vec<String> {
        let outcomes = self.outcomes(more);
        let is_good = |outcome: &String| matches!(outcome.as_str(), "ran" | "cached" | "frozen");
        assert!(outcomes.values().all(is_good), "{outcomes:?}");
        let ran = STAGES.iter().filter(|stage| outcomes.get(**stage).is_some_and(|outcome| outcome == "ran"));
        ran.map(|stage| (*stage).to_owned()).collect()
    }

    /// `pipe plan --json`: what it says of each stage.
    pub(crate) fn plan(&self, more: &[&str]) -> BTreeMap<String, Value> {
        let ended = self.pipe(&[&["plan", "pipeline.yaml", "--json"], more].concat()).expect(0);
        let plan: Value = serde_json::from_str(&ended.stdout).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().map(|stage| (text(&stage["stage"]), stage.clone())).collect()
    }

    /// The lock file.
    pub(crate) fn lock(&self) -> Value {
        serde_json::from_str(&self.read("pipeline.lock")).unwrap()
    }

    /// What each stage made, by the lock file.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Value> {
        let lock = self.lock();
        let stages = lock["stages"].as_object().unwrap();
        stages.iter().map(|(name, stage)| (name.clone(), stage["outputs"].clone())).collect()
    }

    /// Every file and folder below a folder: mode, size, time of the last change, inode, target of a link.
    pub(crate) fn listing(&self, folder: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for path in below(&self.path(folder)) {
            let data = fs::symlink_metadata(&path).unwrap();
            let target = fs::read_link(&path).unwrap_or_default();
            lines.push(format!(
                "{} {:o} {} {}.{:09} {} {}",
                path.display(),
                data.mode(),
                data.len(),
                data.mtime(),
                data.mtime_nsec(),
                data.ino(),
                target.display()
            ));
        }
        lines
    }

    /// Objects of the cache.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        below(&self.path(".pipe/objects")).into_iter().filter(|path| path.is_file()).collect()
    }

    /// Flips the last bit of a file in the cache's `objects/`; size, mode and time stay as they are.
    pub(crate) fn flip(&self, object: &Path) {
        let time = fs::metadata(object).unwrap().modified().unwrap();
        let mut bytes = fs::read(object).unwrap();
        *bytes.last_mut().expect("no empty object is asked for") ^= 1;
        fs::set_permissions(object, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(object, bytes).unwrap();
        fs::File::options().write(true).open(object).unwrap().set_modified(time).unwrap();
        fs::set_permissions(object, fs::Permissions::from_mode(0o444)).unwrap();
    }

    /// Processes that work in this project: engines, workers, commands and what those started.
    ///
    /// Found by their working folder, which only Linux tells; elsewhere none are found.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let root = self.root().canonicalize().unwrap();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let is_zombie = fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')));
            let folder = fs::read_link(format!("/proc/{pid}/cwd"));
            !is_zombie && folder.is_ok_and(|folder| folder.starts_with(&root))
        })
        .collect()
    }

    /// Waits until no process works in this project.
    pub(crate) fn wait_for_silence(&self) {
        let what = || format!("no process is left of {:?}", self.processes());
        wait_until(&what, || self.processes().is_empty());
    }

    /// Fails unless the cache is whole and no process, temporary file or lease is left.
    pub(crate) fn assert_clean(&self) {
        self.wait_for_silence();
        self.pipe(&["cache", "verify"]).expect(0);
        for folder in [".pipe/work/tmp", ".pipe/work/leases"] {
            assert_eq!(below(&self.path(folder)), Vec::<PathBuf>::new(), "left in {folder}");
        }
    }
}

impl Ended {
    /// Fails unless the call ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr has all of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        texts.iter().for_each(|text| assert!(self.stderr.contains(text), "no `{text}` in:\n{}", self.stderr));
        self
    }

    /// Fails unless stdout has all of these texts.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        texts.iter().for_each(|text| assert!(self.stdout.contains(text), "no `{text}` in:\n{}", self.stdout));
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// A `pipe run` that goes on. Dropped while it runs, it is killed.
pub(crate) struct Engine {
    child: Option<Child>,
    pid: i32,
}

impl Engine {
    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal, and nobody else.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Sends a signal to its process group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_raw(self.pid).unwrap(), signal);
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        ended(self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process that may be gone.
pub(crate) fn send(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn wait_until(what: &dyn Fn() -> String, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {}", what());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a file is there.
#[track_caller]
pub(crate) fn wait_for(path: &Path) {
    wait_until(&|| format!("{} is there", path.display()), || path.exists());
}

/// All files and folders below a folder, sorted.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.unwrap();
            found.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn ended(output: std::process::Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
