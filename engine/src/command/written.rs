//! Owns: which of the files that a line names the command itself writes. Such a file is no input: it is there
//! because the command ran. A file that was not there when a command began, and is there before it ends, is
//! taken for one, until it changes while the command does not run. Then it is an input, unless the next command
//! writes it again, which shows whose it is. A file that was there before and changes while the command runs is an
//! error.
//!
//! A name that is only found within a folder that the line names (`cd build; make; cp app …`) is different: such a file is
//! an input unless some command of this project has written it, which is never an error.
//!
//! ```text
//! stamps/written/HASH     HASH is of machine, project and settings;
//!                         {"created": {name: stamp}, "doubted": [names], "own": [names], "changed": [names]}
//! stamps/written/HASH     HASH is of machine and project; {"own": [names within folders]}
//! ```

use super::words;
use crate::sources::{self, Stamp, stamp};
use pipe_stage::{Digest, SourceRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Names that the line itself has.
    named: BTreeSet<String>,
    /// Where names within folders are remembered, for all commands of the project.
    within_path: PathBuf,
    within: Memory,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// Not there when the command began, there later; with their stamps when it ended.
    created: BTreeMap<String, Option<Stamp>>,
    /// Created once, and changed since while the command did not run.
    doubted: BTreeSet<String>,
    /// Written by each of several runs: certainly the command's.
    own: BTreeSet<String>,
    /// Changed while the command ran, the last time that it did.
    changed: BTreeSet<String>,
}

impl Written {
    /// Reads what is known about the command with these settings.
    pub(crate) fn read(cache: &Path, project: &Path, config: &Value) -> Self {
        let whose = format!("{}\n{}", sources::machine(), project.display());
        let path_of = |identity: &str| {
            sources::stamps(cache).join("written").join(Digest::of(identity.as_bytes()).to_string())
        };
        let (path, within_path) = (path_of(&format!("{whose}\n{config}")), path_of(&whose));
        // Without it, a file that the command wrote is an input, and then an error that names it.
        let memory = |path: &Path| {
            fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
        };
        let (memory, within) = (memory(&path), memory(&within_path));
        Self { path, memory, named: words::named(line(config)), within_path, within }
    }

    /// A request without the files that the command creates; `None` if nothing remains.
    pub(crate) fn without(&self, mut request: SourceRequest) -> Option<SourceRequest> {
        let Memory { created, own, .. } = &self.memory;
        if request.field == FIELD && !(created.is_empty() && own.is_empty() && self.within.own.is_empty()) {
            let within = self.within.own.iter().filter(|name| !self.named.contains(*name));
            let created = (created.iter())
                .filter(|(name, left)| is_as_left(&request.root, name, **left))
                .map(|(name, _)| name)
                .chain(own)
                .chain(within)
                .map(|name| sources::escape(name));
            let created: BTreeSet<String> = created.collect();
            request.include.retain(|glob| !created.contains(glob));
            return Some(request).filter(|request| !request.include.is_empty());
        }
        Some(request)
    }

    /// Remembers that a command of this project writes a file within a folder.
    fn add_within(&mut self, name: &str) {
        if self.within.own.insert(name.to_owned())
            && let Ok(bytes) = serde_json::to_vec(&self.within)
        {
            let _ = sources::replace(&self.within_path, &bytes);
        }
    }

    fn save(&self) {
        if let Ok(bytes) = serde_json::to_vec(&self.memory) {
            let _ = sources::replace(&self.path, &bytes);
        }
    }
}

fn line(config: &Value) -> &str {
    config.get(FIELD).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a file is as the command left it; also where the command was killed, and nobody saw how it left it.
fn is_as_left(project: &Path, name: &str, left: Option<Stamp>) -> bool {
    left.is_none_or(|left| stamp(&project.join(name)).is_ok_and(|now| now.is_same_content(&left)))
}

/// The command that this process runs, and the names of its line that were no files when it began.
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
    let is_folder = |name: &str| project.join(name).is_dir();
    let names = words::named_within(line(config), is_folder);
    let absent = names.into_iter().filter(|name| !project.join(name).is_file()).collect();
    let mut written = Written::read(cache, project, config);
    let memory = &mut written.memory;
    let doubted = memory.created.extract_if(.., |name, left| !is_as_left(project, name, *left));
    memory.doubted.extend(doubted.map(|(name, _)| name));
    *watched() = Some(Watched { written, project: project.to_owned(), absent });
}

/// Checks which of them exist now, and returns those that were not reported yet.
pub(crate) fn look() -> Vec<String> {
    let mut watched = watched();
    let Some(Watched { written, project, absent }) = &mut *watched else { return Vec::new() };
    let created: Vec<String> = absent.iter().filter(|name| project.join(name).is_file()).cloned().collect();
    if !created.is_empty() {
        absent.retain(|name| !created.contains(name));
        let (created, within): (Vec<String>, _) =
            created.into_iter().partition(|name| written.named.contains(name));
        within.iter().for_each(|name| written.add_within(name));
        let is_new = |name: &String| written.memory.created.insert(name.clone(), None).is_none();
        let fresh = created.into_iter().filter(is_new).collect();
        written.save();
        return fresh;
    }
    Vec::new()
}

/// Remembers in which state the command left what it created. It has ended, but may have failed.
pub(crate) fn ended() {
    let _ = look();
    let mut watched = watched();
    let Some(Watched { written, project, .. }) = &mut *watched else { return };
    if !written.memory.created.is_empty() {
        for (name, left) in &mut written.memory.created {
            *left = stamp(&project.join(name)).ok();
        }
        written.save();
    }
}

/// How often a file changed under this command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// This time, but not the time before.
    Once,
    /// This time and the time before.
    Again,
    /// By the command, which created it in an earlier run.
    Own,
}

/// Records that a file changed while the command ran.
pub(super) fn changed(name: &str) -> Changes {
    let mut watched = watched();
    let Some(Watched { written, .. }) = &mut *watched else { return Changes::Once };
    if !written.named.contains(name) {
        written.add_within(name);
        return Changes::Own;
    }
    if written.memory.doubted.remove(name) {
        written.memory.own.insert(name.to_owned());
        written.save();
        return Changes::Own;
    }
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
        ended();
        assert_eq!(changed("in.txt"), Changes::Once);
        begin(&cache, &project, &config);
        assert_eq!(changed("in.txt"), Changes::Again);
        unchanged();
        assert_eq!(changed("in.txt"), Changes::Once);

        let request = |names: &[&str]| SourceRequest {
            source: "project".into(),
            root: project.clone(),
            include: names.iter().map(|name| sources::escape(name)).collect(),
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
        // Somebody else wrote it since.
        fs::write(project.join("log [1].txt"), "changed").unwrap();
        assert_eq!(written.without(request(&["log [1].txt"])).unwrap().include.len(), 1);
        let other = Written::read(&cache, &project, &json!({ "run": "cat 'log [1].txt'" }));
        assert_eq!(other.without(request(&["log [1].txt"])).unwrap().include.len(), 1);
    }
}
