//! One pass over the raw markup before any parser sees it. It bounds what makes parsers slow (depth, number
//! of nodes, attributes), drops what is never text, and notes what the page says of itself.
//!
//! HTML parsers and the extractors on top of them are quadratic in nesting (50,000 open `<div>` take minutes), in
//! the lines and references of one text (a log of 10 MB takes a minute) and in the attributes of one tag. Tags below
//! [`DEPTH_MAX`] are left out and their text is kept.

/// Nesting that is kept; no page that people read goes deeper.
const DEPTH_MAX: usize = 256;
/// How far up an end tag looks for its start: bounds the work on tags that were never opened.
const REACH: usize = 512;
/// Attributes that are looked at in one tag, and the longest value that is passed on.
const ATTRIBUTES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 512;

/// Lines and character references of one stretch of text, and its bytes, after which it is broken by `<wbr>`, which
/// stands for nothing: parsers append each of them to what they have by copying it.
const PIECES_MAX: usize = 512;
const STRETCH_BYTES_MAX: usize = 64 << 10;

/// Elements whose content is no prose: dropped as a whole.
const DROPPED: &[&str] = &[
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "object",
    "canvas",
    "nav",
    "button",
    "select",
    "textarea",
    "noembed",
    "noframes",
    "xmp",
    "audio",
    "video",
    "annotation",
    "frameset",
    "datalist",
];
/// Elements whose content is not markup, up to their own end tag.
const RAW: &[&str] = &["script", "style", "iframe", "textarea", "noembed", "noframes", "xmp", "title"];
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "frame", "keygen",
];
/// Elements that an equal one beside them ends.
const SELF_ENDING: &[&str] =
    &["p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "rt", "rp"];
/// Attributes that extraction looks at.
const KEPT: &[&str] = &[
    "id",
    "class",
    "href",
    "lang",
    "role",
    "hidden",
    "aria-hidden",
    "style",
    "start",
    "rel",
    "itemprop",
    "colspan",
    "name",
    "property",
    "content",
    "datetime",
];
/// Classes of controls that documentation generators put into the text: "Expand description" and versions
/// (rustdoc), "[edit]" and contents (MediaWiki), "Next" (DocBook), text for screen readers.
const CONTROLS: &[&str] = &[
    "hideme",
    "rightside",
    "since",
    "breadcrumb",
    "breadcrumbs",
    "rustdoc-breadcrumbs",
    "mw-editsection",
    "toc",
    "navheader",
    "navfooter",
    "sr-only",
    "visually-hidden",
    "noprint",
];
/// Classes of links that are controls: "Source" and "§" (rustdoc), permanent links (Sphinx).
const CONTROL_LINKS: &[&str] = &["src", "srclink", "anchor", "doc-anchor", "headerlink", "tooltip"];

/// What the scan found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The markup, bounded and cleaned.
    pub(super) html: String,
    /// `lang` of the root element.
    pub(super) language: String,
    /// Where `<link rel="canonical">` points.
    pub(super) canonical: String,
    /// Where `<meta http-equiv="refresh">` leads at once.
    pub(super) refresh: Option<String>,
    /// Content of `<title>`, entities as they stand.
    pub(super) title: String,
    /// Whether the page has one `<main>`; `html` is then what it holds.
    pub(super) has_main: bool,
}

/// More start tags, and signs that look like one, than were allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyNodes;

/// Scans a page in time proportional to its length.
pub(super) fn scan(page: &str, nodes_max: usize) -> Result<Scanned, TooManyNodes> {
    let mut scan = Scan {
        out: Scanned::default(),
        open: Vec::new(),
        dropping: 0,
        mains: Vec::new(),
        stretch: 0,
        pieces: 0,
    };
    scan.out.html.reserve(page.len());
    let mut rest = page;
    let mut nodes = 0;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        scan.text(&rest[..at]);
        rest = &rest[at..];
        match rest.as_bytes().get(1) {
            Some(b'!' | b'?') => rest = after_comment(rest),
            Some(b'/') if rest.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) => {
                let tag = Tag::read(&rest[2..]);
                scan.end(tag.name);
                rest = tag.rest;
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                nodes += 1;
                if nodes > nodes_max {
                    return Err(TooManyNodes);
                }
                let tag = Tag::read(&rest[1..]);
                rest = tag.rest;
                let raw = RAW.iter().find(|raw| tag.is(raw));
                scan.start(&tag);
                if let Some(raw) = raw {
                    let end = end_of_raw(rest, raw);
                    scan.raw(raw, &rest[..end]);
                    rest = &rest[end..];
                }
            }
            _ => {
                // A sign that begins no tag costs the parser as much as one that does.
                nodes += 1;
                if nodes > nodes_max {
                    return Err(TooManyNodes);
                }
                scan.text("&lt;");
                rest = &rest[1..];
            }
        }
    }
    scan.text(rest);
    scan.keep_main();
    Ok(scan.out)
}

