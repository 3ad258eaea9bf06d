//! Wikitext through both passes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn html_of(text: &str, language: &str) -> String {
    let namespaces = BTreeMap::from([(6, "Datei".to_owned()), (14, "Kategorie".to_owned())]);
    let site = Site { language: language.to_owned(), namespaces, ..Site::default() };
    markup_of(text, "Title", &site, Sections::All)
}

fn html(text: &str) -> String {
    html_of(text, "en").trim_end().to_owned()
}

#[test]
fn an_article_becomes_blocks() {
    let text = "{{Infobox town\n| name = Bonn\n| map = [[File:x.png|20px]]\n}}\n'''Bonn''' ({{IPA|de|bɔn}}) is a [[city]] on \
        the [[Rhine|river Rhine]].<ref name=\"a\">{{cite web|title=x}}</ref> It has\n{{convert|141|km2}}.\n\n== History ==\n\
        {{Main|History of Bonn}}\n* one\n** two <!-- not this -->\n# first\n\n== References ==\n<references />\n\n[[Category:Towns]]";
    let expected = "<p>Bonn is a city on the river Rhine. It has\n141 km².</p>\n<h2>History</h2>\n\
        <ul><li>one<ul><li>two</li></ul>\n</li></ul>\n<ol><li>first</li></ol>";
    assert_eq!(html(text), expected);
}

#[test]
fn tables_keep_their_cells() {
    let text = "{| class=\"wikitable\"\n|+ Towns\n! Name !! Size\n|-\n| rowspan=\"2\" | [[Bonn|B]] || 1\n|-\n| 2\n{|\n| inner\n|}\n|}\nafter";
    let expected = "<table>\n<caption><p>Towns</p>\n</caption><tr><th><p>Name</p>\n</th><th><p>Size</p>\n</th></tr>\n\
        <tr><td rowspan=\"2\"><p>B</p>\n</td><td><p>1</p>\n</td></tr>\n<tr><td><p>2</p>\n<table>\n<tr><td><p>inner</p>\n\
        </td></tr>\n</table>\n</td></tr>\n</table>\n<p>after</p>";
    assert_eq!(html(text), expected);
    let text = "<table><tr><th>A</th><td colspan=2>b</td></tr></table>";
    let expected = "<table>\n<tr><th><p>A</p>\n</th><td colspan=\"2\"><p>b</p>\n</td></tr>\n</table>";
    assert_eq!(html(text), expected);
}

#[test]
fn code_and_formulas_are_kept_as_they_are() {
    let text = "a <syntaxhighlight lang=\"c\">\nif (a < b) ''x'';\n</syntaxhighlight> b <math>x^2 < \\frac{{a}}{b}</math> \
        <code>[[x]]</code> <nowiki>''[[y]]''</nowiki>";
    let expected = "<p>a </p>\n<p><pre><code class=\"language-c\">\nif (a &lt; b) ''x'';\n</code></pre></p>\n<p>b $x^2 &lt; \
        \\frac{{a}}{b}$ <code>x</code> ''[[y]]''</p>";
    assert_eq!(html(text), expected);
    assert_eq!(html(" one\n  two\nthree"), "<pre>one\n two</pre>\n<p>three</p>");
}

#[test]
fn lists_of_definitions_have_terms() {
    assert_eq!(html("; term : what\n: more"), "<dl><dt>term</dt><dd>what</dd><dd>more</dd></dl>");
    assert_eq!(html(";Term: what"), "<dl><dt>Term</dt><dd>what</dd></dl>");
    assert_eq!(html("#a\n#:b\n#c"), "<ol><li>a<dl><dd>b</dd></dl>\n</li><li>c</li></ol>");
    assert_eq!(html("<ul><li>a</li><li>b</li></ul>"), "<ul><li>a</li><li>b</li></ul>");
}

#[test]
fn files_categories_and_other_languages_are_dropped() {
    let text =
        "[[Datei:X.jpg|mini|Ein [[Bild]] mit {{nowrap|Text}}]] Text [[Kategorie:X]][[fr:X]] [[:Kategorie:Y]]";
    assert_eq!(html(text), "<p>Text Kategorie:Y</p>");
    assert_eq!(html("a<gallery>\nX.jpg|b\n</gallery>c"), "<p>ac</p>");
}

#[test]
fn variants_of_chinese_are_simplified() {
    assert_eq!(
        html_of("-{zh-hans:计算机;zh-hant:電腦}-是-{A|机}--{H|zh-cn:x}-", "zh").trim(),
        "<p>计算机是机</p>"
    );
    assert_eq!(html_of("a -{x}-", "en").trim(), "<p>a -{x}-</p>");
}

