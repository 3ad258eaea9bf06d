//! Owns: files outside the cache: their lists and digests. It knows no stages.
//!
//! Files are watched by size, mtime, ctime and inode, and hashed when in doubt. A stamp is in doubt if the file
//! changed so shortly before it was examined that a later change might leave the same stamp (git's racy rule). Stamps
//! are stored per machine, since inodes and clocks differ:
//!
//! ```text
//! stamps/HASH      HASH is of machine, root and globs; lines of
//!                  size, mtime ns, ctime ns, inode, digest, name; then the BLAKE3 of all before it
//! ```

mod patterns;

use crate::machine;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
pub(crate) use patterns::escape;
use patterns::{Pattern, Pruned, literal};
use pipe_stage::{Digest, Links, Location, SourceFile, SourceRequest};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// With fewer files, threads cost more than they save.
const FILES_PER_THREAD_MIN: usize = 32;

/// Why the files of a request cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No file matches.
    #[error("{}", request.nothing())]
    NothingFound {
        /// What was requested.
        request: Box<SourceRequest>,
    },
    /// A glob is not valid.
    #[error("`{glob}` is not a valid glob pattern: {message}")]
    BadGlob {
        /// The glob.
        glob: String,
        /// The reason.
        message: String,
        /// Field path in the config.
        field: String,
    },
    /// More files than a source may have.
    #[error("more than {FILES_MAX} files below `{}`", root.display())]
    TooMany {
        /// Its root.
        root: PathBuf,
    },
    /// A name that cannot be stored.
    #[error("the name of `{}` is not UTF-8, or contains a line break or a tab", path.display())]
    BadName {
        /// The file.
        path: PathBuf,
    },
    /// A broken symbolic link whose name matches.
    #[error("the symbolic link `{}` cannot be followed", path.display())]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A folder below too many others.
    #[error("`{}` is more than {DEPTH_MAX} folders deep", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The event.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

const FILES_MAX: usize = 10_000_000;
const DEPTH_MAX: usize = 128;
/// A file that changed less than this before it was examined is hashed again the next time.
const RACY_NANOSECONDS: i128 = 2_000_000_000;

/// A file as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
}

impl Stamp {
    /// Whether two stamps differ at most in permissions, owner or links.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        Self { ctime: other.ctime, ..*self } == *other
    }
}

struct Seen {
    /// Relative to the root; empty if the root is the file itself.
    name: String,
    file: SourceFile,
    stamp: Stamp,
    hashed: bool,
}

/// Lists and hashes the files of a request, sorted by name.
///
/// `stamps` is the folder of stamps; with `None` everything is hashed and nothing is stored.
pub fn list(request: &SourceRequest, stamps: Option<&Path>) -> Result<Vec<SourceFile>, SourceError> {
    let now = nanoseconds(SystemTime::now());
    let names = walk(request)?;
    if names.is_empty() {
        return Err(SourceError::NothingFound { request: Box::new(request.clone()) });
    }
    let memory = stamps.filter(|_| times_are_kept(&request.root)).map(|folder| memory(request, folder));
    let known = memory.as_deref().map(remembered).unwrap_or_default();
    let look = |name: String| -> Result<Seen, SourceError> {
        let path = if name.is_empty() { request.root.clone() } else { request.root.join(&name) };
        let fail = |source| SourceError::Read { path: path.clone(), source };
        let stamp = stamp(&path).map_err(fail)?;
        let trusted = known.get(&name).filter(|(before, _)| *before == stamp).map(|(_, digest)| *digest);
        let digest = trusted.map_or_else(|| hash(&path).map_err(fail), Ok)?;
        let shown = if name.is_empty() { file_name(&path) } else { name.clone() };
        let (source, at) = (request.source.clone(), Location::Path(path));
        let file = SourceFile { source, name: shown, digest, size: stamp.size, at };
        Ok(Seen { name, file, stamp, hashed: trusted.is_none() })
    };
    let pool = if names.len() > FILES_PER_THREAD_MIN { pool() } else { None };
    let seen: Vec<_> = match pool {
        Some(pool) => {
            let files = names.into_par_iter().with_min_len(FILES_PER_THREAD_MIN);
            pool.install(|| files.map(look).collect::<Result<_, _>>())?
        }
        None => names.into_iter().map(look).collect::<Result<_, _>>()?,
    };
    let changed = seen.iter().any(|seen| seen.hashed) || seen.len() != known.len();
    if let Some(memory) = memory.filter(|_| changed) {
        // Without the stored stamps the next plan hashes again; this is no reason to fail.
        let _ = remember(&memory, &seen, now);
    }
    Ok(seen.into_iter().map(|seen| seen.file).collect())
}

