//! Main content of an HTML page, in bounded time and memory.
//!
//! Owns: bytes -> text -> bounded markup -> main content (dom_smoothie) -> blocks. Each page either gives a
//! [`Page`] or says why not. Knows nothing of documents, files or stages.

mod blocks;
mod charset;
mod scan;

use dom_smoothie::{Config, Readability};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a page holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Title, without the name of the site.
    pub title: String,
    /// Main content as light Markdown; code blocks are verbatim.
    pub text: String,
    /// `lang` of the page, lower case, without its region: `en`, `zh`. Empty if it says none.
    pub language: String,
    /// Address that the page gives as its own; empty if none.
    pub canonical: String,
}

/// Sizes beyond which a page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the page.
    pub bytes_max: usize,
    /// Start tags.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, nodes_max: 400_000 }
    }
}

/// Why a page has no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No bytes but white space.
    #[error("it is empty")]
    Empty,
    /// A picture, an archive, a program.
    #[error("it is binary")]
    Binary,
    /// More bytes than allowed.
    #[error("it has {0} bytes")]
    TooLarge(usize),
    /// More start tags than allowed.
    #[error("it has more than {0} elements")]
    TooManyNodes(usize),
    /// Its encoding is unknown or it is damaged.
    #[error("it does not decode as text")]
    Undecodable,
    /// It only leads elsewhere.
    #[error("it leads to `{0}`")]
    Redirect(String),
    /// Nothing that people read is left.
    #[error("it has no main content")]
    NoContent,
    /// The extraction failed.
    #[error("its main content cannot be extracted")]
    Failed,
}

impl Refusal {
    /// Stable name for counts and reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Binary => "binary",
            Self::TooLarge(_) => "too_large",
            Self::TooManyNodes(_) => "too_many_nodes",
            Self::Undecodable => "undecodable",
            Self::Redirect(_) => "redirect",
            Self::NoContent => "no_content",
            Self::Failed => "failed",
        }
    }
}

/// Extracts the main content of a page.
///
/// # Errors
/// The reason why there is none.
pub fn extract(bytes: &[u8], limits: Limits) -> Result<Page, Refusal> {
    let scanned = look_at(bytes, limits)?;
    let article = catch_unwind(AssertUnwindSafe(|| main_content(&scanned.html)));
    let (title, content) = article.unwrap_or(None).ok_or(Refusal::Failed)?;
    let text = blocks::text_of(&content);
    if text.trim().is_empty() {
        return Err(Refusal::NoContent);
    }
    let language = scanned.language.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(Page { title: title.trim().to_owned(), text, language, canonical: scanned.canonical })
}

/// Sees what a page is without extracting anything, as quick as reading it.
///
/// # Errors
/// Every reason but [`Refusal::NoContent`] and [`Refusal::Failed`], which only extraction finds.
pub fn inspect(bytes: &[u8], limits: Limits) -> Result<(), Refusal> {
    look_at(bytes, limits).map(drop)
}

fn look_at(bytes: &[u8], limits: Limits) -> Result<scan::Scanned, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    if bytes.len() > limits.bytes_max {
        return Err(Refusal::TooLarge(bytes.len()));
    }
    if is_binary(bytes) {
        return Err(Refusal::Binary);
    }
    let page = charset::decode(bytes).ok_or(Refusal::Undecodable)?;
    let scanned = scan::scan(&page, limits.nodes_max).map_err(|_| Refusal::TooManyNodes(limits.nodes_max))?;
    match scanned.refresh {
        Some(target) => Err(Refusal::Redirect(target)),
        None => Ok(scanned),
    }
}

/// Known signatures, or NUL bytes in the first kilobyte without the byte order mark of UTF-16.
fn is_binary(bytes: &[u8]) -> bool {
    const SIGNATURES: &[&[u8]] = &[
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF8",
        b"%PDF-",
        b"PK\x03\x04",
        b"\x7FELF",
        b"\x1F\x8B",
        b"\x28\xB5\x2F\xFD",
        b"\xCA\xFE\xBA\xBE",
        b"RIFF",
        b"\0\0\x01\0",
        b"wOFF",
        b"wOF2",
        b"OggS",
        b"BZh",
        b"\xFD7zXZ",
    ];
    let marked = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    let head = &bytes[..bytes.len().min(1024)];
    SIGNATURES.iter().any(|signature| bytes.starts_with(signature)) || (!marked && head.contains(&0))
}

/// Title and markup of the main content.
fn main_content(html: &str) -> Option<(String, String)> {
    let config = Config { keep_classes: true, disable_json_ld: true, ..Config::default() };
    let mut readability = Readability::new(html, None, Some(config)).ok()?;
    let article = readability.parse().ok()?;
    Some((article.title, article.content.to_string()))
}
