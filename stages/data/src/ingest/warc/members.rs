//! The bytes of a file of records, one compressed member after the other.
//!
//! Web archives are compressed record by record: each is a member of a gzip file (RFC 1952) or a frame of zstd. So
//! damage is limited to one of them, and reading goes on at the next one in which a record begins.

use crate::ingest::format::Compression;
use flate2::bufread::GzDecoder;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

/// Bytes to decompress at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes to look at for the beginning of a record.
const MARK_BYTES: usize = 4096;
/// Decompressed size that is always allowed, and the multiple of the compressed size that limits larger ones.
const BYTES_FREE: u64 = 1 << 30;
const GROWTH_MAX: u64 = 256;
/// Maximum number of places per file at which a member is looked for; compressed data may be made to hold many.
const TRIES_MAX: u32 = 100_000;
/// A larger dictionary of a zstd file is refused.
const DICTIONARY_BYTES_MAX: u32 = 16 << 20;

/// A file from a position on.
struct Tail {
    file: Arc<File>,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

type Input = BufReader<Tail>;

/// Where the unread bytes of an input begin in its file.
fn position(input: &Input) -> u64 {
    input.get_ref().at - input.buffer().len() as u64
}

enum Decoder {
    Plain(Input),
    Gzip(Box<GzDecoder<Input>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input>>),
    /// A file that is compressed as a whole.
    Whole(Box<dyn Read>),
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Whole(decoder) => decoder.read(buffer),
        }
    }
}

impl Decoder {
    /// Where the next member begins; `None` behind a file that is one member.
    fn end(self) -> Option<u64> {
        match self {
            Self::Gzip(decoder) => Some(position(&decoder.into_inner())),
            Self::Zstd(decoder) => Some(position(&decoder.finish())),
            Self::Plain(_) | Self::Whole(_) => None,
        }
    }
}

/// Whether a text begins with the head of a record.
pub(super) type Mark = fn(&[u8]) -> bool;

/// A file, read member by member.
pub(super) struct Members {
    file: Arc<File>,
    size: u64,
    compression: Compression,
    /// Dictionary of a zstd file, which its first frame holds.
    dictionary: Vec<u8>,
    mark: Mark,
    decoder: Option<Decoder>,
    /// Where the current member begins.
    start: u64,
    /// Where the next one begins.
    next: u64,
    buffer: Vec<u8>,
    from: usize,
    /// Bytes that this member has given.
    given: u64,
    /// Whether the buffer begins where a member and a record begin.
    is_border: bool,
    /// Why what follows the buffer cannot be read.
    failed: Option<io::Error>,
    /// Bytes that may still be decompressed.
    left: u64,
    /// Places at which a member may still be looked for.
    tries: u32,
}

impl Members {
    /// Starts to read a file of `size` bytes.
    pub(super) fn new(file: File, size: u64, compression: Compression, mark: Mark) -> io::Result<Self> {
        let mut members = Self {
            file: Arc::new(file),
            size,
            compression,
            dictionary: Vec::new(),
            mark,
            decoder: None,
            start: 0,
            next: 0,
            buffer: Vec::new(),
            from: 0,
            given: 0,
            is_border: false,
            failed: None,
            left: BYTES_FREE.max(size.saturating_mul(GROWTH_MAX)),
            tries: TRIES_MAX,
        };
        if compression == Compression::Zstd {
            members.read_dictionary()?;
        }
        Ok(members)
    }

    /// Reads the dictionary of a `.warc.zst` file: a skippable frame at its beginning.
    fn read_dictionary(&mut self) -> io::Result<()> {
        const MAGIC: [u8; 4] = 0x184D_2A5D_u32.to_le_bytes();
        const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
        let mut head = [0; 8];
        if self.file.read_exact_at(&mut head, 0).is_err() || head[..4] != MAGIC {
            return Ok(());
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length > DICTIONARY_BYTES_MAX {
            return Err(io::Error::other(format!(
                "its dictionary has {length} bytes, more than {DICTIONARY_BYTES_MAX}"
            )));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, 8)?;
        if bytes.starts_with(&FRAME) {
            let mut plain = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(&bytes[..])?;
            decoder.take(u64::from(DICTIONARY_BYTES_MAX)).read_to_end(&mut plain)?;
            bytes = plain;
        }
        self.dictionary = bytes;
        self.next = 8 + u64::from(length);
        Ok(())
    }

    /// Where the next byte is: its position in a file that is not compressed, else that of its member.
    pub(super) fn offset(&self) -> u64 {
        match (self.compression, self.from < self.buffer.len(), &self.decoder) {
            (Compression::Plain, ..) => self.start + self.given - (self.buffer.len() - self.from) as u64,
            (_, false, None) => self.next,
            _ => self.start,
        }
    }

    /// The bytes that have been decompressed and not been consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.from += count;
        self.is_border &= count == 0;
    }

    /// Whether the next member begins here, with a record or with damage.
    pub(super) fn is_border(&self) -> bool {
        self.is_border
    }

    /// Allows to read on where a record begins.
    pub(super) fn cross(&mut self) {
        self.is_border = false;
    }

