//! The index of Megatron-LM's token files. The format is drawn where it is read, in `ingest_tokens/megatron.rs`.

use std::io::{self, Write};

/// Writes the index of documents with these lengths in ids, of which each is one sequence.
pub(super) fn write_index(file: &mut impl Write, lengths: &[u32], is_narrow: bool) -> io::Result<()> {
    let (element, bytes) = if is_narrow { (8_u8, 2) } else { (4, 4) };
    file.write_all(b"MMIDIDX\0\0")?;
    file.write_all(&1_u64.to_le_bytes())?;
    file.write_all(&[element])?;
    file.write_all(&(lengths.len() as u64).to_le_bytes())?;
    file.write_all(&(lengths.len() as u64 + 1).to_le_bytes())?;
    for length in lengths {
        file.write_all(&length.to_le_bytes())?;
    }
    let mut at = 0_u64;
    for length in lengths {
        file.write_all(&at.to_le_bytes())?;
        at += u64::from(*length) * bytes;
    }
    for document in 0..=lengths.len() as u64 {
        file.write_all(&document.to_le_bytes())?;
    }
    Ok(())
}
