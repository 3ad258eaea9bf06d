//! What becomes of an address: the reasons in the log, and what the journal stores of it.
//!
//! It does not know how an outcome is found.

use serde::{Deserialize, Serialize};

/// What became of an address. The names are those in the log and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The page is in the archives.
    Page,
    /// The page did not change since the previous crawl; it is in the archives, as it was then.
    NotModified,
    /// A sitemap that was read.
    Sitemap,
    /// A robots.txt that was read.
    RobotsTxt,
    /// Another address answers for it; see `to`.
    Redirect,
    /// The page names another address as its own; see `to`.
    Canonical,
    /// The page asks not to be kept.
    Noindex,
    /// Only links that ask not to be followed lead there.
    Nofollow,
    /// robots.txt refuses it.
    Robots,
    /// robots.txt of its server could not be read, so nothing of it may be fetched (RFC 9309, section 2.3.1.4).
    RobotsUnreachable,
    /// robots.txt asks for more time between requests than `crawl_delay_max`.
    CrawlDelay,
    /// Its host is not in scope.
    Scope,
    /// `include` or `exclude` leaves it out.
    Excluded,
    /// More links away than `depth_max`.
    Depth,
    /// One of the limits against endless sites.
    Trap,
    /// More hosts than `hosts_max`.
    Hosts,
    /// More than `pages_max` or `mib_max`; not fetched.
    Limit,
    /// A private address.
    Private,
    /// Larger than `page_mib_max`, as it is sent or after decompression.
    TooLarge,
    /// Took longer than `timeout_seconds`.
    Timeout,
    /// Redirects lead back to it.
    RedirectLoop,
    /// More redirects and canonical addresses in a row than `redirects_max`, or one without an address.
    BadRedirect,
    /// A media type that is not among `media_types`.
    MediaType,
    /// An HTTP status other than 200.
    Status,
    /// No connection, or not HTTP.
    Connection,
    /// The response ended before its end.
    Incomplete,
    /// Many requests to its host failed in a row, so no more were made.
    HostFailed,
}

impl Outcome {
    /// Whether the archives have the page.
    pub(crate) fn is_kept(self) -> bool {
        matches!(self, Self::Page | Self::NotModified)
    }

    /// Whether a request failed, in contrast to one that was not made.
    pub(crate) fn is_error(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::RedirectLoop
                | Self::BadRedirect
                | Self::Status
                | Self::Connection
                | Self::Incomplete
                | Self::TooLarge
                | Self::HostFailed
                | Self::RobotsUnreachable
        )
    }

    /// Whether a better way to the address may still be found.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Depth | Self::Nofollow)
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        let name = serde_json::to_value(self).expect("invariant: an outcome is plain data");
        name.as_str().expect("invariant: a unit variant is a text").to_owned()
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// Number of the archive.
    pub(crate) archive: u32,
    /// Of its first byte.
    pub(crate) offset: u64,
    /// In bytes, compressed.
    pub(crate) length: u64,
}

/// All that is known of an address whose outcome is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The address that answers instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Details for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// Size in bytes of a page that was fetched in full and not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unkept_bytes: Option<u64>,
    /// For pages: what the archives have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Box<Kept>>,
}

/// A page in the archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Where its record is.
    pub(crate) place: Place,
    /// Size of the body as it was sent.
    pub(crate) bytes: u64,
    /// When it was fetched.
    pub(crate) date: String,
    /// SHA-1 of the body as it was sent, in base 32, as archives have it.
    pub(crate) digest: String,
    /// As the server said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// Whether its body is that of an earlier record with the same digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) revisit: bool,
}

impl Done {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { outcome, status: None, to: None, note: None, unkept_bytes: None, kept: None }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    pub(crate) fn to(self, to: impl Into<String>) -> Self {
        Self { to: Some(to.into()), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}
