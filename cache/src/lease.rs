//! Leases: the right to work on a key, with a fencing number.
//!
//! A lease is a file `KEY.FENCE` that names its owner and contains a counter, which the owner increments by rewriting
//! it in place. It is created by link(2), so that if two processes want the same number only one gets it. A process
//! that takes over from an owner that is dead, or appears dead, creates the next number and removes the leases it
//! supersedes.
//!
//! Two processes never both believe that they hold a key: each creates its file and *then* checks again. Of any two,
//! the one whose file came later sees the other's, and yields to any file that it had not judged dead before. (It
//! compares files, not numbers: a number may be reused after a release, so each file has a nonce.)
//!
//! A lease saves work; correctness does not depend on it: the first record wins, and durable folders are separated by
//! fencing number.

use crate::files::{self, TempFile};
use crate::owner::{self, Liveness, Owner};
use crate::{Digest, Error, Result, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Maximum interval between increments of the counter.
const BEAT_MAX: Duration = Duration::from_secs(5);

/// Minimum interval between increments.
const BEAT_MIN: Duration = Duration::from_millis(1);

/// Minimum number of increments within the patience of others.
const BEATS_PER_PATIENCE: u32 = 6;

/// Coarsest resolution of file times: two seconds.
const TIME_GRAIN: Duration = Duration::from_secs(2);

/// Maximum size of a lease file; real ones have a few hundred bytes.
const LEASE_BYTES_MAX: u64 = 4096;

/// Number of attempts, at different times, when two processes yield to each other.
const TRIES: u32 = 8;

/// The result of requesting a lease.
#[derive(Debug)]
pub enum Acquire {
    /// Acquired by this process.
    Held(Lease),
    /// Another owner is working on the key.
    Busy(Holder),
}

/// The holder of a lease, according to its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The fencing number.
    pub fence: u64,
    /// Host name of the owner; empty if unknown.
    pub host: String,
    /// Process id of the owner on its host; 0 if unknown.
    pub pid: u32,
    /// How often the owner has incremented the counter.
    pub beat: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

impl Store {
    /// Requests the lease of a key once, without waiting.
    ///
    /// It succeeds if there is no owner, or if the owner was a process of this machine that has ended. To wait for an
    /// owner, or to find out that an owner elsewhere is dead, use [`watch`](Self::watch).
    pub fn acquire(&self, key: &Digest) -> Result<Acquire> {
        self.watch(key).poll()
    }

    /// Prepares to wait for the lease of a key; it holds nothing.
    pub fn watch(&self, key: &Digest) -> Watch {
        Watch::new(self, key, Purpose::Work)
    }

    /// Whether an owner is working on a key, without waiting. It uses the rule of [`watch`](Self::watch), except that
    /// the counter of an owner that cannot be seen from here is dated by the file system's clock.
    ///
    /// Returns the holder that is, or may be, alive.
    pub fn holder(&self, key: &Digest) -> Result<Option<Holder>> {
        holder(self, &Purpose::Work.stem(key))
    }

    /// Lists existing leases, including those of dead owners, with their keys.
    pub fn leases(&self) -> Result<Vec<(Digest, Holder)>> {
        let files = files::list(&self.leases_dir())?;
        let key = |stem: &str| stem.strip_suffix(Purpose::DURABLE).unwrap_or(stem).parse().ok();
        let mut leases = Vec::new();
        for (name, path) in files {
            if let Some((stem, fence)) = split_name(&name)
                && let Some(key) = key(stem)
                && let Some(content) = Content::read(&path)?
            {
                leases.push((key, content.holder(fence)));
            }
        }
        Ok(leases)
    }
}

/// What a lease is for: each purpose has separate leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Work,
    Durable,
}

impl Purpose {
    const DURABLE: &'static str = "-durable";

    pub(crate) fn stem(self, key: &Digest) -> String {
        match self {
            Self::Work => key.to_string(),
            Self::Durable => format!("{key}{}", Self::DURABLE),
        }
    }

    /// The key of a stem; `None` if it is another purpose's.
    fn key(self, stem: &str) -> Option<Digest> {
        match self {
            Self::Work => stem.parse().ok(),
            Self::Durable => stem.strip_suffix(Self::DURABLE)?.parse().ok(),
        }
    }
}

