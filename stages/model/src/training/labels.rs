//! Labels of documents: what `examples` gave them, or what their addresses say.

use pipe_data::documents::{Column, Document};
use pipe_data::examples::LABEL;
use pipe_stage::{Error, Misfit, Result};
use regex::{Regex, RegexBuilder};

/// Where a document's label stands.
#[derive(Debug, Clone)]
pub(crate) enum LabelRule {
    /// In its metadata, as `examples` writes it.
    Given,
    /// In the path of its URL: what the first group captures.
    Address(Regex),
}

impl LabelRule {
    /// Compiles `pattern`, whose first group captures the label; an empty one stands for labels that are given.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self::Given);
        }
        let regex =
            RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| error.to_string())?;
        if regex.captures_len() < 2 {
            return Err("has no group that would capture the label".into());
        }
        Ok(Self::Address(regex))
    }

    /// The same for a config that was checked.
    pub(crate) fn checked(pattern: &str) -> Result<Self> {
        Self::new(pattern).map_err(|fault| Error::input(format!("`label` {fault}")))
    }

    /// A fault at `label`, if there is one.
    pub(crate) fn misfit(pattern: &str) -> Option<Misfit> {
        let help = "write a regular expression on the URL's path, such as `^/([^/]+)/`, or leave it out for examples";
        Self::new(pattern).err().map(|fault| Misfit::new("label", fault).help(help))
    }

    /// The column that labels are read from.
    pub(crate) const fn column(&self) -> Column {
        match self {
            Self::Given => Column::Metadata,
            Self::Address(_) => Column::Url,
        }
    }

    /// The label of a document; `None` where it has none.
    pub(crate) fn label<'d>(&self, document: &'d Document) -> Option<&'d str> {
        let label = match self {
            Self::Given => document.metadata.get(LABEL)?,
            Self::Address(regex) => regex.captures(path_of(&document.url))?.get(1)?.as_str(),
        };
        (!label.is_empty()).then_some(label)
    }
}

/// The near-duplicate cluster that `examples` noted of the document that an example was made of.
pub(crate) fn noted_cluster(document: &Document) -> Option<u64> {
    u64::from_str_radix(document.metadata.get("cluster")?, 16).ok()
}

/// The path of a URL with its leading slash; a name without a scheme is a path itself.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    rest.find(['?', '#']).map_or(rest, |end| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn first_group_on_the_path_is_the_label() {
        let rule = LabelRule::new("^/?(?:stable/)?([^/]+)/").expect("a rule");
        let label = |url: &str| {
            let document = Document { url: url.into(), ..Document::default() };
            rule.label(&document).map(str::to_owned)
        };
        assert_eq!(label("https://doc.rust-lang.org/stable/book/ch01.html?x=/y/").as_deref(), Some("book"));
        assert_eq!(label("reference/items.html").as_deref(), Some("reference"));
        assert_eq!(label("https://doc.rust-lang.org"), None);
    }

    #[test]
    fn labels_of_examples_are_given() {
        let rule = LabelRule::new("").expect("a rule");
        let with = |name: &str, fact: &str| Document {
            url: "https://e.org/book/".into(),
            metadata: BTreeMap::from([(name.into(), fact.into())]),
            ..Document::default()
        };
        assert_eq!(rule.label(&with("label", "stone")), Some("stone"));
        assert_eq!(rule.label(&with("label", "")), None);
        assert_eq!(rule.label(&with("other", "x")), None);
        assert_eq!(noted_cluster(&with("cluster", "00000000000000ff")), Some(255));
        assert_eq!(noted_cluster(&with("cluster", "x")), None);
    }

    #[test]
    fn pattern_without_a_group_is_refused() {
        assert!(LabelRule::new("^/book/").is_err());
        assert!(LabelRule::new("(").is_err());
    }
}
