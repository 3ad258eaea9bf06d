//! Block lists of the user's: domains, addresses, words of addresses and of texts, as public lists have them; one entry per
//! line.
//!
//! Owns: the forms of entries, and the file that all shares of a stage read.
//!
//! ```text
//! block_lists            one line of JSON: counts of domains and addresses, and the words
//!                        u64 little-endian, ascending: digests of domains, then of addresses
//! ```

use crate::address::{host, host_of_entry, hosts_above, plain};
use crate::documents::text_digest;
use crate::ingest::split_glob;
use crate::lines::{write_buffered, write_json_line};
use crate::memo::Memo;
use pipe_stage::{Error, Inputs, Links, LocalEntry, Places, Result, Share, SourceRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;

/// Files with one entry per line; empty lines and lines that begin with `#` are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlockListFiles {
    /// Paths or globs of lists of domains, such as `example.org`. Pages of a domain and of all domains below it are dropped.
    pub domains: Vec<String>,
    /// Lists of addresses. The scheme, `www.`, the fragment, a final `/`, and upper case in the domain do not matter.
    pub urls: Vec<String>,
    /// Lists of words. Pages are dropped if a word occurs in their address between characters other than letters and
    /// digits.
    pub url_words: Vec<String>,
    /// Lists of words and phrases that the rule `c4_bad_words` counts besides those in `bad_words`.
    pub words: Vec<String>,
}

/// Names of the lists, which are those of the fields.
const KINDS: [&str; 4] = ["domains", "urls", "url_words", "words"];