/// Threads that hash; `None` if no more can be started.
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| ThreadPoolBuilder::new().build().ok()).as_ref()
}

/// Names of the files below a folder that match a glob; none if they cannot be listed.
pub(crate) fn matching(root: &Path, glob: &str, without: &[PathBuf]) -> Vec<String> {
    let request = request("", root.to_owned(), vec![glob.to_owned()]);
    walk(&self::without(request, without)).unwrap_or_default()
}

/// Leaves folders out of a request: a pattern such as `**/*.parquet` does not mean what pipe itself writes. A request
/// for a folder in there, or for names without wildcards, is left as it is.
pub(crate) fn without(mut request: SourceRequest, folders: &[PathBuf]) -> SourceRequest {
    let is_named = request.include.iter().all(|glob| literal(glob).is_some());
    if is_named && !request.include.is_empty() {
        return request;
    }
    let Ok(root) = fs::canonicalize(&request.root) else { return request };
    for folder in folders.iter().filter_map(|folder| fs::canonicalize(folder).ok()) {
        if let Some(within) = folder.strip_prefix(&root).ok().and_then(Path::to_str)
            && !within.is_empty()
        {
            request.exclude.push(format!("{}/**", escape(within)));
        }
    }
    request
}

/// The folder of stamps in a cache.
pub fn stamps(cache: &Path) -> PathBuf {
    cache.join("stamps")
}

/// Hashes the program of this process.
pub fn program(cache: &Path) -> Result<Digest, SourceError> {
    let unknown = |source| SourceError::Read { path: PathBuf::from("the program itself"), source };
    let request = request("program", machine::program_file().map_err(unknown)?, Vec::new());
    let files = list(&request, Some(&stamps(cache)))?;
    Ok(files.first().expect("invariant: a listing that is not refused has a file").digest)
}

/// A request of the engine itself.
fn request(source: &str, root: PathBuf, include: Vec<String>) -> SourceRequest {
    SourceRequest {
        source: source.to_owned(),
        root,
        include,
        exclude: Vec::new(),
        links: Links::EveryName,
        field: String::new(),
        help: None,
        pin: None,
    }
}

fn identity(request: &SourceRequest) -> String {
    let machine = machine();
    format!("{machine}\n{}\n{:?}\n{:?}", request.root.display(), request.include, request.exclude)
}

