//! Owns: a manifest's access to the machine: files and environment variables.

use pipe_stage::files;
use std::{io, path::Path};

/// Maximum size of a manifest file.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// A manifest's access to the machine.
pub struct World<'a> {
    /// Reads a file, up to [`FILE_BYTES_MAX`].
    pub file: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Reads an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl World<'static> {
    /// The machine that this runs on.
    pub fn machine() -> Self {
        Self { file: &read_file, variable: &variable }
    }
}

/// Reads an environment variable. In a value that is not UTF-8, invalid bytes become U+FFFD: this is enough to know
/// that a secret is set, and to refuse the value where its text is needed.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Reads a regular file of bounded size.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    files::read(path, FILE_BYTES_MAX)
}
