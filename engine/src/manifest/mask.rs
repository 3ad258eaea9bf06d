//! Owns: `${…}` between the parser's brackets. In `{ lr: ${vars.rate} }` YAML itself sees a mapping within
//! a mapping; so the brackets and marks of each `${…}` are hidden from the parser, and shown again in what
//! it returns. Hiding can be undone exactly, which is why it need not know quotes from comments.

use std::{borrow::Cow, ops::Range};

/// What would end a plain scalar, or begin something else in it.
const HIDDEN: [char; 7] = ['{', '}', '[', ']', ',', ':', '#'];

/// A text with the marks of each `${…}` replaced by letters that it does not use.
pub(crate) struct Mask<'a> {
    pub(crate) text: Cow<'a, str>,
    letters: [char; HIDDEN.len()],
    /// Where letters stand in `text`; each is two bytes longer than the mark that it hides.
    places: Vec<usize>,
}

const LONGER: usize = 2;

impl<'a> Mask<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let open = Self { text: Cow::Borrowed(text), letters: HIDDEN, places: vec![] };
        if !text.contains("${") {
            return open;
        }
        // A text that uses up the private area has to put its `${…}` into quotes.
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

    /// Turns an offset into the masked text into one of the text as written.
    pub(crate) fn written(&self, offset: usize) -> usize {
        offset - LONGER * self.places.partition_point(|place| *place < offset)
    }

    /// Shows what was hidden.
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

/// Finds each `${…}` that ends on its line; none holds a quote, which might end the scalar it stands in.
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

/// Picks letters of the private area (three bytes each) that the text does not hold.
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
