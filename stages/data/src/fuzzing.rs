//! What fuzzers call: each target takes any bytes, and panics if something does not hold that must hold for any input. The
//! programs, the seeds and how to run them are in `fuzz/`; tests replay the seeds.

use crate::clean::html::{self, Limits};
use crate::tokenizer::encode::Tokenizer;
use pipe_linear::{Model, Scratch};
use pipe_wiki::{Export, Piece, Sections, Site, markup_of};
use std::collections::BTreeSet;

pub use crate::ingest::fuzzing::{arrow, csv, http, jsonl, parquet, warc};

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this package.
pub const TARGETS: &[Target] = &[
    ("arrow", arrow),
    ("csv", csv),
    ("fasttext", fasttext),
    ("html", html),
    ("http", http),
    ("jsonl", jsonl),
    ("parquet", parquet),
    ("tokenizer", tokenizer),
    ("warc", warc),
    ("wikitext", wikitext),
];

/// Pages: the first line is the media type that the server sent.
pub fn html(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (media_type, page) = (str::from_utf8(&data[..line]).ok(), &data[line..]);
    let limits = Limits { bytes_max: 1 << 20, nodes_max: 10_000 };
    let Ok(extracted) = html::extract(page, media_type, limits) else { return };
    assert!(!extracted.text.trim().is_empty() && page.len() <= limits.bytes_max);
    // Encodings of one byte have letters of three; Markdown adds marks and the indentation of items, which has a limit.
    let bytes_max = 64 * page.len() + 1024;
    assert!(extracted.text.len() <= bytes_max, "{} bytes of {}", extracted.text.len(), page.len());
    assert!(extracted.title.len() <= 3 * page.len() + 3);
    assert_eq!(html::extract(page, media_type, limits).as_ref(), Ok(&extracted));
}

/// Wikitext, and the same bytes as an export.
pub fn wikitext(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for sections in [Sections::All, Sections::Prose] {
        let markup = markup_of(&text, "Harbour", &Site::default(), sections);
        let bytes_max = 64 * text.len() + 1024;
        assert!(markup.len() <= bytes_max, "{} bytes of {}", markup.len(), text.len());
        assert!(html::text_of_markup(&markup).len() <= bytes_max);
    }
    let Ok(Some(mut export)) = Export::open(data, 1 << 20) else { return };
    let mut end = 0;
    while let Ok(Some(piece)) = export.piece() {
        let (offset, next) = match piece {
            Piece::Page(page) => (page.offset, None),
            Piece::Damaged(damage) => (damage.offset, damage.next),
        };
        assert!(offset >= end && offset <= data.len() as u64, "a page at byte {offset} behind byte {end}");
        end = next.unwrap_or(offset + 1);
        assert!(end > offset);
    }
}

/// Files `tokenizer.json`, which encode themselves.
pub fn tokenizer(data: &[u8]) {
    const TEXT_BYTES_MAX: usize = 4 << 10;
    let Ok(tokenizer) = Tokenizer::from_json(data) else { return };
    // A byte without a token is lost, which `tokenize` reports.
    let tokens = || (0..tokenizer.vocabulary_size()).map(|id| tokenizer.token_bytes(id));
    let single: BTreeSet<u8> = tokens().filter(|token| token.len() == 1).map(|token| token[0]).collect();
    let is_whole = tokenizer.is_exact() && single.len() == 256;
    let own = String::from_utf8_lossy(&data[..data.len().min(TEXT_BYTES_MAX)]);
    for text in ["", "The keeper of the light. 守灯人 1234 \u{1F600}\r\n\t<|endoftext|>", &*own] {
        for ids in [tokenizer.encode(text), tokenizer.encode_ordinary(text)] {
            assert!(ids.iter().all(|id| *id < tokenizer.vocabulary_size()));
            // A letter is at most four bytes, and a normalizer at most makes eighteen letters of it.
            assert!(ids.len() <= 72 * text.len() + 8, "{} tokens of {} bytes", ids.len(), text.len());
        }
        let ids = tokenizer.encode_ordinary(text);
        if is_whole {
            let normalized = tokenizer.normalized(text);
            assert!(tokenizer.decodes_to(&ids, normalized.as_bytes()), "tokens of {text:?} decode to it");
        }
    }
}

/// fastText's models.
pub fn fasttext(data: &[u8]) {
    let Ok(model) = Model::read(data, data.len() as u64) else { return };
    let mut scratch = Scratch::default();
    for text in ["", "the keeper of the light", "守灯人 每天 晚上", "__label__a </s>"] {
        let Some(probabilities) = model.probabilities(text, &mut scratch) else { continue };
        assert_eq!(probabilities.len(), model.labels().len());
        assert!(probabilities.iter().all(|share| (0.0..=1.001).contains(share)), "{probabilities:?}");
        let told = probabilities.to_vec();
        if let Ok(written) = model.write(Vec::new()) {
            let again = Model::read(&written[..], written.len() as u64).expect("a model that was written");
            assert_eq!(again.probabilities(text, &mut scratch), Some(&told[..]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn seeds_of_the_fuzzers_hold() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in super::TARGETS {
            let mut count = 0;
            for seed in std::fs::read_dir(seeds.join(name)).expect("each target has a folder of seeds") {
                target(&std::fs::read(seed.expect("an entry").path()).expect("a seed can be read"));
                count += 1;
            }
            assert!(count > 0, "`{name}` has no seeds");
        }
    }
}
