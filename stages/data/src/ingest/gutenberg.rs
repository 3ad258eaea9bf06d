//! Texts of Project Gutenberg, without the licence around them.
//!
//! Since 2001 or so, lines such as `*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***` enclose the text; before, a "small
//! print" that ends in `*END*THE SMALL PRINT!` stood before it. Fields such as `Title: Emma` come first in both.

use crate::documents::Document;
use std::collections::BTreeMap;

/// Which frames a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One, with its start and end.
    Whole,
    /// None; it may be from elsewhere.
    None,
    /// One without its start, or without its end, as if it was cut.
    Partly,
    /// Further starts or ends within the frame: several books in one file, or a book about such frames.
    Several,
}

impl Framing {
    /// Its name in the metadata.
    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "true",
            Self::None => "false",
            Self::Partly => "partly",
            Self::Several => "several",
        }
    }
}

/// A text without its frame.
#[derive(Debug, PartialEq, Eq)]
struct Text<'t> {
    /// The text between the frames.
    body: &'t str,
    /// What is before it.
    head: &'t str,
    framing: Framing,
}

/// Lines at the beginning of a file in which its frame starts. The old small print has some 300 lines.
const HEAD_LINES: usize = 800;

/// Removes the frame of a text: all up to the first start, and all from the last end on. So whatever looks like a frame
/// within the text costs nothing of it.
fn unframed(text: &str) -> Text<'_> {
    let lines = || {
        text.split_inclusive('\n').scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line.trim()))
        })
    };
    let behind = |start: usize| text[start..].find('\n').map_or(text.len(), |end| start + end + 1);
    let start = lines().take(HEAD_LINES).find(|(_, line)| is_start(line)).map(|(at, _)| behind(at));
    let from = start.unwrap_or(0);
    // The licence is behind the last marked end; without any, the last line that says that the text ends counts.
    let (mut starts, mut marked, mut plain) = (0_u64, 0_u64, None);
    let mut end = None;
    let mut last: Option<usize> = None;
    for (at, line) in lines().filter(|(at, _)| *at >= from) {
        let kind = end_of(line);
        match kind {
            // Usually both lines follow each other: `End of Project Gutenberg's Emma`, `*** END OF ...`.
            Some(End::Marked) => {
                marked += 1;
                end = Some(last.unwrap_or(at));
            }
            Some(End::Plain) => {
                plain = Some(at);
                last = last.or(plain);
            }
            None if line.is_empty() => {}
            None => {
                last = None;
                starts += u64::from(is_start(line));
            }
        }
    }
    let end = end.or(plain);
    let framing = match (start.is_some(), end.is_some()) {
        _ if starts > 0 || marked > 1 => Framing::Several,
        (true, true) => Framing::Whole,
        (false, false) => Framing::None,
        _ => Framing::Partly,
    };
    let body = text[from..end.unwrap_or(text.len())].trim_matches(['\r', '\n']);
    Text { body, head: &text[..from], framing }
}

fn is_start(line: &str) -> bool {
    if !line.starts_with('*') {
        return false;
    }
    let line = line.to_ascii_uppercase();
    let is_marked = line.starts_with("***")
        && ["START OF TH", "START OF PROJECT"].iter().any(|start| line.contains(start));
    let is_small_print = line.starts_with("*END") && line.contains("THE SMALL PRINT");
    (is_marked && line.contains("GUTENBERG")) || is_small_print
}

/// A line at which a text ends.
enum End {
    /// `*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***`.
    Marked,
    /// `End of Project Gutenberg's Emma`.
    Plain,
}

fn end_of(line: &str) -> Option<End> {
    let line = line.to_ascii_uppercase();
    if !line.contains("GUTENBERG") {
        return None;
    }
    if line.starts_with("***") && (line.contains("END OF TH") || line.contains("END OF PROJECT")) {
        return Some(End::Marked);
    }
    let line = line.trim_start_matches(['*', ' ']);
    let plain = ["END OF THE PROJECT GUTENBERG", "END OF PROJECT GUTENBERG", "END OF THIS PROJECT GUTENBERG"];
    plain.iter().any(|start| line.starts_with(start)).then_some(End::Plain)
}

