//! Formulas: MathML as TeX if the page includes it, otherwise as plain signs with the same meaning (`x^2`, `1/2`).

use super::scan::is_html_only;
use super::tag::{Tag, after_comment, cdata};

/// A formula in the notation of the page: references are unresolved, and it contains no `<`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Formula {
    /// TeX without delimiters, or plain signs.
    pub(super) text: String,
    pub(super) is_tex: bool,
    /// Whether it is on a line of its own.
    pub(super) block: bool,
}

impl Formula {
    /// A TeX formula without delimiters and Wikipedia's wrapping.
    pub(super) fn of_tex(tex: &str, block: bool) -> Self {
        const PAIRS: [(&str, &str); 8] = [
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("{\\displaystyle", "}"),
            ("{\\textstyle", "}"),
            ("{\\scriptstyle", "}"),
            ("\\displaystyle ", ""),
        ];
        let mut inner = tex.trim();
        for (start, end) in PAIRS {
            if let Some(found) = inner.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) {
                inner = found.trim();
            }
        }
        Self { text: inner.replace('<', "&lt;"), is_tex: true, block }
    }

    /// The formula as written in a text.
    pub(super) fn shown(&self) -> String {
        match (self.text.is_empty(), self.is_tex, self.block) {
            (true, _, _) => String::new(),
            (false, false, _) => self.text.clone(),
            (false, true, false) => format!("${}$", self.text),
            (false, true, true) => format!("$${}$$", self.text),
        }
    }
}

/// Maximum depth of the elements of a formula; deeper ones are merged.
const DEPTH_MAX: usize = 64;

/// Reads `<math>` up to its end, or to a tag that formulas cannot contain; returns the rest and the number of tags.
pub(super) fn read<'p>(math: &Tag<'p>) -> (Formula, &'p str, usize) {
    let block = math.value("display").is_some_and(|display| display.eq_ignore_ascii_case("block"))
        || math.value("mode").is_some_and(|mode| mode.eq_ignore_ascii_case("display"));
    let mut tex = None;
    let mut frames = vec![Frame::default()];
    let mut rest = math.rest;
    let mut tags = 0;
    let mut is_open = !math.self_closing;
    while is_open {
        let Some(at) = memchr::memchr(b'<', rest.as_bytes()) else {
            text(&mut frames, rest);
            rest = "";
            is_open = false;
            continue;
        };
        text(&mut frames, &rest[..at]);
        rest = &rest[at..];
        tags += 1;
        match rest.as_bytes().get(1) {
            Some(b'/') if rest.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) => {
                let tag = Tag::read(&rest[2..]);
                if !tag.is("math") && is_html_only(&tag) {
                    break; // the paragraph ends, and with it the formula
                }
                rest = tag.rest;
                if tag.is("math") {
                    break;
                }
                close(&mut frames, tag.name);
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let tag = Tag::read(&rest[1..]);
                if is_html_only(&tag) && !frames.iter().any(|frame| frame.is_token()) {
                    break;
                }
                rest = tag.rest;
                if tag.self_closing {
                    open(&mut frames, &tag);
                    close(&mut frames, tag.name);
                } else if tag.is("annotation") || tag.is("annotation-xml") {
                    let end = super::tag::end_of_raw(rest, &tag.name.to_ascii_lowercase());
                    let of_tex = |encoding: &str| encoding.to_ascii_lowercase().contains("tex");
                    if tag.is("annotation") && tag.value("encoding").is_some_and(of_tex) {
                        tex = tex.or(Some(&rest[..end]));
                    }
                    rest = if end < rest.len() { Tag::read(&rest[end + 2..]).rest } else { "" };
                } else {
                    open(&mut frames, &tag);
                }
            }
            _ => match cdata(rest) {
                Some((inner, behind)) => {
                    text(&mut frames, inner);
                    rest = behind;
                }
                None if rest[1..].starts_with(['!', '?', '/']) => rest = after_comment(rest),
                None => {
                    text(&mut frames, "&lt;");
                    rest = &rest[1..];
                }
            },
        }
    }
    while frames.len() > 1 {
        close_last(&mut frames);
    }
    let tex = tex.or(math.value("alttext")).map(|tex| Formula::of_tex(tex, block));
    let formula = tex.filter(|formula| !formula.text.is_empty()).unwrap_or_else(|| Formula {
        text: written(&frames.pop().unwrap_or_default()).text.trim().to_owned(),
        is_tex: false,
        block,
    });
    (formula, rest, tags)
}

