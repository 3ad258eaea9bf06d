//! Templates whose arguments are text. All others are dropped: without the wiki they cannot be expanded.

use super::marks::{TAG, TAG_END};
use std::collections::HashMap;
use std::sync::LazyLock;

/// An argument of a template, and where its `=` is if it has one.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) equals: Option<usize>,
}

/// The arguments of a template.
struct Arguments<'a>(&'a [Part]);

impl<'a> Arguments<'a> {
    fn unnamed(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|part| part.equals.is_none()).map(|part| part.text.trim())
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find_map(|part| {
            let (key, value) = part.text.split_at_checked(part.equals?)?;
            (key.trim() == name).then(|| value.strip_prefix('=').unwrap_or(value).trim())
        })
    }

    /// The argument with a number, counted from 1.
    fn at(&self, number: usize) -> Option<&'a str> {
        let found = self.unnamed().nth(number - 1).or_else(|| self.named(&number.to_string()));
        found.filter(|text| !text.is_empty())
    }

    /// The text of a template that has one.
    fn text(&self, number: usize) -> Option<&'a str> {
        let named = || {
            ["text", "texte", "texto", "content", "quote", "cita", "testo"]
                .into_iter()
                .find_map(|name| self.named(name))
        };
        self.at(number).or_else(named)
    }
}

