//! Turns a page that was fetched into what is kept and what is found in it: the work on a page that needs a processor and
//! not the network, done on threads of its own. It does not know what is known of other pages.

use crate::{
    address::Canonical,
    coding::{CodingError, decode},
    links::{self, Rules},
    outcome::{Done, Outcome},
    sitemap::Sitemap,
    warc::{Capture, Head, Original, sha1},
};
use std::net::IpAddr;
use url::Url;

/// A page as it was fetched, now or in an earlier crawl.
pub(crate) struct Fetched {
    pub(crate) url: Url,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) address: Option<IpAddr>,
}

/// A page that can be kept.
pub(crate) struct Page {
    /// Canonical addresses, and whether they must not be followed.
    pub(crate) links: Vec<(String, bool)>,
    pub(crate) links_cut: u64,
    /// The address that the page names as its own, if it is another one.
    pub(crate) canonical: Option<String>,
    pub(crate) noindex: bool,
    pub(crate) record: Record,
}

/// A page as the archives store it.
pub(crate) struct Record {
    url: String,
    head: Head,
    address: Option<IpAddr>,
    pub(crate) date: String,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    pub(crate) media_type: Option<String>,
    /// A compressed `response`.
    pub(crate) response: Vec<u8>,
}

impl Record {
    /// A compressed `revisit` of a record with the same body.
    pub(crate) fn revisit(&self, original: &Original<'_>) -> Vec<u8> {
        let capture = Capture {
            url: &self.url,
            date: &self.date,
            address: self.address,
            head: &self.head,
            body: &[],
            digest: &self.digest,
        };
        capture.revisit(original)
    }
}

fn refused(error: CodingError, bytes_max: usize) -> Done {
    match error {
        CodingError::TooLarge => {
            let note = format!("the body decompresses to more than {bytes_max} bytes");
            Done::new(Outcome::TooLarge).note(note)
        }
        CodingError::Damaged(why) => {
            Done::new(Outcome::Incomplete).note(format!("the body is damaged: {why}"))
        }
    }
}

/// Whether links of this media type are read. Servers that name no type mostly mean HTML.
fn is_html(media_type: Option<&str>) -> bool {
    media_type.is_none_or(|name| matches!(name, "text/html" | "application/xhtml+xml"))
}

/// Reads a page.
pub(crate) fn page(
    fetched: Fetched,
    canonical: &Canonical,
    token: &str,
    bytes_max: usize,
) -> Result<Page, Done> {
    let Fetched { url, head, body, date, address } = fetched;
    let media_type = head.media_type();
    let content = decode(&body, &head.codings(), bytes_max).map_err(|error| refused(error, bytes_max))?;
    let read = if is_html(media_type.as_deref()) {
        links::read(&content, &url, head.charset(), token)
    } else {
        links::Page::default()
    };
    let mut rules: Rules = read.rules;
    head.all("x-robots-tag").for_each(|value| rules.add_header(value, token));
    let same = |link: links::Link| {
        let url = canonical.of(&link.url)?;
        Some((url.into(), link.nofollow || rules.nofollow))
    };
    let links = read.links.into_iter().filter_map(same).collect();
    let own = read.canonical.and_then(|own| canonical.of(&own)).filter(|own| *own != url);
    let digest = sha1(&body);
    let capture =
        Capture { url: url.as_str(), date: &date, address, head: &head, body: &body, digest: &digest };
    let (response, bytes) = (capture.response(), body.len() as u64);
    Ok(Page {
        links,
        links_cut: read.links_cut,
        canonical: own.map(Into::into),
        noindex: rules.noindex,
        record: Record { url: url.into(), head, address, date, digest, bytes, media_type, response },
    })
}

/// Reads a sitemap, which may be compressed as a file, too.
pub(crate) fn sitemap(fetched: &Fetched, bytes_max: usize) -> Result<Sitemap, Done> {
    let refused = |error| refused(error, bytes_max);
    let content = decode(&fetched.body, &fetched.head.codings(), bytes_max).map_err(refused)?;
    if content.starts_with(b"\x1F\x8B") {
        let content = decode(&content, "gzip", bytes_max).map_err(refused)?;
        return Ok(Sitemap::read(&content));
    }
    Ok(Sitemap::read(&content))
}
