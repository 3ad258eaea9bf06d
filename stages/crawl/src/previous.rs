//! An earlier crawl: what the server said about the state of its pages, and the pages themselves.
//!
//! Its archives are read once from beginning to end. Only validators and places are remembered; a page that did not
//! change is then read from its place. It does not know the settings of either crawl.

use crate::warc::{Head, Record};
use pipe_stage::{InputItem, Result};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::PathBuf,
};

/// The pages of an earlier crawl that have a validator.
#[derive(Default)]
pub(crate) struct Previous {
    paths: Vec<PathBuf>,
    /// By the digest of the address: 16 bytes instead of its text.
    pages: HashMap<[u8; 16], Stored>,
    bytes_max: u64,
    /// What could not be read, for people.
    pub(crate) damaged: Vec<String>,
}

/// How a server identifies the state of a page (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
}

struct Stored {
    validators: Box<Validators>,
    place: (u32, u64),
    /// The record that has the body of a `revisit`.
    body: Option<[u8; 16]>,
}

/// A page of an earlier crawl.
pub(crate) struct Carried {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) address: Option<std::net::IpAddr>,
}

/// A longer validator is not sent back.
const VALIDATOR_BYTES_MAX: usize = 1000;

fn key(url: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(url.as_bytes()).as_bytes()[..16]);
    key
}

impl Previous {
    /// Reads the archives of an earlier crawl: at most this many pages, with records of at most `bytes_max` bytes.
    pub(crate) fn read(item: &InputItem, pages_max: u64, bytes_max: u64) -> Result<Self> {
        let mut previous = Self { bytes_max, ..Self::default() };
        for entry in item.entries() {
            if !entry.name().ends_with(".warc.gz") {
                previous
                    .damaged
                    .push(format!("`{}` is not an archive with the extension .warc.gz", entry.name()));
                continue;
            }
            let path = entry.path()?;
            if let Err(error) = previous.archive(path, pages_max) {
                previous.damaged.push(format!("cannot read `{}` to its end: {error}", entry.name()));
            }
        }
        Ok(previous)
    }

    fn archive(&mut self, path: PathBuf, pages_max: u64) -> io::Result<()> {
        let mut input = Counted { inner: BufReader::with_capacity(1 << 16, File::open(&path)?), read: 0 };
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.paths.push(path);
        loop {
            let offset = input.read;
            let Some(record) = Record::read(&mut input, self.bytes_max)? else { return Ok(()) };
            let is_revisit = record.get("WARC-Type") == Some("revisit");
            if !is_revisit && record.get("WARC-Type") != Some("response") {
                continue;
            }
            let Some(url) = record.get("WARC-Target-URI") else { continue };
            let Some((head, _)) = record.http() else { continue };
            let validator = |name: &str| {
                let value = head.get(name)?;
                let is_fit = value.len() <= VALIDATOR_BYTES_MAX
                    && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
                is_fit.then(|| value.to_owned())
            };
            let validators = Validators { etag: validator("etag"), modified: validator("last-modified") };
            let body = record.get("WARC-Refers-To-Target-URI").filter(|_| is_revisit).map(key);
            if is_revisit && body.is_none() {
                continue;
            }
            if (self.pages.len() as u64) < pages_max {
                let stored = Stored { validators: Box::new(validators), place: (number, offset), body };
                self.pages.insert(key(url), stored);
            }
        }
    }

    /// The validators of a page that can be carried over.
    pub(crate) fn validators(&self, url: &str) -> Option<&Validators> {
        let validators = &self.pages.get(&key(url))?.validators;
        (validators.etag.is_some() || validators.modified.is_some()).then_some(validators)
    }

    /// Reads a page. The body of a `revisit` comes from the record that it refers to.
    pub(crate) fn page(&self, url: &str) -> io::Result<Carried> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the earlier crawl lacks the page");
        let stored = self.pages.get(&key(url)).ok_or_else(missing)?;
        let record = self.record(stored.place)?;
        let (head, body) = record.http().ok_or_else(missing)?;
        let body = match &stored.body {
            None => body.to_vec(),
            Some(original) => {
                let original = self.record(self.pages.get(original).ok_or_else(missing)?.place)?;
                if original.get("WARC-Payload-Digest") != record.get("WARC-Payload-Digest") {
                    return Err(missing());
                }
                original.http().ok_or_else(missing)?.1.to_vec()
            }
        };
        let date = record.get("WARC-Date").ok_or_else(missing)?.to_owned();
        let address = record.get("WARC-IP-Address").and_then(|text| text.parse().ok());
        Ok(Carried { head, body, date, address })
    }

    fn record(&self, (archive, offset): (u32, u64)) -> io::Result<Record> {
        let path = self.paths.get(archive as usize).ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Record::of_member(BufReader::new(file), self.bytes_max)
    }
}

/// Counts what was taken from a reader.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount as u64;
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warc::{Capture, Original, info, sha1};

    fn head(etag: &'static [u8]) -> Head {
        Head::new("HTTP/1.1", 200, "OK", [("ETag", etag), ("X", b"y")].into_iter())
    }

    fn previous(members: &[Vec<u8>]) -> (Previous, tempfile::TempDir, io::Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.warc.gz");
        std::fs::write(&path, members.concat()).unwrap();
        let mut previous = Previous { bytes_max: 1000, ..Previous::default() };
        let result = previous.archive(path, 10);
        (previous, folder, result)
    }

    #[test]
    fn a_revisit_has_the_body_that_it_refers_to() {
        let (first, second, digest) = (head(b"\"1\""), head(b"W/\"2\""), sha1(b"body"));
        let date = "2026-01-31T12:00:00Z";
        let one =
            Capture { url: "http://h/1", date, address: None, head: &first, body: b"body", digest: &digest };
        let two = Capture { url: "http://h/2", head: &second, body: &[], ..one };
        let original = Original { url: "http://h/1", date };
        let members = [info("a", date, &[]), one.response(), two.revisit(&original)];
        let (previous, _folder, result) = previous(&members);
        result.unwrap();
        let page = previous.page("http://h/2").unwrap();
        assert_eq!(
            (page.body, page.head.get("etag"), page.date),
            (b"body".to_vec(), Some("W/\"2\""), date.to_owned())
        );
        assert_eq!(previous.validators("http://h/1").unwrap().etag.as_deref(), Some("\"1\""));
        assert_eq!(previous.validators("http://h/3"), None);
        assert!(previous.page("http://h/3").is_err());
    }

    #[test]
    fn what_cannot_be_read_ends_an_archive() {
        let (head, digest) = (head(b"\"1\""), sha1(b"x"));
        let page = |url| {
            let date = "2026-01-31T12:00:00Z";
            Capture { url, date, address: None, head: &head, body: b"x", digest: &digest }.response()
        };
        let long = Capture {
            url: "http://h/long",
            date: "2026-01-31T12:00:00Z",
            address: None,
            head: &head,
            body: &[b'x'; 2000],
            digest: &digest,
        };
        for damage in [b"no gzip".to_vec(), page("http://h/2")[..50].to_vec(), long.response()] {
            let (previous, _folder, result) = previous(&[page("http://h/1"), damage, page("http://h/3")]);
            assert!(result.is_err());
            assert!(previous.page("http://h/1").is_ok() && previous.page("http://h/3").is_err());
        }
    }
}
