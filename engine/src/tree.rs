//! Owns: the processes that a process started, directly or indirectly. They are found by parent ids, which only Linux
//! shows; elsewhere none are found, and only the process group is signalled.
//!
//! A worker is a subreaper: if a process outlives its parent, it becomes a child of the worker, whatever session it
//! is in. So everything that a command started is below the worker until it ends.

use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    process::{Child, Command},
    sync::{
        OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The variable that marks processes whose worker was killed, whatever their parent is then.
pub(crate) const MARK: &str = "PIPE_WORKER";

/// The variable that marks observers, and what they start.
const OBSERVER_MARK: &str = "PIPE_OBSERVER";

/// Maximum number of searches for new processes: a process that only forks is stopped when its parent ends.
const PASSES_MAX: usize = 200;

/// All live processes below a process, parents before children.
pub(crate) fn below(root: Pid) -> Vec<Pid> {
    below_except(root, &BTreeSet::new())
}

/// The same, without some processes and those below them.
fn below_except(root: Pid, except: &BTreeSet<i32>) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in pids() {
        // Processes that have ended have no children and cannot be signalled.
        if let Some((_, parent)) = status(pid).filter(|(state, _)| !matches!(state, 'Z' | 'X'))
            && !except.contains(&pid)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), 0);
    found.extend(children.remove(&root.as_raw_nonzero().get()).into_iter().flatten());
    while let Some(pid) = found.get(next) {
        next += 1;
        let further = children.remove(pid);
        found.extend(further.into_iter().flatten());
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The children of a process, including zombies.
pub(crate) fn children(root: Pid) -> Vec<Pid> {
    let wanted = root.as_raw_nonzero().get();
    pids()
        .filter(|pid| status(*pid).is_some_and(|(_, parent)| parent == wanted))
        .filter_map(Pid::from_raw)
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The state of a process, and its parent.
fn status(pid: i32) -> Option<(char, i32)> {
    let (state, parent, ..) = fields(pid)?;
    Some((state, parent))
}

/// The session of a process: 0 if that began outside this container, where `getsid` has no process id to tell.
fn session(pid: Pid) -> Option<i32> {
    fields(pid.as_raw_nonzero().get()).map(|(.., session)| session)
}

/// The state of a process, its parent and its session.
fn fields(pid: i32) -> Option<(char, i32, i32)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // `7 (any name) S 1 …`: the name may contain anything.
    let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let text = String::from_utf8_lossy(&stat[behind..]).into_owned();
    let mut fields = text.split_ascii_whitespace();
    let (state, parent, _group) = (fields.next()?.chars().next()?, fields.next()?, fields.next()?);
    Some((state, parent.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Sends a signal to every process below a process, including those that are started meanwhile.
pub(crate) fn signal(root: Pid, signal: Signal) {
    let mut signalled = BTreeSet::new();
    for _ in 0..PASSES_MAX {
        let fresh: Vec<Pid> =
            below(root).into_iter().filter(|pid| signalled.insert(pid.as_raw_nonzero().get())).collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Sends SIGTERM to every process below a process, except those that were asked before and the processes that these
/// have started since.
///
/// All are stopped before the first is asked, so that none is missed, and none that is started to save work is asked.
pub(crate) fn ask(root: Pid, asked: &mut BTreeSet<i32>) {
    let (mut now, mut found) = (Vec::new(), BTreeSet::new());
    for _ in 0..PASSES_MAX {
        let fresh: Vec<Pid> = below_except(root, asked)
            .into_iter()
            .filter(|pid| found.insert(pid.as_raw_nonzero().get()))
            .collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            let _ = kill_process(pid, Signal::STOP);
            now.push(pid);
        }
    }
    for signal in [Signal::TERM, Signal::CONT] {
        for pid in &now {
            let _ = kill_process(*pid, signal);
        }
    }
    asked.append(&mut found);
}

/// Kills every process below a process; returns whether there was any.
pub(crate) fn end_below(root: Pid) -> bool {
    let mut any = false;
    for _ in 0..PASSES_MAX {
        let left = below(root);
        if left.is_empty() {
            break;
        }
        any = true;
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    any
}

/// The mark of this process's workers: each has it as the prefix of its own mark.
pub(crate) fn mark() -> &'static str {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        format!("{}-{now:x}-", std::process::id())
    })
}

/// Whether processes that outlive their worker become this process's children.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Held while this process starts another: until that has its mark, nobody can tell whose it is.
static STARTING: RwLock<()> = RwLock::new(());

/// Makes processes that outlive their worker the children of this process, which then ends them. For a program that
/// runs pipelines and starts nothing else in sessions of their own. Linux only; elsewhere it does nothing.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if rustix::process::set_child_subreaper(Some(getpid())).is_ok() {
        ADOPTS.store(true, Ordering::Relaxed);
    }
}

/// Starts a process that has a mark of ours, or stays in this session.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Ends the children of this process that no worker answers for: in sessions of their own, and without a mark of
/// ours. Those are what killed workers left.
pub(crate) fn end_orphans() {
    if !ADOPTS.load(Ordering::Relaxed) {
        return;
    }
    let _nothing_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    let own = session(getpid());
    for child in children(getpid()) {
        let is_ours = || {
            fs::read(format!("/proc/{}/environ", child.as_raw_nonzero())).is_ok_and(|all| {
                all.split(|byte| matches!(byte, 0 | b'=')).any(|value| value.starts_with(mark().as_bytes()))
            })
        };
        let is_apart = session(child).is_some_and(|session| own.is_some_and(|own| own != session));
        if is_apart && !is_ours() {
            let _ = kill_process(child, Signal::STOP);
            end_below(child);
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

/// Marks a program that is no worker, and all that it starts.
#[derive(Debug)]
pub struct Mark(String);

impl Mark {
    /// Ends every process that has this mark. Linux only; elsewhere it does nothing.
    pub fn end_all(&self) {
        end_all(&format!("{OBSERVER_MARK}={}", self.0));
    }
}

/// Starts a program that belongs to the run, but is no worker: it has a mark of its own.
///
/// # Errors
///
/// If it cannot be started.
pub fn start_marked(command: &mut Command) -> io::Result<(Child, Mark)> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let value = format!("{}{}-", mark(), STARTED.fetch_add(1, Ordering::Relaxed));
    let child = start(command.env(OBSERVER_MARK, &value))?;
    Ok((child, Mark(value)))
}

/// Ends every other process whose worker's mark begins so.
pub(crate) fn end_marked(mark: &str) {
    end_all(&format!("{MARK}={mark}"));
}

/// Ends every other process that has a variable which begins so.
fn end_all(wanted: &str) {
    let is_wanted = |pid: &i32| {
        *pid != std::process::id() as i32
            && fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one.starts_with(wanted.as_bytes())))
    };
    for _ in 0..PASSES_MAX {
        let left: Vec<Pid> = pids().filter(is_wanted).filter_map(Pid::from_raw).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn processes_below_are_found_and_ended() {
        let mut child = Command::new("sh")
            .args(["-c", "(sleep 60 & sleep 60) & sleep 60 | sleep 60"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let root = Pid::from_raw(child.id() as i32).unwrap();
        while below(root).len() < 4 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(below(rustix::process::getpid()).contains(&root));
        assert!(end_below(root));
        // The children of the process that ended first have another parent by now, and are killed here too.
        assert!(below(root).is_empty());
        let _ = child.kill();
        child.wait().unwrap();
    }
}
