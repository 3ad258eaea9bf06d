//! Numbers of phones, cards, accounts and persons, by length, prefix and check digits.

use std::ops::Range;

/// Maximum length of a number with its separators.
const LENGTH_MAX: usize = 32;
/// Digits that a number has at least and at most.
const DIGITS_MIN: usize = 8;
const DIGITS_MAX: usize = 19;

/// A run of digits and separators that begins and ends at the border of a word.
pub(super) struct Run<'t> {
    text: &'t [u8],
    /// What stands directly before it.
    before: Option<u8>,
    digits: &'t [u8],
}

/// Looks at every group of digits that separators join, and at its beginnings and ends at separators.
pub(super) fn of_digits(text: &str, is_match: fn(&Run<'_>) -> bool, add: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_digit() || b" -.()+".contains(&byte);
    let mut at = 0;
    while at < bytes.len() {
        if !is_part(bytes[at]) {
            at += 1;
            continue;
        }
        let end = at + super::run(&bytes[at..], is_part);
        groups(bytes, at..end, is_match, add);
        at = end;
    }
}

/// Finds the longest match at each group of digits, and goes on behind it.
fn groups(
    bytes: &[u8],
    run: Range<usize>,
    is_match: fn(&Run<'_>) -> bool,
    add: &mut impl FnMut(Range<usize>),
) {
    let is_word = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut start = run.start;
    while start < run.end {
        let is_start = bytes[start].is_ascii_digit() || b"+(".contains(&bytes[start]);
        let before = start.checked_sub(1).map(|before| bytes[before]);
        let is_border = !is_word(before.as_ref()) && ![Some(b'+'), Some(b'(')].contains(&before);
        if !is_start || !is_border {
            start += 1;
            continue;
        }
        let ends = (start + 1..=run.end.min(start + LENGTH_MAX)).rev().filter(|end| {
            let next = bytes.get(*end);
            (bytes[*end - 1].is_ascii_digit() && !is_word(next))
                || next.is_some_and(|next| *next == b'X' || *next == b'x')
        });
        let longest = &bytes[start..run.end.min(start + LENGTH_MAX)];
        let (mut digits, mut count) = ([0; LENGTH_MAX], 0);
        for digit in longest.iter().filter(|byte| byte.is_ascii_digit()) {
            digits[count] = *digit;
            count += 1;
        }
        let found = ends.into_iter().find_map(|end| {
            let count = bytes[start..end].iter().filter(|byte| byte.is_ascii_digit()).count();
            let end = end + usize::from(bytes.get(end).is_some_and(|next| b"Xx".contains(next)));
            let is_whole = (DIGITS_MIN..=DIGITS_MAX).contains(&count) && !is_word(bytes.get(end));
            let run = Run { text: &bytes[start..end], before, digits: &digits[..count] };
            (is_whole && is_match(&run)).then_some(end)
        });
        match found {
            Some(end) => {
                add(start..end);
                start = end;
            }
            // The next group.
            None => start += super::run(&bytes[start..run.end], |byte| byte.is_ascii_digit()).max(1),
        }
    }
}

impl Run<'_> {
    /// Whether no two separators follow each other, and none is a bracket or a sign.
    fn is_plainly_separated(&self, separators: &[u8]) -> bool {
        let is_allowed = |byte: &u8| byte.is_ascii_digit() || separators.contains(byte);
        let is_doubled = self.text.windows(2).any(|pair| pair.iter().all(|byte| !byte.is_ascii_digit()));
        self.text.iter().all(is_allowed) && !is_doubled
    }

    /// Whether it is the continuation of another number, such as `1.` before `234`.
    fn continues(&self) -> bool {
        self.before.is_some_and(|before| b".-".contains(&before))
    }
}

/// A phone number: `+49 30 1234567`, `(212) 555-0123`, `212-555-0123`, `13812345678` of China.
pub(super) fn phone(run: &Run<'_>) -> bool {
    let Run { text, digits, .. } = run;
    if text.contains(&b'X') || text.contains(&b'x') || run.continues() {
        return false;
    }
    let is_doubled = text.windows(3).any(|three| three.iter().all(|byte| !byte.is_ascii_digit()));
    if let Some(rest) = text.strip_prefix(b"+") {
        // E.164: at most 15 digits, and no country code begins with 0.
        let is_code = rest.first().is_some_and(u8::is_ascii_digit) && digits[0] != b'0';
        return is_code && (8..=15).contains(&digits.len()) && !is_doubled && !rest.contains(&b'+');
    }
    if text.contains(&b'+') || is_doubled {
        return false;
    }
    if let [b'1', b'3'..=b'9', ..] = digits
        && digits.len() == 11
        && (text.len() == 11 || is_grouped(text, &[3, 4, 4], b" -"))
    {
        return true;
    }
    let national = digits.strip_prefix(b"1").filter(|rest| rest.len() == 10).unwrap_or(digits);
    // Areas and exchanges begin with 2 to 9.
    let is_numbered = national.len() == 10 && national[0] >= b'2' && national[3] >= b'2';
    let text = match text.strip_prefix(b"1") {
        Some(rest) if digits.len() == 11 && rest.len() > 10 => &rest[1..],
        _ => text,
    };
    is_numbered && (is_bracketed(text) || is_grouped(text, &[3, 3, 4], b"-."))
}

/// `(212) 555-0123`
fn is_bracketed(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"(") else { return false };
    let Some((area, rest)) = rest.split_at_checked(3) else { return false };
    let Some(rest) = rest.strip_prefix(b")") else { return false };
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    area.iter().all(u8::is_ascii_digit) && is_grouped(rest, &[3, 4], b"-. ")
}