#[test]
fn what_never_ends_is_text() {
    assert_eq!(html("a {{b|c"), "<p>a {{b|c</p>");
    assert_eq!(html("a [[b|c\n\nd"), "<p>a [[b|c</p>\n<p>d</p>");
    assert_eq!(html("a [[b {{nowrap|c}} [[d]]"), "<p>a [[b c d</p>");
    assert_eq!(html("a <ref>b"), "<p>a b</p>");
    assert_eq!(html("a <!-- b"), "<p>a </p>");
    assert_eq!(html("{|\n| a"), "<table>\n<tr><td><p>a</p>\n</td></tr>\n</table>");
}

#[test]
fn poems_keep_their_lines() {
    assert_eq!(html("a\n<poem>\none\ntwo</poem>\nb"), "<p>a</p>\n<p>one<br>\ntwo</p>\n<p>b</p>");
}

#[test]
fn parameters_give_their_defaults() {
    assert_eq!(html("a {{{1|b}}} c {{{2}}} {{{{x}}}}"), "<p>a b c {}</p>");
}

#[test]
fn sections_without_prose_can_be_left_out() {
    let text = "a\n== See also ==\n* b\n=== More ===\n* c\n== Life ==\nd\n== Weblinks ==\n{|\n| e\n|}";
    let site = Site::default();
    let found = markup_of(text, "", &site, Sections::Prose);
    assert_eq!(found, "<p>a</p>\n<h2>Life</h2>\n<p>d</p>\n");
    assert!(markup_of(text, "", &site, Sections::All).contains("<h3>More</h3>"));
}

#[test]
fn hostile_texts_take_time_in_proportion() {
    // Each takes far below a second; if time grew with the square, minutes.
    const COUNT: usize = 200_000;
    let pieces = [
        "{{",
        "}}",
        "[[",
        "]]",
        "'''",
        "''",
        "<ref>",
        "</ref>",
        "<math>",
        "<!--",
        "{|\n",
        "|}\n",
        "|-\n",
        "{{{",
        "}}}",
        "-{",
        "[http://a ",
        "a {{x}} ",
        "<div>",
        "*",
        "\n*",
        "\n#:",
        "=",
        "\n==a==",
        "(",
        "{{x|",
        "[[a|",
        "|",
        "__A",
        "<b",
        "<a ",
        "&",
        "&#",
        "a {{x}}(",
        "<nowiki>",
        "<pre>\n",
        "{{nowrap|",
        "\n{{x}} ",
        " <!-- -->",
        "<poem>\n",
        "<ul><li>",
        "[[File:a|b\n\n",
        "<table><tr><td>",
        "\u{1}1\u{2}",
        "!!",
        "\n|a||",
        "<sup>",
        "__",
        "{{frac|1|",
        "\n;a : b",
        "<code>",
        "]",
        "[",
    ];
    for piece in pieces {
        let text = piece.repeat(COUNT);
        let found = html_of(&text, "zh");
        assert!(found.len() <= 40 * text.len(), "{piece}: {} bytes", found.len());
    }
}

proptest! {
    #[test]
    fn any_text_becomes_balanced_markup(parts in proptest::collection::vec(
        prop_oneof![
            Just("{{"), Just("}}"), Just("[["), Just("]]"), Just("|"), Just("{|\n"), Just("\n|}"), Just("\n|-\n"), Just("\n|"),
            Just("\n!"), Just("''"), Just("'''"), Just("<ref>"), Just("</ref>"), Just("\n"), Just("\n\n"), Just("\n*"), Just("\n#"),
            Just("\n:"), Just("\n;"), Just("=="), Just(" "), Just("ä"), Just("<sup>"), Just("</sup>"), Just("<nowiki>"),
            Just("</nowiki>"), Just("-{"), Just("}-"), Just("<div>"), Just("</div>"), Just("x"), Just("&lt;"), Just("("), Just(")"),
            Just("{{nowrap|"), Just("[http://e.org "), Just("]"), Just("<pre>"), Just("</pre>"), Just("<li>"), Just("\u{1}"),
        ],
        0..60,
    )) {
        let found = html_of(&parts.concat(), "zh");
        let mut open = Vec::new();
        for tag in found.split('<').skip(1) {
            let name = tag.split(['>', ' ']).next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => prop_assert_eq!(open.pop(), Some(name), "{}", found),
                None if name == "br" => {}
                None => open.push(name),
            }
        }
        prop_assert!(open.is_empty(), "{}", found);
        prop_assert!(!found.contains(|c: char| ('\u{1}'..='\u{6}').contains(&c)), "{:?}", found);
    }
}
