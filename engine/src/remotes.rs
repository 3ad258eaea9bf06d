//! Owns: listings of files on servers: when they are made, how they are pinned, and their memory. It knows no protocol
//! and no stages.
//!
//! The pin of a root is what the listing says about itself and its digest. The listing is kept beside the stamps of local
//! files, so that a plan with a pin needs no server:
//!
//! ```text
//! stamps/remote/DIGEST     JSON of a Listing; DIGEST is of these bytes
//! ```

use crate::sources;
use pipe_stage::{
    Digest, Error, Listing, Location, Pin, RemoteFile, RemoteRequest, RemoteRoot, Remotes, SourceFile, files,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A listing has about 300 bytes a file.
const BYTES_MAX: u64 = 1 << 30;

/// What to do about a root whose files are not those of its pin.
pub(crate) const HELP: &str = "accept what is there now with `pipe run --update-pins`";

/// The files of a root, and its pin.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) pin: Pin,
    pub(crate) listing: Listing,
}

impl Listed {
    fn new(name: String, listing: Listing) -> Self {
        let revision = format!("{} {}", listing.revision, Digest::of(&to_bytes(&listing)));
        Self { pin: Pin { name, revision }, listing }
    }

    /// The files as sources with this label.
    pub(crate) fn files(&self, source: &str) -> Vec<SourceFile> {
        let file = |file: &RemoteFile| SourceFile {
            source: source.to_owned(),
            name: file.name.clone(),
            digest: file.remote.identity(file.size),
            size: file.size,
            at: Location::Remote(file.remote.clone()),
        };
        self.listing.files.iter().map(file).collect()
    }

    /// Keeps the listing, so that it need not be made again.
    pub(crate) fn keep(&self, stamps: &Path) {
        let bytes = to_bytes(&self.listing);
        let path = memory(stamps, &Digest::of(&bytes));
        if !path.is_file() {
            // Without it the next plan lists again; this is no reason to fail.
            let _ = sources::replace(&path, &bytes);
        }
    }
}

/// Finds the files of a request: as `locked` says, or as they are now.
///
/// # Errors
/// If a server fails, or has no longer what is locked.
pub(crate) fn list(
    remotes: &dyn Remotes,
    request: &RemoteRequest,
    locked: impl Fn(&str) -> Option<String>,
    stamps: &Path,
) -> Result<Listed, Error> {
    let name = remotes.pin_name(&request.root)?;
    let locked = locked(&name);
    let parts = locked.as_deref().and_then(|locked| locked.rsplit_once(' '));
    if let Some((_, digest)) = parts
        && let Some(listing) = digest.parse().ok().and_then(|digest| remembered(stamps, &digest))
    {
        return Ok(Listed::new(name, listing));
    }
    let listed =
        Listed::new(name, checked(remotes.list(&request.root, parts.map(|(revision, _)| revision))?)?);
    if let Some(locked) = locked.filter(|locked| *locked != listed.pin.revision) {
        let Pin { name, revision } = &listed.pin;
        let message = format!("`{name}` is {}, but {} in the lock file", brief(revision), brief(&locked));
        return Err(Error::input(message).help(HELP));
    }
    listed.keep(stamps);
    Ok(listed)
}

/// A revision with a short digest.
fn brief(revision: &str) -> String {
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    match revision.rsplit_once(' ') {
        Some((what, digest)) => format!("{what} ({})", short(digest)),
        None => revision.to_owned(),
    }
}

/// Names become parts of ids and of lines in records.
fn checked(listing: Listing) -> Result<Listing, Error> {
    let mut names = BTreeSet::new();
    for RemoteFile { name, .. } in &listing.files {
        if name.is_empty() || name.contains(['\n', '\t', '\0']) {
            let message =
                format!("a remote file has the name {name:?}, which is empty or has a line break or tab");
            return Err(Error::input(message).help("narrow the pattern"));
        }
        if !names.insert(name) {
            return Err(Error::input(format!("two remote files have the name `{name}`")));
        }
    }
    Ok(listing)
}

fn to_bytes(listing: &Listing) -> Vec<u8> {
    serde_json::to_vec(listing).expect("invariant: a listing is plain data")
}

