//! The way out of the store: things go to a folder of their own first, and may come back from there.
//!
//! Owns: how something leaves. Knows not what is needed; whoever collects decides that, looks again when all
//! of it is aside, and puts back what somebody has asked for meanwhile.

use crate::audit::{Amount, EntryKind};
use crate::object::placed_at;
use crate::{Digest, Error, Result, Scratch, Store, files};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// Things that were taken out of a store, and are not deleted yet.
///
/// Dropped, or left behind by a crash, it takes them along: they were garbage when they were taken, and who
/// misses one makes it again.
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
    /// Takes a thing out of the store; false when it is gone, or was used by a commit at or after `before`.
    ///
    /// A commit that relies on an object makes it young first (see [`Store::commit`]), so what is old at this
    /// moment is relied on by no commit on its way.
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

    /// Lists what was taken.
    pub fn taken(&self) -> impl Iterator<Item = (EntryKind, Digest)> + use<'_> {
        self.taken.keys().copied()
    }

    /// Puts a thing back, unless an equal one came meanwhile.
    pub fn put_back(&mut self, kind: EntryKind, digest: &Digest) -> Result<()> {
        if self.taken.remove(&(kind, *digest)).is_none() {
            return Ok(());
        }
        let (place, path) = (self.place(kind, digest), self.store.sharded(kind.tree(), digest));
        // Link and not rename: what came meanwhile stays.
        match fs::hard_link(&place, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(Error::io("create", &path))?,
        }
        files::remove_file(&place).map(drop)
    }

    /// Deletes what was taken, and tells how much it was.
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
