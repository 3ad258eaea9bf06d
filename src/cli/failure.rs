//! The ways in which a command can fail, and the exit code of each.

use crate::{
    lock::LockError,
    manifest::Report,
    plan::{PlanError, UnsettledError},
    record::JournalError,
    run::{folder::RunFolderError, seen::EventsError},
    ui::{self, Style},
};
use std::io::Write;

/// Why a command failed.
pub(super) enum Failure {
    /// The manifest has errors.
    Manifest(Box<Report>),
    /// The command line has an error: message and help.
    Usage(String, Option<String>),
    /// Something failed: message and help.
    Failed(String, Option<String>),
    /// A stage failed, and the error has already been printed.
    Reported,
    /// A stage would run (`plan --detailed-exitcode`).
    WouldRun,
    /// The run was interrupted.
    Interrupted,
    /// A worker ended with this code, which only the engine reads.
    Worker(u8),
}

pub(super) type Outcome = Result<(), Failure>;

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Cache(error) => error.into(),
            PlanError::Journal(error) => error.into(),
        }
    }
}

impl From<UnsettledError> for Failure {
    fn from(error: UnsettledError) -> Self {
        match error {
            UnsettledError::Plan(error) => error.into(),
            UnsettledError::Refused(report) => Self::Manifest(report),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Usage(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<EventsError> for Failure {
    fn from(error: EventsError) -> Self {
        Self::Usage(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<Box<Report>> for Failure {
    fn from(report: Box<Report>) -> Self {
        Self::Manifest(report)
    }
}

impl From<pipe_cache::Error> for Failure {
    fn from(error: pipe_cache::Error) -> Self {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        let message = format!("{error}{}", source.unwrap_or_default());
        match error.help() {
            Some(help) => Self::Usage(message, Some(help.to_owned())),
            None => Self::Failed(message, None),
        }
    }
}

impl From<RunFolderError> for Failure {
    fn from(error: RunFolderError) -> Self {
        Self::Usage(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Usage(error.to_string(), Some(error.help().to_owned()))
    }
}

impl From<pipe_stage::Error> for Failure {
    fn from(error: pipe_stage::Error) -> Self {
        let help = match &error {
            pipe_stage::Error::Input { help, .. } => help.clone(),
            pipe_stage::Error::DiskFull { .. } => {
                Some("free some disk space and run again; finished work is kept".to_owned())
            }
            pipe_stage::Error::Damaged { .. } | pipe_stage::Error::Missing { .. } => Some(
                "`pipe cache verify --repair` removes damaged entries; `pipe run` recomputes them".to_owned(),
            ),
            _ => None,
        };
        Self::Failed(error.to_string(), help)
    }
}

impl Failure {
    /// Prints the failure to stderr and returns its exit code. No other code decides on an exit code.
    pub(super) fn report(self, style: Style) -> u8 {
        let say = |message: &str, help: Option<&str>| {
            if style.json {
                ui::print(&ui::json(&serde_json::json!({ "version": 1, "error": message, "help": help })));
            }
            ui::say(&format!("error: {message}"));
            if let Some(help) = help {
                ui::say(&format!("help: {help}"));
            }
        };
        match self {
            Self::Manifest(report) => {
                if style.json {
                    ui::print(&ui::json(&report.to_json()));
                }
                let colour = if style.terminal { ui::Colour::Ansi } else { ui::Colour::Plain };
                // Text from the manifest is escaped where errors are created; escape codes in `text` are colours.
                let text = ui::faults(&report, colour, ui::columns().min(100));
                let _ = std::io::stderr().write_all(text.as_bytes());
                2
            }
            Self::Usage(message, help) => {
                say(&message, help.as_deref());
                2
            }
            Self::Failed(message, help) => {
                say(&message, help.as_deref());
                1
            }
            Self::Reported => 1,
            Self::WouldRun => 3,
            Self::Interrupted => 130,
            Self::Worker(code) => code,
        }
    }
}
