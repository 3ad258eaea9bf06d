//! The store as its users see it, in one process: reads return what was written, and damage is detected.

use pipe_cache::{
    Acquire, AcquireDurable, Blob, Commit, DamageCause, Digest, EntryKind, Error, Published, Repair, Store,
};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("cache")).unwrap();
    (folder, store)
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Flips one bit and changes nothing else: size, mode and time are kept.
fn flip(path: &Path, at: usize) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    overwrite(path, &bytes);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
    file.set_permissions(Permissions::from_mode(0o444)).unwrap();
}

/// Lists the temporary folders.
fn temporaries(store: &Store) -> Vec<String> {
    let owners = fs::read_dir(store.root().join("work/tmp")).unwrap();
    let files = owners.flat_map(|owner| fs::read_dir(owner.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path().display().to_string()).collect()
}

#[test]
fn bytes_come_back() {
    let (_folder, store) = store();
    for size in [0, 1, 1 << 18, 3_000_001] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| (at / 7) as u8).collect();
        let mut writer = store.writer().unwrap();
        for piece in bytes.chunks(100_003) {
            writer.write_all(piece).unwrap();
        }
        let staged = writer.finish().unwrap();
        let blob = staged.blob();
        assert_eq!(blob, Blob::of(&bytes));
        assert!(!store.holds(&blob), "not before the commit");
        assert!(matches!(store.read(&blob), Err(Error::Missing { .. })));
        store.commit(Commit { objects: vec![staged], ..Commit::default() }).unwrap();
        assert!(store.holds(&blob));
        assert_eq!(store.read(&blob).unwrap(), bytes);
        let path = store.verified(&blob).unwrap();
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (1, 0o444));
    }
    assert!(temporaries(&store).is_empty());
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let (_folder, store) = store();
    let mut writer = store.writer().unwrap();
    writer.write_all(&[7; 1 << 20]).unwrap();
    drop(writer);
    let staged = store.import(&store.root().join("version")).unwrap();
    assert_eq!(staged.blob(), Blob::of(b"pipe store 1\n"));
    drop(staged);
    let scratch = store.scratch().unwrap();
    fs::create_dir_all(scratch.path().join("a/b")).unwrap();
    assert_eq!(temporaries(&store).len(), 1);
    drop(scratch);
    assert!(temporaries(&store).is_empty());
    let root = store.root().to_owned();
    drop(store);
    assert_eq!(fs::read_dir(root.join("work/tmp")).unwrap().count(), 0);
}

#[test]
fn a_flipped_byte_is_seen_named_and_made_again() {
    let (_folder, store) = store();
    let blob = store.put(&[5; 100_000]).unwrap();
    let other = store.put(b"other").unwrap();
    let path = store.verified(&blob).unwrap();
    flip(&path, 77_777);

    assert!(store.holds(&blob), "size and stamp are right");
    assert!(matches!(store.read(&blob), Err(Error::Damaged { .. })));
    assert!(matches!(store.verified(&blob), Err(Error::Damaged { .. })), "also when it was right before");
    let copy = store.root().join("copy");
    assert!(matches!(store.materialize(&blob, &copy), Err(Error::Damaged { .. })));
    assert!(!copy.exists());

    let damages = store.verify(Repair::Report, |_| ()).unwrap();
    let [damage] = &damages[..] else { panic!("{damages:?}") };
    assert_eq!((damage.kind, damage.digest, damage.repaired), (EntryKind::Object, blob.digest, false));
    assert!(matches!(damage.cause, DamageCause::Content));

    assert!(store.discard(&blob.digest).unwrap());
    assert!(!store.discard(&blob.digest).unwrap(), "gone already");
    assert!(!store.discard(&other.digest).unwrap(), "whole");
    assert!(store.holds(&other));
    assert!(!store.holds(&blob));
    store.put(&[5; 100_000]).unwrap();
    assert_eq!(store.read(&blob).unwrap(), [5; 100_000]);
}

