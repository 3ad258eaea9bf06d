//! Objects and artifacts: bytes stored under their digest.
//!
//! Owns: how they are written, found, verified and copied out. They are published in `commit`.

use crate::files::{self, TempFile};
use crate::{Blob, Commit, Digest, Error, Hasher, Result, Store, owner};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Small writes are collected up to this size: hashing and writing are faster in large pieces.
const BUFFER_BYTES: usize = 1 << 18;

/// Maximum size of an artifact; a larger file is damaged.
const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

pub(crate) const OBJECTS: &str = "objects";
pub(crate) const ARTIFACTS: &str = "artifacts";

/// Writes a new object, and hashes it while writing.
///
/// Nothing is visible before the [`Commit`] of the value that [`finish`](Self::finish) returns; dropping the writer
/// removes what was written.
#[derive(Debug)]
pub struct ObjectWriter {
    temp: TempFile,
    file: File,
    hasher: Hasher,
    size: u64,
    buffer: Vec<u8>,
}

impl ObjectWriter {
    /// Finishes the object.
    pub fn finish(mut self) -> Result<Staged> {
        self.drain().map_err(Error::io("write", self.temp.path()))?;
        Ok(Staged { blob: Blob { digest: self.hasher.finish(), size: self.size }, temp: self.temp })
    }

    fn drain(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.write_through(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Write for ObjectWriter {
    /// Writes all of `bytes`. After an error, here or later, the object cannot be finished.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.drain()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.write_through(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

/// An object that is written but not yet visible; dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    blob: Blob,
    temp: TempFile,
}

impl Staged {
    /// Returns its digest and size.
    pub fn blob(&self) -> Blob {
        self.blob
    }

    /// Returns the path of its bytes until it is committed, for reading them back.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Syncs it to the disk, with its final time stamp.
    pub(crate) fn settle(&self) -> Result<()> {
        files::seal(self.temp.path())?;
        files::sync(self.temp.path())
    }

    pub(crate) fn rename(self, to: &Path) -> Result<()> {
        self.temp.rename(to)
    }

    pub(crate) fn link(&self, to: &Path) -> Result<bool> {
        self.temp.link(to)
    }
}

/// Identifies the state of a file that was read: ctime changes whenever anything else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Store {
    /// Starts a new object.
    pub fn writer(&self) -> Result<ObjectWriter> {
        let (temp, file) = self.temp_file()?;
        Ok(ObjectWriter { temp, file, hasher: Hasher::new(), size: 0, buffer: Vec::new() })
    }

    /// Writes and publishes a small object, unless it exists.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob::of(bytes);
        if !self.reuse(&blob) {
            let objects = vec![self.stage(bytes)?];
            self.commit(Commit { objects, ..Commit::default() })?;
        }
        Ok(blob)
    }

    /// Copies a file into a new object, sharing blocks if the file system supports it.
    ///
    /// The result describes the copy: the caller compares [`Staged::blob`] with what it expects.
    pub fn import(&self, path: &Path) -> Result<Staged> {
        let temp = TempFile::new(self.temp_name()?);
        let blob = files::copy(path, temp.path())?;
        Ok(Staged { blob, temp })
    }

    pub(crate) fn stage(&self, bytes: &[u8]) -> Result<Staged> {
        let mut writer = self.writer()?;
        writer.write_through(bytes).map_err(Error::io("write", writer.temp.path()))?;
        writer.finish()
    }

    /// Returns the path of an object, whether or not it exists.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.sharded(OBJECTS, digest)
    }

    /// Whether an object exists, by size and time stamp only; sufficient for a plan.
    ///
    /// An object of the right size with another time stamp, such as a copy made without times, is read and, if its
    /// bytes are correct, stamped again.
    pub fn holds(&self, blob: &Blob) -> bool {
        let path = self.object_path(&blob.digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.len() != blob.size || !metadata.is_file() => false,
            Ok(metadata) => files::is_sealed(&metadata) || self.is_right(blob, &path, Stamp::of(&metadata)),
            Err(_) => false,
        }
    }

    /// Verifies an object with a foreign time stamp, once for each state of its file.
    fn is_right(&self, blob: &Blob, path: &Path, stamp: Stamp) -> bool {
        if let Some((seen, is_right)) = self.seen(&blob.digest)
            && seen == stamp
        {
            return is_right;
        }
        let is_right = files::hash(path).is_ok_and(|found| found == *blob);
        // A file of another user cannot be stamped; each process then reads it once.
        let stamp = if is_right && files::seal(path).is_ok() {
            fs::symlink_metadata(path).map_or(stamp, |metadata| Stamp::of(&metadata))
        } else {
            stamp
        };
        self.remember(blob.digest, stamp, is_right);
        is_right
    }

    fn seen(&self, digest: &Digest) -> Option<(Stamp, bool)> {
        self.0.verified.lock().expect("invariant: no panic under this lock").get(digest).copied()
    }

    fn remember(&self, digest: Digest, stamp: Stamp, is_right: bool) {
        let mut verified = self.0.verified.lock().expect("invariant: no panic under this lock");
        verified.insert(digest, (stamp, is_right));
    }

    pub(crate) fn forget(&self, digest: &Digest) {
        self.0.verified.lock().expect("invariant: no panic under this lock").remove(digest);
    }

