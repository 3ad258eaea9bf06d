//! Owns: `${…}` in flow mappings. In `{ lr: ${vars.rate} }` YAML sees a nested mapping; so the brackets and special
//! characters of each `${…}` are hidden from the parser, and restored in its results. Hiding is exactly reversible,
//! so it need not distinguish quotes from comments.

use std::{borrow::Cow, ops::Range};

/// Characters that would end a plain scalar or have another meaning in it.
const HIDDEN: [char; 7] = ['{', '}', '[', ']', ',', ':', '#'];

/// A text with the special characters of each `${…}` replaced by letters that it does not use.
pub(crate) struct Mask<'a> {
    pub(crate) text: Cow<'a, str>,
    letters: [char; HIDDEN.len()],
    /// Positions of the replacements in `text`; each is two bytes longer than the character that it hides.
    places: Vec<usize>,
}

const LONGER: usize = 2;

impl<'a> Mask<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let open = Self { text: Cow::Borrowed(text), letters: HIDDEN, places: vec![] };
        if !text.contains("${") {
            return open;
        }
        // If a text uses up the private area, its `${…}` must be quoted.
        let Some(letters) = unused_letters(text) else { return open };
        let (mut masked, mut places, mut from) = (String::with_capacity(text.len() + 256), vec![], 0);
        for expression in expressions(text) {
            masked.push_str(&text[from..expression.start]);
            for mark in text[expression.clone()].chars() {
                match HIDDEN.iter().position(|hidden| *hidden == mark) {
                    Some(index) => {
                        places.push(masked.len());
                        masked.push(letters[index]);
                    }
                    None => masked.push(mark),
                }
            }
            from = expression.end;
        }
        masked.push_str(&text[from..]);
        Self { text: Cow::Owned(masked), letters, places }
    }

    /// Converts an offset into the masked text to one into the original text.
    pub(crate) fn written(&self, offset: usize) -> usize {
        offset - LONGER * self.places.partition_point(|place| *place < offset)
    }

    /// Restores what was hidden.
    pub(crate) fn unmask<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let shown = |letter: char| match self.letters.iter().position(|used| *used == letter) {
            Some(index) => HIDDEN[index],
            None => letter,
        };
        if self.places.is_empty() || !text.contains(self.letters) {
            return text;
        }
        Cow::Owned(text.chars().map(shown).collect())
    }
}

/// Finds each `${…}` that ends on its line; it must not contain a quote, which might end the scalar around it.
fn expressions(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find("${")?;
            let end = text[start..].find(['}', '\n', '\r', '"', '\'']).map(|end| start + end);
            from = end.map_or(text.len(), |end| end + 1);
            if let Some(end) = end.filter(|end| text[*end..].starts_with('}')) {
                return Some(start..end + 1);
            }
        }
    })
}

/// Selects letters of the private area (three bytes each) that the text does not contain.
fn unused_letters(text: &str) -> Option<[char; HIDDEN.len()]> {
    const AREA: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';
    let mut used = vec![false; 0x1900];
    let index = |letter: char| letter as usize - *AREA.start() as usize;
    text.chars().filter(|letter| AREA.contains(letter)).for_each(|letter| used[index(letter)] = true);
    let free: Vec<char> = AREA.filter(|letter| !used[index(*letter)]).take(HIDDEN.len()).collect();
    free.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_hidden_comes_back(text in r#"([a-z$ \{\}\[\],:#"\n\u{e000}-\u{e003}]|\$\{[a-z:#]{0,3}\})*"#) {
            let mask = Mask::new(&text);
            prop_assert_eq!(mask.unmask(mask.text.clone()), text.as_str());
            for (masked, written) in mask.text.char_indices().zip(text.char_indices()) {
                prop_assert_eq!(mask.written(masked.0), written.0);
            }
            prop_assert_eq!(mask.written(mask.text.len()), text.len());
        }
    }
}
