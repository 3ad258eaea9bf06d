//! One pass over the raw markup before any parser sees it. It bounds what makes parsers slow (depth, number of nodes,
//! attributes), drops what is never text, and records what the page declares about itself.
//!
//! HTML parsers and extractors take quadratic time in nesting depth (minutes for 50,000 open `<div>`), in the lines
//! and references of one text (a minute for a log of 10 MB) and in the attributes of one tag. Tags below
//! [`DEPTH_MAX`] are dropped; their text is kept.
//!
//! Tags, comments, scripts and foreign content (SVG, MathML) begin and end as in the HTML standard, so that text and
//! markup are distinguished as in browsers.

mod elements;

use super::blocks::LINKS_REMOVED;
use super::controls::{
    Site, has_word, is_control, is_furniture, is_hidden, is_last_in, is_permanent_link, is_sign,
};
use super::math::{self, Formula};
use super::tag::{Tag, VALUE_BYTES_MAX, after_comment, cdata, end_of_raw};
use elements::{
    DROPPED, INTEGRATION_POINTS, KEPT, NAMELESS, NOTED, RAW, RENAMED, SELF_ENDING, TITLES, VERBATIM, VOID,
};
pub(super) use elements::{ORIGINAL_NAME, is_html_only};
use std::ops::Range;

/// Maximum nesting depth; ordinary pages stay below it.
const DEPTH_MAX: usize = 256;
/// Number of open elements that an end tag is compared with, which bounds the work on tags that were never opened.
const REACH: usize = 512;

/// Number of lines and character references of one text, and its bytes, after which it is broken by `<wbr>`, which
/// has no meaning: parsers append each of them by copying the text before it.
const PIECES_MAX: usize = 512;
const STRETCH_BYTES_MAX: usize = 64 << 10;

/// Minimum share of the page's text outside of links in `<main>` for it to count as the content. Pages filled by
/// scripts, or with only a search box in `<main>`, have less.
const MAIN_SHARE_MIN: f64 = 0.25;

/// The result of the scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The bounded and cleaned markup; empty if it was not requested.
    pub(super) html: String,
    /// `lang` of the root element.
    pub(super) language: String,
    /// Target of `<link rel="canonical">`.
    pub(super) canonical: String,
    /// Target of an immediate `<meta http-equiv="refresh">`.
    pub(super) refresh: Option<String>,
    /// Content of `<title>`, with unresolved entities.
    pub(super) title: String,
    /// Parts of the markup that belong to the site: its header, footer, navigation, notices. Some pages use their names for
    /// other things.
    pub(super) furniture: Vec<Range<usize>>,
    /// Bytes of their text outside of links.
    pub(super) furniture_plain: usize,
    /// Whether the page has one `<main>` with a sufficient part of its text; `html` is then its content.
    pub(super) has_main: bool,
}

/// More start tags, and signs that look like one, than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyNodes;

/// Whether the cleaned markup is wanted, or only what the page declares about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Markup,
    Facts,
}

/// Scans a page in linear time.
pub(super) fn scan(page: &str, nodes_max: usize, wanted: Wanted) -> Result<Scanned, TooManyNodes> {
    let mut scan = Scan::new(page, wanted);
    let mut rest = page;
    let mut nodes = 0;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        scan.text(&rest[..at]);
        rest = &rest[at..];
        match rest.as_bytes().get(1) {
            Some(b'/') if rest.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) => {
                let tag = Tag::read(&rest[2..]);
                scan.end(tag.name);
                rest = tag.rest;
            }
            Some(b'!' | b'?' | b'/') => {
                let section = if scan.in_foreign_content() { cdata(rest) } else { None };
                rest = match section {
                    Some((text, behind)) => {
                        scan.text(&escaped(text));
                        behind
                    }
                    None => after_comment(rest),
                };
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let tag = Tag::read(&rest[1..]);
                let read = scan.element(&tag);
                rest = read.rest;
                nodes += read.tags;
            }
            _ => {
                // A `<` that begins no tag costs the parser as much as one that does.
                nodes += 1;
                scan.text("&lt;");
                rest = &rest[1..];
            }
        }
        if nodes > nodes_max {
            return Err(TooManyNodes);
        }
    }
    scan.text(rest);
    scan.keep_main();
    Ok(scan.out)
}

