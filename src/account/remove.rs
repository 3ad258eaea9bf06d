//! `pipe data remove`: adds entries to the lists of a stage of type `remove`, and prints which shards, stages and
//! models that changes.

use super::find::{Work as Reads, each_name, has_documents};
use clap::Args;
use pipe::{
    cli::{FolderCommand, Results, StageConfig, StageResult, Work, arguments},
    ui::{self, counted},
};
use pipe_data::{
    Remove as RemoveStage,
    remove::{By, Targets, read_list},
};
use pipe_stage::{Error, Result, Stage};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data remove",
    kind: "documents",
    arguments: |command| {
        let command = command.about(
            "Add documents to the lists of a stage of type `remove`, and show what would run again without them",
        );
        Remove::augment_args(command)
            .after_help("Example: pipe data remove pipelines/gpt-small.yaml --url https://doc.rust-lang.org/book/print.html")
    },
    port: |_| None,
    run: Work::Change {
        change: |root, stages, matches| arguments::<Remove>(matches).change(root, stages),
        tell: |results, matches| arguments::<Remove>(matches).tell(results, matches.get_flag("json")),
    },
};

/// Names of documents, on the command line and in files.
#[derive(Args)]
pub(super) struct Named {
    /// Address of a document; repeatable.
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// Id of a document; repeatable.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Host of documents: `example.org` includes `docs.example.org`; repeatable.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// File with addresses, one a line.
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
    /// File with ids, one a line.
    #[arg(long, value_name = "FILE")]
    id_file: Option<PathBuf>,
    /// File with hosts, one a line.
    #[arg(long, value_name = "FILE")]
    host_file: Option<PathBuf>,
}

impl Named {
    /// Reads all entries.
    ///
    /// # Errors
    /// If there are none, or a file or an entry cannot be read.
    pub(super) fn entries(&self) -> Result<Vec<(By, String)>> {
        let lists = [
            (By::Id, &self.id, &self.id_file, "--id"),
            (By::Url, &self.url, &self.url_file, "--url"),
            (By::Host, &self.host, &self.host_file, "--host"),
        ];
        let mut entries = Vec::new();
        for (by, given, file, option) in lists {
            let checked = |bytes: &[u8], place: &str| {
                let help = "write one entry a line";
                read_list(by, bytes).map_err(|fault| Error::input(format!("{place}: {fault}")).help(help))
            };
            for entry in given {
                entries.extend(checked(entry.as_bytes(), option)?.into_iter().map(|entry| (by, entry)));
            }
            if let Some(path) = file {
                let bytes = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
                let own = checked(&bytes, &format!("`{}`", path.display()))?;
                entries.extend(own.into_iter().map(|entry| (by, entry)));
            }
        }
        if entries.is_empty() {
            let help = "name documents with --url, --id, --host, or files of them with --url-file, --id-file, --host-file";
            return Err(Error::input("no documents are named").help(help));
        }
        Ok(entries)
    }
}

#[derive(Args)]
struct Remove {
    /// The stage, if the pipeline has several of type `remove`.
    #[arg(index = 2, value_name = "STAGE")]
    stage: Option<String>,
    #[command(flatten)]
    named: Named,
    /// Show what would run without changing the lists.
    #[arg(long)]
    dry_run: bool,
}