/// Waits for the lease of a key, without holding anything.
///
/// An owner that cannot be seen from here is dead when its counter has not changed for
/// [`Options::lease_patience`](crate::Options::lease_patience) by this machine's clock, while it was polled at least
/// every quarter of that time: an observer that was suspended itself has observed nothing.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    key: Digest,
    stem: String,
    seen: Vec<Sighting>,
    /// The lease that is waited for.
    awaited: Option<(u64, PathBuf)>,
}

/// The counter of a lease, and when this value was first and last seen.
#[derive(Debug, Clone)]
struct Sighting {
    fence: u64,
    content: Content,
    first: Instant,
    last: Instant,
}

impl Watch {
    pub(crate) fn new(store: &Store, key: &Digest, purpose: Purpose) -> Self {
        Self { store: store.clone(), key: *key, stem: purpose.stem(key), seen: Vec::new(), awaited: None }
    }

    /// Requests the lease, and takes it if there is no owner or its owner is dead.
    pub fn poll(&mut self) -> Result<Acquire> {
        self.poll_above(0)
    }

    /// Requests the lease with a fencing number above `floor`.
    pub(crate) fn poll_above(&mut self, floor: u64) -> Result<Acquire> {
        // While its holder lives, a look at that one file is enough, however many leases there are.
        if let Some((fence, path)) = self.awaited.take()
            && let Some(content) = Content::read(&path)?
            && let Some(holder) = self.wait_for(&[Found { fence, path, content }])
        {
            return Ok(Acquire::Busy(holder));
        }
        for attempt in 0..TRIES {
            let found = self.find()?;
            if let Some(holder) = self.wait_for(&found) {
                return Ok(Acquire::Busy(holder));
            }
            let fence = found.last().map_or(0, |lease| lease.fence).max(floor).saturating_add(1);
            match self.take(fence, &found)? {
                Taken::Held(lease) => return Ok(Acquire::Held(lease)),
                Taken::Raced if attempt + 1 < TRIES => thread::sleep(pause(attempt)),
                Taken::Raced => {}
            }
        }
        // Another process was faster each time, and had released the lease at each check.
        let holder = self.find()?.pop().map(|lease| lease.content.holder(lease.fence));
        Ok(Acquire::Busy(holder.unwrap_or(Holder { fence: 0, host: owner::host_name(), pid: 0, beat: 0 })))
    }

    /// The living holder among these leases, which is waited for from now on.
    fn wait_for(&mut self, found: &[Found]) -> Option<Holder> {
        let living = self.living(found)?;
        self.awaited = Some((living.fence, living.path.clone()));
        Some(living.content.holder(living.fence))
    }

    /// Reads all leases of the key, lowest number first.
    fn find(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (name, path) in files::list(&self.store.leases_dir())? {
            if let Some((stem, fence)) = split_name(&name)
                && stem == self.stem
                && let Some(content) = Content::read(&path)?
            {
                found.push(Found { fence, path, content });
            }
        }
        found.sort_by_key(|lease| lease.fence);
        Ok(found)
    }

    /// Returns the highest lease whose owner has not ended, and whose counter has not been unchanged for too long.
    fn living<'a>(&mut self, found: &'a [Found]) -> Option<&'a Found> {
        let now = Instant::now();
        let patience = self.store.0.options.lease_patience;
        let (looked_at, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.seen)
            .into_iter()
            .partition(|seen| found.iter().any(|lease| lease.fence == seen.fence));
        self.seen = others;
        let mut living = None;
        for lease in found.iter().filter(|lease| lease.content.liveness() != Liveness::Gone) {
            let unchanged = |seen: &&Sighting| {
                seen.fence == lease.fence
                    && seen.content == lease.content
                    && now.duration_since(seen.last) <= patience / 2
            };
            let first = looked_at.iter().find(unchanged).map_or(now, |seen| seen.first);
            if now.duration_since(first) < patience {
                living = Some(lease);
            }
            self.seen.push(Sighting { fence: lease.fence, content: lease.content.clone(), first, last: now });
        }
        living
    }

    /// Creates the lease file and checks whether it is valid.
    fn take(&self, fence: u64, superseded: &[Found]) -> Result<Taken> {
        let content = Content::new();
        let path = self.store.leases_dir().join(format!("{}.{fence}", self.stem));
        if !create(&self.store, &path, &content)? {
            return Ok(Taken::Raced);
        }
        let own = TempFile::new(path);
        let known = |lease: &Found| {
            lease.content.nonce == content.nonce
                || superseded
                    .iter()
                    .any(|old| old.fence == lease.fence && old.content.same_file(&lease.content))
        };
        if !self.find()?.iter().all(known) {
            return Ok(Taken::Raced);
        }
        for old in superseded {
            files::remove_file(&old.path)?;
        }
        let path = own.keep();
        Ok(Taken::Held(Lease::start(self.key, fence, path, content, self.store.0.options.lease_patience)))
    }
}

