//! Lists of documents to remove: files of ids, addresses and hosts, one a line. Knows nothing of stages and caches.

use crate::address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an entry of a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The id of a document.
    Id,
    /// Its address.
    Url,
    /// The host of its address, or one that this host belongs to.
    Host,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Id, Self::Url, Self::Host];

    /// The setting of `remove` that names the file, and the label of the file in keys.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Id => "ids",
            Self::Url => "urls",
            Self::Host => "hosts",
        }
    }

    /// Its name, as in the outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Url => "url",
            Self::Host => "host",
        }
    }
}

/// Longest line of a list in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads a list: an entry a line; blank lines and lines that begin with `#` are no entries.
///
/// # Errors
/// With the line, if it is no UTF-8, too long, or no host.
pub fn read_list(by: By, bytes: &[u8]) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("line {number} has more than {LINE_BYTES_MAX} bytes"));
        }
        let line = std::str::from_utf8(line).map_err(|_| format!("line {number} is not UTF-8"))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if by == By::Host {
            address::host_of_entry(line).map_err(|what| format!("line {number}: `{line}` {what}"))?;
        }
        entries.push(line.to_owned());
    }
    Ok(entries)
}

/// An entry as it is compared.
fn plain(by: By, entry: &str) -> String {
    match by {
        By::Id => entry.to_owned(),
        By::Url => address::plain(entry),
        // Entries were checked when the list was read.
        By::Host => address::host_of_entry(entry).unwrap_or_default(),
    }
}

/// The names by which a document can be on a list, as they are compared.
pub(super) fn names_of(id: &str, url: &str, kinds: &[By], mut visit: impl FnMut(By, &str)) {
    for by in kinds {
        match by {
            By::Id => visit(By::Id, id),
            By::Url if !url.is_empty() => visit(By::Url, &address::plain(url)),
            By::Host => address::hosts_above(&address::host(url)).for_each(|host| visit(By::Host, host)),
            By::Url => {}
        }
    }
}

/// Entries of lists by the names that they stand for.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// The entry as written, by kind and plain form.
    entries: BTreeMap<By, BTreeMap<String, String>>,
}

impl Targets {
    /// Adds an entry; returns whether it names other documents than those before.
    pub fn insert(&mut self, by: By, entry: &str) -> bool {
        use std::collections::btree_map::Entry;
        match self.entries.entry(by).or_default().entry(plain(by, entry)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(entry.to_owned());
                true
            }
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries as written, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (By, &str)> {
        self.entries.iter().flat_map(|(by, entries)| entries.values().map(|entry| (*by, entry.as_str())))
    }

    /// The first entry that names a document: by id, then by address, then by host.
    pub fn find(&self, id: &str, url: &str) -> Option<(By, &str)> {
        let kinds: Vec<By> = self.entries.keys().copied().collect();
        let mut found = None;
        names_of(id, url, &kinds, |by, name| {
            if found.is_none() {
                found = self.entries[&by].get(name).map(|entry| (by, entry.as_str()));
            }
        });
        found
    }
}

/// The hash under which a name is looked for; whether it is the same name is checked afterwards.
pub(super) fn hash_of(by: By, plain: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("pipe remove v1");
    hasher.update(by.field().as_bytes()).update(&[0]).update(plain.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hasher.finalize().as_bytes()[at]))
}

/// The hash of an entry as written.
pub(super) fn hash_of_entry(by: By, entry: &str) -> u64 {
    hash_of(by, &plain(by, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_an_entry_a_line() {
        let text = b"\xef\xbb\xbfhttps://e.org/a\r\n\n# a comment\n  b  \nlast";
        assert_eq!(read_list(By::Url, text).unwrap(), ["https://e.org/a", "b", "last"]);
        assert_eq!(read_list(By::Id, b"").unwrap(), [""; 0]);
        assert_eq!(read_list(By::Id, b"a\n\xff").unwrap_err(), "line 2 is not UTF-8");
        assert_eq!(
            read_list(By::Host, b"e.org\n/path").unwrap_err(),
            "line 2: `/path` is not a domain; addresses of pages belong in `urls`"
        );
        assert!(read_list(By::Id, &vec![b'x'; LINE_BYTES_MAX + 1]).unwrap_err().contains("more than"));
    }

    #[test]
    fn entries_name_documents() {
        let mut targets = Targets::default();
        targets.insert(By::Id, "s/a");
        targets.insert(By::Url, "http://e.org/x/");
        targets.insert(By::Host, "*.Blog.example");
        let found = |id: &str, url: &str| targets.find(id, url).map(|(by, _)| by);
        assert_eq!(found("s/a", ""), Some(By::Id));
        assert_eq!(found("s/b", "https://www.e.org/x#y"), Some(By::Url));
        assert_eq!(found("s/b", "https://me.blog.example:8080/z"), Some(By::Host));
        assert_eq!(found("s/b", "https://blog.example/"), Some(By::Host));
        assert_eq!((found("s/a/", "https://e.org/x/y"), found("b", "https://notblog.example")), (None, None));
        assert_eq!(targets.iter().count(), 3);
    }
}
