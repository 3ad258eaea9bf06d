//! Parts of a page that its author did not write: controls that sites and documentation generators insert, hidden
//! elements, and icons.
//!
//! A class name may have any meaning on another site, so an ordinary word counts only on pages of the generator that
//! is known to use it for controls.

use super::tag::{Tag, VALUE_BYTES_MAX};

/// The generator of the page, if it names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Site {
    #[default]
    Other,
    Rustdoc,
    MediaWiki,
}

impl Site {
    /// Looks for a generator in a tag of the page.
    pub(super) fn note(&mut self, tag: &Tag) {
        let generator = match () {
            () if tag.is("body") => tag.value("class").unwrap_or_default(),
            () if tag.is("meta")
                && tag.value("name").is_some_and(|name| name.eq_ignore_ascii_case("generator")) =>
            {
                tag.value("content").unwrap_or_default()
            }
            () => return,
        };
        let mut words = generator.split_ascii_whitespace();
        if words.clone().any(|word| word == "rustdoc") {
            *self = Self::Rustdoc;
        } else if words.any(|word| word.eq_ignore_ascii_case("mediawiki")) {
            *self = Self::MediaWiki;
        }
    }
}

/// Classes of controls that no site uses for text: breadcrumbs, "[edit]" (MediaWiki), "Next" (DocBook), text for
/// screen readers, line numbers of code.
const CONTROLS: &[&str] = &[
    "breadcrumb",
    "breadcrumbs",
    "rustdoc-breadcrumbs",
    "mw-editsection",
    "navheader",
    "navfooter",
    "sr-only",
    "visually-hidden",
    "linenos",
    "linenodiv",
    "lineno",
    "rouge-gutter",
    "hljs-ln-numbers",
    "blob-num",
];
/// "Expand description", versions and "Source" on pages of rustdoc.
const CONTROLS_OF_RUSTDOC: &[&str] =
    &["hideme", "rightside", "since", "src", "srclink", "anchor", "doc-anchor", "tooltip"];
/// Contents and messages on pages of MediaWiki.
const CONTROLS_OF_MEDIAWIKI: &[&str] = &["toc", "noprint"];
/// Classes of links that are permanent links if they contain no word.
const SIGN_LINKS: &[&str] = &[
    "anchor",
    "doc-anchor",
    "headerlink",
    "tooltip",
    "hash-link",
    "header-anchor",
    "permalink",
    "heading-link",
    "anchorjs-link",
];

/// Whether an element is a control.
pub(super) fn is_control(tag: &Tag, site: Site) -> bool {
    let of_site = match site {
        Site::Other => &[][..],
        Site::Rustdoc => CONTROLS_OF_RUSTDOC,
        Site::MediaWiki => CONTROLS_OF_MEDIAWIKI,
    };
    let link = tag.is("a");
    tag.classes().any(|class| {
        CONTROLS.contains(&class)
            || of_site.contains(&class)
            || (link && SIGN_LINKS.contains(&class) && holds_no_word(tag.rest))
    })
}

/// Whether a link contains only signs, such as `§`, `¶` or a picture.
fn holds_no_word(rest: &str) -> bool {
    const REACH: usize = 512;
    find(rest, "</a", REACH).is_some_and(|end| !has_word(&rest[..end]))
}

/// Whether there is a letter or digit outside of tags and references.
pub(super) fn has_word(markup: &str) -> bool {
    let mut rest = markup;
    while let Some(at) = rest.find(['<', '&']) {
        if rest[..at].contains(char::is_alphanumeric) {
            return true;
        }
        let sign = if rest.as_bytes()[at] == b'<' { '>' } else { ';' };
        rest = rest[at..].split_once(sign).map_or("", |(_, behind)| behind);
    }
    rest.contains(char::is_alphanumeric)
}

