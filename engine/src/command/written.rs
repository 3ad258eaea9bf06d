//! Owns: which of the files that a line names are written by the command itself. Such a file is not an input, since
//! it exists because the command ran. If a file did not exist when the command began and exists before it ends, the
//! command wrote it; if it existed and changes while the command runs, that is an error.
//!
//! ```text
//! stamps/written/HASH     HASH is of machine, project and settings; {"created": [names], "changed": [names]}
//! ```

use super::words;
use crate::sources;
use pipe_stage::{Digest, SourceRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The field path of requests for files that a line names.
pub(super) const FIELD: &str = "run";

/// What is known about the files of a command.
#[derive(Debug)]
pub(crate) struct Written {
    path: PathBuf,
    memory: Memory,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// Created while the command ran.
    created: BTreeSet<String>,
    /// Changed during the last run of the command.
    changed: BTreeSet<String>,
}

impl Written {
    /// Reads what is known about the command with these settings.
    pub(crate) fn read(cache: &Path, project: &Path, config: &Value) -> Self {
        let identity = format!("{}\n{}\n{config}", sources::machine(), project.display());
        let path = sources::stamps(cache).join("written").join(Digest::of(identity.as_bytes()).to_string());
        // Without it, a file that the command wrote is an input, and then an error that names it.
        let memory = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, memory: memory.unwrap_or_default() }
    }

    /// A request without the files that the command creates; `None` if nothing remains.
    pub(crate) fn without(&self, mut request: SourceRequest) -> Option<SourceRequest> {
        if request.field == FIELD && !self.memory.created.is_empty() {
            let created: BTreeSet<String> =
                self.memory.created.iter().map(|name| words::escape(name)).collect();
            request.include.retain(|glob| !created.contains(glob));
            return Some(request).filter(|request| !request.include.is_empty());
        }
        Some(request)
    }

    fn save(&self) {
        if let Ok(bytes) = serde_json::to_vec(&self.memory) {
            let _ = sources::replace(&self.path, &bytes);
        }
    }
}

/// The command that this process runs, and the names in its line that did not exist when it began.
struct Watched {
    written: Written,
    project: PathBuf,
    absent: BTreeSet<String>,
}

/// A worker runs one stage at a time.
static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

fn watched() -> MutexGuard<'static, Option<Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records which names in the line do not exist yet.
pub(crate) fn begin(cache: &Path, project: &Path, config: &Value) {
    let line = config.get(FIELD).and_then(Value::as_str).unwrap_or_default();
    let absent = words::named(line).into_iter().filter(|name| !project.join(name).is_file()).collect();
    let written = Written::read(cache, project, config);
    *watched() = Some(Watched { written, project: project.to_owned(), absent });
}

/// Checks which of them exist now, and returns those that were not reported yet.
pub(crate) fn look() -> Vec<String> {
    let mut watched = watched();
    let Some(Watched { written, project, absent }) = &mut *watched else { return Vec::new() };
    let created: Vec<String> = absent.iter().filter(|name| project.join(name).is_file()).cloned().collect();
    if !created.is_empty() {
        absent.retain(|name| !created.contains(name));
        let fresh = created.into_iter().filter(|name| written.memory.created.insert(name.clone())).collect();
        written.save();
        return fresh;
    }
    Vec::new()
}

/// How often a file changed under this command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// This time, but not the time before.
    Once,
    /// This time and the time before.
    Again,
}

/// Records that a file changed while the command ran.
pub(super) fn changed(name: &str) -> Changes {
    let mut watched = watched();
    let Some(Watched { written, .. }) = &mut *watched else { return Changes::Once };
    if !written.memory.changed.insert(name.to_owned()) {
        return Changes::Again;
    }
    written.save();
    Changes::Once
}

/// Records that nothing changed while the command ran.
pub(super) fn unchanged() {
    if let Some(Watched { written, .. }) = &mut *watched()
        && !written.memory.changed.is_empty()
    {
        written.memory.changed.clear();
        written.save();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_command_creates_is_remembered_and_no_input() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, project) = (folder.path().join("cache"), folder.path().join("project"));
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join("version"), "").unwrap();
        fs::create_dir(&project).unwrap();
        fs::write(project.join("in.txt"), "").unwrap();
        let config = json!({ "run": "tee 'log [1].txt' < in.txt" });
        begin(&cache, &project, &config);
        assert_eq!(look(), Vec::<String>::new());
        fs::write(project.join("log [1].txt"), "").unwrap();
        assert_eq!(look(), ["log [1].txt"]);
        assert_eq!(look(), Vec::<String>::new());
        assert_eq!(changed("in.txt"), Changes::Once);
        begin(&cache, &project, &config);
        assert_eq!(changed("in.txt"), Changes::Again);
        unchanged();
        assert_eq!(changed("in.txt"), Changes::Once);

        let request = |names: &[&str]| SourceRequest {
            source: "project".into(),
            root: project.clone(),
            include: names.iter().map(|name| words::escape(name)).collect(),
            exclude: Vec::new(),
            links: pipe_stage::Links::EveryName,
            field: FIELD.into(),
            help: None,
            pin: None,
        };
        let written = Written::read(&cache, &project, &config);
        let left = written.without(request(&["in.txt", "log [1].txt"]));
        assert_eq!(left.unwrap().include, ["in.txt"]);
        assert!(written.without(request(&["log [1].txt"])).is_none());
        let other = Written::read(&cache, &project, &json!({ "run": "cat 'log [1].txt'" }));
        assert_eq!(other.without(request(&["log [1].txt"])).unwrap().include.len(), 1);
    }
}
