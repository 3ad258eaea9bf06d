//! Bytes to text: determines the encoding of a page.
//!
//! A byte order mark decides. So does valid UTF-8 with characters beyond ASCII, since text in another encoding is
//! hardly ever valid UTF-8 by chance, whatever the page declares. Otherwise the declared encoding is tried, then the
//! guess of `chardetng`; each is used only if the result looks like text.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
};
use std::borrow::Cow;

/// Bytes in which a `<meta>` with the encoding is searched. The standard says 1,024, but some pages begin with long
/// comments.
const META_WITHIN: usize = 4096;

/// Decodes a page, which a server sent with this media type; `None` if no encoding gives plausible text.
pub(crate) fn decode<'b>(bytes: &'b [u8], media_type: Option<&str>) -> Option<Cow<'b, str>> {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        let text = encoding.decode_without_bom_handling(&bytes[length..]).0;
        return Some(text).filter(|text| Looks::of(text).is_tolerable());
    }
    let head = &bytes[..bytes.len().min(META_WITHIN)];
    // What the server says comes before what the page says (HTML, 13.2.3.2), if the bytes bear it out.
    let (sent, declared) = (media_type.and_then(of_media_type), declared(head));
    // Any letters are characters of UTF-16 too, but UTF-8 has no zeros.
    let is_utf8 = || !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    if let Some(sent) = sent.filter(|sent| is_utf16(sent) && !is_utf8() && is_borne_out(bytes, sent)) {
        return Some(sent.decode_without_bom_handling(bytes).0);
    }
    let declared = match sent {
        Some(sent) if sent != UTF_8 && (declared.is_none() || is_borne_out(bytes, sent)) => Some(sent),
        _ => declared,
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Its escapes are ASCII.
        let is_shifted = declared == Some(ISO_2022_JP) && text.is_ascii();
        let shifted = is_shifted.then(|| ISO_2022_JP.decode_without_bom_handling(bytes).0);
        return shifted.filter(|text| Looks::of(text).is_text(ISO_2022_JP)).or(Some(Cow::Borrowed(text)));
    }
    let declared = declared.filter(|encoding| *encoding != UTF_8);
    let mut candidates = declared.into_iter().chain([UTF_8]).chain(of_language(head));
    let as_text = |encoding: &'static Encoding| {
        let (text, _) = encoding.decode_without_bom_handling(bytes);
        Looks::of(&text).is_text(encoding).then_some(text)
    };
    let trusted = declared.filter(|encoding| is_trusted(encoding, bytes));
    // Almost any bytes are text in some single-byte encoding.
    let guessed = Some(guessed(bytes)).filter(|guessed| trusted.is_none() || !guessed.is_single_byte());
    let guess = || as_text(guessed?).filter(|text| !Looks::of(text).is_noise());
    candidates.find_map(as_text).or_else(guess).or_else(|| least_bad(bytes, [declared, guessed]))
}

/// Whether an encoding gives text without bad characters, and not noise.
fn is_borne_out(bytes: &[u8], encoding: &'static Encoding) -> bool {
    let looks = Looks::of(&encoding.decode_without_bom_handling(bytes).0);
    looks.is_text(encoding) && !looks.is_noise()
}

fn is_utf16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// Whether a server says that a page is in UTF-16, which has zeros.
pub(super) fn is_sent_in_utf16(media_type: Option<&str>) -> bool {
    media_type.and_then(of_media_type).is_some_and(is_utf16)
}

/// The encoding in a media type: `text/html; charset="gbk"`.
fn of_media_type(media_type: &str) -> Option<&'static Encoding> {
    let mut parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, label) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes())
}

/// Whether a declared single-byte encoding gives letters of its alphabet. Bytes without a meaning then say nothing
/// about the others.
fn is_trusted(encoding: &'static Encoding, bytes: &[u8]) -> bool {
    encoding.is_single_byte() && {
        let looks = Looks::of(&encoding.decode_without_bom_handling(bytes).0);
        looks.is_alphabet(encoding) && !looks.is_noise()
    }
}

