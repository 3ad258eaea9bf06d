//! Main content of an HTML page, in bounded time and memory.
//!
//! Owns: bytes -> text -> bounded markup -> main content -> blocks. A page with one `<main>` says itself what
//! its content is; in others dom_smoothie finds it. Each page either gives a [`Page`] or says why not. Knows
//! nothing of documents, files or stages.

mod blocks;
mod charset;
mod scan;

use dom_query::Document;
use dom_smoothie::{Config, Readability};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a page holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Title as the page gives it.
    pub title: String,
    /// Main content as light Markdown; code blocks are verbatim.
    pub text: String,
    /// `lang` of the page, lower case, without its region: `en`, `zh`. Empty if it says none.
    pub language: String,
    /// Address that the page gives as its own; empty if none.
    pub canonical: String,
}

/// Sizes beyond which a page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the page.
    pub bytes_max: usize,
    /// Start tags.
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
    /// No bytes but white space.
    #[error("it is empty")]
    Empty,
    /// A picture, an archive, a program.
    #[error("it is binary")]
    Binary,
    /// More bytes than allowed.
    #[error("it has {0} bytes")]
    TooLarge(usize),
    /// More start tags than allowed.
    #[error("it has more than {0} elements")]
    TooManyNodes(usize),
    /// Its encoding is unknown or it is damaged.
    #[error("it does not decode as text")]
    Undecodable,
    /// It only leads elsewhere.
    #[error("it leads to `{0}`")]
    Redirect(String),
    /// Nothing that people read is left.
    #[error("it has no main content")]
    NoContent,
    /// The extraction failed.
    #[error("its main content cannot be extracted")]
    Failed,
}

impl Refusal {
    /// Stable name for counts and reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Binary => "binary",
            Self::TooLarge(_) => "too_large",
            Self::TooManyNodes(_) => "too_many_nodes",
            Self::Undecodable => "undecodable",
            Self::Redirect(_) => "redirect",
            Self::NoContent => "no_content",
            Self::Failed => "failed",
        }
    }
}

/// Extracts the main content of a page.
///
/// # Errors
/// The reason why there is none.
pub fn extract(bytes: &[u8], limits: Limits) -> Result<Page, Refusal> {
    let scanned = look_at(bytes, limits)?;
    let article = catch_unwind(AssertUnwindSafe(|| main_content(&scanned)));
    let text = article.map_err(|_| Refusal::Failed)?.ok_or(Refusal::NoContent)?;
    if text.trim().is_empty() {
        return Err(Refusal::NoContent);
    }
    let language = scanned.language.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let title = blocks::unescape(&scanned.title).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Page { title, text, language, canonical: scanned.canonical })
}

/// Sees what a page is without extracting anything, as quick as reading it.
///
/// # Errors
/// Every reason but [`Refusal::NoContent`] and [`Refusal::Failed`], which only extraction finds.
pub fn inspect(bytes: &[u8], limits: Limits) -> Result<(), Refusal> {
    look_at(bytes, limits).map(drop)
}

fn look_at(bytes: &[u8], limits: Limits) -> Result<scan::Scanned, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    if bytes.len() > limits.bytes_max {
        return Err(Refusal::TooLarge(bytes.len()));
    }
    if is_binary(bytes) {
        return Err(Refusal::Binary);
    }
    let page = charset::decode(bytes).ok_or(Refusal::Undecodable)?;
    let scanned = scan::scan(&page, limits.nodes_max).map_err(|_| Refusal::TooManyNodes(limits.nodes_max))?;
    match scanned.refresh {
        Some(target) => Err(Refusal::Redirect(target)),
        None => Ok(scanned),
    }
}

/// Known signatures, or NUL bytes in the first kilobyte without the byte order mark of UTF-16.
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

/// Share of the page's text without links below which an extractor's choice is doubted.
const CHOICE_MIN: f64 = 0.5;
/// Share of the page's text in links above which it is a list of links, and not taken whole.
const LINKS_MAX: f64 = 0.7;

/// Text of the main content.
///
/// Extractors weigh paragraphs against links; of a page of reference, a thread or a chapter in a language
/// without commas they may take the one part that weighs most and lose the rest. So what a page calls
/// `<main>` is taken whole, and so is a page whose running text the choice would leave out by more than half.
fn main_content(scanned: &scan::Scanned) -> Option<String> {
    let document = Document::from(scanned.html.as_str());
    let body = document.select("body").inner_html();
    if scanned.has_main {
        return Some(blocks::text_of(&body));
    }
    let config = Config { keep_classes: true, disable_json_ld: true, ..Config::default() };
    let mut readability = Readability::with_document(document, None, Some(config)).ok()?;
    let chosen = readability.parse().map(|article| article.content).unwrap_or_default();
    let (of_chosen, of_body) = (blocks::text_sizes(&chosen), blocks::text_sizes(&body));
    let doubted = (of_chosen.plain as f64) < CHOICE_MIN * of_body.plain as f64;
    let whole = doubted && of_body.linked as f64 <= LINKS_MAX * (of_body.plain + of_body.linked) as f64;
    Some(blocks::text_of(if whole { &body } else { &chosen }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> Result<String, Refusal> {
        extract(html.as_bytes(), Limits::default()).map(|page| page.text)
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
        let page = extract(page.as_bytes(), Limits::default()).unwrap();
        assert_eq!((page.title.as_str(), page.language.as_str()), ("Own & lend - Site", "en"));
        assert!(page.text.starts_with("## Own\n\nOwnership is"), "{}", page.text);
        assert!(page.text.contains("```rust\nfn f() {\n    1\n}\n```"), "{}", page.text);
        assert!(!page.text.contains("Home") && !page.text.contains("Imprint"), "{}", page.text);
    }

    #[test]
    fn takes_a_chapter_whole() {
        let section = "<div class=section><h2>节</h2><p>所有权是程序管理内存的一组规则，所有程序都必须管理内存。</p></div>";
        let page = format!("<body><div class=chapter>{}</div></body>", section.repeat(30));
        assert_eq!(text(&page).unwrap().matches("所有权").count(), 30);
    }

    #[test]
    fn refuses_what_is_no_page() {
        assert_eq!(text(" \n"), Err(Refusal::Empty));
        assert_eq!(text("<html><body></body></html>"), Err(Refusal::NoContent));
        assert_eq!(extract(b"\x89PNG\r\n", Limits::default()), Err(Refusal::Binary));
        assert_eq!(extract(b"<p>a\0b", Limits::default()), Err(Refusal::Binary));
        let limits = Limits { bytes_max: 10, nodes_max: 2 };
        assert_eq!(extract(b"<p>more than ten", limits), Err(Refusal::TooLarge(16)));
        assert_eq!(extract(b"<b><b><b>x", limits), Err(Refusal::TooManyNodes(2)));
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
        ];
        for page in pages {
            let began = std::time::Instant::now();
            let _ = text(&page);
            let start: String = page.chars().take(30).collect();
            assert!(began.elapsed().as_secs() < SECONDS_MAX, "{start} took {:?}", began.elapsed());
        }
    }
}
