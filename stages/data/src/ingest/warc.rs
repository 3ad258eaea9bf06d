//! Web archives → rows: WARC (ISO 28500), the WET files of Common Crawl, and ARC, the format before them.
//!
//! A record that is damaged affects only itself: reading goes on where the next one begins, see [`members`]. Which
//! records are pages is decided here, and each other one that holds what a server sent has a reason.

mod head;
mod members;

use super::columns::{Row, Value, Wanted};
use super::faults::{Fault, Unreadable};
use super::format::Compression;
use super::http::{self, Body, Headers, Response, body_of};
use crate::clean::html::decode;
use head::{Head, Kind};
use members::{Members, Place};
use std::{borrow::Cow, fs::File, io};

/// Columns that records have besides their WARC headers: the page, the text, the media type with its parameters, and the
/// position in the file. `http.status` and `http.NAME` are those of the response.
pub(super) const HTML: &str = "html";
pub(super) const TEXT: &str = "text";
pub(super) const MEDIA_TYPE: &str = "media_type";
const OFFSET: &str = "offset";
const STATUS: &str = "http.status";
const HTTP: &str = "http.";
/// The address of a page, and the time of its capture.
pub(super) const URL: &str = "WARC-Target-URI";
pub(super) const DATE: &str = "WARC-Date";
/// What the crawler took the body for.
const IDENTIFIED: &str = "WARC-Identified-Payload-Type";

/// Why a record cannot be read: the message of the error.
type Damage = String;

/// Reads the records of an archive of `size` bytes and passes on each that holds what a server sent, numbered from 1
/// among all records of the file. A record of more than `record_bytes_max` is passed over.
///
/// # Errors
/// If `each` fails. A file whose rest cannot be read is the inner error.
pub(super) fn read<E>(
    file: File,
    size: u64,
    compression: Compression,
    wanted: &Wanted,
    record_bytes_max: u64,
    mut each: impl FnMut(u64, Result<Row, Fault>) -> Result<(), E>,
) -> Result<Result<(), Unreadable>, E> {
    let lost = |row: u64, reason: String| Ok(Err(Unreadable::After { row, reason }));
    let mut members = match Members::new(file, size, compression, head::begins_record) {
        Ok(members) => members,
        Err(error) => return lost(0, error.to_string()),
    };
    let mut number = 0;
    loop {
        let mut place = Place::default();
        let damage = match next(&mut members, record_bytes_max, &mut place) {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(record)) => {
                number += 1;
                if let Some(row) = record.row(wanted, record_bytes_max) {
                    each(number, row)?;
                }
                continue;
            }
            Err(damage) => damage,
        };
        let offset = members.offset(place);
        match members.resync(place) {
            Ok(true) => {
                number += 1;
                let next = members.offset(members.place());
                each(number, Err(Fault::Damaged { offset, next, damage }))?;
            }
            Ok(false) if number == 0 && !members.begins_record(place) => {
                return Ok(Err(Unreadable::NotWarc(damage)));
            }
            Ok(false) => {
                let reason =
                    format!("the record at byte {offset} is damaged, and no other follows: {damage}");
                return lost(number, reason);
            }
            Err(error) => return lost(number, error.to_string()),
        }
    }
}

/// A record, with as much of its block as is wanted.
struct Record {
    head: Head,
    offset: u64,
    /// Of a large one, only the beginning.
    block: Vec<u8>,
}

/// As much of a record that is too large is read to tell what it is.
const BEGINNING_BYTES: u64 = 1 << 20;

/// Reads the next record; `place` becomes where it begins.
fn next(members: &mut Members, bytes_max: u64, place: &mut Place) -> Result<Option<Record>, Damage> {
    let told = |error: io::Error| error.to_string();
    loop {
        *place = members.place();
        if !members.fill().map_err(told)? {
            if !members.is_border() {
                return Ok(None);
            }
            members.cross();
            continue;
        }
        // Zeros stand behind what was on a tape.
        let blank = members.bytes().iter().take_while(|byte| b"\r\n\0".contains(byte)).count();
        members.consume(blank);
        if !members.bytes().is_empty() {
            break;
        }
    }
    *place = members.place();
    let head = Head::read(members)?;
    let kept = match (&head.kind, head.length > bytes_max) {
        (Kind::Other | Kind::Unknown, _) => 0,
        (_, true) => BEGINNING_BYTES,
        (_, false) => head.length,
    };
    let mut block = Vec::new();
    let mut left = head.length;
    while left > 0 {
        if !members.fill().map_err(told)? {
            let there = head.length - left;
            return Err(format!("its length is {} bytes, but only {there} follow", head.length));
        }
        let bytes = members.bytes();
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = usize::try_from(kept).unwrap_or(usize::MAX).saturating_sub(block.len());
        block.extend_from_slice(&bytes[..count.min(wanted)]);
        members.consume(count);
        left -= count as u64;
    }
    check_end(members, head.lines_behind)
        .map_err(|damage| format!("its length is {} bytes, but {damage}", head.length))?;
    Ok(Some(Record { offset: members.offset(*place), head, block }))
}

