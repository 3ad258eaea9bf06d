//! Markup in, light Markdown out.

use super::*;
use proptest::prelude::*;

#[test]
fn keeps_code_verbatim() {
    let html = "<p>Run:</p><pre><code class=\"language-rust\">\nfn main() {\n    if a &lt; b {\n\tx();\n    }\n}\n</code></pre>";
    let text = "Run:\n\n```rust\nfn main() {\n    if a < b {\n\tx();\n    }\n}\n```\n";
    assert_eq!(text_of(html), text);
}

#[test]
fn code_in_an_item_stays_within_it() {
    let html = "<ul><li>Do:<pre><code class=\"language-sh\">if x; then\n\n    y\nfi\n</code></pre>then<ul><li>b\
        <pre>c\n d</pre></li></ul></li><li>e</li></ul><p>f</p>";
    let text = "- Do:\n\n  ```sh\n  if x; then\n\n      y\n  fi\n  ```\n\n  then\n  - b\n\n    ```\n    c\n     d\n    \
        ```\n- e\n\nf\n";
    assert_eq!(text_of(html), text);
    let html = "<ol start=\"9\"><li><pre>a\n b</pre></li><li><p>Do:</p><pre>c</pre></li></ol><pre>d</pre>";
    let text = "9. ```\n   a\n    b\n   ```\n10. Do:\n\n    ```\n    c\n    ```\n\n```\nd\n```\n";
    assert_eq!(text_of(html), text);
    // What reads the text later finds the same code.
    let code =
        crate::clean::fences::lines(text).filter(|(kind, _)| *kind == crate::clean::fences::Line::Code);
    assert_eq!(code.count(), 4);
}

#[test]
fn cells_in_code_stay_apart() {
    let html = "<pre><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table></pre>";
    assert_eq!(text_of(html), "```\na\tb\nc\n```\n");
}

#[test]
fn fences_are_longer_than_what_they_hold() {
    assert_eq!(text_of("<pre>```\nx\n```</pre>"), "````\n```\nx\n```\n````\n");
}

#[test]
fn writes_lists_and_lists_in_items() {
    let html = "<ul><li>a<ul><li>b</li><li><p>c</p></li></ul></li><li>d</li></ul><ol start=\"3\"><li>e</li></ol><p>f</p>";
    assert_eq!(text_of(html), "- a\n  - b\n  - c\n- d\n\n3. e\n\nf\n");
}

#[test]
fn writes_tables_in_rows_with_lists_in_cells() {
    let html = "<table><tr><th>A</th><th>B</th></tr><tr><td><ul><li>x</li><li>y</li></ul></td><td>1|2</td></tr></table>";
    assert_eq!(text_of(html), "| A | B |\n| --- | --- |\n| x y | 1\\|2 |\n");
}

#[test]
fn code_in_a_cell_stays_code() {
    let html = "<table><tr><td>1</td><td><pre>  a\n  b</pre></td></tr></table>";
    assert_eq!(text_of(html), "1\n\n```\n  a\n  b\n```\n");
}

#[test]
fn marks_inline_code_and_headings() {
    let html = "<h2>The <code>Option&lt;T&gt;</code> type</h2><p>a\n  b<br>c <code></code>d</p>";
    assert_eq!(text_of(html), "## The `Option<T>` type\n\na b\nc d\n");
}

#[test]
fn inline_code_keeps_its_backticks() {
    for (html, text) in [
        ("a <code>`x`</code> b", "a `` `x` `` b"),
        ("<code>a`b</code>", "``a`b``"),
        ("<code>``</code>.", "``` `` ```."),
        ("<kbd>`</kbd>", "`` ` ``"),
        ("<code>a``b`</code>", "``` a``b` ```"),
        ("x <code> a </code>y", "x `a` y"),
        ("x<code> </code>y", "x y"),
        ("<code>x<sup>2</sup></code>y", "`x^2`y"),
        ("<code>a <kbd>b</kbd> c</code>", "`a b c`"),
    ] {
        assert_eq!(text_of(&format!("<p>{html}</p>")), format!("{text}\n"), "{html}");
    }
    let table = "<table><tr><th>A</th><th>B</th></tr><tr><td><code>`|`</code></td><td>x</td></tr></table>";
    assert_eq!(text_of(table), "| A | B |\n| --- | --- |\n| `` `\\|` `` | x |\n");
}

#[test]
fn white_space_of_inline_code_is_kept() {
    assert_eq!(text_of("<p>a  b <code>c  d\te\u{a0}f\u{ad}g</code></p>"), "a b `c  d\te\u{a0}f\u{ad}g`\n");
    assert_eq!(text_of("<p><code>\n  let a\n    = 1;\n</code></p>"), "`let a = 1;`\n");
}

