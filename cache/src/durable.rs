//! Durable folders: checkpoints that survive a crash.
//!
//! Each owner writes to a separate folder, `KEY/FENCE/`, so an owner that was presumed dead and continues late does
//! no harm. Its successor verifies what it left byte by byte, and links what is intact into its own folder. Files of
//! checkpoints are never modified.
//!
//! A checkpoint is a folder that is renamed to its final name once everything in it is on the disk. Its last file is
//! `manifest.json`:
//!
//! ```text
//! {"version": 1, "files": {"NAME": {"digest": "ab12…", "size": 42}, …}, "meta": …}
//! ```

use crate::audit::Amount;
use crate::files;
use crate::lease::{self, Purpose};
use crate::owner::{Liveness, Owner};
use crate::{Acquire, Blob, Digest, Error, Holder, Lease, Result, Store, Watch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MANIFEST: &str = "manifest.json";
const OWNER: &str = "owner";
const WORKSPACE: &str = "files";

/// Version history of `manifest.json`: 1: initial version.
const MANIFEST_VERSION: u32 = 1;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const NAME_BYTES_MAX: usize = 200;

/// The result of requesting a durable folder.
#[derive(Debug)]
pub enum AcquireDurable {
    /// Acquired by this process.
    Held(Durable),
    /// Another owner is using it.
    Busy(Holder),
}

impl Store {
    /// Asks for the durable folder of a key once, as [`acquire`](Self::acquire) does for a lease, and checks
    /// what an earlier owner left in it. To wait for the owner, use [`watch_durable`](Self::watch_durable).
    pub fn durable(&self, key: &Digest) -> Result<AcquireDurable> {
        let home = self.durables_dir().join(key.to_string());
        let mut watch = self.watch_durable(key);
        loop {
            let floor = highest(&home)?;
            let lease = match watch.poll_above(floor)? {
                Acquire::Held(lease) => lease,
                Acquire::Busy(holder) => return Ok(AcquireDurable::Busy(holder)),
            };
            // Another owner may have come and gone since the folder was listed.
            if highest(&home)? == floor {
                return Ok(AcquireDurable::Held(Durable::found(self, home, lease)?));
            }
        }
    }

    /// Prepares to wait until nobody works in the durable folder of a key; holds nothing.
    ///
    /// The lease that this gives in the end is that of the folder: drop it, and ask for the folder.
    pub fn watch_durable(&self, key: &Digest) -> Watch {
        Watch::new(self, key, Purpose::Durable)
    }

    /// Lists the checkpoints of a key, sorted by name, for planning: without the lease, and without reading their
    /// content.
    pub fn peek_durable(&self, key: &Digest) -> Result<Vec<CheckpointRef>> {
        let mut checkpoints = BTreeMap::new();
        for (_, fence) in fences(&self.durables_dir().join(key.to_string()))? {
            for checkpoint in list_checkpoints(&fence)? {
                if checkpoint.has_sizes() {
                    checkpoints.insert(checkpoint.name.clone(), checkpoint);
                }
            }
        }
        Ok(checkpoints.into_values().collect())
    }
}

/// A durable folder, as seen by garbage collection.
#[derive(Debug, Clone)]
pub struct DurableEntry {
    /// Its key.
    pub key: Digest,
    /// Its files, of all owners.
    pub amount: Amount,
    /// Time of the last write in it.
    pub touched: SystemTime,
    /// The owner that is using it.
    pub holder: Option<Holder>,
}

impl Store {
    /// Lists the durable folders, sorted by key.
    pub fn durables(&self) -> Result<Vec<DurableEntry>> {
        let mut entries = Vec::new();
        let mut holders = lease::holders(self, Purpose::Durable)?;
        for (name, home) in files::list(&self.durables_dir())? {
            let Ok(key) = name.parse() else { continue };
            let holder = holders.remove(&key);
            let mut entry =
                DurableEntry { key, amount: Amount::default(), touched: SystemTime::UNIX_EPOCH, holder };
            files::walk(&home, &mut |metadata| {
                if metadata.is_file() {
                    entry.amount.add(metadata.len());
                }
                if let Ok(time) = metadata.modified() {
                    entry.touched = entry.touched.max(time);
                }
            })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Removes the durable folder of a key and its content; returns false if an owner is, or may be, using it.
    pub fn remove_durable(&self, key: &Digest) -> Result<bool> {
        match self.watch_durable(key).poll()? {
            Acquire::Busy(_) => Ok(false),
            Acquire::Held(lease) => {
                lease.check()?;
                remove_home(self, &self.durables_dir().join(key.to_string()))?;
                Ok(true)
            }
        }
    }
}

/// Moves everything of a key away in one step, then deletes it.
fn remove_home(store: &Store, home: &Path) -> Result<()> {
    let aside = store.temp_name()?;
    match fs::rename(home, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", home)(error)),
        Ok(()) => files::remove_dir(&aside),
    }
}

/// A folder for checkpoints, with its own lease. Checkpoints are kept when it is dropped.
#[derive(Debug)]
pub struct Durable {
    store: Store,
    home: PathBuf,
    folder: PathBuf,
    lease: Lease,
}

/// The content of one file of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A copy of this file (sharing blocks if the file system supports it).
    File(&'a Path),
}

/// A checkpoint in a durable folder.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRef {
    /// Its name; checkpoints are ordered by name.
    pub name: String,
    /// Metadata from its writer.
    pub meta: serde_json::Value,
    files: BTreeMap<String, Blob>,
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    files: BTreeMap<String, Blob>,
    meta: serde_json::Value,
}

impl Durable {
    /// Creates the folder of a new owner, with everything intact that earlier owners left.
    fn found(store: &Store, home: PathBuf, lease: Lease) -> Result<Self> {
        let earlier = fences(&home)?;
        let folder = home.join(lease.fence().to_string());
        let new = store.scratch()?;
        inherit(&earlier, new.path())?;
        files::create_dir(&home)?;
        lease.check()?;
        fs::rename(new.path(), &folder).map_err(Error::io("create", &folder))?;
        files::sync(&home)?;
        files::sync(&store.durables_dir())?;
        for (_, old) in earlier {
            if is_abandoned(&old)? {
                files::remove_dir(&old)?;
            }
        }
        Ok(Self { store: store.clone(), home, folder, lease })
    }

    /// Returns the lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Writes a checkpoint. It becomes visible when it is complete and on the disk, just before this returns.
    ///
    /// `name` determines its order (use a step number with leading zeros); an existing checkpoint with that name is
    /// replaced.
    pub fn checkpoint(
        &self,
        name: &str,
        files: &[(&str, Content<'_>)],
        meta: &serde_json::Value,
    ) -> Result<()> {
        check_name(name)?;
        self.lease.check()?;
        let scratch = self.store.scratch()?;
        let new = scratch.path();
        let mut manifest = Manifest { version: MANIFEST_VERSION, files: BTreeMap::new(), meta: meta.clone() };
        for (file, content) in files {
            check_name(file)?;
            if *file == MANIFEST || manifest.files.contains_key(*file) {
                return Err(Error::BadName { name: (*file).to_owned() });
            }
            let path = new.join(file);
            let blob = match content {
                Content::Bytes(bytes) => write_new(&path, bytes)?,
                Content::File(source) => files::copy(source, &path)?,
            };
            settle(&path)?;
            manifest.files.insert((*file).to_owned(), blob);
        }
        let path = new.join(MANIFEST);
        let text = serde_json::to_vec(&manifest)
            .map_err(|error| Error::io("write", &path)(io::Error::from(error)))?;
        write_new(&path, &text)?;
        settle(&path)?;
        files::sync(new)?;

        let place = self.folder.join(name);
        self.lease.check()?;
        // A folder cannot be renamed over one with content. Earlier checkpoints cover the moment in between.
        self.drop_checkpoint(name)?;
        fs::rename(new, &place).map_err(Error::io("create", &place))?;
        files::sync(&self.folder)
    }

    /// Lists the checkpoints whose content is verified, sorted by name.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointRef>> {
        let checkpoints = list_checkpoints(&self.folder)?;
        Ok(checkpoints.into_iter().filter(CheckpointRef::is_whole).collect())
    }

    /// Deletes all checkpoints except those with these names.
    pub fn keep(&self, names: &[&str]) -> Result<()> {
        for checkpoint in list_names(&self.folder)? {
            if !names.contains(&checkpoint.as_str()) {
                self.drop_checkpoint(&checkpoint)?;
            }
        }
        Ok(())
    }

    /// Moves a checkpoint away in one step, then deletes it.
    fn drop_checkpoint(&self, name: &str) -> Result<()> {
        let aside = self.store.temp_name()?;
        match fs::rename(self.folder.join(name), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove", self.folder.join(name))(error)),
            Ok(()) => files::remove_dir(&aside),
        }
    }

    /// Returns a folder for programs that manage checkpoints themselves.
    ///
    /// A successor gets a copy of it without verification; such a program must check itself what is intact.
    pub fn workspace(&self) -> Result<PathBuf> {
        let path = self.folder.join(WORKSPACE);
        files::create_dir(&path)?;
        Ok(path)
    }

    /// Removes the folder with all checkpoints, when the work is finished and recorded.
    pub fn remove(self) -> Result<()> {
        self.lease.check()?;
        remove_home(&self.store, &self.home)
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        // Shows that nobody writes here any more, even if this process continues to run.
        fs::remove_file(self.folder.join(OWNER)).ok();
    }
}

impl CheckpointRef {
    /// Returns the path of a file of the checkpoint, for reading only; `None` if there is no such file.
    pub fn path(&self, file: &str) -> Option<PathBuf> {
        self.files.contains_key(file).then(|| self.folder.join(file))
    }

    /// Returns the names of its files, with their digests and sizes.
    pub fn files(&self) -> impl Iterator<Item = (&str, Blob)> {
        self.files.iter().map(|(name, blob)| (name.as_str(), *blob))
    }

    fn has_sizes(&self) -> bool {
        self.files.iter().all(|(name, blob)| {
            fs::symlink_metadata(self.folder.join(name))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
        })
    }

    fn is_whole(&self) -> bool {
        let right = |(name, blob): (&String, &Blob)| {
            files::hash(&self.folder.join(name)).is_ok_and(|found| found == *blob)
        };
        self.has_sizes() && self.files.iter().all(right)
    }

    fn link_into(&self, owner: &Path) -> Result<()> {
        let place = owner.join(&self.name);
        fs::create_dir(&place).map_err(Error::io("create", &place))?;
        for name in self.files.keys().map(String::as_str).chain([MANIFEST]) {
            let to = place.join(name);
            let from = self.folder.join(name);
            match fs::hard_link(&from, &to) {
                // Linux does not let users link read-only files of other users.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    files::copy(&from, &to)?;
                    settle(&to)?;
                }
                result => result.map_err(Error::io("create", &to))?,
            }
        }
        files::sync(&place)?;
        files::sync(owner)
    }
}

/// Gives the folder of a new owner what earlier owners left intact: the latest of each name.
fn inherit(earlier: &[(u64, PathBuf)], new: &Path) -> Result<()> {
    write_new(&new.join(OWNER), Owner::current().to_string().as_bytes())?;
    let mut inherited = BTreeSet::new();
    for (_, folder) in earlier.iter().rev() {
        for checkpoint in list_checkpoints(folder)? {
            if !inherited.contains(&checkpoint.name) && checkpoint.is_whole() {
                checkpoint.link_into(new)?;
                inherited.insert(checkpoint.name);
            }
        }
    }
    if let Some((_, last)) = earlier.last() {
        copy_tree(&last.join(WORKSPACE), &new.join(WORKSPACE))?;
    }
    // The earlier folders are deleted next, so their replacement must be on the disk.
    files::sync(new)
}

/// Lists the checkpoints of a folder, sorted by name, without reading their content.
fn list_checkpoints(folder: &Path) -> Result<Vec<CheckpointRef>> {
    let parse = |name: String, text: &[u8]| {
        let folder = folder.join(&name);
        let Manifest { version, files, meta } = serde_json::from_slice(text).ok()?;
        let named_well = files.keys().all(|name| check_name(name).is_ok());
        (version == MANIFEST_VERSION && named_well).then_some(CheckpointRef { name, meta, files, folder })
    };
    let mut checkpoints = Vec::new();
    for name in list_names(folder)? {
        let path = folder.join(&name).join(MANIFEST);
        match files::read_at_most(&path, MANIFEST_BYTES_MAX) {
            Ok(text) => checkpoints.extend(text.and_then(|text| parse(name, &text))),
            // Not a checkpoint, or removed since.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                    || files::is_misplaced(&error) => {}
            // Never taken for none: hours of work would be done again, and it be removed.
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    Ok(checkpoints)
}

fn list_names(folder: &Path) -> Result<Vec<String>> {
    let names = files::list(folder)?.into_iter().map(|(name, _)| name);
    Ok(names.filter(|name| check_name(name).is_ok()).collect())
}

/// Names of checkpoints and their files are plain: no path, not hidden, not reserved.
fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && name != OWNER
        && name != WORKSPACE;
    if good { Ok(()) } else { Err(Error::BadName { name: name.to_owned() }) }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<Blob> {
    let mut file: File = files::create_new(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    Ok(Blob::of(bytes))
}

/// Makes a file of a checkpoint read-only, since others will link it, and syncs it.
fn settle(path: &Path) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o444)).map_err(Error::io("stamp", path))?;
    files::sync(path)
}

/// Copies a program's files and syncs the copies. Symbolic links are recreated; other special files are ignored.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let metadata = match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(Error::io("examine", from))?,
    };
    if metadata.is_dir() {
        files::create_dir(to)?;
        for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
            // Kept as bytes: names chosen by programs need not be UTF-8.
            let name = entry.map_err(Error::io("list", from))?.file_name();
            copy_tree(&from.join(&name), &to.join(&name))?;
        }
        files::sync(to)?;
        fs::set_permissions(to, metadata.permissions()).map_err(Error::io("stamp", to))?;
    } else if metadata.is_file() {
        files::copy(from, to)?;
        files::sync(to)?;
        fs::set_permissions(to, metadata.permissions()).map_err(Error::io("stamp", to))?;
    } else if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(Error::io("read", from))?;
        std::os::unix::fs::symlink(target, to).map_err(Error::io("create", to))?;
    }
    Ok(())
}

