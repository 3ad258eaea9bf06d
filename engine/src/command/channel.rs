//! Owns: the messages of a command. It has its own channel, so its output cannot be mistaken for the worker's;
//! progress, metrics and notes are read from it, and anything else is counted and reported in a note.

use crate::secrets::Secrets;
use pipe_stage::{Better, Error, Merge, Metric, Result, Share};
use serde::{Deserialize, Deserializer};
use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
};

/// A longer line is not a message.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How much of an invalid line is shown.
const SHOWN_BYTES: usize = 200;
/// Maximum number of metrics of a command.
const FIGURES_MAX: usize = 1000;
/// Maximum number of bytes to read at once; the rest is read the next time.
const READ_BYTES_MAX: usize = 1 << 20;

/// A message of a command.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum CommandEvent {
    /// Progress.
    Progress { unit: String, done: u64, total: Option<u64> },
    /// A metric of the result; the last value of each name is recorded. With a step it is also a point of a series.
    Metric {
        name: String,
        #[serde(deserialize_with = "number")]
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
    /// A message for people.
    Note { message: String },
}

/// Reads a number, or the name of a value that JSON cannot represent.
fn number<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Named(Named),
    }
    #[derive(Deserialize)]
    enum Named {
        NaN,
        Infinity,
        #[serde(rename = "-Infinity")]
        MinusInfinity,
    }
    Ok(match Number::deserialize(from)? {
        Number::Finite(number) => number,
        Number::Named(Named::NaN) => f64::NAN,
        Number::Named(Named::Infinity) => f64::INFINITY,
        Number::Named(Named::MinusInfinity) => f64::NEG_INFINITY,
    })
}

/// Quotes the values that JSON cannot represent but Python writes.
fn with_names_quoted(line: &str) -> String {
    let (mut quoted, mut is_in_text, mut rest) = (String::with_capacity(line.len() + 16), false, line);
    while let Some(letter) = rest.chars().next() {
        let name =
            ["-Infinity", "Infinity", "NaN"].into_iter().find(|name| !is_in_text && rest.starts_with(name));
        let taken = match (name, letter) {
            (Some(name), _) => {
                quoted.extend(["\"", name, "\""]);
                name.len()
            }
            (None, '\\') => {
                let escape = rest.chars().take(2).map(char::len_utf8).sum();
                quoted.push_str(&rest[..escape]);
                escape
            }
            (None, letter) => {
                is_in_text ^= letter == '"';
                quoted.push(letter);
                letter.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    quoted
}

/// How the metrics of several shards are merged.
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
pub(super) struct Channel<'a> {
    reader: File,
    secrets: &'a Secrets,
    line: Vec<u8>,
    figures: Vec<Metric>,
    /// Number of invalid lines, and the first of them with the reason.
    unread: (u64, String),
    /// Number of metrics above the maximum.
    unkept: u64,
}

impl<'a> Channel<'a> {
    /// Creates the channel: a named pipe, for `PIPE_EVENTS`.
    ///
    /// An inherited descriptor would require a copy of this process's page tables for each command.
    pub(super) fn open(path: &Path, secrets: &'a Secrets) -> Result<Self> {
        let failed = |error: io::Error| Error::io("make a pipe", path, &error);
        make_fifo(path).map_err(failed)?;
        // Opened for reading and writing, so that neither side waits for the other.
        let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        let reader = options.map_err(failed)?;
        let (line, figures, unread) = (Vec::new(), Vec::new(), (0, String::new()));
        Ok(Self { reader, secrets, line, figures, unread, unkept: 0 })
    }

    /// Reads the messages since the last call; does not block.
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
        if self.line.trim_ascii().is_empty() {
            return;
        }
        let told = read(&self.line);
        let clean = |text: String| self.secrets.mask(&text).into_owned();
        match told {
            Ok(CommandEvent::Progress { unit, done, total }) => share.progress(&clean(unit), done, total),
            Ok(CommandEvent::Note { message }) => share.note(clean(message)),
            Ok(CommandEvent::Metric { name, value, step, unit, better, merge, clock }) => {
                let (name, unit) = (clean(name), clean(unit));
                if let Some(step) = step {
                    share.point(&name, step, value);
                }
                let figure = Metric { name, value, unit, better, merge: merge.into(), clock };
                match self.figures.iter().position(|before| before.name == figure.name) {
                    Some(before) => self.figures[before] = figure,
                    None if self.figures.len() < FIGURES_MAX => self.figures.push(figure),
                    None => self.unkept += 1,
                }
            }
            Err(reason) => {
                if self.unread.0 == 0 {
                    let shown = self.line.trim_ascii();
                    let shown = String::from_utf8_lossy(&shown[..shown.len().min(SHOWN_BYTES)]);
                    self.unread.1 = clean(format!("{shown} ({reason})"));
                }
                self.unread.0 += 1;
            }
        }
    }

    /// The metrics, each with its last value, in the order of first appearance. Reports what was not understood.
    pub(super) fn end(mut self, share: &Share) -> Vec<Metric> {
        if !self.line.is_empty() {
            // The last line need not end with a line feed.
            self.hear(share);
        }
        let (unread, first) = self.unread;
        if unread > 0 {
            let lines = if unread == 1 { "1 line".to_owned() } else { format!("{unread} lines") };
            share.note(format!("ignored {lines} of `$PIPE_EVENTS` that are not events: {first}"));
        }
        if self.unkept > 0 {
            share.note(format!("kept the first {FIGURES_MAX} metrics of the command and ignored the others"));
        }
        self.figures
    }
}

/// Reads a message; the error says why it is none.
fn read(line: &[u8]) -> std::result::Result<CommandEvent, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("longer than {} KiB", LINE_BYTES_MAX >> 10));
    }
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let told = serde_json::from_str(line);
    told.or_else(|error| serde_json::from_str(&with_names_quoted(line)).map_err(|_| error.to_string()))
}

#[expect(unsafe_code, reason = "rustix has no mkfifo for Apple's systems")]
fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the pointer refers to a zero-terminated string that lives until the call returns.
    match unsafe { libc::mkfifo(path.as_ptr(), 0o600) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_read() {
        for (value, wanted) in
            [("NaN", "NaN"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "inf"), ("2", "2")]
        {
            let line = format!(r#"{{"event":"metric","name":"a NaN \" Infinity","value":{value}}}"#);
            let told =
                serde_json::from_str(&line).or_else(|_| serde_json::from_str(&with_names_quoted(&line)));
            match (told, wanted) {
                (Ok(CommandEvent::Metric { name, value, .. }), wanted) => {
                    assert_eq!((name.as_str(), value.to_string().as_str()), ("a NaN \" Infinity", wanted));
                }
                // Too large for a number: no parser accepts it.
                (Err(_), "inf") => assert_eq!(value, "1e999"),
                _ => panic!("{line}"),
            }
        }
        with_names_quoted("\\");
    }
}