/// Checks that a record ends where its length says: the end of the file follows, the line ends of its format, or another
/// record.
fn check_end(members: &mut Members, lines_behind: usize) -> Result<(), Damage> {
    let mut lines = 0;
    while members.fill().map_err(|error| error.to_string())? {
        let blank = members.bytes().iter().take_while(|byte| b"\r\n\0".contains(byte)).count();
        lines += members.bytes()[..blank].iter().filter(|byte| **byte == b'\n').count();
        members.consume(blank);
        if !members.bytes().is_empty() {
            let ends = lines >= lines_behind || head::begins_record(members.peek(members::MARK_BYTES));
            return if ends { Ok(()) } else { Err("something else than a record follows".to_owned()) };
        }
    }
    Ok(())
}

impl Record {
    /// The row of a record with what a server sent; `None` for others, such as requests.
    fn row(&self, wanted: &Wanted, bytes_max: u64) -> Option<Result<Row, Fault>> {
        match self.head.kind {
            Kind::Other => None,
            Kind::Unknown => Some(Err(Fault::RecordType(self.head.type_of()))),
            Kind::Revisit => Some(Err(Fault::Revisit)),
            Kind::Segment => Some(Err(Fault::Segment)),
            Kind::Response | Kind::Resource | Kind::Conversion => Some(self.page(wanted, bytes_max)),
        }
    }

    fn page(&self, wanted: &Wanted, bytes_max: u64) -> Result<Row, Fault> {
        // What crawlers note beside pages: their settings and logs, host names, extracted text.
        const NO_PAGES: [&str; 4] = ["metadata", "urn", "dns", "whois"];
        let head = &self.head;
        let scheme = head.scheme();
        if NO_PAGES.contains(&scheme.as_str()) {
            return Err(Fault::Scheme(scheme));
        }
        let is_http = head.kind == Kind::Response || head.media_type().is_some_and(http::is_http_message);
        let response = if is_http { Response::of(&self.block) } else { None };
        let declared = match &response {
            Some(Response { status, .. }) if *status != 200 => return Err(Fault::Status(*status)),
            Some(response) => response.headers.get("content-type"),
            // Of `ftp:`, the block is the content.
            None if head.kind == Kind::Response && ["http", "https"].contains(&scheme.as_str()) => {
                return Err(Fault::NoHttp);
            }
            None => head.media_type(),
        };
        if let Some(other) = http::other_than_pages(declared) {
            return Err(Fault::MediaType(other));
        }
        if head.length > bytes_max {
            return Err(Fault::TooLong(bytes_max));
        }
        let content = match &response {
            Some(response) => response.content(bytes_max as usize)?,
            None => Cow::Borrowed(&self.block[..]),
        };
        if content.trim_ascii().is_empty() {
            return Err(Fault::NoContent);
        }
        let body = match head.kind {
            // The text of a page may speak of tags.
            Kind::Conversion => Body::Text,
            _ => body_of(declared, head.headers.get(IDENTIFIED), &content),
        };
        let content = match body {
            Body::Html => (HTML, Value::Bytes(content.into_owned())),
            Body::Text => {
                let text = decode(&content, declared).ok_or(Fault::Undecodable)?;
                (TEXT, Value::Text(text.into_owned()))
            }
            Body::Other(media_type) => return Err(Fault::MediaType(media_type)),
        };
        let columns = Columns {
            head,
            headers: response.as_ref().map(|response| &response.headers),
            status: response.as_ref().map(|response| response.status),
            offset: self.offset,
            media_type: declared,
            content: Some(content),
        };
        columns.row(wanted)
    }
}

/// The columns of a page.
struct Columns<'r> {
    head: &'r Head,
    headers: Option<&'r Headers>,
    status: Option<u16>,
    offset: u64,
    media_type: Option<&'r str>,
    content: Option<(&'static str, Value)>,
}

impl Columns<'_> {
    fn row(mut self, wanted: &Wanted) -> Result<Row, Fault> {
        let mut row = wanted.row();
        for (slot, name) in row.slots.iter_mut().zip(wanted.names()) {
            *slot = match self.content.take_if(|(column, _)| *column == name) {
                Some((_, value)) => Some(value),
                None => self.column(name).map(Value::Text),
            };
        }
        if wanted.all() {
            let named: Vec<&str> = wanted.names().collect();
            let of_http = self.headers.into_iter().flat_map(Headers::iter);
            let of_http =
                of_http.map(|(name, value)| (format!("{HTTP}{}", name.to_ascii_lowercase()), value));
            let of_record = self.head.headers.iter().map(|(name, value)| (name.to_owned(), value));
            for (name, value) in of_record.chain(of_http) {
                let is_new =
                    !row.rest.contains_key(&name) && !named.iter().any(|own| own.eq_ignore_ascii_case(&name));
                if is_new {
                    row.add(name, Some(Value::Text(value.to_owned())))?;
                }
            }
        }
        Ok(row)
    }

    fn column(&self, name: &str) -> Option<String> {
        match name {
            HTML | TEXT => None,
            MEDIA_TYPE => self.media_type.map(str::to_owned),
            OFFSET => Some(self.offset.to_string()),
            STATUS => self.status.map(|status| status.to_string()),
            name => match (name.strip_prefix(HTTP), self.headers) {
                (Some(name), headers) => headers?.get(name).map(str::to_owned),
                // wget writes addresses in brackets, as the standard once did.
                (None, _) if name.eq_ignore_ascii_case(URL) => {
                    self.head.headers.get(name).map(|url| url.trim_matches(['<', '>']).to_owned())
                }
                (None, _) => self.head.headers.get(name).map(str::to_owned),
            },
        }
    }
}

#[cfg(test)]
mod tests;
