//! Owns: what is wrong though work goes on. Knows nothing of what it is about.

use serde::{Deserialize, Serialize};

/// What is wrong though work goes on, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What happened, and to which file.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Warning {
    /// Leftovers that could not be deleted: a few of them, and how many more there are.
    pub(crate) fn of_leftovers(failed: &[pipe_cache::Error]) -> Vec<Self> {
        const TOLD_MAX: usize = 3;
        let one = |error: &pipe_cache::Error| Self {
            message: format!("leftovers of a dead process stay in the cache: {}", with_cause(error)),
            help: "delete them as a user who may; no result is lost with them".to_owned(),
        };
        let mut warnings: Vec<Self> = failed.iter().take(TOLD_MAX).map(one).collect();
        if failed.len() > TOLD_MAX {
            warnings.push(Self {
                message: format!(
                    "{} more leftovers of dead processes stay in the cache",
                    failed.len() - TOLD_MAX
                ),
                help: "delete what is older than this run in the cache's folder `work`".to_owned(),
            });
        }
        warnings
    }
}

/// An error of the cache with what the system said.
fn with_cause(error: &pipe_cache::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