/// Identifies this machine among those that share a cache.
pub(crate) fn machine() -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{machine}\n{host}")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Returns names relative to the root; only the name `""` if the root is a file.
///
/// Names without wildcards are looked at one by one. A folder is listed only if a pattern may match something
/// below it, so the size of the rest of a project costs nothing. Links to folders are followed, unless they
/// lead back to a folder that they are in; see [`Links`] for files with several names.
fn walk(request: &SourceRequest) -> Result<Vec<String>, SourceError> {
    let (include, exclude) = (globs(&request.include, request)?, globs(&request.exclude, request)?);
    if request.root.is_file() {
        return Ok(vec![String::new()]);
    }
    let mut names = BTreeSet::new();
    let mut patterns = Vec::new();
    for glob in &request.include {
        match literal(glob) {
            Some(name) if exclude.is_match(&name) => {}
            Some(name) if request.root.join(&name).is_file() => drop(names.insert(plain_name(name.into())?)),
            Some(_) => {}
            None => patterns.push(Pattern::new(glob)),
        }
    }
    if request.include.is_empty() {
        patterns.push(Pattern::everything());
    }
    let pruned = Pruned::new(&request.exclude);
    let begin = Folder { path: request.root.clone(), ..Folder::default() };
    let (mut folders, mut seen) = (if patterns.is_empty() { vec![] } else { vec![begin] }, 0);
    let mut linked: BTreeMap<PathBuf, String> = BTreeMap::new();
    while let Some(Folder { path: folder, name: prefix, above, real }) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(SourceError::Read { path: folder, source }),
            Ok(entries) => entries,
        };
        for entry in entries {
            let fail = |source| SourceError::Read { path: folder.clone(), source };
            let entry = entry.map_err(fail)?;
            let name = prefix.join(entry.file_name());
            let mut kind = entry.file_type().map_err(fail)?;
            let is_link = kind.is_symlink();
            let is_file_wanted = |name: &Path| {
                (request.include.is_empty() || include.is_match(name)) && !exclude.is_match(name)
            };
            let is_folder_wanted = |name: &Path| {
                !pruned.holds(name) && patterns.iter().any(|pattern| pattern.may_match_below(name))
            };
            if is_link {
                match fs::metadata(entry.path()) {
                    Ok(target) => kind = target.file_type(),
                    // Commands may see a broken link; a set of documents without what it stood for is not whole.
                    Err(source)
                        if request.links == Links::Once
                            && (is_file_wanted(&name) || is_folder_wanted(&name)) =>
                    {
                        return Err(SourceError::BrokenLink { path: entry.path(), source });
                    }
                    Err(_) => continue,
                }
            }
            seen += 1;
            if seen > FILES_MAX {
                return Err(SourceError::TooMany { root: request.root.clone() });
            }
            if kind.is_dir() {
                if is_folder_wanted(&name) && !(is_link && leads_back(&entry.path(), &folder, &above)) {
                    if above.len() == DEPTH_MAX {
                        return Err(SourceError::TooDeep { path: entry.path() });
                    }
                    let above = above.iter().cloned().chain([folder.clone()]).collect();
                    let real = real_path(&entry, is_link, real.as_deref()).map_err(fail)?;
                    folders.push(Folder { path: entry.path(), name, above, real });
                }
            } else if kind.is_file() && is_file_wanted(&name) {
                let name = plain_name(name)?;
                match real_path(&entry, is_link, real.as_deref()).map_err(fail)? {
                    Some(real) if request.links == Links::Once => {
                        let first = linked.entry(real).or_insert_with(|| name.clone());
                        *first = name.min(std::mem::take(first));
                    }
                    _ => drop(names.insert(name)),
                }
            }
        }
    }
    if !linked.is_empty() {
        let fail = |source| SourceError::Read { path: request.root.clone(), source };
        let root = fs::canonicalize(&request.root).map_err(fail)?;
        let has_name = |real: &Path| {
            let name = real.strip_prefix(&root).ok().and_then(Path::to_str);
            name.is_some_and(|name| names.contains(name))
        };
        linked.retain(|real, _| !has_name(real));
        names.extend(linked.into_values());
    }
    Ok(names.into_iter().collect())
}

/// A folder that is to be listed.
#[derive(Default)]
struct Folder {
    path: PathBuf,
    /// Relative to the root.
    name: PathBuf,
    /// The folders that it is in.
    above: Vec<PathBuf>,
    /// Its path without links, if one led to it.
    real: Option<PathBuf>,
}

/// The path of an entry without links, if it is a link or in a folder that a link led to.
fn real_path(entry: &fs::DirEntry, is_link: bool, folder: Option<&Path>) -> io::Result<Option<PathBuf>> {
    match folder {
        _ if is_link => fs::canonicalize(entry.path()).map(Some),
        folder => Ok(folder.map(|folder| folder.join(entry.file_name()))),
    }
}

/// A name as it is listed.
fn plain_name(name: PathBuf) -> Result<String, SourceError> {
    match name.to_str() {
        Some(text) if !text.contains(['\n', '\t']) => Ok(text.to_owned()),
        _ => Err(SourceError::BadName { path: name }),
    }
}

/// Whether a link leads to a folder that contains it.
fn leads_back(link: &Path, folder: &Path, above: &[PathBuf]) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let target = id(link);
    target.is_none() || id(folder) == target || above.iter().any(|folder| id(folder) == target)
}

fn globs(patterns: &[String], request: &SourceRequest) -> Result<GlobSet, SourceError> {
    let bad = |glob: &str, error: &globset::Error| SourceError::BadGlob {
        glob: glob.to_owned(),
        message: error.kind().to_string(),
        field: request.field.clone(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).empty_alternates(true).build();
        set.add(glob.map_err(|error| bad(pattern, &error))?);
    }
    set.build().map_err(|error| bad(&patterns.join(" "), &error))
}

/// Removes the stored stamps of a request, so that its files are hashed the next time.
pub(crate) fn forget(request: &SourceRequest, stamps: &Path) {
    // A file that remains is trusted no more than before.
    let _ = fs::remove_file(memory(request, stamps));
}

fn memory(request: &SourceRequest, stamps: &Path) -> PathBuf {
    stamps.join(Digest::of(identity(request).as_bytes()).to_string())
}

