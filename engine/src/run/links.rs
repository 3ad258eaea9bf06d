//! Owns: `out/`: links to outputs. They are a convenience: failing to create one is not an error.
//!
//! ```text
//! out/PIPELINE/STAGE/PORT  links to trees/DIGEST
//! out/STAGE                links to PIPELINE/STAGE, while only one pipeline has a stage of this name
//! out/.gitignore           keeps all of it out of repositories
//! trees/DIGEST/            links into objects/, one folder per artifact
//! ```

use crate::{
    plan::Session,
    record::{Record, read_artifact},
};
use pipe_stage::{Artifact, Digest, Entry};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Points `out/PIPELINE/STAGE/PORT` to folders of links into the cache, for all stages of a run that made them, and
/// removes the links of stages that the manifest no longer has. Returns what could not be done.
pub(super) fn link<'o>(
    session: &Session,
    stages: impl IntoIterator<Item = (usize, &'o Record)>,
) -> Vec<String> {
    let out = session.project.out();
    let own = out.join(&session.manifest.pipeline);
    let mut notes = Vec::new();
    let cannot = |place: &Path, error: io::Error| format!("cannot link `{}`: {error}", place.display());
    // Another pipeline has a stage of this name, whose short link is in the way; nothing is written through it.
    if own.is_symlink()
        && let Err(error) = fs::remove_file(&own)
    {
        notes.push(cannot(&own, error));
        return notes;
    }
    let mut broken = Vec::new();
    for (stage, record) in stages {
        let name = session.name(stage);
        if !record.is_held(&session.store) {
            broken.push(name);
        }
        for (port, digest) in &record.outputs {
            let place = own.join(name).join(port);
            if let Err(error) = link_one(session, digest, &place) {
                notes.push(cannot(&place, error));
            }
        }
        if own.join(name).is_dir()
            && let Err(error) =
                ignore(&out).and_then(|()| short(&out, Path::new(&session.manifest.pipeline), name))
        {
            notes.push(cannot(&out.join(name), error));
        }
    }
    if !broken.is_empty() {
        notes.push(format!(
            "note: outputs of {} are missing from the cache or damaged, and so is what `out/` shows of them; no stage \
             had to read them; `pipe run MANIFEST STAGE` makes them again",
            broken.join(", ")
        ));
    }
    let is_gone = |name: &str| !session.manifest.stages.keys().any(|stage| stage.to_string() == name);
    for folder in fs::read_dir(&own).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if folder.file_name().and_then(|name| name.to_str()).is_some_and(is_gone) {
            remove_links(session, &folder);
        }
    }
    notes
}

fn link_one(session: &Session, digest: &Digest, place: &Path) -> io::Result<()> {
    let tree = session.store.root().join("trees").join(digest.to_string());
    // Relative within a project, so that the links of a project that is moved or copied still lead to its own cache.
    let target = match tree.strip_prefix(&session.project.root) {
        // Where `out` is a link to another folder, a relative link would lead from there.
        Ok(below) if !session.project.out().is_symlink() => Path::new("../../..").join(below),
        _ => tree.clone(),
    };
    let Some(artifact) = read_artifact(&session.store, digest) else { return Ok(()) };
    if !is_whole(&artifact, &tree) {
        grow(session, &artifact, &tree)?;
    }
    if fs::read_link(place).is_ok_and(|before| before == target) {
        return Ok(());
    }
    place.parent().map_or(Ok(()), fs::create_dir_all)?;
    match fs::read_link(place) {
        Ok(before) if leads_to_tree(&before) => fs::remove_file(place)?,
        Ok(_) => return Err(io::Error::other("there is a link that leads elsewhere; move it away")),
        Err(_) if place.exists() => {
            return Err(io::Error::other("there is a file or folder that is not a link; move it away"));
        }
        Err(_) => {}
    }
    symlink(target, place)
}

/// Whether a link leads to a tree, of this or another cache.
fn leads_to_tree(target: &Path) -> bool {
    let is_digest = |name: &OsStr| {
        name.len() == 64
            && name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    target.file_name().is_some_and(is_digest)
        && target.parent().and_then(Path::file_name).is_some_and(|folder| folder == "trees")
}

/// Removes the links of a stage that is gone; anything else there stays.
fn remove_links(session: &Session, folder: &Path) {
    for place in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_ours = fs::read_link(&place).is_ok_and(|target| leads_to_tree(&target));
        if is_ours {
            let _ = fs::remove_file(place);
        }
    }
    // Fails where anything is left.
    let _ = fs::remove_dir(folder);
    let short = folder.file_name().map(|name| session.project.out().join(name));
    if let Some(short) = short.filter(|short| short.is_symlink() && !short.exists()) {
        let _ = fs::remove_file(short);
    }
}

