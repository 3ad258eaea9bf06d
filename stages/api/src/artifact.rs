//! Artifacts, their entries, and the items that shares read. Nothing here opens a file.
//!
//! An artifact is stored as the JSON of [`Artifact`]; its digest is the BLAKE3 of those bytes. The form is canonical:
//! fields are in the order of the structs, entries are sorted by name, and absent options are omitted.

use crate::{SourceFile, canonical::Encoder};
use pipe_cache::{Blob, Digest};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, sync::Arc};

/// An immutable list of entries with a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Revision of this format: 1.
    pub version: u32,
    /// Name of its [`crate::Kind`].
    pub kind: String,
    /// Sorted by name; names are unique.
    pub entries: Vec<Entry>,
}

/// A shard, or a view of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// File name. It may contain `/` (a model's folder), never `..`.
    pub name: String,
    /// Its content.
    pub content: Content,
}

/// Bytes, and optionally a view on them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The shard's file.
    pub blob: Blob,
    /// Canonical Roaring bitmap of the selected rows; absent if all rows are selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Blob>,
    /// Parquet file of added columns, aligned to all rows of the shard, selected or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Blob>,
    /// Whether the file is executable when it is written as an ordinary file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl From<Blob> for Content {
    fn from(blob: Blob) -> Self {
        Self { blob, selection: None, columns: None, executable: false }
    }
}

impl Content {
    /// Every object that this content consists of.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        [Some(&self.blob), self.selection.as_ref(), self.columns.as_ref()].into_iter().flatten()
    }

    /// Total size of its objects in bytes.
    pub fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.size).sum()
    }

    fn encode(&self, out: &mut Encoder) {
        out.digest(&self.blob.digest);
        for blob in [&self.selection, &self.columns] {
            match blob {
                Some(blob) => out.digest(&blob.digest),
                None => out.null(),
            }
        }
        if self.executable {
            out.text("executable");
        }
    }
}

impl Artifact {
    /// Sorts entries by name.
    ///
    /// # Errors
    /// If a name occurs twice, is also that of a folder with other entries, or is not a plain relative path.
    pub fn new(kind: &str, mut entries: Vec<Entry>) -> Result<Self, String> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(entry) = entries.iter().find(|entry| !is_plain(&entry.name)) {
            return Err(format!("`{}` is not a plain relative path", entry.name));
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("two files have the name `{}`", pair[0].name));
        }
        let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let folder = |entry: &Entry| {
            let above = entry.name.match_indices('/').map(|(at, _)| &entry.name[..at]);
            above.into_iter().find(|folder| names.contains(folder)).map(str::to_owned)
        };
        if let Some((entry, folder)) = entries.iter().find_map(|entry| Some((entry, folder(entry)?))) {
            return Err(format!("`{folder}` is a file, and also the folder of `{}`", entry.name));
        }
        Ok(Self { version: 1, kind: kind.to_owned(), entries })
    }

    /// The bytes that are stored and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: an artifact is plain data")
    }

    /// Reads what [`Artifact::to_bytes`] wrote. Names are checked again, since other users may write to the cache.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let artifact: Self = serde_json::from_slice(bytes).ok()?;
        let known = artifact.version == 1;
        Self::new(&artifact.kind, artifact.entries.clone()).ok().filter(|same| known && *same == artifact)
    }

    /// Returns the digest of the stored form.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// One item per entry, with the entry's name; the argument of [`crate::Context::each`].
    pub fn shards(&self) -> Vec<Item> {
        self.entries.iter().map(|entry| Item::new(&entry.name, [entry.clone()])).collect()
    }

    /// The whole artifact as one item.
    pub fn item(&self, name: &str) -> Item {
        Item::new(name, self.entries.iter().cloned())
    }

    /// The whole artifact as one item, with entry names in the key. For work that can see the names, such as a
    /// program that gets the entries as files.
    pub fn folder(&self, name: &str) -> Item {
        Item { has_names: true, ..self.item(name) }
    }

    /// Every object of its entries.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.entries.iter().flat_map(|entry| entry.content.blobs())
    }

    /// Total size of its entries in bytes.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.content.size()).sum()
    }
}

fn is_plain(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !name.contains(['\\', '\0']) && name.len() <= 1024 && name.split('/').all(part)
}

