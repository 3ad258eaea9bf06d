//! Removal from the store: entries are first moved to a separate folder, and may be put back.
//!
//! Owns: how entries are removed. It does not know what is needed: the caller decides that, checks again when
//! everything is moved away, and puts back what is needed by then.

use crate::audit::{Amount, EntryKind};
use crate::object::placed_at;
use crate::{Digest, Error, Result, Scratch, Store, files};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// Entries that were moved out of a store, and are not deleted yet.
///
/// If dropped, or left behind by a crash, they are deleted: they were garbage when they were taken, and can be
/// computed again.
#[derive(Debug)]
pub struct Trash {
    store: Store,
    folder: Scratch,
    taken: BTreeMap<(EntryKind, Digest), u64>,
}

impl Store {
    /// Starts to collect garbage.
    pub fn trash(&self) -> Result<Trash> {
        Ok(Trash { store: self.clone(), folder: self.scratch()?, taken: BTreeMap::new() })
    }
}

impl Trash {
    /// Moves an entry out of the store; returns false if it is gone, or was used by a commit at or after `before`.
    ///
    /// A commit that relies on an object updates its ctime first (see [`Store::commit`]), so no pending commit relies
    /// on an entry that is old now.
    pub fn take(&mut self, kind: EntryKind, digest: &Digest, before: SystemTime) -> Result<bool> {
        let path = self.store.sharded(kind.tree(), digest);
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata.map_err(Error::io("examine", &path))?,
        };
        if placed_at(&metadata) >= before {
            return Ok(false);
        }
        match fs::rename(&path, self.place(kind, digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(Error::io("remove", &path))?,
        }
        self.store.forget(digest);
        self.taken.insert((kind, *digest), metadata.len());
        Ok(true)
    }

    /// Lists the entries that were taken.
    pub fn taken(&self) -> impl Iterator<Item = (EntryKind, Digest)> + use<'_> {
        self.taken.keys().copied()
    }

    /// Puts an entry back, unless an equal one was added in the meantime.
    pub fn put_back(&mut self, kind: EntryKind, digest: &Digest) -> Result<()> {
        if self.taken.remove(&(kind, *digest)).is_none() {
            return Ok(());
        }
        let (place, path) = (self.place(kind, digest), self.store.sharded(kind.tree(), digest));
        // Link instead of rename, which would replace an entry added in the meantime.
        match fs::hard_link(&place, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(Error::io("create", &path))?,
        }
        files::remove_file(&place).map(drop)
    }

    /// Deletes the entries that were taken, and returns their number and size.
    pub fn empty(self) -> Amount {
        let mut amount = Amount::default();
        self.taken.values().for_each(|bytes| amount.add(*bytes));
        amount
    }

    fn place(&self, kind: EntryKind, digest: &Digest) -> PathBuf {
        self.folder.path().join(format!("{kind}-{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("cache")).unwrap();
        (folder, store)
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_is_taken_is_gone_and_comes_back_as_it_was() {
        let (_folder, store) = store();
        let blob = store.put(b"bytes").unwrap();
        let mut trash = store.trash().unwrap();
        assert!(trash.take(EntryKind::Object, &blob.digest, later()).unwrap());
        assert!(!store.holds(&blob));
        trash.put_back(EntryKind::Object, &blob.digest).unwrap();
        assert!(store.holds(&blob));
        assert_eq!(store.read(&blob).unwrap(), b"bytes");
        assert_eq!(trash.empty(), Amount::default());
        assert!(store.holds(&blob));
    }

    #[test]
    fn what_is_emptied_is_deleted() {
        let (_folder, store) = store();
        let blob = store.put(b"bytes").unwrap();
        let mut trash = store.trash().unwrap();
        trash.take(EntryKind::Object, &blob.digest, later()).unwrap();
        assert_eq!(trash.empty(), Amount { files: 1, bytes: 5 });
        assert!(!store.holds(&blob));
        assert!(
            files::list(&store.root().join("work/tmp"))
                .unwrap()
                .iter()
                .all(|(_, own)| { files::list(own).unwrap().is_empty() })
        );
    }

    #[test]
    fn what_is_young_stays() {
        let (_folder, store) = store();
        let blob = store.put(b"bytes").unwrap();
        let mut trash = store.trash().unwrap();
        let earlier = SystemTime::now() - Duration::from_secs(60);
        assert!(!trash.take(EntryKind::Object, &blob.digest, earlier).unwrap());
        assert!(store.holds(&blob));
    }

    #[test]
    fn what_was_made_again_meanwhile_stays() {
        let (_folder, store) = store();
        let blob = store.put(b"bytes").unwrap();
        let mut trash = store.trash().unwrap();
        trash.take(EntryKind::Object, &blob.digest, later()).unwrap();
        store.put(b"bytes").unwrap();
        trash.put_back(EntryKind::Object, &blob.digest).unwrap();
        assert_eq!(store.read(&blob).unwrap(), b"bytes");
        assert!(store.holds(&blob));
    }
}
