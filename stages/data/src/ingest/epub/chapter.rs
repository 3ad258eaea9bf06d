//! The body of a chapter, from XHTML to HTML.

/// Elements without an end tag in HTML.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// The content of the body. Empty elements such as `<a id="x"/>` get an end tag, without which HTML would take all that
/// follows for their content.
pub(super) fn body(xhtml: &str) -> String {
    let start = tag_of(xhtml, "<body").map_or(0, |(_, end)| end);
    let end = xhtml.rfind("</body").filter(|end| *end >= start).unwrap_or(xhtml.len());
    let mut rest = &xhtml[start..end];
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(section) = rest.strip_prefix("<![CDATA[") {
            let (content, behind) = section.split_once("]]>").unwrap_or((section, ""));
            out.push_str(&content.replace('&', "&amp;").replace('<', "&lt;"));
            rest = behind;
            continue;
        }
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
            continue;
        }
        let length = end_of_tag(rest);
        let tag = &rest[..length];
        rest = &rest[length..];
        if tag.starts_with("<?") {
            continue;
        }
        let name =
            tag[1..].split(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).next().unwrap_or_default();
        match tag.strip_suffix("/>") {
            Some(open) if !name.is_empty() && !VOID.contains(&name) => {
                out.push_str(open);
                out.push_str("></");
                out.push_str(name);
                out.push('>');
            }
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out.push('\n');
    out
}

/// Where the first tag that begins so starts and ends.
fn tag_of(text: &str, start: &str) -> Option<(usize, usize)> {
    let is_whole = |at: &usize| text[at + start.len()..].starts_with(|c: char| c == '>' || c.is_whitespace());
    let at = text.match_indices(start).map(|(at, _)| at).find(is_whole)?;
    Some((at, at + end_of_tag(&text[at..])))
}

/// Length of a tag; a quoted `>` does not end it.
fn end_of_tag(tag: &str) -> usize {
    let mut quote = None;
    let end = tag.bytes().position(|byte| {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        quote.is_none() && byte == b'>'
    });
    end.map_or(tag.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_elements_are_closed() {
        let xhtml = "<?xml version=\"1.0\"?><html><head><title/></head><body class=\"a > b\"><p><a id=\"x\"/>One<br/>two \
            <i/><![CDATA[a < b]]><!-- <b> --></p></body></html>";
        assert_eq!(body(xhtml), "<p><a id=\"x\"></a>One<br/>two <i></i>a &lt; b</p>\n");
        assert_eq!(body("no <b"), "no <b\n");
        assert_eq!(body(""), "\n");
    }
}
