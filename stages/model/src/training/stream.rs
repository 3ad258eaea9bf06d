//! Token ids on disk as one flat stream, read at any position.

use pipe_data::Tokenizer;
use pipe_data::tokens::TokensReader;
use pipe_stage::{Error, InputItem, Result, Share};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A flat stream of token ids on disk, little endian, two or four bytes each.
#[derive(Debug)]
pub(crate) struct TokenFile {
    file: File,
    width: Width,
    tokens: u64,
}

/// Bytes of a token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Two,
    Four,
}

impl Width {
    fn of(vocabulary: usize) -> Self {
        if vocabulary <= 1 << 16 { Self::Two } else { Self::Four }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// Writes a [`TokenFile`].
pub(crate) struct TokenWriter {
    path: PathBuf,
    file: BufWriter<File>,
    width: Width,
    tokens: u64,
}

impl TokenWriter {
    /// A stream of ids below `vocabulary`.
    pub(crate) fn create(path: &Path, vocabulary: usize) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, File::create(path)?),
            width: Width::of(vocabulary),
            tokens: 0,
        })
    }

    pub(crate) fn push(&mut self, ids: &[u32]) -> io::Result<()> {
        self.tokens += ids.len() as u64;
        match self.width {
            Width::Two => ids.iter().try_for_each(|&id| match u16::try_from(id) {
                Ok(id) => self.file.write_all(&id.to_le_bytes()),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("token id {id} does not belong to the vocabulary"),
                )),
            }),
            Width::Four => ids.iter().try_for_each(|id| self.file.write_all(&id.to_le_bytes())),
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<TokenFile> {
        self.file.flush()?;
        Ok(TokenFile { file: File::open(&self.path)?, width: self.width, tokens: self.tokens })
    }
}

impl TokenFile {
    pub(crate) fn len(&self) -> u64 {
        self.tokens
    }

    /// The `n` tokens from `start`; they must be there.
    pub(crate) fn read(&self, start: u64, n: usize) -> io::Result<Vec<u32>> {
        let mut bytes = vec![0; self.width.bytes() * n];
        self.file.read_exact_at(&mut bytes, self.width.bytes() as u64 * start)?;
        Ok(match self.width {
            Width::Two => bytes.as_chunks().0.iter().map(|id| u16::from_le_bytes(*id).into()).collect(),
            Width::Four => bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect(),
        })
    }
}

/// Writes the documents' tokens one after the other, each document ended by the end-of-document token.
pub(crate) fn flat_stream(
    share: &Share,
    item: &InputItem,
    tokenizer: &Tokenizer,
    path: &Path,
    least: u64,
) -> Result<TokenFile> {
    let written = |error: std::io::Error| Error::io("write", path, &error);
    let fault = |error: &dyn std::fmt::Display| Error::input(format!("{} tokens: {error}", item.name()));
    let mut writer = TokenWriter::create(path, tokenizer.vocabulary_size() as usize).map_err(written)?;
    for entry in share.track("shards", item.entries()) {
        let entry = entry?;
        let reader =
            TokensReader::open(&entry.path()?, entry.selection()?.as_ref()).map_err(|e| fault(&e))?;
        if reader.metadata().tokenizer_digest != tokenizer.digest() {
            let message = format!("shard `{}` was made with another tokenizer", entry.name());
            return Err(fault(&message).help("tokenize with the tokenizer that `needs.tokenizer` names"));
        }
        for document in reader {
            let (_, ids) = document.map_err(|error| fault(&error))?;
            writer.push(&ids).map_err(written)?;
            if let Some(eos) = tokenizer.eos().filter(|eos| ids.last() != Some(eos)) {
                writer.push(&[eos]).map_err(written)?;
            }
        }
    }
    let stream = writer.finish().map_err(written)?;
    if stream.len() == 0 {
        let message = format!(
            "`needs.{0}` has no tokens: the stages before it left no documents for the {0} set",
            item.name()
        );
        return Err(Error::input(message).help(
            "see how many documents `tokenize`, `split` and `clean` report, and the fractions of `split`",
        ));
    }
    if stream.len() < least {
        let message =
            format!("the {} set has {} tokens, one window takes {least}", item.name(), stream.len());
        return Err(Error::input(message).help("add documents, or shorten `model.context_length`"));
    }
    Ok(stream)
}