/// Finds the living holder of a lease with a single look.
fn holder(store: &Store, stem: &str) -> Result<Option<Holder>> {
    Ok(living(store, &|own| own == stem)?.remove(stem))
}

/// Finds the living holders of all leases of a purpose by one look.
pub(crate) fn holders(store: &Store, purpose: Purpose) -> Result<BTreeMap<Digest, Holder>> {
    let found = living(store, &|stem| purpose.key(stem).is_some())?;
    Ok(found.into_iter().filter_map(|(stem, holder)| Some((purpose.key(&stem)?, holder))).collect())
}

/// Finds the living holders of those leases whose names begin as wanted.
fn living(store: &Store, is_wanted: &dyn Fn(&str) -> bool) -> Result<BTreeMap<String, Holder>> {
    let mut living: BTreeMap<String, Holder> = BTreeMap::new();
    for (name, path) in files::list(&store.leases_dir())? {
        if let Some((stem, fence)) = split_name(&name)
            && is_wanted(stem)
            && let Some(content) = Content::read(&path)?
            && living.get(stem).is_none_or(|before| before.fence < fence)
            && is_living(store, &path, &content)?
        {
            living.insert(stem.to_owned(), content.holder(fence));
        }
    }
    Ok(living)
}

/// Whether the owner of a lease is, or may be, alive. An owner that cannot be seen from here counts as alive if its
/// counter was incremented within the patience.
fn is_living(store: &Store, path: &Path, content: &Content) -> Result<bool> {
    match content.liveness() {
        Liveness::Alive => Ok(true),
        Liveness::Gone => Ok(false),
        Liveness::Unknown => {
            let raised = match fs::symlink_metadata(path) {
                Err(error) if is_gone(&error) => return Ok(false),
                metadata => metadata.map_err(Error::io("examine", path))?.modified(),
            };
            let raised = raised.map_err(Error::io("examine", path))?;
            let age = store.now()?.duration_since(raised).unwrap_or_default();
            Ok(age <= store.0.options.lease_patience + TIME_GRAIN)
        }
    }
}

enum Taken {
    Held(Lease),
    Raced,
}

/// A lease file.
#[derive(Debug, Clone)]
struct Found {
    fence: u64,
    path: PathBuf,
    content: Content,
}

/// Splits `KEY.FENCE`.
fn split_name(name: &str) -> Option<(&str, u64)> {
    let (stem, fence) = name.rsplit_once('.')?;
    Some((stem, fence.parse().ok()?))
}

fn create(store: &Store, path: &Path, content: &Content) -> Result<bool> {
    let (temp, mut file) = store.temp_file()?;
    file.write_all(content.to_text().as_bytes()).map_err(Error::io("write", temp.path()))?;
    // Not synced: after a crash of the machine no holder is left.
    match temp.link(path) {
        // A copied cache may lack empty folders.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            files::create_dir(&store.leases_dir())?;
            temp.link(path)
        }
        linked => linked,
    }
}

/// Differs between any two processes, and increases with each attempt.
fn pause(attempt: u32) -> Duration {
    let spread = Digest::of(format!("{}{attempt}", Owner::current()).as_bytes()).as_bytes()[0];
    Duration::from_millis(u64::from(attempt + 1) * 2 + u64::from(spread) / 16)
}

/// The content of a lease file.
///
/// ```text
/// pipe lease 1
/// owner HOST.BOOT.NAMESPACE.PID.START
/// host NAME
/// nonce NUMBER
/// beat 00000000000000000042        always 20 digits, so that it is rewritten in place
/// ```
///
/// A file with other content (truncated by a crash of the machine) has an unknown owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    owner: Option<Owner>,
    host: String,
    nonce: u64,
    beat: u64,
}

