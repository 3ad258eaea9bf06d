//! Numbers of list items as browsers show them.

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

    /// A number as browsers show it.
    pub(super) fn written(self, number: u32) -> String {
        const LETTERS: u32 = 26;
        const ROMAN_MAX: u32 = 3999;
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

fn roman(mut number: u32) -> String {
    const NUMERALS: [(u32, &str); 13] = [
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