#[test]
fn verify_removes_what_is_damaged_and_nothing_else() {
    let (_folder, store) = store();
    let key = Digest::of(b"key");
    let touched = store.put(b"touched").unwrap();
    let damaged = store.put(b"damaged").unwrap();
    let artifact = store.put_artifact(b"{}").unwrap();
    store.commit(Commit { records: vec![(key, b"body".to_vec())], ..Commit::default() }).unwrap();
    assert!(store.verify(Repair::Report, |_| ()).unwrap().is_empty());

    overwrite(&store.object_path(&touched.digest), b"touched");
    flip(&store.object_path(&damaged.digest), 0);
    flip(&store.artifact_path(&artifact), 1);
    flip(&store.record_path(&key), 2);
    assert_eq!(store.record(&key).unwrap(), None);
    assert!(matches!(store.artifact(&artifact), Err(Error::Damaged { .. })));

    let read = AtomicU64::new(0);
    let damages = store
        .verify(Repair::Discard, |progress| {
            read.fetch_max(progress.done.bytes, Ordering::Relaxed);
            assert_eq!(progress.total.files, 4);
        })
        .unwrap();
    assert!(damages.iter().all(|damage| damage.repaired), "{damages:?}");
    let kinds: Vec<_> = damages.iter().map(|damage| damage.kind).collect();
    assert_eq!(
        kinds,
        [EntryKind::Object, EntryKind::Artifact, EntryKind::Record],
        "another time is no damage"
    );
    assert_eq!(read.into_inner(), 7 + 7 + 2 + 4 + 66);

    assert!(store.verify(Repair::Report, |_| ()).unwrap().is_empty());
    assert!(store.holds(&touched));
    assert!(!store.holds(&damaged));
    assert!(matches!(store.artifact(&artifact), Err(Error::Missing { .. })));
    let usage = store.usage().unwrap();
    assert_eq!((usage.objects.files, usage.objects.bytes, usage.records.files), (1, 7, 0));
}

#[test]
fn something_else_in_the_place_of_an_object_is_damage() {
    let (_folder, store) = store();
    let blob = store.put(b"object").unwrap();
    let path = store.object_path(&blob.digest);
    let aside = store.root().join("aside");
    fs::rename(&path, &aside).unwrap();

    symlink(&aside, &path).unwrap();
    assert!(!store.holds(&blob));
    assert!(matches!(store.read(&blob), Err(Error::Damaged { .. })));
    assert!(matches!(store.verified(&blob), Err(Error::Damaged { .. })));
    assert_eq!(store.verify(Repair::Report, |_| ()).unwrap().len(), 1);
    store.put(b"object").unwrap();
    assert_eq!(store.read(&blob).unwrap(), b"object");
}

#[test]
fn copies_are_apart_from_the_store() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    fs::write(&source, b"content").unwrap();
    let staged = store.import(&source).unwrap();
    let blob = staged.blob();
    store.commit(Commit { objects: vec![staged], ..Commit::default() }).unwrap();
    fs::write(&source, b"changed").unwrap();

    let copy = folder.path().join("copy");
    fs::write(&copy, b"something older and longer").unwrap();
    store.materialize(&blob, &copy).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"content");
    assert!(fs::metadata(&copy).unwrap().mtime() > 1);
    fs::write(&copy, b"written").unwrap();
    assert_eq!(store.read(&blob).unwrap(), b"content");
    let names: BTreeSet<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cache", "copy", "source"].map(Into::into).into());
}

