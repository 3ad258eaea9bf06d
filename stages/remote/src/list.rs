//! Lists of files: one path or address a line, such as Common Crawl's `warc.paths.gz`.

use crate::address::{Scheme, segment};
use flate2::read::MultiGzDecoder;
use pipe_stage::{Digest, Error, Result, shown};
use std::{
    collections::BTreeSet,
    io::{Cursor, Read},
};

/// Longest list in bytes, also uncompressed. One of Common Crawl has 100,000 lines of 140 bytes.
pub(crate) const BYTES_MAX: usize = 256 << 20;
/// Longest line in bytes: signed addresses are long.
const LINE_MAX: usize = 8192;

/// A file that a list names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// The path as it is listed; of an address, without scheme and query.
    pub(crate) name: String,
    pub(crate) url: String,
}

/// The files that a list names, sorted by name, each once: those whose hash is at most `hash_max`.
pub(crate) fn lines(list: &str, bytes: &[u8], base: &str, hash_max: Option<u64>) -> Result<Vec<Line>> {
    let shown = shown(list);
    let text = inflated(bytes).map_err(|message| Error::input(format!("the list `{shown}` {message}")))?;
    let text = String::from_utf8(text)
        .map_err(|_| Error::input(format!("the list `{shown}` is not UTF-8")).help(HELP))?;
    let mut lines = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault =
            |what: &str| Error::input(format!("line {number} of the list `{shown}` {what}")).help(HELP);
        if line.len() > LINE_MAX {
            return Err(fault(&format!("has more than {LINE_MAX} bytes")));
        }
        if line.contains(char::is_whitespace) {
            return Err(fault("has white space"));
        }
        if hash_max.is_some_and(|max| hash(line) > max) {
            continue;
        }
        let line = match line.split_once("://") {
            Some((_, rest)) if has_user(line, rest) => {
                return Err(fault("has a user or password, which would be stored with the results"));
            }
            Some((_, rest)) => Line { name: plain(rest), url: line.to_owned() },
            None if base.is_empty() => return Err(fault("is no address")),
            None => {
                let path = line.trim_start_matches('/');
                if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(fault("has an empty part, `.` or `..`"));
                }
                Line { name: path.to_owned(), url: joined(base, path) }
            }
        };
        lines.insert(line);
    }
    if lines.is_empty() {
        let what = if hash_max.is_some() { "has no line in the sample" } else { "names no files" };
        return Err(Error::input(format!("the list `{shown}` {what}")).help("take a larger fraction of it"));
    }
    Ok(lines.into_iter().collect())
}

const HELP: &str = "a list has one path or address a line, and may be compressed with gzip";

/// The hash that decides about a line: it depends on nothing else.
fn hash(line: &str) -> u64 {
    let digest = Digest::derive("pipe line of a list v1", line.as_bytes());
    let [first, ..] = digest.as_bytes().as_chunks::<8>().0 else { return 0 };
    u64::from_le_bytes(*first)
}

/// Whether an address of a web server names who asks.
fn has_user(url: &str, rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    Scheme::of(url).is_ok_and(|scheme| scheme == Scheme::Web) && authority.contains('@')
}

/// The address of a path below a base. Paths are those of files, as buckets have them: on a web server, what means
/// something else in an address is escaped. A query of the base, such as a signature, is that of each address.
fn joined(base: &str, path: &str) -> String {
    if !Scheme::of(base).is_ok_and(|scheme| scheme == Scheme::Web) {
        return format!("{}/{path}", base.trim_end_matches('/'));
    }
    let base = base.split('#').next().unwrap_or_default();
    let (folder, query) = base.find('?').map_or((base, ""), |at| base.split_at(at));
    let path: Vec<String> = path.split('/').map(segment).collect();
    format!("{}/{}{query}", folder.trim_end_matches('/'), path.join("/"))
}

