//! Values that all shares of a process read from the same file. Nothing here depends on what they are.

use pipe_stage::{Digest, LocalEntry, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// The value of the file that was read last: making it may take longer than the work of a share.
pub(crate) struct Memo<T>(Mutex<Option<(Digest, Arc<T>)>>);

impl<T> Memo<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The value of a file, made by `read` unless it was the last one.
    pub(crate) fn get(&self, entry: &LocalEntry, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<Arc<T>> {
        // Held while the file is read, so that shares that start together read it once. A panic leaves the value
        // unchanged.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, value)) = &*last
            && *digest == entry.digest()
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(read(&entry.bytes()?)?);
        *last = Some((entry.digest(), Arc::clone(&value)));
        Ok(value)
    }
}