#[test]
fn the_first_record_wins() {
    let (_folder, store) = store();
    let key = Digest::of(b"key");
    let publish = |body: &[u8]| {
        let records = vec![(key, body.to_vec())];
        store.commit(Commit { records, ..Commit::default() }).unwrap().remove(0)
    };
    assert_eq!(store.record(&key).unwrap(), None);
    assert_eq!(publish(b"first"), Published::First);
    assert_eq!(publish(b"second"), Published::Lost(b"first".to_vec()));
    assert_eq!(store.record(&key).unwrap().unwrap(), b"first");

    let Acquire::Held(lease) = store.acquire(&key).unwrap() else { panic!("busy") };
    let (token, body) = (lease.token(), store.record(&key).unwrap().unwrap());
    assert!(!store.retire(&key, b"another one", &token).unwrap(), "it came since");
    assert_eq!(store.record(&key).unwrap().unwrap(), body);
    assert!(store.retire(&key, &body, &token).unwrap());
    assert!(!store.retire(&key, &body, &token).unwrap());
    drop(lease);
    assert!(matches!(store.retire(&key, &body, &token), Err(Error::Lost { .. })), "a late owner");
    assert_eq!(publish(b"third"), Published::First);

    flip(&store.record_path(&key), 0);
    assert_eq!(store.record(&key).unwrap(), None, "damaged");
    assert_eq!(publish(b"fourth"), Published::First);
    assert_eq!(store.record(&key).unwrap().unwrap(), b"fourth");
    assert!(temporaries(&store).is_empty());
}

#[test]
fn commits_of_many_threads_are_all_there() {
    let (_folder, store) = store();
    let firsts = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..8u8 {
            let (store, firsts) = (&store, &firsts);
            scope.spawn(move || {
                for turn in 0..20u8 {
                    let own = [thread, turn];
                    let shared = [turn];
                    let published = store
                        .commit(Commit {
                            objects: vec![staged(store, &own), staged(store, &shared)],
                            artifacts: vec![own.to_vec()],
                            records: vec![
                                (Digest::of(&own), own.to_vec()),
                                (Digest::of(&shared), own.to_vec()),
                            ],
                        })
                        .unwrap();
                    assert_eq!(published[0], Published::First);
                    firsts.fetch_add(u64::from(published[1] == Published::First), Ordering::Relaxed);
                    assert_eq!(store.read(&Blob::of(&own)).unwrap(), own);
                    assert_eq!(store.artifact(&Digest::of(&own)).unwrap(), own);
                    assert_eq!(store.record(&Digest::of(&own)).unwrap().unwrap(), own);
                }
            });
        }
    });
    assert_eq!(firsts.into_inner(), 20, "each shared key has one first");
    let listed: Vec<_> = store.objects().map(|entry| entry.unwrap().digest).collect();
    assert_eq!(listed.len(), 8 * 20 + 20);
    assert!(listed.is_sorted());
    assert!(store.verify(Repair::Report, |_| ()).unwrap().is_empty());
    assert!(temporaries(&store).is_empty());
}

