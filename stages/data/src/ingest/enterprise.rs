//! Dumps of Wikimedia Enterprise → rows: a tar archive of JSON Lines, with an article as HTML on each line.

use super::columns::{Row, Value, Wanted};
use super::faults::{Fault, Unreadable};
use super::jsonl;
use super::mediawiki::{Selection, language};
use std::io::{self, BufRead, BufReader, Read};

/// Columns of an article that documents have if `columns` does not map others.
pub(super) const ID: &str = "identifier";
pub(super) const TITLE: &str = "name";
pub(super) const HTML: &str = "article_body.html";
pub(super) const URL: &str = "url";
pub(super) const DATE: &str = "date_modified";
pub(super) const LANGUAGE: &str = "in_language.identifier";
pub(super) const LICENSE: &str = "license";

/// Where the number of an article's namespace is: `{"namespace": {"identifier": 0}}`.
const NAMESPACE: (&str, &str) = ("namespace", "identifier");
const NAMESPACE_COLUMN: &str = "namespace.identifier";

const BLOCK_BYTES: usize = 512;

/// Reads the lines of all files of an archive and passes on each, numbered from 1 among those that are not blank.
///
/// # Errors
/// If `input` or `each` fails. A file whose rest cannot be read is the inner error.
pub(super) fn read<E: From<io::Error>>(
    input: impl Read,
    wanted: &Wanted,
    selection: &Selection,
    line_bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    // A column that only this reader wants is the last, and goes no further.
    let is_aside = !wanted.all() && wanted.names().all(|name| name != NAMESPACE_COLUMN);
    let columns = if is_aside { wanted.with_metadata(NAMESPACE_COLUMN) } else { wanted.clone() };
    let mut input = BufReader::with_capacity(256 << 10, input);
    let mut number = 0;
    loop {
        let lost = |number: u64, reason: &str| match number {
            0 => Ok(Err(Unreadable::NotTar(reason.to_owned()))),
            row => Ok(Err(Unreadable::After { row, reason: reason.to_owned() })),
        };
        let size = match header(&mut input)? {
            Header::File(size) => size,
            Header::Other(size) => {
                if !skip(&mut input, padded(size))? {
                    return lost(number, "it ends within a member");
                }
                continue;
            }
            Header::End => return Ok(Ok(())),
            Header::Damaged(reason) => return lost(number, reason),
        };
        let mut member = input.by_ref().take(size);
        jsonl::read(&mut member, &columns, line_bytes_max, |_, row| {
            number += 1;
            let row = row.and_then(|mut row| {
                // Each dump is of one namespace; old ones do not say which.
                let namespace = namespace(&row, &columns).unwrap_or(0);
                if is_aside {
                    row.slots.pop();
                }
                match selection.takes(namespace) {
                    true => Ok(completed(row, wanted)),
                    false => Err(Fault::Namespace(namespace)),
                }
            });
            each(number, row)
        })?;
        let left = member.limit();
        if left > 0 || !skip(&mut input, padded(size) - size)? {
            return lost(number, "it ends within a member");
        }
    }
}

/// What a header says about the member behind it.
enum Header {
    /// A regular file of this size.
    File(u64),
    /// A folder, a link, or more about the next member.
    Other(u64),
    End,
    Damaged(&'static str),
}

/// Reads a header (POSIX `ustar`, and GNU's large sizes). Names do not matter here.
fn header(input: &mut impl BufRead) -> io::Result<Header> {
    let mut block = [0; BLOCK_BYTES];
    let mut read = 0;
    while read < BLOCK_BYTES {
        match input.read(&mut block[read..])? {
            0 if read == 0 => return Ok(Header::End),
            0 => return Ok(Header::Damaged("it ends within a header")),
            count => read += count,
        }
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Header::End);
    }
    // The checksum counts its own field as spaces.
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    if octal(&block[148..156]) != Some(sum) {
        return Ok(Header::Damaged("the checksum of a header is wrong"));
    }
    let size = match block[124] {
        0x80 => u64::from_be_bytes(block[128..136].try_into().expect("invariant: eight bytes")),
        _ => match octal(&block[124..136]) {
            Some(size) => size,
            None => return Ok(Header::Damaged("the size of a member is no number")),
        },
    };
    if size > u64::MAX / 2 {
        return Ok(Header::Damaged("the size of a member is no number"));
    }
    Ok(if matches!(block[156], b'0' | 0) { Header::File(size) } else { Header::Other(size) })
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

const fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES as u64) * BLOCK_BYTES as u64
}