/// How a template is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// An argument.
    At(usize),
    /// The last argument without a name.
    Last,
    /// All arguments without names, separated by this.
    Join(&'static str),
    /// Always the same.
    Is(&'static str),
    /// An argument on lines of its own.
    Lines(usize),
    /// An argument between these.
    Around(&'static str, usize, &'static str),
    /// The arguments without names, each on a line of a list.
    Bullets,
    /// A number with its unit.
    Measure,
    Fraction,
    /// English, native and romanised name.
    Names,
    /// Year, month, day.
    Date,
    /// Day, month and year, as they are.
    Words,
    /// A ship with its prefix and number.
    Ship,
    /// Its own name, or its argument.
    Own,
    Value,
    Century,
    /// What languages a text has, by their named arguments.
    Values,
}

use Shape as S;

/// Names in lower case, by what they are written as.
const SHAPES: &[(Shape, &[&str])] = &[
    (
        S::At(1),
        &[
            "nowrap",
            "nobr",
            "nobreak",
            "nbr",
            "abbr",
            "abbrlink",
            "tooltip",
            "small",
            "big",
            "smaller",
            "larger",
            "em",
            "strong",
            "ill",
            "illm",
            "interlanguage link",
            "interlanguage link multi",
            "link-interwiki",
            "mvar",
            "math",
            "var",
            "visible anchor",
            "vanchor",
            "va",
            "not a typo",
            "sic",
            "as written",
            "proper name",
            "linktext",
            "wikt-lang",
            "center",
            "centre",
            "noitalic",
            "noitalics",
            "nobold",
            "normal",
            "bold",
            "italic",
            "flag",
            "flagcountry",
            "flagu",
            "flag+link",
            "le",
            "link-en",
            "link-fr",
            "link-de",
            "link-ja",
            "仮リンク",
            "internal link helper/en",
            "internal link helper/de",
            "internal link helper/ja",
            "fontcolor",
            "keypress",
            "key press",
            "kbd",
            "samp",
            "tq",
            "unité/2",
            "nombre",
            "число",
            "formatnum",
            "num",
            "fmtn",
            "lien",
            "nobr1",
            "нп",
            "нп1",
            "нп2",
            "нп3",
            "нп4",
            "нп5",
            "не переведено",
            "lw",
            "j",
            "не переведено 5",
            "ill2",
            "pas traduit",
            "cs1 title",
            "title",
            "mono",
            "monospace",
            "lc",
            "uc",
            "ucfirst",
            "lcfirst",
            "bibleverse",
            "rotate",
            "sub2",
            "unicode",
            "script",
            "polytonic",
            "grc-polytonic",
            "lang-polytonic",
            "langue2",
            "sans",
            "serif",
            "color box",
        ],
    ),
    (
        S::At(2),
        &[
            "lang",
            "langue",
            "langx",
            "language",
            "color",
            "colour",
            "font color",
            "native name",
            "sort",
            "pad",
            "hover title",
            "tsl",
            "link-zh",
            "idioma",
            "lang2",
            "lingua",
            "jęz",
            "idiom",
            "мова",
            "lang-x",
        ],
    ),
    (
        S::Last,
        &[
            "transl",
            "transliteration",
            "tlit",
            "resize",
            "font",
            "nihongo krt",
            "nihongo foot",
            "size",
            "dunkelgrau",
        ],
    ),
    (S::Join(", "), &["hlist", "flatlist", "hslist", "csv"]),
    (S::Join(" "), &["sortname", "usc", "cita bíblica"]),
    (S::Join("–"), &["reign"]),
    (S::Join(""), &["chem", "chem2", "chemie", "fchim", "cchem", "dna sequence"]),
    (S::Join(":"), &["ratio"]),
    (
        S::Bullets,
        &["ubl", "unbulleted list", "ublist", "bulleted list", "blist", "bullet list", "plain list"],
    ),
    (
        S::Lines(1),
        &[
            "quote",
            "blockquote",
            "cquote",
            "quotation",
            "quote box",
            "rquote",
            "bquote",
            "zitat",
            "zitat-de",
            "citaat",
            "citazione",
            "citação",
            "cita",
            "cita destacada",
            "citation bloc",
            "цитата",
            "начало цитаты",
            "cytat",
            "citat",
            "poem quote",
            "poemquote",
            "plainlist",
            "columns-list",
            "div col content",
            "block indent",
            "verse translation",
            "quote frame",
            "引用",
            "拉引用",
            "quote-de",
            "blockcitat",
            "colonnes",
            "list",
            "col-list",
        ],
    ),
    (S::Is("–"), &["ndash", "en dash", "–", "dash"]),
    (S::Is(" – "), &["snd", "spnd", "spaced ndash", "spaced en dash", "snds", "spndsp"]),
    (S::Is("—"), &["mdash", "em dash", "—", "emdash"]),
    (S::Is("\u{a0}"), &["nbsp", "space", "spaces", "nnbsp", "thinsp", "thin space", "esp", "nbs"]),
    (S::Is(" · "), &["·", "middot", "dot", "•", "bull", "bullet", "bold dot", "interpunct"]),
    (S::Is("'"), &["'", "apostrophe", "apos"]),
    (S::Is("'s"), &["'s"]),
    (S::Is("ʻ"), &["okina", "ʻokina", "hamza"]),
    (S::Is("|"), &["!", "pipe"]),
    (S::Is("||"), &["!!"]),
    (S::Is("="), &["="]),
    (S::Is("{|"), &["(!"]),
    (S::Is("|}"), &["!)"]),
    (S::Is("|-"), &["!-"]),
    (S::Is("["), &["bracket", "("]),
    (S::Is("π"), &["pi"]),
    (S::Is("°"), &["deg"]),
    (S::Is("×"), &["x", "times"]),
    (S::Is("†"), &["dagger", "†"]),
    (S::Is("1er"), &["1er"]),
    (S::Is("1re"), &["1re", "1ère"]),
    (S::Is("♠"), &["spades"]),
    (S::Around("c. ", 1, ""), &["circa", "c.", "ca", "c"]),
    (S::Around("fl. ", 1, ""), &["floruit", "fl.", "fl"]),
    (S::Around("'", 1, "'"), &["gloss", "single quotes"]),
    (S::Around("transl. ", 1, ""), &["translation", "trans"]),
    (S::Around("lit. '", 1, "'"), &["literal translation", "lit", "literally"]),
    (S::Around("\"", 1, "\""), &["\"", "\"'", "double quotes"]),
    (S::Around("„", 1, "“"), &["„"]),
    (S::Around("$", 1, ""), &["us$", "usd", "$"]),
    (S::Around("£", 1, ""), &["£", "gbp", "pound sterling"]),
    (S::Around("€", 1, ""), &["€", "eur", "euro"]),
    (S::Around("₹", 1, ""), &["inr", "₹", "indian rupee"]),
    (S::Around("¥", 1, ""), &["¥", "jpy", "cny", "jpy convert"]),
    (S::Around("×10^", 1, ""), &["e", "10^", "x10^"]),
    (S::Around("{", 1, "}"), &["brace", "mset"]),
    (S::Around("[", 1, "]"), &["bracketed"]),
    (S::Around("⟨", 1, "⟩"), &["angbr", "angle bracket", "angle"]),
    (S::Around("\u{5}code\u{6}", 1, "\u{5}/code\u{6}"), &["code", "mono code", "inline code", "codecol"]),
    (S::Around("\u{5}sub\u{6}", 1, "\u{5}/sub\u{6}"), &["sub", "sub1", "ind"]),
    (S::Around("\u{5}sup\u{6}", 1, "\u{5}/sup\u{6}"), &["sup", "exp"]),
    (S::Measure, &["convert", "cvt", "conv"]),
    (S::Value, &["val", "unité", "unit", "unidad", "unità", "ма", "unite", "décimale"]),
    (S::Fraction, &["frac", "sfrac", "fraction", "fract", "tfrac", "bruch", "дробь", "fracción"]),
    (S::Names, &["nihongo", "nihongo2", "nihongo3", "korean name", "読み仮名"]),
    (
        S::Date,
        &[
            "start date",
            "end date",
            "film date",
            "birth date",
            "death date",
            "birth date and age",
            "death date and age",
            "start date and age",
            "dts",
            "release date",
            "start-date",
            "end-date",
            "bda",
            "dda",
        ],
    ),
    (S::Words, &["date", "date-", "date de naissance", "date de naissance-", "fecha", "data"]),
    (S::Ship, &["ship", "hms", "uss", "sms", "rms", "ss", "hmas", "hmcs", "ins", "mv"]),
    (
        S::Own,
        &[
            "yes",
            "no",
            "won",
            "nom",
            "nominated",
            "partial",
            "pending",
            "n/a",
            "unknown",
            "tba",
            "maybe",
            "dunno",
            "some",
        ],
    ),
    (S::Century, &["s", "s-", "siglo", "sp", "sp-", "century"]),
    (S::Values, &["zh", "lang-zh", "zh-cn", "kor", "lang-ko"]),
];

static NAMES: LazyLock<HashMap<&'static str, Shape>> = LazyLock::new(|| {
    SHAPES.iter().flat_map(|(shape, names)| names.iter().map(|name| (*name, *shape))).collect()
});

