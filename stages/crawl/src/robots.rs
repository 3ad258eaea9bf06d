//! robots.txt (RFC 9309): which paths of a server a crawler may fetch; also its crawl-delay and sitemaps.
//!
//! It does not know how the file is fetched, nor what its absence means. Parsing is linear. Deciding on a path compares
//! it with each rule once, and with rules that contain `*` in time proportional to the path; a file with more than
//! [`WILD_MAX`] of those is not understood, and then nothing of the server is fetched.

use crate::{address::one_spelling, pattern::Pattern};
use std::time::Duration;

/// Bytes of a file that are read; RFC 9309 asks for at least as many.
pub(crate) const BYTES_MAX: usize = 500 << 10;

/// Maximum number of rules with `*` for one crawler. With more, a single address could take long to decide.
const WILD_MAX: usize = 2000;

/// Maximum number of sitemaps that are taken from a file.
const SITEMAPS_MAX: usize = 1000;

/// What a file says to one crawler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Robots {
    /// The longest first; of the same length, those that allow first.
    rules: Vec<Rule>,
    /// Least time between two requests.
    pub(crate) delay: Option<Duration>,
    /// Addresses of sitemaps, as written.
    pub(crate) sitemaps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    allow: bool,
}

impl Robots {
    /// Refuses everything.
    pub(crate) fn refusing() -> Self {
        let rules = vec![Rule { pattern: Pattern::new(b"/"), allow: false }];
        Self { rules, ..Self::default() }
    }

    /// Reads the rules for the crawler with this product token (`a-z`, `_` and `-`), or those for all others.
    pub(crate) fn parse(text: &[u8], token: &str) -> Self {
        let text = text.get(..BYTES_MAX).unwrap_or(text);
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let (mut own, mut others) = (Group::default(), Group::default());
        let mut sitemaps = Vec::new();
        let (mut is_own, mut is_other, mut naming, mut has_own) = (false, false, false, false);
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (key, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            if key.eq_ignore_ascii_case(b"user-agent") {
                if !naming {
                    (is_own, is_other, naming) = (false, false, true);
                }
                is_own |= product(value).eq_ignore_ascii_case(token.as_bytes());
                is_other |= value.starts_with(b"*");
                has_own |= is_own;
                continue;
            }
            if key.eq_ignore_ascii_case(b"sitemap") {
                if sitemaps.len() < SITEMAPS_MAX {
                    sitemaps.extend(std::str::from_utf8(value).map(str::to_owned));
                }
                continue; // belongs to no group
            }
            let of_rule = Field::of(key);
            let Some(field) = of_rule else { continue };
            naming = false;
            if is_own {
                own.add(field, value);
            }
            if is_other {
                others.add(field, value);
            }
        }
        let group = if has_own { own } else { others };
        Self { sitemaps, ..group.finish() }
    }

    /// Whether a path with its query may be fetched. The longest rule that matches decides (RFC 9309, section 2.2.2).
    pub(crate) fn allows(&self, path_and_query: &str) -> bool {
        if path_and_query == "/robots.txt" || self.rules.is_empty() {
            return true;
        }
        let path = one_spelling(path_and_query.as_bytes());
        self.rules.iter().find(|rule| rule.pattern.matches(path.as_bytes())).is_none_or(|rule| rule.allow)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Allow,
    Disallow,
    Delay,
}

impl Field {
    fn of(key: &[u8]) -> Option<Self> {
        let named = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if named("allow") => Some(Self::Allow),
            () if named("disallow") => Some(Self::Disallow),
            () if named("crawl-delay") => Some(Self::Delay),
            () => None,
        }
    }
}

#[derive(Default)]
struct Group {
    rules: Vec<Rule>,
    wild: usize,
    delay: Option<Duration>,
}

impl Group {
    fn add(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::Delay => {
                let seconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
                let delay = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                self.delay = self.delay.max(delay);
            }
            Field::Allow | Field::Disallow if !value.is_empty() => {
                let pattern = Pattern::new(one_spelling(value).as_bytes());
                self.wild += usize::from(pattern.is_wild());
                if self.wild <= WILD_MAX {
                    self.rules.push(Rule { pattern, allow: matches!(field, Field::Allow) });
                }
            }
            // An empty rule refuses nothing.
            Field::Allow | Field::Disallow => {}
        }
    }

    fn finish(mut self) -> Robots {
        if self.wild > WILD_MAX {
            return Robots { delay: self.delay, ..Robots::refusing() };
        }
        self.rules.sort_by_key(|rule| (std::cmp::Reverse(rule.pattern.length()), !rule.allow));
        Robots { rules: self.rules, delay: self.delay, sitemaps: Vec::new() }
    }
}

