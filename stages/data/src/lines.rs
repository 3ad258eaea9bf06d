//! Files between steps: JSON Lines, and buffered writes into the cache.

use pipe_stage::{Error, LocalEntry, Result, ShareFile};
use serde::{Deserialize, Serialize};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes through a buffer.
pub(crate) fn write_buffered(
    file: &mut ShareFile,
    write: impl FnOnce(&mut BufWriter<&mut ShareFile>) -> std::io::Result<()>,
) -> Result<()> {
    let mut buffer = BufWriter::new(file);
    let written = write(&mut buffer).and_then(|()| buffer.flush());
    written.map_err(|error| Error::io("write", Path::new("a file of the cache"), &error))
}

/// Writes values as JSON Lines.
pub(crate) fn write_lines<T: Serialize>(
    file: &mut ShareFile,
    lines: impl IntoIterator<Item = T>,
) -> Result<()> {
    write_buffered(file, |file| {
        for line in lines {
            serde_json::to_writer(&mut *file, &line)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Passes a value as a line of JSON to `write`.
pub(crate) fn write_json_line(
    value: &impl Serialize,
    write: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> Result<()> {
    let written = serde_json::to_vec(value).map_err(std::io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        write(&line)
    });
    written.map_err(|error| Error::io("write", Path::new("a file of the cache"), &error))
}

/// Reads the JSON Lines that an earlier step wrote.
pub(crate) fn read_lines<T: for<'a> Deserialize<'a>>(entry: &LocalEntry) -> Result<Vec<T>> {
    let bytes = entry.bytes()?;
    let failed =
        |error: serde_json::Error| Error::io("read", Path::new(entry.name()), &std::io::Error::from(error));
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(failed)).collect()
}
