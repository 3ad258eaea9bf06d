//! Zip archives, as far as books use them: files that are stored or deflated, named in a central directory.
//!
//! The directory is bounded before it is read, and each file by the size that the caller allows, whatever the archive
//! says about sizes. Sizes above 4 GiB, encryption and archives in several parts are refused.

use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// Maximum size of the central directory.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;
/// Files beyond these are refused; a larger archive has 65,535.
const ENTRIES_MAX: usize = 65_535;

/// An archive that is open.
pub(super) struct Archive<R> {
    file: R,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    method: u16,
    is_encrypted: bool,
    crc: u32,
    packed: u64,
    size: u64,
    /// Of its local header.
    offset: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory of an archive of `size` bytes.
    pub(super) fn open(mut file: R, size: u64) -> Result<Self, String> {
        const END_BYTES: u64 = 22;
        const COMMENT_BYTES_MAX: u64 = 65_535;
        let start = size.saturating_sub(END_BYTES + COMMENT_BYTES_MAX);
        let tail = bytes_at(&mut file, start, size - start)?;
        let at = tail.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or("it is no zip archive")?;
        let end =
            tail.get(at..).filter(|end| end.len() as u64 >= END_BYTES).ok_or("its directory has no end")?;
        let (length, offset) = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
        if u16_at(end, 4) != 0 || offset == u64::from(u32::MAX) {
            return Err("it has several parts, or is larger than 4 GiB".to_owned());
        }
        if length > DIRECTORY_BYTES_MAX {
            return Err(format!("its directory has more than {DIRECTORY_BYTES_MAX} bytes"));
        }
        let directory = bytes_at(&mut file, offset, length)?;
        let entries = entries(&directory)?;
        Ok(Self { file, entries })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether the archive says that a file has more bytes than this.
    pub(super) fn is_larger(&self, name: &str, bytes: usize) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.size > bytes as u64)
    }

    /// The content of a file, of at most `bytes_max` bytes.
    pub(super) fn read(&mut self, name: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
        let entry = *self.entries.get(name).ok_or("the archive has no such file")?;
        if entry.is_encrypted {
            return Err("it is encrypted".to_owned());
        }
        let header = bytes_at(&mut self.file, entry.offset, 30)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err("it is not where the directory says".to_owned());
        }
        let start = entry.offset + 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        self.file.seek(SeekFrom::Start(start)).map_err(|error| error.to_string())?;
        let packed = self.file.by_ref().take(entry.packed);
        let mut bytes = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = match entry.method {
            0 => packed.take(limit).read_to_end(&mut bytes),
            8 => DeflateDecoder::new(packed).take(limit).read_to_end(&mut bytes),
            method => return Err(format!("its compression method {method} is unknown")),
        };
        read.map_err(|error| format!("its data is damaged: {error}"))?;
        if bytes.len() > bytes_max {
            return Err(format!("it has more than {bytes_max} bytes"));
        }
        let mut crc = Crc::new();
        crc.update(&bytes);
        if bytes.len() as u64 != entry.size || crc.sum() != entry.crc {
            return Err("its data is damaged: its size or checksum is wrong".to_owned());
        }
        Ok(bytes)
    }
}

fn entries(directory: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    const HEADER_BYTES: usize = 46;
    let mut entries = BTreeMap::new();
    let mut rest = directory;
    while rest.starts_with(b"PK\x01\x02") {
        let header = rest.get(..HEADER_BYTES).ok_or("its directory is cut off")?;
        let (name, extra, comment) = (u16_at(header, 28), u16_at(header, 30), u16_at(header, 32));
        let name_end = HEADER_BYTES + usize::from(name);
        let name = rest.get(HEADER_BYTES..name_end).ok_or("its directory is cut off")?;
        let entry = Entry {
            is_encrypted: u16_at(header, 8) & 1 == 1,
            method: u16_at(header, 10),
            crc: u32_at(header, 16),
            packed: u64::from(u32_at(header, 20)),
            size: u64::from(u32_at(header, 24)),
            offset: u64::from(u32_at(header, 42)),
        };
        entries.insert(String::from_utf8_lossy(name).into_owned(), entry);
        if entries.len() > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} files"));
        }
        rest = rest.get(name_end + usize::from(extra) + usize::from(comment)..).unwrap_or_default();
    }
    if entries.is_empty() { Err("its directory has no files".to_owned()) } else { Ok(entries) }
}

fn bytes_at(file: &mut (impl Read + Seek), offset: u64, length: u64) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| error.to_string();
    file.seek(SeekFrom::Start(offset)).map_err(told)?;
    let mut bytes = Vec::new();
    file.by_ref().take(length).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err("it is cut off".to_owned()) }
}

/// A number in a header that is long enough.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