struct Scan<'p> {
    out: Scanned,
    wanted: Wanted,
    site: Site,
    /// Whether the page has TeX formulas in scripts; the output of MathJax is then dropped.
    has_tex_scripts: bool,
    open: Vec<Open<'p>>,
    /// Number of open elements that are dropped with their content.
    dropping: usize,
    /// Number of open elements in which white space is significant.
    verbatim: usize,
    /// Number of open links, and bytes of text outside of them.
    links: usize,
    plain: usize,
    mains: Vec<Main>,
    /// Start of the current text in the output, and its lines and references.
    stretch: usize,
    pieces: usize,
    /// The last formula written, and where it ended.
    formula: (String, usize),
    /// Whether the open KaTeX formula includes MathML.
    has_mathml: bool,
}

struct Open<'p> {
    name: &'p str,
    /// Whether its start tag was written.
    written: bool,
    dropped: bool,
    /// Whether its children are SVG or MathML.
    foreign: bool,
    /// Whether it contains a formula twice, once hidden.
    holds_formula: bool,
    /// Where its start tag is in the output, and the bytes of text outside of links before it, if it belongs to the site.
    furniture: Option<(usize, usize)>,
    /// Start of its content in the output.
    at: usize,
}

/// Start and end of a `<main>` in the output, and the bytes of its text outside of links.
struct Main {
    start: usize,
    end: Option<usize>,
    plain: usize,
}

/// What follows an element's start tag, and the number of tags read.
struct Read<'p> {
    rest: &'p str,
    tags: usize,
}

impl<'p> Scan<'p> {
    fn new(page: &'p str, wanted: Wanted) -> Self {
        let mut out = Scanned::default();
        if wanted == Wanted::Markup {
            out.html.reserve(page.len());
        }
        Self {
            out,
            wanted,
            site: Site::default(),
            has_tex_scripts: memchr::memmem::find(page.as_bytes(), b"math/tex").is_some(),
            open: Vec::new(),
            dropping: 0,
            verbatim: 0,
            links: 0,
            plain: 0,
            mains: Vec::new(),
            stretch: 0,
            pieces: 0,
            formula: (String::new(), 0),
            has_mathml: false,
        }
    }

    fn put(&mut self, markup: &str) {
        if self.wanted == Wanted::Markup {
            self.out.html.push_str(markup);
        }
    }

    fn text(&mut self, text: &str) {
        if self.dropping > 0 || text.is_empty() {
            return;
        }
        if self.links == 0 {
            self.plain += text.trim_ascii().len();
        }
        if self.wanted == Wanted::Facts {
            return;
        }
        let mut from = 0;
        for at in memchr::memchr3_iter(b'&', b'\n', b'\r', text.as_bytes()) {
            self.pieces += 1;
            if self.pieces > PIECES_MAX || self.out.html.len() + at - from - self.stretch > STRETCH_BYTES_MAX
            {
                self.put(&text[from..at]);
                self.put("<wbr>");
                from = at;
                self.end_stretch();
            }
        }
        self.put(&text[from..]);
    }

    /// Called when a tag is written: a new text begins.
    fn end_stretch(&mut self) {
        self.pieces = 0;
        self.stretch = self.out.html.len();
    }

    fn in_foreign_content(&self) -> bool {
        self.open.last().is_some_and(|open| open.foreign)
    }