fn staged(store: &Store, bytes: &[u8]) -> pipe_cache::Staged {
    let mut writer = store.writer().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_commit_that_fails_publishes_no_record() {
    let (_folder, store) = store();
    let lost = staged(&store, b"lost");
    fs::remove_file(lost.path()).unwrap();
    let key = Digest::of(b"key");
    let failed = store.commit(Commit {
        objects: vec![staged(&store, b"kept"), lost],
        records: vec![(key, b"body".to_vec())],
        ..Commit::default()
    });
    assert!(matches!(failed, Err(Error::Io { .. })));
    assert_eq!(store.record(&key).unwrap(), None);
    assert!(temporaries(&store).is_empty());
}

#[test]
fn only_a_cache_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(Error::NotACache { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let root = folder.path().join("new/cache");
    drop(Store::open(&root).unwrap());
    let stamp = || fs::metadata(root.join("version")).unwrap().ctime_nsec();
    let before = stamp();
    drop(Store::open(&root).unwrap());
    assert_eq!(stamp(), before);

    fs::write(root.join("version"), "pipe store 2\n").unwrap();
    let newer = Store::open(&root).unwrap_err();
    assert!(matches!(newer, Error::Newer { found: 2, known: 1, .. }), "{newer}");
    fs::write(root.join("version"), "3.1").unwrap();
    assert!(matches!(Store::open(&root), Err(Error::NotACache { .. })));
}

#[test]
fn many_may_make_the_same_cache_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    thread::scope(|scope| {
        for number in 0..8u8 {
            let root = &root;
            scope.spawn(move || Store::open(root).unwrap().put(&[number]).unwrap());
        }
    });
    assert_eq!(Store::open(&root).unwrap().objects().count(), 8);
}

/// A cache that was copied without times (`cp -r`, S3) and without its empty folders works like the original.
#[test]
fn a_copy_without_times_and_empty_folders_is_whole() {
    let (folder, store) = store();
    let (right, damaged) = (store.put(b"right").unwrap(), store.put(b"damaged").unwrap());
    let copy = folder.path().join("copy");
    copy_tree(store.root(), &copy);
    let path = copy.join(store.object_path(&damaged.digest).strip_prefix(store.root()).unwrap());
    overwrite(&path, b"DAMAGED");
    let copied = Store::open(&copy).unwrap();
    assert!(!copied.holds(&damaged), "its size is right, its bytes are not");
    assert!(copied.holds(&right));
    let metadata = fs::metadata(copied.object_path(&right.digest)).unwrap();
    assert_eq!((metadata.mtime(), metadata.mode() & 0o777), (1, 0o444), "stamped, so that it is read once");
    assert!(matches!(copied.acquire(&Digest::of(b"key")).unwrap(), Acquire::Held(_)));
    assert!(matches!(copied.durable(&Digest::of(b"key")).unwrap(), AcquireDurable::Held(_)));
    assert_eq!(copied.put(b"damaged").unwrap(), damaged);
    assert!(copied.holds(&damaged));
    assert!(copied.sweep().unwrap().failed.is_empty());
}

/// Copies files with the current time, and omits folders without files.
fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy_tree(&path, &to.join(name));
        } else {
            fs::create_dir_all(to).unwrap();
            fs::write(to.join(name), fs::read(&path).unwrap()).unwrap();
        }
    }
}

#[test]
fn files_of_others_in_the_cache_are_passed_over() {
    let (_folder, store) = store();
    store.put(b"bytes").unwrap();
    for folder in ["objects", "artifacts", "records", "work/leases", "work/durable", "work/tmp"] {
        fs::write(store.root().join(folder).join(".DS_Store"), "").unwrap();
    }
    assert_eq!(store.usage().unwrap().objects.files, 1);
    assert_eq!(store.objects().filter(|entry| entry.is_ok()).count(), 1);
    assert!(store.verify(Repair::Report, |_| ()).unwrap().is_empty());
    assert!(store.sweep().unwrap().failed.is_empty());
    assert!(store.leases().unwrap().is_empty());
}

#[test]
fn a_file_where_a_folder_belongs_is_named() {
    let (_folder, store) = store();
    let blob = Blob::of(b"bytes");
    let folder = store.object_path(&blob.digest).parent().unwrap().to_owned();
    fs::write(&folder, "").unwrap();
    let error = store.put(b"bytes").unwrap_err();
    assert!(matches!(&error, Error::NotAFolder { path } if *path == folder), "{error}");
    let error = store.usage().unwrap_err();
    assert!(error.to_string().contains(&folder.display().to_string()), "{error}");
}

/// While an object that was reported as damaged is checked, others can still read it.
#[test]
fn a_whole_object_is_never_out_of_sight() {
    let (_folder, store) = store();
    let blob = store.put(&vec![7; 4 << 20]).unwrap();
    let over = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..20).for_each(|_| assert!(!store.discard(&blob.digest).unwrap()));
            over.store(1, Ordering::SeqCst);
        });
        while over.load(Ordering::SeqCst) == 0 {
            assert!(store.object_path(&blob.digest).exists());
        }
    });
}