struct Scan<'p> {
    out: Scanned,
    open: Vec<Open<'p>>,
    /// Open elements that are dropped with their content.
    dropping: usize,
    /// Where the content of each `<main>` starts and ends in what was written.
    mains: Vec<(usize, usize)>,
    /// Where the text being written began, and the lines and references in it.
    stretch: usize,
    pieces: usize,
}

struct Open<'p> {
    name: &'p str,
    /// Whether its start tag was written.
    written: bool,
    dropped: bool,
}

impl<'p> Scan<'p> {
    fn text(&mut self, text: &str) {
        if self.dropping > 0 {
            return;
        }
        let mut from = 0;
        for at in memchr::memchr3_iter(b'&', b'\n', b'\r', text.as_bytes()) {
            self.pieces += 1;
            if self.pieces > PIECES_MAX || self.out.html.len() + at - from - self.stretch > STRETCH_BYTES_MAX
            {
                self.out.html.push_str(&text[from..at]);
                self.out.html.push_str("<wbr>");
                from = at;
                self.end_stretch();
            }
        }
        self.out.html.push_str(&text[from..]);
    }

    /// A tag was written: what follows is another text.
    fn end_stretch(&mut self) {
        self.pieces = 0;
        self.stretch = self.out.html.len();
    }

    /// A title is noted and not passed on: extractors remove headings that repeat it.
    fn raw(&mut self, name: &str, text: &str) {
        if name == "title" && self.dropping == 0 && self.out.title.is_empty() {
            self.out.title = text.chars().take(VALUE_BYTES_MAX).collect();
        }
    }

    fn start(&mut self, tag: &Tag<'p>) {
        self.note(tag);
        let void = VOID.iter().any(|void| tag.is(void));
        if !void && let Some(top) = self.open.last() {
            let same = top.name.eq_ignore_ascii_case(tag.name);
            if same && SELF_ENDING.iter().any(|name| tag.is(name)) {
                self.pop();
            }
        }
        let in_main = self.mains.last().is_some_and(|(_, end)| *end == usize::MAX);
        let dropped = DROPPED.iter().any(|name| tag.is(name))
            || (in_main && tag.is("footer"))
            || tag.is_control()
            || tag.is_hidden();
        let written = self.dropping == 0 && !dropped && self.open.len() < DEPTH_MAX && !tag.is("plaintext");
        if written {
            tag.write(&mut self.out.html);
            self.end_stretch();
            if tag.is("main") {
                self.mains.push((self.out.html.len(), usize::MAX));
            }
        } else if self.dropping == 0 {
            self.out.html.push(' ');
        }
        if !void {
            self.dropping += usize::from(dropped);
            self.open.push(Open { name: tag.name, written, dropped });
        }
    }

    fn end(&mut self, name: &str) {
        let matches = |open: &Open| open.name.eq_ignore_ascii_case(name);
        if let Some(up) = self.open.iter().rev().take(REACH).position(matches) {
            (0..=up).for_each(|_| self.pop());
        }
    }

    /// Ends the innermost element, in writing too, so that what the parser sees is nested as it was here.
    fn pop(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.dropping -= usize::from(open.dropped);
        if open.written && self.dropping == 0 {
            if open.name.eq_ignore_ascii_case("main")
                && let Some(main) = self.mains.last_mut()
            {
                main.1 = main.1.min(self.out.html.len());
            }
            self.out.html.push_str("</");
            self.out.html.push_str(open.name);
            self.out.html.push('>');
            self.end_stretch();
        }
    }

    /// A page with one `<main>` says itself where its content is.
    fn keep_main(&mut self) {
        if let [(start, end)] = self.mains[..] {
            self.out.has_main = true;
            self.out.html.truncate(end);
            self.out.html.drain(..start);
        }
    }

    /// Notes what the page says of itself.
    fn note(&mut self, tag: &Tag) {
        let out = &mut self.out;
        if tag.is("html") && out.language.is_empty() {
            out.language = tag.value("lang").or(tag.value("xml:lang")).unwrap_or_default().to_owned();
        } else if tag.is("link") && tag.value("rel").is_some_and(|rel| rel.eq_ignore_ascii_case("canonical"))
        {
            out.canonical = tag.value("href").unwrap_or_default().to_owned();
        } else if tag.is("meta")
            && tag.value("http-equiv").is_some_and(|value| value.eq_ignore_ascii_case("refresh"))
            && let Some(content) = tag.value("content")
        {
            out.refresh = refresh_target(content);
        }
    }
}