#[test]
fn inline_code_goes_on_after_a_line_break() {
    assert_eq!(text_of("<p>x <code>a<br>b</code> y</p>"), "x `a`\n`b` y\n");
    assert_eq!(text_of("<code><p>a</p><p>b</p></code><p>c</p>"), "`a`\n\n`b`\n\nc\n");
    assert_eq!(text_of("<p><code>a<br></code>b</p>"), "`a`\nb\n");
}

#[test]
fn words_on_both_sides_of_an_image_stay_apart() {
    assert_eq!(text_of("<p>left<img src=\"x\">right<img>, <b>up<img></b>down</p>"), "left right, up down\n");
    assert_eq!(text_of("<dialog>one</dialog>two<menu><li>three</li></menu>"), "one\n\ntwo\n\n- three\n");
}

#[test]
fn cells_stand_in_their_columns() {
    let rows = |rows: &str| text_of(&format!("<table>{rows}</table>"));
    assert_eq!(
        rows(
            "<tr><th rowspan=\"2\">Name</th><th colspan=\"2\">Score</th></tr><tr><th>A</th><th>B</th></tr>\
              <tr><td>x</td><td rowspan=\"2\">1</td><td>2</td></tr><tr><td>y</td><td>3</td></tr>"
        ),
        "| Name | Score | |\n| --- | --- | --- |\n| | A | B |\n| x | 1 | 2 |\n| y | | 3 |\n"
    );
    // A cell ends with its group of rows, and a row whose cells are all covered has no line.
    assert_eq!(
        rows(
            "<tbody><tr><td rowspan=\"0\">a</td><td>b</td></tr><tr><td>c</td></tr></tbody>\
             <tbody><tr><td rowspan=\"2\">d</td><td rowspan=\"2\">e</td></tr><tr></tr><tr><td>f</td><td>g</td></tr></tbody>"
        ),
        "| a | b |\n| | c |\n| d | e |\n| f | g |\n"
    );
    assert_eq!(
        rows("<tr><td>a</td><td rowspan=\"2\">b</td></tr><tr><td>c</td></tr><tr><td>d</td><td>e</td></tr>"),
        "| a | b |\n| c | |\n| d | e |\n"
    );
    for span in ["-1", "x", "", "1"] {
        let cell = format!("<td rowspan=\"{span}\" colspan=\"{span}\">");
        let text = rows(&format!("<tr>{cell}a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>"));
        assert_eq!(text, "| a | b |\n| c | d |\n", "{span}");
    }
}

#[test]
fn spans_without_end_take_little_memory() {
    let cell = "<td rowspan=\"65534\" colspan=\"1000\">x</td>";
    let html = format!("<table><tr>{}</tr>{}</table>", cell.repeat(3000), "<tr><td>y</td></tr>".repeat(3000));
    let text = text_of(&html);
    assert!(text.len() < 3 << 20, "{}", text.len());
    assert_eq!((text.matches('x').count(), text.matches('y').count()), (3000, 3000));
}

#[test]
fn items_have_the_numbers_that_browsers_show() {
    for (html, text) in [
        (
            "<ol reversed=\"\"><li>a</li><li>b<ol><li>x</li></ol></li><li>c</li></ol>",
            "3. a\n2. b\n  1. x\n1. c\n",
        ),
        ("<ol reversed=\"\" start=\"10\"><li>a</li><li>b</li></ol>", "10. a\n9. b\n"),
        ("<ol start=\"-1\"><li>a</li><li>b</li><li>c</li></ol>", "-1. a\n0. b\n1. c\n"),
        (
            "<ol start=\" +7th\"><li>a</li><li value=\"x\">b</li><li value=\"2.5\">c</li></ol>",
            "7. a\n8. b\n2. c\n",
        ),
        ("<ol reversed=\"\"><li>a</li><li value=\"7\">b</li><li>c</li></ol>", "3. a\n7. b\n6. c\n"),
        ("<ol class=\" reversed x\"><li>a</li><li>b</li></ol>", "1. a\n2. b\n"),
        (
            "<pre><ol><li>code</li></ol></pre><ol reversed=\"\"><li>a</li><li>b</li></ol>",
            "```\ncode\n```\n\n2. a\n1. b\n",
        ),
        ("<ol type=\"a\" start=\"0\"><li>a</li><li>b</li></ol>", "0. a\na. b\n"),
    ] {
        assert_eq!(text_of(html), text, "{html}");
    }
}