/// An open element, with its children.
#[derive(Default)]
struct Frame {
    name: String,
    children: Vec<Part>,
    form: Form,
}

/// What attributes make of an element.
#[derive(Default)]
enum Form {
    #[default]
    Usual,
    /// A fraction without its line.
    Binomial,
    /// `<menclose>` as a root.
    Root,
    /// The signs around and between the children of `<mfenced>`.
    Fenced { open: String, close: String, separators: Vec<char> },
}

impl Form {
    fn of(tag: &Tag) -> Self {
        let plain = |value: &str| value.trim().replace('<', "&lt;");
        let value = |name: &str, usual: &str| tag.value(name).map_or_else(|| usual.to_owned(), plain);
        match tag.name.to_ascii_lowercase().as_str() {
            "mfrac" if tag.value("linethickness").is_some_and(|width| width.trim().starts_with('0')) => {
                Self::Binomial
            }
            "menclose" if tag.value("notation").is_some_and(|notation| notation.contains("radical")) => {
                Self::Root
            }
            "mfenced" => {
                let separators = value("separators", ",").chars().filter(|c| !c.is_whitespace()).collect();
                Self::Fenced { open: value("open", "("), close: value("close", ")"), separators }
            }
            _ => Self::Usual,
        }
    }
}

impl Frame {
    /// Whether it is a single name, number or sign. Its text may be HTML.
    fn is_token(&self) -> bool {
        matches!(self.name.as_str(), "mtext" | "mi" | "mn" | "mo" | "ms")
    }
}

/// A part of a formula in plain signs.
#[derive(Default)]
struct Part {
    text: String,
    /// Number of names, numbers and signs in it: `ij` may be one name or two.
    tokens: usize,
    /// Whether what stands directly behind it would be read as a part of it: `1/2x`, `√xy`.
    takes_next: bool,
    /// Whether what stands directly before it would be read as a part of it: `21/3`.
    takes_last: bool,
}

fn open(frames: &mut Vec<Frame>, tag: &Tag) {
    if frames.len() < DEPTH_MAX {
        frames.push(Frame { name: tag.name.to_ascii_lowercase(), children: Vec::new(), form: Form::of(tag) });
    }
}

fn close(frames: &mut Vec<Frame>, name: &str) {
    // The first frame is `math` itself.
    if let Some(up) = frames[1..].iter().rposition(|frame| frame.name.eq_ignore_ascii_case(name)) {
        while frames.len() > up + 1 {
            close_last(frames);
        }
    }
}

fn close_last(frames: &mut Vec<Frame>) {
    let part = frames.pop().map(|frame| written(&frame)).unwrap_or_default();
    if let Some(parent) = frames.last_mut() {
        parent.children.push(part);
    }
}

fn text(frames: &mut [Frame], text: &str) {
    const INVISIBLE: [&str; 16] = [
        "\u{2061}",
        "\u{2062}",
        "\u{2063}",
        "\u{2064}",
        "&ApplyFunction;",
        "&af;",
        "&InvisibleTimes;",
        "&it;",
        "&InvisibleComma;",
        "&ic;",
        "&#8289;",
        "&#8290;",
        "&#8291;",
        "&#x2061;",
        "&#x2062;",
        "&#x2063;",
    ];
    let Some(frame) = frames.last_mut() else { return };
    let mut text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").replace('<', "&lt;");
    for sign in INVISIBLE {
        if text.contains(sign) {
            text = text.replace(sign, "");
        }
    }
    if !text.is_empty() {
        frame.children.push(Part { text, tokens: 1, ..Part::default() });
    }
}

