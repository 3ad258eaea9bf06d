//! Pages in, cleaned markup and what they say of themselves out.

use super::*;
use proptest::prelude::*;

fn html(page: &str) -> String {
    scan(page, 1000, Wanted::Markup).unwrap().html
}

#[test]
fn leaves_ordinary_markup_alone() {
    let page = r#"<p lang="x">a &amp; <b>b</b></p><pre>  <code>x &lt; y
  z</code></pre>"#;
    assert_eq!(html(page), page);
}

#[test]
fn drops_scripts_comments_navigation_and_controls() {
    let page =
        "a<script>if (a</b) {'<p>'}</script>b<!-- > --><nav><ul><li>x</ul></nav><a class=anchor>§</a>c";
    assert_eq!(html(page), "a b\u{c} c");
}

#[test]
fn flattens_what_is_too_deep_and_keeps_its_text() {
    let page = format!("{}deep{}<p>after</p>", "<div>".repeat(50_000), "</div>".repeat(50_000));
    let found = scan(&page, 100_000, Wanted::Markup).unwrap().html;
    assert_eq!(found.matches("<div>").count(), DEPTH_MAX);
    assert_eq!(found.matches("</div>").count(), DEPTH_MAX);
    assert!(found.contains("deep") && found.ends_with("<p>after</p>"));
}

#[test]
fn keeps_what_the_page_calls_main() {
    assert_eq!(html("<p>site</p><main><p>text</p></main><p>help</p>"), "<p>text</p>");
    assert_eq!(html("<main>a</main><main>b</main>"), "<main>a</main><main>b</main>");
    assert_eq!(html("x<main>never ended"), "never ended");
    assert_eq!(html("<main>a<footer>b</footer><p hidden>c</p><p style='display: none'>d</p></main>"), "a   ");
}

#[test]
fn a_main_with_little_of_the_text_is_not_the_content() {
    let page =
        format!("<main><p>Loading.</p></main><div>{}</div>", "<p>What the page is about.</p>".repeat(9));
    let found = scan(&page, 1000, Wanted::Markup).unwrap();
    assert!(!found.has_main && found.html.contains("about"));
    let links = "<a href=x>elsewhere</a>".repeat(50);
    assert!(scan(&format!("<main>text</main>{links}"), 1000, Wanted::Facts).unwrap().has_main);
}

#[test]
fn foreign_content_ends_as_in_browsers() {
    assert_eq!(html("<svg/><p>text</p>"), " <p>text</p>");
    let paths = "<path d=\"x\"/>".repeat(600);
    assert_eq!(html(&format!("<svg>{paths}<style/><title>T</title></svg><p>text</p>")), " <p>text</p>");
    assert_eq!(html("<svg><circle><p>text</p>"), " <p>text</p>");
    assert_eq!(html("<svg><![CDATA[</svg>]]></svg>x"), " x");
    assert_eq!(html("<svg><desc><p>not out of it</p></desc></svg>x"), " x");
    assert_eq!(
        scan("<svg><title>icon</title></svg><title>page</title>", 9, Wanted::Facts).unwrap().title,
        "page"
    );
}

#[test]
fn comments_and_scripts_end_as_in_browsers() {
    assert_eq!(html("<p>C</p><!-- x --!><p>D</p>"), "<p>C</p><p>D</p>");
    assert_eq!(html("A<script><!-- w(\"<script>x</script>\"); --></script>B"), "A B");
    assert_eq!(html("a</>b</ x>c<?x?>d"), "abcd");
}

#[test]
fn preformatted_text_of_old_pages_is_kept() {
    assert_eq!(html("<xmp>a <b> &amp;</xmp>c"), "<pre>a &lt;b> &amp;amp;</pre>c");
    assert_eq!(html("a<plaintext>b</plaintext><c>"), "a<pre>b&lt;/plaintext>&lt;c></pre>");
}

#[test]
fn parts_of_texts_have_no_names() {
    assert_eq!(html("<dt id=header><b class=menu>a</b></dt><h2 id=x>b</h2>"), "<dt><b>a</b></dt><h2>b</h2>");
    assert_eq!(html("<pre><span class=comment>a</span></pre>"), "<pre><span>a</span></pre>");
    let named = "<ol start=\"3\"><li value=\"4\"><span class=\"x\">a</span></li></ol><div id=\"x\">b</div>";
    assert_eq!(html(named), named);
}

#[test]
fn what_is_dropped_within_code_leaves_no_space() {
    assert_eq!(html("<pre><button>Copy</button>fn main()</pre>"), "<pre>fn main()</pre>");
    assert_eq!(html("<pre><span class=lineno>1</span>x</pre>"), "<pre>x</pre>");
}

