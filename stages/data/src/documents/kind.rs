//! Documents as the engine sees them: written as ordinary files, and previewed.

use crate::counted::counted;

use super::{Column, DocumentReader, DocumentWriter, DocumentsError};
use pipe_stage::{Error, Kind, LocalEntry, Result};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// Documents, one Parquet file per shard.
pub static DOCUMENTS: Kind = Kind {
    name: "documents",
    about: "Parquet shards of documents: id, text or html, url, source, language, license, date, metadata.",
    materialize,
    look,
    check,
};

impl DocumentReader {
    /// Opens an entry with its selection and added columns.
    ///
    /// # Errors
    /// If the store fails or the file has another format.
    pub fn of_entry(entry: &LocalEntry) -> Result<Self> {
        let (path, selection, added) = (entry.path()?, entry.selection()?, entry.columns()?);
        Ok(Self::open(path)?.select(selection)?.with_added(added.as_deref())?)
    }

    /// As [`of_entry`](Self::of_entry), without reading the whole file to verify it. For commands that look a document up
    /// in many shards.
    ///
    /// # Errors
    /// As [`of_entry`](Self::of_entry).
    pub fn of_unverified(entry: &LocalEntry) -> Result<Self> {
        let (path, selection, added) = (entry.unverified_path(), entry.selection()?, entry.columns()?);
        Ok(Self::open(path)?.select(selection)?.with_added(added.as_deref())?)
    }
}

/// Writes the selected rows as a documents file; added columns become metadata.
fn materialize(entry: &LocalEntry, path: &Path) -> Result<()> {
    if !entry.is_view() {
        return entry.copy_to(path);
    }
    let write_error = |error: std::io::Error| Error::io("write", path, &error);
    let reader = DocumentReader::of_entry(entry)?;
    let file = BufWriter::new(File::create(path).map_err(write_error)?);
    let mut writer = match reader.has_media_types() {
        true => DocumentWriter::with_media_types(file)?,
        false => DocumentWriter::new(file)?,
    };
    for row in reader.rows()? {
        let mut row = row?;
        row.note_added();
        writer.push(&row.document)?;
    }
    writer.finish()?.flush().map_err(write_error)
}

/// Reads every shard to its end.
fn check(entries: &[LocalEntry]) -> Result<()> {
    for entry in entries {
        DocumentReader::of_entry(entry)?.rows()?.try_for_each(|row| row.map(drop))?;
    }
    Ok(())
}

/// Shows the number of documents, and properties and the beginning of the first ones.
fn look(entries: &[LocalEntry], lines_max: usize) -> Result<String> {
    const LINES_PER_DOCUMENT: usize = 5;
    const LINE_CHARACTERS: usize = 100;
    let shards = entries.len();
    let mut count = 0;
    let mut shown = String::new();
    let mut left = lines_max.saturating_sub(1) / LINES_PER_DOCUMENT;
    for entry in entries {
        let columns =
            [Column::Id, Column::Text, Column::Html, Column::Language, Column::Url, Column::Metadata];
        let reader = DocumentReader::of_entry(entry)?.columns(&columns);
        count += reader.rows_selected();
        if left == 0 {
            continue;
        }
        for row in reader.rows()?.take(left) {
            let row = row?;
            let document = &row.document;
            left -= 1;
            // A page that `clean` has not read yet.
            let page = document.html.as_deref().filter(|_| document.text.is_empty());
            let (body, unit) = match page.map(String::from_utf8_lossy) {
                Some(html) => (html, "characters of HTML"),
                None => (Cow::Borrowed(document.text.as_str()), "characters"),
            };
            shown += &format!("{}  {} {unit}", document.id, body.chars().count());
            for fact in [document.language.as_str(), document.url.as_str()] {
                if !fact.is_empty() {
                    shown += &format!("  {fact}");
                }
            }
            if let Some(rule) = row.fact("rule") {
                shown += &format!("  dropped by {}", rule.text());
            }
            shown.push('\n');
            let filled = body.lines().filter(|line| !line.trim().is_empty());
            for line in filled.take(LINES_PER_DOCUMENT - 2) {
                shown.push_str("    ");
                shown.extend(line.chars().filter(|c| !c.is_control()).take(LINE_CHARACTERS));
                shown.push('\n');
            }
        }
    }
    Ok(format!("{} in {}\n{shown}", counted(count, "document"), counted(shards as u64, "shard")))
}

impl From<DocumentsError> for Error {
    fn from(error: DocumentsError) -> Self {
        if let DocumentsError::NotCleaned { .. } = error {
            return Self::input(error.to_string())
                .help("put a `clean` stage between `ingest` and the stages that read text");
        }
        if let DocumentsError::Write { source } = &error {
            return Self::io("write", Path::new("a file of the cache"), source);
        }
        match std::error::Error::source(&error) {
            Some(source) => Self::input(format!("{error}: {source}")),
            None => Self::input(error.to_string()),
        }
    }
}
