//! What a page of HTML says to a crawler: its links, its canonical address, and whether it may be kept and followed.
//!
//! The page is split into tags by a tokenizer without a tree, in one pass and with no recursion, so a hostile page costs
//! time in proportion to its length. It does not know which links are of interest.

use encoding_rs::{Encoding, UTF_8};
use html5gum::{
    Span, Tokenizer,
    emitters::callback::{CallbackEmitter, CallbackEvent},
};
use std::{borrow::Cow, collections::HashSet, convert::Infallible};
use url::Url;

/// Maximum number of different links that are taken from a page.
const LINKS_MAX: usize = 10_000;

/// A longer attribute is not an address.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// A link as it is written in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) url: Url,
    /// Whether the page asks not to follow it.
    pub(crate) nofollow: bool,
}

/// What a page says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// In the order of the page, each once.
    pub(crate) links: Vec<Link>,
    /// Links beyond the limit, those that are there several times among them.
    pub(crate) links_cut: u64,
    /// The address that it names as its own (RFC 6596).
    pub(crate) canonical: Option<Url>,
    pub(crate) rules: Rules,
}

/// Rules for robots, from `<meta name=robots>` or `X-Robots-Tag`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The page must not be kept.
    pub(crate) noindex: bool,
    /// Its links must not be followed.
    pub(crate) nofollow: bool,
}

impl Rules {
    /// Adds those of a list such as `noindex, nofollow`.
    pub(crate) fn add(&mut self, list: &str) {
        for rule in list.split(',').map(str::trim) {
            let is = |name: &str| rule.eq_ignore_ascii_case(name);
            self.noindex |= is("noindex") || is("none");
            self.nofollow |= is("nofollow") || is("none");
        }
    }

    /// Adds those of a header, which may begin with the name of the crawler that it is for.
    pub(crate) fn add_header(&mut self, value: &str, token: &str) {
        match value.split_once(':') {
            // `unavailable_after: DATE` and others that have a value.
            Some((name, _)) if name.contains(',') || RULES_WITH_VALUE.contains(&lower(name).as_str()) => {
                self.add(value);
            }
            Some((name, rules)) if name.trim().eq_ignore_ascii_case(token) => self.add(rules),
            Some(_) => {}
            None => self.add(value),
        }
    }
}

const RULES_WITH_VALUE: [&str; 4] =
    ["unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"];

fn lower(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// Reads a page that was fetched from `url`. `charset` is what the server said; `token` is the crawler's name.
pub(crate) fn read(html: &[u8], url: &Url, charset: Option<&str>, token: &str) -> Page {
    let encoding = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    let encoding = encoding.or_else(|| declared(html)).unwrap_or(UTF_8);
    let (text, encoding, _) = encoding.decode(html);
    let mut reader = Reader {
        url,
        base: None,
        encoding,
        token,
        tag: Tag::default(),
        page: Page::default(),
        seen: HashSet::new(),
    };
    let callback = |event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
        reader.event(&event);
        None
    };
    let mut emitter = CallbackEmitter::new(callback);
    // Tags within scripts and styles are none.
    emitter.naively_switch_states(true);
    // Cannot fail: the input is in memory.
    let Ok(()) = Tokenizer::new_with_emitter(&*text, emitter).finish();
    reader.page
}

/// The encoding that a page declares in its first bytes.
fn declared(html: &[u8]) -> Option<&'static Encoding> {
    const HEAD: usize = 1024;
    let head = html.get(..HEAD).unwrap_or(html).to_ascii_lowercase();
    let place = memchr::memmem::find(&head, b"charset=")? + b"charset=".len();
    let label = head.get(place..)?;
    let label = label.trim_ascii_start().strip_prefix(b"\"").unwrap_or(label);
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte);
    let end = label.iter().position(|byte| !is_label(byte)).unwrap_or(label.len());
    Encoding::for_label(&label[..end])
}