/// An element in plain signs.
fn written(frame: &Frame) -> Part {
    let children = &frame.children;
    let child = |at: usize| children.get(at).map(grouped).unwrap_or_default();
    let raised = |base: String, sign: char, at: usize| match child(at) {
        index if index.is_empty() => base,
        index => format!("{base}{sign}{index}"),
    };
    let listed = |separator: &str| {
        let texts: Vec<&str> = children.iter().map(|child| child.text.as_str()).collect();
        texts.join(separator)
    };
    let tokens = children.iter().map(|child| child.tokens).sum();
    let text = match frame.name.as_str() {
        _ if matches!(frame.form, Form::Binomial) => format!("({} choose {})", child(0), child(1)),
        "mfrac" => format!("{}/{}", child(0), child(1)),
        "msup" | "mover" => raised(child(0), '^', 1),
        "msub" | "munder" => raised(child(0), '_', 1),
        "msubsup" | "munderover" => raised(raised(child(0), '_', 1), '^', 2),
        "msqrt" | "menclose" if frame.name == "msqrt" || matches!(frame.form, Form::Root) => {
            format!("√{}", grouped(&Part { text: joined(children), tokens, ..Part::default() }))
        }
        "mroot" => format!("{}^(1/{})", child(0), child(1)),
        "mfenced" => fenced(frame),
        "mtr" | "mlabeledtr" => listed(", "),
        "mtable" => listed("; "),
        "mspace" => " ".to_owned(),
        "mphantom" => String::new(),
        _ => joined(children),
    };
    let tokens = if text.trim().is_empty() { 0 } else { tokens };
    let tokens = if frame.is_token() { tokens.min(1) } else { tokens };
    let (takes_last, takes_next) = match (frame.name.as_str(), &frame.form) {
        (_, Form::Binomial) => (false, false),
        ("mfrac", _) => (true, true),
        (_, Form::Root)
        | ("msup" | "msub" | "msubsup" | "mover" | "munder" | "munderover" | "msqrt" | "mroot", _) => {
            (false, true)
        }
        // Those of its first and last part.
        _ => (
            children.first().is_some_and(|child| child.takes_last),
            children.last().is_some_and(|child| child.takes_next),
        ),
    };
    Part { text, tokens, takes_next, takes_last }
}

/// `<mfenced>`: the last separator stands for those that are missing.
fn fenced(frame: &Frame) -> String {
    let Form::Fenced { open, close, separators } = &frame.form else { return joined(&frame.children) };
    let mut text = open.clone();
    for (at, child) in frame.children.iter().enumerate() {
        if let Some(before) = at.checked_sub(1)
            && let Some(separator) = separators.get(before).or(separators.last())
        {
            text.push(*separator);
            text.push(' ');
        }
        text += &child.text;
    }
    text + close
}

/// In brackets, if it is more than one number, name or sign.
fn grouped(part: &Part) -> String {
    let text = part.text.trim();
    let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '.');
    let is_enclosed = text.starts_with('(') && text.find(')') == Some(text.len() - 1);
    let is_one = match part.tokens {
        0 | 1 => {
            is_name(text)
                || (text.starts_with('&') && text.find(';') == Some(text.len() - 1))
                || text.chars().count() == 1
        }
        _ => false,
    };
    let is_signed = part.tokens <= 2 && text.strip_prefix(['-', '−', '+']).is_some_and(is_name);
    if is_one || is_signed || is_enclosed { text.to_owned() } else { format!("({text})") }
}