impl Remove {
    /// Adds the entries that are not on the lists yet.
    fn change(self, root: &Path, stages: &[StageConfig]) -> Result<()> {
        let entries = self.named.entries()?;
        let stage = self.stage(stages)?;
        let config: RemoveStage = serde_json::from_value(stage.config.clone()).map_err(|error| {
            Error::Panic { message: format!("the config of `{}` cannot be read: {error}", stage.name) }
        })?;
        let file = |wanted: By| config.lists().find(|(by, _)| *by == wanted).map(|(_, file)| root.join(file));
        // All faults before the first change.
        for by in BTreeSet::from_iter(entries.iter().map(|(by, _)| *by)) {
            if file(by).is_none() {
                let message = format!("the stage `{}` has no list of {}", stage.name, by.field());
                let help = format!("set `{0}` in its `with`, such as `{0}: removed-{0}.txt`", by.field());
                return Err(Error::input(message).help(help));
            }
        }
        for (by, path) in config.lists() {
            let new: Vec<&str> =
                entries.iter().filter(|(own, _)| *own == by).map(|(_, entry)| entry.as_str()).collect();
            let path = root.join(path);
            let added = extend_list(by, &path, &new, self.dry_run)?;
            if !new.is_empty() {
                let would = if self.dry_run { "would add" } else { "added" };
                let known = new.len() - added;
                let already = if known > 0 { format!(" ({known} already there)") } else { String::new() };
                let entries = if added == 1 { "1 entry".to_owned() } else { format!("{added} entries") };
                ui::say(&format!("{would} {entries} to {}{already}", path.display()));
            }
        }
        Ok(())
    }

    /// The stage that is meant.
    fn stage<'s>(&self, stages: &'s [StageConfig]) -> Result<&'s StageConfig> {
        let all: Vec<&StageConfig> = stages.iter().filter(|stage| stage.uses == RemoveStage::NAME).collect();
        let names = || all.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
        match (&self.stage, &all[..]) {
            (_, []) => Err(Error::input("the pipeline has no stage of type `remove`").help(
                "add one behind `ingest`, and let the next stage need it: `wanted: { uses: remove, needs: pages, with: { urls: removed-urls.txt } }`",
            )),
            (None, [one]) => Ok(one),
            (None, _) => {
                Err(Error::input("the pipeline has several stages of type `remove`").help(format!("name one of them: {}", names())))
            }
            (Some(name), _) => all.iter().find(|stage| stage.name == *name).copied().ok_or_else(|| {
                Error::input(format!("there is no stage `{name}` of type `remove`")).help(format!("such stages: {}", names()))
            }),
        }
    }

    /// Tells which shards have the documents, and which stages and models follow.
    fn tell(self, results: &Results, json: bool) -> Result<()> {
        let mut targets = Targets::default();
        for (by, entry) in self.named.entries()? {
            targets.insert(by, &entry);
        }
        let is_meant = |stage: &&StageResult| {
            stage.uses == RemoveStage::NAME && self.stage.as_ref().is_none_or(|name| *name == stage.name)
        };
        let Some(stage) = results.stages.iter().find(is_meant) else { return Ok(()) };
        let at = results.stage(&stage.name).unwrap_or_default();
        let found = touched(results, stage, &targets)?;
        let behind = behind(results, at);
        let name = |at: &usize| results.stages[*at].name.as_str();
        let makes_model =
            |at: &&usize| results.stages[**at].outputs.iter().any(|output| output.kind == "model");
        let stages: Vec<&str> = behind.iter().map(name).collect();
        let models: Vec<&str> = behind.iter().filter(makes_model).map(name).collect();
        let unmatched: Vec<&str> = match &found {
            Some(found) => targets
                .iter()
                .map(|(_, entry)| entry)
                .filter(|entry| !found.entries.contains(*entry))
                .collect(),
            None => Vec::new(),
        };
        if json {
            ui::print_json(&json!({
                "version": 1,
                "stage": stage.name,
                "documents": found.as_ref().map(|found| found.documents),
                "shards": found.as_ref().map(|found| found.shards),
                "shards_of": found.as_ref().map(|found| found.all),
                "unmatched": unmatched,
                "stages": stages,
                "models": models,
            }));
            return Ok(());
        }
        match &found {
            Some(Found { documents, shards, all, missing, .. }) => {
                let of = counted(*all, "shard");
                let (documents, missing) = (counted(*documents, "document"), *missing);
                ui::print(&format!("{documents} in {shards} of {of} that `{}` reads", stage.name));
                if missing > 0 {
                    ui::print(&format!(
                        "{} missing from the cache, so not searched",
                        counted(missing as usize, "shard")
                    ));
                }
            }
            None => ui::print(&format!(
                "the documents that `{}` reads are out of date, so not searched",
                stage.name
            )),
        }
        for entry in unmatched {
            ui::print(&format!("no document: {entry}"));
        }
        let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ui::print(&format!("stages behind it, for these shards: {}", list(&stages)));
        ui::print(&format!("models that are trained again: {}", list(&models)));
        let manifest = results.manifest.display();
        ui::say(&format!(
            "`pipe run {manifest}` makes all of them without the documents; then `pipe cache purge` deletes the earlier ones"
        ));
        Ok(())
    }
}

