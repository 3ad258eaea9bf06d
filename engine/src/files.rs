//! Owns: reading files that the engine or its user wrote, as a whole: a regular file of bounded size, and no device or
//! pipe that never ends.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: opening a pipe waits for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)
}

/// Reads a regular file of at most this many bytes.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}