/// Whether a text is groups of these lengths, with one of the separators between them, always the same.
fn is_grouped(text: &[u8], lengths: &[usize], separators: &[u8]) -> bool {
    let Some(separator) = text.iter().find(|byte| !byte.is_ascii_digit()) else { return false };
    let groups = text.split(|byte| byte == separator);
    separators.contains(separator)
        && groups.clone().count() == lengths.len()
        && groups
            .zip(lengths)
            .all(|(group, length)| group.len() == *length && group.iter().all(u8::is_ascii_digit))
}

/// A payment card: 13 to 19 digits in groups of four or as their network groups them, with Luhn's check digit.
pub(super) fn card(run: &Run<'_>) -> bool {
    let Run { text, digits, .. } = run;
    let number =
        |length: usize| digits[..length].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if !(13..=19).contains(&digits.len()) || !run.is_plainly_separated(b" -") || run.continues() {
        return false;
    }
    let is_known = match (digits[0], digits.len()) {
        (b'4', 13 | 16 | 19) => true,
        (b'5', 16) => (51..=55).contains(&number(2)),
        (b'2', 16) => (2221..=2720).contains(&number(4)),
        (b'3', 14) => (300..=305).contains(&number(3)) || matches!(number(2), 36 | 38 | 39),
        (b'3', 15) => matches!(number(2), 34 | 37),
        (b'3', 16) => (3528..=3589).contains(&number(4)),
        (b'6', 16..=19) => {
            number(4) == 6011 || number(2) == 65 || (644..=649).contains(&number(3)) || number(2) == 62
        }
        _ => false,
    };
    let is_whole = text.len() == digits.len();
    let groups = || text.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).collect::<Vec<_>>();
    let is_grouped = || {
        let groups = groups();
        let (last, others) = groups.split_last().map_or((0, &[][..]), |(last, others)| (*last, others));
        (others.iter().all(|length| *length == 4) && (1..=4).contains(&last))
            || groups == [4, 6, 5]
            || groups == [4, 6, 4]
    };
    is_known && (is_whole || is_grouped()) && luhn(digits)
}

/// The check digit of ISO 7812.
fn luhn(digits: &[u8]) -> bool {
    let value = |(at, digit): (usize, &u8)| {
        let digit = u32::from(digit - b'0');
        match (at % 2, digit) {
            (0, digit) => digit,
            (_, digit) => digit * 2 - if digit > 4 { 9 } else { 0 },
        }
    };
    // A row of zeros, or of one digit, is a sample.
    let is_sample = digits.iter().all(|digit| digit == &digits[0]);
    !is_sample && digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

/// A social security number of the United States: `123-45-6789`, with the rules of its administration.
pub(super) fn us_ssn(run: &Run<'_>) -> bool {
    let Run { text, digits, .. } = run;
    let (Some(area), Some(group), Some(serial)) = (digits.get(..3), digits.get(3..5), digits.get(5..)) else {
        return false;
    };
    is_grouped(text, &[3, 2, 4], b"-")
        && !run.continues()
        && area != b"000"
        && area != b"666"
        && area[0] != b'9'
        && group != b"00"
        && serial != b"0000"
}

/// An identity number of China: region, date of birth, sequence, and a check digit (GB 11643, ISO 7064 MOD 11-2).
pub(super) fn cn_id(run: &Run<'_>) -> bool {
    let text = run.text;
    if text.len() != 18 || !text[..17].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number =
        |range: Range<usize>| text[range].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let is_region =
        matches!(number(0..2), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83);
    let is_date = (1900..=2099).contains(&number(6..10))
        && (1..=12).contains(&number(10..12))
        && (1..=31).contains(&number(12..14));
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 =
        text[..17].iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    is_region && is_date && b"10X98765432"[sum as usize % 11] == text[17].to_ascii_uppercase()
}

/// Countries with their lengths of an IBAN, from the registry of SWIFT.
const IBAN: [(&str, usize); 87] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("XK", 20),
];

/// Bank accounts: country, check digits and account, in one piece or in groups of four.
pub(super) fn ibans(text: &str, add: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    for at in 0..bytes.len().saturating_sub(14) {
        let [a, b, c, d, ..] = bytes[at..] else { return };
        let is_start =
            a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit();
        if !is_start || (at > 0 && bytes[at - 1].is_ascii_alphanumeric()) {
            continue;
        }
        let Some(length) =
            IBAN.iter().find(|(country, _)| country.as_bytes() == [a, b]).map(|(_, length)| *length)
        else {
            continue;
        };
        if let Some(end) = iban_end(bytes, at, length) {
            add(at..end);
        }
    }
}

fn iban_end(bytes: &[u8], start: usize, length: usize) -> Option<usize> {
    let (mut letters, mut at) = (Vec::with_capacity(length), start);
    while letters.len() < length {
        match bytes.get(at)? {
            letter if letter.is_ascii_uppercase() || letter.is_ascii_digit() => letters.push(*letter),
            b' ' if letters.len().is_multiple_of(4) && bytes[at - 1] != b' ' => {}
            _ => return None,
        }
        at += 1;
    }
    if bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    // The first four letters go to the end; letters count from 10 (ISO 7064 MOD 97-10).
    let rotated = letters[4..].iter().chain(&letters[..4]);
    let rest = rotated.fold(0_u32, |rest, letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    (rest == 1).then_some(at)
}