/// Whether no word follows a button in the surrounding heading or list item; `rest` begins within the button.
pub(super) fn is_last_in(container: &str, rest: &str) -> bool {
    const REACH: usize = 4096;
    let button = find(rest, "</button", REACH).and_then(|at| rest[at..].split_once('>'));
    let Some((_, behind)) = button else { return false };
    let own_end = format!("</{}", container.to_ascii_lowercase());
    // The end tag of an item may be omitted.
    let ends: &[&str] = if own_end == "</li" { &["</li", "<li", "</ul", "</ol"] } else { &[&own_end] };
    let end = ends.iter().filter_map(|end| find(behind, end, REACH)).min();
    match end {
        Some(end) => !has_word(&behind[..end]),
        None => behind.len() <= REACH && !has_word(behind),
    }
}

/// Finds an end tag within a number of bytes.
fn find(text: &str, tag: &str, reach: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[..text.len().min(reach)];
    memchr::memmem::find(bytes, tag.as_bytes())
        .or_else(|| memchr::memmem::find(bytes, tag.to_ascii_uppercase().as_bytes()))
}

/// Whether browsers hide an element.
pub(super) fn is_hidden(tag: &Tag) -> bool {
    let hidden = tag.value("hidden").is_some_and(|value| !value.eq_ignore_ascii_case("until-found"));
    let style = tag.value("style").unwrap_or_default();
    hidden
        || (style.len() <= VALUE_BYTES_MAX
            && style.split(';').filter_map(|rule| rule.split_once(':')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("display")
                    && value.trim().get(..4).is_some_and(|value| value.eq_ignore_ascii_case("none"))
            }))
}

/// Whether the alternative text of an image is a sign, such as an emoji.
pub(super) fn is_sign(text: &str) -> bool {
    const CHARACTERS_MAX: usize = 8;
    text.chars().count() <= CHARACTERS_MAX
        && text.chars().all(|c| !c.is_ascii() && !c.is_alphanumeric() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(page: &str, site: Site) -> bool {
        is_control(&Tag::read(&page[1..]), site)
    }

    #[test]
    fn ordinary_words_are_controls_only_on_the_sites_that_mean_them_so() {
        for class in ["since", "hideme", "rightside", "src"] {
            let page = format!("<span class=\"x {class}\">Since 1990 we bake bread.");
            assert!(!control(&page, Site::Other) && control(&page, Site::Rustdoc), "{class}");
        }
        for class in ["toc", "noprint"] {
            let page = format!("<div class=\"{class}\">Read this on the screen.");
            assert!(!control(&page, Site::Other) && control(&page, Site::MediaWiki), "{class}");
        }
    }

    #[test]
    fn permanent_links_hold_no_word() {
        assert!(control("<a class=headerlink href=#x>&para;</a>", Site::Other));
        assert!(control("<a class=\"anchor\"><svg><path/></svg></a>", Site::Other));
        assert!(!control("<a class=anchor name=x>The harbour</a>", Site::Other));
        assert!(!control("<a class=tooltip>word <span>never closed", Site::Other));
    }

    #[test]
    fn pages_name_their_generator() {
        let site = |page: &str| {
            let mut site = Site::default();
            site.note(&Tag::read(&page[1..]));
            site
        };
        assert_eq!(site("<body class=\"rustdoc mod\">"), Site::Rustdoc);
        assert_eq!(site("<meta name=generator content=\"MediaWiki 1.43\">"), Site::MediaWiki);
        assert_eq!(site("<body class=\"mediawiki ltr\">"), Site::MediaWiki);
        assert_eq!(site("<meta name=generator content=WordPress>"), Site::Other);
    }

    #[test]
    fn styles_are_read_by_property() {
        let hidden = |style: &str| is_hidden(&Tag::read(&format!("p style=\"{style}\">")));
        assert!(hidden("display: none") && hidden("color:red;DISPLAY:none !important"));
        assert!(!hidden("display:block") && !hidden("--x: display:none") && !hidden(""));
    }
}
