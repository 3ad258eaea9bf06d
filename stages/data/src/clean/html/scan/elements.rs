//! Which elements are what to the scan.

use super::super::tag::Tag;

/// Elements whose content is not prose; dropped completely.
pub(super) const DROPPED: &[&str] = &[
    "noscript", "template", "svg", "object", "canvas", "nav", "button", "select", "audio", "video",
    "frameset", "datalist", "rp",
];
/// Elements whose content is not markup, up to their end tag.
pub(super) const RAW: &[&str] =
    &["script", "style", "iframe", "textarea", "noembed", "noframes", "xmp", "title", "plaintext"];
pub(super) const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "frame", "keygen",
];
/// Elements about the page; they are recorded and dropped.
pub(super) const NOTED: &[&str] = &["link", "meta", "base"];
/// Elements that end when an equal one follows.
pub(super) const SELF_ENDING: &[&str] =
    &["p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "rt", "rp"];
/// Elements whose text may be a button, such as headings of an accordion.
pub(super) const TITLES: &[&str] =
    &["h1", "h2", "h3", "h4", "h5", "h6", "summary", "dt", "legend", "caption"];
/// Elements within SVG and MathML whose content is HTML.
pub(super) const INTEGRATION_POINTS: &[&str] =
    &["foreignobject", "desc", "title", "mi", "mo", "mn", "ms", "mtext", "annotation-xml"];
/// Elements that extractors may rename: parts of tables to `<div>`, `<h1>` to `<h2>`. The attribute [`ORIGINAL_NAME`]
/// keeps the original name.
pub(super) const RENAMED: &[&str] = &["table", "thead", "tbody", "tfoot", "tr", "h1"];
/// Attribute with the original name of a table part.
pub(in super::super) const ORIGINAL_NAME: &str = "data-pipe-part";
/// Attributes that extraction uses. Those that mark authors and dates would cause their removal.
pub(super) const KEPT: &[&str] = &[
    "id",
    "class",
    "href",
    "lang",
    "role",
    "hidden",
    "aria-hidden",
    "style",
    "start",
    "value",
    "type",
    "colspan",
    "rowspan",
    "reversed",
    "summary",
];

/// Elements whose names say nothing about the page, only about the text in them, as do those of headings and of pieces of
/// code: extractors would take the option `--header` for the header of the site, and drop it.
pub(super) const NAMELESS: &[&str] = &[
    "p", "li", "td", "th", "dt", "dd", "b", "i", "em", "strong", "u", "var", "dfn", "cite", "mark", "small",
    "sub", "sup", "tt", "kbd", "samp",
];

/// Elements in which white space is significant.
pub(super) const VERBATIM: &[&str] = &["pre", "listing"];

/// Whether a tag is always HTML: it ends SVG and MathML before it.
pub(in super::super) fn is_html_only(tag: &Tag) -> bool {
    const NAMES: &[&str] = &[
        "b",
        "big",
        "blockquote",
        "body",
        "br",
        "center",
        "code",
        "dd",
        "div",
        "dl",
        "dt",
        "em",
        "embed",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "hr",
        "i",
        "img",
        "li",
        "listing",
        "menu",
        "meta",
        "nobr",
        "ol",
        "p",
        "pre",
        "ruby",
        "s",
        "small",
        "span",
        "strong",
        "strike",
        "sub",
        "sup",
        "table",
        "tt",
        "u",
        "ul",
        "var",
    ];
    let of_font = || ["color", "face", "size"].iter().any(|name| tag.value(name).is_some());
    tag.is_one_of(NAMES) || (tag.is("font") && of_font())
}