/// The product token at the start of a name, such as `bot` of `bot/1.0 (+https://…)`.
pub(crate) fn product(name: &[u8]) -> &[u8] {
    let is_token = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
    let end = name.iter().position(|byte| !is_token(byte)).unwrap_or(name.len());
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, token: &str, path: &str) -> bool {
        Robots::parse(text.as_bytes(), token).allows(path)
    }

    /// RFC 9309, section 5.1.
    #[test]
    fn the_example_of_the_rfc() {
        let text = "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n\
                    User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n\
                    User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\n\
                    User-Agent: quxbot\n";
        for (token, path, expected) in [
            ("other", "/a.gif", false),
            ("other", "/a.gifs", true),
            ("other", "/example/x", false),
            ("other", "/publications/", true),
            ("foobot", "/", false),
            ("foobot", "/example/page.html", true),
            ("FooBot", "/example/allowed.gif", true),
            ("barbot", "/example/page.html", false),
            ("bazbot", "/example/page.html", false),
            ("bazbot", "/example/", true),
            ("quxbot", "/example/page.html", true),
        ] {
            assert_eq!(allows(text, token, path), expected, "{token} {path}");
        }
    }

    /// RFC 9309, section 5.2.
    #[test]
    fn the_longest_rule_decides_and_allow_wins_a_tie() {
        let text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n";
        assert!(allows(text, "foobot", "/example/page/a"));
        assert!(!allows(text, "foobot", "/example/page/disallowed.gif"));
        assert!(allows("user-agent: a\ndisallow: /x\nallow: /x\n", "a", "/x"));
        assert!(!allows("user-agent: a\nallow: /\ndisallow: /*.html\n", "a", "/x.html"));
    }

    /// RFC 9309, sections 2.2.1 to 2.2.3.
    #[test]
    fn groups_are_merged_and_names_compared_without_case_or_version() {
        let text = "\u{FEFF}User-agent: ExampleBot\nDisallow: /foo\nCrawl-delay: 2\n\nuser-agent : examplebot/2.1 # c\n\
                    DISALLOW:/bar#x\r\nUser-agent: *\nDisallow: /";
        for (path, expected) in [("/foo", false), ("/bar", false), ("/baz", true), ("/robots.txt", true)] {
            assert_eq!(allows(text, "examplebot", path), expected, "{path}");
        }
        assert!(!allows(text, "example", "/baz"), "another name is another crawler");
        assert_eq!(Robots::parse(text.as_bytes(), "ExampleBot").delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn escapes_and_letters_beyond_ascii_are_compared_as_bytes() {
        for (rule, path, refused) in [
            ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https://foo.bar", true),
            ("/foo/bar/ツ", "/foo/bar/%E3%83%84", true),
            ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", true),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz", true),
            ("/a%2fb", "/a/b", false),
            ("/file-with-a-%2A.html", "/file-with-a-%2A.html", true),
            ("/file-with-a-%2A.html", "/file-with-a-x.html", false),
        ] {
            let text = format!("user-agent: *\ndisallow: {rule}");
            assert_eq!(!allows(&text, "a", path), refused, "{rule} {path}");
        }
    }

    #[test]
    fn sitemaps_belong_to_no_group_and_odd_lines_to_nothing() {
        let text = "Disallow: /before\nSitemap: https://a/s.xml\nuser-agent: a\nSitemap: /s2.xml\nuser-agent: b\n\
                    unknown: x\nno colon\ndisallow:\ncrawl-delay: -1\ncrawl-delay: NaN\ndisallow: /x\n";
        let robots = Robots::parse(text.as_bytes(), "a");
        assert_eq!(robots.sitemaps, ["https://a/s.xml", "/s2.xml"]);
        assert_eq!(robots.delay, None);
        assert!(robots.allows("/before") && !robots.allows("/x"));
        assert!(Robots::parse(b"", "a").allows("/x"));
    }

    #[test]
    fn a_file_of_nothing_but_stars_refuses_everything() {
        let wild = |count: usize| {
            let rules: String = (0..count).map(|number| format!("disallow: /*a*b*{number}$\n")).collect();
            Robots::parse(format!("user-agent: *\n{rules}").as_bytes(), "a")
        };
        let path = format!("/{}", "ab".repeat(1000));
        assert!(wild(WILD_MAX).allows(&path));
        assert!(!wild(WILD_MAX + 1).allows(&path));
    }

    #[test]
    fn what_is_behind_the_limit_is_not_read() {
        let text = format!("user-agent: *\n{}\ndisallow: /", "#".repeat(BYTES_MAX));
        assert!(allows(&text, "a", "/x"));
    }
}
