//! Several processes that use one cache, some of which are killed.
//!
//! Each test starts this program again to play a role in a separate process.

use pipe_cache::{
    Acquire, AcquireDurable, Blob, Commit, Content, Digest, Error, Options, Published, Repair, Store,
};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "PIPE_CACHE_TEST_ROLE";
const ROOT: &str = "PIPE_CACHE_TEST_ROOT";
const PATIENCE_MS: &str = "PIPE_CACHE_TEST_PATIENCE_MS";

/// What a child process does, by the name of its role.
#[test]
#[ignore = "played by the processes that the other tests start"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let patience = std::env::var(PATIENCE_MS).map_or(60_000, |text| text.parse().unwrap());
    let options = Options { lease_patience: Duration::from_millis(patience) };
    let store = Store::open_with(std::env::var_os(ROOT).unwrap(), options).unwrap();
    match role.as_str() {
        "write" => write_for_ever(&store),
        "race" => race(&store),
        "hold" => hold(&store),
        "train" => train_for_ever(&store),
        "fill" => fill(&store),
        _ => panic!("no such role: {role}"),
    }
}

/// A process that plays a role; killed at the end, if not earlier.
struct Player {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Player {
    fn start(role: &str, root: &Path, patience: Duration) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::spawn(Command::new(program).args(Self::ARGS), role, root, patience)
    }

    const ARGS: [&str; 4] = ["--exact", "role", "--ignored", "--nocapture"];

