//! Owns: series of stages in TensorBoard's format. It does not know runs.
//!
//! ```text
//! tensorboard/STAGE/events.out.tfevents.SECONDS.HOST.PID
//! ```
//!
//! The file is a TFRecord file. Each record consists of its length (u64, little endian), the masked CRC32C of these
//! eight bytes, the record, and its masked CRC32C (TensorFlow, `tensorflow/core/lib/io/record_writer.cc`). A record
//! is a protocol buffer `tensorflow.Event`; the first names the format, the others contain one scalar each
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

/// The series of a run, one folder per stage.
#[derive(Debug)]
pub(super) struct Board {
    folder: PathBuf,
    /// `None`: it cannot be written, and is not tried again.
    files: BTreeMap<String, Option<File>>,
}

impl Board {
    /// A board in this folder, which is created with the first point.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// Adds a point to a series. Errors are ignored: a full disk is reported elsewhere.
    pub(super) fn point(&mut self, stage: &str, name: &str, step: u64, value: f64, at: f64) {
        let file = self.files.entry(stage.to_owned()).or_insert_with(|| open(&self.folder, stage, at).ok());
        let written = file.as_mut().map(|file| file.write_all(&record(&scalar(name, step, value, at))));
        if written.is_some_and(|written| written.is_err()) {
            *file = None;
        }
    }
}

fn open(folder: &std::path::Path, stage: &str, at: f64) -> io::Result<File> {
    let folder = folder.join(stage.replace('/', "%2F"));
    fs::create_dir_all(&folder)?;
    let host = rustix::system::uname().nodename().to_string_lossy().replace('/', "_");
    let name = format!("events.out.tfevents.{:010}.{host}.{}", at as u64, std::process::id());
    let mut file = File::create(folder.join(name))?;
    file.write_all(&record(&header(at)))?;
    Ok(file)
}

/// Frames a record.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(bytes.len() + 16);
    framed.extend_from_slice(&length);
    framed.extend_from_slice(&masked_crc(&length).to_le_bytes());
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(&masked_crc(bytes).to_le_bytes());
    framed
}

/// CRC32C, masked so that the checksum of data that contains checksums differs from them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The first event of a file.
fn header(at: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, at);
    event.bytes(3, b"brain.Event:2");
    event.0
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 { tag: 1, simple_value: 2 } } }`
fn scalar(name: &str, step: u64, value: f64, at: f64) -> Vec<u8> {
    let mut point = Message::default();
    point.bytes(1, name.as_bytes());
    point.float(2, value as f32);
    let mut summary = Message::default();
    summary.bytes(1, &point.0);
    let mut event = Message::default();
    event.double(1, at);
    event.varint(2, step);
    event.bytes(5, &summary.0);
    event.0
}

/// A protocol buffer message while it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED32: u64 = 5;

    fn varint(&mut self, field: u64, value: u64) {
        self.raw(field << 3 | Self::VARINT);
        self.raw(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.raw(field << 3 | Self::FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.raw(field << 3 | Self::FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw(field << 3 | Self::BYTES);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Seven bits per byte, lowest first; the top bit says that more follow.
    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_masked_crc32c() {
        // RFC 3720, B.4: CRC32C of 32 zeros; the mask is TensorFlow's.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn an_event_is_the_bytes_that_protobuf_makes() {
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // wall_time: 1.5
            0x10, 0xac, 0x02, // step: 300
            0x2a, 0x0d, // summary, 13 bytes
            0x0a, 0x0b, // value, 11 bytes
            0x0a, 0x04, b'l', b'o', b's', b's', // tag
            0x15, 0, 0, 0, 0x40, // simple_value: 2.0
        ];
        assert_eq!(scalar("loss", 300, 2.0, 1.5), expected);
    }

    #[test]
    fn a_file_begins_with_its_format() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::new(folder.path().join("tensorboard"));
        board.point("base", "loss", 1, 2.0, 1.5);
        board.point("base", "loss", 2, 1.0, 2.5);
        let file = fs::read_dir(folder.path().join("tensorboard/base")).unwrap().next().unwrap().unwrap();
        let bytes = fs::read(file.path()).unwrap();
        assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents.0000000001."));
        assert_eq!(bytes[..8], 24u64.to_le_bytes());
        assert_eq!(&bytes[12 + 9..12 + 24], b"\x1a\x0dbrain.Event:2");
        // The first record, and two of the same length.
        assert_eq!(bytes.len(), 16 + 24 + 2 * (16 + scalar("loss", 1, 2.0, 1.5).len()));
    }
}