fn memory(stamps: &Path, digest: &Digest) -> PathBuf {
    stamps.join("remote").join(digest.to_string())
}

fn remembered(stamps: &Path, digest: &Digest) -> Option<Listing> {
    let bytes = files::read(&memory(stamps, digest), BYTES_MAX).ok()?;
    // The file is not synced when written: trust it only if it is complete.
    let listing = (Digest::of(&bytes) == *digest).then(|| serde_json::from_slice(&bytes).ok())??;
    checked(listing).ok()
}

/// What a root is called in messages that its server has no part in.
pub(crate) fn named(root: &RemoteRoot) -> String {
    match root {
        RemoteRoot::Url { url } => pipe_stage::shown(url),
        RemoteRoot::List { list, .. } => pipe_stage::shown(list),
        RemoteRoot::Dataset { repo, .. } => repo.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::{Remote, Stop};
    use std::{
        io::Read,
        sync::atomic::{AtomicU32, Ordering},
    };

    /// A server whose file has a version that its requests count up.
    struct Moving {
        lists: AtomicU32,
        version: AtomicU32,
    }

    impl Remotes for Moving {
        fn pin_name(&self, root: &RemoteRoot) -> Result<String, Error> {
            Ok(named(root))
        }

        fn list(&self, _: &RemoteRoot, pinned: Option<&str>) -> Result<Listing, Error> {
            self.lists.fetch_add(1, Ordering::Relaxed);
            assert!(pinned.is_none_or(|pinned| pinned == "1 file"));
            let version = format!("etag:{}", self.version.load(Ordering::Relaxed));
            let remote = Remote { url: "https://h/a?secret".into(), version, license: String::new() };
            Ok(Listing {
                revision: "1 file".into(),
                files: vec![RemoteFile { name: "a".into(), size: 3, remote }],
            })
        }

        fn open(&self, _: &Remote, _: u64, _: u64, _: &Stop) -> Result<Box<dyn Read + Send>, Error> {
            Err(Error::input("not read"))
        }
    }

    #[test]
    fn a_pinned_listing_needs_no_server_and_a_moved_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("version"), "").unwrap();
        let stamps = folder.path().join("stamps");
        let server = Moving { lists: AtomicU32::new(0), version: AtomicU32::new(1) };
        let root = RemoteRoot::Url { url: "https://h/a?secret".into() };
        let request = RemoteRequest { source: "s".into(), root, field: "f".into() };
        let first = list(&server, &request, |_| None, &stamps).unwrap();
        assert_eq!(first.pin.name, "https://h/a?…");
        assert!(first.pin.revision.starts_with("1 file "));
        // The server has moved on, and is not asked.
        server.version.store(2, Ordering::Relaxed);
        let locked = |_: &str| Some(first.pin.revision.clone());
        let again = list(&server, &request, locked, &stamps).unwrap();
        assert_eq!(again.files("s"), first.files("s"));
        assert_eq!(server.lists.load(Ordering::Relaxed), 1);
        // Without the memory it is asked, and says something else.
        std::fs::remove_dir_all(stamps.join("remote")).unwrap();
        let error = list(&server, &request, locked, &stamps).unwrap_err();
        assert!(error.to_string().contains("in the lock file"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let fresh = list(&server, &request, |_| None, &stamps).unwrap();
        assert_ne!(fresh.files("s")[0].digest, first.files("s")[0].digest);
    }

    #[test]
    fn a_damaged_memory_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("version"), "").unwrap();
        let stamps = folder.path().join("stamps");
        let server = Moving { lists: AtomicU32::new(0), version: AtomicU32::new(1) };
        let root = RemoteRoot::Url { url: "https://h/a".into() };
        let request = RemoteRequest { source: "s".into(), root, field: "f".into() };
        let first = list(&server, &request, |_| None, &stamps).unwrap();
        let file = std::fs::read_dir(stamps.join("remote")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "{}").unwrap();
        let again = list(&server, &request, |_| Some(first.pin.revision.clone()), &stamps).unwrap();
        assert_eq!((again.pin, server.lists.load(Ordering::Relaxed)), (first.pin, 2));
    }
}