/// The tag that is being read, with the attributes that matter. The first of a name counts.
#[derive(Default)]
struct Tag {
    name: Vec<u8>,
    attribute: Option<Attribute>,
    values: [Option<String>; 6],
}

#[derive(Clone, Copy)]
enum Attribute {
    Href,
    Src,
    Rel,
    Name,
    Content,
    HttpEquiv,
}

impl Attribute {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"href" => Self::Href,
            b"src" => Self::Src,
            b"rel" => Self::Rel,
            b"name" => Self::Name,
            b"content" => Self::Content,
            b"http-equiv" => Self::HttpEquiv,
            _ => return None,
        })
    }
}

impl Tag {
    fn value(&self, attribute: Attribute) -> Option<&str> {
        self.values[attribute as usize].as_deref()
    }

    fn has_rel(&self, wanted: &str) -> bool {
        let rel = self.value(Attribute::Rel).unwrap_or_default();
        rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(wanted))
    }
}

struct Reader<'a> {
    url: &'a Url,
    /// From the first `<base>`.
    base: Option<Url>,
    encoding: &'static Encoding,
    token: &'a str,
    tag: Tag,
    page: Page,
    seen: HashSet<(String, bool)>,
}

impl Reader<'_> {
    fn event(&mut self, event: &CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = Tag { name: name.to_vec(), ..Tag::default() };
            }
            CallbackEvent::AttributeName { name } => self.tag.attribute = Attribute::of(name),
            CallbackEvent::AttributeValue { value } => {
                if let Some(attribute) = self.tag.attribute.take()
                    && value.len() <= VALUE_BYTES_MAX
                {
                    let slot = &mut self.tag.values[attribute as usize];
                    slot.get_or_insert_with(|| String::from_utf8_lossy(value).into_owned());
                }
            }
            CallbackEvent::CloseStartTag { .. } => self.tag(),
            // Attributes of an end tag are of no tag.
            CallbackEvent::EndTag { .. } => self.tag = Tag::default(),
            _ => {}
        }
    }

    fn tag(&mut self) {
        let tag = std::mem::take(&mut self.tag);
        match &tag.name[..] {
            b"a" | b"area" => self.link(tag.value(Attribute::Href), tag.has_rel("nofollow")),
            b"iframe" | b"frame" => self.link(tag.value(Attribute::Src), false),
            b"link" if tag.has_rel("canonical") && self.page.canonical.is_none() => {
                self.page.canonical = tag.value(Attribute::Href).and_then(|href| self.resolve(href));
            }
            b"link" if tag.has_rel("next") || tag.has_rel("prev") || tag.has_rel("alternate") => {
                self.link(tag.value(Attribute::Href), false);
            }
            b"base" if self.base.is_none() => {
                self.base = tag.value(Attribute::Href).and_then(|href| self.resolve(href));
            }
            b"meta" => {
                let content = tag.value(Attribute::Content).unwrap_or_default();
                let name = tag.value(Attribute::Name).map(str::trim).unwrap_or_default();
                if name.eq_ignore_ascii_case("robots") || name.eq_ignore_ascii_case(self.token) {
                    self.page.rules.add(content);
                }
                let equiv = tag.value(Attribute::HttpEquiv).unwrap_or_default();
                if equiv.trim().eq_ignore_ascii_case("refresh") {
                    self.link(refresh(content), false);
                }
            }
            _ => {}
        }
    }

    fn resolve(&self, reference: &str) -> Option<Url> {
        // Queries are sent in the encoding of the page, everything else in UTF-8 (URL Standard).
        let encode = in_queries(self.encoding);
        let options = Url::options().base_url(Some(self.base.as_ref().unwrap_or(self.url)));
        options.encoding_override(Some(&encode)).parse(reference.trim()).ok()
    }

    fn link(&mut self, reference: Option<&str>, nofollow: bool) {
        // Not resolved any more: a page may have a million of them.
        if self.page.links.len() >= LINKS_MAX {
            self.page.links_cut += u64::from(reference.is_some());
            return;
        }
        let Some(mut url) = reference.and_then(|reference| self.resolve(reference)) else { return };
        if !matches!(url.scheme(), "http" | "https") {
            return;
        }
        url.set_fragment(None);
        if self.seen.contains(&(url.as_str().to_owned(), nofollow)) {
            return;
        }
        self.seen.insert((url.as_str().to_owned(), nofollow));
        self.page.links.push(Link { url, nofollow });
    }
}

