//! Stores bytes under their BLAKE3 digest, and records under keys, with leases and durable folders, in one folder
//! that processes, users and machines can share.
//!
//! The invariant: **the cache knows no stages.** It does not know what a key is made of, what a record or an artifact
//! means, or who uses it. It only guarantees that
//!
//! - what is visible is complete: an object, artifact or record appears under its name complete and on the disk, or not
//!   at all, whichever process is killed and whenever;
//! - reads return what was written: bytes are checked against their digest whenever they are read for use, and damage
//!   is an [`Error::Damaged`], never ignored;
//! - the first record of a key wins, and all readers see the same one;
//! - one owner at a time holds the [`Lease`] of a key, a dead one loses it, and a late one does no harm.
//!
//! The folder layout is shown at [`Store`].

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

/// The result type of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