#[test]
fn buttons_that_are_headings_or_whole_items_are_text() {
    assert_eq!(html("<h2><button>How long?</button></h2>"), "<h2>How long?</h2>");
    assert_eq!(html("<ul><li> <button class=x>One</button> </li></ul>"), "<ul><li> One </li></ul>");
    assert_eq!(html("<li>One <button>Copy</button></li>"), "<li>One  </li>");
    assert_eq!(html("<li><button>Copy</button> one</li>"), "<li>  one</li>");
    assert_eq!(html("<p><button>Copy</button></p>"), "<p> </p>");
    assert_eq!(html("<h2>Struct Vec<button>Copy path</button></h2>"), "<h2>Struct Vec </h2>");
    assert_eq!(html("<h1>Vec</h1>"), "<h1 data-pipe-part=\"h1\">Vec</h1>");
    assert_eq!(html("<h3><button>Copy</button> Usage</h3>"), "<h3>  Usage</h3>");
    let accordion = html("<h3 class=x><span></span><button>Who?<svg/></button><i></i></h3>");
    assert!(accordion.contains("Who?"), "{accordion}");
}

#[test]
fn formulas_come_once_as_tex() {
    let math = "<math><semantics><mrow><mi>x</mi></mrow><annotation encoding=\"application/x-tex\">x^2</annotation></semantics></math>";
    let katex = format!(
        "a <span class=\"katex\"><span class=\"katex-mathml\">{math}</span><span class=\"katex-html\" aria-hidden=\"true\">x2</span></span> b"
    );
    assert_eq!(html(&katex).matches("x^2").count(), 1);
    assert!(!html(&katex).contains("x2"));
    // Without MathML, the rendering of KaTeX is the only source.
    assert!(html("<span class=katex><span class=katex-html>x2</span></span>").contains("x2"));
    let wiki = format!(
        "<span class=\"mwe-math-element\"><span style=\"display: none;\">{math}</span><img class=\"mwe-math-fallback-image-inline\" alt=\"{{\\displaystyle x^2}}\"></span>"
    );
    assert_eq!(html(&wiki).matches("$x^2$").count(), 1);
    let image = "<img class=\"mwe-math-fallback-image-inline\" alt=\"\\pi r^2\">";
    assert!(html(image).ends_with("$\\pi r^2$"));
    let script =
        "<span class=MathJax_Preview>x2</span><script type=\"math/tex; mode=display\">x^2 < y</script>";
    assert_eq!(html(script), " $$x^2 &lt; y$$");
}

#[test]
fn images_of_signs_are_the_signs() {
    assert!(html("<img class=emoji alt=😀>").ends_with("😀"));
    assert!(!html("<img alt=photo>").contains("photo<") && !html("<img alt=photo>").ends_with("photo"));
}

#[test]
fn refuses_too_many_nodes() {
    assert_eq!(scan(&"<i>".repeat(1001), 1000, Wanted::Facts), Err(TooManyNodes));
}

#[test]
fn breaks_texts_of_many_lines() {
    let found = html(&format!("<pre>{}</pre>", "x &amp; y\n".repeat(1000)));
    assert_eq!(found.matches("<wbr>").count(), 3);
    assert_eq!(found.replace("<wbr>", ""), format!("<pre>{}</pre>", "x &amp; y\n".repeat(1000)));
}

#[test]
fn bounds_attributes() {
    let tag = format!("<p {}>x", (0..100_000).map(|n| format!("id{n}=1 ")).collect::<String>());
    assert_eq!(html(&tag), "<p>x");
}

#[test]
fn notes_what_the_page_says_of_itself() {
    let page = r#"<html lang=de><title>A &amp; B</title><link rel=canonical href="/x">
        <meta http-equiv="Refresh" content="0; URL='other.html'">"#;
    let found = scan(page, 1000, Wanted::Facts).unwrap();
    assert_eq!((found.language.as_str(), found.canonical.as_str()), ("de", "/x"));
    assert_eq!((found.refresh.as_deref(), found.title.as_str()), (Some("other.html"), "A &amp; B"));
}

#[test]
fn xhtml_says_its_language_too() {
    assert_eq!(scan("<html xml:lang='fr'>", 9, Wanted::Facts).unwrap().language, "fr");
}

#[test]
fn a_redirect_for_others_is_no_redirect() {
    for element in ["noscript", "template", "svg"] {
        let page = format!("<{element}><meta http-equiv=refresh content=\"0; url=/nojs\"></{element}>text");
        let found = scan(&page, 9, Wanted::Facts).unwrap();
        assert_eq!(found.refresh.is_some(), element == "svg", "{element}");
    }
}

#[test]
fn a_slow_refresh_is_no_redirect() {
    assert_eq!(refresh_target("300"), None);
    assert_eq!(refresh_target("300; url=same.html"), None);
}

#[test]
fn unfinished_markup_ends_quietly() {
    for page in ["<", "<p", "<p a=\"", "</", "<!--", "<script>x", "a < b", "<p =>", "<é>"] {
        scan(page, 10, Wanted::Markup).unwrap();
    }
    assert_eq!(html("a < b"), "a &lt; b");
}

proptest! {
    #[test]
    fn never_panics(page in "[<>/!a-c =\"'é\u{0}-]{0,60}") {
        let _ = scan(&page, 20, Wanted::Markup);
        let _ = scan(&page, 20, Wanted::Facts);
    }
}