/// The document of a text, and its frames: fields of its head become its title, author, language and date.
pub(super) fn document(text: &str) -> (Document, Framing) {
    let found = unframed(text);
    let fields = fields(found.head);
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let metadata = [("title", "title"), ("author", "author"), ("translator", "translator")].into_iter();
    let metadata = metadata.map(|(name, field_name)| (name.to_owned(), field(field_name)));
    let framed = (FRAMED.to_owned(), found.framing.name().to_owned());
    let metadata = metadata.filter(|(_, value)| !value.is_empty()).chain([framed]).collect();
    let document = Document {
        text: found.body.to_owned(),
        language: language(&field("language")),
        date: date(&field("release date")),
        metadata,
        ..Document::default()
    };
    (document, found.framing)
}

/// Which frames a text had; `false` may mean that it is from elsewhere.
const FRAMED: &str = "framed";
/// The names of the metadata.
pub(super) const METADATA: [&str; 4] = ["title", "author", "translator", FRAMED];

/// Fields such as `Title: Emma`, with names in lower case. Indented lines continue a field.
fn fields(head: &str) -> BTreeMap<String, String> {
    const NAME_BYTES_MAX: usize = 30;
    const VALUE_BYTES_MAX: usize = 1000;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Option<String> = None;
    for line in head.lines() {
        if line.starts_with([' ', '\t']) {
            let value = open.as_ref().and_then(|name| fields.get_mut(name));
            if let Some(value) = value.filter(|value| value.len() + line.len() < VALUE_BYTES_MAX) {
                *value = format!("{value} {}", line.trim()).trim().to_owned();
            }
            continue;
        }
        open = None;
        if let Some((name, value)) = line.split_once(':')
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(|c| c.is_ascii_alphabetic() || c == ' ')
            && value.len() < VALUE_BYTES_MAX
        {
            let name = name.trim().to_ascii_lowercase();
            fields.entry(name.clone()).or_insert_with(|| value.trim().to_owned());
            open = Some(name);
        }
    }
    fields
}