/// The target of `content="0; url=..."`, if the page goes there within a few seconds.
fn refresh_target(content: &str) -> Option<String> {
    const AT_ONCE_SECONDS: u32 = 5;
    let (seconds, target) = content.split_once([';', ','])?;
    let seconds: u32 = seconds.trim().split('.').next()?.parse().ok()?;
    let target = target.trim();
    let at = target.find('=').filter(|&at| target[..at].trim().eq_ignore_ascii_case("url"))?;
    let url = target[at + 1..].trim().trim_matches(['"', '\'']);
    (seconds <= AT_ONCE_SECONDS && !url.is_empty()).then(|| url.to_owned())
}

struct Tag<'p> {
    name: &'p str,
    attributes: Vec<(&'p str, &'p str)>,
    rest: &'p str,
}

impl<'p> Tag<'p> {
    /// Reads a tag from its name on; what never ends takes the rest of the page, as in browsers.
    fn read(page: &'p str) -> Self {
        let bytes = page.as_bytes();
        let mut at = bytes.iter().position(|&byte| ends_name(byte)).unwrap_or(bytes.len());
        let name = &page[..at];
        let mut attributes = Vec::new();
        loop {
            while bytes.get(at).is_some_and(|&byte| byte.is_ascii_whitespace() || byte == b'/') {
                at += 1;
            }
            match bytes.get(at) {
                None => return Self { name, attributes, rest: "" },
                Some(b'>') => return Self { name, attributes, rest: &page[at + 1..] },
                Some(_) => {}
            }
            let (attribute, next) = attribute(page, at);
            if attributes.len() < ATTRIBUTES_MAX {
                attributes.push(attribute);
            }
            at = next;
        }
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn value(&self, attribute: &str) -> Option<&'p str> {
        self.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, value)| *value)
    }

    fn is_control(&self) -> bool {
        let classes = self.value("class").unwrap_or_default().split_ascii_whitespace();
        let link = self.is("a");
        classes
            .take(ATTRIBUTES_MAX)
            .any(|class| CONTROLS.contains(&class) || (link && CONTROL_LINKS.contains(&class)))
    }

    /// Browsers do not show it.
    fn is_hidden(&self) -> bool {
        let hidden = self.value("hidden").is_some_and(|value| !value.eq_ignore_ascii_case("until-found"));
        let style = self.value("style").unwrap_or_default();
        hidden || (style.len() <= VALUE_BYTES_MAX && style.replace(' ', "").contains("display:none"))
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(self.name);
        // Extractors take headings of the class `header` for those of the site.
        let heading = matches!(self.name.as_bytes(), [b'h' | b'H', b'1'..=b'6']);
        let kept = |name: &str| !heading && KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept));
        for (name, value) in &self.attributes {
            if kept(name) && value.len() <= VALUE_BYTES_MAX {
                out.push(' ');
                out.push_str(name);
                out.push_str("=\"");
                out.push_str(&value.replace('"', "&quot;"));
                out.push('"');
            }
        }
        out.push('>');
    }
}

fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'>' || byte == b'/'
}

/// Reads `name`, `name=value` or `name="value"` at a position; gives the position behind it.
fn attribute(page: &str, start: usize) -> ((&str, &str), usize) {
    let bytes = page.as_bytes();
    let find = |from: usize, ends: &dyn Fn(u8) -> bool| {
        bytes[from..].iter().position(|&byte| ends(byte)).map_or(bytes.len(), |length| from + length)
    };
    // A name may begin with `=`, so the first byte is taken whatever it is.
    let first = page[start..].chars().next().map_or(1, char::len_utf8);
    let name_end = find(start + first, &|byte| ends_name(byte) || byte == b'=');
    let name = &page[start..name_end];
    let mut at = find(name_end, &|byte| !byte.is_ascii_whitespace());
    if bytes.get(at) != Some(&b'=') {
        return ((name, ""), name_end);
    }
    at = find(at + 1, &|byte| !byte.is_ascii_whitespace());
    match bytes.get(at) {
        Some(&quote @ (b'"' | b'\'')) => {
            let end = find(at + 1, &|byte| byte == quote);
            ((name, &page[at + 1..end]), (end + 1).min(bytes.len()))
        }
        _ => {
            let end = find(at, &|byte| byte.is_ascii_whitespace() || byte == b'>');
            ((name, &page[at..end]), end)
        }
    }
}

