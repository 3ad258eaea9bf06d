//! Identifies processes that own something, and whether they still run.
//!
//! Owns: the identity of a process across machines, reboots, containers and reused process ids. Nothing here depends
//! on what is owned.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;
use std::sync::OnceLock;

/// A process, with an identity that is never reused.
///
/// Its text form `HOST.BOOT.NAMESPACE.PID.START` is a valid file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// 16 hexadecimal digits of the hash of machine id and host name; `-` if unknown.
    host: String,
    /// The kernel's boot id, 32 hexadecimal digits; `-` if unknown.
    boot: String,
    /// The inode of the namespace of `pid`; 0 if unknown.
    namespace: u64,
    /// The process id.
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot; 0 if unknown.
    start: u64,
}

/// Whether an owner is alive, as far as can be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs on this machine.
    Alive,
    /// It ran on this machine and has ended.
    Gone,
    /// It cannot be seen from here: it runs on another machine or in another container.
    Unknown,
}

impl Owner {
    /// The calling process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            // The process id in /proc is the one that others see there.
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

    /// Checks whether the owner still runs.
    pub fn liveness(&self) -> Liveness {
        let here = Self::current();
        if self == here {
            return Liveness::Alive;
        }
        let known = |text: &str| text != "-";
        if self.boot != here.boot {
            // Machine id and host name are the same, so the machine was restarted.
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

    /// Asks the kernel if /proc is missing or hides the processes of others.
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

/// A text that does not identify an owner.
#[derive(Debug, thiserror::Error)]
#[error("this does not identify a process")]
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

/// A number that no other process has, and that this process never returns again.
///
/// It is random, since process ids, start times and clocks repeat across containers and hosts.
pub fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| {
        // The standard library seeds it with the system's random numbers.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    });
    seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The host name, for display.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Machine ids alone may be the same on all nodes that boot one image, and host names alone are often `localhost`.
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

/// The relevant part of `/proc/PID/stat`.
struct Status {
    pid: u32,
    /// A zombie: it has ended, and its parent has not waited for it.
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

    /// Field 3 is the state and field 22 the start time; field 2, the name, may contain spaces and brackets.
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