/// Passes over bytes; false if there are fewer.
fn skip(input: &mut impl Read, count: u64) -> io::Result<bool> {
    Ok(io::copy(&mut input.take(count), &mut io::sink())? == count)
}

/// The number of the namespace of an article.
fn namespace(row: &Row, columns: &Wanted) -> Option<i32> {
    let slot = columns.names().position(|name| name == NAMESPACE_COLUMN);
    match slot {
        Some(slot) => match row.slots.get(slot)?.as_ref()? {
            Value::Text(number) => number.parse().ok(),
            _ => None,
        },
        None => {
            let Value::Nested(json) = row.rest.get(NAMESPACE.0)? else { return None };
            let namespace: serde_json::Value = serde_json::from_str(json).ok()?;
            i32::try_from(namespace[NAMESPACE.1].as_i64()?).ok()
        }
    }
}

/// The row with its licence and language as documents have them.
fn completed(mut row: Row, wanted: &Wanted) -> Row {
    for (slot, name) in row.slots.iter_mut().zip(wanted.names()) {
        match (name, &*slot) {
            (LICENSE, Some(Value::Nested(json))) => *slot = license(json).map(Value::Text),
            (LANGUAGE, Some(Value::Text(code))) => *slot = Some(Value::Text(language(code).to_owned())),
            _ => {}
        }
    }
    row
}

/// The SPDX expression for a list of licences; all of them hold at the same time.
fn license(json: &str) -> Option<String> {
    let licenses: Vec<serde_json::Value> = serde_json::from_str(json).ok()?;
    let named = |license: &serde_json::Value| {
        let text = |name: &str| license[name].as_str().unwrap_or_default();
        let known = spdx_of_address(text("url"));
        known.or_else(|| Some(text("identifier").to_owned()).filter(|text| !text.is_empty()))
    };
    let mut names: Vec<String> = licenses.iter().filter_map(named).collect();
    names.dedup();
    (!names.is_empty()).then(|| names.join(" AND "))
}

/// The SPDX identifier of a licence of Creative Commons from its address: `https://creativecommons.org/licenses/by-sa/4.0/`.
pub(super) fn spdx_of_address(address: &str) -> Option<String> {
    let (_, path) = address.split_once("creativecommons.org/")?;
    let mut parts = path.split('/');
    match (parts.next()?, parts.next()?.to_ascii_uppercase(), parts.next().unwrap_or_default()) {
        ("publicdomain", name, "1.0") if name == "ZERO" => Some("CC0-1.0".to_owned()),
        ("licenses", name, version)
            if is_license(&name) && matches!(version, "1.0" | "2.0" | "2.5" | "3.0" | "4.0") =>
        {
            Some(format!("CC-{name}-{version}"))
        }
        _ => None,
    }
}

fn is_license(name: &str) -> bool {
    ["BY", "BY-SA", "BY-NC", "BY-ND", "BY-NC-SA", "BY-NC-ND"].contains(&name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tar archive of one file.
    pub(in super::super) fn tar(content: &[u8]) -> Vec<u8> {
        let mut header = [0_u8; BLOCK_BYTES];
        header[..8].copy_from_slice(b"a.ndjson");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let padding = vec![0; padded(content.len() as u64) as usize - content.len()];
        [&header[..], content, &padding].concat()
    }

    #[test]
    fn licences_are_named_as_spdx_does() {
        let json =
            r#"[{"identifier":"CC-BY-SA-3.0","url":"https://creativecommons.org/licenses/by-sa/4.0/"}]"#;
        assert_eq!(license(json).as_deref(), Some("CC-BY-SA-4.0"));
        assert_eq!(license(r#"[{"identifier":"GFDL-1.3"},{"name":"x"}]"#).as_deref(), Some("GFDL-1.3"));
        assert_eq!(license("{}"), None);
        assert_eq!(
            spdx_of_address("https://creativecommons.org/publicdomain/zero/1.0/").as_deref(),
            Some("CC0-1.0")
        );
        assert_eq!(spdx_of_address("https://creativecommons.org/licenses/x/9/"), None);
    }
}
