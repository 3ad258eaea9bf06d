//! Addresses of remote files: their scheme, their bucket, and the pattern that they end in.

use globset::{GlobBuilder, GlobMatcher};
use pipe_stage::{Error, Result, shown};

/// Where the files of an address are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http://`, `https://`: files without a listing.
    Web,
    /// `s3://`.
    S3,
    /// `gs://`.
    Google,
    /// `az://`, `abfss://`.
    Azure,
}

impl Scheme {
    const NAMES: [(&str, Self); 9] = [
        ("http", Self::Web),
        ("https", Self::Web),
        ("s3", Self::S3),
        ("s3a", Self::S3),
        ("gs", Self::Google),
        ("az", Self::Azure),
        ("azure", Self::Azure),
        ("abfs", Self::Azure),
        ("abfss", Self::Azure),
    ];

    /// The scheme of an address.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let name = url.split_once("://").map(|(name, _)| name.to_ascii_lowercase()).unwrap_or_default();
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, scheme)| scheme).ok_or_else(|| {
            Error::input(format!("`{}` is no address of a known kind", shown(url)))
                .help("use `https://`, `http://`, `s3://`, `gs://` or `az://`")
        })
    }
}

/// An object of a bucket, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `s3://bucket`.
    pub(crate) bucket: String,
    /// The folder before the first wildcard, without `/` at its ends.
    pub(crate) folder: String,
    /// What is relative to the folder: a name, or a pattern.
    pub(crate) rest: String,
}

impl Address {
    /// Splits `s3://bucket/folder/**/*.jsonl`. A trailing `/` stands for all objects below.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let (scheme, path) = url.split_once("://").unwrap_or_default();
        let (bucket, path) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err(Error::input(format!("`{}` names no bucket", shown(url))));
        }
        let path = if path.is_empty() || path.ends_with('/') { format!("{path}**") } else { path.to_owned() };
        let parts: Vec<&str> = path.split('/').collect();
        let last = parts.len() - 1;
        let at = parts.iter().position(|part| is_pattern(part)).unwrap_or(last);
        Ok(Self {
            bucket: format!("{scheme}://{bucket}"),
            folder: parts[..at].join("/"),
            rest: parts[at..].join("/"),
        })
    }

    /// Whether it stands for several objects.
    pub(crate) fn has_pattern(&self) -> bool {
        is_pattern(&self.rest)
    }

    /// The address of an object of the bucket.
    pub(crate) fn object(&self, path: &str) -> String {
        format!("{}/{path}", self.bucket)
    }
}

/// The bucket and the path of an object's address.
pub(crate) fn split_object(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    match url[start..].find('/') {
        Some(at) => (&url[..start + at], &url[start + at + 1..]),
        None => (url, ""),
    }
}

/// Whether a part of a path has wildcards.
pub(crate) fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

/// A glob in which `*` matches within a folder and `**` any folders.
pub(crate) fn glob(pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).empty_alternates(true).build();
    let glob = glob.map_err(|error| {
        Error::input(format!("`{pattern}` is not a valid glob pattern: {}", error.kind()))
    })?;
    Ok(glob.compile_matcher())
}

/// The last part of an address, without its query.
pub(crate) fn file_name(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let path =
        plain.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// A part of a path, with what addresses cannot hold or read otherwise written as `%XX`.
pub(crate) fn segment(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A text of another library without what follows `?` in its addresses, which may be a signature.
pub(crate) fn masked(text: &str) -> String {
    const ENDS: &[char] = &['"', '\'', '`', '<', '>', ')', ']', '}', ',', ' ', '\n', '\t'];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        let end = address.find(ENDS).unwrap_or(address.len());
        out += before;
        let (address, after) = address.split_at(end);
        // `shown` wants a scheme; what is before it is not part of the address.
        out += shown(&format!("x://{address}")).trim_start_matches("x://");
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_in_a_pattern() {
        let of = |url: &str| {
            let address = Address::new(url).unwrap();
            (address.has_pattern(), address.bucket, address.folder, address.rest)
        };
        let split = |pattern, bucket: &str, folder: &str, rest: &str| {
            (pattern, bucket.to_owned(), folder.to_owned(), rest.to_owned())
        };
        assert_eq!(of("s3://b/x/y/*.jsonl"), split(true, "s3://b", "x/y", "*.jsonl"));
        assert_eq!(of("s3://b/x/**/y.jsonl"), split(true, "s3://b", "x", "**/y.jsonl"));
        assert_eq!(of("gs://b/x/y.jsonl"), split(false, "gs://b", "x", "y.jsonl"));
        assert_eq!(of("az://b/y.jsonl"), split(false, "az://b", "", "y.jsonl"));
        assert_eq!(of("s3://b/x/"), split(true, "s3://b", "x", "**"));
        assert_eq!(of("s3://b"), split(true, "s3://b", "", "**"));
        assert!(Address::new("s3:///x").is_err());
        assert_eq!(split_object("s3://b/x/y z"), ("s3://b", "x/y z"));
    }

    #[test]
    fn patterns_match_as_in_folders() {
        let matches = |pattern: &str, path: &str| glob(pattern).unwrap().is_match(path);
        assert!(matches("*.jsonl{,.gz}", "a.jsonl") && matches("*.jsonl{,.gz}", "a.jsonl.gz"));
        assert!(matches("**/*.csv", "a.csv") && matches("**/*.csv", "b/c/a.csv"));
        assert!(!matches("*.csv", "b/a.csv"));
        assert!(glob("[").is_err());
    }

    #[test]
    fn what_may_be_private_is_not_shown() {
        assert_eq!(shown("https://me:secret@h/a?sig=secret"), "https://h/a?…");
        assert_eq!(
            masked("error for https://u:secret@h/a?sig=secret, then (s3://b/k?t=secret) and ftp://x"),
            "error for https://h/a?…, then (s3://b/k?…) and ftp://x"
        );
        assert_eq!(file_name("https://h/a/b.jsonl.gz?x=/c"), "b.jsonl.gz");
        assert_eq!(file_name("https://h"), "");
    }
}
