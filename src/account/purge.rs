//! `pipe cache purge`: deletes everything in a cache that was made of some documents.

use super::remove::Named;
use clap::Args;
use pipe::{
    cli::{FolderCommand, Work, arguments},
    purge::{Content, Deleting, PurgeError, Survey, survey, unfinished},
    ui::{self, counted, units},
};
use pipe_data::{
    documents::{Column, DocumentReader},
    remove::{By, Targets},
    tokens,
};
use pipe_stage::{Digest, Error, Result, Store};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::Path,
};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "cache purge",
    kind: "documents",
    arguments: |command| {
        let command = command.about(
            "Delete everything that was made of some documents: shards, tokens, models, checkpoints, intermediate results",
        );
        Purge::augment_args(command)
            .after_help("Example: pipe cache purge --url-file removed-urls.txt --dry-run")
    },
    port: |_| None,
    run: Work::Cache(|store, matches| arguments::<Purge>(matches).run(store, matches.get_flag("json"))),
};

#[derive(Args)]
struct Purge {
    #[command(flatten)]
    named: Named,
    /// Delete without asking.
    #[arg(long)]
    yes: bool,
    /// Show what would be deleted without deleting it.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl Purge {
    fn run(self, store: &Store, json: bool) -> Result<()> {
        let mut targets = Targets::default();
        for (by, entry) in self.named.entries()? {
            targets.insert(by, &entry);
        }
        // Before the long search: two purges at once would ask for the same.
        let deleting = if self.dry_run { None } else { Some(Deleting::begin(store).map_err(failed)?) };
        if let Some(rest) = unfinished(store).map_err(failed)? {
            let left = objects(rest.objects.len() as u64);
            ui::say(&match self.dry_run {
                true => format!("an earlier purge is not finished: {left} on its list"),
                false => format!("an earlier purge was interrupted: {left} on its list, to be deleted first"),
            });
            if let Some(deleting) = &deleting {
                self.confirm()?;
                rest.carry_out(deleting).map_err(failed)?;
            }
        }
        let found = find(store, &targets)?;
        let look = |_: &Digest, path: &Path| look(path, &found.targets);
        let survey = survey(store, &look).map_err(failed)?;
        if survey.with_documents == 0 {
            if json {
                ui::print_json(&as_json(&found, &survey, false));
            }
            // Without the documents, nothing says what else was made of them.
            ui::say("no shard in the cache has any of these documents; nothing is deleted");
            if !json {
                doubts(&survey).iter().for_each(|line| ui::say(line));
            }
            return Ok(());
        }
        if !json {
            ui::print(&as_text(&found, &survey));
        }
        let Some(deleting) = deleting else {
            if json {
                ui::print_json(&as_json(&found, &survey, false));
            }
            return Ok(());
        };
        self.confirm()?;
        let deleted = survey.purge.carry_out(&deleting).map_err(failed)?;
        if json {
            ui::print_json(&as_json(&found, &survey, true));
        }
        ui::say(&format!(
            "deleted {} ({}) and {}",
            objects(deleted.objects),
            units::bytes(survey.bytes),
            match deleted.folders {
                1 => "1 folder of checkpoints".to_owned(),
                folders => format!("{folders} folders of checkpoints"),
            }
        ));
        ui::say(
            "not deleted: source files, and copies outside of the cache, such as those of `pipe get`, and models that were \
             published; the next run makes again what it has to read",
        );
        for left in &deleted.failed {
            ui::say(&format!("warning: what an interrupted process left could not be deleted: {left}"));
        }
        if let Some(run) = &deleted.began {
            ui::say(&format!(
                "warning: the run {run} began meanwhile, and may have copied the documents again; purge again when it is done"
            ));
        }
        Ok(())
    }

    /// Asks whether to delete, unless told not to.
    fn confirm(&self) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let message = "nothing is deleted without confirmation, and there is no terminal to ask on";
            return Err(
                Error::input(message).help("add --yes to delete, or --dry-run to see what would be deleted")
            );
        }
        let mut stderr = io::stderr().lock();
        let _ =
            write!(stderr, "Delete all of this? It cannot be undone. [y/N] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().take(64).read_line(&mut answer);
        read.map_err(|error| Error::io("read", Path::new("stdin"), &error))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Error::input("nothing was deleted").help("answer `y` to delete")),
        }
    }
}