    /// Handles an element's start tag, and the whole element if it contains no markup.
    fn element(&mut self, tag: &Tag<'p>) -> Read<'p> {
        let mut read = Read { rest: tag.rest, tags: 1 };
        if self.in_foreign_content() && is_html_only(tag) {
            while self.in_foreign_content() {
                self.pop();
            }
        }
        if self.in_foreign_content() {
            self.start(tag);
        } else if tag.is("math") && self.dropping == 0 {
            let (formula, rest, tags) = math::read(tag);
            self.formula(&formula);
            read = Read { rest, tags: tags + 1 };
        } else if let Some(raw) = RAW.iter().find(|raw| tag.is(raw)) {
            let end = if *raw == "plaintext" { tag.rest.len() } else { end_of_raw(tag.rest, raw) };
            self.raw(raw, tag, &tag.rest[..end]);
            read.rest = if end < tag.rest.len() { Tag::read(&tag.rest[end + 2..]).rest } else { "" };
        } else {
            self.start(tag);
            if tag.is("img") && self.dropping == 0 {
                self.image(tag);
            }
        }
        read
    }

    /// Titles are recorded and dropped, since extractors remove headings that repeat them.
    fn raw(&mut self, name: &str, tag: &Tag, text: &str) {
        if self.dropping > 0 {
            return;
        }
        let kind = tag.value("type").unwrap_or_default();
        match name {
            "title" if self.out.title.is_empty() => {
                self.out.title = text.chars().take(VALUE_BYTES_MAX).collect();
            }
            "script" if kind.starts_with("math/tex") => {
                let tex = text.trim().trim_start_matches("% <![CDATA[").trim_end_matches("%]]>");
                self.formula(&Formula::of_tex(&escaped(tex), kind.contains("display")));
            }
            "xmp" | "plaintext" => {
                self.put("<pre>");
                self.end_stretch();
                self.text(&escaped(text));
                self.put("</pre>");
                self.end_stretch();
            }
            _ => self.gap(' '),
        }
    }

    /// Something was dropped: keep the words around it apart, and code unchanged.
    fn gap(&mut self, space: char) {
        if self.dropping == 0 && self.verbatim == 0 {
            self.put(space.encode_utf8(&mut [0; 4]));
        }
    }

    fn formula(&mut self, formula: &Formula) {
        if self.wanted == Wanted::Facts {
            return;
        }
        if !formula.is_tex && self.out.html.ends_with(char::is_alphanumeric) {
            self.put(" ");
        }
        self.text(&formula.shown());
        self.formula = (formula.text.clone(), self.out.html.len());
    }

    /// Whether the same formula was just written, followed only by tags.
    fn is_written(&mut self, formula: &Formula) -> bool {
        let (last, end) = &mut self.formula;
        if *last != formula.text {
            return false;
        }
        let mut between = &self.out.html[*end..];
        *end = self.out.html.len();
        while let Some((text, behind)) = between.split_once('<') {
            if !text.trim_ascii().is_empty() {
                return false;
            }
            between = behind.split_once('>').map_or("", |(_, behind)| behind);
        }
        between.trim_ascii().is_empty()
    }

    /// Images in place of text: formulas, and signs such as emoji.
    fn image(&mut self, tag: &Tag) {
        const CLASSES: [&str; 5] = ["mwe-math-fallback", "latex", "tex", "math", "ee_img"];
        const SOURCES: [&str; 6] =
            ["/math/render", "latex.codecogs", "latex.php", "mathtex", "mimetex", "/latex/"];
        let alt = tag.value("alt").unwrap_or_default().trim();
        if alt.is_empty() || alt.len() > VALUE_BYTES_MAX {
            return;
        }
        let source = tag.value("src").unwrap_or_default();
        let of_class = |class: &str| {
            let class = class.to_ascii_lowercase();
            CLASSES
                .iter()
                .any(|wanted| class == *wanted || (*wanted == CLASSES[0] && class.starts_with(wanted)))
        };
        let in_tex = ["$", "\\(", "\\[", "{\\displaystyle"].iter().any(|start| alt.starts_with(start));
        if in_tex || tag.classes().any(of_class) || SOURCES.iter().any(|part| source.contains(part)) {
            let block = tag.classes().any(|class| class.contains("display"));
            let formula = Formula::of_tex(alt, block);
            // If the formula of an image is also there as MathML, write it once.
            if !self.is_written(&formula) {
                self.formula(&formula);
            }
        } else if is_sign(alt) {
            self.text(alt);
        }
    }

    fn start(&mut self, tag: &Tag<'p>) {
        if self.dropping == 0 {
            self.note(tag);
        }
        let foreign = self.in_foreign_content();
        let begins_foreign = !foreign && tag.is_one_of(&["svg", "math"]);
        let void = if foreign || begins_foreign { tag.self_closing } else { tag.is_one_of(VOID) };
        if !void
            && !foreign
            && let Some(top) = self.open.last()
        {
            let same = top.name.eq_ignore_ascii_case(tag.name);
            if same && tag.is_one_of(SELF_ENDING) {
                self.pop();
            }
        }
        let holds_formula = tag.classes().any(|class| class == "mwe-math-element");
        let transparent = !foreign && tag.is("button") && self.is_content(tag);
        let dropped = !transparent && self.is_dropped(tag);
        let kept = self.dropping == 0 && !dropped && !transparent;
        let written = kept && !tag.is_one_of(NOTED) && self.open.len() < DEPTH_MAX;
        let furniture = written && !void && self.is_furniture(tag);
        let furniture = furniture.then_some((self.out.html.len(), self.plain));
        if written {
            self.write(tag);
            if tag.is("main") {
                self.mains.push(Main { start: self.out.html.len(), end: None, plain: self.plain });
            }
        } else if !transparent && !tag.is_one_of(NOTED) && !tag.is("rp") {
            let links = self.dropping == 0 && dropped && (tag.is("nav") || is_control(tag, self.site));
            self.gap(if links { LINKS_REMOVED } else { ' ' });
        }
        if !void {
            self.dropping += usize::from(dropped);
            self.verbatim += usize::from(tag.is_one_of(VERBATIM));
            self.links += usize::from(tag.is("a"));
            let foreign = begins_foreign || (foreign && !tag.is_one_of(INTEGRATION_POINTS));
            let at = self.out.html.len();
            self.open.push(Open { name: tag.name, written, dropped, foreign, holds_formula, furniture, at });
        }
    }

    /// Whether a button holds all the text of the heading or list item around it.
    fn is_content(&self, tag: &Tag) -> bool {
        const NEAR: usize = 8;
        const BEFORE_BYTES_MAX: usize = 1024;
        let titles = |open: &&Open| TITLES.iter().any(|name| open.name.eq_ignore_ascii_case(name));
        let item = self.open.last().filter(|open| open.name.eq_ignore_ascii_case("li"));
        self.open.iter().rev().take(NEAR).find(titles).or(item).is_some_and(|container| {
            self.out.html.len().saturating_sub(container.at) <= BEFORE_BYTES_MAX
                && !has_word(&self.out.html[container.at..])
                && is_last_in(container.name, tag.rest)
        })
    }

    /// Whether an element belongs to the site, and is in no other that does.
    fn is_furniture(&self, tag: &Tag) -> bool {
        self.wanted == Wanted::Markup
            && is_furniture(tag, self.open.last().map_or("", |parent| parent.name))
            && self.open.iter().all(|open| open.furniture.is_none())
    }

    fn is_dropped(&mut self, tag: &Tag) -> bool {
        let in_main = self.mains.last().is_some_and(|main| main.end.is_none());
        let formula_twice = self.is_formula_again(tag);
        let parent_holds_formula = self.open.last().is_some_and(|open| open.holds_formula);
        tag.is_one_of(DROPPED)
            || (in_main && tag.is("footer"))
            || formula_twice
            || is_control(tag, self.site)
            || is_permanent_link(tag)
            || (is_hidden(tag) && !parent_holds_formula)
    }

    /// Whether an element is the rendering of KaTeX or MathJax of a formula whose source is also there.
    fn is_formula_again(&mut self, tag: &Tag) -> bool {
        let mut again = false;
        for class in tag.classes() {
            match class {
                "katex" => self.has_mathml = false,
                "katex-mathml" => self.has_mathml = true,
                "katex-html" => again |= self.has_mathml,
                "MathJax"
                | "MathJax_Display"
                | "MathJax_Preview"
                | "MathJax_SVG"
                | "MathJax_SVG_Display"
                | "MathJax_CHTML"
                | "MJXc-display" => again |= self.has_tex_scripts,
                _ => {}
            }
        }
        again
    }

    fn write(&mut self, tag: &Tag) {
        if self.wanted == Wanted::Facts {
            return;
        }
        let out = &mut self.out.html;
        out.push('<');
        out.push_str(tag.name);
        if tag.is_one_of(RENAMED) {
            out.push_str(&format!(" {ORIGINAL_NAME}=\"{}\"", tag.name.to_ascii_lowercase()));
        }
        let heading = matches!(tag.name.as_bytes(), [b'h' | b'H', b'1'..=b'6']);
        let nameless = |name: &str| {
            ["id", "class"].iter().any(|of_names| name.eq_ignore_ascii_case(of_names))
                && (tag.is_one_of(NAMELESS) || (self.verbatim > 0 && tag.is("span")))
        };
        let kept = |name: &str| !heading && KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept));
        for (name, value) in &tag.attributes {
            if kept(name) && !nameless(name) && value.len() <= VALUE_BYTES_MAX {
                out.push(' ');
                out.push_str(name);
                out.push_str("=\"");
                out.push_str(&value.replace('"', "&quot;"));
                out.push('"');
            }
        }
        out.push('>');
        self.end_stretch();
    }

    fn end(&mut self, name: &str) {
        let matches = |open: &Open| open.name.eq_ignore_ascii_case(name);
        if let Some(up) = self.open.iter().rev().take(REACH).position(matches) {
            (0..=up).for_each(|_| self.pop());
        }
    }

    /// Ends the innermost element, also in the output, so that the parser sees the same nesting.
    fn pop(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let is = |names: &[&str]| names.iter().any(|name| open.name.eq_ignore_ascii_case(name));
        self.dropping -= usize::from(open.dropped);
        self.verbatim -= usize::from(is(VERBATIM));
        self.links -= usize::from(is(&["a"]));
        if open.written && self.dropping == 0 {
            if is(&["main"])
                && let Some(main) = self.mains.last_mut().filter(|main| main.end.is_none())
            {
                main.end = Some(self.out.html.len());
                main.plain = self.plain - main.plain;
            }
            self.put("</");
            self.put(open.name);
            self.put(">");
            self.end_stretch();
            if let Some((start, plain)) = open.furniture {
                self.out.furniture.push(start..self.out.html.len());
                self.out.furniture_plain += self.plain - plain;
            }
        }
    }

    /// Keeps only `<main>`, if there is one with a sufficient part of the page's text.
    fn keep_main(&mut self) {
        if let [Main { start, end, plain }] = self.mains[..] {
            let plain = if end.is_some() { plain } else { self.plain - plain };
            if plain as f64 >= MAIN_SHARE_MIN * self.plain as f64 {
                self.out.has_main = true;
                self.out.furniture.clear();
                self.out.html.truncate(end.unwrap_or(usize::MAX));
                self.out.html.drain(..start);
            }
        }
    }

    /// Records what the page declares about itself.
    fn note(&mut self, tag: &Tag) {
        self.site.note(tag);
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

/// Text with escaped special characters.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The target of `content="0; url=..."`, if the delay is at most a few seconds.
fn refresh_target(content: &str) -> Option<String> {
    const AT_ONCE_SECONDS: u32 = 5;
    let (seconds, target) = content.split_once([';', ','])?;
    let seconds: u32 = seconds.trim().split('.').next()?.parse().ok()?;
    let target = target.trim();
    let at = target.find('=').filter(|&at| target[..at].trim().eq_ignore_ascii_case("url"))?;
    let url = target[at + 1..].trim().trim_matches(['"', '\'']);
    (seconds <= AT_ONCE_SECONDS && !url.is_empty()).then(|| url.to_owned())
}

#[cfg(test)]
mod tests;
