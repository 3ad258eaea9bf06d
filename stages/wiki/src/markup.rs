//! Wikitext → simple HTML, as far as it can be read without the wiki that it comes from.
//!
//! The result has headings, paragraphs, lists, tables, code and formulas (`$x$`), without attributes but the spans of
//! cells, the numbers of lists and the language of code. Templates are not expanded: those whose arguments are text give
//! it (see [`templates`]), all others are dropped, and so are references, files, categories and galleries. Two passes:
//! [`expand`] resolves what is nested and may span lines, then [`flow`] builds blocks line by line. Both take time in
//! proportion to the text and use no recursion.

mod marks;

mod tags;

mod templates;

mod links;

mod expand;

mod tidy;

mod quotes;

mod inline;

mod sections;

mod tables;

mod flow;

pub use sections::Sections;

use crate::site::Site;
use marks::Items;

/// The markup of a page of a wiki.
///
/// `title` is what the text calls `{{PAGENAME}}`.
pub fn markup_of(wikitext: &str, title: &str, site: &Site, sections: Sections) -> String {
    // MediaWiki's own limit; a text may name the title any number of times.
    const TITLE_BYTES_MAX: usize = 255;
    let title = &title[..title.floor_char_boundary(TITLE_BYTES_MAX)];
    let mut items = Items::default();
    let expanded = expand::expand(wikitext, title, site, &mut items);
    flow::blocks(&expanded, &items, sections)
}

#[cfg(test)]
mod tests;
