//! Superscripts and subscripts as plain text: `10^6`, `x^(n+1)`, `H₂O`, `x_i`. They are never joined to the word or
//! number before them, except in spellings such as `2nd` or `Mme`.

/// Superscript ends of abbreviations and ordinals.
const RAISED_ENDS: [&str; 26] = [
    "st", "nd", "rd", "th", "e", "er", "ère", "re", "ème", "eme", "nde", "o", "a", "os", "as", "º", "ª",
    "me", "mes", "lle", "lles", "r", "gr", "le", "ts", "s",
];
/// Maximum characters of a superscript; longer ones are text in small print.
const CHARACTERS_MAX: usize = 24;

/// A superscript as it is written after a text; `linked` if it contains a link, as footnote marks do.
pub(super) fn raised(before: &str, content: &str, linked: bool) -> String {
    let content = content.trim();
    let first = content.chars().next().unwrap_or(' ');
    let base = last(before);
    if content.is_empty() || base.is_none() {
        return content.to_owned();
    }
    let alphabetic = content.chars().all(char::is_alphabetic);
    match content {
        "TM" | "tm" => return "™".to_owned(),
        "SM" | "sm" => return "℠".to_owned(),
        _ if linked && content.chars().all(char::is_alphanumeric) => return format!("[{content}]"),
        _ if RAISED_ENDS.contains(&content) => return content.to_owned(),
        // Footnote marks, degrees, primes.
        _ if !first.is_alphanumeric() && !is_sign(first) => return content.to_owned(),
        _ if is_small_print(content) => return format!(" {content}"),
        // The end of an abbreviation; powers are not words.
        _ if alphabetic && content.chars().count() > 1 && letters(before) > 1 => return content.to_owned(),
        _ => {}
    }
    format!("^{}", grouped(content))
}

/// A subscript as it is written after a text.
pub(super) fn lowered(before: &str, content: &str) -> String {
    let content = content.trim();
    let denominator = before.ends_with(['/', '⁄']);
    if content.is_empty() || last(before).is_none() || denominator {
        return content.to_owned();
    }
    if let Some(small) = content.chars().map(subscript).collect::<Option<String>>() {
        return small;
    }
    let first = content.chars().next().unwrap_or(' ');
    match () {
        () if is_small_print(content) => format!(" {content}"),
        () if !first.is_alphanumeric() && !is_sign(first) => content.to_owned(),
        () => format!("_{}", grouped(content)),
    }
}

/// A numerator as it is written after a text: separated from a preceding number.
pub(super) fn numerator(before: &str, content: &str) -> String {
    let space = if last(before).is_some_and(char::is_alphanumeric) { " " } else { "" };
    format!("{space}{}", content.trim())
}

fn last(before: &str) -> Option<char> {
    before.chars().next_back().filter(|c| !c.is_whitespace())
}

fn letters(before: &str) -> usize {
    before.chars().rev().take(2).take_while(|c| c.is_alphabetic()).count()
}

fn is_small_print(content: &str) -> bool {
    content.chars().count() > CHARACTERS_MAX || content.split_whitespace().count() > 2
}

fn is_sign(c: char) -> bool {
    matches!(c, '+' | '-' | '−' | '–' | '±' | '∞' | '√')
}

/// In brackets, if it is more than one number or name with a sign.
fn grouped(content: &str) -> String {
    let unsigned = content.strip_prefix(is_sign).unwrap_or(content);
    let one = unsigned.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '∞'));
    if one { content.to_owned() } else { format!("({content})") }
}

fn subscript(c: char) -> Option<char> {
    Some(match c {
        '0' => '₀',
        '1' => '₁',
        '2' => '₂',
        '3' => '₃',
        '4' => '₄',
        '5' => '₅',
        '6' => '₆',
        '7' => '₇',
        '8' => '₈',
        '9' => '₉',
        '+' => '₊',
        '-' | '−' => '₋',
        '=' => '₌',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_not_glued() {
        for (before, content, wanted) in [
            ("10", "6", "^6"),
            ("2", "-3", "^-3"),
            ("x", "n", "^n"),
            ("x", "n+1", "^(n+1)"),
            ("e", "ix", "^ix"),
            ("km", "2", "^2"),
            ("word", "1,2", "^(1,2)"),
            ("a", "", ""),
        ] {
            assert_eq!(raised(before, content, false), wanted, "{before} {content}");
        }
    }

    #[test]
    fn raised_ends_of_words_are_words() {
        for (before, content, wanted) in [
            ("2", "nd", "nd"),
            ("M", "me", "me"),
            ("Product", "TM", "™"),
            ("word", "*", "*"),
            (" ", "14", "14"),
            ("Dra", "ch", "ch"),
        ] {
            assert_eq!(raised(before, content, false), wanted, "{before} {content}");
        }
        assert_eq!(raised("word", "1", true), "[1]");
        assert_eq!(raised("word", "[1]", true), "[1]");
        assert_eq!(raised("price", "including all taxes", false), " including all taxes");
    }

    #[test]
    fn indices_are_not_glued() {
        for (before, content, wanted) in [
            ("H", "2", "₂"),
            ("x", "i", "_i"),
            ("T", "max", "_max"),
            ("x", "i+1", "_(i+1)"),
            ("1⁄", "2", "2"),
            ("", "note", "note"),
        ] {
            assert_eq!(lowered(before, content), wanted, "{before} {content}");
        }
    }
}
