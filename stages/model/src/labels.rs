//! Labels of documents, from their addresses.

use pipe_stage::{Error, Misfit, Result};
use regex::{Regex, RegexBuilder};

/// Reads a document's label out of its URL's path.
#[derive(Debug, Clone)]
pub(crate) struct LabelRule(Regex);

impl LabelRule {
    /// Compiles `pattern`, whose first group captures the label.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let regex =
            RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| error.to_string())?;
        if regex.captures_len() < 2 {
            return Err("has no group that would capture the label".into());
        }
        Ok(Self(regex))
    }

    /// The same for a config that was checked.
    pub(crate) fn checked(pattern: &str) -> Result<Self> {
        Self::new(pattern).map_err(|fault| Error::input(format!("`label` {fault}")))
    }

    /// A fault at `label`, if there is one.
    pub(crate) fn misfit(pattern: &str) -> Option<Misfit> {
        let help = "write a regular expression on the URL's path, such as `^/([^/]+)/`";
        Self::new(pattern).err().map(|fault| Misfit::new("label", fault).help(help))
    }

    /// The label of the document at `url`; `None` where the pattern does not match or captures nothing.
    pub(crate) fn label<'u>(&self, url: &'u str) -> Option<&'u str> {
        let label = self.0.captures(path_of(url))?.get(1)?.as_str();
        (!label.is_empty()).then_some(label)
    }
}

/// The path of a URL with its leading slash; a name without a scheme is a path itself.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    rest.find(['?', '#']).map_or(rest, |end| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_group_on_the_path_is_the_label() {
        let rule = LabelRule::new("^/?(?:stable/)?([^/]+)/").expect("a rule");
        assert_eq!(rule.label("https://doc.rust-lang.org/stable/book/ch01.html?x=/y/"), Some("book"));
        assert_eq!(rule.label("reference/items.html"), Some("reference"));
        assert_eq!(rule.label("https://doc.rust-lang.org"), None);
    }

    #[test]
    fn pattern_without_a_group_is_refused() {
        assert!(LabelRule::new("^/book/").is_err());
        assert!(LabelRule::new("(").is_err());
    }
}
