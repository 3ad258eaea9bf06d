//! The bytes of a file of records, one compressed member after the other.
//!
//! Web archives are compressed record by record: each is a member of a gzip file (RFC 1952) or a frame of zstd. So
//! damage is limited to one of them, and reading goes on at the next one in which a record begins.

use crate::ingest::format::Compression;
use crate::ingest::inflate::{GROWTH_MAX, bytes_max, inflate};
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
pub(super) const MARK_BYTES: usize = 4096;
/// Members that may grow without end before the rest of a file is given up.
const BOMBS_MAX: u32 = 8;
/// Bytes of a file that are decompressed again, to look for records that a wrong length has passed over.
const REREAD_BYTES_MAX: u64 = 1 << 30;
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

/// A place in a file: a position in the decompressed bytes of the member that begins at `start`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) position: u64,
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
    /// Whether the rest of the member cannot be read.
    is_broken: bool,
    /// Bytes that may still be decompressed.
    left: u64,
    /// Members that may still grow without end.
    bombs: u32,
    /// Bytes that may still be decompressed again.
    reread: u64,
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
            is_broken: false,
            left: bytes_max(size),
            bombs: BOMBS_MAX,
            reread: REREAD_BYTES_MAX,
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

    /// The bytes that have been decompressed and not been consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.from += count;
        self.is_border &= count == 0;
    }

    /// The position in the file of a place: of its member, if the file is compressed.
    pub(super) fn offset(&self, place: Place) -> u64 {
        if self.compression == Compression::Plain { place.start + place.position } else { place.start }
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
        if self.is_broken {
            return Err(io::Error::other("its member is damaged"));
        }
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        self.buffer.drain(..self.from);
        self.from = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + CHUNK_BYTES, 0);
        let read = decoder.read(&mut self.buffer[held..]);
        self.buffer.truncate(held + read.as_ref().map_or(0, |read| *read));
        self.is_broken = read.is_err();
        let read = read?;
        self.given += read as u64;
        if self.compression != Compression::Plain {
            match self.left.checked_sub(read as u64) {
                Some(left) => self.left = left,
                None => return Err(self.bomb()),
            }
        }
        if read == 0 {
            self.next = self.decoder.take().and_then(Decoder::end).unwrap_or(self.size);
        }
        Ok(read > 0)
    }

    /// The error of a member that grows without end. It costs the others nothing, unless there are many.
    fn bomb(&mut self) -> io::Error {
        self.is_broken = true;
        self.bombs = self.bombs.saturating_sub(1);
        self.left = if self.bombs > 0 { bytes_max(self.size) } else { 0 };
        io::Error::other(format!("it has more than {GROWTH_MAX} times its size when decompressed"))
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
        (self.from, self.given, self.start, self.is_border) = (0, 0, at, false);
        (self.failed, self.is_broken) = (None, false);
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
            whole => Decoder::Whole(inflate(input, whole, self.size)?),
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

    /// Where the next byte is.
    pub(super) fn place(&self) -> Place {
        let position = self.given - self.bytes().len() as u64;
        match self.decoder.is_none() && self.bytes().is_empty() {
            true => Place { start: self.next, position: 0 },
            false => Place { start: self.start, position },
        }
    }

    /// Goes on at the first record behind the damaged one at a place; returns false if there is none.
    pub(super) fn resync(&mut self, damaged: Place) -> io::Result<bool> {
        let first = self.given - self.buffer.len() as u64;
        let is_plain = self.compression == Compression::Plain;
        if damaged.start == self.start && damaged.position >= first && self.failed.is_none() {
            // It is still in the buffer.
            self.from = self.buffer.len().min((damaged.position - first) as usize);
            if is_plain && self.scan_buffer() {
                return Ok(true);
            }
        } else if !is_plain {
            let cost = damaged.position + self.given;
            // A wrong length may have led beyond other records.
            if let Some(left) = self.reread.checked_sub(cost) {
                self.reread = left;
                if self.go_back(damaged).is_err() {
                    return self.resync_behind(damaged.start);
                }
            }
        }
        if is_plain {
            return self.resync_behind(damaged.start + damaged.position);
        }
        match self.scan() {
            Some(found) => Ok(found),
            None => self.resync_behind(self.start),
        }
    }

    /// Goes back to a place of a compressed file.
    fn go_back(&mut self, Place { start, position }: Place) -> io::Result<()> {
        self.open(start)?;
        let mut left = position;
        while left > 0 {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = left.min(self.bytes().len() as u64);
            self.from += count as usize;
            left -= count;
        }
        Ok(())
    }

    /// Looks for a record in the members from here on, up to one in which a record begins; `None` if one is damaged.
    fn scan(&mut self) -> Option<bool> {
        loop {
            if self.is_border {
                return Some(true);
            }
            if self.scan_buffer() {
                return Some(true);
            }
            match self.more() {
                Ok(true) => {}
                Ok(false) if self.scan_buffer() => return Some(true),
                Ok(false) => match self.open_next() {
                    Ok(true) => {}
                    Ok(false) => return Some(false),
                    Err(_) => return None,
                },
                Err(_) => return None,
            }
        }
    }

    /// Looks for a line of the buffer, behind the current one, with which a record begins. Where that depends on bytes
    /// that are yet to be decompressed, the rest of the buffer is kept.
    fn scan_buffer(&mut self) -> bool {
        let is_last = self.decoder.is_none();
        let mut at = self.from;
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[at..]) {
            let next = at + end + 1;
            let rest = &self.buffer[next..];
            if rest.len() < MARK_BYTES && !is_last {
                self.from = next - 1;
                return false;
            }
            if (self.mark)(rest) {
                self.from = next;
                return true;
            }
            at = next;
        }
        self.from = self.buffer.len();
        false
    }

    /// Looks for a record in the rest of the file, at the beginning of a member; if there is none, within the first
    /// member that can be decompressed.
    fn resync_behind(&mut self, offset: u64) -> io::Result<bool> {
        let is_plain = self.compression == Compression::Plain;
        // In a plain file, what stands before a record.
        let magic: &[u8] = match self.compression {
            Compression::Plain => b"\n",
            Compression::Gzip => b"\x1F\x8B\x08",
            Compression::Zstd => b"\x28\xB5\x2F\xFD",
            Compression::Bzip2 | Compression::Xz => return Ok(false),
        };
        (self.decoder, self.failed, self.is_broken) = (None, None, false);
        self.buffer.clear();
        (self.from, self.next) = (0, self.size);
        // What the end of a window cuts is looked at in the next one.
        let overlap = if is_plain { MARK_BYTES } else { magic.len() - 1 };
        let mut window = vec![0; CHUNK_BYTES];
        let mut within = None;
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
                let begins = match is_plain {
                    true => (self.mark)(rest),
                    false => {
                        self.tries = self.tries.checked_sub(1).ok_or_else(|| {
                            io::Error::other(format!(
                                "{TRIES_MAX} places look like the beginning of a member"
                            ))
                        })?;
                        let (head, is_whole) = self.head_at(start);
                        if is_whole && !head.is_empty() {
                            within.get_or_insert(start);
                        }
                        (self.mark)(&head)
                    }
                };
                if begins {
                    self.next = start;
                    return Ok(true);
                }
            }
            if is_last {
                let Some(start) = within else { return Ok(false) };
                self.open(start)?;
                return Ok(self.scan().unwrap_or(false));
            }
            at += (read - overlap) as u64;
        }
    }

    /// Whether a record begins at a place.
    pub(super) fn begins_record(&self, place: Place) -> bool {
        place.position > 0 || (self.mark)(&self.head_at(place.start).0)
    }

    /// The first bytes of a member, and whether they could be decompressed without an error.
    fn head_at(&self, at: u64) -> (Vec<u8>, bool) {
        let mut head = Vec::new();
        let read =
            self.decoder_at(at).and_then(|decoder| decoder.take(MARK_BYTES as u64).read_to_end(&mut head));
        (head, read.is_ok())
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
