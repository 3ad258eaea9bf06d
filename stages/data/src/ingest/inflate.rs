//! Decompresses files, with a limit on the output.
//!
//! All errors of compressed data are one [`Broken`]. Whether the disk failed or the file changed is reported by its
//! [`Stream`](pipe_stage::Stream) at the end.

use super::format::Compression;
use bzip2::read::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use std::io::{self, BufRead, BufReader, Read};

/// Decompressed size that is always allowed.
const BYTES_FREE: u64 = 1 << 30;
/// Larger outputs are limited to this multiple of the compressed size. Text shrinks to a tenth and logs to a
/// hundredth of their size; zstd or bzip2 bombs to less than a ten-thousandth.
pub(super) const GROWTH_MAX: u64 = 256;

/// Memory limit of the xz decoder; its highest preset uses 65 MiB.
const XZ_MEMORY_KIB_MAX: u32 = 130 << 10;

/// Why the rest of a compressed file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it ends in the middle of its {} data", .0.name())]
    Truncated(Compression),
    #[error("its {} data is damaged: {}", .0.name(), .1)]
    Damaged(Compression, String),
    #[error("its {} data has more than {GROWTH_MAX} times its size when decompressed", .0.name())]
    Bomb(Compression),
}

impl Broken {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::Damaged(..) => "damaged",
            Self::Bomb(_) => "bomb",
        }
    }

    /// The reason behind an error of a reader of [`inflate`].
    pub(super) fn of(error: &io::Error, compression: Compression) -> Self {
        match (error.get_ref().and_then(|cause| cause.downcast_ref::<Grown>()), error.kind()) {
            (Some(Grown), _) => Self::Bomb(compression),
            (None, io::ErrorKind::UnexpectedEof) => Self::Truncated(compression),
            (None, _) if error.to_string().contains("incomplete frame") => Self::Truncated(compression),
            (None, _) => Self::Damaged(compression, error.to_string()),
        }
    }
}

/// More output than allowed.
#[derive(Debug, thiserror::Error)]
#[error("too much output")]
struct Grown;

/// How many bytes a file of `size` bytes may have when it is decompressed.
pub(super) fn bytes_max(size: u64) -> u64 {
    BYTES_FREE.max(size.saturating_mul(GROWTH_MAX))
}

/// Decompresses a file of `size` bytes.
pub(super) fn inflate<'r>(
    file: impl Read + 'r,
    compression: Compression,
    size: u64,
) -> io::Result<Box<dyn Read + 'r>> {
    let left = bytes_max(size);
    Ok(match compression {
        Compression::Plain => Box::new(file),
        Compression::Gzip => Box::new(Inflated { inner: Members::new(file), left }),
        Compression::Bzip2 => Box::new(Inflated { inner: MultiBzDecoder::new(file), left }),
        Compression::Xz => {
            Box::new(Inflated { inner: XzReader::new_mem_limit(file, true, XZ_MEMORY_KIB_MAX), left })
        }
        // The decoder refuses windows above 128 MiB itself.
        Compression::Zstd => Box::new(Inflated { inner: zstd::stream::read::Decoder::new(file)?, left }),
    })
}

/// The members of a gzip file (RFC 1952), without the zeros that tapes and block devices put behind them.
struct Members<R> {
    /// Absent at the end of the file.
    current: Option<GzDecoder<BufReader<R>>>,
}

impl<R: Read> Members<R> {
    fn new(file: R) -> Self {
        Self { current: Some(GzDecoder::new(BufReader::new(file))) }
    }

    /// Goes on behind a member.
    fn next(&mut self) -> io::Result<()> {
        let Some(ended) = self.current.take() else { return Ok(()) };
        let mut rest = ended.into_inner();
        loop {
            let bytes = rest.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let is_all = zeros == bytes.len();
            if bytes.is_empty() {
                return Ok(());
            }
            rest.consume(zeros);
            if !is_all {
                self.current = Some(GzDecoder::new(rest));
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(current) = self.current.as_mut().filter(|_| !buffer.is_empty()) {
            let read = current.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.next()?;
        }
        Ok(0)
    }
}

struct Inflated<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(Grown))?;
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(in super::super) fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// `xz -0` of `some text that is long enough to be cut`.
    const XZ: &[u8] = include_bytes!("inflate/text.xz");

    fn read(bytes: &[u8], compression: Compression) -> Result<Vec<u8>, Broken> {
        let mut out = Vec::new();
        let mut reader = inflate(bytes, compression, bytes.len() as u64).unwrap();
        reader.read_to_end(&mut out).map_err(|error| Broken::of(&error, compression))?;
        Ok(out)
    }

    #[test]
    fn files_of_several_members_are_read_to_their_end() {
        let twice = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
        assert_eq!(read(&twice(gzip(b"ab")), Compression::Gzip).unwrap(), b"abab");
        let padded = [gzip(b"ab"), vec![0; 100_000]].concat();
        assert_eq!(read(&padded, Compression::Gzip).unwrap(), b"ab");
        assert_eq!(read(&twice(padded), Compression::Gzip).unwrap(), b"abab");
        assert!(matches!(
            read(&[gzip(b"ab"), b"other".to_vec()].concat(), Compression::Gzip),
            Err(Broken::Damaged(..) | Broken::Truncated(_))
        ));
        assert_eq!(read(&twice(bzip2(b"ab")), Compression::Bzip2).unwrap(), b"abab");
        let zstd = zstd::encode_all(&b"ab"[..], 1).unwrap();
        assert_eq!(read(&twice(zstd), Compression::Zstd).unwrap(), b"abab");
        let text = b"some text that is long enough to be cut".repeat(2);
        assert_eq!(read(&twice(XZ.to_vec()), Compression::Xz).unwrap(), text);
    }

    #[test]
    fn what_ends_early_is_truncated() {
        let text = b"some text that is long enough to be cut";
        for (bytes, compression) in [
            (gzip(text), Compression::Gzip),
            (bzip2(text), Compression::Bzip2),
            (zstd::encode_all(&text[..], 1).unwrap(), Compression::Zstd),
            (XZ.to_vec(), Compression::Xz),
        ] {
            assert_eq!(
                read(&bytes[..bytes.len() - 6], compression),
                Err(Broken::Truncated(compression)),
                "{compression:?}"
            );
            assert!(matches!(
                read(b"plain text", compression),
                Err(Broken::Damaged(..) | Broken::Truncated(_))
            ));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut bomb = Inflated { inner: io::repeat(b'x').take(1 << 20), left: 1 << 19 };
        let error = io::copy(&mut bomb, &mut io::sink()).unwrap_err();
        let broken = Broken::of(&error, Compression::Zstd);
        assert_eq!(broken, Broken::Bomb(Compression::Zstd));
        assert_eq!(broken.to_string(), "its zstd data has more than 256 times its size when decompressed");
    }
}