/// The text of a template in a wiki of this language; `None` if it is dropped. `title` is that of the page.
pub(super) fn template(parts: &[Part], title: &str, language: &str) -> Option<String> {
    let (name, arguments) = parts.split_first()?;
    let name = name.text.trim();
    let name = ["subst:", "safesubst:"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if name.len() > 200 {
        return None;
    }
    let name = name.replace('_', " ").to_lowercase();
    let arguments = Arguments(arguments);
    if let Some(text) = variable(&name, title) {
        return Some(text);
    }
    shape(&name, language).and_then(|shape| written(shape, &name, &arguments, language))
}

/// Words that MediaWiki itself replaces.
fn variable(name: &str, title: &str) -> Option<String> {
    const OF_ARGUMENT: [&str; 7] =
        ["formatnum:", "lc:", "uc:", "ucfirst:", "lcfirst:", "plural:", "urlencode:"];
    match name {
        "pagename" | "fullpagename" | "subpagename" | "basepagename" | "pagenamee" => Some(title.to_owned()),
        _ => {
            let argument = OF_ARGUMENT[..5].iter().find_map(|prefix| name.strip_prefix(prefix))?;
            Some(argument.trim().to_owned())
        }
    }
}

fn shape(name: &str, language: &str) -> Option<Shape> {
    // The same names mean other things in other wikis.
    match (language, name) {
        ("fr", "citation" | "cita") => return Some(S::Around("« ", 1, " »")),
        ("fr", "e" | "er" | "re" | "ère" | "exp") => return Some(S::At(1)),
        ("fr" | "es" | "it" | "pt" | "ca", "c") | ("de" | "ru" | "pl", "s" | "sp" | "c" | "e") => {
            return None;
        }
        ("en", "s" | "date" | "data" | "x" | "list" | "no") if name != "no" => return None,
        _ => {}
    }
    if let Some(shape) = NAMES.get(name) {
        return Some(*shape);
    }
    // `{{lang-de|…}}`, and `{{enS|…}}` of the German wiki.
    let code = name.strip_prefix("lang-").or_else(|| name.strip_prefix("langue-"));
    if code.is_some_and(|code| (2..=12).contains(&code.len())) {
        return Some(S::At(1));
    }
    let short = name.strip_suffix('s').filter(|code| matches!(code.len(), 2 | 3) && code.is_ascii());
    (language == "de" && short.is_some()).then_some(S::At(1))
}

fn written(shape: Shape, name: &str, arguments: &Arguments, language: &str) -> Option<String> {
    let owned = |text: &str| text.to_owned();
    match shape {
        S::At(number) => arguments.text(number).map(owned),
        S::Last => arguments.unnamed().filter(|text| !text.is_empty()).last().map(owned),
        S::Join(separator) => joined(arguments.unnamed(), separator),
        S::Is(text) => Some(owned(text)),
        S::Lines(number) => arguments.text(number).map(|text| format!("\n\n{text}\n\n")),
        S::Around(before, number, after) => {
            arguments.text(number).map(|text| format!("{before}{text}{after}"))
        }
        S::Bullets => {
            let lines: String = arguments
                .unnamed()
                .filter(|text| !text.is_empty())
                .map(|text| format!("\n* {text}"))
                .collect();
            (!lines.is_empty()).then(|| lines + "\n")
        }
        S::Measure => measure(arguments),
        S::Fraction => {
            let numbers: Vec<&str> = arguments.unnamed().filter(|text| !text.is_empty()).collect();
            match numbers[..] {
                [below] => Some(format!("1/{below}")),
                [above, below] => Some(format!("{above}/{below}")),
                [whole, above, below, ..] => Some(format!("{whole} {above}/{below}")),
                [] => None,
            }
        }
        S::Names => {
            let mut names = (1..=3).filter_map(|number| arguments.at(number));
            let first = names.next()?;
            let rest = names.collect::<Vec<_>>().join(", ");
            Some(if rest.is_empty() { owned(first) } else { format!("{first} ({rest})") })
        }
        S::Date => date(arguments),
        S::Words => joined((1..=3).filter_map(|number| arguments.at(number)), " "),
        S::Ship => {
            let (prefix, from) =
                if name == "ship" { (arguments.at(1)?.to_owned(), 2) } else { (name.to_uppercase(), 1) };
            let ship = arguments.at(from)?;
            let number = arguments.at(from + 1).map_or_else(String::new, |number| format!(" ({number})"));
            Some(format!("{prefix} {ship}{number}"))
        }
        S::Own => Some(arguments.at(1).map_or_else(|| capitalised(name), owned)),
        S::Value => value(arguments),
        S::Century => {
            let number = arguments.at(1)?;
            match language {
                "fr" => {
                    let end = arguments.at(2).unwrap_or(if number == "I" { "er" } else { "e" });
                    Some(if name.ends_with('-') {
                        format!("{number}{end}")
                    } else {
                        format!("{number}{end} siècle")
                    })
                }
                "es" => Some(format!("siglo {number}")),
                _ => None,
            }
        }
        S::Values => {
            let forms = ["c", "s", "t", "hangul", "hanja", "p", "rr"].into_iter();
            let forms = forms.filter_map(|form| arguments.named(form)).filter(|text| !text.is_empty());
            joined(forms, ", ").or_else(|| arguments.at(1).map(owned))
        }
    }
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>, separator: &str) -> Option<String> {
    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join(separator))
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `{{convert|5|to|10|km|mi}}`: the numbers with their own unit.
fn measure(arguments: &Arguments) -> Option<String> {
    const BETWEEN: [(&str, &str); 12] = [
        ("-", "–"),
        ("–", "–"),
        ("to", " to "),
        ("and", " and "),
        ("or", " or "),
        ("by", " by "),
        ("x", " × "),
        ("×", " × "),
        ("to(-)", " to "),
        ("+/-", " ± "),
        ("±", " ± "),
        ("*", " × "),
    ];
    let mut unnamed = arguments.unnamed();
    let mut text = unnamed.next()?.to_owned();
    let mut unit = unnamed.next().unwrap_or_default();
    for _ in 0..4 {
        let Some((_, between)) = BETWEEN.iter().find(|(word, _)| *word == unit) else { break };
        text = format!("{text}{between}{}", unnamed.next()?);
        unit = unnamed.next().unwrap_or_default();
    }
    // `{{convert|5|ft|6|in}}` is one length.
    let rest: Vec<&str> = unnamed.collect();
    if let [number, second, ..] = rest[..]
        && matches!((unit, second), ("ft", "in") | ("lb", "oz") | ("st", "lb") | ("mi", "yd") | ("mi", "ch"))
    {
        return Some(format!("{text} {} {number} {}", named_unit(unit), named_unit(second)));
    }
    Some(if unit.is_empty() { text } else { format!("{text} {}", named_unit(unit)) })
}

/// The symbol of a unit, from its code.
fn named_unit(code: &str) -> &str {
    match code {
        "C" | "°C" => "°C",
        "F" | "°F" => "°F",
        "km2" | "sqkm" | "km²" => "km²",
        "m2" | "sqm" => "m²",
        "cm2" => "cm²",
        "sqmi" | "mi2" => "sq mi",
        "sqft" | "ft2" => "sq ft",
        "sqin" => "sq in",
        "sqyd" => "sq yd",
        "m3" => "m³",
        "cm3" | "cc" => "cm³",
        "km3" => "km³",
        "cuft" | "ft3" => "cu ft",
        "cuyd" => "cu yd",
        "cuin" => "cu in",
        "mph" => "mph",
        "km/h" | "kph" => "km/h",
        "kn" => "knots",
        "nmi" => "nautical miles",
        "foot" => "foot",
        "acre" | "acres" => "acres",
        "tonne" | "tonnes" => "tonnes",
        other => other,
    }
}

/// `{{val|1.5|0.1|u=km}}`.
fn value(arguments: &Arguments) -> Option<String> {
    let mut text = arguments.at(1)?.to_owned();
    let unit = ["u", "ul", "up"].into_iter().find_map(|name| arguments.named(name));
    match (arguments.at(2), unit) {
        (Some(second), None) if !second.starts_with(|c: char| c.is_ascii_digit()) => {
            text = format!("{text} {second}")
        }
        (Some(second), _) => text = format!("{text} ± {second}"),
        (None, _) => {}
    }
    if let Some(exponent) = arguments.named("e") {
        text = format!("{text}×10{TAG}sup{TAG_END}{exponent}{TAG}/sup{TAG_END}");
    }
    Some(unit.map_or(text.clone(), |unit| format!("{text} {unit}")))
}

/// `{{start date|1990|5|12}}` as `12 May 1990` or `May 12, 1990`.
fn date(arguments: &Arguments) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let year = arguments.at(1)?;
    let month = arguments.at(2).and_then(|month| month.parse::<usize>().ok());
    let Some(month) = month.and_then(|month| MONTHS.get(month.checked_sub(1)?)) else {
        return Some(year.to_owned());
    };
    let is_day_first = arguments.named("df").is_some_and(|value| value.starts_with(['y', 'Y', 't', '1']));
    Some(match (arguments.at(3), is_day_first) {
        (None, _) => format!("{month} {year}"),
        (Some(day), true) => format!("{day} {month} {year}"),
        (Some(day), false) => format!("{month} {day}, {year}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str, language: &str) -> Option<String> {
        let part = |text: &str| Part { text: text.to_owned(), equals: text.find('=') };
        template(&source.split('|').map(part).collect::<Vec<_>>(), "Title", language)
    }

    #[test]
    fn templates_of_text_give_it() {
        for (source, expected) in [
            ("lang|la|urbs", "urbs"),
            ("lang-de|Stadt", "Stadt"),
            ("nowrap|a b", "a b"),
            ("Nowrap|1=a=b", "a=b"),
            ("convert|5|km|mi", "5 km"),
            ("convert|5|to|10|km2", "5 to 10 km²"),
            ("convert|6|ft|2|in|m", "6 ft 2 in"),
            ("frac|1|2|3", "1 2/3"),
            ("circa|1900", "c. 1900"),
            ("start date|1990|5|12", "May 12, 1990"),
            ("birth date|df=yes|1990|5|12", "12 May 1990"),
            ("nihongo|Tokyo|東京|Tōkyō", "Tokyo (東京, Tōkyō)"),
            ("HMS|Hood|51", "HMS Hood (51)"),
            ("quote|text=Words.", "\n\nWords.\n\n"),
            ("val|1.5|0.1|u=km", "1.5 ± 0.1 km"),
            ("snd", " – "),
            ("yes", "Yes"),
            ("formatnum:1000", "1000"),
            ("PAGENAME", "Title"),
        ] {
            assert_eq!(text(source, "en").as_deref(), Some(expected), "{source}");
        }
        assert_eq!(text("s|XIX|e", "fr").as_deref(), Some("XIXe siècle"));
        assert_eq!(text("date|12|mai|1990", "fr").as_deref(), Some("12 mai 1990"));
        assert_eq!(text("enS|town", "de").as_deref(), Some("town"));
    }

    #[test]
    fn others_are_dropped() {
        for source in
            ["cite web|title=x", "Infobox town|name=x", "#if:x|a|b", "", "DEFAULTSORT:x", "IPA|x", "lang|la"]
        {
            assert_eq!(text(source, "en"), None, "{source}");
        }
    }

    #[test]
    fn names_are_listed_once() {
        let count: usize = SHAPES.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(NAMES.len(), count);
    }
}
