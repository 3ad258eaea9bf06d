//! Every way in which a stage can fail. The enum is passed between processes; its class decides about retries and the
//! exit code.

use pipe_cache::Digest;
use serde::{Deserialize, Serialize};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// The result of a stage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a stage did not finish.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum Error {
    /// Data or settings are wrong and have to be fixed by the user.
    #[error("{message}")]
    Input {
        /// What is wrong, and where.
        message: String,
        /// What to run.
        help: Option<String>,
    },
    /// A source file changed after the plan was made.
    #[error("the source `{name}` changed while it was being read")]
    SourceChanged {
        /// Path relative to its root.
        name: String,
    },
    /// The plan no longer matches the stage: a share was not found.
    #[error("the plan is outdated: step `{step}` has no task with this key any more")]
    Outdated {
        /// The last step that was examined.
        step: String,
    },
    /// The content of an object does not match its digest.
    #[error("object {digest} is damaged")]
    Damaged {
        /// Which object.
        digest: Digest,
    },
    /// An object is missing.
    #[error("object {digest} is missing from the cache")]
    Missing {
        /// Which object.
        digest: Digest,
    },
    /// The disk is full.
    #[error("no space left on the file system of {path}")]
    DiskFull {
        /// What was being written.
        path: String,
    },
    /// An operation of the system failed: reading, writing, starting a process.
    #[error("cannot {action}: {message}")]
    Machine {
        /// `read /data/x.html`.
        action: String,
        /// The system's error message.
        message: String,
    },
    /// The cache cannot be used in its current state and has to be fixed by the user.
    #[error("{message}")]
    Cache {
        /// What is wrong with it, and where.
        message: String,
    },
    /// Another process keeps checkpoints of the same work; the stage is entered again when it has let go.
    #[error("{holder} uses the same checkpoint folder")]
    FolderBusy {
        /// Key of the durable folder.
        folder: Digest,
        /// Who works in it.
        holder: String,
    },
    /// A stop was requested; finished work is kept.
    #[error("interrupted")]
    Interrupted,
    /// The system killed the process because memory ran out.
    #[error("killed by the system for memory: it had used {peak_mib} MiB of the machine's {machine_mib} MiB")]
    OutOfMemory {
        /// Peak memory of the process.
        peak_mib: u64,
        /// Memory of the machine, or of its control group.
        machine_mib: u64,
    },
    /// The process ended without reporting a result.
    #[error("the worker ended unexpectedly: {message}")]
    Died {
        /// Exit code or signal.
        message: String,
    },
    /// The stage exceeded its `timeout`.
    #[error("still running after its `timeout` of {limit}")]
    TimedOut {
        /// The limit: `1h30m`.
        limit: String,
    },
    /// A command reported failure. Whether a retry can help is not known.
    #[error("the command ended with {status}")]
    Command {
        /// `exit status: 3`.
        status: String,
    },
    /// A bug in the stage.
    #[error("the stage panicked: {message}")]
    Panic {
        /// The panic's message and location.
        message: String,
    },
    /// Not an error: a stage was entered for less than all of its work, and left early.
    #[error("halted")]
    Halt(Halt),
}

/// Why a stage was left early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Halt {
    /// The requested shares are finished.
    SharesDone,
    /// Counting: the first step with missing shares.
    Missing {
        /// Its name.
        step: String,
        /// Keys of the missing shares, in the order of the step's items; for [`Mode::Shares`](crate::Mode::Shares).
        shares: Vec<Digest>,
        /// Number of all shares.
        of: u64,
    },
}

/// How the engine reacts to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A retry cannot help.
    Final,
    /// A retry may help: `retry` applies.
    Transient,
    /// A new plan is needed.
    Replan,
    /// Somebody else has to let go of something first.
    Busy,
    /// The user requested it.
    Interrupted,
}

impl Error {
    /// Creates an error about wrong data or settings.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input { message: message.into(), help: None }
    }

    /// Adds a help text, if the variant has one.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Wraps an I/O error; a full disk becomes [`Error::DiskFull`].
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

    /// How the engine reacts to this error.
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
                message: "another process took it over because this one appeared dead".to_owned(),
            },
            other => Self::Cache { message: other.to_string() },
        }
    }
}

/// Runs a stage's code and turns a panic into an error.
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
            "the cache `/cache` has format 9, but this program supports formats up to 1"
        );
        assert_eq!(error.class(), Class::Final);
    }
}
