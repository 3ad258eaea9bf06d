//! Main content of an HTML page, in bounded time and memory.
//!
//! Owns: bytes → text → bounded markup → main content → blocks. If a page has one `<main>` that holds a sufficient
//! part of its text, that is its content; otherwise dom_smoothie finds it. Each page either gives a [`Page`] or a
//! reason why not. Nothing here knows documents, files or stages.

mod blocks;
mod charset;
mod controls;
mod events;
mod math;
mod nested;
mod scan;
mod scripts;
mod sections;
mod tables;
mod tag;

use blocks::TextSizes;
pub(crate) use charset::decode;
use dom_query::{Document, NodeRef};
use dom_smoothie::{Config, Readability};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The content of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Title, as the page declares it.
    pub title: String,
    /// Main content as light Markdown; code blocks are verbatim.
    pub text: String,
    /// `lang` of the page, in lower case, without its region: `en`, `zh`. Empty if it is not declared.
    pub language: String,
    /// Canonical address that the page declares; otherwise empty.
    pub canonical: String,
}

/// Limits above which a page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the page in bytes.
    pub bytes_max: usize,
    /// Number of start tags.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, nodes_max: 400_000 }
    }
}

/// Why a page has no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only white space.
    #[error("it is empty")]
    Empty,
    /// A picture, an archive, or a program.
    #[error("it is binary")]
    Binary,
    /// Larger than allowed.
    #[error("it has {bytes} bytes, more than {max}")]
    TooLarge {
        /// Size in bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More start tags than allowed.
    #[error("it has more than {0} elements")]
    TooManyNodes(usize),
    /// It is damaged, or its encoding is unknown.
    #[error("it is damaged, or not text in a known encoding")]
    Undecodable,
    /// A redirect.
    #[error("it redirects to `{0}`")]
    Redirect(String),
    /// No readable text is left.
    #[error("it has no main content")]
    NoContent,
    /// The extraction failed.
    #[error("its main content cannot be extracted")]
    Failed,
}

impl Refusal {
    /// All codes.
    pub const CODES: [&'static str; 8] =
        ["empty", "binary", "too_large", "too_many_nodes", "undecodable", "redirect", "no_content", "failed"];

    /// Stable name in counts and reports.
    pub const fn code(&self) -> &'static str {
        let [empty, binary, too_large, too_many_nodes, undecodable, redirect, no_content, failed] =
            Self::CODES;
        match self {
            Self::Empty => empty,
            Self::Binary => binary,
            Self::TooLarge { .. } => too_large,
            Self::TooManyNodes(_) => too_many_nodes,
            Self::Undecodable => undecodable,
            Self::Redirect(_) => redirect,
            Self::NoContent => no_content,
            Self::Failed => failed,
        }
    }
}

/// Extracts the main content of a page, which its server sent with this media type.
///
/// # Errors
/// Why there is no main content.
pub fn extract(bytes: &[u8], media_type: Option<&str>, limits: Limits) -> Result<Page, Refusal> {
    let scanned = look_at(bytes, media_type, limits, scan::Wanted::Markup)?;
    let article = catch_unwind(AssertUnwindSafe(|| main_content(&scanned)));
    let text = article.map_err(|_| Refusal::Failed)?.ok_or(Refusal::NoContent)?;
    if text.trim().is_empty() {
        return Err(Refusal::NoContent);
    }
    let language = scanned.language.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let title = events::unescape(&scanned.title).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Page { title, text, language, canonical: scanned.canonical })
}

/// The text of markup that is content as a whole and well formed, such as that made of wikitext.
pub(crate) fn text_of_markup(html: &str) -> String {
    blocks::text_of(html)
}

/// Classifies a page without extracting anything, as fast as reading it.
///
/// # Errors
/// Every reason but [`Refusal::NoContent`] and [`Refusal::Failed`], which only extraction finds.
pub fn inspect(bytes: &[u8], limits: Limits) -> Result<(), Refusal> {
    look_at(bytes, None, limits, scan::Wanted::Facts).map(drop)
}