/// Lists the folders of the owners of a key, lowest number first.
fn fences(home: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let number = |(name, path): (String, PathBuf)| Some((name.parse().ok()?, path));
    let mut fences: Vec<_> = files::list(home)?.into_iter().filter_map(number).collect();
    fences.sort();
    Ok(fences)
}

fn highest(home: &Path) -> Result<u64> {
    Ok(fences(home)?.last().map_or(0, |(fence, _)| *fence))
}

/// Whether nobody can write to an owner's folder any more.
fn is_abandoned(folder: &Path) -> Result<bool> {
    let path = folder.join(OWNER);
    match fs::read_to_string(&path) {
        Ok(owner) => Ok(owner.parse::<Owner>().is_ok_and(|owner| owner.liveness() == Liveness::Gone)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Removes folders without a living owner whose intact content a successor has taken over.
pub(crate) fn sweep(store: &Store, failed: &mut Vec<Error>) -> Result<()> {
    for (name, home) in files::list(&store.durables_dir())? {
        if name.parse::<Digest>().is_err() {
            continue; // not ours
        }
        let swept = fences(&home).and_then(|mut fences| {
            fences.pop();
            for (_, folder) in fences {
                if is_abandoned(&folder)? {
                    files::remove_dir(&folder)?;
                }
            }
            Ok(())
        });
        failed.extend(swept.err());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::MetadataExt;

    fn held(acquire: AcquireDurable) -> Durable {
        match acquire {
            AcquireDurable::Held(durable) => durable,
            AcquireDurable::Busy(holder) => panic!("busy: {holder}"),
        }
    }

    fn names(checkpoints: &[CheckpointRef]) -> Vec<&str> {
        checkpoints.iter().map(|checkpoint| checkpoint.name.as_str()).collect()
    }

    fn save(durable: &Durable, step: u32) {
        let weights = format!("weights of step {step}");
        let files = [("weights", Content::Bytes(weights.as_bytes()))];
        durable.checkpoint(&format!("{step:06}"), &files, &json!({ "step": step })).unwrap();
    }

    #[test]
    fn a_successor_goes_on_from_what_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let first = held(store.durable(&key).unwrap());
        assert!(matches!(store.durable(&key).unwrap(), AcquireDurable::Busy(_)));
        assert!(matches!(store.acquire(&key).unwrap(), Acquire::Held(_)), "a lease of its own");
        save(&first, 1);
        save(&first, 2);
        save(&first, 2);
        assert_eq!(names(&store.peek_durable(&key).unwrap()), ["000001", "000002"]);
        drop(first);

        let second = held(store.durable(&key).unwrap());
        assert_eq!(second.lease().fence(), 2);
        let found = second.checkpoints().unwrap();
        assert_eq!(names(&found), ["000001", "000002"]);
        assert_eq!(found[1].meta, json!({ "step": 2 }));
        let weights = found[1].path("weights").unwrap();
        assert_eq!(fs::read(&weights).unwrap(), b"weights of step 2");
        assert_eq!(fs::metadata(&weights).unwrap().mode() & 0o777, 0o444);
        assert_eq!(found[1].path("../owner"), None);

        save(&second, 3);
        second.keep(&["000001", "000003"]).unwrap();
        assert_eq!(names(&second.checkpoints().unwrap()), ["000001", "000003"]);
        second.remove().unwrap();
        assert!(store.peek_durable(&key).unwrap().is_empty());
        assert!(files::list(&store.durables_dir()).unwrap().is_empty());
        assert!(files::list(&store.leases_dir()).unwrap().is_empty());
    }

    #[test]
    fn a_truncated_file_falls_back_to_the_checkpoint_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let first = held(store.durable(&key).unwrap());
        for step in 1..=3 {
            save(&first, step);
        }
        let change = |step: &str, bytes: &[u8]| {
            let path = first.folder.join(step).join("weights");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            fs::write(path, bytes).unwrap();
        };
        change("000003", b"weights of s");
        change("000002", b"weights of step 9");
        assert_eq!(names(&first.checkpoints().unwrap()), ["000001"]);
        assert_eq!(names(&store.peek_durable(&key).unwrap()), ["000001", "000002"], "sizes only");
        drop(first);
        assert_eq!(names(&held(store.durable(&key).unwrap()).checkpoints().unwrap()), ["000001"]);
    }

    #[test]
    fn a_late_owner_can_write_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let late = held(store.durable(&key).unwrap());
        save(&late, 1);
        for (_, lease) in files::list(&store.leases_dir()).unwrap() {
            fs::remove_file(lease).unwrap();
        }
        let successor = held(store.durable(&key).unwrap());
        assert!(late.folder.exists(), "its owner lives");
        let files = [("weights", Content::Bytes(b"late"))];
        let refused = late.checkpoint("000002", &files, &json!(null));
        assert!(matches!(refused, Err(Error::Lost { .. })));
        assert!(matches!(late.remove(), Err(Error::Lost { .. })));
        assert_eq!(names(&successor.checkpoints().unwrap()), ["000001"]);
        assert!(store.sweep().unwrap().failed.is_empty());
        assert_eq!(fences(&successor.home).unwrap().len(), 1);
    }

    #[test]
    fn a_program_finds_its_own_files_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let first = held(store.durable(&key).unwrap());
        let workspace = first.workspace().unwrap();
        fs::create_dir(workspace.join("deep")).unwrap();
        fs::write(workspace.join("deep/state"), "7").unwrap();
        drop(first);
        let second = held(store.durable(&key).unwrap());
        assert_ne!(second.workspace().unwrap(), workspace);
        assert_eq!(fs::read_to_string(second.workspace().unwrap().join("deep/state")).unwrap(), "7");
    }

    /// A container that was killed: nobody here can see its processes, and the counter of its lease stands still.
    #[test]
    fn a_folder_of_an_owner_elsewhere_is_free_when_its_counter_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let options = crate::Options { lease_patience: std::time::Duration::from_millis(200) };
        let store = Store::open_with(folder.path(), options).unwrap();
        let key = Digest::of(b"key");
        let lease = store.leases_dir().join(format!("{}.7", Purpose::Durable.stem(&key)));
        let text = "pipe lease 1\nowner 0123456789abcdef.other.1.1.1\nhost elsewhere\nnonce 9\nbeat 00000000000000000003\n";
        fs::write(&lease, text).unwrap();
        assert!(
            matches!(store.durable(&key).unwrap(), AcquireDurable::Busy(holder) if holder.host == "elsewhere")
        );
        let mut watch = store.watch_durable(&key);
        while let Acquire::Busy(_) = watch.poll().unwrap() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(!lease.exists(), "who waited long enough has taken it over, and let go");
        held(store.durable(&key).unwrap());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let durable = held(store.durable(&Digest::of(b"key")).unwrap());
        for name in ["", "..", ".hidden", "a/b", "owner", "files", "ä", &"x".repeat(300)] {
            let refused = durable.checkpoint(name, &[], &json!(null));
            assert!(matches!(refused, Err(Error::BadName { .. })), "{name}");
        }
        for name in [MANIFEST, "../up", "owner"] {
            let refused = durable.checkpoint("1", &[(name, Content::Bytes(b""))], &json!(null));
            assert!(matches!(refused, Err(Error::BadName { .. })), "{name}");
        }
        assert!(durable.checkpoints().unwrap().is_empty());
    }
}
