//! Exports of MediaWiki: a streaming reader of their pages, and a converter of wikitext to markup.
//!
//! Knows the XML of exports (<https://www.mediawiki.org/wiki/Help:Export>) and wikitext. It does not know files,
//! compression, documents or stages. All input is taken as hostile: time is linear in its length, and depth and memory
//! are bounded.

mod site;

mod dump;

mod markup;

pub use dump::{Damage, Export, Page, Piece, Revision};
pub use markup::{Sections, markup_of};
pub use site::Site;