    /// Makes sure that there are bytes; returns false at the end of the file, and at a border.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        while self.bytes().is_empty() && !self.is_border {
            if !self.more()? && !self.open_next()? {
                return Ok(false);
            }
        }
        Ok(!self.is_border)
    }

    /// Up to `count` bytes of this member, without consuming them.
    pub(super) fn peek(&mut self, count: usize) -> &[u8] {
        while self.bytes().len() < count && self.failed.is_none() {
            match self.more() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        let bytes = self.bytes();
        &bytes[..bytes.len().min(count)]
    }

    /// Decompresses more of the current member; returns false at its end.
    fn more(&mut self) -> io::Result<bool> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        self.buffer.drain(..self.from);
        self.from = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + CHUNK_BYTES, 0);
        let read = decoder.read(&mut self.buffer[held..]);
        self.buffer.truncate(held + read.as_ref().map_or(0, |read| *read));
        let read = read?;
        self.given += read as u64;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it has more than {GROWTH_MAX} times its size when decompressed"))
        })?;
        if read == 0 {
            self.next = self.decoder.take().and_then(Decoder::end).unwrap_or(self.size);
        }
        Ok(read > 0)
    }

    /// Opens the next member; returns false at the end of the file. The zeros that tapes and block devices put behind
    /// a file are passed over.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.compression != Compression::Plain {
            self.next = self.behind_zeros(self.next)?;
        }
        if self.next >= self.size {
            return Ok(false);
        }
        let at = self.next;
        self.open(at)?;
        let mark = self.mark;
        let begins = mark(self.peek(MARK_BYTES)) || self.failed.is_some();
        self.is_border = begins && self.compression != Compression::Plain;
        Ok(true)
    }

    fn open(&mut self, at: u64) -> io::Result<()> {
        self.buffer.clear();
        (self.from, self.given, self.start, self.is_border, self.failed) = (0, 0, at, false, None);
        self.decoder = Some(self.decoder_at(at)?);
        Ok(())
    }

    fn decoder_at(&self, at: u64) -> io::Result<Decoder> {
        let tail = Tail { file: Arc::clone(&self.file), at };
        let input = BufReader::with_capacity(CHUNK_BYTES, tail);
        Ok(match self.compression {
            Compression::Plain => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(input))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_dictionary(input, &self.dictionary)?;
                Decoder::Zstd(Box::new(decoder.single_frame()))
            }
            whole => Decoder::Whole(crate::ingest::inflate::inflate(input, whole, self.size)?),
        })
    }

    fn behind_zeros(&self, mut at: u64) -> io::Result<u64> {
        let mut tail = BufReader::new(Tail { file: Arc::clone(&self.file), at });
        loop {
            let bytes = tail.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            at += zeros as u64;
            if zeros < bytes.len() || bytes.is_empty() {
                return Ok(at);
            }
            tail.consume(zeros);
        }
    }

    /// Goes on at the first record behind the damaged one at `offset`; returns false if there is none.
    pub(super) fn resync(&mut self, offset: u64) -> io::Result<bool> {
        let is_next = self.is_border && self.start > offset;
        let is_found = is_next || (self.compression != Compression::Plain && self.resync_within());
        if is_found { Ok(true) } else { self.resync_behind(offset) }
    }

    /// Looks for a record in what is left of a member with several.
    fn resync_within(&mut self) -> bool {
        const MARK: &[u8] = b"\nWARC/";
        loop {
            if let Some(at) = memchr::memmem::find(self.bytes(), MARK) {
                self.from += at + 1;
                return true;
            }
            // The mark may be cut.
            self.from = self.buffer.len().saturating_sub(MARK.len() - 1).max(self.from);
            if !matches!(self.more(), Ok(true)) {
                return false;
            }
        }
    }

    /// Looks for a record in the rest of the file.
    fn resync_behind(&mut self, offset: u64) -> io::Result<bool> {
        let is_plain = self.compression == Compression::Plain;
        // In a plain file, what stands before a record.
        let magic: &[u8] = match self.compression {
            Compression::Plain => b"\n",
            Compression::Gzip => b"\x1F\x8B\x08",
            Compression::Zstd => b"\x28\xB5\x2F\xFD",
            Compression::Bzip2 | Compression::Xz => return Ok(false),
        };
        (self.decoder, self.failed) = (None, None);
        self.buffer.clear();
        (self.from, self.next) = (0, self.size);
        // What the end of a window cuts is looked at in the next one.
        let overlap = if is_plain { MARK_BYTES } else { magic.len() - 1 };
        let mut window = vec![0; CHUNK_BYTES];
        let mut at = offset + u64::from(!is_plain);
        loop {
            let read = read_at(&self.file, &mut window, at)?;
            let is_last = at + read as u64 >= self.size || read < window.len();
            for found in memchr::memmem::find_iter(&window[..read], magic) {
                let (start, rest) = match is_plain {
                    true => (found + 1, &window[found + 1..read]),
                    false => (found, &window[found..read]),
                };
                if is_plain && rest.len() < overlap && !is_last {
                    break;
                }
                let start = at + start as u64;
                let begins =
                    if is_plain { (self.mark)(rest) } else { self.tries > 0 && self.begins_record(start) };
                self.tries = self.tries.saturating_sub(u32::from(!is_plain));
                if begins {
                    self.next = start;
                    return Ok(true);
                }
            }
            if is_last {
                return Ok(false);
            }
            at += (read - overlap) as u64;
        }
    }

    /// Whether a record begins at a position of the file.
    pub(super) fn begins_record(&self, at: u64) -> bool {
        let mut head = Vec::new();
        let read =
            self.decoder_at(at).and_then(|decoder| decoder.take(MARK_BYTES as u64).read_to_end(&mut head));
        // A damaged member may still begin with a record, which is then reported as damaged.
        (read.is_ok() || !head.is_empty()) && (self.mark)(&head)
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
