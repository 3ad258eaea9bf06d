//! Sections beside the one that an extractor chose: reference pages, threads and chapters consist of elements of one kind,
//! of which extractors may keep only the heaviest.

use super::blocks::text_sizes;
use super::events::end_of_tag;
use std::ops::Range;

/// Elements that pages are divided by.
const SECTIONS: [&str; 3] = ["section", "article", "div"];
const VOID: [&str; 7] = ["br", "hr", "img", "wbr", "input", "col", "embed"];

/// An element by its places in the markup.
struct Element<'h> {
    tag: Tag<'h>,
    inner: Range<usize>,
}

#[derive(Clone, Copy)]
struct Tag<'h> {
    name: &'h str,
    attributes: &'h str,
}

impl<'h> Tag<'h> {
    /// Reads the text between `<` and `>`.
    fn read(tag: &'h str) -> Self {
        let (name, attributes) = tag.split_at(tag.find(' ').unwrap_or(tag.len()));
        Self { name, attributes }
    }

    fn class(&self) -> &'h str {
        let class = self.attributes.split_once(" class=\"").and_then(|(_, behind)| behind.split_once('"'));
        class.map_or("", |(class, _)| class.trim())
    }

    /// Whether two elements are sections of one kind. Elements without a name may be anything.
    fn is_like(&self, other: &Tag) -> bool {
        let same = self.name.eq_ignore_ascii_case(other.name) && self.class() == other.class();
        let named = !self.class().is_empty() || !self.name.eq_ignore_ascii_case("div");
        same && named && SECTIONS.iter().any(|name| name.eq_ignore_ascii_case(self.name))
    }
}

/// The place of all the sections of which one or more are chosen, without other parts of the page. `None` if the choice is
/// not found in the page, or has no sections beside it.
pub(super) fn around(html: &str, chosen: &str) -> Option<Range<usize>> {
    const LEVELS_MAX: usize = 16;
    const GROWTH_MAX: f64 = 1.25;
    let chosen_plain = text_sizes(chosen).plain;
    let mut elements = elements_around(html, place(html, chosen)?).into_iter();
    let mut here = elements.next()?;
    let mut sizes = text_sizes(&html[here.inner.clone()]);
    let has_sections = || {
        let children: Vec<Tag> = children(&html[here.inner.clone()]).collect();
        children.windows(2).any(|pair| pair[0].is_like(&pair[1]))
    };
    let mut found = has_sections().then(|| here.inner.clone());
    for parent in elements.take(LEVELS_MAX) {
        let of_parent = text_sizes(&html[parent.inner.clone()]);
        let plain = of_parent.plain.saturating_sub(sizes.plain);
        let is_text = plain > of_parent.linked.saturating_sub(sizes.linked);
        let is_alike =
            children(&html[parent.inner.clone()]).filter(|child| child.is_like(&here.tag)).nth(1).is_some();
        if is_text && is_alike {
            found = Some(parent.inner.clone());
        } else if plain > sizes.plain && of_parent.plain as f64 > GROWTH_MAX * chosen_plain as f64 {
            break;
        }
        (here, sizes) = (parent, of_parent);
    }
    found
}

/// Where the first and the last longer texts of the choice are in the page.
fn place(html: &str, chosen: &str) -> Option<Range<usize>> {
    const BYTES_MIN: usize = 16;
    let texts = || {
        let texts = chosen.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim());
        // Serialisers write some characters in another way.
        texts.filter(|text| text.len() >= BYTES_MIN && !text.contains(['&', '>', '\u{a0}']))
    };
    let (first, last) = (texts().next()?, texts().next_back()?);
    let start = html.find(first)?;
    let end = start + html[start..].find(last)? + last.len();
    Some(start..end)
}

/// The elements around a place, from the inside.
fn elements_around(html: &str, place: Range<usize>) -> Vec<Element<'_>> {
    let (mut open, mut found): (Vec<Element>, Vec<Element>) = (Vec::new(), Vec::new());
    for (at, end, tag) in tags(html) {
        match tag.strip_prefix('/') {
            Some(name) => {
                if let Some(mut element) = open.pop_if(|open| open.tag.name.eq_ignore_ascii_case(name)) {
                    element.inner.end = at;
                    if element.inner.start <= place.start && element.inner.end >= place.end {
                        found.push(element);
                    }
                }
            }
            None => {
                let tag = Tag::read(tag);
                if !VOID.iter().any(|name| name.eq_ignore_ascii_case(tag.name)) {
                    open.push(Element { tag, inner: end..html.len() });
                }
            }
        }
    }
    found.extend(open.into_iter().rev().filter(|open| open.inner.start <= place.start));
    found
}

/// The start tags of the elements that are in markup, but in no other element of it.
fn children(html: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut depth = 0_usize;
    tags(html).filter_map(move |(_, _, tag)| {
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
            return None;
        }
        let tag = Tag::read(tag);
        let is_child = depth == 0;
        depth += usize::from(!VOID.iter().any(|name| name.eq_ignore_ascii_case(tag.name)));
        is_child.then_some(tag)
    })
}

/// The tags of markup that the scan wrote: where each begins and ends, and what is between its brackets.
fn tags(html: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + memchr::memchr(b'<', &html.as_bytes()[from..])?;
        let end = at + end_of_tag(&html[at..])?;
        from = end;
        Some((at, end, &html[at + 1..end - 1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'h>(html: &'h str, chosen: &str) -> Option<&'h str> {
        around(html, chosen).map(|range| &html[range])
    }

    #[test]
    fn sections_of_one_kind_belong_together() {
        let section = |name: &str| {
            format!("<section class=\"s\"><h2>{name}</h2><p>The text of the section {name}.</p></section>")
        };
        let all = [section("a"), section("b"), section("c")].concat();
        let site = "<div class=\"site\"><a href=\"/\">home</a></div>";
        let page = format!("<body><div id=\"x\">{site}<div>{all}</div></div></body>");
        for chosen in
            [section("b"), "<p>The text of the section b.</p>".to_owned(), section("a") + &section("c")]
        {
            assert_eq!(found(&page, &format!("<div>{chosen}</div>")), Some(&*all));
        }
        assert_eq!(found(&page, "<p>This is not text of the page.</p>"), None);
        assert_eq!(found(&page, "<p>short</p>"), None);
    }

    #[test]
    fn links_and_other_parts_are_no_sections() {
        let text = "<p>The text of the article is here.</p><p>And more of it is there.</p>";
        for other in [
            "<div class=\"comments\"><p>Another text that is as long.</p></div>".to_owned(),
            format!("<div class=\"part\">{}</div>", "<a href=\"x\">Read about something else</a>".repeat(9)),
        ] {
            let page = format!("<body><div class=\"part\">{text}</div>{other}</body>");
            assert_eq!(found(&page, text), None);
        }
    }
}
