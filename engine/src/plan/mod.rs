//! Owns: what a run would do: for each stage, whether it is cached, would run and why, or depends on one that would.
//! It reads the cache and writes nothing but stamps of sources.

pub mod key;

mod session;

pub mod why;

mod estimate;

mod planned;

mod frozen;

mod planning;

mod preview;

pub mod cost;

pub use estimate::Estimate;
pub use frozen::FROZEN_HELP;
pub(crate) use frozen::Kept;
pub use planned::{Planned, Stale, Verdict, Work};
pub use planning::{PlanError, UnsettledError};
pub use session::{Resolved, Session};
pub use why::Reason;
