//! Which process owns something, and whether that process is still there.
//!
//! Owns: the identity of a process across machines, reboots, containers and reused process numbers.
//! Knows nothing of what is owned.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;
use std::sync::OnceLock;

/// A process, so named that no two are ever confused.
///
/// Its text form `HOST.BOOT.NAMESPACE.PID.START` is a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// 16 hexadecimal digits of the hash of machine id and host name; `-` where unknown.
    host: String,
    /// The kernel's boot id, 32 hexadecimal digits; `-` where unknown.
    boot: String,
    /// The inode of the namespace that `pid` counts in; 0 where unknown.
    namespace: u64,
    /// The process number.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot; 0 where unknown.
    start: u64,
}

/// What is known of an owner from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs on this machine.
    Alive,
    /// It ran on this machine, and is no more.
    Gone,
    /// It cannot be seen from here: another machine, or another container.
    Unknown,
}

impl Owner {
    /// The process that asks.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            // The number that /proc shows is the one that others find there.
            let status = Status::read("self").filter(|status| status.pid == pid);
            Self {
                host: host(),
                boot: boot(),
                namespace: namespace(),
                pid,
                start: status.map_or(0, |status| status.start),
            }
        })
    }

    /// Finds out whether the owner still runs.
    pub fn liveness(&self) -> Liveness {
        let here = Self::current();
        if self == here {
            return Liveness::Alive;
        }
        let known = |text: &str| text != "-";
        if self.boot != here.boot {
            // Both machine id and host name are the same, so the machine was restarted since.
            let restarted = self.host == here.host && known(&self.host) && known(&self.boot);
            return if restarted { Liveness::Gone } else { Liveness::Unknown };
        }
        let same_machine = known(&self.boot) || (known(&self.host) && self.host == here.host);
        if !same_machine || self.namespace != here.namespace {
            return Liveness::Unknown;
        }
        match Status::read(self.pid) {
            Some(status) if status.start != self.start => Liveness::Gone,
            Some(status) if status.ended => Liveness::Gone,
            Some(_) => Liveness::Alive,
            None => self.liveness_by_signal(),
        }
    }

    /// Asks the kernel where /proc is missing, or hides the processes of others.
    fn liveness_by_signal(&self) -> Liveness {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        match pid.map(rustix::process::test_kill_process) {
            Some(Err(rustix::io::Errno::SRCH)) => Liveness::Gone,
            _ => Liveness::Unknown,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, boot, namespace, pid, start } = self;
        write!(f, "{host}.{boot}.{namespace}.{pid}.{start}")
    }
}

/// A text that names no owner.
#[derive(Debug, thiserror::Error)]
#[error("this names no process")]
pub struct ParseOwnerError;

impl FromStr for Owner {
    type Err = ParseOwnerError;

    fn from_str(text: &str) -> Result<Self, ParseOwnerError> {
        let fields: Vec<_> = text.splitn(6, '.').collect();
        let [host, boot, namespace, pid, start] = fields[..] else { return Err(ParseOwnerError) };
        let number = |field: &str| field.parse::<u64>().map_err(|_| ParseOwnerError);
        Ok(Self {
            host: host.to_owned(),
            boot: boot.to_owned(),
            namespace: number(namespace)?,
            pid: pid.parse().map_err(|_| ParseOwnerError)?,
            start: number(start)?,
        })
    }
}

/// A number that no other process has, and that this one never gives again.
///
/// Process numbers, start times and clocks repeat over containers and hosts; this is random.
pub fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| {
        // The standard library seeds it from the system's random numbers.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    });
    seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The name of this machine, for people.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Machine ids alone may be baked into an image that many nodes boot; host names alone are often `localhost`.
fn host() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if cfg!(target_os = "linux") && id.trim().is_empty() {
        return "-".to_owned();
    }
    let text = format!("{}\n{}", id.trim(), host_name());
    crate::Digest::derive("pipe host v1", text.as_bytes()).to_string()[..16].to_owned()
}

fn boot() -> String {
    match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().chars().filter(char::is_ascii_alphanumeric).collect(),
        Err(_) => "-".to_owned(),
    }
}

/// Reads the number in `pid:[4026531836]`.
fn namespace() -> u64 {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

/// The part of `/proc/PID/stat` that matters here.
struct Status {
    pid: u32,
    /// It has ended, and only waits for its parent to notice.
    ended: bool,
    start: u64,
}

impl Status {
    fn read(pid: impl fmt::Display) -> Option<Self> {
        match fs::read(format!("/proc/{pid}/stat")) {
            Ok(stat) => Self::parse(&String::from_utf8_lossy(&stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => None,
        }
    }

    /// Field 3 is the state and field 22 the start; field 2, the name, may itself hold blanks and brackets.
    fn parse(stat: &str) -> Option<Self> {
        let (head, tail) = stat.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<_> = tail.split_ascii_whitespace().collect();
        let ended = matches!(*fields.first()?, "Z" | "X" | "x");
        Some(Self { pid, ended, start: fields.get(19)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_name_comes_back() {
        let current = Owner::current();
        assert_eq!(current.liveness(), Liveness::Alive);
        assert_eq!(&current.to_string().parse::<Owner>().unwrap(), current);
    }

    #[test]
    fn a_reused_process_number_is_another_process() {
        if Owner::current().start == 0 {
            return; // no /proc here
        }
        let earlier = Owner { start: Owner::current().start - 1, ..Owner::current().clone() };
        assert_eq!(earlier.liveness(), Liveness::Gone);
    }

    #[test]
    fn a_process_of_elsewhere_is_unknown() {
        let elsewhere = Owner { host: "elsewhere".into(), boot: "other".into(), ..Owner::current().clone() };
        assert_eq!(elsewhere.liveness(), Liveness::Unknown);
        let contained = Owner { namespace: 1, pid: 1 << 21, ..Owner::current().clone() };
        assert_eq!(contained.liveness(), Liveness::Unknown);
    }

    #[test]
    fn status_survives_a_name_with_brackets() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        let status = Status::parse(stat).unwrap();
        assert_eq!((status.pid, status.ended, status.start), (42, false, 777));
    }
}