fn look_at(
    bytes: &[u8],
    media_type: Option<&str>,
    limits: Limits,
    wanted: scan::Wanted,
) -> Result<scan::Scanned, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    if bytes.len() > limits.bytes_max {
        return Err(Refusal::TooLarge { bytes: bytes.len(), max: limits.bytes_max });
    }
    if is_binary(bytes) && !charset::is_sent_in_utf16(media_type) {
        return Err(Refusal::Binary);
    }
    let page = decode(bytes, media_type).ok_or(Refusal::Undecodable)?;
    let scanned =
        scan::scan(&page, limits.nodes_max, wanted).map_err(|_| Refusal::TooManyNodes(limits.nodes_max))?;
    match scanned.refresh {
        Some(target) => Err(Refusal::Redirect(target)),
        None => Ok(scanned),
    }
}

/// Known signatures, or NUL bytes in the first kilobyte without a byte order mark of UTF-16.
fn is_binary(bytes: &[u8]) -> bool {
    const SIGNATURES: &[&[u8]] = &[
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF8",
        b"%PDF-",
        b"PK\x03\x04",
        b"\x7FELF",
        b"\x1F\x8B",
        b"\x28\xB5\x2F\xFD",
        b"\xCA\xFE\xBA\xBE",
        b"RIFF",
        b"\0\0\x01\0",
        b"wOFF",
        b"wOF2",
        b"OggS",
        b"BZh",
        b"\xFD7zXZ",
    ];
    let marked = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    let head = &bytes[..bytes.len().min(1024)];
    SIGNATURES.iter().any(|signature| bytes.starts_with(signature)) || (!marked && head.contains(&0))
}

/// Minimum share of the page's text outside of links that an extractor should choose; below it, the page is taken as a
/// whole.
const CHOICE_MIN: f64 = 0.5;
/// Below this share, sections like those of the choice are added to it.
const CHOICE_SURE: f64 = 0.9;
/// Share of the page's links above which a choice is the whole page.
const CHOICE_ALL: f64 = 0.9;
/// Maximum share of the page's text outside of links in what seems to belong to the site; above it, the names of its parts
/// mean something else.
const FURNITURE_MAX: f64 = 0.75;
/// Maximum share of text in links; above it the page is a list of links and is not taken as a whole.
const LINKS_MAX: f64 = 0.7;

/// A title that no heading repeats, not even partly. Without one, extractors take a heading for the title and remove
/// it.
const NO_TITLE: &str = "<title>\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\
    \u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}\u{F8FF}</title>";

/// Text of the main content.
///
/// Extractors weigh paragraphs against links. On reference pages, threads, or chapters in languages without commas
/// they may choose only the heaviest part and lose the rest. So the content of `<main>` is taken as a whole. A choice that
/// leaves out a tenth of the running text gets the sections beside it that are of the same kind; if it still leaves out more
/// than half, or is all of the page, the page is taken without the parts that belong to the site.
fn main_content(scanned: &scan::Scanned) -> Option<String> {
    if scanned.has_main
        && let Some(markup) = nested::serialised(&scanned.html)
    {
        return Some(blocks::text_of(&markup));
    }
    let document = Document::from(format!("{NO_TITLE}{}", scanned.html).as_str());
    if scanned.has_main {
        return Some(blocks::text_of(&document.select("body").inner_html()));
    }
    let of_body = document.select("body").nodes().first().map(text_sizes).unwrap_or_default();
    let config = Config { keep_classes: true, disable_json_ld: true, ..Config::default() };
    let mut readability = Readability::with_document(document, None, Some(config)).ok()?;
    let chosen = readability.parse().map(|article| article.content).unwrap_or_default();
    let TextSizes { plain: chosen_plain, linked: chosen_linked } = blocks::text_sizes(&chosen);
    let is_site = scanned.furniture_plain as f64 <= FURNITURE_MAX * of_body.plain as f64;
    let (furniture, furniture_plain) =
        if is_site { (&scanned.furniture[..], scanned.furniture_plain) } else { (&[][..], 0) };
    let content_plain = of_body.plain.saturating_sub(furniture_plain) as f64;
    let part = |range| without(&scanned.html, furniture, range);
    // With little text, the extractor takes all there is.
    let all = chosen_plain as f64 >= content_plain + furniture_plain as f64 / 2.0
        && chosen_linked as f64 >= CHOICE_ALL * of_body.linked as f64;
    if all && !furniture.is_empty() {
        return Some(text_of_part(&part(0..scanned.html.len())));
    }
    if chosen_plain as f64 >= CHOICE_SURE * content_plain {
        return Some(blocks::text_of(&chosen));
    }
    if let Some(sections) = sections::around(&scanned.html, &chosen).map(part) {
        let plain = blocks::text_sizes(&sections).plain;
        if plain > chosen_plain && plain as f64 >= CHOICE_MIN * content_plain {
            return Some(text_of_part(&sections));
        }
    }
    let doubted = (chosen_plain as f64) < CHOICE_MIN * content_plain;
    if doubted && of_body.linked as f64 <= LINKS_MAX * (of_body.plain + of_body.linked) as f64 {
        return Some(text_of_part(&part(0..scanned.html.len())));
    }
    Some(blocks::text_of(&chosen))
}