fn objects(count: u64) -> String {
    counted(count as usize, "object")
}

fn failed(error: PurgeError) -> Error {
    match error {
        PurgeError::Object(error) => error,
        PurgeError::Cache(error) => error.into(),
        PurgeError::Running(_) => Error::input(error.to_string()).help("wait until it is done, or stop it"),
        PurgeError::Busy(_) => Error::input(error.to_string()).help("wait until it is done"),
        error => Error::input(error.to_string()),
    }
}

/// The documents that are in a cache.
struct Found {
    /// Those that were named, and their ids: tokens have no addresses.
    targets: Targets,
    ids: BTreeSet<String>,
    /// Entries that name no document.
    unmatched: Vec<String>,
}

/// Finds the ids of the documents.
fn find(store: &Store, targets: &Targets) -> Result<Found> {
    let (mut all, mut ids, mut matched) = (targets.clone(), BTreeSet::new(), BTreeSet::new());
    for object in store.objects() {
        let path = store.object_path(&object?.digest);
        each_document(&path, |id, url| {
            if let Some((by, entry)) = targets.find(id, url) {
                matched.insert((by, entry.to_owned()));
                ids.insert(id.to_owned());
            }
        })?;
    }
    for id in &ids {
        all.insert(By::Id, id);
    }
    let is_unmatched = |(by, entry): &(By, &str)| !matched.contains(&(*by, (*entry).to_owned()));
    let unmatched = targets.iter().filter(is_unmatched).map(|(_, entry)| entry.to_owned()).collect();
    Ok(Found { targets: all, ids, unmatched })
}

/// Calls `visit` with id and address of each document of a file; returns whether it has documents or tokens.
fn each_document(path: &Path, mut visit: impl FnMut(&str, &str)) -> Result<bool> {
    if !is_parquet(path)? {
        return Ok(false);
    }
    // Tokens would pass for documents that have only ids.
    if tokens::each_id(path, None, |_, id| visit(id, "")).is_ok() {
        return Ok(true);
    }
    let Ok(reader) = DocumentReader::open(path) else { return Ok(false) };
    for row in reader.columns(&[Column::Id, Column::Url]).rows()? {
        let document = row?.document;
        visit(&document.id, &document.url);
    }
    Ok(true)
}

fn is_parquet(path: &Path) -> Result<bool> {
    let unreadable = |error: io::Error| Error::io("read", path, &error);
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) => Ok(magic == *b"PAR1"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unreadable(error)),
    }
}

/// What an object is: shards say which documents they have, and so do the lists of documents that stages write. A line with
/// the text of a document is a copy of it; a line with only its id or address is not.
fn look(path: &Path, targets: &Targets) -> Result<Content> {
    let has = RefCell::new(false);
    let has_documents = each_document(path, |id, url| {
        if targets.find(id, url).is_some() {
            *has.borrow_mut() = true;
        }
    })?;
    if has_documents {
        return Ok(if has.into_inner() { Content::Has } else { Content::HasNot });
    }
    look_at_lines(path, targets)
}

fn look_at_lines(path: &Path, targets: &Targets) -> Result<Content> {
    const LINE_BYTES_MAX: u64 = 16 << 20;
    let unreadable = |error: io::Error| Error::io("read", path, &error);
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut line, mut content) = (Vec::new(), Content::Unknown);
    loop {
        line.clear();
        if file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(content);
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(&line) else {
            return Ok(Content::Unknown);
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("id").is_empty() && text("by").is_empty() {
            return Ok(Content::Unknown);
        }
        content = Content::HasNot;
        let has_text = ["text", "html"].into_iter().any(|field| !text(field).is_empty());
        if has_text && targets.find(text("id"), text("url")).is_some() {
            return Ok(Content::Has);
        }
    }
}