    /// Whether an object exists; if so, its ctime is updated, so that the garbage collector treats it as recent.
    ///
    /// An object of another user whose ctime cannot be updated counts as missing: it is replaced by an equal, recent
    /// one.
    pub(crate) fn reuse(&self, blob: &Blob) -> bool {
        let path = self.object_path(&blob.digest);
        self.holds(blob) && fs::set_permissions(path, Permissions::from_mode(0o444)).is_ok()
    }

    /// Reads a whole object and verifies it.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        let path = self.object_path(&blob.digest);
        let damaged = || Error::Damaged { digest: blob.digest, path: path.clone() };
        let bytes = files::read_at_most(&path, blob.size)
            .map_err(|error| missing_or(&blob.digest, &path, error))?
            .ok_or_else(damaged)?;
        if Blob::of(&bytes) == *blob { Ok(bytes) } else { Err(damaged()) }
    }

    /// Verifies an object and returns its path, for reading only.
    ///
    /// A process reads the whole object once for this, and again only if the file has changed.
    pub fn verified(&self, blob: &Blob) -> Result<PathBuf> {
        let path = self.object_path(&blob.digest);
        let damaged = || Error::Damaged { digest: blob.digest, path: path.clone() };

        let mut file = files::open(&path).map_err(|error| missing_or(&blob.digest, &path, error))?;
        let metadata = file.metadata().map_err(Error::io("examine", &path))?;
        if metadata.len() != blob.size {
            return Err(damaged());
        }
        // The stamp is taken before reading, so that a concurrent change is noticed the next time.
        let stamp = Stamp::of(&metadata);
        if self.seen(&blob.digest) == Some((stamp, true)) {
            return Ok(path);
        }
        if files::hash_open(&mut file, &path)? != *blob {
            return Err(damaged());
        }
        self.remember(blob.digest, stamp, true);
        Ok(path)
    }

    /// Copies an object to `path`, verified, writable, and with the current time; an existing file is replaced.
    ///
    /// Blocks are shared if the file system supports it. An incomplete copy never has the final name.
    pub fn materialize(&self, blob: &Blob, path: &Path) -> Result<()> {
        let source = self.object_path(&blob.digest);
        // The temporary name does not contain the file name, which may have the maximum length.
        let temp = TempFile::new(path.with_file_name(format!(".pipe-{:016x}.partial", owner::unique())));
        files::open(&source).map_err(|error| missing_or(&blob.digest, &source, error))?;
        if files::copy(&source, temp.path())? != *blob {
            return Err(Error::Damaged { digest: blob.digest, path: source });
        }
        temp.rename(path)
    }

    /// Removes a damaged object, so that it is computed again; returns whether there was one.
    ///
    /// An object that turns out to be intact (another process has recreated it) is kept.
    pub fn discard(&self, digest: &Digest) -> Result<bool> {
        self.discard_from(OBJECTS, digest)
    }

    /// Removes a damaged artifact, as [`discard`](Self::discard) does with an object.
    pub fn discard_artifact(&self, digest: &Digest) -> Result<bool> {
        self.discard_from(ARTIFACTS, digest)
    }

    fn discard_from(&self, tree: &str, digest: &Digest) -> Result<bool> {
        let path = self.sharded(tree, digest);
        let is_whole = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
                && files::hash(path).is_ok_and(|blob| blob.digest == *digest)
        };
        // Checked in place: others may be reading an intact one.
        if is_whole(&path) {
            files::seal(&path)?;
            return Ok(false);
        }
        let aside = TempFile::new(self.temp_name()?);
        match fs::rename(&path, aside.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(Error::io("remove", &path))?,
        }
        self.forget(digest);
        // Checked again now that nobody can replace it: it may have been replaced between the check and the move.
        let is_replaced = is_whole(aside.path());
        if is_replaced {
            files::seal(aside.path())?;
            aside.rename(&path)?;
        } else if fs::symlink_metadata(aside.path()).is_ok_and(|metadata| metadata.is_dir()) {
            files::remove_dir(aside.path())?;
        }
        Ok(!is_replaced)
    }

    /// Writes and publishes an artifact.
    pub fn put_artifact(&self, bytes: &[u8]) -> Result<Digest> {
        self.commit(Commit { artifacts: vec![bytes.to_vec()], ..Commit::default() })?;
        Ok(Digest::of(bytes))
    }

    /// Returns the path of an artifact, whether or not it exists.
    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.sharded(ARTIFACTS, digest)
    }

    /// Reads an artifact and verifies it.
    pub fn artifact(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.artifact_path(digest);
        let bytes = files::read_at_most(&path, ARTIFACT_BYTES_MAX)
            .map_err(|error| missing_or(digest, &path, error))?
            .filter(|bytes| Digest::of(bytes) == *digest);
        bytes.ok_or(Error::Damaged { digest: *digest, path })
    }
}

/// Something else under an object's name counts as damage, too.
fn missing_or(digest: &Digest, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { digest: *digest },
        _ if files::is_misplaced(&error) => Error::Damaged { digest: *digest, path: path.to_owned() },
        _ => Error::io("read", path)(error),
    }
}

/// Returns the time at which a file was placed in the store, or last reused.
pub(crate) fn placed_at(metadata: &Metadata) -> SystemTime {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}
