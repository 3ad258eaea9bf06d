//! Tags in wikitext, and what is done with their elements.

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag<'t> {
    /// In lower case.
    pub(super) name: String,
    pub(super) is_end: bool,
    pub(super) is_empty: bool,
    pub(super) attributes: &'t str,
    /// Length in bytes.
    pub(super) length: usize,
}

/// Maximum length of a tag in bytes; templates and styles within tags make them long.
const LENGTH_MAX: usize = 2000;

impl<'t> Tag<'t> {
    /// The tag at the beginning of a text.
    pub(super) fn at(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix('<')?;
        let (is_end, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        let name_length = rest.bytes().take(24).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let (name, rest) = rest.split_at(name_length);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let follows = rest.starts_with(|c: char| c.is_whitespace() || matches!(c, '>' | '/'));
        if !is_name || !follows {
            return None;
        }
        let mut end = rest.len().min(LENGTH_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let end = rest[..end].find(['>', '<']).filter(|end| rest[*end..].starts_with('>'))?;
        let attributes = rest[..end].trim();
        let length = text.len() - rest.len() + end + 1;
        let is_empty = attributes.ends_with('/');
        let attributes = attributes.trim_end_matches('/').trim_end();
        Some(Self { name: name.to_ascii_lowercase(), is_end, is_empty, attributes, length })
    }

    /// The value of an attribute, without its quotes; empty if there is none.
    pub(super) fn value(&self, name: &str) -> &'t str {
        attribute(self.attributes, name)
    }

    /// Whether an attribute is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attributes.split_whitespace().any(|word| word.split('=').next() == Some(name))
    }
}

/// The value of an attribute in a list of them.
pub(super) fn attribute<'t>(attributes: &'t str, name: &str) -> &'t str {
    for (at, found) in attributes.match_indices(name) {
        let is_start =
            attributes[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'".contains(c));
        let rest = attributes[at + found.len()..].trim_start();
        if let Some(rest) = rest.strip_prefix('=').filter(|_| is_start) {
            let rest = rest.trim_start();
            let value = match rest.chars().next() {
                Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next(),
                _ => rest.split(|c: char| c.is_whitespace() || c == '>').next(),
            };
            return value.unwrap_or_default().trim();
        }
    }
    ""
}

/// What is done with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// Left out with its content.
    Dropped,
    /// Its content is no wikitext.
    Nowiki,
    Pre,
    Code,
    Math,
    Chemistry,
    /// Its tags are left out.
    Plain,
    /// Its tags are kept, under this name.
    Kept(&'static str),
    /// A block: its content is on lines of its own.
    Block,
    Heading(usize),
    List(char),
    Item,
    /// A line of a definition list, with its sign.
    Definition(char),
    Poem,
    Break,
    Rule,
    Table,
    Row,
    Cell(char),
    Caption,
}

/// What is done with the element of that name; `None` if it is text.
pub(super) fn element(name: &str) -> Option<Element> {
    use Element as E;
    Some(match name {
        "ref" | "references" | "gallery" | "timeline" | "score" | "templatedata" | "templatestyles"
        | "graph" | "imagemap" | "mapframe" | "maplink" | "hiero" | "inputbox" | "categorytree"
        | "includeonly" | "rp" | "style" | "script" | "indicator" | "dynamicpagelist" | "ask" | "seo" => {
            E::Dropped
        }
        "nowiki" => E::Nowiki,
        "pre" => E::Pre,
        "syntaxhighlight" | "source" => E::Code,
        "math" => E::Math,
        "chem" | "ce" => E::Chemistry,
        "noinclude" | "onlyinclude" | "section" | "languages" | "translate" | "tvar" | "span" | "font"
        | "small" | "big" | "b" | "i" | "u" | "em" | "strong" | "abbr" | "cite" | "var" | "dfn" | "bdi"
        | "bdo" | "ruby" | "rb" | "rtc" | "mark" | "ins" | "time" | "data" | "wbr" | "thead" | "tbody"
        | "tfoot" | "a" | "phonos" | "img" => E::Plain,
        "sup" => E::Kept("sup"),
        "sub" => E::Kept("sub"),
        "code" | "kbd" | "samp" | "tt" => E::Kept("code"),
        "q" => E::Kept("q"),
        "s" | "del" | "strike" => E::Kept("s"),
        "rt" => E::Kept("rt"),
        "div" | "p" | "center" | "blockquote" | "dl" => E::Block,
        "h1" => E::Heading(1),
        "h2" => E::Heading(2),
        "h3" => E::Heading(3),
        "h4" => E::Heading(4),
        "h5" => E::Heading(5),
        "h6" => E::Heading(6),
        "ul" => E::List('*'),
        "ol" => E::List('#'),
        "li" => E::Item,
        "dt" => E::Definition(';'),
        "dd" => E::Definition(':'),
        "poem" => E::Poem,
        "br" => E::Break,
        "hr" => E::Rule,
        "table" => E::Table,
        "tr" => E::Row,
        "td" => E::Cell('|'),
        "th" => E::Cell('!'),
        "caption" => E::Caption,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_recognised() {
        let tag = Tag::at("<Ref name=\"a b\" group=c />x").unwrap();
        assert_eq!((tag.name.as_str(), tag.is_empty, tag.length), ("ref", true, 26));
        assert_eq!((tag.value("name"), tag.value("group"), tag.value("me")), ("a b", "c", ""));
        assert!(Tag::at("</b>").unwrap().is_end && Tag::at("<br/>").unwrap().is_empty);
        for text in ["<", "< b>", "<1>", "<a", "<a <b>", "<=>", "<ä>"] {
            assert_eq!(Tag::at(text), None, "{text}");
        }
    }
}