/// A part of the markup without parts of it, which are in order.
fn without(html: &str, parts: &[Range<usize>], range: Range<usize>) -> String {
    let mut out = String::with_capacity(range.len());
    let mut from = range.start;
    for part in parts.iter().filter(|part| part.start >= range.start && part.end <= range.end) {
        out.push_str(&html[from..part.start]);
        from = part.end;
    }
    out.push_str(&html[from..range.end]);
    out
}

/// The text of a part of the markup that is content as a whole.
fn text_of_part(markup: &str) -> String {
    match nested::serialised(markup) {
        Some(markup) => blocks::text_of(&markup),
        None => {
            let document = Document::from(format!("{NO_TITLE}{markup}").as_str());
            blocks::text_of(&document.select("body").inner_html())
        }
    }
}

/// Measures the text under a node, without recursion.
fn text_sizes(root: &NodeRef) -> TextSizes {
    let (mut sizes, mut links) = (TextSizes::default(), 0usize);
    let mut node = root.first_child();
    while let Some(here) = node {
        if here.is_text() {
            let length = here.text().trim().len();
            if links > 0 { sizes.linked += length } else { sizes.plain += length }
        }
        links += usize::from(here.has_name("a"));
        node = here.first_child();
        let mut up = here;
        while node.is_none() && up.id != root.id {
            links -= usize::from(up.has_name("a"));
            node = up.next_sibling();
            if node.is_none() {
                match up.parent() {
                    Some(parent) => up = parent,
                    None => return sizes,
                }
            }
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> Result<String, Refusal> {
        extract(html.as_bytes(), None, Limits::default()).map(|page| page.text)
    }

    const PROSE: &str = "<p>Ownership is a set of rules that govern how a program manages memory, and all programs \
        have to manage the way they use it while running. Some languages have garbage collection.</p>";

    #[test]
    fn takes_the_content_and_leaves_the_site() {
        let page = format!(
            "<html lang=\"en-GB\"><head><title>Own &amp; lend - Site</title></head><body><nav><a href=/>Home</a></nav>\
             <div class=content><h1 class=header>Own</h1>{PROSE}<pre><code class=language-rust>fn f() {{\n    1\n}}\n</code>\
             </pre>{PROSE}</div><footer>Imprint</footer></body></html>"
        );
        let page = extract(page.as_bytes(), None, Limits::default()).unwrap();
        assert_eq!((page.title.as_str(), page.language.as_str()), ("Own & lend - Site", "en"));
        assert!(page.text.starts_with("# Own\n\nOwnership is"), "{}", page.text);
        assert!(page.text.contains("```rust\nfn f() {\n    1\n}\n```"), "{}", page.text);
        assert!(!page.text.contains("Home") && !page.text.contains("Imprint"), "{}", page.text);
    }

    #[test]
    fn terms_with_names_of_parts_of_sites_are_text() {
        let terms: String = ["check", "header", "comment", "footer", "menu", "social"]
            .iter()
            .map(|name| format!("<dt id={name}><b>--{name}</b></dt><dd>does what its name says, with all of the lines</dd>"))
            .collect();
        let found =
            text(&format!("<body><div id=content>{PROSE}<dl>{terms}</dl>{PROSE}</div></body>")).unwrap();
        assert_eq!(found.matches("\n: does what").count(), 6, "{found}");
        assert!(found.contains("--header\n: ") && found.contains("--comment\n: "), "{found}");
    }

    #[test]
    fn takes_a_chapter_whole() {
        let section = "<div class=section><h2>节</h2><p>所有权是程序管理内存的一组规则，所有程序都必须管理内存。</p></div>";
        let page = format!("<body><div class=chapter>{}</div></body>", section.repeat(30));
        assert_eq!(text(&page).unwrap().matches("所有权").count(), 30);
    }

    #[test]
    fn a_short_page_has_no_navigation() {
        let links = "<li><a href=x>elsewhere</a></li>".repeat(3);
        let page = format!(
            "<body><div id=header><p>The name of the site</p></div><div class=cookie-notice><p>We use cookies here.</p></div>\
             <div id=content><div class=panel role=complementary>Languages<ul>{links}</ul></div><h1>NAME</h1>\
             <p>log - shows the log</p><h1>OPTIONS</h1><dl><dt>-V</dt><dd>shows the version</dd></dl></div>\
             <div id=footer><p>Imprint and more</p></div></body>"
        );
        let expected = "# NAME\n\nlog - shows the log\n\n# OPTIONS\n\n-V\n: shows the version\n";
        assert_eq!(text(&page).unwrap(), expected);
        // If all is in such a part, it is the page.
        assert!(
            text(&format!("<body><div class=header>{PROSE}</div></body>")).unwrap().contains("Ownership")
        );
    }

    #[test]
    fn sections_beside_the_heaviest_are_content() {
        let section = |name: &str, text: &str| format!("<section class=Sh><h1>{name}</h1>{text}</section>");
        let table = "<table><tr><th>Code</th><th>Name</th></tr><tr><td>41</td><td>A</td></tr></table>";
        let links = "<p><a href=x>Another page of this site, with text</a></p>".repeat(9);
        let page = format!(
            "<body><div class=side>{links}</div><div class=text>{}{}{}{}</div></body>",
            section("NAME", "<p>set - a set of characters</p>"),
            section(
                "DESCRIPTION",
                &format!("<p>The set has letters of many languages of the continent.</p>{table}")
            ),
            section("TABLE", &PROSE.repeat(4)),
            section("NOTES", &format!("<p>The names are those of the standard.</p>{table}")),
        );
        let found = text(&page).unwrap();
        for heading in ["NAME", "DESCRIPTION", "TABLE", "NOTES"] {
            assert!(found.contains(&format!("# {heading}\n")), "{heading}: {found}");
        }
        assert!(!found.contains("Another page"), "{found}");
    }

    #[test]
    fn a_heading_is_not_taken_for_the_title() {
        for heading in ["The keeper and his light", "The keeper and light", "Own"] {
            let page = format!("<body><div><h1>{heading}</h1>{}</div></body>", PROSE.repeat(3));
            assert!(text(&page).unwrap().contains(&format!("# {heading}\n")), "{heading}");
            let named = format!("<head><meta property=og:title content=\"{heading}\"></head>{page}");
            assert!(text(&named).unwrap().contains(&format!("# {heading}\n")), "{heading}");
        }
    }

    #[test]
    fn headings_have_their_level_with_and_without_a_main_element() {
        let content = format!("<h1>One</h1>{PROSE}<h2>Two</h2>{PROSE}<h3>Three</h3>{PROSE}");
        for page in [format!("<main>{content}</main>"), format!("<div class=content>{content}</div>")] {
            let found = text(&format!("<title>Page</title><body>{page}</body>")).unwrap();
            let headings: Vec<&str> = found.lines().filter(|line| line.starts_with('#')).collect();
            assert_eq!(headings, ["# One", "## Two", "### Three"], "{found}");
        }
    }

    #[test]
    fn a_table_that_is_the_text_stays_a_table() {
        let row = |n: usize| {
            format!(
                "<tr><td>item {n}</td><td>{n} EUR</td><td>Some languages have garbage collection, and others have not, so memory is freed by hand.</td></tr>"
            )
        };
        let rows: String = (0..6).map(row).collect();
        for table in [
            format!("<table>{rows}</table>"),
            format!("<table><tbody>{rows}</tbody></table>"),
            format!("<div><table>{rows}</table></div>"),
        ] {
            let found = text(&format!("<body>{table}</body>")).unwrap();
            assert_eq!(
                found.lines().filter(|line| line.starts_with("| item ") && line.ends_with(" |")).count(),
                6,
                "{found}"
            );
        }
    }

    #[test]
    fn spans_and_numbers_survive_the_extraction() {
        let lists = "<ol reversed><li>Second place</li><li>First place</li></ol>";
        let table =
            "<table><tr><th ROWSPAN=2>Name<th colspan=2>Score<tr><th>A<th>B<tr><td>x<td>1<td>2</table>";
        for page in [
            format!("<main>{PROSE}{lists}{table}</main>"),
            format!("<body><div>{PROSE}{PROSE}{lists}{table}{PROSE}</div></body>"),
        ] {
            let found = text(&page).unwrap();
            assert!(found.contains("2. Second place\n1. First place\n"), "{found}");
            let rows = "| Name | Score | |\n| --- | --- | --- |\n| | A | B |\n| x | 1 | 2 |\n";
            assert!(found.contains(rows), "{found}");
        }
    }

    #[test]
    fn a_redirect_for_browsers_without_scripts_hides_no_page() {
        let page = format!(
            "<head><noscript><meta http-equiv=refresh content=\"0; url=/nojs\"></noscript></head><main>{PROSE}</main>"
        );
        assert!(text(&page).unwrap().contains("Ownership"));
        assert_eq!(inspect(page.as_bytes(), Limits::default()), Ok(()));
    }

    #[test]
    fn texts_are_measured_in_and_outside_of_links() {
        let document = Document::from("<body><p>abc</p><a href=x><b>d</b></a>ef</body>");
        let body = document.select("body");
        assert_eq!(text_sizes(body.nodes().first().unwrap()), TextSizes { plain: 5, linked: 1 });
    }

    #[test]
    fn refuses_what_is_no_page() {
        assert_eq!(text(" \n"), Err(Refusal::Empty));
        assert_eq!(text("<html><body></body></html>"), Err(Refusal::NoContent));
        assert_eq!(extract(b"\x89PNG\r\n", None, Limits::default()), Err(Refusal::Binary));
        assert_eq!(extract(b"<p>a\0b", None, Limits::default()), Err(Refusal::Binary));
        let limits = Limits { bytes_max: 10, nodes_max: 2 };
        assert_eq!(extract(b"<p>more than ten", None, limits), Err(Refusal::TooLarge { bytes: 16, max: 10 }));
        assert_eq!(extract(b"<b><b><b>x", None, limits), Err(Refusal::TooManyNodes(2)));
        let redirect = "<meta http-equiv=refresh content=\"0;URL=a.html\"><p>Moved</p>";
        assert_eq!(text(redirect), Err(Refusal::Redirect("a.html".into())));
    }

    #[test]
    fn hostile_pages_end_in_time() {
        const SECONDS_MAX: u64 = 20; // far above what they take, far below what unbounded parsing takes
        let nested = |tag: &str, count: usize| format!("{}x{PROSE}", format!("<{tag}>").repeat(count));
        let pages = [
            nested("div", 300_000),
            nested("b", 300_000),
            nested("table><tr><td", 100_000),
            nested("a href=x", 300_000),
            nested("p", 300_000),
            format!("<p {}>{PROSE}", (0..500_000).map(|n| format!("a{n}=1 ")).collect::<String>()),
            "<p>a</p></x></div>".repeat(100_000),
            "&amp;&lt;".repeat(500_000),
            "<".repeat(10_000_000),
            format!("<pre>{}", "a line of a log\n".repeat(500_000)),
            format!("<table>{}</table>", "<tr><td>x".repeat(100_000)),
            "<svg><path>".repeat(100_000),
            "<math><mi>x</mi></math>".repeat(100_000),
            format!("<math>{}", "<mi>x</mi>".repeat(300_000)),
            "<math>x</math><img class=tex alt=x>".repeat(100_000),
            "<sup>x".repeat(100_000),
            "<ul><li><button>x".repeat(100_000),
            "<a class=anchor>".repeat(300_000),
            "<!-- --!".repeat(1_000_000),
            "<script><!--<script></script>".repeat(300_000),
        ];
        for page in pages {
            let began = std::time::Instant::now();
            let _ = text(&page);
            let start: String = page.chars().take(30).collect();
            assert!(began.elapsed().as_secs() < SECONDS_MAX, "{start} took {:?}", began.elapsed());
        }
    }
}
