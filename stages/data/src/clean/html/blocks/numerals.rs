//! Numbers of list items as browsers show them.

use crate::clean::html::events::{Event, events};

/// Numbering of a list; laws and contracts refer to letters.
#[derive(Clone, Copy)]
pub(super) enum Numerals {
    Arabic,
    Letters { upper: bool },
    Roman { upper: bool },
}

impl Numerals {
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "a" | "A" => Self::Letters { upper: kind == "A" },
            "i" | "I" => Self::Roman { upper: kind == "I" },
            _ => Self::Arabic,
        }
    }

    /// A number as browsers show it: those without a letter or Roman numeral in digits.
    pub(super) fn written(self, number: i32) -> String {
        const LETTERS: i32 = 26;
        const ROMAN_MAX: i32 = 3999;
        let (text, upper) = match self {
            Self::Letters { upper } if number > 0 => {
                let (mut text, mut rest) = (Vec::new(), number);
                while rest > 0 {
                    text.push(b'a' + ((rest - 1) % LETTERS) as u8);
                    rest = (rest - 1) / LETTERS;
                }
                (text.iter().rev().map(|&byte| char::from(byte)).collect(), upper)
            }
            Self::Roman { upper } if (1..=ROMAN_MAX).contains(&number) => (roman(number), upper),
            _ => (number.to_string(), false),
        };
        if upper { text.to_ascii_uppercase() } else { text }
    }
}

/// The integer at the start of an attribute, by the rules of the HTML standard: after white space, with an optional sign,
/// whatever follows its digits.
pub(super) fn integer(value: &str) -> Option<i32> {
    let value = value.trim_ascii_start();
    let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    value[..value.len() - unsigned.len() + digits].parse().ok()
}

/// The number of items of each `<ol>`, in the order of their start tags.
pub(super) fn item_counts(html: &str) -> Vec<i32> {
    let mut counts = Vec::new();
    // For each open list, its position in `counts`, or none if it has no numbers.
    let mut open: Vec<Option<usize>> = Vec::new();
    for event in events(html) {
        match event {
            Event::Start(element) if element.name == "ol" => {
                open.push(Some(counts.len()));
                counts.push(0_i32);
            }
            Event::Start(element) if is_list(element.name) => open.push(None),
            Event::Start(element) if element.name == "li" => {
                if let Some(&Some(list)) = open.last() {
                    counts[list] = counts[list].saturating_add(1);
                }
            }
            Event::End(name) if is_list(name) => {
                open.pop();
            }
            _ => {}
        }
    }
    counts
}

/// Whether an element is a list of `<li>`.
pub(super) fn is_list(name: &str) -> bool {
    matches!(name, "ol" | "ul" | "menu" | "dir")
}

fn roman(mut number: i32) -> String {
    const NUMERALS: [(i32, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    let mut text = String::new();
    for (value, numeral) in NUMERALS {
        while number >= value {
            text.push_str(numeral);
            number -= value;
        }
    }
    text
}