#[test]
fn joins_broken_lines_of_chinese_without_a_space() {
    assert_eq!(text_of("<p>中文\n换行\nEnglish\nwords</p>"), "中文换行 English words\n");
}

#[test]
fn writes_definitions_under_their_terms() {
    assert_eq!(text_of("<dl><dt>a</dt><dd>b</dd><dt>c</dt><dd>d</dd></dl>"), "a\n: b\n\nc\n: d\n");
}

#[test]
fn bullets_in_place_of_terms_make_a_list() {
    for (html, text) in [
        (
            "<p>a</p><dl><dt>•</dt><dd>b<pre>c</pre><p>d</p></dd><dt><b>•</b></dt><dd>e</dd></dl><p>f</p>",
            "a\n\n- b\n\n  ```\n  c\n  ```\n\n  d\n- e\n\nf\n",
        ),
        (
            "<dl><dt>-a</dt><dd>b:<dl><dt><p>*</p></dt><dd>c</dd><dt>*</dt><dd>d</dd></dl></dd><dt>-e</dt><dd>f</dd></dl>",
            "-a\n: b:\n\n- c\n- d\n\n-e\n: f\n",
        ),
        ("<dl><dt>-</dt><dd>a</dd><dt>-</dt><dd>b</dd><dt>c</dt><dd>d</dd></dl>", "- a\n- b\n\nc\n: d\n"),
        ("<dl><dt>c</dt><dd>d</dd><dt>•</dt><dd>a</dd><dt>•</dt><dd>b</dd></dl>", "c\n: d\n\n- a\n- b\n"),
        (
            "<ul><li>a<dl><dt>◦</dt><dd>b</dd></dl></li></ul><dl><dt>•</dt><dd>c<dl><dt>•</dt><dd>d</dd></dl></dd></dl>",
            "- a\n  - b\n\n- c\n  - d\n",
        ),
        ("<dl><dt>*</dt><dd>a</dd><dt>-</dt><dd>b</dd></dl>", "*\n: a\n\n-\n: b\n"),
        ("<dl><dt>*</dt><dd>a</dd></dl><dl><dt>•</dt><dt>•</dt></dl><p>b</p>", "*\n: a\n\nb\n"),
    ] {
        assert_eq!(text_of(html), text, "{html}");
    }
    assert_eq!(text_of("<dl><dt>·</dt><dd>a</dd></dl><dl><dt>·</dt><dd>b</dd></dl>"), "- a\n\n- b\n");
}

#[test]
fn signs_are_text_unless_links_between_them_were_removed() {
    for sign in ["/", "|", "||", "//", "§", "¶", "«", "·"] {
        let term = format!("<dl><dt>{sign}</dt><dd>a</dd><dt>x</dt><dd>b</dd></dl><p>{sign}</p>");
        assert_eq!(text_of(&term), format!("{sign}\n: a\n\nx\n: b\n\n{sign}\n"));
    }
    let link = "<dl><dt><a href=\"#y\"><b>/</b></a></dt><dd>root</dd></dl>";
    assert_eq!(text_of(link), "/\n: root\n");
    for separators in [
        "<p><a href=\"x\"><img></a> | <a href=\"y\"></a> •</p>",
        "<p><a href=\"x\">«</a> | <a href=\"y\">»</a></p>",
        "<h2><a href=\"#x\">¶</a></h2>",
        "<p>\u{c} | \u{c}</p>",
    ] {
        assert_eq!(text_of(&format!("{separators}<p>text</p>")), "text\n", "{separators}");
    }
    assert_eq!(text_of("<p>a<code>b\u{c}c</code></p>"), "a`b c`\n");
}

#[test]
fn links_to_the_content_before_it_are_left_out() {
    let skip = "<p><a href=\"#panels\">Scroll to navigation</a></p>";
    assert_eq!(
        text_of(&format!("<div><a href=\"#x\">Skip</a> </div>{skip}<h1>a</h1>{skip}")),
        "# a\n\nScroll to navigation\n"
    );
    for first in [
        "<h1><a href=\"#x\">a</a></h1>",
        "<ul><li><a href=\"#x\">a</a></li></ul>",
        "<dl><dt><a href=\"#x\">a</a></dt></dl>",
        "<p><a href=\"x\">a</a></p>",
        "<p><a href=\"#x\">a</a> b</p>",
        "<p>b <a href=\"#x\">a</a></p>",
        "<table><tr><td><a href=\"#x\">a</a></td><td>b</td></tr></table>",
    ] {
        assert!(text_of(first).contains('a'), "{first}");
    }
}