/// The text with the fewest bad characters, if it is tolerable: in UTF-8, or in a single-byte encoding that is declared
/// or guessed. Its bytes without a meaning, such as 0x81 in windows-1252, are control characters, as the standard says.
fn least_bad<'b>(bytes: &'b [u8], likely: [Option<&'static Encoding>; 2]) -> Option<Cow<'b, str>> {
    let of_one_byte = likely.into_iter().flatten().filter(|encoding| encoding.is_single_byte());
    let decoded = of_one_byte.map(|encoding| (encoding, encoding.decode_without_bom_handling(bytes).0));
    let texts = std::iter::once((UTF_8, String::from_utf8_lossy(bytes))).chain(decoded);
    let looks = texts.map(|(encoding, text)| (Looks::of(&text), encoding, text));
    let tolerable = looks.filter(|(looks, encoding, _)| {
        looks.is_tolerable() && (*encoding == UTF_8 || looks.is_alphabet(encoding) && !looks.is_noise())
    });
    tolerable.min_by_key(|(looks, ..)| looks.bad).map(|(.., text)| text)
}

/// The encoding in an XML declaration, `<meta charset>` or `<meta http-equiv>`. A declaration that is readable as
/// ASCII cannot be in UTF-16, so UTF-16 means UTF-8 there, as in browsers.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let encoding = of_xml(&head).or_else(|| of_meta(&head))?;
    if encoding == UTF_16LE || encoding == UTF_16BE { Some(UTF_8) } else { Some(encoding) }
}

fn of_xml(head: &[u8]) -> Option<&'static Encoding> {
    let declaration = head.strip_prefix(b"<?xml")?;
    let end = memchr::memchr(b'>', declaration)?;
    attributes(&declaration[..end]).find_map(|(name, value)| {
        if name == b"encoding" {
            Encoding::for_label(value.strip_suffix(b"?").unwrap_or(value))
        } else {
            None
        }
    })
}

/// Searches the `<meta>` tags, and skips other places that may contain the same words: comments, scripts,
/// descriptions.
fn of_meta(head: &[u8]) -> Option<&'static Encoding> {
    let mut rest = head;
    while let Some(at) = memchr::memchr(b'<', rest) {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix(b"!--") {
            rest = after(comment, b"-->")?;
            continue;
        }
        let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let (name, tail) = rest.split_at(name);
        let end = tag_end(tail)?;
        let (tag, tail) = tail.split_at(end);
        rest = tail;
        match name {
            b"meta" => {
                if let Some(encoding) = of_attributes(tag) {
                    return Some(encoding);
                }
            }
            b"script" => rest = after(rest, b"</script")?,
            b"style" => rest = after(rest, b"</style")?,
            b"title" => rest = after(rest, b"</title")?,
            _ => {}
        }
    }
    None
}

fn of_attributes(tag: &[u8]) -> Option<&'static Encoding> {
    let (mut is_type, mut content) = (false, None);
    for (name, value) in attributes(tag) {
        match name {
            b"charset" => return Encoding::for_label(value),
            b"http-equiv" => is_type = value == b"content-type",
            b"content" => content = Some(value),
            _ => {}
        }
    }
    let content = content.filter(|_| is_type)?;
    let value = after(content, b"charset")?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    let value = value.trim_ascii_start().strip_prefix(b"'").unwrap_or(value);
    let end = value.iter().position(|byte| matches!(byte, b';' | b'\'' | b' ' | b',')).unwrap_or(value.len());
    Encoding::for_label(&value[..end])
}

fn after<'b>(bytes: &'b [u8], end: &[u8]) -> Option<&'b [u8]> {
    memchr::memmem::find(bytes, end).map(|at| &bytes[at + end.len()..])
}

/// End of a tag: the first `>` outside of quotes.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    tag.iter().position(|byte| match (quote, byte) {
        (None, b'>') => true,
        (None, b'"' | b'\'') => {
            quote = Some(*byte);
            false
        }
        (Some(open), byte) => {
            if open == *byte {
                quote = None;
            }
            false
        }
        _ => false,
    })
}

/// Names and values of a tag's attributes.
fn attributes(tag: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'/';
    let mut rest = tag;
    std::iter::from_fn(move || {
        rest = &rest[rest.iter().take_while(|byte| is_space(byte)).count()..];
        if rest.is_empty() {
            return None;
        }
        // The first byte always belongs to the name, so that each turn consumes one.
        let name = 1 + rest[1..].iter().take_while(|byte| !is_space(byte) && **byte != b'=').count();
        let (name, tail) = rest.split_at(name);
        rest = tail;
        let Some(tail) = tail.trim_ascii_start().strip_prefix(b"=") else { return Some((name, &b""[..])) };
        let tail = tail.trim_ascii_start();
        let quoted = tail.first().filter(|byte| matches!(byte, b'"' | b'\''));
        let (value, tail) = match quoted {
            Some(quote) => {
                let end = memchr::memchr(*quote, &tail[1..]).unwrap_or(tail.len() - 1);
                (&tail[1..1 + end], tail.get(end + 2..).unwrap_or_default())
            }
            None => tail.split_at(tail.iter().take_while(|byte| !byte.is_ascii_whitespace()).count()),
        };
        rest = tail;
        Some((name, value.trim_ascii()))
    })
}