/// Whether the file system keeps the time at which a file changed, however it was changed. Those in memory do not for
/// what is written through a mapping (`mmap`).
fn times_are_kept(root: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        const TMPFS: i128 = 0x0102_1994;
        const RAMFS: i128 = 0x8584_58F6;
        rustix::fs::statfs(root).is_ok_and(|system| ![TMPFS, RAMFS].contains(&i128::from(system.f_type)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = root;
        true
    }
}

/// Examines a file.
pub(crate) fn stamp(path: &Path) -> io::Result<Stamp> {
    let data = fs::metadata(path)?;
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    Ok(Stamp {
        size: data.len(),
        mtime: time(data.mtime(), data.mtime_nsec()),
        ctime: time(data.ctime(), data.ctime_nsec()),
        inode: data.ino(),
    })
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            read => drop(hasher.update(&buffer[..read])),
        }
    }
}

fn remembered(path: &Path) -> HashMap<String, (Stamp, Digest)> {
    let parse = |line: &str| -> Option<(String, (Stamp, Digest))> {
        let mut fields = line.splitn(6, '\t');
        let stamp = Stamp {
            size: fields.next()?.parse().ok()?,
            mtime: fields.next()?.parse().ok()?,
            ctime: fields.next()?.parse().ok()?,
            inode: fields.next()?.parse().ok()?,
        };
        let digest = fields.next()?.parse().ok()?;
        Some((fields.next()?.to_owned(), (stamp, digest)))
    };
    let Ok(text) = fs::read_to_string(path) else { return HashMap::new() };
    // The file is not synced when written: trust it only if it is complete.
    let whole = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once('\n'))
        .filter(|(body, sum)| Digest::of(body.as_bytes()).to_string() == *sum);
    whole.map(|(body, _)| body.lines().filter_map(parse).collect()).unwrap_or_default()
}

fn remember(path: &Path, seen: &[Seen], now: i128) -> io::Result<()> {
    let mut body = String::with_capacity(seen.len() * 160);
    for Seen { name, file, stamp, .. } in seen {
        let racy = stamp.mtime.max(stamp.ctime) > now - RACY_NANOSECONDS;
        if racy {
            continue;
        }
        let Stamp { size, mtime, ctime, inode } = stamp;
        body += &format!("{size}\t{mtime}\t{ctime}\t{inode}\t{}\t{name}\n", file.digest);
    }
    let body = body.strip_suffix('\n').unwrap_or_default();
    replace(path, format!("{body}\n{}\n", Digest::of(body.as_bytes())).as_bytes())
}

/// Replaces a file in one step, without syncing it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Commands that only read do not create a cache, and a folder in which another process is creating one is not a
    // cache yet.
    let stamps = folder.ancestors().find(|above| above.ends_with("stamps"));
    if stamps.and_then(Path::parent).is_some_and(|cache| !cache.join("version").is_file()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir_all(folder)?;
    // The mode of any new file, from which the system takes the umask: other users of the cache read it too.
    let mode = fs::Permissions::from_mode(0o666);
    let fresh = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    fs::write(fresh.path(), bytes)?;
    fresh.persist(path)?;
    Ok(())
}

