//! Bytes by their BLAKE3 digest, records by key, leases and durable folders, in one folder that many
//! processes, users and machines may share.
//!
//! The invariant: **the cache knows no stages.** It does not know what a key is made of, what a record
//! or an artifact says, or who asks; it only promises that
//!
//! - what is visible is whole: an object, artifact or record appears under its name complete and on the
//!   disk, or not at all, whatever is killed and whenever;
//! - what is read is what was written: bytes are checked against their digest whenever they are read for
//!   use, and damage is an [`Error::Damaged`], never silence;
//! - the first record of a key wins, and everyone sees the same one;
//! - one owner at a time holds the [`Lease`] of a key, a dead one loses it, and a late one can do no harm.
//!
//! The folder is drawn in [`Store`].

mod digest;
mod error;
mod files;
mod owner;

mod store;

mod object;
mod record;

mod commit;

mod durable;
mod lease;

mod audit;
mod scratch;
mod trash;

pub use audit::{Amount, Damage, DamageCause, Entry, EntryKind, Progress, Repair, Usage};
pub use commit::{Commit, Published};
pub use digest::{Blob, Digest, Hasher, ParseDigestError};
pub use durable::{AcquireDurable, CheckpointRef, Content, Durable, DurableEntry};
pub use error::Error;
pub use lease::{Acquire, Holder, Lease, LeaseToken, Watch};
pub use object::{ObjectWriter, Staged};
pub use owner::{Liveness, Owner, ParseOwnerError, unique};
pub use scratch::{Scratch, Swept};
pub use store::{Options, Store};
pub use trash::Trash;

/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
