//! Which elements are what to the scan.

use super::super::tag::Tag;

/// Elements whose content is no prose: dropped as a whole.
pub(super) const DROPPED: &[&str] = &[
    "noscript", "template", "svg", "object", "canvas", "nav", "button", "select", "audio", "video",
    "frameset", "datalist", "rp",
];
/// Elements whose content is not markup, up to their own end tag.
pub(super) const RAW: &[&str] =
    &["script", "style", "iframe", "textarea", "noembed", "noframes", "xmp", "title", "plaintext"];
pub(super) const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "frame", "keygen",
];
/// Elements about the page that are noted and not passed on.
pub(super) const NOTED: &[&str] = &["link", "meta", "base"];
/// Elements that an equal one beside them ends.
pub(super) const SELF_ENDING: &[&str] =
    &["p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "rt", "rp"];
/// Elements whose text may be a button, as headings of an accordion are.
pub(super) const TITLES: &[&str] =
    &["h1", "h2", "h3", "h4", "h5", "h6", "summary", "dt", "legend", "caption"];
/// Elements whose content is HTML again, within SVG and MathML.
pub(super) const INTEGRATION_POINTS: &[&str] =
    &["foreignobject", "desc", "title", "mi", "mo", "mn", "ms", "mtext", "annotation-xml"];
/// Parts of tables. Extractors may turn them into `<div>`; the attribute [`TABLE_PART`] says what they were.
pub(super) const TABLE_PARTS: &[&str] = &["table", "thead", "tbody", "tfoot", "tr"];
/// Attribute that names a part of a table.
pub(in super::super) const TABLE_PART: &str = "data-pipe-part";
/// Attributes that extraction looks at. Those that name authors and dates would have it remove them.
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
    "summary",
];

/// Elements in which white space counts.
pub(super) const VERBATIM: &[&str] = &["pre", "listing"];

/// Whether a tag is HTML's wherever it stands: SVG and MathML end before it.
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
