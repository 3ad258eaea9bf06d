//! The spelling of bytes as characters in vocabularies of byte-level models. Nothing here depends on tokens or files.
//!
//! GPT-2 (`bytes_to_unicode` in its encoder.py): printable bytes represent themselves, the others get the characters
//! from U+0100, so that any bytes make a string without white space and control characters: a space is `Ġ`.

use std::sync::LazyLock;

use crate::tokenizer::bpe::bytes_in_order;

/// The first character for bytes that are not printable, and the number of printable bytes.
const SHIFTED: u32 = 0x100;
const PRINTING: usize = 188;

/// Spells bytes as characters, one per byte.
pub fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| CHARACTERS[*byte as usize]).collect()
}

/// The bytes of a spelling; none if a character represents no byte.
pub fn unspell(spelling: &str) -> Option<Vec<u8>> {
    spelling.chars().map(byte).collect()
}

fn byte(character: char) -> Option<u8> {
    *BYTES.get(character as usize)?
}

static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(characters);

/// The byte for each character below U+0144.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for (byte, character) in (0..=255).zip(*CHARACTERS) {
        bytes[character as usize] = Some(byte);
    }
    bytes
});

fn characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    for (order, byte) in bytes_in_order().enumerate() {
        characters[byte as usize] = match order.checked_sub(PRINTING) {
            None => char::from(byte),
            Some(shift) => char::from_u32(SHIFTED + shift as u32).expect("invariant: below the surrogates"),
        };
    }
    characters
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(unspell(&spell(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn spells_with_the_byte_level_alphabet() {
        let alphabet: Vec<char> = spell(&(0..=255).collect::<Vec<u8>>()).chars().collect();
        assert_eq!(ByteLevel::alphabet(), alphabet.iter().copied().collect());
        assert_eq!(spell(b" caf\xc3\xa9\n"), "ĠcafÃ©Ċ");
        assert_eq!(unspell("\u{144}"), None);
        let in_order: Vec<u8> = bytes_in_order().collect();
        let mut by_spelling: Vec<u8> = (0..=255).collect();
        by_spelling.sort_by_key(|byte| spell(&[*byte]));
        assert_eq!(in_order, by_spelling);
    }
}
