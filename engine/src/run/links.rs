//! Owns: `out/`: links to outputs. They are a convenience: failing to create one is not an error.
//!
//! ```text
//! out/PIPELINE/STAGE/PORT  links to trees/DIGEST
//! out/STAGE                links to PIPELINE/STAGE of the first pipeline with a stage of this name
//! out/.gitignore           keeps all of it out of repositories
//! trees/DIGEST/            links into objects/, one folder per artifact
//! ```

use crate::{plan::Session, record::read_artifact};
use pipe_stage::{Artifact, Digest};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Makes `out/PIPELINE/STAGE/PORT` link to a folder of links into the cache, unless it does already.
pub(super) fn link(session: &Session, stage: usize, outputs: &BTreeMap<String, Digest>) {
    let (out, pipeline, name) = (session.project.out(), &session.manifest.pipeline, session.name(stage));
    let folder = out.join(pipeline).join(name);
    for (port, digest) in outputs {
        let tree = session.store.root().join("trees").join(digest.to_string());
        let place = folder.join(port);
        if fs::read_link(&place).is_ok_and(|target| target == tree) && tree.is_dir() {
            continue;
        }
        let Some(artifact) = read_artifact(&session.store, digest) else { continue };
        let _ = grow(session, &artifact, &tree).and_then(|()| {
            fs::create_dir_all(&folder)?;
            if place.is_symlink() {
                fs::remove_file(&place)?;
            }
            symlink(&tree, &place)
        });
    }
    if folder.is_dir() {
        let _ = ignore(&out).and_then(|()| short(&out, Path::new(pipeline), name));
    }
}

/// Keeps `out/` out of Git.
fn ignore(out: &Path) -> io::Result<()> {
    let path = out.join(".gitignore");
    if path.exists() { Ok(()) } else { fs::write(path, "*\n") }
}

/// Makes `out/STAGE` a link to `PIPELINE/STAGE`, unless another pipeline has it.
fn short(out: &Path, pipeline: &Path, name: &str) -> io::Result<()> {
    let place = out.join(name);
    // Earlier versions created folders of links here, which would never be updated.
    if place.is_dir() && !place.is_symlink() {
        let links: Vec<_> = fs::read_dir(&place)?.collect::<io::Result<_>>()?;
        if links.is_empty() || !links.iter().all(|link| link.path().is_symlink()) {
            return Ok(());
        }
        links.iter().try_for_each(|link| fs::remove_file(link.path()))?;
        fs::remove_dir(&place)?;
    }
    if place.is_symlink() && !place.exists() {
        fs::remove_file(&place)?;
    }
    if place.is_symlink() { Ok(()) } else { symlink(pipeline.join(name), &place) }
}

fn grow(session: &Session, artifact: &Artifact, tree: &Path) -> io::Result<()> {
    if tree.is_dir() {
        return Ok(());
    }
    let half = tree.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&half)?;
    let mut views = 0;
    for entry in &artifact.entries {
        let place = half.join(&entry.name);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if entry.content.selection.is_some() || entry.content.columns.is_some() {
            views += 1;
        } else {
            let object = session.store.object_path(&entry.content.blob.digest);
            if entry.content.executable {
                // Objects are never executable, so a link to one would not be either.
                fs::copy(object, &place)?;
                fs::set_permissions(&place, fs::Permissions::from_mode(0o555))?;
            } else {
                symlink(object, &place)?;
            }
        }
    }
    if views > 0 {
        let text =
            format!("{views} entries are views of other files; `pipe get` writes them as ordinary files.\n");
        fs::write(half.join("VIEWS.txt"), text)?;
    }
    match fs::rename(&half, tree) {
        Err(_) if tree.is_dir() => fs::remove_dir_all(&half),
        result => result,
    }
}
