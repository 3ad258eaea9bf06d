//! What a share leaves, and a finished step as its stage sees it.

use crate::{Content, Entry, Error, Item, Metric, Result, artifact::Part};
use pipe_cache::{Blob, Digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The result of a share, stored under its key. Names are relative to the items, so that equal items run once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRecord {
    /// Revision of this format: [`ShareRecord::VERSION`].
    pub version: u32,
    /// Files and views, in the order of creation.
    pub made: Vec<Made>,
    /// A small value that the stage's code can read later.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub value: serde_json::Value,
    /// Metrics of this share.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Instruction sets that its kernels used; several if work continued from a checkpoint of another machine.
    pub instruction_sets: Vec<String>,
}

impl ShareRecord {
    /// Revision of the format.
    ///
    /// - 1: initial version.
    /// - 2: entries that are passed on are named by their position among the inputs; all instruction sets are recorded.
    pub const VERSION: u32 = 2;
}

/// A file or view that a share produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Its purpose: by convention the name of the output port.
    pub slot: String,
    /// Its name.
    pub name: Name,
    /// Its content.
    pub content: Content,
}

/// A name, relative to the items of the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The name of this item.
    Item(u32),
    /// The name of this item, with another extension; behind its own one if another share's item differs only in that.
    Extension(u32, String),
    /// A given name below a folder with this item's name, without its extension unless another share's item differs
    /// only in that.
    Below(u32, String),
    /// The name of an input: position of the item, and of the input within it.
    Input(u32, u32),
    /// A given name, which is part of the key.
    Own(String),
    /// None: the file consists of these parts, end to end, which later steps read one by one. Their numbers ascend.
    Parts(Vec<PartRecord>),
}

/// One part of a file: number, size in bytes and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord(pub u32, pub u64, pub Digest);

/// A finished step: for each share, its items and its results.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub(crate) shares: Vec<(Vec<Item>, ShareRecord)>,
}

impl Step {
    /// The first shares, as if there were no others.
    #[must_use]
    pub fn first(mut self, shares: usize) -> Self {
        self.shares.truncate(shares);
        self
    }

    /// The shares of this step and then those of another one with the same work.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.shares.extend(other.shares);
        self
    }

    /// Returns everything in a slot as entries, in the order of the shares.
    pub fn entries(&self, slot: &str) -> Vec<Entry> {
        self.entries_by_share(slot).concat()
    }

    /// As [`Self::entries`], for each share.
    pub fn entries_by_share(&self, slot: &str) -> Vec<Vec<Entry>> {
        let labels = Labels::of(&self.shares);
        let of_share = |(items, record): &(Vec<Item>, ShareRecord)| {
            let wanted = record.made.iter().filter(|made| made.slot == slot);
            wanted.filter_map(|made| made.entry(items, &labels)).collect()
        };
        self.shares.iter().map(of_share).collect()
    }

    /// Returns the content of the slot for each item of the step.
    pub fn slices(&self, slot: &str) -> Vec<Option<Entry>> {
        let labels = Labels::of(&self.shares);
        let of_share = |(items, record): &(Vec<Item>, ShareRecord)| {
            let mut slices = vec![None; items.len()];
            for made in record.made.iter().filter(|made| made.slot == slot) {
                if let Name::Item(item) | Name::Extension(item, _) = made.name
                    && let Some(slice @ None) = slices.get_mut(item as usize)
                {
                    *slice = made.entry(items, &labels);
                }
            }
            slices
        };
        self.shares.iter().flat_map(of_share).collect()
    }

    /// Returns the parts in a slot (see [`crate::Share::parts`]) by number: for each range of numbers, one item per
    /// share of this step, which is empty if the share has none of these parts. The argument of
    /// [`crate::Context::each_of`], so that each share of the next step gets the same parts of all shares of this one.
    pub fn parts(&self, slot: &str, ranges: &[Range<u32>]) -> Vec<Vec<Item>> {
        let mut ranged: Vec<Vec<Item>> =
            ranges.iter().map(|_| Vec::with_capacity(self.shares.len())).collect();
        for (items, parts) in self.parts_by_share(slot) {
            let name = items.first().map_or("", |item| &item.name);
            for (range, ranged) in ranges.iter().zip(&mut ranged) {
                let first = parts.partition_point(|part| part.number < range.start);
                let end = parts.partition_point(|part| part.number < range.end);
                ranged.push(Item::of_parts(name, parts[first..end.max(first)].iter().cloned()));
            }
        }
        ranged
    }

    /// Returns the parts in a slot as one item for each number below `count`, with the parts of all shares. The inverse
    /// of [`Self::parts`] if shares numbered their parts by the position of an item of an earlier step.
    pub fn by_item(&self, slot: &str, count: usize) -> Vec<Item> {
        let mut by_number: Vec<Vec<Part>> = vec![Vec::new(); count];
        for part in self.parts_by_share(slot).into_iter().flat_map(|(_, parts)| parts) {
            if let Some(parts) = by_number.get_mut(part.number as usize) {
                parts.push(part);
            }
        }
        (0..)
            .zip(by_number)
            .map(|(number, parts): (usize, _)| Item::of_parts(&number.to_string(), parts))
            .collect()
    }

    /// The parts of each share; their numbers ascend.
    fn parts_by_share(&self, slot: &str) -> Vec<(&[Item], Vec<Part>)> {
        let of_share = |(items, record): &'_ (Vec<Item>, ShareRecord)| {
            let made = record.made.iter().filter(|made| made.slot == slot);
            made.flat_map(|made| made.parts(items)).collect::<Vec<_>>()
        };
        self.shares.iter().map(|share| (share.0.as_slice(), of_share(share))).collect()
    }

    /// Reads the small value of each share.
    pub fn values<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let read = |(_, record): &(Vec<Item>, ShareRecord)| {
            serde_json::from_value(record.value.clone()).map_err(|error| Error::Panic {
                message: format!("the value of a task cannot be read: {error}"),
            })
        };
        self.shares.iter().map(read).collect()
    }
}