/// The ISO 639-1 code of a language by its English name; the first of several.
fn language(name: &str) -> String {
    const NAMES: [(&str, &str); 30] = [
        ("english", "en"),
        ("french", "fr"),
        ("german", "de"),
        ("finnish", "fi"),
        ("dutch", "nl"),
        ("italian", "it"),
        ("spanish", "es"),
        ("portuguese", "pt"),
        ("hungarian", "hu"),
        ("chinese", "zh"),
        ("swedish", "sv"),
        ("greek", "el"),
        ("esperanto", "eo"),
        ("latin", "la"),
        ("danish", "da"),
        ("tagalog", "tl"),
        ("catalan", "ca"),
        ("polish", "pl"),
        ("japanese", "ja"),
        ("norwegian", "no"),
        ("welsh", "cy"),
        ("czech", "cs"),
        ("russian", "ru"),
        ("icelandic", "is"),
        ("hebrew", "he"),
        ("bulgarian", "bg"),
        ("romanian", "ro"),
        ("serbian", "sr"),
        ("ukrainian", "uk"),
        ("arabic", "ar"),
    ];
    let first = name.split([',', ';', '/', '(']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = NAMES.iter().find(|(known, _)| *known == first);
    found.map_or_else(String::new, |(_, code)| (*code).to_owned())
}

/// A date such as `August 1, 1994 [eBook #158]` or `June, 2001` in ISO 8601; empty if it is none.
fn date(text: &str) -> String {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = text.split('[').next().unwrap_or_default();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_number = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let year = words.iter().find(|word| is_number(word) && word.len() == 4);
    let month = words.iter().find_map(|word| {
        let start = word.get(..3)?.to_ascii_lowercase();
        MONTHS.iter().position(|month| *month == start)
    });
    let day =
        words.iter().find(|word| is_number(word) && word.len() <= 2).and_then(|day| day.parse::<u32>().ok());
    match (year, month, day.filter(|day| (1..=31).contains(day))) {
        (None, ..) => String::new(),
        (Some(year), None, _) => (*year).to_owned(),
        (Some(year), Some(month), None) => format!("{year}-{:02}", month + 1),
        (Some(year), Some(month), Some(day)) => format!("{year}-{:02}-{day:02}", month + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "\u{feff}The Project Gutenberg eBook of Emma\r\n\r\nThis eBook is for the use of anyone.\r\n\r\n\
        Title: Emma\r\n       A Novel\r\n\r\nAuthor: Jane Austen\r\n\r\nRelease date: August 1, 1994 [eBook #158]\r\n\
        \x20               Most recently updated: May 1, 2022\r\n\r\nLanguage: English\r\n\r\n\r\n\
        *** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\r\n\r\n\r\nEmma Woodhouse, handsome.\r\n\r\n  FINIS\r\n\r\n\
        *** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\r\n\r\nUpdated editions will replace the previous one.\r\n";

    const OLD: &str = "The Project Gutenberg Etext of Alice\n\nTitle: Alice\nAuthor: Lewis Carroll\nRelease Date: June, 1994\n\n\
        ***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n\
        *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\nAlice was tired.\n\n\
        End of the Project Gutenberg Etext of Alice\n\nmore\n";

    #[test]
    fn frames_are_removed_and_fields_are_read() {
        let (found, framing) = document(NEW);
        assert_eq!(framing, Framing::Whole);
        assert_eq!(found.text, "Emma Woodhouse, handsome.\r\n\r\n  FINIS");
        assert_eq!((found.language.as_str(), found.date.as_str()), ("en", "1994-08-01"));
        assert_eq!(found.metadata["title"], "Emma A Novel");
        assert_eq!(
            (found.metadata["author"].as_str(), found.metadata["framed"].as_str()),
            ("Jane Austen", "true")
        );
        let (found, framing) = document(OLD);
        assert_eq!(framing, Framing::Whole);
        assert_eq!((found.text.as_str(), found.date.as_str()), ("Alice was tired.", "1994-06"));
        assert_eq!(found.metadata["title"], "Alice");
    }

    #[test]
    fn texts_without_frames_are_kept() {
        let text = "A letter to the Project Gutenberg.\n*** A ***\nEnd.\n";
        let (found, _) = document(text);
        assert_eq!((found.text.as_str(), found.metadata["framed"].as_str()), (text.trim_end(), "false"));
        assert_eq!(document("").0.text, "");
    }

    #[test]
    fn a_start_far_into_a_text_is_part_of_it() {
        let text = format!("{}*** START OF THE PROJECT GUTENBERG EBOOK X ***\nend", "a\n".repeat(2000));
        assert_eq!(unframed(&text).body, text);
    }

    #[test]
    fn frames_within_the_frame_cost_nothing() {
        let start = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n";
        let end = "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n";
        let book = |title: &str, body: &str| format!("Title: {title}\n{start}{body}\n{end}licence\n");
        let (found, framing) = document(&(book("One", "first") + &book("Two", "second")));
        let text = format!("first\n{end}licence\nTitle: Two\n{start}second");
        assert_eq!((found.text.as_str(), found.metadata["title"].as_str()), (text.as_str(), "One"));
        assert_eq!((framing, found.metadata["framed"].as_str()), (Framing::Several, "several"));
        let quoted = "before\nEnd of the Project Gutenberg EBook of X\nbetween\n*** START OF THIS PROJECT GUTENBERG EBOOK q ***\nafter";
        let (found, framing) = document(&book("Quoting", quoted));
        assert_eq!((found.text.as_str(), framing), (quoted, Framing::Several));
        let both = document(&book("Emma", "text\n\nEnd of Project Gutenberg's Emma, by Jane Austen\n"));
        assert_eq!((both.0.text.as_str(), both.1), ("text", Framing::Whole));
    }

    #[test]
    fn a_frame_without_end_or_start_is_told() {
        let (found, framing) =
            document("Title: A\n*** START OF THE PROJECT GUTENBERG EBOOK A ***\ntext that is cu");
        assert_eq!((found.text.as_str(), framing), ("text that is cu", Framing::Partly));
        assert_eq!(found.metadata["framed"], "partly");
        let (found, framing) = document("text\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\nlicence");
        assert_eq!((found.text.as_str(), framing), ("text", Framing::Partly));
    }

    #[test]
    fn dates_are_written_in_iso_8601() {
        assert_eq!(date("1 August 1994"), "1994-08-01");
        assert_eq!(date("2004"), "2004");
        assert_eq!(date("[eBook #1994]"), "");
    }
}
