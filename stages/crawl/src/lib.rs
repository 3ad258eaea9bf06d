//! A polite web crawler as a stage type: it follows links from seeds and sitemaps, obeys robots.txt, and writes web
//! archives.
//!
//! This package does not know the engine, terminals, schedulers or the location of the cache, nor what is done with pages:
//! `ingest` reads the archives. It parses of a page what a crawler needs, links and rules, and no text.

mod pattern;

mod address;

mod robots;

mod private;

mod coding;

mod links;

mod sitemap;

mod config;

mod outcome;

mod scope;

mod warc;

mod previous;

mod fetch;

mod frontier;

mod journal;

mod process;

mod exchange;

mod output;

mod crawler;

mod stage;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod hostile;

pub use config::{CanonicalLinks, Crawl, Scope, Traps};
