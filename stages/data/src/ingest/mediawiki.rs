//! Exports of MediaWiki → rows: each page of a wanted namespace, with its wikitext as text.

use super::columns::{Row, Value, Wanted};
use super::faults::{Fault, Unreadable};
use crate::clean::html::text_of_markup;
use pipe_wiki::{Damage, Export, Page, Piece, Site, markup_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, Read};

/// Columns of pages.
pub(super) const ID: &str = "id";
pub(super) const TITLE: &str = "title";
pub(super) const TEXT: &str = "text";
pub(super) const URL: &str = "url";
pub(super) const DATE: &str = "date";
pub(super) const LANGUAGE: &str = "language";
pub(super) const LICENSE: &str = "license";
const NAMESPACE: &str = "namespace";
const REVISION: &str = "revision";
const SITE: &str = "site";
/// All of them but the text.
const COLUMNS: [&str; 9] = [ID, TITLE, URL, DATE, LANGUAGE, LICENSE, NAMESPACE, REVISION, SITE];

/// Sections of the pages of a wiki.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sections {
    /// All that are not empty.
    #[default]
    All,
    /// All but those with references, links to other sites and lists of related pages, which are recognised by their
    /// headings in the languages of the larger wikis.
    Prose,
}

/// Which pages of an export are documents, and what of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Selection {
    /// Empty for the articles.
    pub(super) namespaces: Vec<i32>,
    pub(super) sections: Sections,
}

impl Selection {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the pages of a namespace are documents.
    pub(super) fn takes(&self, namespace: i32) -> bool {
        match &self.namespaces[..] {
            [] => namespace == 0,
            namespaces => namespaces.contains(&namespace),
        }
    }
}

/// Reads the pages of an export and passes on each, numbered from 1. Pages whose revision has more than `bytes_max` bytes
/// are damage.
///
/// # Errors
/// If `input` or `each` fails. A file whose rest cannot be read is the inner error.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    selection: &Selection,
    bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let input = BufReader::with_capacity(256 << 10, input);
    let Some(mut export) = Export::open(input, bytes_max)? else { return Ok(Err(Unreadable::NotMediawiki)) };
    let mut number = 0;
    while let Some(piece) = export.piece()? {
        match piece {
            Piece::Page(page) => {
                number += 1;
                each(number, row(page, export.site(), wanted, selection))?;
            }
            Piece::Damaged(Damage { offset, next: Some(next), reason: damage }) => {
                number += 1;
                each(number, Err(Fault::Damaged { offset, next, damage }))?;
            }
            Piece::Damaged(Damage { offset, next: None, reason }) => {
                let reason = format!("at byte {offset}, {reason}");
                return Ok(Err(Unreadable::After { row: number, reason }));
            }
        }
    }
    Ok(Ok(()))
}

fn row(page: Page, site: &Site, wanted: &Wanted, selection: &Selection) -> Result<Row, Fault> {
    if !selection.takes(page.namespace) {
        return Err(Fault::Namespace(page.namespace));
    }
    if page.is_redirect {
        return Err(Fault::Moved);
    }
    let revision = page.revision.unwrap_or_default();
    if !["", "wikitext"].contains(&revision.model.as_str()) {
        return Err(Fault::ContentModel(revision.model.chars().take(40).collect()));
    }
    let sections = match selection.sections {
        Sections::All => pipe_wiki::Sections::All,
        Sections::Prose => pipe_wiki::Sections::Prose,
    };
    let wikitext = revision.text.unwrap_or_default();
    let text = text_of_markup(&markup_of(&wikitext, &page.title, site, sections));
    if text.trim().is_empty() {
        return Err(Fault::NoContent);
    }
    let mut text = Some(text);
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let mut value = |name: &str| -> Option<Value> {
        let value = match name {
            ID => number(page.id).or_else(|| Some(page.title.clone())),
            TITLE => Some(page.title.clone()),
            TEXT => text.take(),
            URL => Some(site.address(&page.title)),
            DATE => Some(revision.timestamp.clone()),
            LANGUAGE => Some(language(&site.language).to_owned()),
            LICENSE => license(&site.base).map(str::to_owned),
            NAMESPACE => Some(page.namespace.to_string()),
            REVISION => number(revision.id),
            SITE => Some(site.name.clone()),
            _ => None,
        };
        value.filter(|value| !value.is_empty()).map(Value::Text)
    };
    let mut row = wanted.row();
    let names: Vec<&str> = wanted.names().collect();
    for (slot, name) in row.slots.iter_mut().zip(&names) {
        *slot = value(name);
    }
    if wanted.all() {
        for name in COLUMNS.into_iter().filter(|name| !names.contains(name)) {
            row.add(name.to_owned(), value(name))?;
        }
    }
    Ok(row)
}

/// The licence of the texts of Wikimedia's wikis; those of others are unknown.
fn license(base: &str) -> Option<&'static str> {
    const WIKIS: [&str; 7] =
        ["wikipedia", "wiktionary", "wikibooks", "wikiquote", "wikisource", "wikiversity", "wikivoyage"];
    let host = base.split_once("://").map_or(base, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let name = host.strip_suffix(".org")?.rsplit('.').next()?;
    WIKIS.contains(&name).then_some("CC-BY-SA-4.0")
}

/// The language of a wiki. Some have codes of their own.
pub(super) fn language(code: &str) -> &str {
    match code {
        "simple" => "en",
        "zh-min-nan" => "nan",
        "zh-classical" => "lzh",
        "zh-yue" => "yue",
        "als" => "gsw",
        "bat-smg" => "sgs",
        "fiu-vro" => "vro",
        "roa-rup" => "rup",
        "map-bms" => "jv",
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_those_of_wikimedia() {
        assert_eq!(license("https://de.wikipedia.org/wiki/X"), Some("CC-BY-SA-4.0"));
        assert_eq!(license("https://wiki.example.org/X"), None);
        assert_eq!(license("https://notwikipedia.example/X"), None);
        assert_eq!(license(""), None);
    }
}