/// What follows a comment, doctype or processing instruction.
fn after_comment(page: &str) -> &str {
    let bytes = page.as_bytes();
    let end = match page.strip_prefix("<!--") {
        Some(_) => memchr::memmem::find(&bytes[2..], b"-->").map(|at| at + 5),
        None => memchr::memchr(b'>', bytes).map(|at| at + 1),
    };
    end.map_or("", |end| &page[end..])
}

/// Where the end tag of a raw element begins.
fn end_of_raw(page: &str, name: &str) -> usize {
    let bytes = page.as_bytes();
    memchr::memmem::find_iter(bytes, b"</")
        .find(|at| {
            let behind = &bytes[at + 2..];
            behind.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
                && behind.get(name.len()).is_none_or(|&byte| ends_name(byte))
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn html(page: &str) -> String {
        scan(page, 1000).unwrap().html
    }

    #[test]
    fn leaves_ordinary_markup_alone() {
        let page = r#"<p class="x">a &amp; <b>b</b></p><pre>  <code>x &lt; y
  z</code></pre>"#;
        assert_eq!(html(page), page);
    }

    #[test]
    fn drops_scripts_comments_navigation_and_controls() {
        let page =
            "a<script>if (a</b) {'<p>'}</script>b<!-- > --><nav><ul><li>x</ul></nav><a class=anchor>§</a>c";
        assert_eq!(html(page), "a b  c");
    }

    #[test]
    fn flattens_what_is_too_deep_and_keeps_its_text() {
        let page = format!("{}deep{}<p>after</p>", "<div>".repeat(50_000), "</div>".repeat(50_000));
        let found = scan(&page, 100_000).unwrap().html;
        assert_eq!(found.matches("<div>").count(), DEPTH_MAX);
        assert_eq!(found.matches("</div>").count(), DEPTH_MAX);
        assert!(found.contains("deep") && found.ends_with("<p>after</p>"));
    }

    #[test]
    fn keeps_what_the_page_calls_main() {
        assert_eq!(html("<p>site</p><main><p>text</p></main><p>help</p>"), "<p>text</p>");
        assert_eq!(html("<main>a</main><main>b</main>"), "<main>a</main><main>b</main>");
        assert_eq!(html("x<main>never ended"), "never ended");
        assert_eq!(
            html("<main>a<footer>b</footer><p hidden>c</p><p style='display: none'>d</p></main>"),
            "a   "
        );
    }

    #[test]
    fn refuses_too_many_nodes() {
        assert_eq!(scan(&"<i>".repeat(1001), 1000), Err(TooManyNodes));
    }

    #[test]
    fn breaks_texts_of_many_lines() {
        let found = html(&format!("<pre>{}</pre>", "x &amp; y\n".repeat(1000)));
        assert_eq!(found.matches("<wbr>").count(), 3);
        assert_eq!(found.replace("<wbr>", ""), format!("<pre>{}</pre>", "x &amp; y\n".repeat(1000)));
    }

    #[test]
    fn bounds_attributes() {
        let tag = format!("<p {}>x", (0..100_000).map(|n| format!("id{n}=1 ")).collect::<String>());
        assert_eq!(html(&tag), "<p>x");
    }

    #[test]
    fn notes_what_the_page_says_of_itself() {
        let page = r#"<html lang=de><title>A &amp; B</title><link rel=canonical href="/x">
            <meta http-equiv="Refresh" content="0; URL='other.html'">"#;
        let found = scan(page, 1000).unwrap();
        assert_eq!((found.language.as_str(), found.canonical.as_str()), ("de", "/x"));
        assert_eq!((found.refresh.as_deref(), found.title.as_str()), (Some("other.html"), "A &amp; B"));
    }

    #[test]
    fn xhtml_says_its_language_too() {
        assert_eq!(scan("<html xml:lang='fr'>", 9).unwrap().language, "fr");
    }

    #[test]
    fn a_slow_refresh_is_no_redirect() {
        assert_eq!(refresh_target("300"), None);
        assert_eq!(refresh_target("300; url=same.html"), None);
    }

    #[test]
    fn unfinished_markup_ends_quietly() {
        for page in ["<", "<p", "<p a=\"", "</", "<!--", "<script>x", "a < b", "<p =>", "<é>"] {
            scan(page, 10).unwrap();
        }
        assert_eq!(html("a < b"), "a &lt; b");
    }

    proptest! {
        #[test]
        fn never_panics(page in "[<>/!a-c =\"'é\u{0}-]{0,60}") {
            let _ = scan(&page, 20);
        }
    }
}
