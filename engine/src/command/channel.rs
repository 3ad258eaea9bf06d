//! Owns: what a command may tell. It gets a channel of its own, so that nothing it writes can pass for the
//! worker's word; progress, figures and notes are taken from it, and all else is passed over.

use pipe_stage::{Better, Error, Merge, Metric, Result, Share};
use serde::Deserialize;
use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
};

/// A longer line is no event.
const LINE_BYTES_MAX: usize = 64 << 10;
/// More figures than anybody reads.
const FIGURES_MAX: usize = 1000;
/// A command that tells more than this between two looks is read on at the next.
const READ_BYTES_MAX: usize = 1 << 20;

/// A line of a command.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    /// Work went on.
    Progress { unit: String, done: u64, total: Option<u64> },
    /// A figure of the result; the last of each name is recorded. With a step also a point of a series.
    Metric {
        name: String,
        value: f64,
        step: Option<u64>,
        #[serde(default)]
        unit: String,
        #[serde(default)]
        better: Better,
        #[serde(default)]
        merge: Merged,
        #[serde(default)]
        clock: bool,
    },
    /// Something for a person.
    Note { message: String },
}

/// How the figures of several shards become one.
#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Merged {
    #[default]
    Sum,
    Mean,
    Max,
    Min,
}

impl From<Merged> for Merge {
    fn from(merged: Merged) -> Self {
        match merged {
            Merged::Sum => Self::Sum,
            Merged::Mean => Self::Mean(1.0),
            Merged::Max => Self::Max,
            Merged::Min => Self::Min,
        }
    }
}

/// The reading end of a command's channel.
pub(super) struct Channel {
    reader: File,
    line: Vec<u8>,
    figures: Vec<Metric>,
}

impl Channel {
    /// Makes the channel: a pipe with a name, for `PIPE_EVENTS`.
    ///
    /// A descriptor to inherit would cost a copy of this process's page tables for each command.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| Error::io("make a pipe", path, &error);
        make_fifo(path).map_err(failed)?;
        // For both ways, so that neither side waits for the other to open it.
        let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        Ok(Self { reader: options.map_err(failed)?, line: Vec::new(), figures: Vec::new() })
    }

    /// Takes what has been told since the last look; does not wait.
    pub(super) fn look(&mut self, share: &Share) {
        let (mut buffer, mut read_in_all) = ([0; 8 << 10], 0);
        while read_in_all < READ_BYTES_MAX {
            let Ok(read @ 1..) = self.reader.read(&mut buffer) else { return };
            read_in_all += read;
            for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
                if self.line.len() <= LINE_BYTES_MAX {
                    self.line.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    self.hear(share);
                    self.line.clear();
                }
            }
        }
    }

    fn hear(&mut self, share: &Share) {
        match serde_json::from_slice(&self.line) {
            Ok(Told::Progress { unit, done, total }) => share.progress(&unit, done, total),
            Ok(Told::Note { message }) => share.note(message),
            Ok(Told::Metric { name, value, step, unit, better, merge, clock }) => {
                if let Some(step) = step {
                    share.point(&name, step, value);
                }
                let figure = Metric { name, value, unit, better, merge: merge.into(), clock };
                match self.figures.iter().position(|before| before.name == figure.name) {
                    Some(before) => self.figures[before] = figure,
                    None if self.figures.len() < FIGURES_MAX => self.figures.push(figure),
                    None => {}
                }
            }
            Err(_) => {}
        }
    }

    /// The figures told, each with its last value, in the order of their first.
    pub(super) fn figures(self) -> Vec<Metric> {
        self.figures
    }
}

#[expect(unsafe_code, reason = "rustix has no mkfifo for Apple's systems")]
fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the pointer is to a string that ends with a zero, and lives until the call returns.
    match unsafe { libc::mkfifo(path.as_ptr(), 0o600) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
