//! Files between steps: JSON Lines, and buffered writes into the cache.

use pipe_stage::{Error, LocalEntry, Result, ShareFile};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
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

/// Reads the JSON Lines that an earlier step wrote.
pub(crate) fn read_lines<T: for<'a> Deserialize<'a>>(entry: &LocalEntry) -> Result<Vec<T>> {
    let path = entry.path()?;
    let failed = |error: std::io::Error| Error::io("read", &path, &error);
    let lines = BufReader::new(File::open(&path).map_err(failed)?).lines();
    lines
        .map(|line| serde_json::from_str(&line.map_err(failed)?).map_err(|error| failed(error.into())))
        .collect()
}
