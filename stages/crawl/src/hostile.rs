//! Properties that hold for any input from outside.

use crate::{
    address::Canonical, coding::decode, links, pattern::Pattern, robots::Robots, sitemap::Sitemap,
    warc::Record,
};
use proptest::prelude::*;
use url::Url;

/// The definition of a pattern: every `*` is tried with every length.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        (b"", _) => true,
        (b"$", text) => text.is_empty(),
        ([b'*', pattern @ ..], text) => (0..=text.len()).any(|length| matches(pattern, &text[length..])),
        ([first, pattern @ ..], [letter, text @ ..]) => first == letter && matches(pattern, text),
        _ => false,
    }
}

/// Text that is likely to mean something to a parser.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(word, 0..30).prop_map(|words| words.concat())
}

const ROBOTS: &[&str] = &[
    "user-agent:",
    "*",
    "bot",
    "\n",
    "disallow:",
    "allow:",
    "/",
    "a",
    "$",
    "%",
    "%41",
    "crawl-delay: 1e999",
    "#",
    " ",
];
const HTML: &[&str] = &[
    "<a",
    " href=",
    "'",
    "\"",
    ">",
    "<base",
    "<link rel=canonical",
    "<meta",
    " content=",
    "0;url=",
    "<script>",
    "&#x0;",
    "//",
    "?",
    "ä",
];
const XML: &[&str] = &[
    "<urlset>",
    "<loc>",
    "</loc>",
    "&amp;",
    "&#0;",
    "&x;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "<!DOCTYPE",
    "<?",
    ">",
];
const URLS: &[&str] = &[
    "http://", "https:", "h", ".", ":80", "/", "%2e", "%", "?", "&", "=", "#", "@", "\\", "ä", "[::1]", "..",
    "xn--",
];

proptest! {
    #[test]
    fn a_pattern_matches_what_its_definition_says(pattern in "[ab*]{0,8}\\$?", text in "[ab]{0,10}") {
        let expected = matches(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(Pattern::new(pattern.as_bytes()).matches(text.as_bytes()), expected);
    }

    #[test]
    fn canonical_addresses_stay(bytes in text(URLS)) {
        let canonical = Canonical::new(&["a*".to_owned()]);
        let base = Url::parse("http://base/dir/page?x#y").unwrap();
        if let Some(url) = canonical.join(&base, &String::from_utf8_lossy(&bytes)) {
            prop_assert_eq!(canonical.of(&url), Some(url.clone()));
            prop_assert_eq!(canonical.parse(url.as_str()), Some(url));
        }
    }

    #[test]
    fn no_input_is_a_panic(
        robots in text(ROBOTS), html in text(HTML), xml in text(XML), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        Robots::parse(&robots, "bot").allows(&String::from_utf8_lossy(&robots));
        links::read(&html, &Url::parse("http://h/").unwrap(), Some("utf-16"), "bot");
        links::read(&html, &Url::parse("http://h/").unwrap(), None, "bot");
        Sitemap::read(&xml);
        for coding in ["gzip", "deflate", "br", "zstd"] {
            prop_assert!(decode(&bytes, coding, 1000).is_ok_and(|content| content.len() <= 1000) || !bytes.is_empty());
        }
        prop_assert!(Record::read(&bytes[..], 1000).is_ok_and(|record| record.is_none()) || !bytes.is_empty());
    }
}
