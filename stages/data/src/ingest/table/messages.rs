//! The messages of an Arrow file or stream, looked at before their batches are read.
//!
//! A compressed buffer begins with its decompressed length, which the reader of `arrow` reserves before it decompresses
//! anything; an allocation of a length that lies ends the process. LZ4 makes a text at most 255 times smaller.

use super::ARROW_MAGIC;
use arrow_ipc::{CompressionType, Message, RecordBatch, root_as_footer, root_as_message};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Largest head of a message, and largest footer.
const HEAD_BYTES_MAX: usize = 64 << 20;
/// Marks a message since version 0.15 of the format.
const CONTINUATION: u32 = u32::MAX;
const LZ4_GROWTH_MAX: u64 = 255;

/// Checks the buffers of all batches; of a stream, also that nothing follows it.
///
/// # Errors
/// What is wrong, in words for users.
pub(super) fn check(file: &File) -> Result<(), String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let mut magic = [0; ARROW_MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) if magic == ARROW_MAGIC => check_file(file, size),
        _ => check_stream(file, size),
    }
}

/// A file: its footer lists where its batches are.
fn check_file(file: &File, size: u64) -> Result<(), String> {
    const END_BYTES: usize = 10;
    let start = size.checked_sub(END_BYTES as u64).ok_or("it is too short")?;
    let end: [u8; END_BYTES] = read(file, start, END_BYTES)?.try_into().map_err(|_| "it is too short")?;
    let length = arrow_ipc::reader::read_footer_length(end).map_err(|error| error.to_string())?;
    let footer = read(file, start.checked_sub(length as u64).ok_or("its footer is damaged")?, length)?;
    let footer = root_as_footer(&footer).map_err(|error| format!("its footer is damaged: {error}"))?;
    let blocks =
        footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    for block in blocks {
        let damaged = || "a block of its footer is damaged".to_owned();
        let offset = u64::try_from(block.offset()).map_err(|_| damaged())?;
        let head = usize::try_from(block.metaDataLength()).map_err(|_| damaged())?;
        let bytes = read(file, offset, head)?;
        let prefix = if bytes.starts_with(&CONTINUATION.to_le_bytes()) { 8 } else { 4 };
        let message = root_as_message(bytes.get(prefix..).ok_or_else(damaged)?);
        let message = message.map_err(|error| format!("a message is damaged: {error}"))?;
        check_message(file, &message, offset.checked_add(head as u64).ok_or_else(damaged)?)?;
    }
    Ok(())
}

/// A stream: one message after the other.
fn check_stream(file: &File, size: u64) -> Result<(), String> {
    let number = |at: u64| -> Result<u32, String> {
        let bytes = read(file, at, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let mut at = 0;
    while at < size {
        let mut head = number(at)?;
        at += 4;
        if head == CONTINUATION {
            head = number(at)?;
            at += 4;
        }
        if head == 0 {
            return match size - at {
                0 => Ok(()),
                rest => Err(format!("{rest} bytes follow the end of its stream; write one stream per file")),
            };
        }
        let bytes = read(file, at, head as usize)?;
        let message = root_as_message(&bytes).map_err(|error| format!("a message is damaged: {error}"))?;
        let body = at + u64::from(head);
        check_message(file, &message, body)?;
        let length = u64::try_from(message.bodyLength()).map_err(|_| "a message is damaged")?;
        at = body.checked_add(length).ok_or("a message is damaged")?;
    }
    // A stream may end without a mark.
    Ok(())
}

/// Checks the buffers of a message, whose body begins at `body`.
fn check_message(file: &File, message: &Message<'_>, body: u64) -> Result<(), String> {
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    let is_lz4 = |batch: &RecordBatch<'_>| {
        batch.compression().is_some_and(|compression| compression.codec() == CompressionType::LZ4_FRAME)
    };
    let Some(batch) = batch.filter(is_lz4) else { return Ok(()) };
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
        let (Ok(offset), Ok(length)) = (offset, length) else { return Err("a buffer is damaged".to_owned()) };
        let Some(packed) = length.checked_sub(8) else { continue };
        let prefix = read(file, body.checked_add(offset).ok_or("a buffer is damaged")?, 8)?;
        let claimed = prefix.try_into().map(i64::from_le_bytes).map_err(|_| "a buffer is damaged")?;
        // -1: it is not compressed.
        if u64::try_from(claimed).is_ok_and(|claimed| claimed > packed.saturating_mul(LZ4_GROWTH_MAX)) {
            return Err(format!("a buffer of {packed} compressed bytes claims to hold {claimed} bytes"));
        }
    }
    Ok(())
}

fn read(file: &File, at: u64, length: usize) -> Result<Vec<u8>, String> {
    if length > HEAD_BYTES_MAX {
        return Err(format!("the head of a message has {length} bytes"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).map_err(|_| "it ends too early".to_owned())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;

    fn batch() -> arrow::array::RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["some text ".repeat(50); 30]));
        arrow::array::RecordBatch::try_from_iter([("text", texts)]).unwrap()
    }

    fn written(is_file: bool) -> Vec<u8> {
        let options =
            || IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
        let (batch, mut out) = (batch(), Vec::new());
        if is_file {
            let mut writer = FileWriter::try_new_with_options(&mut out, &batch.schema(), options()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        } else {
            let mut writer =
                StreamWriter::try_new_with_options(&mut out, &batch.schema(), options()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        out
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        check(&file)
    }

    #[test]
    fn lengths_that_lie_are_found_before_they_are_reserved() {
        for is_file in [true, false] {
            let good = written(is_file);
            assert_eq!(checked(&good), Ok(()));
            let frame = memchr::memmem::find_iter(&good, &[4, 0x22, 0x4D, 0x18]).last().unwrap();
            let mut bad = good.clone();
            bad[frame - 8..frame].copy_from_slice(&10_i64.pow(15).to_le_bytes());
            assert!(checked(&bad).unwrap_err().contains("claims to hold"), "{is_file}");
        }
    }

    #[test]
    fn a_stream_behind_another_is_told() {
        let one = written(false);
        assert!(checked(&[one.clone(), one.clone()].concat()).unwrap_err().contains("one stream per file"));
        // The mark of the end is optional.
        assert_eq!(checked(&one[..one.len() - 8]), Ok(()));
        assert!(checked(&one[..one.len() / 2]).is_err());
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_nothing(at in 0_usize..2000, byte in any::<u8>(), is_file in any::<bool>()) {
            let mut bytes = written(is_file);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = checked(&bytes);
        }
    }
}
