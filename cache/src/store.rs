//! The cache folder, and the handle to it.

use crate::files::{self, TempFile};
use crate::object::Stamp;
use crate::owner::{self, Owner};
use crate::{Digest, Error, Result, commit};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Format of the folder; raised when an older program could misread a newer folder.
///
/// - 1: initial version.
const VERSION: u32 = 1;

/// The entries of a cache folder, which may exist before its `version` file.
const NAMES: [&str; 6] = [".gitignore", "objects", "artifacts", "records", "runs", "work"];

/// A cache: one folder that processes, users and machines (NFS included) can share safely.
///
/// ```text
/// .pipe/
/// ├── version                     `pipe store 1`
/// ├── .gitignore                  `*`
/// ├── objects/ab/ab12…            bytes by their BLAKE3 digest; mode 444, modified at 1 s after the epoch
/// ├── artifacts/ab/ab12…          canonical JSON by its digest, written and interpreted by others
/// ├── records/ab/ab12…            the result of a key: the body, a line feed, the checksum, a line feed
/// ├── runs/                       one folder per run, written and interpreted by the engine
/// └── work/
///     ├── tmp/OWNER/              unfinished files and scratch folders of one process
///     ├── leases/KEY.FENCE        who works on a key: the owner, and a counter that it increments
///     └── durable/KEY/FENCE/      what survives a crash; `leases/KEY-durable.FENCE` is its lease
///         ├── owner               who may write here; if absent, nobody
///         ├── files/              a program's own files (copied to a successor without changes)
///         └── NAME/               a checkpoint: its files, mode 444, and
///             └── manifest.json   their sizes and digests, and metadata from the owner
/// ```
///
/// Everything is written under `work/tmp/` and synced before it is renamed, so that a name always refers to complete
/// content. OWNER consists of host, boot, pid namespace, process and its start time, so that leftovers of a dead
/// process can be recognised; see [`Store::sweep`].
///
/// Version history: 1: initial version.
///
/// Clones share one handle.
#[derive(Debug, Clone)]
pub struct Store(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) queue: commit::Queue,
    /// Objects that this process has verified, with the state of their files and the result.
    pub(crate) verified: Mutex<HashMap<Digest, (Stamp, bool)>>,
    /// Folders whose own name this process knows to be on the disk.
    pub(crate) anchored: Mutex<HashSet<PathBuf>>,
    temp: PathBuf,
}

/// Options of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the counter of a lease may stay unchanged before others take over, if its owner cannot be seen from
    /// here. Owners increment it at least six times within this time. All users of a cache should use the same value.
    pub lease_patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease_patience: Duration::from_secs(60) }
    }
}

impl Store {
    /// Opens the cache in `root`; creates it if it does not exist.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(root, Options::default())
    }

    /// Opens the cache in `root` for reading; a missing cache is empty and is not created.
    pub fn peek(root: impl AsRef<Path>) -> Result<Self> {
        if root.as_ref().exists() { Self::open(root) } else { Self::at(root.as_ref(), Options::default()) }
    }

    /// Opens the cache in `root` with these options.
    pub fn open_with(root: impl AsRef<Path>, options: Options) -> Result<Self> {
        let store = Self::at(root.as_ref(), options)?;
        match fs::read_to_string(store.version_path()) {
            Ok(version) => store.check(&version)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => store.create()?,
            Err(error) => return Err(Error::io("read", store.version_path())(error)),
        }
        Ok(store)
    }

    fn at(root: &Path, options: Options) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        Ok(Self(Arc::new(Inner {
            temp: root.join("work/tmp").join(Owner::current().to_string()),
            root,
            options,
            queue: commit::Queue::default(),
            verified: Mutex::default(),
            anchored: Mutex::default(),
        })))
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the number of bytes that this user can still write to the cache's file system.
    pub fn free_bytes(&self) -> Result<u64> {
        let space = rustix::fs::statvfs(self.root())
            .map_err(|errno| Error::io("examine", self.root())(errno.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn version_path(&self) -> PathBuf {
        self.root().join("version")
    }

    fn check(&self, version: &str) -> Result<()> {
        let not_a_cache = || Error::NotACache { path: self.root().to_owned() };
        let number = version.strip_prefix("pipe store ").ok_or_else(not_a_cache)?;
        match number.trim_end().parse::<u32>() {
            Ok(found) if found > VERSION => {
                Err(Error::Newer { path: self.root().to_owned(), found, known: VERSION })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(not_a_cache()),
        }
    }

    fn create(&self) -> Result<()> {
        if files::list(self.root())?
            .iter()
            .any(|(name, _)| name != "version" && !NAMES.contains(&name.as_str()))
        {
            return Err(Error::NotACache { path: self.root().to_owned() });
        }
        for folder in ["objects", "artifacts", "records", "runs", "work/tmp", "work/leases", "work/durable"] {
            files::create_dir(&self.root().join(folder))?;
        }
        fs::write(self.root().join(".gitignore"), "*\n")
            .map_err(Error::io("write", self.root().join(".gitignore")))?;
        // The version file comes last and complete: it makes the folder a cache.
        let (temp, mut file) = self.temp_file()?;
        file.write_all(format!("pipe store {VERSION}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", temp.path()))?;
        temp.link(&self.version_path())?;
        files::sync(&self.root().join("work"))?;
        files::sync(self.root())
    }

    /// The path for a digest in one of the three trees.
    pub(crate) fn sharded(&self, tree: &str, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root().join(tree).join(&name[..2]).join(name)
    }

    pub(crate) fn leases_dir(&self) -> PathBuf {
        self.root().join("work/leases")
    }

    pub(crate) fn durables_dir(&self) -> PathBuf {
        self.root().join("work/durable")
    }

    /// A name in this process's temporary folder that nothing else uses, also on other machines.
    fn temp_path(&self) -> PathBuf {
        self.0.temp.join(format!("{:016x}", owner::unique()))
    }

    /// The time by the file system's clock, which is the same for all machines that share it.
    pub(crate) fn now(&self) -> Result<SystemTime> {
        let (temp, file) = self.temp_file()?;
        file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("examine", temp.path()))
    }

    pub(crate) fn temp_file(&self) -> Result<(TempFile, File)> {
        let path = self.temp_path();
        let file = self.in_temp(&path, || files::create_new(&path))?;
        Ok((TempFile::new(path), file))
    }

    pub(crate) fn temp_dir(&self) -> Result<PathBuf> {
        let path = self.temp_path();
        self.in_temp(&path, || fs::create_dir(&path))?;
        Ok(path)
    }

    /// A free name in the temporary folder, which exists.
    pub(crate) fn temp_name(&self) -> Result<PathBuf> {
        files::create_dir(&self.0.temp)?;
        Ok(self.temp_path())
    }

    /// Creates something in the temporary folder, which another handle may be removing at the moment.
    fn in_temp<T>(&self, path: &Path, create: impl Fn() -> io::Result<T>) -> Result<T> {
        for _ in 0..100 {
            match create() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => files::create_dir(&self.0.temp)?,
                result => return result.map_err(Error::io("create", path)),
            }
        }
        create().map_err(Error::io("create", path))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Succeeds only if the folder is empty.
        fs::remove_dir(&self.temp).ok();
    }
}
