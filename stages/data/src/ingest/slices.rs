//! The documents of a file of records between two steps, stored by branch of the trie.
//!
//! ```text
//! NN.rows          a zstd stream, level 1; NN is the number of the branch in hexadecimal
//! └── documents    length: u32, then its fields
//!     ├── id, text, url, license, date, language     length: u32, UTF-8
//!     ├── html                                       length + 1: u32, bytes; 0 if there is none
//!     ├── metadata                                   count: u32, then key and value, each as above
//!     └── media type                                 length: u32, UTF-8; absent if there is none
//! ```
//!
//! All numbers are little-endian. Ids do not include the source's name.

use crate::documents::{DOCUMENT_BYTES_MAX, Document};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const ZSTD_LEVEL: i32 = 1;
/// Maximum size of a document in a slice in addition to its values: lengths, also of its metadata.
const OVERHEAD_MAX: usize = 16 << 20;

/// Writes a slice.
pub(super) struct SliceWriter<W: Write>(zstd::stream::write::Encoder<'static, W>);

impl<W: Write> SliceWriter<W> {
    pub(super) fn new(output: W) -> io::Result<Self> {
        zstd::stream::write::Encoder::new(output, ZSTD_LEVEL).map(Self)
    }

    /// Adds a document; `buffer` is reused to avoid allocations.
    pub(super) fn push(&mut self, document: &Document, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        write(document, buffer);
        self.0.write_all(&(buffer.len() as u32).to_le_bytes())?;
        self.0.write_all(buffer)
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

/// Reads a slice one document at a time, as bytes for [`read`].
pub(super) struct SliceReader<R: Read>(zstd::stream::read::Decoder<'static, io::BufReader<R>>);

impl<R: Read> SliceReader<R> {
    pub(super) fn new(input: R) -> io::Result<Self> {
        zstd::stream::read::Decoder::new(input).map(Self)
    }

    /// Reads the bytes of the next document into `buffer`; returns false at the end.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let mut length = [0; 4];
        if self.0.read(&mut length[..1])? == 0 {
            return Ok(false);
        }
        self.0.read_exact(&mut length[1..])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > DOCUMENT_BYTES_MAX + OVERHEAD_MAX {
            return Err(damaged());
        }
        buffer.resize(length, 0);
        self.0.read_exact(buffer)?;
        Ok(true)
    }
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a slice of records is damaged")
}

fn write(document: &Document, out: &mut Vec<u8>) {
    let Document { id, text, html, media_type, url, source: _, language, license, date, metadata } = document;
    let mut put = |bytes: &[u8], more: u32| {
        out.extend((bytes.len() as u32 + more).to_le_bytes());
        out.extend(bytes);
    };
    [id, text, url, license, date, language].into_iter().for_each(|field| put(field.as_bytes(), 0));
    match html {
        Some(html) => put(html, 1),
        None => out.extend(0_u32.to_le_bytes()),
    }
    out.extend((metadata.len() as u32).to_le_bytes());
    for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    if !media_type.is_empty() {
        out.extend((media_type.len() as u32).to_le_bytes());
        out.extend(media_type.as_bytes());
    }
}

/// Reads only the id.
pub(super) fn read_id(bytes: &[u8]) -> Option<&str> {
    Fields(bytes).text()
}

/// Reads a document that [`SliceWriter`] wrote; `None` if it is damaged.
pub(super) fn read(bytes: &[u8]) -> Option<Document> {
    let mut fields = Fields(bytes);
    let mut text = || fields.text().map(str::to_owned);
    let (id, text, url, license, date, language) = (text()?, text()?, text()?, text()?, text()?, text()?);
    let html = match fields.number()?.checked_sub(1) {
        Some(length) => Some(fields.bytes(length)?.to_vec()),
        None => None,
    };
    let mut document = Document { id, text, html, url, license, date, language, ..Document::default() };
    for _ in 0..fields.number()? {
        let (key, value) = (fields.text()?.to_owned(), fields.text()?.to_owned());
        document.metadata.insert(key, value);
    }
    if !fields.0.is_empty() {
        fields.text()?.clone_into(&mut document.media_type);
    }
    fields.0.is_empty().then_some(document)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }
}

/// Bytes that are written once and read in any order: in memory up to a limit, then in a file.
pub(super) struct Spool {
    memory: Vec<u8>,
    memory_max: usize,
    file: Option<File>,
    written: u64,
}

impl Spool {
    pub(super) fn new(memory_max: usize) -> Self {
        Self { memory: Vec::new(), memory_max, file: None, written: 0 }
    }

    /// Adds bytes and returns their position; `path` is where a file may be created.
    pub(super) fn push(&mut self, bytes: &[u8], path: &Path) -> io::Result<u64> {
        let at = self.written;
        if self.file.is_none() && self.memory.len() + bytes.len() > self.memory_max {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all_at(&self.memory, 0)?;
            (self.memory, self.file) = (Vec::new(), Some(file));
        }
        match &self.file {
            Some(file) => file.write_all_at(bytes, at)?,
            None => self.memory.extend(bytes),
        }
        self.written += bytes.len() as u64;
        Ok(at)
    }

    /// Reads `length` bytes at a position that [`push`](Self::push) returned.
    pub(super) fn read(&self, at: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        match &self.file {
            Some(file) => {
                buffer.resize(length, 0);
                file.read_exact_at(buffer, at)
            }
            None => {
                let bytes = self.memory.get(at as usize..at as usize + length).ok_or_else(damaged)?;
                buffer.extend(bytes);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn document(number: usize) -> Document {
        Document {
            id: format!("{number}"),
            text: "é".repeat(number % 50),
            html: (number.is_multiple_of(3)).then(|| vec![0xFF; number % 7]),
            url: "u".into(),
            media_type: "m".repeat(number % 4),
            metadata: BTreeMap::from([("a".into(), "b".into()), ("c".into(), String::new())]),
            ..Document::default()
        }
    }

    #[test]
    fn gives_back_what_was_written() {
        let mut writer = SliceWriter::new(Vec::new()).unwrap();
        let mut buffer = Vec::new();
        (0..200).for_each(|n| writer.push(&document(n), &mut buffer).unwrap());
        let bytes = writer.finish().unwrap();
        let mut reader = SliceReader::new(&bytes[..]).unwrap();
        for n in 0..200 {
            assert!(reader.next(&mut buffer).unwrap());
            assert_eq!(read(&buffer), Some(document(n)));
            assert_eq!(read_id(&buffer), Some(format!("{n}").as_str()));
        }
        assert!(!reader.next(&mut buffer).unwrap());
    }

    proptest! {
        #[test]
        fn damage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let packed = zstd::encode_all(&bytes[..], 1).unwrap();
            let mut buffer = Vec::new();
            let mut reader = SliceReader::new(&packed[..]).unwrap();
            while reader.next(&mut buffer).unwrap_or(false) {}
        }

        #[test]
        fn a_spool_gives_back_what_it_took(parts in prop::collection::vec(0usize..40, 0..40), max in 0usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let mut spool = Spool::new(max);
            let bytes = |n: usize, length: usize| vec![n as u8; length];
            let places: Vec<u64> = (0..).zip(&parts).map(|(n, length)| {
                spool.push(&bytes(n, *length), &folder.path().join("spool")).unwrap()
            }).collect();
            let mut buffer = Vec::new();
            for (n, (at, length)) in places.into_iter().zip(parts).enumerate() {
                spool.read(at, length, &mut buffer).unwrap();
                prop_assert_eq!(&buffer, &bytes(n, length));
            }
        }
    }
}
