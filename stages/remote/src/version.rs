//! Versions of files, as they are pinned and stand in keys: `sha256:…`, `git:…`, `etag:…`, `version:…`, `modified:…`.
//!
//! A digest of the bytes is compared with what arrives. Another version is compared with what the server says about the
//! file that it sends.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

const SHA256: &str = "sha256:";
const GIT: &str = "git:";
const ETAG: &str = "etag:";
const OBJECT: &str = "version:";
const MODIFIED: &str = "modified:";

/// The version of a file with a known digest.
pub(crate) fn of_sha256(hex: &str) -> String {
    format!("{SHA256}{hex}")
}

/// The version of a file that Git knows: SHA-1 of its blob.
pub(crate) fn of_git(hex: &str) -> String {
    format!("{GIT}{hex}")
}

/// The version that a server states: that of the object, its entity tag, or at least when it changed. Entity tags are
/// preferred over versions, since two objects with the same bytes have the same tag on most servers.
pub(crate) fn stated(etag: Option<&str>, object: Option<&str>, modified: Option<&str>) -> Option<String> {
    let of = |kind: &str, value: Option<&str>| {
        value.map(str::trim).filter(|value| !value.is_empty()).map(|value| format!("{kind}{value}"))
    };
    let etag = etag.map(quoted);
    of(ETAG, etag.as_deref()).or_else(|| of(OBJECT, object)).or_else(|| of(MODIFIED, modified))
}

/// An entity tag with its quotes, which some listings leave out.
fn quoted(tag: &str) -> String {
    let tag = tag.trim();
    if tag.is_empty() || tag.starts_with('"') || tag.starts_with("W/") {
        tag.to_owned()
    } else {
        format!("\"{tag}\"")
    }
}

/// The entity tag of a version, if `If-Match` may be sent with it: it compares no weak ones (RFC 9110, section 13.1.1).
pub(crate) fn strong_etag(version: &str) -> Option<&str> {
    version.strip_prefix(ETAG).filter(|tag| !tag.starts_with("W/"))
}

/// The object's version on its server.
pub(crate) fn object(version: &str) -> Option<&str> {
    version.strip_prefix(OBJECT)
}

/// What a server says about bytes that it sends, beside the version that was listed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// They are of that version, or their digest will tell.
    Same,
    /// They are of this one.
    Other(String),
    /// Nothing that could be compared.
    Unsaid,
}

/// Compares a listed version with the entity tag and the time of change that an answer states.
pub(crate) fn sent(listed: &str, etag: Option<&str>, modified: Option<&str>) -> Sent {
    let now = if listed.starts_with(ETAG) {
        stated(etag, None, None)
    } else if listed.starts_with(MODIFIED) {
        stated(None, None, modified)
    } else {
        // A digest is compared with the bytes, and the version of an object is part of the request.
        return Sent::Same;
    };
    match now {
        Some(now) if now == listed => Sent::Same,
        Some(now) => Sent::Other(now),
        None => Sent::Unsaid,
    }
}

/// Compares bytes with the digest in a version.
pub(crate) enum Check {
    Sha256(Sha256, String),
    Git(Sha1, String),
    /// The version is no digest.
    None,
}

impl Check {
    pub(crate) fn new(version: &str, size: u64) -> Self {
        if let Some(hex) = version.strip_prefix(SHA256) {
            Self::Sha256(Sha256::new(), hex.to_ascii_lowercase())
        } else if let Some(hex) = version.strip_prefix(GIT) {
            Self::Git(Sha1::new().chain_update(format!("blob {size}\0")), hex.to_ascii_lowercase())
        } else {
            Self::None
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher, _) => hasher.update(bytes),
            Self::Git(hasher, _) => hasher.update(bytes),
            Self::None => {}
        }
    }

    /// Whether the bytes are those of the version.
    pub(crate) fn holds(self) -> bool {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Self::Sha256(hasher, expected) => hex(&hasher.finalize()) == expected,
            Self::Git(hasher, expected) => hex(&hasher.finalize()) == expected,
            Self::None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_compared_with_bytes() {
        let holds = |version: &str, bytes: &[u8]| {
            let mut check = Check::new(version, bytes.len() as u64);
            check.update(bytes);
            check.holds()
        };
        // As `sha256sum` and `git hash-object` print them.
        let sha = of_sha256("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        let git = of_git("ce013625030ba8dba906f756967f9e9ca394464a");
        assert!(holds(&sha, b"hello\n") && holds(&git, b"hello\n"));
        assert!(!holds(&sha, b"hallo\n") && !holds(&git, b"hallo\n"));
        assert!(holds("etag:\"x\"", b"anything"));
    }

    #[test]
    fn weak_tags_are_not_sent_back() {
        assert_eq!(strong_etag("etag:\"a\""), Some("\"a\""));
        assert_eq!(strong_etag("etag:W/\"a\""), None);
        assert_eq!(stated(None, None, Some("Mon")), Some("modified:Mon".into()));
        assert_eq!(stated(Some("\"a\""), Some("7"), None), Some("etag:\"a\"".into()));
        assert_eq!(stated(Some("0x8D"), None, None), Some("etag:\"0x8D\"".into()));
        assert_eq!(stated(Some(""), None, None), None);
    }

    #[test]
    fn answers_without_a_version_are_told_from_those_with_another() {
        assert_eq!(sent("etag:\"a\"", Some("\"a\""), None), Sent::Same);
        assert_eq!(sent("etag:\"a\"", Some("a"), None), Sent::Same);
        assert_eq!(sent("etag:\"a\"", Some("\"b\""), None), Sent::Other("etag:\"b\"".into()));
        assert_eq!(sent("etag:\"a\"", None, Some("Mon")), Sent::Unsaid);
        assert_eq!(sent("modified:Mon", Some("\"a\""), Some("Mon")), Sent::Same);
        assert_eq!(sent("modified:Mon", Some("\"a\""), None), Sent::Unsaid);
        assert_eq!(sent("sha256:00", None, None), Sent::Same);
        assert_eq!(sent("version:7", None, None), Sent::Same);
    }
}