#[test]
fn measures_links() {
    let sizes = text_sizes("<p>abc</p><a href=\"x\"><b>d</b></a>");
    assert_eq!(sizes, TextSizes { plain: 3, linked: 1 });
}

#[test]
fn marks_of_what_is_empty_go_nowhere_else() {
    for empty in [
        "<h1><img></h1>",
        "<ul><li></li></ul>",
        "<ol><li><a href=\"#top\"></a></li></ol>",
        "<dl><dt></dt><dd></dd></dl>",
        "<table><tr><td><h2></h2></td><td><ul><li></li></ul></td></tr></table>",
    ] {
        assert_eq!(text_of(&format!("{empty}<p>text</p>")), "text\n", "{empty}");
    }
    let list = "<table><tr><td>Set</td><td><ul><li>One</li><li>Two</li></ul></td></tr></table><p>text</p>";
    assert_eq!(text_of(list), "| Set | One Two |\n\ntext\n");
    assert_eq!(text_of("<ul><li>a</li><li></li></ul><p>b</p>"), "- a\n\nb\n");
    assert_eq!(text_of("<ul><li><h3>a</h3><p>b</p></li></ul>"), "- ### a\n\n  b\n");
}

#[test]
fn line_breaks_join_no_words() {
    let table = "<table><tr><th>Day</th></tr><tr><td>Monday<br>Tuesday</td></tr></table>";
    assert_eq!(text_of(table), "| Day |\n| --- |\n| Monday Tuesday |\n");
    assert_eq!(text_of("<h1>One<br>Two</h1><p>a<br></p><p>b</p>"), "# One Two\n\na\n\nb\n");
    assert_eq!(text_of("<p>a<br><br>b</p>"), "a\n\nb\n");
    assert_eq!(text_of("<ul><li><br>a<br>b</li></ul>"), "- a\n  b\n");
}

#[test]
fn tables_of_layout_are_paragraphs() {
    let table = "<table><tr><td><ul><li>menu</li></ul></td><td><p>a</p><p>b</p></td></tr></table>";
    assert_eq!(text_of(table), "- menu\n\na\n\nb\n");
}

#[test]
fn lines_of_code_that_are_blocks_stay_lines() {
    let items = "<pre><ol><li>def f():</li><li></li><li>    return 1</li></ol></pre>";
    assert_eq!(text_of(items), "```\ndef f():\n\n    return 1\n```\n");
    let blocks = "<pre><code><div>a = 1</div>\n<div>b = 2\n</div><div>c</div></code></pre>";
    assert_eq!(text_of(blocks), "```\na = 1\nb = 2\nc\n```\n");
    assert_eq!(text_of("<pre>a\u{a0}<span>  b</span>\n\tc</pre>"), "```\na\u{a0}  b\n\tc\n```\n");
}

#[test]
fn powers_indices_and_fractions_are_not_glued() {
    let html = "<p>10<sup>6</sup> cells of H<sub>2</sub>O, x<sub>i</sub><sup>2</sup>, 3<sup>1</sup>⁄<sub>2</sub>, \
        2<sup>nd</sup>, so<sup><a href=\"#n1\">1</a></sup>, x<sup>y<sub>i</sub></sup></p>";
    assert_eq!(text_of(html), "10^6 cells of H₂O, x_i^2, 3 1⁄2, 2nd, so[1], x^(y_i)\n");
}

#[test]
fn meaning_of_markup_is_kept_in_signs() {
    let html = "<p><q>Yes</q>, was <del>10</del> 9<del></del>, <ruby>漢<rt>kan</rt></ruby>, hy\u{ad}phen</p>";
    assert_eq!(text_of(html), "\"Yes\", was ~~10~~ 9, 漢(kan), hyphen\n");
    let list =
        "<ol type=\"a\"><li>x</li><li value=\"28\">y</li></ol><ol type=\"I\" start=\"9\"><li>z</li></ol>";
    assert_eq!(text_of(list), "a. x\nab. y\n\nIX. z\n");
}

#[test]
fn tables_that_lost_their_tag_are_tables() {
    let row = "<tr><td>a</td><td>b</td></tr>";
    let html = format!("<div data-pipe-part=\"tbody\">{row}{row}</div>");
    assert_eq!(text_of(&html), "| a | b |\n| a | b |\n");
}

proptest! {
    #[test]
    fn never_panics(html in "(<(/)?(pre|code|table|tr|td|ul|ol|li|dl|dt|dd|a|p|br|img|h2|sup|sub|q|rt|div)( class=\"language-x\"| rowspan=\"3\"| colspan=\"2\"| reversed=\"\")?>|[a &;\n`中•*]|&lt;){0,40}") {
        text_of(&html);
    }
}
