//! Owns: every way in which a stage can fail. One enum crosses the border between processes; its class
//! decides about retries and the exit code.

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// A stage's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a stage did not finish.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum Error {
    /// Data or settings are wrong; only a person can mend them.
    #[error("{message}")]
    Input {
        /// What is wrong, and where.
        message: String,
        /// What now.
        help: Option<String>,
    },
    /// A source file is not what it was when the plan was made.
    #[error("the source `{name}` changed while it was being read")]
    SourceChanged {
        /// Relative to its root.
        name: String,
    },
    /// The plan does not fit the stage any more: a share was not found.
    #[error("the plan is outdated: step `{step}` has no share with this key any more")]
    Outdated {
        /// The last step that was looked at.
        step: String,
    },
    /// Bytes of the cache are not what their digest says.
    #[error("object {digest} is damaged")]
    Damaged {
        /// Which object.
        digest: Digest,
    },
    /// An object is gone.
    #[error("object {digest} is missing from the cache")]
    Missing {
        /// Which object.
        digest: Digest,
    },
    /// No space is left.
    #[error("no space left on the file system of {path}")]
    DiskFull {
        /// What was being written.
        path: String,
    },
    /// The machine failed: a read, a write, a process.
    #[error("cannot {action}: {message}")]
    Machine {
        /// `read /data/x.html`.
        action: String,
        /// What the system said.
        message: String,
    },
    /// The cache cannot be used as it is; only a person can mend it.
    #[error("{message}")]
    Cache {
        /// What is wrong with it, and where.
        message: String,
    },
    /// Another process keeps checkpoints of the same work; the stage is entered again when it has let go.
    #[error("{holder} works in the same folder of checkpoints")]
    FolderBusy {
        /// Key of the durable folder.
        folder: Digest,
        /// Who works in it.
        holder: String,
    },
    /// Asked to stop; what was finished is kept.
    #[error("interrupted")]
    Interrupted,
    /// The system killed the process for want of memory.
    #[error("killed by the system for memory: it had used {peak_mib} MiB of the machine's {machine_mib} MiB")]
    OutOfMemory {
        /// The process's peak.
        peak_mib: u64,
        /// All that the machine, or its control group, has.
        machine_mib: u64,
    },
    /// The process ended without a word.
    #[error("the worker ended unexpectedly: {message}")]
    Died {
        /// Exit code or signal.
        message: String,
    },
    /// It ran longer than `timeout` allows.
    #[error("still running after {limit}, its `timeout`")]
    TimedOut {
        /// The limit: `1h30m`.
        limit: String,
    },
    /// A command says that it failed; whether that may go away, only its author knows.
    #[error("the command ended with {status}")]
    Command {
        /// `exit status: 3`.
        status: String,
    },
    /// A bug in the stage.
    #[error("the stage panicked: {message}")]
    Panic {
        /// The panic's message and place.
        message: String,
    },
    /// Not an error: the way out of a stage that was entered for less than all of it.
    #[error("halted")]
    Halt(Halt),
}

/// Why a stage was left early, as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Halt {
    /// The shares that this process was to do are done.
    SharesDone,
    /// Counting: the first step with something to do.
    Missing {
        /// Its name.
        step: String,
        /// Keys of the shares to do, in the order of the step's items; for [`Mode::Shares`](crate::Mode::Shares).
        shares: Vec<Digest>,
        /// All shares.
        of: u64,
    },
}

/// What an error asks of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Trying again as it is cannot help.
    Final,
    /// May go away: `retry` applies.
    Transient,
    /// The plan has to be made again.
    Replan,
    /// Somebody else has to let go of something first.
    Busy,
    /// A person asked for it.
    Interrupted,
}

impl Error {
    /// Wrong data or settings.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input { message: message.into(), help: None }
    }

    /// Adds what to do, where the variant has room for it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Wraps an error of the system; a full disk becomes [`Error::DiskFull`].
    pub fn io(action: &str, path: &Path, source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.display().to_string() }
            }
            _ => Self::Machine {
                action: format!("{action} `{}`", path.display()),
                message: source.to_string(),
            },
        }
    }

    /// What this error asks of the engine.
    pub fn class(&self) -> Class {
        match self {
            Self::Input { .. }
            | Self::DiskFull { .. }
            | Self::Cache { .. }
            | Self::Panic { .. }
            | Self::Halt(_) => Class::Final,
            Self::Machine { .. }
            | Self::OutOfMemory { .. }
            | Self::Died { .. }
            | Self::TimedOut { .. }
            | Self::Command { .. } => Class::Transient,
            Self::SourceChanged { .. }
            | Self::Outdated { .. }
            | Self::Damaged { .. }
            | Self::Missing { .. } => Class::Replan,
            Self::FolderBusy { .. } => Class::Busy,
            Self::Interrupted => Class::Interrupted,
        }
    }
}

impl From<pipe_cache::Error> for Error {
    fn from(error: pipe_cache::Error) -> Self {
        use pipe_cache::Error as Cache;
        match error {
            Cache::Damaged { digest, .. } => Self::Damaged { digest },
            Cache::Missing { digest, .. } => Self::Missing { digest },
            Cache::Full { path, .. } => Self::DiskFull { path: path.display().to_string() },
            Cache::Io { action, path, source } => Self::io(action, &path, &source),
            Cache::Lost { key } => Self::Machine {
                action: format!("keep the lease on {}", key.short()),
                message: "another process took it over, because this one seemed dead".to_owned(),
            },
            other => Self::Cache { message: other.to_string() },
        }
    }
}

/// Runs a stage's code; its panic becomes an error.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Panic { message: text.unwrap_or("no message; see the log").to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_cache_says_once_what_failed() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = pipe_cache::Error::Io { action: "create", path: "/cache/x".into(), source };
        assert_eq!(Error::from(error).to_string(), "cannot create `/cache/x`: permission denied");
        let newer = pipe_cache::Error::Newer { path: "/cache".into(), found: 9, known: 1 };
        let error = Error::from(newer);
        assert_eq!(
            error.to_string(),
            "the cache `/cache` has format 9, and this program knows formats up to 1"
        );
        assert_eq!(error.class(), Class::Final);
    }
}
