//! Books in EPUB 2 and 3 → one page of HTML each: the chapters of the spine, in its order.
//!
//! Owns which files of the archive are read, and what is refused. `clean` extracts the text.

mod archive;

mod package;

mod chapter;

use super::enterprise::spdx_of_address;
use crate::clean::html::decode;
use crate::documents::Document;
use archive::Archive;
use package::{Package, container, is_encrypted, package};
use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// Why a book cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not a readable EPUB: {0}")]
    Damaged(String),
    #[error("it is encrypted (`META-INF/encryption.xml`); only books without copy protection can be read")]
    Encrypted,
    #[error("its chapters have more than {0} bytes, the limit `page_mib_max`")]
    TooLarge(usize),
    #[error("it has no chapter that can be read")]
    Empty,
}

impl Refused {
    /// Stable name in reports.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "not_epub",
            Self::Encrypted => "encrypted",
            Self::TooLarge(_) => "too_large",
            Self::Empty => "empty",
        }
    }
}

/// A book, and the chapters that cannot be read, each with the reason.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) document: Document,
    pub(super) lost: Vec<(String, String)>,
}

/// The names of the metadata of books.
pub(super) const METADATA: [&str; 4] = ["title", "author", "identifier", "rights"];

/// Maximum size of a file about the book.
const XML_BYTES_MAX: usize = 4 << 20;

/// Reads a book of `size` bytes, whose chapters may have `bytes_max` bytes together.
///
/// # Errors
/// Why it is refused. If the file itself cannot be read, that looks like damage; the caller's stream knows better.
pub(super) fn read(file: impl Read + Seek, size: u64, bytes_max: usize) -> Result<Book, Refused> {
    let mut archive = Archive::open(file, size).map_err(Refused::Damaged)?;
    let mut xml = |name: &str| -> Result<String, Refused> {
        let bytes = archive.read(name, XML_BYTES_MAX).map_err(|why| damaged(name, &why))?;
        let text = decode(&bytes, None).ok_or_else(|| damaged(name, "it is not text"))?;
        Ok(text.into_owned())
    };
    let root = container(&xml("META-INF/container.xml")?).map_err(Refused::Damaged)?;
    let description = xml(&root)?;
    if archive.has("META-INF/encryption.xml") {
        let bytes = archive.read("META-INF/encryption.xml", XML_BYTES_MAX).unwrap_or_default();
        if is_encrypted(&String::from_utf8_lossy(&bytes)) {
            return Err(Refused::Encrypted);
        }
    }
    let package = package(&description, &root).map_err(Refused::Damaged)?;
    let (mut chapters, mut lost) = (String::new(), Vec::new());
    for name in &package.spine {
        let left = bytes_max.saturating_sub(chapters.len());
        match archive.read(name, left.saturating_add(1)) {
            Ok(bytes) if bytes.len() > left => return Err(Refused::TooLarge(bytes_max)),
            Ok(bytes) => match decode(&bytes, None) {
                Some(text) => chapters.push_str(&chapter::body(&text)),
                None => lost.push((name.clone(), "it is not text in a known encoding".to_owned())),
            },
            Err(_) if archive.is_larger(name, left) => return Err(Refused::TooLarge(bytes_max)),
            Err(why) => lost.push((name.clone(), why)),
        }
        if chapters.len() > bytes_max {
            return Err(Refused::TooLarge(bytes_max));
        }
    }
    if chapters.trim().is_empty() && lost.is_empty() {
        return Err(Refused::Empty);
    }
    Ok(Book { document: document(package, &chapters), lost })
}

fn damaged(name: &str, why: &str) -> Refused {
    Refused::Damaged(format!("`{}`: {why}", name.chars().take(100).collect::<String>()))
}

fn document(package: Package, chapters: &str) -> Document {
    let language = package.language.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let license = spdx_of_address(&package.rights).unwrap_or_default();
    let date =
        if package.date.starts_with(|c: char| c.is_ascii_digit()) { package.date } else { String::new() };
    let metadata = [package.title, package.creators.join(", "), package.identifier, package.rights];
    let metadata: BTreeMap<String, String> = METADATA
        .into_iter()
        .zip(metadata)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // `clean` takes all of `main`.
    let html = format!("<!DOCTYPE html><meta charset=utf-8><body><main>\n{chapters}</main>");
    Document { html: Some(html.into_bytes()), language, license, date, metadata, ..Document::default() }
}

#[cfg(test)]
pub(super) mod tests;
