//! Definition lists whose terms are bullets: lists of points, as converters write them whose source has no other lists
//! (manual pages).

use crate::clean::html::events::{Event, events};

/// Terms that may be bullets.
const BULLETS: [&str; 17] =
    ["•", "·", "‣", "⁃", "●", "○", "◦", "▪", "▫", "■", "□", "–", "—", "*", "-", "+", "o"];

/// A term: the list that it is in, and the bullet that it is, both by position.
struct Term {
    list: usize,
    bullet: Option<usize>,
}

/// For each `<dt>` outside of code, in order, whether it is a bullet and not a term. A bullet occurs more than once in its
/// list; one that no keyboard has may be the only term.
pub(super) fn bullets(html: &str) -> Vec<bool> {
    if memchr::memmem::find(html.as_bytes(), b"<dt").is_none() {
        return Vec::new();
    }
    // For each list, how many terms are each of the bullets, and how many there are.
    let mut lists = vec![[0_u32; BULLETS.len() + 1]];
    let (mut open, mut terms) = (Vec::new(), Vec::new());
    let (mut text, mut in_term, mut verbatim) = (String::new(), false, false);
    for event in events(html) {
        match event {
            Event::Start(element) if matches!(element.name, "pre" | "listing") => verbatim = true,
            Event::End("pre" | "listing") => verbatim = false,
            _ if verbatim => {}
            Event::Start(element) if element.name == "dl" => {
                open.push(lists.len());
                lists.push([0; BULLETS.len() + 1]);
            }
            Event::End("dl") => drop(open.pop()),
            Event::Start(element) if element.name == "dt" => {
                terms.push(Term { list: open.last().copied().unwrap_or_default(), bullet: None });
                text.clear();
                in_term = true;
            }
            Event::End("dt") => {
                in_term = false;
                if let Some(term) = terms.last_mut() {
                    term.bullet = BULLETS.iter().position(|bullet| *bullet == text.trim());
                    let counts = &mut lists[term.list];
                    counts[BULLETS.len()] += 1;
                    term.bullet.into_iter().for_each(|bullet| counts[bullet] += 1);
                }
            }
            Event::Text(piece) if in_term => text.push_str(piece),
            _ => {}
        }
    }
    let is_bullet = |term: &Term| {
        term.bullet.is_some_and(|bullet| {
            let counts = lists[term.list];
            counts[bullet] > 1 || (counts[BULLETS.len()] == 1 && !BULLETS[bullet].is_ascii())
        })
    };
    terms.iter().map(is_bullet).collect()
}
