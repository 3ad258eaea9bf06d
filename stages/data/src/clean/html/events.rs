//! Serialised markup as a sequence of tags and texts. The input comes from a serialiser, so it is well formed; other
//! input gives worse text, never an error. Linear in its length, without recursion.

use super::scan::ORIGINAL_NAME;

/// A piece of markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'h> {
    /// Text with unresolved references.
    Text(&'h str),
    Start(Element<'h>),
    /// The end of the element of that name.
    End(&'h str),
}

/// A start tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'h> {
    pub(super) name: &'h str,
    attributes: &'h str,
}

impl<'h> Element<'h> {
    /// The value of an attribute; empty if there is none.
    pub(super) fn value(&self, name: &str) -> &'h str {
        let value = |behind: &'h str| {
            let rest = behind.strip_prefix(name)?.strip_prefix("=\"")?;
            Some(&rest[..memchr::memchr(b'"', rest.as_bytes()).unwrap_or(rest.len())])
        };
        self.behind_spaces().find_map(value).unwrap_or_default()
    }

    /// Whether there is an attribute of that name. Serialisers write a value for each.
    pub(super) fn has(&self, name: &str) -> bool {
        self.behind_spaces()
            .any(|behind| behind.strip_prefix(name).is_some_and(|rest| rest.starts_with("=\"")))
    }

    /// What is behind each space: a name of an attribute may begin there.
    fn behind_spaces(&self) -> impl Iterator<Item = &'h str> {
        let attributes = self.attributes;
        memchr::memchr_iter(b' ', attributes.as_bytes()).map(move |at| &attributes[at + 1..])
    }
}

/// Elements without an end tag.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// Reads markup. Parts of tables keep their original names, even if an extractor renamed or removed elements around
/// them.
pub(super) fn events(html: &str) -> Events<'_> {
    Events { rest: html, open: Vec::new(), tables: 0, next: None }
}

pub(super) struct Events<'h> {
    rest: &'h str,
    open: Vec<Open<'h>>,
    tables: usize,
    /// Queued to follow the last event.
    next: Option<Event<'h>>,
}

struct Open<'h> {
    tag: &'h str,
    name: &'h str,
    /// Whether a table was opened for it that is not in the markup.
    in_table_of_its_own: bool,
}

impl<'h> Iterator for Events<'h> {
    type Item = Event<'h>;

    fn next(&mut self) -> Option<Event<'h>> {
        if let Some(event) = self.next.take() {
            return Some(event);
        }
        loop {
            let at = memchr::memchr(b'<', self.rest.as_bytes()).unwrap_or(self.rest.len());
            if at > 0 {
                let (text, rest) = self.rest.split_at(at);
                self.rest = rest;
                return Some(Event::Text(text));
            }
            let Some(length) = end_of_tag(self.rest) else {
                self.rest = "";
                return None;
            };
            let tag = &self.rest[1..length - 1];
            self.rest = &self.rest[length..];
            match tag.strip_prefix('/') {
                Some(name) => return Some(self.end(name.trim())),
                None if tag.starts_with(['!', '?']) => {}
                None => {
                    let end = tag.find(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or(tag.len());
                    return Some(self.start(&tag[..end], &tag[end..]));
                }
            }
        }
    }
}

impl<'h> Events<'h> {
    fn start(&mut self, tag: &'h str, attributes: &'h str) -> Event<'h> {
        let mut element = Element { name: tag, attributes };
        if VOID.contains(&tag) {
            return Event::Start(element);
        }
        let part = element.value(ORIGINAL_NAME);
        if !part.is_empty() {
            element.name = part;
        }
        let row = matches!(element.name, "tr" | "thead" | "tbody" | "tfoot");
        let in_table_of_its_own = row && self.tables == 0;
        self.open.push(Open { tag, name: element.name, in_table_of_its_own });
        self.tables += usize::from(element.name == "table" || in_table_of_its_own);
        if in_table_of_its_own {
            self.next = Some(Event::Start(element));
            return Event::Start(Element { name: "table", attributes: "" });
        }
        Event::Start(element)
    }

    fn end(&mut self, tag: &'h str) -> Event<'h> {
        let Some(open) = self.open.pop_if(|open| open.tag == tag) else { return Event::End(tag) };
        self.tables -= usize::from(open.name == "table" || open.in_table_of_its_own);
        if open.in_table_of_its_own {
            self.next = Some(Event::End("table"));
        }
        Event::End(open.name)
    }
}

/// Number of bytes up to and including the `>` that ends a tag; a quoted `>` does not.
pub(super) fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quoted = false;
    for at in memchr::memchr2_iter(b'>', b'"', tag.as_bytes()) {
        match tag.as_bytes()[at] {
            b'"' => quoted = !quoted,
            _ if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Resolves character references: the five that serialisers write, and numeric ones.
pub(super) fn unescape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, c) = reference(rest).unwrap_or((1, '&'));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out.into()
}

/// The length and the character of a reference at the start of a text.
pub(super) fn reference(text: &str) -> Option<(usize, char)> {
    const LENGTH_MAX: usize = 10;
    let end = text.bytes().take(LENGTH_MAX).position(|byte| byte == b';')?;
    let c = match &text[1..end] {
        "lt" => '<',
        "gt" => '>',
        "nbsp" => '\u{a0}',
        "quot" => '"',
        "amp" => '&',
        number => {
            let number = number.strip_prefix('#')?;
            let hexadecimal = number.strip_prefix(['x', 'X']).map(|digits| u32::from_str_radix(digits, 16));
            char::from_u32(hexadecimal.unwrap_or_else(|| number.parse()).ok()?)?
        }
    };
    Some((end + 1, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of tags, with `+` at starts and `-` at ends.
    fn names(html: &str) -> String {
        let name = |event| match event {
            Event::Text(text) => text.to_owned(),
            Event::Start(element) => format!("+{}", element.name),
            Event::End(name) => format!("-{name}"),
        };
        events(html).map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn renamed_and_lone_parts_of_tables_are_tables() {
        assert_eq!(
            names("<div data-pipe-part=\"table\"><tbody><tr><td>a</td></tr></tbody></div>"),
            "+table +tbody +tr +td a -td -tr -tbody -table"
        );
        assert_eq!(names("<div><tr><td>a</td></tr></div>"), "+div +table +tr +td a -td -tr -table -div");
        assert_eq!(names("<div data-pipe-part=\"tr\">a<br>b</div>"), "+table +tr a +br b -tr -table");
    }

    #[test]
    fn values_are_of_the_attribute_asked_for() {
        let Some(Event::Start(element)) = events("<ol data-start=\"1\" start=\"3\" id=\"a > b\">").next()
        else {
            panic!("no start tag")
        };
        assert_eq!((element.value("start"), element.value("id"), element.value("class")), ("3", "a > b", ""));
        assert!(element.has("start") && !element.has("class") && !element.has("data"));
        let Some(Event::Start(element)) = events("<ol class=\"x\" reversed=\"\">").next() else {
            panic!("no start tag")
        };
        assert!(element.has("reversed"));
    }
}