impl Made {
    fn entry(&self, items: &[Item], labels: &Labels<'_>) -> Option<Entry> {
        let of = |item: u32| items[item as usize].name.as_str();
        let label = |item: u32| labels.label(item as usize, of(item));
        let name = match &self.name {
            Name::Item(item) => of(*item).to_owned(),
            Name::Extension(item, extension) => format!("{}.{extension}", label(*item)),
            Name::Below(item, own) => format!("{}/{own}", label(*item)),
            Name::Input(item, input) => items[*item as usize].inputs[*input as usize].name().to_owned(),
            Name::Own(name) => name.clone(),
            Name::Parts(_) => return None,
        };
        Some(Entry { name, content: self.content.clone() })
    }

    /// The parts of the file, for the share's items.
    fn parts(&self, items: &[Item]) -> Vec<Part> {
        let Name::Parts(parts) = &self.name else { return Vec::new() };
        let name = items.first().map_or("", |item| &item.name);
        let mut at = 0;
        let part = |&PartRecord(number, size, digest): &PartRecord| {
            let begins = at;
            at += size;
            let blob = Blob { digest, size };
            Part { name: name.to_owned(), number, whole: self.content.blob, at: begins, blob }
        };
        parts.iter().map(part).collect()
    }
}

/// What the names of files begin with that are named after an item: its name without the extension. Names that would
/// then be equal are kept whole, so that files of different shares never have the same name.
struct Labels<'s> {
    /// By the position of the item within its share.
    whole: Vec<BTreeSet<&'s str>>,
}

impl<'s> Labels<'s> {
    fn of(shares: &'s [(Vec<Item>, ShareRecord)]) -> Self {
        let mut names: Vec<BTreeSet<&str>> = Vec::new();
        for (items, _) in shares {
            names.resize_with(names.len().max(items.len()), BTreeSet::new);
            for (names, item) in names.iter_mut().zip(items) {
                names.insert(&item.name);
            }
        }
        Self { whole: names.into_iter().map(kept_whole).collect() }
    }

    fn label<'n>(&self, position: usize, name: &'n str) -> &'n str {
        let is_whole = self.whole.get(position).is_some_and(|whole| whole.contains(name));
        if is_whole { name } else { stem(name) }
    }
}

/// The names whose label is another's, too, without their extensions.
fn kept_whole(names: BTreeSet<&str>) -> BTreeSet<&str> {
    let mut whole = BTreeSet::new();
    loop {
        let mut by_label: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for &name in &names {
            let label = if whole.contains(name) { name } else { stem(name) };
            by_label.entry(label).or_default().push(name);
        }
        let before = whole.len();
        whole.extend(by_label.into_values().filter(|names| names.len() > 1).flatten());
        // A whole name may be what another is without its extension.
        if whole.len() == before {
            return whole;
        }
    }
}

/// A name without the extension of its last component.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].rfind('.').map_or(name, |dot| &name[..file + dot])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_their_extension_are_kept_whole() {
        let whole = |names: &[&'static str]| -> Vec<&str> {
            kept_whole(names.iter().copied().collect()).into_iter().collect()
        };
        assert_eq!(whole(&["a.jsonl", "b.jsonl", "c/a.jsonl"]), [""; 0]);
        assert_eq!(whole(&["a.jsonl", "a.csv", "b.csv"]), ["a.csv", "a.jsonl"]);
        assert_eq!(whole(&["a.jsonl", "a.jsonl.gz"]), [""; 0]);
        assert_eq!(whole(&["a", "a.jsonl"]), ["a", "a.jsonl"]);
        // `a.csv.gz` without its extension is the whole name of another.
        assert_eq!(whole(&["a.csv", "a.jsonl", "a.csv.gz"]), ["a.csv", "a.csv.gz", "a.jsonl"]);
    }
}