impl Content {
    fn new() -> Self {
        Self {
            owner: Some(Owner::current().clone()),
            host: owner::host_name(),
            // Not only the process id: without /proc, processes of two containers may look the same.
            nonce: owner::unique(),
            beat: 0,
        }
    }

    /// Reads a lease file; `None` if it does not exist.
    fn read(path: &Path) -> Result<Option<Self>> {
        match files::read_at_most(path, LEASE_BYTES_MAX) {
            Ok(text) => Ok(Some(Self::parse(&text.unwrap_or_default()))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = |name| field(name).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Self {
            owner: field("owner").and_then(|owner| owner.parse().ok()),
            host: field("host").unwrap_or_default().to_owned(),
            nonce: number("nonce"),
            beat: number("beat"),
        }
    }

    fn to_text(&self) -> String {
        let owner = self.owner.as_ref().expect("invariant: only our own lease is written");
        let Self { host, nonce, beat, .. } = self;
        format!("pipe lease 1\nowner {owner}\nhost {host}\nnonce {nonce}\nbeat {beat:020}\n")
    }

    fn same_file(&self, other: &Self) -> bool {
        self.owner == other.owner && self.nonce == other.nonce
    }

    fn liveness(&self) -> Liveness {
        self.owner.as_ref().map_or(Liveness::Unknown, Owner::liveness)
    }

    fn holder(&self, fence: u64) -> Holder {
        let pid = self.owner.as_ref().map_or(0, |owner| owner.pid);
        Holder { fence, host: self.host.clone(), pid, beat: self.beat }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// The right to work on a key. Released when dropped.
#[derive(Debug)]
pub struct Lease {
    key: Digest,
    fence: u64,
    path: PathBuf,
    content: Box<Content>,
    lost: Arc<AtomicBool>,
    /// Ends the heartbeat when dropped.
    life: Option<mpsc::Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
}

/// Proof of a lease for another process that works on behalf of its holder, such as a worker.
///
/// It is valid as long as the lease: if the lease was released or lost, the token is worthless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseToken {
    key: Digest,
    fence: u64,
    owner: String,
    nonce: u64,
}

impl LeaseToken {
    /// Returns the key of the lease.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// Fails with [`Error::Lost`] if the lease is no longer held; it reads the disk.
    pub(crate) fn check(&self, store: &Store) -> Result<()> {
        let path = store.leases_dir().join(format!("{}.{}", Purpose::Work.stem(&self.key), self.fence));
        let is_held = Content::read(&path)?.is_some_and(|content| {
            content.nonce == self.nonce && content.owner.is_some_and(|owner| owner.to_string() == self.owner)
        });
        if is_held { Ok(()) } else { Err(Error::Lost { key: self.key }) }
    }
}

impl Lease {
    /// Returns proof for the store, in this process or another one, that this lease is held.
    pub fn token(&self) -> LeaseToken {
        let owner = self.content.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        LeaseToken { key: self.key, fence: self.fence, owner, nonce: self.content.nonce }
    }

    fn start(key: Digest, fence: u64, path: PathBuf, content: Content, patience: Duration) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let (life, end) = mpsc::channel();
        let heartbeat = Heartbeat { path: path.clone(), content: content.clone(), lost: Arc::clone(&lost) };
        let interval = (patience / BEATS_PER_PATIENCE).clamp(BEAT_MIN, BEAT_MAX);
        let heartbeat = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || heartbeat.beat_until(&end, interval))
            // Without a heartbeat the lease still holds against everyone on this machine who sees us alive,
            // until their patience ends.
            .ok();
        Self { key, fence, path, content: Box::new(content), lost, life: Some(life), heartbeat }
    }

    /// Returns the key.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// Returns the fencing number, which is higher than that of all superseded owners.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether another owner has taken over, as of the last heartbeat.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Fails with [`Error::Lost`] if another owner has taken over; it reads the disk.
    pub fn check(&self) -> Result<()> {
        let held = Content::read(&self.path)?.is_some_and(|content| content.same_file(&self.content));
        if !held || self.is_lost() {
            self.lost.store(true, Ordering::Release);
            return Err(Error::Lost { key: self.key });
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.life.take());
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.join().ok();
        }
        if self.check().is_ok() {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The thread that increments the counter.
struct Heartbeat {
    path: PathBuf,
    content: Content,
    lost: Arc<AtomicBool>,
}

impl Heartbeat {
    fn beat_until(mut self, end: &mpsc::Receiver<()>, interval: Duration) {
        while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(interval) {
            match self.beat() {
                Ok(true) => {}
                Ok(false) => return self.lost.store(true, Ordering::Release),
                // A full or unreachable disk may recover; if not, others will take over, and this process notices.
                Err(_) => {}
            }
        }
    }

    /// Increments the counter; returns false if the lease belongs to another owner or is gone.
    ///
    /// Opened again each time: over NFS, opening shows what others wrote, and closing shows others what this process
    /// wrote.
    fn beat(&mut self) -> io::Result<bool> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Err(error) if is_gone(&error) => return Ok(false),
            file => file?,
        };
        let mut text = [0; LEASE_BYTES_MAX as usize];
        let length = file.read_at(&mut text, 0)?;
        if !Content::parse(&text[..length]).same_file(&self.content) {
            return Ok(false);
        }
        self.content.beat += 1;
        file.write_all_at(self.content.to_text().as_bytes(), 0)?;
        Ok(true)
    }
}

/// Removes the leases of dead processes of this machine. A race with a process that takes over is harmless, as
/// explained above.
pub(crate) fn sweep(store: &Store, forgotten: impl Fn(&Path) -> bool, failed: &mut Vec<Error>) -> Result<()> {
    for (name, path) in files::list(&store.leases_dir())? {
        if split_name(&name).is_none() {
            continue; // not ours
        }
        let swept = Content::read(&path).and_then(|content| {
            let is_dead = match content.map(|content| content.liveness()) {
                Some(Liveness::Gone) => true,
                Some(Liveness::Unknown) => forgotten(&path),
                Some(Liveness::Alive) | None => false,
            };
            if is_dead { files::remove_file(&path).map(drop) } else { Ok(()) }
        });
        failed.extend(swept.err());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use std::sync::atomic::AtomicU64;

    fn store(patience: Duration) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_with(folder.path(), Options { lease_patience: patience }).unwrap();
        (folder, store)
    }

    fn held(acquire: Acquire) -> Lease {
        match acquire {
            Acquire::Held(lease) => lease,
            Acquire::Busy(holder) => panic!("busy: {holder}"),
        }
    }

    /// Leaves a lease of a machine that cannot be seen from here.
    fn leave_foreign_lease(store: &Store, key: &Digest) -> PathBuf {
        leave_foreign_lease_of(store, key, 1)
    }

    fn leave_foreign_lease_of(store: &Store, key: &Digest, fence: u64) -> PathBuf {
        let owner: Owner = "0123456789abcdef.other.1.1.1".parse().unwrap();
        let content = Content { owner: Some(owner), host: "elsewhere".into(), nonce: 9, beat: 3 };
        let path = store.leases_dir().join(format!("{key}.{fence}"));
        assert!(create(store, &path, &content).unwrap());
        path
    }

    #[test]
    fn a_text_comes_back() {
        let content = Content { beat: 42, ..Content::new() };
        assert_eq!(Content::parse(content.to_text().as_bytes()), content);
        assert_eq!(Content::parse(b"").liveness(), Liveness::Unknown);
    }

    #[test]
    fn one_holds_and_the_other_is_told_who() {
        let (_folder, store) = store(Duration::from_secs(60));
        let key = Digest::of(b"key");
        let lease = held(store.acquire(&key).unwrap());
        let Acquire::Busy(holder) = store.acquire(&key).unwrap() else { panic!("held twice") };
        assert_eq!((holder.pid, holder.fence), (std::process::id(), lease.fence()));
        drop(lease);
        assert!(files::list(&store.leases_dir()).unwrap().is_empty());
        held(store.acquire(&key).unwrap());
    }

    #[test]
    fn the_counter_of_a_living_owner_keeps_others_away() {
        let (_folder, store) = store(Duration::from_millis(300));
        let key = Digest::of(b"key");
        let lease = held(store.acquire(&key).unwrap());
        let mut watch = store.watch(&key);
        for _ in 0..40 {
            assert!(matches!(watch.poll().unwrap(), Acquire::Busy(_)));
            thread::sleep(Duration::from_millis(25));
        }
        assert!(!lease.is_lost());
    }

    #[test]
    fn an_owner_elsewhere_that_stands_still_is_superseded() {
        let (_folder, store) = store(Duration::from_millis(200));
        let key = Digest::of(b"key");
        let path = leave_foreign_lease(&store, &key);
        let started = Instant::now();
        let mut watch = store.watch(&key);
        let lease = loop {
            match watch.poll().unwrap() {
                Acquire::Held(lease) => break lease,
                Acquire::Busy(holder) => assert_eq!(holder.host, "elsewhere"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        assert!(started.elapsed() >= Duration::from_millis(200));
        assert_eq!(lease.fence(), 2);
        assert!(!path.exists());
    }

    #[test]
    fn one_look_judges_as_a_watch_does() {
        let (_folder, store) = store(Duration::from_millis(200));
        let (own, foreign) = (Digest::of(b"own"), Digest::of(b"foreign"));
        assert_eq!(store.holder(&own).unwrap(), None);
        let lease = held(store.acquire(&own).unwrap());
        assert_eq!(store.holder(&own).unwrap().unwrap().pid, std::process::id());
        drop(lease);
        assert_eq!(store.holder(&own).unwrap(), None);

        let path = leave_foreign_lease(&store, &foreign);
        assert_eq!(store.holder(&foreign).unwrap().unwrap().host, "elsewhere");
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(store.holder(&foreign).unwrap(), None);
    }

    #[test]
    fn leases_are_made_where_a_copy_left_out_the_empty_folder() {
        let (_folder, store) = store(Duration::from_secs(60));
        fs::remove_dir(store.leases_dir()).unwrap();
        held(store.acquire(&Digest::of(b"key")).unwrap());
    }

    #[test]
    fn who_waits_looks_at_the_awaited_lease_alone() {
        let (_folder, store) = store(Duration::from_secs(60));
        let key = Digest::of(b"key");
        let lease = held(store.acquire(&key).unwrap());
        let mut watch = store.watch(&key);
        assert!(matches!(watch.poll().unwrap(), Acquire::Busy(holder) if holder.fence == lease.fence()));
        // Another lease is seen only by who lists all of them.
        leave_foreign_lease_of(&store, &key, 9);
        assert!(matches!(watch.poll().unwrap(), Acquire::Busy(holder) if holder.fence == lease.fence()));
        fs::remove_file(&lease.path).unwrap();
        assert!(matches!(watch.poll().unwrap(), Acquire::Busy(holder) if holder.fence == 9));
    }

    #[test]
    fn an_observer_that_slept_has_seen_nothing() {
        let (_folder, store) = store(Duration::from_millis(100));
        let key = Digest::of(b"key");
        leave_foreign_lease(&store, &key);
        let mut watch = store.watch(&key);
        for _ in 0..3 {
            assert!(matches!(watch.poll().unwrap(), Acquire::Busy(_)));
            thread::sleep(Duration::from_millis(150));
        }
    }

    #[test]
    fn a_superseded_owner_notices_and_leaves_its_successor_alone() {
        let (_folder, store) = store(Duration::from_millis(120));
        let key = Digest::of(b"key");
        let lease = held(store.acquire(&key).unwrap());
        fs::remove_file(&lease.path).unwrap();
        let successor = held(store.acquire(&key).unwrap());
        assert!(matches!(lease.check(), Err(Error::Lost { .. })));
        while !lease.is_lost() {
            thread::sleep(Duration::from_millis(10));
        }
        drop(lease);
        successor.check().unwrap();
    }

    #[test]
    fn of_many_threads_one_holds_at_a_time() {
        let (_folder, store) = store(Duration::from_secs(60));
        let key = Digest::of(b"key");
        let holders = AtomicU64::new(0);
        let turns = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while turns.load(Ordering::SeqCst) < 100 {
                        if let Acquire::Held(lease) = store.acquire(&key).unwrap() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            turns.fetch_add(1, Ordering::SeqCst);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lease);
                        }
                    }
                });
            }
        });
    }
}
