//! nanoGPT's token files: consecutive ids without any structure.
//!
//! ```text
//! train.bin
//! ├── header      `header_bytes` bytes, none in nanoGPT's own
//! └── ids         u16 or u32, little-endian; each document ends with the end-of-document token
//! ```
//!
//! Written by `data/*/prepare.py` of github.com/karpathy/nanoGPT.

use super::{Element, Reading, Shards};
use pipe_stage::{Error, LocalEntry, Result};
use std::io::{self, Read};
use std::path::Path;

/// Bytes read at a time; a multiple of every element.
const CHUNK_BYTES: u64 = 1 << 20;

pub(super) fn read(data: &LocalEntry, reading: &Reading, shards: &mut Shards) -> Result<()> {
    let element = reading.element.bytes();
    let (name, header) = (data.name(), u64::from(reading.header_bytes));
    check_size(name, reading, data.size())?;
    let failed = |error: io::Error| Error::io("read", Path::new(name), &error);
    let mut stream = data.stream()?;
    io::copy(&mut (&mut stream).take(header), &mut io::sink()).map_err(failed)?;
    let (mut chunk, mut token) = (Vec::new(), 0);
    loop {
        chunk.clear();
        (&mut stream).take(CHUNK_BYTES).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.is_empty() {
            return stream.finish();
        }
        if token == 0 {
            check_element(name, reading, shards.vocabulary_size, &chunk)?;
        }
        let before = token;
        for bytes in chunk.chunks_exact(element as usize) {
            let id = bytes.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte));
            shards.push(id, token, header + token * element)?;
            if Some(id) == shards.eos.map(u64::from) {
                shards.end_document()?;
            }
            token += 1;
        }
        shards.advance(token - before)?;
    }
}

/// Refuses files that the first bytes and the size show to be of another kind.
pub(super) fn preview(name: &str, reading: &Reading, size: u64, start: &[u8]) -> Result<()> {
    check_size(name, reading, size)?;
    // Which ids there are is not known yet.
    check_element(name, reading, u32::MAX, start)
}

fn check_size(name: &str, reading: &Reading, size: u64) -> Result<()> {
    let (element, header) = (reading.element.bytes(), reading.header_bytes);
    let body = size
        .checked_sub(header.into())
        .ok_or_else(|| Error::input(format!("`{name}` has {size} bytes, and `header_bytes` are {header}")))?;
    if !body.is_multiple_of(element) {
        let message =
            format!("`{name}` ends in the middle of an id: {body} bytes are not a multiple of {element}");
        return Err(Error::input(message).help("see `element` and `header_bytes`"));
    }
    Ok(())
}

/// Refuses files whose ids clearly do not match the config: 32-bit ids read as 16-bit, and files of llm.c, whose
/// header is not ids.
fn check_element(name: &str, reading: &Reading, vocabulary_size: u32, start: &[u8]) -> Result<()> {
    /// Magic numbers of llm.c's files, and the type of the ids that follow.
    const LLM_C: [(u32, &str); 2] = [(20_240_520, "u16"), (20_240_801, "u32")];
    let magic = start.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if let Some((_, element)) = LLM_C.iter().find(|(number, _)| magic == Some(*number))
        && reading.header_bytes == 0
    {
        let message = format!("`{name}` begins with the header of llm.c, which is not tokens");
        return Err(Error::input(message).help(format!("set `header_bytes: 1024` and `element: {element}`")));
    }
    let halves = start.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
    let high_max = vocabulary_size.saturating_sub(1) >> 16;
    let is_wide = start.len() >= 8
        && start.len().is_multiple_of(4)
        && halves.clone().skip(1).step_by(2).all(|high| u32::from(high) <= high_max)
        && halves.step_by(2).any(|low| u32::from(low) > high_max);
    if reading.element == Element::U16 && is_wide {
        let message =
            format!("`{name}` contains 32-bit ids: every second 16-bit value is at most {high_max}");
        return Err(Error::input(message).help("set `element: u32`"));
    }
    Ok(())
}