fn in_queries(encoding: &'static Encoding) -> impl Fn(&str) -> Cow<'_, [u8]> {
    move |text| encoding.output_encoding().encode(text).0
}

/// The address in `5; url=/next`.
fn refresh(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once([';', ','])?;
    let rest = rest.trim();
    let (key, value) = rest.split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']);
    key.trim().eq_ignore_ascii_case("url").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Page {
        read(html.as_bytes(), &Url::parse("http://h/dir/page").unwrap(), None, "bot")
    }

    fn urls(page: &Page) -> Vec<&str> {
        page.links.iter().map(|link| link.url.as_str()).collect()
    }

    #[test]
    fn links_are_found_where_browsers_see_them() {
        let found = page(
            "<title><a href=title></title><A HREF='a?x=1&amp;y=2#f'>1</A><a href=a?x=1&y=2>again</a>\
             <!-- <a href=comment> --><script>\"<a href=script>\"</script><style><a href=style></style>\
             <textarea><a href=text></textarea><area href=//other/b><iframe src=frame></iframe>\
             <link rel='x next' href=next><link rel=stylesheet href=css><a href=mailto:x@y><a name=z>\
             <meta http-equiv=Refresh content='0; URL=\"to\"'><a href=\" /space \"></a x=1 href=end><a href=open",
        );
        assert_eq!(
            urls(&found),
            [
                "http://h/dir/a?x=1&y=2",
                "http://other/b",
                "http://h/dir/frame",
                "http://h/dir/next",
                "http://h/dir/to",
                "http://h/space"
            ]
        );
    }

    #[test]
    fn base_canonical_and_rules_are_read() {
        let found = page(
            "<base href=/b/><base href=/c/><link rel=canonical href=me><meta name=ROBOTS content='x, NoIndex'>\
             <meta name=bot content=nofollow><meta name=other content=none><a rel='ugc nofollow' href=l>",
        );
        assert_eq!(found.canonical.as_ref().map(Url::as_str), Some("http://h/b/me"));
        assert_eq!(found.rules, Rules { noindex: true, nofollow: true });
        assert_eq!(found.links, [Link { url: Url::parse("http://h/b/l").unwrap(), nofollow: true }]);
    }

    #[test]
    fn headers_may_name_a_crawler() {
        let rules = |value: &str| {
            let mut rules = Rules::default();
            rules.add_header(value, "bot");
            (rules.noindex, rules.nofollow)
        };
        assert_eq!(rules("noindex"), (true, false));
        assert_eq!(rules("Bot: nofollow"), (false, true));
        assert_eq!(rules("otherbot: none"), (false, false));
        assert_eq!(rules("unavailable_after: 25 Jun 2030, none"), (true, true));
        assert_eq!(rules("noindex, max-snippet: 5"), (true, false));
    }

    #[test]
    fn queries_are_in_the_encoding_of_the_page() {
        let html = b"<meta charset=\"windows-1252\"><a href='\xE4?\xE4'>";
        let found = read(html, &Url::parse("http://h/").unwrap(), None, "bot");
        assert_eq!(urls(&found), ["http://h/%C3%A4?%E4"]);
    }

    #[test]
    fn a_page_of_links_is_cut() {
        let html: String = (0..LINKS_MAX + 5).map(|number| format!("<a href={number}>")).collect();
        let found = page(&html);
        assert_eq!((found.links.len(), found.links_cut), (LINKS_MAX, 5));
    }
}