/// What the entries name.
struct Found {
    documents: usize,
    shards: usize,
    all: usize,
    missing: u64,
    entries: BTreeSet<String>,
}

/// Looks for the documents in what a stage reads; `None` if that is out of date.
fn touched(results: &Results, stage: &StageResult, targets: &Targets) -> Result<Option<Found>> {
    let input = stage
        .inputs
        .iter()
        .find(|input| has_documents(&results.stages[input.stage].outputs[input.output].kind));
    let Some(artifact) = input.and_then(|input| results.artifact(input)) else { return Ok(None) };
    let mut reads = Reads::default();
    let mut found =
        Found { documents: 0, shards: 0, all: artifact.entries.len(), missing: 0, entries: BTreeSet::new() };
    for entry in &artifact.entries {
        let before = found.documents;
        each_name(&results.open(entry), &artifact.kind, &mut reads, |_, id, url| {
            if let Some((_, entry)) = targets.find(id, url) {
                found.documents += 1;
                found.entries.insert(entry.to_owned());
            }
        })?;
        found.shards += usize::from(found.documents > before);
    }
    found.missing = reads.shards_missing;
    Ok(Some(found))
}

/// The stages that depend on a stage.
fn behind(results: &Results, stage: usize) -> Vec<usize> {
    let mut found = BTreeSet::from([stage]);
    for (at, other) in results.stages.iter().enumerate() {
        if other.inputs.iter().any(|input| found.contains(&input.stage)) {
            found.insert(at);
        }
    }
    found.remove(&stage);
    found.into_iter().collect()
}

/// Adds entries to a list that it does not have, and creates it if it does not exist; returns how many are new. The file
/// is replaced, so that a reader never sees half of it.
fn extend_list(by: By, path: &Path, new: &[&str], dry_run: bool) -> Result<usize> {
    let before = match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("read", path, &error)),
    };
    let text = before.clone().unwrap_or_default();
    let mut known = Targets::default();
    for entry in
        read_list(by, &text).map_err(|fault| Error::input(format!("`{}`: {fault}", path.display())))?
    {
        known.insert(by, &entry);
    }
    let added: Vec<&str> = new.iter().copied().filter(|entry| known.insert(by, entry)).collect();
    // The stage needs the file, even without entries.
    if dry_run || (added.is_empty() && before.is_some()) {
        return Ok(added.len());
    }
    let mut text = text;
    if !text.is_empty() && text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    for entry in &added {
        text.extend(entry.as_bytes());
        text.push(b'\n');
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mode = fs::metadata(path).map(|metadata| metadata.permissions());
        file.as_file()
            .set_permissions(mode.unwrap_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o644)))?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Error::io("write", path, &error))?;
    Ok(added.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_get_each_entry_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lists/urls.txt");
        let add = |new: &[&str]| extend_list(By::Url, &path, new, false).unwrap();
        assert_eq!(add(&[]), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "the stage needs the file");
        assert_eq!(add(&["https://e.org/a", "http://e.org/a/"]), 1);
        fs::write(&path, "# mine\nhttps://e.org/a").unwrap();
        assert_eq!(add(&["https://www.e.org/a", "https://e.org/b"]), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\nhttps://e.org/a\nhttps://e.org/b\n");
        assert_eq!(extend_list(By::Url, &path, &["https://e.org/c"], true).unwrap(), 1);
        assert!(!fs::read_to_string(&path).unwrap().contains("/c"));
    }
}
