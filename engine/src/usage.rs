//! Owns: resource usage of processes, by `wait4` and `getrusage`, which neither std nor rustix provides.

use rustix::process::Pid;
use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::atomic::{AtomicU64, Ordering},
};

/// Resources used by a process and all its descendants that were waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds of CPU time.
    pub cpu_seconds: f64,
    /// Peak memory of the largest of these processes, in bytes.
    pub memory_peak: u64,
}

/// Whether to wait until a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Wait.
    Ended,
    /// Return at once.
    Now,
}

/// Peak memory of the children that [`wait`] has waited for since the last [`since`].
static CHILDREN_PEAK: AtomicU64 = AtomicU64::new(0);

/// Waits for a child; `None` if it has not ended.
#[expect(unsafe_code, reason = "the call fills two plain structs")]
pub fn wait(child: Pid, until: Until) -> io::Result<Option<(ExitStatus, Usage)>> {
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    let options = if until == Until::Now { libc::WNOHANG } else { 0 };
    loop {
        // SAFETY: both pointers are to live, writable structs of the right type.
        match unsafe { libc::wait4(child.as_raw_nonzero().get(), &mut status, options, &mut usage) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => {
                let usage = Usage::of(&usage);
                CHILDREN_PEAK.fetch_max(usage.memory_peak, Ordering::Relaxed);
                return Ok(Some((ExitStatus::from_raw(status), usage)));
            }
        }
    }
}

/// Total usage of this process and its children; the peak only covers children since the last [`since`].
pub fn total() -> Usage {
    let (own, children) = (of(libc::RUSAGE_SELF), of(libc::RUSAGE_CHILDREN));
    Usage {
        cpu_seconds: own.cpu_seconds + children.cpu_seconds,
        memory_peak: own.memory_peak.max(CHILDREN_PEAK.load(Ordering::Relaxed)),
    }
}

/// Usage since `before`, which is reset.
pub fn since(before: Usage) -> Usage {
    let total = total();
    CHILDREN_PEAK.store(0, Ordering::Relaxed);
    Usage { cpu_seconds: total.cpu_seconds - before.cpu_seconds, memory_peak: total.memory_peak }
}

#[expect(unsafe_code, reason = "the call fills a plain struct")]
fn of(whom: libc::c_int) -> Usage {
    // SAFETY: zeros are a valid value of this plain struct, and the pointer refers to it.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(whom, &mut usage);
        usage
    };
    Usage::of(&usage)
}

impl Usage {
    fn of(usage: &libc::rusage) -> Self {
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        Self {
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            memory_peak: usage.ru_maxrss as u64 * unit,
        }
    }
}