fn models(survey: &Survey) -> impl Iterator<Item = &pipe::purge::Affected> {
    survey.stages.iter().filter(|stage| stage.outputs.values().any(|kind| kind == "model"))
}

fn as_text(found: &Found, survey: &Survey) -> String {
    const SHOWN_MAX: usize = 20;
    let mut lines = Vec::new();
    lines.push(format!("{} in {}", counted(found.ids.len(), "document"), objects(survey.with_documents)));
    lines.extend(found.ids.iter().take(SHOWN_MAX).map(|id| format!("  {id}")));
    if found.ids.len() > SHOWN_MAX {
        lines.push("  ...".to_owned());
    }
    lines.extend(found.unmatched.iter().map(|entry| format!("no document: {entry}")));
    lines.push(format!(
        "to delete: {}, {}",
        objects(survey.purge.objects.len() as u64),
        units::bytes(survey.bytes)
    ));
    lines.push(format!(
        "  of these, {} are intermediate results, or nothing refers to them",
        objects(survey.of_tasks)
    ));
    if !survey.purge.checkpoints.is_empty() {
        lines.push(format!("  checkpoints: {} folders", survey.purge.checkpoints.len()));
    }
    lines.push("outputs of stages:".to_owned());
    for stage in &survey.stages {
        let outputs: Vec<&str> = stage.outputs.keys().map(String::as_str).collect();
        lines.push(format!("  {}  {}  {}", name(stage), stage.finished, outputs.join(", ")));
    }
    let trained: Vec<String> = models(survey)
        .map(|stage| format!("  {}  {}  key {}", name(stage), stage.finished, stage.key))
        .collect();
    if !trained.is_empty() {
        lines.push("models that were trained on them, or made of such models:".to_owned());
        lines.extend(trained);
    }
    lines.extend(doubts(survey));
    lines.join("\n")
}

/// Models that stay although their documents cannot be looked at any more.
fn doubts(survey: &Survey) -> Vec<String> {
    if survey.unknown.is_empty() {
        return Vec::new();
    }
    let head = "models that are kept: their documents are no longer in the cache, so whether they contain these is unknown:";
    let models = survey.unknown.iter();
    let models = models.map(|stage| format!("  {}  {}  key {}", name(stage), stage.finished, stage.key));
    [head.to_owned()].into_iter().chain(models).collect()
}

/// The names of a stage, with its type.
fn name(stage: &pipe::purge::Affected) -> String {
    let names: Vec<&str> = stage.names.iter().map(String::as_str).collect();
    if names.is_empty() { stage.uses.clone() } else { format!("{} ({})", names.join(", "), stage.uses) }
}

fn as_json(found: &Found, survey: &Survey, deleted: bool) -> Value {
    json!({
        "version": 1,
        "documents": found.ids,
        "unmatched": found.unmatched,
        "deleted": deleted,
        "objects": survey.purge.objects.len(),
        "bytes": survey.bytes,
        "with_documents": survey.with_documents,
        "intermediate": survey.of_tasks,
        "checkpoints": survey.purge.checkpoints,
        "stages": survey.stages,
        "models": models(survey).collect::<Vec<_>>(),
        "models_unknown": survey.unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_texts_are_copies_and_names_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut targets = Targets::default();
        targets.insert(By::Id, "a");
        let content = |text: &str| {
            std::fs::write(&path, text).unwrap();
            look(&path, &targets).unwrap()
        };
        assert_eq!(content("{\"id\":\"a\",\"kept\":\"b\"}\n"), Content::HasNot);
        assert_eq!(content("{\"id\":\"b\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}\n"), Content::Has);
        assert_eq!(content("{\"id\":\"b\",\"text\":\"x\"}\n"), Content::HasNot);
        assert_eq!(content("{\"id\":\"a\",\"html\":\"x\"}\n"), Content::Has, "a page that was exported");
        // Samples of a model, and files that are not lists of documents.
        assert_eq!(content("{\"step\":1,\"text\":\"x\"}\n"), Content::Unknown);
        assert_eq!(
            (content(""), content("PAR1"), content("a\nb")),
            (Content::Unknown, Content::Unknown, Content::Unknown)
        );
    }
}
