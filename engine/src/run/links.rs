//! Owns: `out/STAGE/PORT`: links to what stages made. They are a convenience: one that cannot be made is no failure.
//!
//! ```text
//! trees/DIGEST/            links into objects/, one folder per artifact; out/STAGE/PORT links here
//! ```

use crate::{plan::Session, record::read_artifact};
use pipe_stage::{Artifact, Digest};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Points `out/STAGE/PORT` to a folder of links into the cache, unless it points there already.
///
/// Links are a convenience: one that cannot be made is no failure of the run.
pub(super) fn link(session: &Session, stage: usize, outputs: &BTreeMap<String, Digest>) {
    let folder = session.project.out().join(session.name(stage));
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
        let text = format!("{views} entries select rows of other files; `pipe get` writes them out.\n");
        fs::write(half.join("VIEWS.txt"), text)?;
    }
    match fs::rename(&half, tree) {
        Err(_) if tree.is_dir() => fs::remove_dir_all(&half),
        result => result,
    }
}
