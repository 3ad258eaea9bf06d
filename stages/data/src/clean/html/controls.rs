//! Parts of a page that its author did not write: controls that sites and documentation generators insert, hidden
//! elements, and icons.
//!
//! A class name may have any meaning on another site, so an ordinary word counts only on pages of the generator that
//! is known to use it for controls.

use super::events;
use super::nested::NAMED;
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
/// Links on pages of rustdoc from the first sentence of a documentation to its rest.
const READ_MORE: &str = "Read more</a>";
/// Classes of links that are permanent links if they show only the mark of one.
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
    tag.classes().any(|class| CONTROLS.contains(&class) || of_site.contains(&class))
        || (site == Site::Rustdoc && tag.is("a") && tag.rest.starts_with(READ_MORE))
}

/// Whether an element is a link to itself, beside a heading or a term; one that holds them is text.
pub(super) fn is_permanent_link(tag: &Tag) -> bool {
    const REACH: usize = 512;
    tag.is("a")
        && tag.classes().any(|class| SIGN_LINKS.contains(&class))
        && find(tag.rest, "</a", REACH).is_some_and(|end| characters(&tag.rest[..end]).all(is_mark))
}

/// What permanent links show: `¶`, `§`, `#`, a picture (also as a character), or nothing.
fn is_mark(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '#' | '§' | '¶' | '∞' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
        // Symbols and their variants, and characters of icon fonts.
        || matches!(c, '\u{2600}'..='\u{27bf}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}' | '\u{e000}'..='\u{f8ff}')
}

/// Whether there is a letter or digit outside of tags.
pub(super) fn has_word(markup: &str) -> bool {
    characters(markup).any(char::is_alphanumeric)
}

/// The characters of markup outside of its tags.
fn characters(markup: &str) -> impl Iterator<Item = char> {
    let mut rest = markup;
    std::iter::from_fn(move || {
        while rest.starts_with('<') {
            rest = rest.split_once('>').map_or("", |(_, behind)| behind);
        }
        let c = rest.chars().next()?;
        let (length, c) = if c == '&' { reference(rest) } else { (c.len_utf8(), c) };
        rest = &rest[length..];
        Some(c)
    })
}

/// The length and the character of a reference, or of an ampersand that begins none. Names that are not common are those of
/// letters.
fn reference(text: &str) -> (usize, char) {
    const INVISIBLE: [(&str, char); 4] =
        [("num;", '#'), ("ZeroWidthSpace;", '\u{200b}'), ("zwj;", '\u{200d}'), ("zwnj;", '\u{200c}')];
    const NAME_BYTES_MAX: usize = 32;
    let name = &text[1..];
    let known = events::reference(text).or_else(|| {
        let known = NAMED.iter().chain(&INVISIBLE);
        let of_name = known.filter_map(|(known, c)| {
            let bare = known.trim_end_matches(';');
            name.starts_with(bare).then_some((1 + bare.len(), *c))
        });
        of_name
            .map(|(length, c)| (length + usize::from(text[length..].starts_with(';')), c))
            .find(|(length, _)| !text[*length..].starts_with(|c: char| c.is_ascii_alphanumeric()))
    });
    let unknown = || {
        let length = name.bytes().take(NAME_BYTES_MAX).take_while(u8::is_ascii_alphanumeric).count();
        (length > 0 && name[length..].starts_with(';')).then_some((length + 2, 'x'))
    };
    known.or_else(unknown).unwrap_or((1, '&'))
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

/// Whether an element is a part of the site by its role or name: header, footer, navigation, notices about cookies.
pub(super) fn is_furniture(tag: &Tag, parent: &str) -> bool {
    const PARTS: &[&str] = &["div", "section", "aside", "header", "footer", "ul", "form"];
    const ROLES: [&str; 5] = ["navigation", "complementary", "banner", "contentinfo", "search"];
    const NAMES: [&str; 8] =
        ["header", "footer", "nav", "sidebar", "masthead", "cookies", "site-header", "site-footer"];
    const NAMES_BEGIN: [&str; 7] = ["nav-", "nav_", "navbar", "navig", "cookie-", "cookie_", "breadcrumb"];
    if !tag.is_one_of(PARTS) {
        return false;
    }
    let is_name = |name: &str| {
        NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
            || NAMES_BEGIN
                .iter()
                .any(|start| name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)))
    };
    (tag.is_one_of(&["header", "footer"]) && parent.eq_ignore_ascii_case("body"))
        || tag.value("role").is_some_and(|role| ROLES.contains(&role.trim()))
        || tag.value("id").is_some_and(is_name)
        || tag.classes().any(is_name)
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
        let tag = Tag::read(&page[1..]);
        is_control(&tag, site) || is_permanent_link(&tag)
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
    fn signs_and_references_in_links_are_text() {
        for sign in [
            "?",
            "/",
            "!",
            "[ ]",
            "--",
            "&amp;",
            "&#x41E;&#1087;",
            "&Eacute;&eacute;",
            "&eacute;",
            "&unknown;",
        ] {
            for class in ["permalink", "header-anchor", "anchor"] {
                assert!(
                    !control(&format!("<a class={class} href=#x><b>{sign}</b></a>"), Site::Other),
                    "{sign}"
                );
            }
        }
        for mark in [
            "¶",
            "&para;",
            "&para",
            "&#182;",
            "&#xB6;",
            "&sect;",
            " # ",
            "&num;",
            "&ZeroWidthSpace;",
            "🔗",
            "\u{f0c1}",
            "",
        ] {
            assert!(control(&format!("<a class=permalink href=#x>{mark}</a>"), Site::Other), "{mark}");
        }
        assert!(has_word("<b>&#x4E2D;</b>") && has_word("R&D;") && !has_word("&nbsp;&#160;<i a=b>&;"));
    }

    #[test]
    fn rustdoc_links_to_the_rest_of_a_documentation() {
        let link = "<a href=\"x.html#method.y\">Read more</a></div>";
        assert!(control(link, Site::Rustdoc) && !control(link, Site::Other));
        assert!(!control("<a href=x>Read more about it</a>", Site::Rustdoc));
    }

    #[test]
    fn permanent_links_hold_no_word() {
        assert!(control("<a class=headerlink href=#x>&para;</a>", Site::Other));
        assert!(control("<a class=\"anchor\"><svg><path/></svg></a>", Site::Other));
        assert!(!control("<a class=anchor name=x>The harbour</a>", Site::Other));
        assert!(!control("<a class=tooltip>word <span>never closed", Site::Other));
    }

    #[test]
    fn parts_of_sites_have_roles_and_names() {
        let furniture = |tag: &str| is_furniture(&Tag::read(tag), "body");
        for tag in [
            "div role=navigation>",
            "div class='panel' role='complementary'>",
            "div id=header>",
            "div class='x cookie-notice'>",
            "ul class=Breadcrumbs>",
            "div id=navbar>",
            "footer>",
        ] {
            assert!(furniture(tag), "{tag}");
        }
        for tag in
            ["div class=navy>", "div id=content>", "dt id=header>", "table class=header>", "div role=main>"]
        {
            assert!(!furniture(tag), "{tag}");
        }
        assert!(!is_furniture(&Tag::read("footer>"), "blockquote"));
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
