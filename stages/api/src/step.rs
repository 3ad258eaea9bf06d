//! Owns: what a share leaves behind, and a finished step as its stage sees it.

use crate::{Content, Entry, Error, Item, Metric, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a share made; stored under its key. Names are relative to the items, so that equal items run once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRecord {
    /// Revision of this format: [`ShareRecord::VERSION`].
    pub version: u32,
    /// Files and views, in the order of their making.
    pub made: Vec<Made>,
    /// A small value that later code of the stage may look at.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub value: serde_json::Value,
    /// Figures of this share.
    pub metrics: Vec<Metric>,
    /// Seconds of wall time.
    pub seconds: f64,
    /// What its kernels ran on: more than one where work went on from a checkpoint of another machine.
    pub instruction_sets: Vec<String>,
}

impl ShareRecord {
    /// Revision of the format.
    ///
    /// - 1: the first.
    /// - 2: what is passed on is named by its place among the inputs; all instruction sets.
    pub const VERSION: u32 = 2;
}

/// One file or view that a share made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// What it is for: by convention the output port's name.
    pub slot: String,
    /// How it is called.
    pub name: Name,
    /// What it holds.
    pub content: Content,
}

/// A name, relative to the items of the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// That of this item.
    Item(u32),
    /// That of this item with another extension.
    Extension(u32, String),
    /// One of its own, below a folder that is called like this item without its extension.
    Below(u32, String),
    /// That of an input: which item, and which of its inputs.
    Input(u32, u32),
    /// One of its own, which the key decides.
    Own(String),
}

/// A finished step: for each share its items and what it made.
#[derive(Debug, Clone)]
pub struct Step {
    pub(crate) shares: Vec<(Vec<Item>, ShareRecord)>,
}

impl Step {
    /// Returns everything in a slot as entries, in the order of the shares.
    pub fn entries(&self, slot: &str) -> Vec<Entry> {
        let of_share = |(items, record): &(Vec<Item>, ShareRecord)| {
            let wanted = record.made.iter().filter(|made| made.slot == slot);
            wanted.map(|made| made.entry(items)).collect::<Vec<_>>()
        };
        self.shares.iter().flat_map(of_share).collect()
    }

    /// Returns, for each item of the step, what the slot holds for it.
    pub fn slices(&self, slot: &str) -> Vec<Option<Entry>> {
        let of_share = |(items, record): &(Vec<Item>, ShareRecord)| {
            let mut slices = vec![None; items.len()];
            for made in record.made.iter().filter(|made| made.slot == slot) {
                if let Name::Item(item) | Name::Extension(item, _) = made.name
                    && let Some(slice @ None) = slices.get_mut(item as usize)
                {
                    *slice = Some(made.entry(items));
                }
            }
            slices
        };
        self.shares.iter().flat_map(of_share).collect()
    }

    /// Reads the small value of each share.
    pub fn values<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let read = |(_, record): &(Vec<Item>, ShareRecord)| {
            serde_json::from_value(record.value.clone())
                .map_err(|error| Error::Panic { message: format!("a share's value does not fit: {error}") })
        };
        self.shares.iter().map(read).collect()
    }
}

impl Made {
    fn entry(&self, items: &[Item]) -> Entry {
        let of = |item: u32| items[item as usize].name.as_str();
        let name = match &self.name {
            Name::Item(item) => of(*item).to_owned(),
            Name::Extension(item, extension) => format!("{}.{extension}", stem(of(*item))),
            Name::Below(item, own) => format!("{}/{own}", stem(of(*item))),
            Name::Input(item, input) => items[*item as usize].inputs[*input as usize].name().to_owned(),
            Name::Own(name) => name.clone(),
        };
        Entry { name, content: self.content.clone() }
    }
}

/// A name without the extension of its last part.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].rfind('.').map_or(name, |dot| &name[..file + dot])
}