/// Encodings that are likely for the page's `lang`.
fn of_language(head: &[u8]) -> Vec<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let says = |lang: &str| memchr::memmem::find(&head, lang.as_bytes()).is_some();
    if says("lang=\"zh-tw") || says("lang=\"zh-hk") {
        vec![BIG5, GB18030]
    } else if says("lang=\"zh") {
        vec![GB18030, BIG5]
    } else if says("lang=\"ja") {
        vec![SHIFT_JIS, EUC_JP]
    } else if says("lang=\"ko") {
        vec![EUC_KR]
    } else {
        Vec::new()
    }
}

/// The best guess from the bytes.
fn guessed(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// Statistics of a text, to judge whether it was decoded correctly.
#[derive(Debug, Default)]
struct Looks {
    characters: usize,
    /// ASCII letters, including those within tags.
    ascii_letters: usize,
    /// Characters beyond ASCII.
    others: usize,
    /// Latin letters beyond ASCII.
    latin_letters: usize,
    /// Undecodable bytes, control characters, and characters of private use, which do not occur in text.
    bad: usize,
    /// Characters beyond ASCII that are equal to the previous one.
    repeats: usize,
}

impl Looks {
    fn of(text: &str) -> Self {
        let mut looks = Self::default();
        let mut last = ' ';
        for c in text.chars() {
            looks.characters += 1;
            looks.repeats += usize::from(c == last && !c.is_ascii());
            last = c;
            match c {
                'a'..='z' | 'A'..='Z' => looks.ascii_letters += 1,
                '\0'..='\x7f' => {}
                '\u{fffd}' | '\u{80}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' => {
                    looks.others += 1;
                    looks.bad += 1;
                }
                'À'..='ɏ' => {
                    looks.others += 1;
                    looks.latin_letters += 1;
                }
                _ => looks.others += 1,
            }
        }
        looks
    }

    /// Almost no character beyond ASCII is bad, and its letters are those of the encoding. One byte without a meaning is
    /// always tolerated in single-byte encodings, where it says nothing about the others.
    fn is_text(&self, encoding: &'static Encoding) -> bool {
        const BAD_AT_MOST_ONE_IN: usize = 20;
        let strays = self.bad.min(usize::from(encoding.is_single_byte()));
        (self.bad - strays) * BAD_AT_MOST_ONE_IN <= self.others && self.is_alphabet(encoding)
    }

    /// If a single-byte encoding gives Latin letters, most letters are ASCII, as in every language written in Latin
    /// script; otherwise it is a misread alphabet.
    fn is_alphabet(&self, encoding: &'static Encoding) -> bool {
        const LATIN_AT_MOST_ONE_IN: usize = 3;
        encoding == UTF_8
            || self.latin_letters * LATIN_AT_MOST_ONE_IN <= self.latin_letters + self.ascii_letters
    }

    /// A text of one repeated byte is not valid in any encoding.
    const fn is_noise(&self) -> bool {
        self.repeats * 2 > self.others
    }

    /// At most one character in a hundred is bad.
    const fn is_tolerable(&self) -> bool {
        self.bad * 100 <= self.characters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
        super::decode(bytes, None)
    }

    #[test]
    fn pages_in_utf_16_need_no_mark_if_the_server_says_so() {
        for text in ["所有权是程序管理内存的一组规则。", "The keeper of the light.", "Смотритель маяка"]
        {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(super::decode(&bytes, Some("text/plain; charset=utf-16le")).unwrap(), text);
        }
    }

    #[test]
    fn the_charset_that_a_server_sends_is_used_unless_the_bytes_speak_against_it() {
        let (chinese, russian) =
            ("所有权是程序管理内存的一组规则。", "Смотритель маяка зажёг фонарь и спустился вниз.");
        for (meta, encoding, text, media_type) in [
            ("", encoding_rs::GBK, chinese, "text/html; charset=gb2312"),
            ("", encoding_rs::GBK, chinese, "text/html;Charset=\"GBK\""),
            ("<meta charset=koi8-r>", encoding_rs::WINDOWS_1251, russian, "text/html; charset=windows-1251"),
            // Defaults of servers that say nothing about the page.
            (
                "<meta charset=windows-1251>",
                encoding_rs::WINDOWS_1251,
                russian,
                "text/html; charset=ISO-8859-1",
            ),
            ("<meta charset=gbk>", encoding_rs::GBK, chinese, "text/html; charset=utf-8"),
            ("<meta charset=gbk>", encoding_rs::GBK, chinese, "text/html; charset=nonsense"),
            ("", UTF_8, chinese, "text/html; charset=iso-8859-1"),
            ("", UTF_8, chinese, "text/html; charset=utf-16le"),
            ("", UTF_8, "The keeper of the light climbs the stairs.", "text/html; charset=utf-16le"),
        ] {
            let bytes = page(meta, encoding, text);
            assert!(super::decode(&bytes, Some(media_type)).unwrap().ends_with(text), "{media_type} {meta}");
        }
    }

    fn page(meta: &str, encoding: &'static Encoding, body: &str) -> Vec<u8> {
        let mut bytes = format!("<html><head>{meta}</head><body>").into_bytes();
        bytes.extend_from_slice(&encoding.encode(body).0);
        bytes
    }

    #[test]
    fn decodes_what_the_page_declares() {
        let body = "中文网页的正文，用旧编码写成。";
        for (meta, encoding) in [
            (r#"<meta charset="gbk">"#, encoding_rs::GBK),
            (r#"<meta charset=gb18030>"#, GB18030),
            (r#"<meta http-equiv="Content-Type" content="text/html; charset=gb2312">"#, encoding_rs::GBK),
        ] {
            let bytes = page(meta, encoding, body);
            assert!(decode(&bytes).unwrap().ends_with(body), "{meta}");
        }
        let bytes =
            [b"<?xml version='1.0' encoding='GB2312'?>".as_slice(), &page("", GB18030, body)].concat();
        assert!(decode(&bytes).unwrap().ends_with(body));
        let bytes = page("<meta charset='big5'>", BIG5, "繁體中文網頁");
        assert!(decode(&bytes).unwrap().ends_with("繁體中文網頁"));
        let bytes = page("<meta charset=shift_jis>", SHIFT_JIS, "日本語のページ");
        assert!(decode(&bytes).unwrap().ends_with("日本語のページ"));
    }

    #[test]
    fn utf8_is_utf8_whatever_it_calls_itself() {
        let texts = [
            "Der Wärter schrieb jede Woche.",
            "灯塔看守人每周写一封信。",
            "Смотритель маяка",
            "灯台守は毎週",
        ];
        for label in ["iso-8859-1", "gbk", "gb2312", "big5", "shift_jis", "koi8-r", "windows-1251", "utf-16"]
        {
            for text in texts {
                // Mostly markup, which says nothing about the encoding of the text.
                let meta =
                    format!("<meta charset={label}>{}", "<link rel=stylesheet href=a.css>".repeat(200));
                let bytes = page(&meta, UTF_8, text);
                assert!(decode(&bytes).unwrap().ends_with(text), "{label}: {text}");
            }
        }
    }

    #[test]
    fn only_a_meta_tag_declares() {
        let body = "Смотритель маяка каждую неделю писал письмо, и лодка увозила его на берег.";
        for before in [
            "<!-- <meta charset=koi8-r> charset=koi8-r -->",
            "<meta name=description content=\"a page with charset=koi8-r\">",
            "<script charset=koi8-r src=a.js></script>",
            "<script>var s = '<meta charset=koi8-r>';</script>",
            "<title>charset=koi8-r</title>",
            "<link data-x='<meta charset=koi8-r>'>",
        ] {
            let meta =
                format!("{before}<meta http-equiv='content-type' content='text/html; charset=windows-1251'>");
            let bytes = page(&meta, encoding_rs::WINDOWS_1251, body);
            assert_eq!(declared(&bytes), Some(encoding_rs::WINDOWS_1251), "{before}");
            assert!(decode(&bytes).unwrap().ends_with(body), "{before}");
        }
    }

    #[test]
    fn undeclared_encodings_are_told_by_their_bytes() {
        let texts = [
            (
                encoding_rs::WINDOWS_1251,
                "Смотритель маяка каждую неделю писал письмо, и лодка увозила его на берег.",
            ),
            (
                encoding_rs::KOI8_R,
                "Смотритель маяка каждую неделю писал письмо, и лодка увозила его на берег.",
            ),
            (GB18030, "灯塔看守人每周写一封信，送面包的小船把信带到岸上，可是那里没有人等它。"),
            (SHIFT_JIS, "灯台守は毎週手紙を書き、パンを運ぶ舟がそれを岸に届けたが、待つ人はいなかった。"),
            (EUC_KR, "등대지기는 매주 편지를 썼고 빵을 나르는 배가 그것을 뭍으로 가져갔다."),
            (
                encoding_rs::WINDOWS_1252,
                "Der Wärter schrieb jede Woche für die Küste einen Brief; niemand wartete dort.",
            ),
            (
                encoding_rs::WINDOWS_1250,
                "Latarnik co tydzień pisał list, a łódź zabierała go na brzeg; nikt tam nie czekał.",
            ),
        ];
        for (encoding, text) in texts {
            // Mostly markup: characters beyond ASCII are a small part.
            let bytes = page(&"<link rel=stylesheet href=a.css>".repeat(100), encoding, text);
            assert!(decode(&bytes).unwrap().ends_with(text), "{}", encoding.name());
        }
    }

    #[test]
    fn a_declaration_that_makes_no_text_is_passed_over() {
        let russian = "Смотритель маяка каждую неделю писал письмо, и лодка увозила его на берег.";
        let bytes = page("<meta charset=iso-8859-1>", encoding_rs::WINDOWS_1251, &russian.repeat(9));
        assert!(decode(&bytes).unwrap().contains("Смотритель"));
        let german = "Grüße aus Köln";
        let bytes = page("<meta charset=utf-8>", encoding_rs::WINDOWS_1252, german);
        assert!(decode(&bytes).unwrap().ends_with(german));
    }

    #[test]
    fn bytes_that_windows_1252_leaves_undefined_are_control_characters() {
        let wanted =
            "Grüße aus Köln, der Stadt am Rhein, und viele andere Wörter in diesem Brief an die Küste.";
        for byte in [0x81, 0x8d, 0x8f, 0x90, 0x9d] {
            for meta in ["<meta charset=windows-1252>", "<meta charset=iso-8859-1>"] {
                let mut bytes = page(meta, encoding_rs::WINDOWS_1252, wanted);
                bytes.push(byte);
                let text = decode(&bytes).unwrap();
                assert!(text.ends_with(&format!("{wanted}{}", char::from(byte))), "{byte:x} {meta}: {text}");
            }
            // Where nothing is declared, it may be one that gives the byte a meaning, but letters stay letters.
            let bytes = [page("", encoding_rs::WINDOWS_1252, wanted), vec![byte]].concat();
            assert!(decode(&bytes).unwrap().contains("Grüße aus Köln"), "{byte:x}");
        }
    }

    #[test]
    fn bytes_without_a_meaning_do_not_change_the_declared_alphabet() {
        let (german, greek) = ("Grüße aus Köln, der Stadt am Rhein. ", "Καλημέρα από την Ελλάδα. ");
        for (label, encoding, sentence, stray) in [
            ("windows-1252", encoding_rs::WINDOWS_1252, german, &b"\x81\x8d\x9d"[..]),
            ("iso-8859-7", encoding_rs::ISO_8859_7, greek, &b"\xae\xd2\xff"[..]),
        ] {
            let page = |times: usize| {
                let mut bytes = page(&format!("<meta charset={label}>"), encoding, &sentence.repeat(times));
                bytes.extend_from_slice(stray);
                decode(&bytes).map(Cow::into_owned)
            };
            assert!(page(20).unwrap().contains(sentence), "{label}");
            // In so little text they may be most of it.
            assert!(page(1).is_none_or(|text| text.contains(sentence)), "{label}");
        }
    }

    #[test]
    fn slightly_damaged_utf8_stays_utf8() {
        let mut bytes = page("<meta charset=utf-8>", UTF_8, &"Die Küste und das Öl. ".repeat(40));
        bytes.extend([0xE4, 0xB8]);
        assert!(decode(&bytes).unwrap().contains("Die Küste und das Öl."));
    }

    #[test]
    fn undeclared_chinese_is_told_by_its_lang() {
        let mut bytes = br#"<html lang="zh-CN"><body>"#.to_vec();
        bytes.extend_from_slice(&GB18030.encode("没有声明编码").0);
        assert!(decode(&bytes).unwrap().ends_with("没有声明编码"));
    }

    #[test]
    fn a_byte_order_mark_wins() {
        let mut bytes = vec![0xFF, 0xFE];
        bytes.extend("<p>Tür".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(decode(&bytes).unwrap(), "<p>Tür");
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        let bytes =
            page("<meta charset=gbk>", UTF_8, "x").into_iter().chain([0xFF; 500]).collect::<Vec<u8>>();
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(&[0xC3; 100]), None);
        assert_eq!(decode(b"Gr\xFC\xDFe aus K\xF6ln").unwrap(), "Grüße aus Köln");
    }
}
