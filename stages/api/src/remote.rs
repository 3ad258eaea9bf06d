//! Files on servers: how a stage requests them, what is known of them before they are read, and the interface through
//! which they are listed and read. This crate knows no protocol.

use crate::{Error, Result, Stop};
use pipe_cache::{Digest, Scratch, Store};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// Files on servers that a stage reads. The engine has them listed once and pins the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRequest {
    /// Label of the source, visible to the stage; part of keys.
    pub source: String,
    /// Which files.
    pub root: RemoteRoot,
    /// Field path that an error points at.
    pub field: String,
}

/// Which files on servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteRoot {
    /// A file, or those that match a pattern: `https://example.org/a.jsonl.zst`, `s3://bucket/data/**/*.parquet`. Names
    /// are relative to the last folder before the first wildcard.
    Url {
        /// With the pattern.
        url: String,
    },
    /// The files that a list names, one a line.
    List {
        /// The list: a URL, or a path on this machine. It may be compressed with gzip.
        list: String,
        /// What a line that is no URL is relative to.
        base: String,
        /// The largest hash of a line that is taken; `None` takes all. The choice depends on no other line.
        hash_max: Option<u64>,
    },
    /// A split of a data set of Hugging Face's hub.
    Dataset {
        /// `allenai/c4`.
        repo: String,
        /// Empty: the default one.
        config: String,
        /// `train`.
        split: String,
        /// Branch, tag or commit; empty: the main branch.
        revision: String,
    },
}

/// The files of a root, as they were at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// What the root stood for, for people: a commit, the version of the only file, or the number of files.
    pub revision: String,
    /// Sorted by name; names are unique.
    pub files: Vec<RemoteFile>,
}

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Path relative to the root, with `/`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Where it is.
    pub remote: Remote,
}

/// Where a file is on a server, and the version that was listed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Its address. It may contain a signature and must not be shown; see [`Remote::shown`].
    pub url: String,
    /// What identifies its bytes: `sha256:…`, `git:…`, `etag:…`, `version:…` or `modified:…`.
    pub version: String,
    /// Licence of the file as its server states it; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
}

impl Remote {
    /// Identifies the content of a file of `size` bytes in keys.
    ///
    /// A version that is a digest says all about the bytes, wherever they are. Any other means something only on its
    /// server, and even there only for one address: servers make entity tags of time and size. Such a version counts with
    /// the size and the address.
    pub fn identity(&self, size: u64) -> Digest {
        let place = (!self.is_digest()).then_some((size, &self.url));
        let bytes = serde_json::to_vec(&(&self.version, &self.license, place));
        Digest::derive("pipe remote v2", &bytes.expect("invariant: texts and numbers are plain data"))
    }

    /// Whether the version is a digest of the bytes.
    fn is_digest(&self) -> bool {
        ["sha256:", "git:"].iter().any(|kind| self.version.starts_with(kind))
    }

    /// The address for people, without what may be private.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.shown()).field("version", &self.version).finish()
    }
}

/// An address for people: without query, which may be a signature, and without user and password.
pub fn shown(url: &str) -> String {
    let (plain, query) = url.split_once('?').map_or((url, ""), |(plain, _)| (plain, "?…"));
    let Some((scheme, rest)) = plain.split_once("://") else { return format!("{plain}{query}") };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}{query}")
}

/// Access to files on servers, given by the program.
///
/// Errors are [`Error::Input`] where a retry cannot help, and [`Error::Machine`] where it may. They contain no credentials.
pub trait Remotes: Send + Sync {
    /// The name of a root's pin: all that says which files are meant, without credentials. It makes no request to a
    /// server.
    fn pin_name(&self, root: &RemoteRoot) -> Result<String>;

    /// Lists the files of a root. `pinned` is the revision of an earlier listing, where it is to be repeated.
    fn list(&self, root: &RemoteRoot, pinned: Option<&str>) -> Result<Listing>;

    /// Opens a file for reading from byte `at`.
    ///
    /// The reader ends with an error unless exactly `size` bytes arrive in this version. If it reads from the start to the
    /// end, a version that is a digest is compared with the bytes. Its errors may contain an [`Error`]; when a stop is
    /// requested, that is [`Error::Interrupted`], within a second.
    fn open(&self, remote: &Remote, size: u64, at: u64, stop: &Stop) -> Result<Box<dyn Read + Send>>;
}

