//! Records: the results of keys.
//!
//! A record file consists of its body, a line feed, the checksum of key and body in hexadecimal, and a line feed. Any
//! other file is not a record: it counts as absent, and is replaced by the next record.

use crate::files::{self, TempFile};
use crate::object::Staged;
use crate::{Digest, Error, Hasher, LeaseToken, Published, Result, Store};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Maximum size of a record; a larger file is damaged.
const RECORD_BYTES_MAX: u64 = 1 << 28;

/// Line feed, 64 digits, line feed.
const TRAILER_BYTES: usize = 66;

pub(crate) const RECORDS: &str = "records";

impl Store {
    /// Reads the record of a key; a damaged one counts as absent.
    pub fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.record_path(key);
        match files::read_at_most(&path, RECORD_BYTES_MAX) {
            Ok(text) => Ok(text.and_then(|text| unseal(key, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound || files::is_misplaced(&error) => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Whether there is a file for the record of a key that is not an intact record.
    pub fn has_damaged_record(&self, key: &Digest) -> bool {
        matches!(self.record(key), Ok(None)) && fs::symlink_metadata(self.record_path(key)).is_ok()
    }

    /// Removes the record of a key with the body `found`, because objects that it refers to are missing. Returns
    /// false if there was none, or if another record came since: that one is kept.
    ///
    /// Only for the holder of a lease, or a process that works for it.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lease is no longer held.
    pub fn retire(&self, key: &Digest, found: &[u8], lease: &LeaseToken) -> Result<bool> {
        lease.check(self)?;
        self.take_away(key, |body| body.is_none_or(|body| body == found))
    }

    /// Returns the path of the record of a key, whether or not it exists.
    pub fn record_path(&self, key: &Digest) -> PathBuf {
        self.sharded(RECORDS, key)
    }

    /// Links a record, which is already on the disk, to its name, unless another record has it.
    pub(crate) fn publish(&self, key: &Digest, record: &Staged) -> Result<Published> {
        let path = self.record_path(key);
        loop {
            if record.link(&path)? {
                return Ok(Published::First);
            }
            if let Some(body) = self.record(key)? {
                return Ok(Published::Lost(body));
            }
            // Damaged, or retired in the meantime.
            self.discard_record(key)?;
        }
    }

    /// Removes a damaged record; returns whether there was one. An intact record is kept.
    pub(crate) fn discard_record(&self, key: &Digest) -> Result<bool> {
        match self.record(key) {
            Ok(Some(_)) => Ok(false),
            _ => self.take_away(key, |body| body.is_none()),
        }
    }

    /// Removes a record if `is_wanted` returns true for its body, which is `None` for a damaged record.
    fn take_away(&self, key: &Digest, is_wanted: impl Fn(Option<&[u8]>) -> bool) -> Result<bool> {
        let path = self.record_path(key);
        let aside = TempFile::new(self.temp_name()?);
        match fs::rename(&path, aside.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(Error::io("remove", &path))?,
        }
        // Read only now: a good record may have been published since the last read.
        let text = files::read_at_most(aside.path(), RECORD_BYTES_MAX).ok().flatten();
        if !is_wanted(text.and_then(|text| unseal(key, text)).as_deref()) {
            aside.link(&path)?;
            return Ok(false);
        }
        if fs::symlink_metadata(aside.path()).is_ok_and(|metadata| metadata.is_dir()) {
            files::remove_dir(aside.path())?;
        }
        Ok(true)
    }
}

/// Builds the content of a record file.
pub(crate) fn seal(key: &Digest, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len() + TRAILER_BYTES);
    text.extend_from_slice(body);
    text.extend_from_slice(format!("\n{}\n", checksum(key, body)).as_bytes());
    text
}

/// Returns the body of a record file if it is intact and belongs to that key.
fn unseal(key: &Digest, mut text: Vec<u8>) -> Option<Vec<u8>> {
    let length = text.len().checked_sub(TRAILER_BYTES)?;
    let trailer = text.split_off(length);
    (trailer == format!("\n{}\n", checksum(key, &text)).as_bytes()).then_some(text)
}

/// Includes the key, so that a record under a wrong name is not valid.
fn checksum(key: &Digest, body: &[u8]) -> Digest {
    Hasher::derive("pipe record v1").update(key.as_bytes()).update(body).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_body_comes_back_and_any_changed_byte_is_seen(body: Vec<u8>, at: usize, flip in 1u8..) {
            let key = Digest::of(b"key");
            let text = seal(&key, &body);
            prop_assert_eq!(unseal(&key, text.clone()), Some(body));
            prop_assert_eq!(unseal(&Digest::of(b"other"), text.clone()), None);

            let mut damaged = text;
            let at = at % damaged.len();
            damaged[at] ^= flip;
            prop_assert_eq!(unseal(&key, damaged.clone()), None);
            damaged.truncate(at);
            prop_assert_eq!(unseal(&key, damaged), None);
        }
    }
}
