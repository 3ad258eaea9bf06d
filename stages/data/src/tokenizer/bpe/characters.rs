//! BPE on characters instead of bytes, as SentencePiece does it, and with marks of continuation, from which WordPiece makes
//! its vocabulary. Nothing here depends on text or files.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::words::Words;
use super::{Training, Vocabulary, merge_pairs};

/// What a WordPiece token begins with that continues a word.
pub(crate) const CONTINUATION: &str = "##";

/// How characters become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Characters {
    /// A character is the same token everywhere. The 256 bytes are tokens too, for other characters.
    Plain,
    /// A character that is not the first of a word is a token of its own, marked by [`CONTINUATION`].
    Continued,
}

/// Trains on pieces and their counts, as [`super::train`]; bytes that are no UTF-8 are left out.
///
/// At most half of the vocabulary are characters, the most frequent ones that occur `frequency_min` times. Others are left
/// out of the pieces, as Hugging Face's `limit_alphabet` does.
pub(crate) fn train_characters<P: AsRef<[u8]>>(
    pieces: Vec<(P, u64)>,
    training: Training<'_>,
    characters: Characters,
    merged: impl FnMut(usize) -> bool,
) -> Vocabulary {
    let mut tokens: Vec<Vec<u8>> =
        training.special_tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
    if characters == Characters::Plain {
        tokens.extend((0..=255).map(|byte: u8| byte_token(byte).into_bytes()));
    }
    let reserved = tokens.len();
    let room = training.vocabulary_size.saturating_sub(tokens.len()) / 2;
    let alphabet = alphabet(&pieces, training.frequency_min, characters, room);
    let prefix = |is_first: bool| if is_first { "" } else { CONTINUATION };
    let mut ids = FxHashMap::default();
    for (character, is_first) in alphabet {
        ids.insert((character, is_first), tokens.len() as u32);
        tokens.push(format!("{}{character}", prefix(is_first)).into_bytes());
    }
    let symbols = |piece: &[u8], symbols: &mut Vec<u32>| {
        let text = std::str::from_utf8(piece).unwrap_or_default();
        let known = |(at, character)| ids.get(&(character, at == 0 || characters == Characters::Plain));
        symbols.extend(text.char_indices().filter_map(known));
    };
    let words = Words::new(pieces, symbols);
    let join = |left: &[u8], right: &[u8]| match characters {
        Characters::Plain => [left, right].concat(),
        Characters::Continued => {
            [left, right.strip_prefix(CONTINUATION.as_bytes()).unwrap_or(right)].concat()
        }
    };
    merge_pairs(words, tokens, reserved, training, join, merged)
}

/// The name of a byte in vocabularies of characters: `<0x0A>`.
pub(crate) fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The most frequent characters, with whether they are the first of a piece; first ones first, each by code point.
fn alphabet<P: AsRef<[u8]>>(
    pieces: &[(P, u64)],
    frequency_min: u64,
    characters: Characters,
    count_max: usize,
) -> Vec<(char, bool)> {
    let mut counts = BTreeMap::<(char, bool), u64>::new();
    for (piece, count) in pieces {
        let text = std::str::from_utf8(piece.as_ref()).unwrap_or_default();
        for (at, character) in text.char_indices() {
            let is_first = at == 0 || characters == Characters::Plain;
            let sum = counts.entry((character, is_first)).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    let mut frequent: Vec<((char, bool), u64)> =
        counts.into_iter().filter(|(_, count)| *count >= frequency_min).collect();
    // Stable: of equally frequent ones, those with smaller code points.
    frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    frequent.truncate(count_max);
    let mut alphabet: Vec<(char, bool)> = frequent.into_iter().map(|(character, _)| character).collect();
    alphabet.sort_unstable_by_key(|(character, is_first)| (!is_first, *character));
    alphabet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::{AddedToken, Model, Trainer};

    const SPECIAL: [&str; 2] = ["[UNK]", "[PAD]"];

    fn names(vocabulary: &Vocabulary) -> Vec<String> {
        vocabulary.tokens.iter().map(|token| String::from_utf8(token.clone()).unwrap()).collect()
    }

    fn trained(pieces: &BTreeMap<String, u64>, size: usize, characters: Characters) -> Vocabulary {
        let special_tokens = SPECIAL.map(str::to_owned);
        let training = Training { vocabulary_size: size, frequency_min: 0, special_tokens: &special_tokens };
        let pieces = pieces.iter().map(|(piece, count)| (piece, *count)).collect();
        train_characters(pieces, training, characters, |_| true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn characters_merge_as_the_oracle_s(words in prop::collection::btree_map("[abé数]{1,8}", 1_u64..9, 1..20)) {
            let mut trainer = BpeTrainer::builder()
                .min_frequency(0)
                .show_progress(false)
                .vocab_size(60)
                .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).into())
                .build();
            let all = words.iter().flat_map(|(word, count)| (0..*count).map(move |_| word.clone()));
            trainer.feed(all, |word| Ok(vec![word.to_owned()])).unwrap();
            let mut model = BPE::default();
            trainer.train(&mut model).unwrap();
            // Ours has the 256 bytes too.
            let ours = names(&trained(&words, 60 + 256, Characters::Plain));
            for (id, name) in ours.iter().enumerate().filter(|(id, _)| *id < 2 || *id >= 258) {
                let expected = if id < 2 { id } else { id - 256 };
                prop_assert_eq!(model.token_to_id(name), Some(expected as u32), "{}", name);
            }
            prop_assert_eq!(ours.len() - 256, model.get_vocab_size());
        }

        #[test]
        fn continued_characters_merge_like_the_oracle_s(words in prop::collection::btree_map("[ab]{2,6}", 1_u64..9, 2..12)) {
            // The oracle numbers continued characters in the order in which it finds them, so only the sets of tokens can
            // be compared, and only if no pairs tie: all of them, then.
            let mut trainer = BpeTrainer::builder()
                .min_frequency(0)
                .show_progress(false)
                .vocab_size(10_000)
                .continuing_subword_prefix(CONTINUATION.into())
                .build();
            let all = words.iter().flat_map(|(word, count)| (0..*count).map(move |_| word.clone()));
            trainer.feed(all, |word| Ok(vec![word.to_owned()])).unwrap();
            let mut model = BPE::default();
            trainer.train(&mut model).unwrap();
            let ours = names(&trained(&words, 10_000, Characters::Continued));
            for word in words.keys() {
                prop_assert!(model.token_to_id(word).is_some() && ours.contains(word), "{}", word);
            }
        }
    }

    #[test]
    fn rare_characters_are_left_out() {
        let pieces = BTreeMap::from([("abab".to_owned(), 9), ("数ab".to_owned(), 1), ("c".to_owned(), 1)]);
        let names = names(&trained(&pieces, 8, Characters::Continued));
        assert_eq!(names, ["[UNK]", "[PAD]", "a", "##a", "##b", "##ab", "ab", "abab"]);
    }
}
