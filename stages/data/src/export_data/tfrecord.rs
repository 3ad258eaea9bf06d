//! TensorFlow's records: `tf.train.Example` messages of Protocol Buffers in frames with checksums.
//!
//! ```text
//! file
//! └── records         length u64, masked CRC-32C of these 8 bytes u32, message, masked CRC-32C of the message u32
//!
//! Example             field 1: Features
//! └── Features        field 1, for each feature: its name (1), its value (2)
//!     └── Feature     field 1: list of bytes (1), or field 3: list of i64 (1, packed)
//! ```
//!
//! Numbers are little-endian. See `tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/example/feature.proto`.

use crate::documents::Document;

/// The record of a document: its fields that are not empty; those of its metadata begin with `metadata/`.
pub(super) fn of_document(document: &Document) -> Vec<u8> {
    let Document { id, text, html, media_type, url, source, language, license, date, metadata } = document;
    let mut features: Vec<(String, Vec<u8>)> = Vec::new();
    let fields = [
        ("date", date),
        ("id", id),
        ("language", language),
        ("license", license),
        ("media_type", media_type),
        ("source", source),
        ("text", text),
        ("url", url),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        features.push((name.to_owned(), of_bytes(value.as_bytes())));
    }
    if let Some(html) = html {
        features.push(("html".to_owned(), of_bytes(html)));
    }
    for (name, value) in metadata {
        features.push((format!("metadata/{name}"), of_bytes(value.as_bytes())));
    }
    features.sort();
    record(&features)
}

/// The record of a document's tokens.
pub(super) fn of_tokens(id: &str, ids: &[u32]) -> Vec<u8> {
    let mut packed = Vec::new();
    ids.iter().for_each(|id| varint(&mut packed, u64::from(*id)));
    let list = field(1, &packed);
    record(&[("id".to_owned(), of_bytes(id.as_bytes())), ("ids".to_owned(), field(3, &list))])
}

fn of_bytes(bytes: &[u8]) -> Vec<u8> {
    field(1, &field(1, bytes))
}

fn record(features: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries = features
        .iter()
        .flat_map(|(name, feature)| field(1, &[field(1, name.as_bytes()), field(2, feature)].concat()));
    let message = field(1, &entries.collect::<Vec<u8>>());
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &message, &masked(&message)].concat()
}

/// A field of Protocol Buffers whose value is a sequence of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u8 = 2;
    let mut out = Vec::with_capacity(bytes.len() + 6);
    out.push(number << 3 | LENGTH_DELIMITED);
    varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

/// A number in groups of seven bits.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// TensorFlow masks checksums, since they are stored next to data that may contain checksums.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_an_example_in_a_frame() {
        let message = b"\x0a\x1d\
            \x0a\x0b\x0a\x02id\x12\x05\x0a\x03\x0a\x01a\
            \x0a\x0e\x0a\x03ids\x12\x07\x1a\x05\x0a\x03\x01\xac\x02";
        let record = of_tokens("a", &[1, 300]);
        let (head, rest) = record.split_at(12);
        assert_eq!(head[..8], 31_u64.to_le_bytes());
        let (body, checksum) = rest.split_at(31);
        assert_eq!(body, message);
        // The checksum of an empty record is that of TensorFlow's tests.
        assert_eq!(
            (head[8..].to_vec(), checksum.to_vec()),
            (masked(&head[..8]).to_vec(), masked(message).to_vec())
        );
        assert_eq!(u32::from_le_bytes(masked(b"")), 0xa282_ead8);
    }
}