/// What a share reads: entries, the slice of an earlier step for one item, or source files.
#[derive(Debug, Clone)]
pub struct Item {
    /// Base of the names of outputs; not part of any key.
    pub name: String,
    /// The order is significant. Items that read the same inputs share the list.
    pub inputs: Arc<Vec<Input>>,
    /// Whether entry names are part of the key.
    has_names: bool,
}

/// One file that a share reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file of the cache, or a view of one.
    Entry(Entry),
    /// A part of a file of the cache; only its own bytes are part of the key.
    Part(Part),
    /// A file outside the cache, on this machine or a server; its name is part of the key.
    Source(SourceFile),
}

/// A part of a file that a share cut into numbered parts (see [`crate::Share::parts`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of the first item of the share that wrote it.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// The file.
    pub whole: Blob,
    /// Where the part begins in the file, in bytes.
    pub at: u64,
    /// Digest and size of the part.
    pub blob: Blob,
}

impl Input {
    /// The name of the entry, or the path of the source relative to its root.
    pub fn name(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.name,
            Self::Part(part) => &part.name,
            Self::Source(file) => &file.name,
        }
    }
}

impl Item {
    /// An item of entries.
    pub fn new(name: &str, entries: impl IntoIterator<Item = Entry>) -> Self {
        let inputs = Arc::new(entries.into_iter().map(Input::Entry).collect());
        Self { name: name.to_owned(), inputs, has_names: false }
    }

    /// An item of source files.
    pub fn of_sources(name: &str, files: impl IntoIterator<Item = SourceFile>) -> Self {
        let inputs = Arc::new(files.into_iter().map(Input::Source).collect());
        Self { name: name.to_owned(), inputs, has_names: false }
    }

    /// An item of parts of files.
    pub fn of_parts(name: &str, parts: impl IntoIterator<Item = Part>) -> Self {
        let inputs = Arc::new(parts.into_iter().map(Input::Part).collect());
        Self { name: name.to_owned(), inputs, has_names: false }
    }

    /// Adds the inputs of another item.
    pub fn and(mut self, other: &Self) -> Self {
        Arc::make_mut(&mut self.inputs).extend(other.inputs.iter().cloned());
        self
    }

    /// Adds an entry, such as this shard's slice of an earlier step.
    pub fn with(mut self, entry: Option<Entry>) -> Self {
        if let Some(entry) = entry {
            Arc::make_mut(&mut self.inputs).push(Input::Entry(entry));
        }
        self
    }

    /// Digest of bytes, selections and added columns. Names are included only for source files and folders.
    pub fn digest(&self) -> Digest {
        let mut out = Encoder::default();
        out.list(self.inputs.len());
        for input in self.inputs.iter() {
            match input {
                Input::Entry(entry) => {
                    if self.has_names {
                        out.text(&entry.name);
                    }
                    entry.content.encode(&mut out);
                }
                Input::Part(part) => Content::from(part.blob).encode(&mut out),
                Input::Source(file) => {
                    out.text(&file.source);
                    out.text(&file.name);
                    out.digest(&file.digest);
                }
            }
        }
        out.derive("pipe item v1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_shares_read_is_not_copied_for_each() {
        let entry = Entry { name: "a".into(), content: Blob { digest: Digest::of(b"a"), size: 1 }.into() };
        let item = Item::new("side", vec![entry.clone(); 1000]);
        let copy = item.clone();
        assert!(Arc::ptr_eq(&item.inputs, &copy.inputs));
        // Adding an entry makes another item.
        let more = copy.with(Some(entry));
        assert_eq!((item.inputs.len(), more.inputs.len()), (1000, 1001));
    }

    #[test]
    fn files_that_may_be_executed_are_others() {
        let content: Content = Blob { digest: Digest::of(b"a"), size: 1 }.into();
        let of = |executable| {
            let content = Content { executable, ..content.clone() };
            let entry = Entry { name: "a".into(), content };
            (
                Item::new("", [entry.clone()]).digest(),
                Artifact::new("files", vec![entry]).ok().map(|all| all.digest()),
            )
        };
        assert!(of(true).0 != of(false).0 && of(true).1 != of(false).1);
    }
}