    fn spawn(command: &mut Command, role: &str, root: &Path, patience: Duration) -> Self {
        let mut child = command
            .env(ROLE, role)
            .env(ROOT, root)
            .env(PATIENCE_MS, patience.as_millis().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Returns the player's next message; the test harness prints other lines, too.
    fn hear(&mut self) -> Option<String> {
        self.lines.find_map(|line| Some(line.ok()?.split_once("> ")?.1.to_owned()))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends a message to the test that started this process. It begins a new line, whatever the harness has printed.
fn say(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n> {text}").and_then(|()| stdout.flush()).unwrap();
}

fn cache() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    // Created by one handle and used by another, which has no temporary folder yet.
    Store::open(folder.path()).unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

const MINUTE: Duration = Duration::from_secs(60);

/// The moments at which players are killed: not random, but different each time.
fn moments(count: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(|turn| Duration::from_micros(turn * 7_919 % 40_000))
}

/// The content of an object of a turn; some span several pages.
fn content(turn: u64, part: u64) -> Vec<u8> {
    let size = (turn * 31 + part * 17_389) % 60_000;
    (0..size).map(|at| (at * (turn + 1) + part) as u8).collect()
}

fn write_for_ever(store: &Store) {
    say("started");
    for turn in 0.. {
        let mut commit = Commit::default();
        for part in 0..3 {
            let mut writer = store.writer().unwrap();
            writer.write_all(&content(turn, part)).unwrap();
            commit.objects.push(writer.finish().unwrap());
        }
        let blobs: Vec<Blob> = commit.objects.iter().map(|object| object.blob()).collect();
        let body = serde_json::to_vec(&blobs).unwrap();
        commit.artifacts.push(body.clone());
        commit.records.push((Digest::of(&turn.to_le_bytes()), body));
        store.commit(commit).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_nothing_broken() {
    let (folder, store) = cache();
    let mut records = 0;
    let mut leftovers = 0;
    for moment in moments(20) {
        let mut writer = Player::start("write", folder.path(), MINUTE);
        writer.hear().unwrap();
        thread::sleep(moment);
        writer.kill();

        let damages = store.verify(Repair::Report, |_| ()).unwrap();
        assert!(damages.is_empty(), "{damages:?}");
        records = (0..).take_while(|turn: &u64| check_record(&store, *turn)).count();
        leftovers += fs::read_dir(folder.path().join("work/tmp")).unwrap().count();
        assert!(store.sweep().unwrap().failed.is_empty());
        assert_eq!(fs::read_dir(folder.path().join("work/tmp")).unwrap().count(), 0);
    }
    assert!(records > 0, "no writer lived long enough");
    assert!(leftovers > 0, "no writer was killed at work");
}

/// Whether there is a record of a turn; everything that it refers to must exist.
fn check_record(store: &Store, turn: u64) -> bool {
    let Some(body) = store.record(&Digest::of(&turn.to_le_bytes())).unwrap() else { return false };
    assert_eq!(store.artifact(&Digest::of(&body)).unwrap(), body);
    let blobs: Vec<Blob> = serde_json::from_slice(&body).unwrap();
    for (part, blob) in (0..).zip(&blobs) {
        assert!(store.holds(blob));
        assert_eq!(store.read(blob).unwrap(), content(turn, part));
    }
    true
}

const RACES: u64 = 60;

fn race(store: &Store) {
    say("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for turn in 0..RACES {
        let body = format!("{} {turn}", std::process::id()).into_bytes();
        let key = Digest::of(&turn.to_le_bytes());
        let published = store.commit(Commit { records: vec![(key, body)], ..Commit::default() }).unwrap();
        match &published[..] {
            [Published::First] => say("first"),
            [Published::Lost(body)] => say(String::from_utf8_lossy(body)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn of_racing_processes_one_is_first_and_all_see_the_same_record() {
    let (folder, store) = cache();
    let program = std::env::current_exe().unwrap();
    let mut racers: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(&program);
            command.args(Player::ARGS).stdin(Stdio::piped());
            Player::spawn(&mut command, "race", folder.path(), MINUTE)
        })
        .collect();
    racers.iter_mut().for_each(|racer| assert_eq!(racer.hear().unwrap(), "ready"));
    racers.iter_mut().for_each(|racer| racer.child.stdin.take().unwrap().write_all(b"\n").unwrap());
    for turn in 0..RACES {
        let record = store.record(&Digest::of(&turn.to_le_bytes()));
        let heard: Vec<_> = racers.iter_mut().map(|racer| racer.hear().unwrap()).collect();
        let record = record.unwrap().or_else(|| store.record(&Digest::of(&turn.to_le_bytes())).unwrap());
        let record = String::from_utf8(record.unwrap()).unwrap();
        assert_eq!(heard.iter().filter(|what| *what == "first").count(), 1, "{heard:?}");
        assert!(heard.iter().all(|what| what == "first" || *what == record), "{heard:?} {record}");
    }
}

fn hold(store: &Store) {
    let Acquire::Held(lease) = store.acquire(&Digest::of(b"key")).unwrap() else { panic!("busy") };
    say("held");
    while !lease.is_lost() {
        thread::sleep(Duration::from_millis(5));
    }
    say("lost");
}

#[test]
fn the_lease_of_a_killed_process_is_free_at_once() {
    let (folder, store) = cache();
    let key = Digest::of(b"key");
    let mut owner = Player::start("hold", folder.path(), MINUTE);
    assert_eq!(owner.hear().unwrap(), "held");
    let Acquire::Busy(holder) = store.acquire(&key).unwrap() else { panic!("robbed") };
    assert_eq!((holder.pid, holder.fence), (owner.child.id(), 1));

    // Killed, but not yet waited for: a zombie counts as dead.
    let killed = Instant::now();
    owner.child.kill().unwrap();
    let lease = loop {
        if let Acquire::Held(lease) = store.acquire(&key).unwrap() {
            break lease;
        }
        assert!(killed.elapsed() < Duration::from_secs(5), "waits for a dead owner");
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(lease.fence(), 2);
    drop(lease);
    assert!(store.leases().unwrap().is_empty());
}

#[test]
fn a_living_owner_is_not_robbed() {
    let (folder, _) = cache();
    let patience = Duration::from_millis(600);
    let store = Store::open_with(folder.path(), Options { lease_patience: patience }).unwrap();
    let mut owner = Player::start("hold", folder.path(), patience);
    assert_eq!(owner.hear().unwrap(), "held");
    let mut watch = store.watch(&Digest::of(b"key"));
    let started = Instant::now();
    while started.elapsed() < 4 * patience {
        assert!(matches!(watch.poll().unwrap(), Acquire::Busy(_)));
        assert!(store.sweep().unwrap().failed.is_empty());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stopped_owner_is_superseded_and_learns_of_it() {
    let (folder, _) = cache();
    let patience = Duration::from_millis(600);
    let store = Store::open_with(folder.path(), Options { lease_patience: patience }).unwrap();
    let mut owner = Player::start("hold", folder.path(), patience);
    assert_eq!(owner.hear().unwrap(), "held");
    owner.signal(Signal::STOP);
    let stopped = Instant::now();
    let mut watch = store.watch(&Digest::of(b"key"));
    let lease = loop {
        if let Acquire::Held(lease) = watch.poll().unwrap() {
            break lease;
        }
        assert!(stopped.elapsed() < 20 * patience, "waits for ever");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(stopped.elapsed() >= patience);
    owner.signal(Signal::CONT);
    assert_eq!(owner.hear().unwrap(), "lost");
    owner.child.wait().unwrap();
    lease.check().unwrap();
}

fn train_for_ever(store: &Store) {
    let AcquireDurable::Held(durable) = store.durable(&Digest::of(b"run")).unwrap() else { panic!("busy") };
    let last = durable.checkpoints().unwrap().pop();
    let from = last.map_or(0, |checkpoint| checkpoint.meta["step"].as_u64().unwrap());
    say(from);
    for step in from + 1.. {
        let name = format!("{step:08}");
        let weights = content(step, 1);
        let files = [("weights", Content::Bytes(&weights)), ("state", Content::Bytes(name.as_bytes()))];
        durable.checkpoint(&name, &files, &serde_json::json!({ "step": step })).unwrap();
        durable.keep(&[&name]).unwrap();
        say(step);
    }
}

#[test]
fn a_killed_trainer_goes_on_from_its_last_checkpoint() {
    let (folder, store) = cache();
    let key = Digest::of(b"run");
    let mut written = 0;
    for moment in moments(12) {
        let mut trainer = Player::start("train", folder.path(), MINUTE);
        let from: u64 = trainer.hear().unwrap().parse().unwrap();
        assert!(from >= written, "step {written} was on the disk, goes on from {from}");
        thread::sleep(moment);
        trainer.kill();
        written = std::iter::from_fn(|| trainer.hear()).last().map_or(from, |step| step.parse().unwrap());
    }
    assert!(written > 0, "no trainer lived long enough");
    let AcquireDurable::Held(durable) = store.durable(&key).unwrap() else { panic!("busy") };
    let last = durable.checkpoints().unwrap().pop().unwrap();
    let step = last.meta["step"].as_u64().unwrap();
    assert_eq!(fs::read(last.path("weights").unwrap()).unwrap(), content(step, 1));
    durable.remove().unwrap();
    assert!(store.sweep().unwrap().failed.is_empty());
    for left in ["work/durable", "work/leases"] {
        assert_eq!(fs::read_dir(folder.path().join(left)).unwrap().count(), 0, "{left}");
    }
}

/// Runs in a file system of 2 MiB.
fn fill(store: &Store) {
    let ballast = store.root().join("runs/ballast");
    fs::write(&ballast, vec![0; 500_000]).unwrap();
    let mut whole = Vec::new();
    let error = loop {
        match store.put(&content(50_000 + whole.len() as u64, 2)) {
            Ok(blob) => whole.push(blob),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(!whole.is_empty());
    let mut writer = store.writer().unwrap();
    let error = writer.write_all(&vec![1; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(writer);
    assert!(store.verify(Repair::Report, |_| ()).unwrap().is_empty());
    whole.iter().for_each(|blob| assert_eq!(store.read(blob).unwrap().len() as u64, blob.size));

    fs::remove_file(ballast).unwrap();
    let blob = store.put(&content(50_000 + whole.len() as u64, 2)).unwrap();
    store.read(&blob).unwrap();
    say("well");
}

#[test]
fn a_full_disk_is_an_error_and_no_damage() {
    let mount = r#"mount -t tmpfs -o size=2m none "$0" && exec "$@""#;
    let unshare = |folder: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(folder);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let allowed = unshare(folder.path()).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no right to mount a small file system here");
        return;
    }
    let mut command = unshare(folder.path());
    command.arg(std::env::current_exe().unwrap()).args(Player::ARGS);
    let mut filler = Player::spawn(&mut command, "fill", folder.path(), MINUTE);
    assert_eq!(filler.hear().as_deref(), Some("well"));
}
