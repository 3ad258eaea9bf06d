//! Repairs a line around what was dropped: brackets that are left empty, and spaces before punctuation.

use super::marks::DROPPED;

/// Open brackets that are remembered; deeper ones are left as they are.
const DEPTH_MAX: usize = 16;

struct Bracket {
    /// Position behind it.
    at: usize,
    is_affected: bool,
}

/// The line without its marks of dropped things.
pub(super) fn tidy(line: &str) -> String {
    if !line.contains(DROPPED) {
        return line.to_owned();
    }
    let mut out = String::with_capacity(line.len());
    let mut brackets: Vec<Bracket> = Vec::new();
    let (mut depth, mut after_dropped) = (0_usize, false);
    for c in line.chars() {
        let was_dropped = std::mem::take(&mut after_dropped);
        match c {
            DROPPED => {
                after_dropped = true;
                if let Some(bracket) = brackets.last_mut().filter(|_| depth <= DEPTH_MAX) {
                    bracket.is_affected = true;
                }
            }
            ' ' if was_dropped && (out.is_empty() || out.ends_with([' ', '(', '（'])) => {
                after_dropped = true
            }
            '(' | '（' => {
                out.push(c);
                depth += 1;
                if depth <= DEPTH_MAX {
                    brackets.push(Bracket { at: out.len(), is_affected: false });
                }
            }
            ')' | '）' => {
                depth = depth.saturating_sub(1);
                let bracket = if depth < brackets.len() { brackets.pop() } else { None };
                match bracket.filter(|bracket| bracket.is_affected) {
                    Some(bracket) => close(&mut out, bracket.at, c, &mut after_dropped),
                    None => out.push(c),
                }
            }
            ',' | '.' | ';' | ':' | '、' | '，' | '。' if was_dropped => {
                out.truncate(out.trim_end_matches(' ').len());
                out.push(c);
            }
            c => out.push(c),
        }
    }
    if after_dropped {
        out.truncate(out.trim_end().len());
    }
    out
}

/// Closes a bracket whose content begins at `start`, without the punctuation that is left at its ends.
fn close(out: &mut String, start: usize, end: char, after_dropped: &mut bool) {
    const LEFT: [char; 14] = [' ', '\u{a0}', ',', ';', ':', '/', '–', '-', '|', '、', '，', '；', '：', '·'];
    let content = &out[start..];
    let trimmed = content.trim_matches(LEFT);
    if trimmed.is_empty() {
        let bracket = out[..start].chars().next_back().map_or(0, char::len_utf8);
        out.truncate(start - bracket);
        // The space before it joins the one behind it.
        *after_dropped = true;
        return;
    }
    let (lead, length) = (content.len() - content.trim_start_matches(LEFT).len(), trimmed.len());
    out.truncate(start + lead + length);
    out.drain(start..start + lead);
    out.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(line: &str) -> String {
        tidy(&line.replace('~', "\u{4}"))
    }

    #[test]
    fn empty_brackets_and_lone_punctuation_are_removed() {
        assert_eq!(tidied("Bonn (~) is a city."), "Bonn is a city.");
        assert_eq!(tidied("Bonn (~; born 1900) is"), "Bonn (born 1900) is");
        assert_eq!(tidied("Bonn (Latin: Bonna, ~), a city ~."), "Bonn (Latin: Bonna), a city.");
        assert_eq!(tidied("東京（~、とうきょう）は"), "東京（とうきょう）は");
        assert_eq!(tidied("~ At the start"), "At the start");
        assert_eq!(tidied("f() stays ~"), "f() stays");
        assert_eq!(tidied("f() stays"), "f() stays");
    }

    #[test]
    fn brackets_without_end_cost_no_more_than_others() {
        let line = format!("{}~{}", "(".repeat(50_000), "),".repeat(60_000));
        assert_eq!(tidy(&line.replace('~', "\u{4}")).matches('(').count(), 50_000);
    }
}