impl BlockListFiles {
    fn all(&self) -> [(&'static str, &[String]); 4] {
        let lists = [&self.domains, &self.urls, &self.url_words, &self.words];
        std::array::from_fn(|at| (KINDS[at], lists[at].as_slice()))
    }

    /// The files of all lists.
    pub(super) fn requests(&self, places: &Places) -> Vec<SourceRequest> {
        let of_kind = |(kind, globs): (&'static str, &[String])| {
            let request = |(at, glob): (usize, &String)| {
                let (root, pattern) = split_glob(glob);
                SourceRequest {
                    source: label(kind, at),
                    root: places.project.join(root),
                    include: if pattern.is_empty() { Vec::new() } else { vec![pattern] },
                    exclude: Vec::new(),
                    links: Links::Once,
                    field: label(kind, at),
                    help: Some("the path is relative to the project".to_owned()),
                    pin: None,
                }
            };
            globs.iter().enumerate().map(request).collect::<Vec<_>>()
        };
        self.all().into_iter().flat_map(of_kind).collect()
    }
}

/// The label of the files of a list, which is the path of its setting.
fn label(kind: &str, at: usize) -> String {
    format!("block_lists.{kind}[{at}]")
}

/// The kind of list of a label.
pub(super) fn kind_of(label: &str) -> &str {
    label.strip_prefix("block_lists.").and_then(|rest| rest.split('[').next()).unwrap_or_default()
}

/// The slot and name of the file.
pub(super) const BLOCK_LISTS: &str = "block_lists";

/// Whether an entry is the file of the lists.
pub(super) fn is_block_lists(entry: &LocalEntry) -> bool {
    entry.name() == BLOCK_LISTS
}

#[derive(Default, Serialize, Deserialize)]
struct Head {
    domains: usize,
    urls: usize,
    url_words: BTreeSet<String>,
    words: BTreeSet<String>,
}

/// Entries of all lists; their digests have 8 bytes each in memory.
const ENTRIES_MAX: usize = 100_000_000;
const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads the lists, whose items are named after their kinds, into one file.
pub(super) fn collect(_: &(), inputs: &Inputs, share: &mut Share) -> Result<()> {
    let (mut domains, mut urls) = (Vec::new(), Vec::new());
    let mut head = Head::default();
    for item in inputs.items() {
        for file in item.entries() {
            each_entry(file, |entry| {
                match item.name() {
                    "domains" => domains.push(digest(&host_of_entry(entry)?)),
                    "urls" => urls.push(digest(&plain(entry))),
                    "url_words" => drop(head.url_words.insert(word_of_url(entry)?)),
                    _ => drop(head.words.insert(entry.to_lowercase())),
                }
                let count = domains.len() + urls.len() + head.url_words.len() + head.words.len();
                if count > ENTRIES_MAX { Err("is one more than 100 million entries") } else { Ok(()) }
            })?;
        }
    }
    for digests in [&mut domains, &mut urls] {
        digests.sort_unstable();
        digests.dedup();
    }
    (head.domains, head.urls) = (domains.len(), urls.len());
    let mut file = share.named(BLOCK_LISTS, BLOCK_LISTS)?;
    write_json_line(&head, |line| file.write_all(line))?;
    write_buffered(&mut file, |file| {
        domains.iter().chain(&urls).try_for_each(|digest| file.write_all(&digest.to_le_bytes()))
    })?;
    share.keep(file)?;
    Ok(())
}

/// Passes each entry of a list to `take`, whose error is what is wrong with it.
fn each_entry(
    file: &LocalEntry,
    mut take: impl FnMut(&str) -> std::result::Result<(), &'static str>,
) -> Result<()> {
    let mut lines = BufReader::with_capacity(128 << 10, file.stream()?);
    let (mut line, mut number) = (Vec::new(), 0_u64);
    let list = file.source().map(kind_of).unwrap_or_default();
    let wrong = |number: u64, what: &str| {
        let message = format!("line {number} of `{}` {what}", file.name());
        Error::input(message)
            .help(format!("correct or remove it; the file is a list of `block_lists.{list}`"))
    };
    loop {
        line.clear();
        number += 1;
        let mut limited = lines.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(|error| Error::io("read", std::path::Path::new(file.name()), &error))? == 0 {
            return lines.into_inner().finish();
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(number, "is longer than 64 KiB"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| wrong(number, "is not UTF-8"))?;
        let entry = text.trim_start_matches('\u{FEFF}').trim();
        if !entry.is_empty() && !entry.starts_with('#') {
            take(entry).map_err(|what| wrong(number, what))?;
        }
    }
}

fn digest(text: &str) -> u64 {
    let digest = text_digest(text);
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// A word as it occurs in an address.
fn word_of_url(entry: &str) -> std::result::Result<String, &'static str> {
    match entry.chars().all(char::is_alphanumeric) {
        true => Ok(entry.to_lowercase()),
        false => Err("is not a word of letters and digits"),
    }
}

/// The block lists of a stage.
#[derive(Debug, Default)]
pub(super) struct BlockLists {
    domains: Vec<u64>,
    urls: Vec<u64>,
    url_words: BTreeSet<String>,
    words: BTreeSet<String>,
}

/// What drops documents by their address, in place of a rule.
pub(super) const BLOCKED: [&str; 3] = ["blocked_domain", "blocked_url", "blocked_url_word"];

impl BlockLists {
    /// Reads the file of the lists, once per process.
    pub(super) fn open(entry: &LocalEntry) -> Result<Arc<Self>> {
        static LAST: Memo<BlockLists> = Memo::new();
        LAST.get(entry, |bytes| Self::parse(bytes).ok_or_else(|| Error::Damaged { digest: entry.digest() }))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        let (digests, rest) = bytes[end + 1..].as_chunks::<8>();
        if !rest.is_empty() || Some(digests.len()) != head.domains.checked_add(head.urls) {
            return None;
        }
        let digests: Vec<u64> = digests.iter().map(|digest| u64::from_le_bytes(*digest)).collect();
        let urls = digests[head.domains..].to_vec();
        let mut domains = digests;
        domains.truncate(head.domains);
        Some(Self { domains, urls, url_words: head.url_words, words: head.words })
    }

    /// Words of texts, in lower case.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Finds the first list that an address is in, and the entry.
    pub(super) fn find(&self, url: &str) -> Option<(&'static str, String)> {
        if url.trim().is_empty() {
            return None;
        }
        if !self.domains.is_empty() {
            let host = host(url);
            let listed = |domain: &&str| self.domains.binary_search(&digest(domain)).is_ok();
            if let Some(domain) = hosts_above(&host).find(listed) {
                return Some((BLOCKED[0], domain.to_owned()));
            }
        }
        if !self.urls.is_empty() {
            let address = plain(url);
            if self.urls.binary_search(&digest(&address)).is_ok() {
                return Some((BLOCKED[1], address));
            }
        }
        if !self.url_words.is_empty() {
            let address = plain(url).to_lowercase();
            let word =
                address.split(|c: char| !c.is_alphanumeric()).find(|word| self.url_words.contains(*word));
            if let Some(word) = word {
                return Some((BLOCKED[2], word.to_owned()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(domains: &[&str], urls: &[&str], words: &[&str]) -> BlockLists {
        let mut domains: Vec<u64> =
            domains.iter().map(|entry| digest(&host_of_entry(entry).unwrap())).collect();
        let mut urls: Vec<u64> = urls.iter().map(|entry| digest(&plain(entry))).collect();
        domains.sort_unstable();
        urls.sort_unstable();
        let url_words = words.iter().map(|word| word_of_url(word).unwrap()).collect();
        BlockLists { domains, urls, url_words, words: BTreeSet::new() }
    }

    fn found(lists: &BlockLists, url: &str) -> Option<&'static str> {
        lists.find(url).map(|(list, _)| list)
    }

    #[test]
    fn a_domain_includes_those_below_it() {
        let lists = lists(&["Example.ORG", "www.w.org", "*.ads.net", "http://spam.com/"], &[], &[]);
        for url in [
            "https://example.org",
            "http://user@www.Example.org:8080/a",
            "example.org/x",
            "//a.b.example.org./",
            "https://ads.net/?q",
            "https://www.w.org/",
            "https://x.spam.com#y",
        ] {
            assert_eq!(found(&lists, url), Some("blocked_domain"), "{url}");
        }
        for url in
            ["https://notexample.org", "https://example.org.uk", "https://e.com/example.org", "", "org"]
        {
            assert_eq!(found(&lists, url), None, "{url}");
        }
    }

    #[test]
    fn addresses_are_compared_without_what_does_not_matter() {
        let lists = lists(&[], &["http://www.E.org/Page/", "e.org/?q=1"], &[]);
        for url in
            ["https://e.org/Page", "e.org/Page/#top", "https://www.e.org:443/Page", "https://e.org/?q=1"]
        {
            assert_eq!(found(&lists, url), Some("blocked_url"), "{url}");
        }
        for url in ["https://e.org/page", "https://e.org/Page/2", "https://e.org/?q=2", "https://e.org"] {
            assert_eq!(found(&lists, url), None, "{url}");
        }
    }

    #[test]
    fn words_of_addresses_are_whole() {
        let lists = lists(&[], &[], &["Casino"]);
        assert_eq!(found(&lists, "https://e.org/best-CASINO_2024"), Some("blocked_url_word"));
        assert_eq!(found(&lists, "https://casino.e.org/"), Some("blocked_url_word"));
        assert_eq!(found(&lists, "https://e.org/casinos"), None);
    }

    #[test]
    fn entries_of_the_wrong_form_are_refused() {
        assert!(host_of_entry("example.org/page").is_err() && host_of_entry("two words").is_err());
        assert!(word_of_url("two-words").is_err());
    }

    #[test]
    fn damaged_files_are_noticed() {
        assert!(BlockLists::parse(b"").is_none());
        assert!(BlockLists::parse(b"{}\n").is_none());
        let head = br#"{"domains":1,"urls":0,"url_words":[],"words":[]}"#;
        assert!(BlockLists::parse(&[head.as_slice(), b"\n1234567"].concat()).is_none());
        assert!(BlockLists::parse(&[head.as_slice(), b"\n12345678"].concat()).is_some());
        let head = format!(r#"{{"domains":{},"urls":1,"url_words":[],"words":[]}}"#, usize::MAX);
        assert!(BlockLists::parse(&[head.as_bytes(), b"\n12345678"].concat()).is_none());
    }
}