/// Joined; names of several letters are separated from their neighbours, and so is what would be read as a part of
/// another.
fn joined(children: &[Part]) -> String {
    let (mut out, mut taken) = (String::new(), false);
    for part @ Part { text: child, .. } in children {
        if child.is_empty() {
            continue;
        }
        let begins = |signs: &str| child.starts_with(|c: char| c.is_alphanumeric() || signs.contains(c));
        let is_last_part = part.takes_last && out.ends_with(|c: char| c.is_alphanumeric() || c == ')');
        if (taken && begins("(√")) || (is_last_part && begins("(")) {
            out.push(' ');
        }
        taken = part.takes_next;
        let letters = |run: usize, alphabetic: bool| run > 1 && alphabetic;
        let before = out.chars().rev().take(2).take_while(|c| c.is_alphanumeric()).count();
        let behind = child.chars().take(2).take_while(|c| c.is_alphanumeric()).count();
        let word_before = letters(before, out.chars().next_back().is_some_and(char::is_alphabetic));
        let word_behind = letters(behind, child.chars().next().is_some_and(char::is_alphabetic));
        if before > 0 && behind > 0 && (word_before || word_behind) {
            out.push(' ');
        }
        out.push_str(child);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(page: &str) -> (String, String) {
        let tag = Tag::read(&page[1..]);
        let (formula, rest, _) = read(&tag);
        (formula.shown(), rest.to_owned())
    }

    #[test]
    fn tex_comes_from_the_annotation_or_the_alternative_text() {
        let page = "<math><semantics><mrow><mi>x</mi></mrow><annotation encoding=\"application/x-tex\">x &lt; \\frac13</annotation></semantics></math> end";
        assert_eq!(shown(page), ("$x &lt; \\frac13$".into(), " end".into()));
        let page = "<math alttext=\"{\\displaystyle \\pi r^{2}}\" display=block><mi>π</mi></math>";
        assert_eq!(shown(page).0, "$$\\pi r^{2}$$");
    }

    #[test]
    fn formulas_without_tex_keep_their_meaning() {
        let formulas = [
            ("<mfrac><mn>1</mn><mn>2</mn></mfrac>", "1/2"),
            ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac>", "(a+b)/2"),
            ("<msup><mi>x</mi><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></msup>", "x^(n+1)"),
            ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_i^2"),
            ("<msub><mi>x</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>", "x_(ij)"),
            (
                "<msub><mi>x</mi><mi>max</mi></msub><msub><mi>y</mi><mrow><mn>10</mn></mrow></msub>",
                "x_max y_10",
            ),
            (
                "<msubsup><mi>x</mi><mrow><mi>i</mi><mi>j</mi></mrow><mrow><mn>2</mn><mi>k</mi></mrow></msubsup>",
                "x_(ij)^(2k)",
            ),
            ("<msup><mi>e</mi><mrow><mo>-</mo><mi>x</mi></mrow></msup>", "e^-x"),
            ("<msup><mi>e</mi><mrow><mo>-</mo><mi>i</mi><mi>x</mi></mrow></msup>", "e^(-ix)"),
            ("<msup><mrow><mi>a</mi><mi>b</mi></mrow><mn>2</mn></msup>", "(ab)^2"),
            (
                "<mfrac><mrow><mi>a</mi><mi>b</mi></mrow><mrow><mi>c</mi><mi>d</mi></mrow></mfrac>",
                "(ab)/(cd)",
            ),
            ("<msqrt><mi>a</mi><mi>b</mi></msqrt>", "√(ab)"),
            (
                "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>",
                "∑_(i=1)^n",
            ),
            ("<mover><mrow><mi>A</mi><mi>B</mi></mrow><mo>→</mo></mover>", "(AB)^→"),
            ("<msup><mrow><mo>(</mo><mi>a</mi><mi>b</mi><mo>)</mo></mrow><mn>2</mn></msup>", "(ab)^2"),
            ("<msqrt><mn>2</mn></msqrt><mo>&InvisibleTimes;</mo><mi>sin</mi><mi>x</mi>", "√2 sin x"),
            ("<mtext>area of</mtext><mi>A</mi>", "area of A"),
            ("<mn>2</mn><mfrac><mn>1</mn><mn>3</mn></mfrac>", "2 1/3"),
            ("<msqrt><mi>x</mi></msqrt><mi>y</mi>", "√x y"),
            (
                "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac><mo>&it;</mo><mi>d</mi>",
                "(a+b)/c d",
            ),
            ("<mrow><msup><mi>x</mi><mn>2</mn></msup></mrow><mi>y</mi>", "x^2 y"),
            ("<msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><mi>y</mi>", "x^2+y"),
            (
                "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><msub><mi>a</mi><mi>i</mi></msub>",
                "∑_(i=1)^n a_i",
            ),
            (
                "<mfenced open='[' close=']' separators=';,'><mi>a</mi><mi>b</mi><mi>c</mi></mfenced>",
                "[a; b, c]",
            ),
            ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a, b)"),
            ("<mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac>", "(n choose k)"),
            ("<menclose notation='radical'><mi>a</mi><mi>b</mi></menclose>", "√(ab)"),
            (
                "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd>2</mtd></mtr></mtable>",
                "1, 0; 2",
            ),
        ];
        for (markup, wanted) in formulas {
            assert_eq!(shown(&format!("<math>{markup}</math>")).0, wanted, "{markup}");
        }
    }

    #[test]
    fn a_formula_that_never_ends_takes_no_paragraph_with_it() {
        assert_eq!(shown("<math><mrow>x<p>text"), ("x".into(), "<p>text".into()));
        assert_eq!(shown("<math/>text"), (String::new(), "text".into()));
        assert_eq!(shown("<math><mi>x"), ("x".into(), String::new()));
    }

    #[test]
    fn deep_formulas_take_time_in_proportion() {
        let page = format!("<math>{}x{}", "<mrow><msqrt>".repeat(100_000), "</msqrt></mrow>".repeat(100_000));
        assert!(shown(&page).0.contains('x'));
    }
}
