//! What fuzzers call: each target takes any bytes, and panics if something does not hold that must hold for any input. The
//! programs, the seeds and how to run them are in `fuzz/`; tests replay the seeds.

use crate::{
    coding::decode,
    links::{self, Rules},
    robots::{self, Robots},
    sitemap::Sitemap,
    warc::{Capture, Head, Record, sha1},
};
use url::Url;

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this package.
pub const TARGETS: &[Target] =
    &[("crawl_http", crawl_http), ("links", links), ("robots", robots), ("sitemap", sitemap)];

const BYTES_MAX: usize = 1 << 20;
const TOKEN: &str = "bot";

/// Stored responses with their headers: as a record of an earlier crawl, and as one that is written and read again.
pub fn crawl_http(data: &[u8]) {
    if let Ok(Some(record)) = Record::read(data, BYTES_MAX as u64) {
        let _ = record.get("WARC-Target-URI");
        record.http().into_iter().for_each(|(head, body)| response(&head, body));
    }
    // The fields up to an empty line, and the body.
    let end = memchr::memmem::find(data, b"\n\n").unwrap_or(data.len());
    let (fields, body) = (&data[..end], data.get(end + 2..).unwrap_or_default());
    let head = Head::new("HTTP/1.1", 200, "OK", fields.split(|byte| *byte == b'\n').filter_map(field));
    response(&head, body);
    let digest = sha1(body);
    let capture = Capture {
        url: "http://h/a",
        date: "2026-01-31T12:00:00Z",
        address: None,
        head: &head,
        body,
        digest: &digest,
    };
    let member = capture.response();
    let read = Record::read(&member[..], (member.len() + data.len() + 4096) as u64);
    let record = read.ok().flatten().expect("a record that was written can be read");
    let (again, stored) = record.http().expect("it is a response");
    assert_eq!((again.bytes, stored), (head.bytes, body));
}

/// A header as the HTTP library gives it: its name is a token, and its value has no control characters.
fn field(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_value = value.iter().all(|byte| !byte.is_ascii_control());
    (is_name && is_value).then_some((name, value.trim_ascii()))
}

/// All that is read of a response.
fn response(head: &Head, body: &[u8]) {
    let _ = (head.media_type(), head.charset());
    let mut rules = Rules::default();
    head.all("x-robots-tag").for_each(|value| rules.add_header(value, TOKEN));
    let content = decode(body, &head.codings(), BYTES_MAX);
    assert!(content.is_ok_and(|content| content.len() <= BYTES_MAX) || !head.codings().is_empty());
}

/// Links of pages: the first line is the charset that the server sent.
pub fn links(data: &[u8]) {
    let line = memchr::memchr(b'\n', data).unwrap_or(0);
    let (charset, page) = (str::from_utf8(&data[..line]).ok(), &data[line..]);
    let url = Url::parse("http://h/dir/page?x").expect("invariant: this is an address");
    let found = links::read(page, &url, charset, TOKEN);
    // The shortest link is `<a href=x>`; in UTF-16 it has more bytes.
    assert!(found.links.len() <= page.len() / 10);
    assert_eq!(links::read(page, &url, charset, TOKEN), found);
}

/// Files `robots.txt`: the last line is a path.
pub fn robots(data: &[u8]) {
    let robots = Robots::parse(data, TOKEN);
    assert!(robots.sitemaps.iter().map(String::len).sum::<usize>() <= data.len());
    let path = data.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let path = format!("/{}", String::from_utf8_lossy(path));
    let allowed = robots.allows(&path);
    assert!(robots.allows("/robots.txt"));
    if data.len() < robots::BYTES_MAX - 3 && !data.starts_with(b"\xEF\xBB\xBF") {
        let marked = Robots::parse(&[b"\xEF\xBB\xBF", data].concat(), TOKEN);
        assert_eq!(marked, robots, "a byte order mark says nothing");
        assert_eq!(marked.allows(&path), allowed);
    }
}

/// Sitemaps.
pub fn sitemap(data: &[u8]) {
    let sitemap = Sitemap::read(data);
    let addresses = || sitemap.pages.iter().chain(&sitemap.sitemaps);
    assert!(addresses().count() <= 50_000 && addresses().all(|address| address.len() <= 2048));
    // What is no UTF-8 is replaced by a character of three bytes.
    assert!(addresses().map(String::len).sum::<usize>() <= 3 * data.len());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn seeds_of_the_fuzzers_hold() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in super::TARGETS {
            let mut count = 0;
            for seed in std::fs::read_dir(seeds.join(name)).expect("each target has a folder of seeds") {
                target(&std::fs::read(seed.expect("an entry").path()).expect("a seed can be read"));
                count += 1;
            }
            assert!(count > 0, "`{name}` has no seeds");
        }
    }
}