/// Keeps `out/` out of Git.
fn ignore(out: &Path) -> io::Result<()> {
    let path = out.join(".gitignore");
    if path.exists() { Ok(()) } else { fs::write(path, "*\n") }
}

/// Makes `out/STAGE` a link to `PIPELINE/STAGE`, or removes it if another pipeline has a stage of this name.
fn short(out: &Path, pipeline: &Path, name: &str) -> io::Result<()> {
    let place = out.join(name);
    let before = fs::read_link(&place).ok();
    let is_short = |link: &PathBuf| {
        link.is_relative()
            && link.components().count() == 2
            && link.file_name().is_some_and(|own| own == name)
    };
    // What the user, or another pipeline, has there stays.
    if !before.as_ref().map_or_else(|| !place.exists(), is_short) {
        return Ok(());
    }
    let is_others = |folder: &fs::DirEntry| {
        !folder.path().is_symlink() && folder.file_name() != *pipeline && folder.path().join(name).is_dir()
    };
    let target = pipeline.join(name);
    let is_ambiguous = fs::read_dir(out)?.flatten().any(|folder| is_others(&folder));
    if !is_ambiguous && before.as_ref() == Some(&target) {
        return Ok(());
    }
    if before.is_some() {
        fs::remove_file(&place)?;
    }
    if is_ambiguous { Ok(()) } else { symlink(target, &place) }
}

/// The time stamp of folders in which nothing changed since they were made, and of copies.
fn stamp() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// The folders of a tree.
fn folders(artifact: &Artifact) -> BTreeSet<&Path> {
    artifact.entries.iter().flat_map(|entry| Path::new(&entry.name).ancestors().skip(1)).collect()
}

/// Whether a tree is as it was made: nothing was added, removed, replaced, or written to a copy.
fn is_whole(artifact: &Artifact, tree: &Path) -> bool {
    let stamped = |path: &Path| {
        fs::symlink_metadata(path).ok().filter(|found| found.modified().is_ok_and(|time| time == stamp()))
    };
    let is_copy = |entry: &&Entry| entry.content.executable && !is_view(entry);
    let mut copies = artifact.entries.iter().filter(is_copy);
    tree.is_dir()
        && folders(artifact).into_iter().all(|folder| stamped(&tree.join(folder)).is_some())
        && copies.all(|entry| {
            let copy = stamped(&tree.join(&entry.name));
            copy.is_some_and(|copy| copy.is_file() && copy.len() == entry.content.blob.size)
        })
}

fn is_view(entry: &Entry) -> bool {
    entry.content.selection.is_some() || entry.content.columns.is_some()
}

/// Makes a tree, or restores the outputs in one. What a user has put there besides stays.
fn grow(session: &Session, artifact: &Artifact, tree: &Path) -> io::Result<()> {
    if tree.is_dir() {
        return lay(session, artifact, tree);
    }
    let half = tree.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half)?;
    lay(session, artifact, &half)?;
    match fs::rename(&half, tree) {
        // Another run was faster.
        Err(_) if tree.is_dir() => fs::remove_dir_all(&half),
        result => result,
    }
}

fn lay(session: &Session, artifact: &Artifact, tree: &Path) -> io::Result<()> {
    let mut views = 0;
    for entry in &artifact.entries {
        let place = tree.join(&entry.name);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if is_view(entry) {
            views += 1;
            continue;
        }
        let object = session.store.object_path(&entry.content.blob.digest);
        if entry.content.executable {
            // Objects are never executable, so a link to one would not be either.
            remove(&place)?;
            fs::copy(object, &place)?;
            fs::File::open(&place)?.set_modified(stamp())?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o555))?;
            continue;
        }
        let up = "../".repeat(Path::new(&entry.name).components().count() + 1);
        let below = object.strip_prefix(session.store.root()).expect("invariant: objects are in the cache");
        let target = Path::new(&up).join(below);
        if fs::read_link(&place).ok().as_ref() != Some(&target) {
            remove(&place)?;
            symlink(target, &place)?;
        }
    }
    if views > 0 {
        let text =
            format!("{views} entries are views of other files; `pipe get` writes them as ordinary files.\n");
        fs::write(tree.join("VIEWS.txt"), text)?;
    }
    for folder in folders(artifact) {
        fs::File::open(tree.join(folder))?.set_modified(stamp())?;
    }
    Ok(())
}

/// Removes a file in the place of an output.
fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
