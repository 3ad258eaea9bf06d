//! The file operations that the store uses.

use crate::{Blob, Error, Hasher, Result};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const CHUNK_BYTES: usize = 1 << 20;

/// A file that is removed unless it is moved to its final place.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    kept: bool,
}

impl TempFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, kept: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the file to its final place, replacing what is there.
    pub(crate) fn rename(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(Error::io("create", to))?;
        self.kept = true;
        Ok(())
    }

    /// Keeps the file where it is.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.kept = true;
        std::mem::take(&mut self.path)
    }

    /// Links the file to another name unless that exists; returns whether the name now refers to this file.
    pub(crate) fn link(&self, to: &Path) -> Result<bool> {
        match fs::hard_link(&self.path, to) {
            Ok(()) => Ok(true),
            // Over NFS the reply to a successful link may be lost, and its repetition then finds the link.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let links = fs::symlink_metadata(&self.path).map_err(Error::io("examine", &self.path))?;
                Ok(links.nlink() > 1)
            }
            Err(error) => Err(Error::io("create", to)(error)),
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Creates a new file for reading and writing.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Makes a file read-only and sets the time stamp of objects: one second after the epoch, on every machine.
pub(crate) fn seal(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // Times before permissions: some network file systems refuse to set times of read-only files.
    file.set_modified(sealed_at()).map_err(Error::io("stamp", path))?;
    file.set_permissions(Permissions::from_mode(0o444)).map_err(Error::io("stamp", path))
}

/// Whether a file has the time stamp that [`seal`] sets.
pub(crate) fn is_sealed(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.mtime() == 1 && metadata.mtime_nsec() == 0
}

fn sealed_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// Syncs a file or folder to the disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.sync_all().map_err(Error::io("write", path))
}

/// Creates a folder and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// Removes a folder and its content, if it exists.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    let removed = match fs::remove_dir_all(path) {
        // A program may have left read-only folders.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes folders writable for their owner, if permitted.
fn make_writable(path: &Path) {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).ok();
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        folders.extend(entries.filter(is_dir).map(|entry| entry.path()));
    }
}

/// Removes a file; returns false if it did not exist.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Lists a folder, sorted by name; a missing folder is empty.
pub(crate) fn list(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", path))?;
        // All names used here are valid UTF-8; others belong to other programs.
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    names.sort();
    Ok(names)
}

/// Visits a folder and everything below it; entries that disappear meanwhile are skipped.
pub(crate) fn walk(folder: &Path, see: &mut dyn FnMut(&fs::Metadata)) -> Result<()> {
    let mut paths = vec![folder.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(Error::io("examine", &path))?,
        };
        see(&metadata);
        if !metadata.is_dir() {
            continue;
        }
        match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.map_err(Error::io("list", &path))? {
                    paths.push(entry.map_err(Error::io("list", &path))?.path());
                }
            }
        }
    }
    Ok(())
}

/// Hashes a whole file.
pub(crate) fn hash(path: &Path) -> Result<Blob> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    hash_open(&mut file, path)
}

/// Hashes the rest of an open file.
pub(crate) fn hash_open(file: &mut File, path: &Path) -> Result<Blob> {
    let mut hasher = Hasher::new();
    let mut size = 0;
    read_chunks(file, path, |chunk| {
        hasher.update(chunk);
        size += chunk.len() as u64;
        Ok(())
    })?;
    Ok(Blob { digest: hasher.finish(), size })
}

/// Copies a file to a new one, and returns digest and size of the copy.
///
/// Shares blocks if the file system supports it (reflink). It never makes a hard link: a write to one file would
/// change the other, and root can always write.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Blob> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut target = create_new(to).map_err(Error::io("create", to))?;
    if reflink(&source, &target) {
        // Hash the copy, since the source may be changing.
        return hash_open(&mut target, to);
    }
    let mut hasher = Hasher::new();
    let mut size = 0;
    read_chunks(&mut source, from, |chunk| {
        hasher.update(chunk);
        size += chunk.len() as u64;
        target.write_all(chunk).map_err(Error::io("write", to))
    })?;
    Ok(Blob { digest: hasher.finish(), size })
}

fn read_chunks(file: &mut File, path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    loop {
        buffer.clear();
        Read::take(&mut *file, CHUNK_BYTES as u64)
            .read_to_end(&mut buffer)
            .map_err(Error::io("read", path))?;
        if buffer.is_empty() {
            return Ok(());
        }
        each(&buffer)?;
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn reflink(source: &File, target: &File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reflink(_source: &File, _target: &File) -> bool {
    false
}

/// Opens a file of the store for reading. A link, a folder or a pipe in its place is an error for which
/// [`is_misplaced`] returns true.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether something other than a regular file is in its place.
pub(crate) fn is_misplaced(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Reads a file of the store of at most `size_max` bytes; `None` if it is larger.
pub(crate) fn read_at_most(path: &Path, size_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    if size > size_max {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(size_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= size_max).then_some(bytes))
}