fn nanoseconds(time: SystemTime) -> i128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_to_folders_are_followed_and_loops_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir_all(folder.path().join("other")).unwrap();
        fs::write(folder.path().join("other/x.txt"), "").unwrap();
        fs::write(root.join("a/y.txt"), "").unwrap();
        symlink("../../other", root.join("a/more")).unwrap();
        symlink("..", root.join("a/up")).unwrap();
        symlink("../root", folder.path().join("other/back")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        let request = |include: &[&str], exclude: &[&str]| SourceRequest {
            source: "s".into(),
            root: root.clone(),
            include: include.iter().map(|glob| (*glob).to_owned()).collect(),
            exclude: exclude.iter().map(|glob| (*glob).to_owned()).collect(),
            links: Links::EveryName,
            field: "f".into(),
            help: None,
            pin: None,
        };
        let names = |include: &[&str], exclude: &[&str]| walk(&request(include, exclude)).unwrap();
        assert_eq!(names(&[], &[]), ["a/more/x.txt", "a/y.txt"]);
        assert_eq!(names(&["a/more/*"], &[]), ["a/more/x.txt"]);
        assert_eq!(names(&[], &["a/more/**"]), ["a/y.txt"]);
        assert_eq!(names(&["a/y.txt", "../other/x.txt", "a/none", "a"], &[]), ["../other/x.txt", "a/y.txt"]);
        assert_eq!(names(&["a/y.txt"], &["a/**"]), Vec::<String>::new());
        fs::write(root.join("a/y.txt.gz"), "").unwrap();
        assert_eq!(
            names(&["a/*.txt{,.gz}"], &[]),
            ["a/y.txt", "a/y.txt.gz"],
            "nothing is an alternative, too"
        );
    }

    fn once(root: &Path, include: &[&str]) -> SourceRequest {
        SourceRequest {
            source: "s".into(),
            root: root.to_owned(),
            include: include.iter().map(|glob| (*glob).to_owned()).collect(),
            exclude: Vec::new(),
            links: Links::Once,
            field: "f".into(),
            help: None,
            pin: None,
        }
    }

    #[test]
    fn a_set_of_documents_has_no_broken_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "").unwrap();
        for (link, target) in [("b.txt", "/not/mounted/b.txt"), ("more", "/not/mounted"), ("c.txt", "c.txt")]
        {
            let link = folder.path().join(link);
            symlink(target, &link).unwrap();
            let error = walk(&once(folder.path(), &["**/*.txt"])).unwrap_err();
            assert!(matches!(&error, SourceError::BrokenLink { path, .. } if *path == link), "{error}");
            fs::remove_file(link).unwrap();
        }
        symlink("nowhere", folder.path().join("other.md")).unwrap();
        assert_eq!(walk(&once(folder.path(), &["*.txt"])).unwrap(), ["a.txt"]);
    }

    #[test]
    fn folders_that_are_too_deep_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let deep = |levels: usize| (0..levels).fold(folder.path().to_owned(), |path, _| path.join("n"));
        fs::create_dir_all(deep(DEPTH_MAX)).unwrap();
        fs::write(deep(DEPTH_MAX).join("a.txt"), "").unwrap();
        assert_eq!(walk(&once(folder.path(), &["**/*.txt"])).unwrap().len(), 1);
        fs::create_dir_all(deep(DEPTH_MAX + 1)).unwrap();
        let error = walk(&once(folder.path(), &["**/*.txt"])).unwrap_err();
        assert!(matches!(&error, SourceError::TooDeep { path } if *path == deep(DEPTH_MAX + 1)), "{error}");
    }

    #[test]
    fn stamps_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let stamps = folder.path().join("memory");
        let stamp = Stamp { size: 1, mtime: 2, ctime: 3, inode: 4 };
        let seen = |name: &str| {
            let digest = Digest::of(name.as_bytes());
            let at = Location::Path("p".into());
            let file = SourceFile { source: "s".into(), name: name.into(), digest, size: 1, at };
            Seen { name: name.into(), file, stamp, hashed: true }
        };
        for names in [&[][..], &[""], &["a", "b "], &["x\u{2028}"]] {
            let files: Vec<Seen> = names.iter().map(|name| seen(name)).collect();
            remember(&stamps, &files, i128::MAX).unwrap();
            let known = remembered(&stamps);
            assert_eq!(known.len(), names.len(), "{names:?}");
            assert!(files.iter().all(|file| known[&file.name] == (stamp, file.file.digest)));
        }
    }

    #[test]
    fn a_file_with_several_names_is_listed_once_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("v2/sub")).unwrap();
        fs::create_dir_all(folder.path().join("other")).unwrap();
        fs::write(root.join("v2/a.txt"), "").unwrap();
        fs::write(root.join("v2/sub/b.txt"), "").unwrap();
        fs::write(folder.path().join("other/x.txt"), "").unwrap();
        // A link to a folder, one to a file, and a folder outside of the root with two names.
        symlink("v2", root.join("current")).unwrap();
        symlink("v2/a.txt", root.join("b.txt")).unwrap();
        symlink("../other", root.join("two")).unwrap();
        symlink("../other", root.join("one")).unwrap();
        let request = |include: &[&str], links| SourceRequest {
            source: "s".into(),
            root: root.clone(),
            include: include.iter().map(|glob| (*glob).to_owned()).collect(),
            exclude: Vec::new(),
            links,
            field: "f".into(),
            help: None,
            pin: None,
        };
        let names = |include: &[&str], links| walk(&request(include, links)).unwrap();
        assert_eq!(names(&[], Links::Once), ["one/x.txt", "v2/a.txt", "v2/sub/b.txt"]);
        assert_eq!(names(&[], Links::EveryName).len(), 7);
        // The other name counts where the pattern only matches that.
        assert_eq!(names(&["current/**"], Links::Once), ["current/a.txt", "current/sub/b.txt"]);
        assert_eq!(names(&["*.txt"], Links::Once), ["b.txt"]);
        // Copies are files of their own, and so are hard links.
        fs::hard_link(root.join("v2/a.txt"), root.join("c.txt")).unwrap();
        assert_eq!(names(&["*.txt", "v2/*"], Links::Once), ["c.txt", "v2/a.txt"]);
    }
}