/// How the inputs of a share reach servers.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) remotes: &'static dyn Remotes,
    /// Ends downloads.
    pub(crate) stop: Stop,
}

/// A remote file while it is read from its beginning. Nothing is requested before the first read.
pub(crate) struct RemoteStream {
    access: Access,
    store: Store,
    remote: Remote,
    size: u64,
    reader: Option<Box<dyn Read + Send>>,
    /// A whole copy on this machine, and the folder that it is in.
    copy: Option<(PathBuf, Scratch)>,
}

impl RemoteStream {
    pub(crate) fn new(access: Option<&Access>, store: &Store, remote: &Remote, size: u64) -> Result<Self> {
        let access = access.ok_or_else(|| Error::Panic { message: "no access to remote files".into() })?;
        let access = access.clone();
        Ok(Self { access, store: store.clone(), remote: remote.clone(), size, reader: None, copy: None })
    }

    fn open(&self) -> Result<Box<dyn Read + Send>> {
        let Access { remotes, stop } = &self.access;
        remotes.open(&self.remote, self.size, 0, stop)
    }

    fn reader(&mut self) -> Result<&mut Box<dyn Read + Send>> {
        if self.reader.is_none() {
            self.reader = Some(self.open()?);
        }
        Ok(self.reader.as_mut().expect("invariant: it was opened"))
    }

    /// Copies the file to this machine, for random access. The copy is removed with the stream.
    pub(crate) fn seekable(&mut self) -> Result<File> {
        if let Some((path, _)) = &self.copy {
            return File::open(path).map_err(|error| Error::io("open", path, &error));
        }
        let scratch = self.store.scratch()?;
        let path = scratch.path().join("remote");
        let failed = |error: &io::Error| Error::io("write", &path, error);
        let mut file = File::create_new(&path).map_err(|error| failed(&error))?;
        let mut reader = self.open()?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer).map_err(|error| self.error(error))? {
                0 => break,
                read => io::Write::write_all(&mut file, &buffer[..read]).map_err(|error| failed(&error))?,
            }
        }
        let file = File::open(&path).map_err(|error| Error::io("open", &path, &error))?;
        self.copy = Some((path, scratch));
        Ok(file)
    }

    /// Reads the rest.
    pub(crate) fn finish(mut self) -> Result<()> {
        if self.copy.is_some() {
            return Ok(());
        }
        let copied = io::copy(self.reader()?, &mut io::sink());
        copied.map(drop).map_err(|error| self.error(error))
    }

    /// The error of a read.
    pub(crate) fn error(&self, error: io::Error) -> Error {
        let (message, shown) = (error.to_string(), self.remote.shown());
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(_) => Error::Machine { action: format!("read `{shown}`"), message },
        }
    }
}

impl Read for RemoteStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader().map_err(io::Error::other)?.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_identify_files_everywhere_and_other_versions_only_in_place() {
        let identity = |url: &str, version: &str, license: &str, size| {
            let [url, version, license] = [url, version, license].map(str::to_owned);
            Remote { url, version, license }.identity(size)
        };
        for version in ["sha256:ab", "git:ab"] {
            assert_eq!(identity("https://h/a", version, "", 3), identity("s3://mirror/a", version, "", 3));
        }
        for version in ["etag:\"1\"", "etag:W/\"1\"", "modified:Mon", "version:7"] {
            let here = identity("https://h/a", version, "", 3);
            assert_eq!(here, identity("https://h/a", version, "", 3));
            assert_ne!(here, identity("https://h/b", version, "", 3), "{version}");
            assert_ne!(here, identity("https://h/a?id=2", version, "", 3), "{version}");
            assert_ne!(here, identity("https://h/a", version, "", 30), "{version}");
            assert_ne!(here, identity("https://h/a", version, "MIT", 3), "{version}");
        }
        assert_ne!(identity("https://h/a", "sha256:ab", "", 3), identity("https://h/a", "sha256:ac", "", 3));
    }
}