/// An address without scheme, user and query.
fn plain(rest: &str) -> String {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{host}/{path}")
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, String> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes.to_vec());
    }
    let mut text = Vec::new();
    let mut input = MultiGzDecoder::new(Cursor::new(bytes)).take(BYTES_MAX as u64 + 1);
    input.read_to_end(&mut text).map_err(|error| format!("cannot be decompressed: {error}"))?;
    if text.len() > BYTES_MAX {
        return Err(format!("has more than {} MiB", BYTES_MAX >> 20));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const BASE: &str = "https://data.commoncrawl.org/";

    fn names(text: &str, hash_max: Option<u64>) -> Vec<String> {
        let lines = lines("warc.paths", text.as_bytes(), BASE, hash_max);
        lines.map(|lines| lines.into_iter().map(|line| line.name).collect()).unwrap_or_default()
    }

    #[test]
    fn lines_are_paths_or_addresses() {
        let text = "crawl-data/a.warc.gz\r\n\n# none\n/crawl-data/a.warc.gz\nhttps://h/x.warc.gz?sig=1\n";
        let found = lines("l", text.as_bytes(), BASE, None).unwrap();
        let line = |name: &str, url: &str| Line { name: name.into(), url: url.into() };
        assert_eq!(
            found,
            [
                line("crawl-data/a.warc.gz", "https://data.commoncrawl.org/crawl-data/a.warc.gz"),
                line("h/x.warc.gz", "https://h/x.warc.gz?sig=1"),
            ]
        );
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        assert_eq!(lines("l.gz", &gzip.finish().unwrap(), BASE, None).unwrap(), found);
    }

    #[test]
    fn a_sample_does_not_depend_on_order_or_on_other_lines() {
        let all: Vec<String> = (0..1000).map(|number| format!("crawl-data/{number:05}.warc.gz")).collect();
        let tenth = Some(u64::MAX / 10);
        let sample = names(&all.join("\n"), tenth);
        assert!((70..130).contains(&sample.len()), "{}", sample.len());
        let reversed: Vec<&str> = all.iter().rev().map(String::as_str).collect();
        assert_eq!(names(&reversed.join("\n"), tenth), sample);
        let half = names(&all[..500].join("\n"), tenth);
        assert!(half.iter().all(|name| sample.contains(name)));
        // A smaller sample is part of a larger one.
        let fifth = names(&all.join("\n"), Some(u64::MAX / 5));
        assert!(sample.iter().all(|name| fifth.contains(name)));
    }

    #[test]
    fn paths_are_those_of_files_and_a_query_belongs_to_the_base() {
        let url = |base: &str, line: &str| lines("l", line.as_bytes(), base, None).unwrap().remove(0).url;
        let paths = ["a#1.jsonl", "a?1.jsonl", "a%231.jsonl", "ä.jsonl", "x/a=1&b+c~d.jsonl"];
        let escaped =
            ["a%231.jsonl", "a%3F1.jsonl", "a%25231.jsonl", "%C3%A4.jsonl", "x/a%3D1%26b%2Bc~d.jsonl"];
        for (path, escaped) in paths.into_iter().zip(escaped) {
            assert_eq!(url("https://h/d/", path), format!("https://h/d/{escaped}"));
            assert_eq!(
                url("HTTP://h/d?sv=1&sig=%2B/#x", path),
                format!("HTTP://h/d/{escaped}?sv=1&sig=%2B/")
            );
            assert_eq!(url("s3://b/d", path), format!("s3://b/d/{path}"));
        }
    }

    #[test]
    fn bad_lists_say_where() {
        let error = |bytes: &[u8], base: &str| lines("l", bytes, base, None).unwrap_err().to_string();
        assert_eq!(error(b"a\nb c\n", BASE), "line 2 of the list `l` has white space");
        for line in ["a/../b", "./a", "a//b", "a/"] {
            assert_eq!(
                error(line.as_bytes(), BASE),
                "line 1 of the list `l` has an empty part, `.` or `..`",
                "{line}"
            );
        }
        for line in ["https://me:secret@h/a", "http://me@h", "HTTPS://secret@h\\a", "https://me@h?a=1"] {
            let error = error(line.as_bytes(), BASE);
            assert!(error.contains("has a user or password") && !error.contains("secret"), "{error}");
        }
        assert_eq!(error(b"a\n", ""), "line 1 of the list `l` is no address");
        assert_eq!(error(b"\n", BASE), "the list `l` names no files");
        assert_eq!(error(b"\xff\n", BASE), "the list `l` is not UTF-8");
        assert!(error(b"\x1f\x8b\x00", BASE).contains("cannot be decompressed"));
        assert!(error(&[b'a'; 9000], BASE).contains("more than 8192 bytes"));
    }
}
