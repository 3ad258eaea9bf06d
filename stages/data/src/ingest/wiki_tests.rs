//! Dumps of wikis and books through the whole stage.

use super::enterprise::tests::tar;
use super::epub::tests::book;
use super::inflate::tests::{bzip2, gzip};
use super::record_tests::Case;
use super::*;
use crate::documents::Document;

const HEAD: &str = r#"<mediawiki version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces><namespace key="0" /><namespace key="1">Diskussion</namespace><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace></namespaces>
  </siteinfo>
"#;

fn page(id: u64, namespace: i32, title: &str, rest: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<page><title>{title}</title><ns>{namespace}</ns><id>{id}</id>{rest}<revision><id>{id}1</id>\
         <timestamp>2024-01-02T03:04:05Z</timestamp><model>wikitext</model><text>{text}</text></revision></page>\n"
    )
}

const BONN: &str = "{{Infobox Ort|Name=Bonn}}\n'''Bonn''' ({{IPA|bɔn}}) ist eine [[Stadt|große Stadt]].<ref>x</ref>\n\n\
    == Geschichte ==\n* alt\n* [[Datei:X.jpg|mini|Bild]] sehr alt\n\n{| class=wikitable\n! Jahr !! Zahl\n|-\n| 1900 || 5\n|}\n\
    <math>x^2</math> mit 5&nbsp;km<sup>2</sup>\n\n== Weblinks ==\n* [https://e.org Seite]\n\n[[Kategorie:Stadt]]\n";

fn pages() -> Vec<String> {
    vec![
        page(7, 0, "Bonn", "", BONN),
        page(8, 0, "Bönn", "<redirect title=\"Bonn\" />", "#REDIRECT [[Bonn]]"),
        page(9, 1, "Diskussion:Bonn", "", "Text"),
        page(10, 0, "Leer", "", "{{Vorlage}}"),
        page(11, 0, "Code", "", "text").replace("wikitext</model>", "css</model>"),
    ]
}

fn export(pages: &[String]) -> String {
    format!("{HEAD}{}</mediawiki>\n", pages.concat())
}

fn case(glob: &str, format: Option<Format>) -> Case {
    Case::new(glob, Columns::default()).stage(|stage| stage.sources[0].format = format)
}

#[test]
fn pages_of_a_wiki_become_documents() {
    let made =
        case("dewiki-*-pages-articles.xml", None).file("dewiki-1-pages-articles.xml", export(&pages())).run();
    let text = "Bonn ist eine große Stadt.\n\n## Geschichte\n\n- alt\n- sehr alt\n\n| Jahr | Zahl |\n| --- | --- |\n| 1900 | 5 |\n\n\
        $x^2$ mit 5 km^2\n\n## Weblinks\n\n- Seite\n";
    let expected = Document {
        id: "data/7".into(),
        text: text.into(),
        url: "https://de.wikipedia.org/wiki/Bonn".into(),
        source: "data".into(),
        language: "de".into(),
        license: "CC-BY-SA-4.0".into(),
        date: "2024-01-02T03:04:05Z".into(),
        metadata: BTreeMap::from([("title".into(), "Bonn".into())]),
        ..Document::default()
    };
    assert_eq!(made.documents, [expected]);
    let reasons: Vec<String> = made.reasons().into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons, ["redirect", "namespace", "no_content", "content_model"]);
    assert_eq!((made.metric("no_page"), made.metric("rejected")), (4.0, 0.0));
}

#[test]
fn namespaces_sections_and_licence_can_be_set() {
    let case = case("a.xml", Some(Format::Mediawiki)).file("a.xml", export(&pages())).stage(|stage| {
        let source = &mut stage.sources[0];
        source.namespaces = vec![1, 0];
        source.sections = Sections::Prose;
        source.license = "CC-BY-SA-3.0".into();
        source.columns.metadata = ["*"].into();
    });
    let made = case.run();
    assert_eq!(made.ids(), BTreeSet::from(["data/7".into(), "data/9".into()]));
    let bonn = made.documents.iter().find(|document| document.id == "data/7").unwrap();
    assert!(!bonn.text.contains("Weblinks") && bonn.text.contains("Geschichte"), "{}", bonn.text);
    assert_eq!((bonn.license.as_str(), bonn.metadata["revision"].as_str()), ("CC-BY-SA-3.0", "71"));
    let limited = case.stage(|stage| stage.no_page_max = Some(2)).run_with(1).err().unwrap().to_string();
    assert!(limited.starts_with("3 records without a page were left out"), "{limited}");
}

#[test]
fn compressed_streams_threads_and_files_do_not_matter() {
    let pages: Vec<String> = (1..60).map(|id| page(id, 0, &format!("Seite {id}"), "", BONN)).collect();
    let whole = export(&pages);
    let name = "dewiki-pages-articles-multistream.xml.bz2";
    // Each stream of a multistream dump holds a hundred pages; here ten.
    let mut streams = bzip2(HEAD.as_bytes());
    pages.chunks(10).for_each(|pages| streams.extend(bzip2(pages.concat().as_bytes())));
    streams.extend(bzip2(b"</mediawiki>\n"));
    let multistream = case("*.xml.bz2", Some(Format::Mediawiki)).file(name, streams);
    let plain = case("*.xml", Some(Format::Mediawiki)).file("a.xml", &whole);
    let gzipped = case("*.xml.gz", Some(Format::Mediawiki)).file("a.xml.gz", gzip(whole.as_bytes()));
    let digest = plain.digest();
    assert_eq!((multistream.digest(), gzipped.digest()), (digest.clone(), digest.clone()));
    let digests =
        [1, 4].map(|threads| plain.run_with(threads).unwrap().outcome.outputs["documents"].to_string());
    assert_eq!(digests[0], digests[1]);
    assert_eq!(&digest[..16], "64ab7e73f9968b91");
}

#[test]
fn damage_to_an_export_is_told() {
    let mut broken = pages();
    broken[0] = broken[0].replace("</text>", "");
    let case = case("a.xml", Some(Format::Mediawiki)).file("a.xml", export(&broken));
    let case = case.stage(|stage| (stage.errors_max, stage.files_lost_max) = (1, 1));
    let made = case.run();
    assert_eq!(made.reasons()[0].2, "damaged");
    assert!(made.rejected.contains("reading goes on at byte"), "{}", made.rejected);
    let cut = export(&pages());
    let case =
        super::wiki_tests::case("a.xml", Some(Format::Mediawiki)).file("a.xml", &cut[..cut.len() - 40]);
    let made = case.stage(|stage| stage.files_lost_max = 1).run();
    assert_eq!((made.ids().len(), made.metric("rejected")), (1, 1.0));
    let case = super::wiki_tests::case("a.xml", Some(Format::Mediawiki)).file("a.xml", "<html></html>");
    let error = case.run_with(1).err().unwrap().to_string();
    assert!(error.contains("it is not a MediaWiki export"), "{error}");
}

#[test]
fn articles_of_enterprise_dumps_are_pages() {
    let article = |id: u64, html: &str| {
        serde_json::json!({
            "name": format!("Bonn {id}"), "identifier": id, "date_modified": "2024-01-02T03:04:05Z",
            "url": "https://de.wikipedia.org/wiki/Bonn", "in_language": {"identifier": "de"},
            "license": [{"identifier": "CC-BY-SA-3.0", "url": "https://creativecommons.org/licenses/by-sa/4.0/"}],
            "article_body": {"html": html, "wikitext": "x"},
        })
        .to_string()
    };
    let lines = format!("{}\n{}\nbroken\n", article(7, "<p>Bonn"), article(8, "<p>Zwei"));
    let mut archive = tar(lines.as_bytes());
    archive.extend(tar(article(9, "<p>Drei").as_bytes()));
    archive.extend([0; 1024]);
    let name = "dewiki-NS0-20240101-ENTERPRISE-HTML.json.tar.gz";
    let case = case("*ENTERPRISE-HTML.json.tar.gz", None).stage(|stage| stage.errors_max = 1);
    let made = case.file(name, gzip(&archive)).run();
    assert_eq!(made.ids(), BTreeSet::from(["data/7".into(), "data/8".into(), "data/9".into()]));
    assert_eq!(made.reasons(), [(format!("data/{name}"), Some(3), "json".to_owned())]);
    let bonn = made.documents.iter().find(|document| document.id == "data/7").unwrap();
    let facts = [&bonn.url, &bonn.language, &bonn.license, &bonn.date, &bonn.metadata["title"]];
    let expected =
        ["https://de.wikipedia.org/wiki/Bonn", "de", "CC-BY-SA-4.0", "2024-01-02T03:04:05Z", "Bonn 7"];
    assert_eq!(facts, expected);
    assert_eq!(bonn.html.as_deref(), Some(&b"<p>Bonn"[..]));
    let case = super::wiki_tests::case("a.tar", Some(Format::WikipediaHtml)).file("a.tar", vec![b'x'; 2000]);
    let error = case.run_with(1).err().unwrap().to_string();
    assert!(error.contains("it is not a readable tar archive: the checksum"), "{error}");
}

#[test]
fn articles_of_other_namespaces_and_without_content_are_listed() {
    let article = |id: u64, namespace: Option<i32>, html: &str| {
        let mut article = serde_json::json!({"name": "A", "identifier": id, "article_body": {"html": html}});
        if let Some(namespace) = namespace {
            article["namespace"] = serde_json::json!({"identifier": namespace, "name": "x"});
        }
        article.to_string() + "\n"
    };
    let lines = [
        article(1, Some(0), "<p>A"),
        article(2, Some(1), "<p>Talk"),
        article(3, Some(0), ""),
        article(4, None, "<p>Old"),
        article(5, Some(14), "<p>Category"),
    ];
    let case = case("a.tar", Some(Format::WikipediaHtml)).file("a.tar", tar(lines.concat().as_bytes()));
    let case = case.stage(|stage| stage.errors_max = 1);
    let made = case.run();
    assert_eq!(made.ids(), BTreeSet::from(["data/1".into(), "data/4".into()]));
    let reasons: Vec<(Option<u64>, String)> =
        made.reasons().into_iter().map(|(_, row, reason)| (row, reason)).collect();
    let expected = [(2, "namespace"), (3, "no_text"), (5, "namespace")];
    assert_eq!(reasons, expected.map(|(row, reason)| (Some(row), reason.to_owned())));
    assert_eq!((made.metric("no_page"), made.metric("rejected")), (2.0, 1.0));
    // Whether the metadata has the namespace does not matter.
    let column = "namespace.identifier";
    for metadata in [MetadataColumns::default(), ["*"].into(), [column].into(), [column, "*"].into()] {
        let case = super::wiki_tests::case("a.tar", Some(Format::WikipediaHtml));
        let case = case.file("a.tar", tar(lines.concat().as_bytes())).stage(|stage| {
            stage.sources[0].namespaces = vec![14, 1];
            stage.sources[0].columns.metadata = metadata.clone();
        });
        let made = case.run();
        assert_eq!(made.ids(), BTreeSet::from(["data/2".into(), "data/5".into()]), "{metadata:?}");
        assert_eq!(made.metric("no_page"), 3.0);
    }
}

#[test]
fn books_without_text_are_rejected_and_odd_frames_are_counted() {
    let (start, end) = (
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
    );
    let case = case("*.txt", Some(Format::Gutenberg))
        .file("cut.txt", format!("{start}cut"))
        .file("empty.txt", format!("Title: X\n{start}\n \n{end}licence\n"))
        .file("two.txt", format!("{start}one\n{end}{start}two\n{end}"));
    let made = case.stage(|stage| stage.errors_max = 1).run();
    assert_eq!(made.ids(), BTreeSet::from(["data/cut.txt".into(), "data/two.txt".into()]));
    assert_eq!(made.reasons(), [("data/empty.txt".to_owned(), None, "empty".to_owned())]);
    let metrics = ["unframed", "framed_partly", "framed_several"].map(|name| made.metric(name));
    assert_eq!(metrics, [0.0, 1.0, 1.0]);
}

#[test]
fn texts_of_gutenberg_lose_their_frames() {
    let text = "Title: Emma\n\nAuthor: Jane Austen\n\nLanguage: English\n\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\n\n\
        Emma Woodhouse.\n\n*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\nlicence\n";
    let case = case("*.txt", Some(Format::Gutenberg)).file("158.txt", text).file("x.txt", "No frame.");
    let made = case.run();
    let found = |id: &str| made.documents.iter().find(|document| document.id == id).unwrap();
    assert_eq!(
        (found("data/158.txt").text.as_str(), found("data/158.txt").language.as_str()),
        ("Emma Woodhouse.", "en")
    );
    assert_eq!((found("data/x.txt").text.as_str(), made.metric("unframed")), ("No frame.", 1.0));
}

#[test]
fn books_are_pages_of_all_their_chapters() {
    let good = book(b"<body><p>One <a id=\"x\"/>one</p></body>", b"<body><p>Two</p></body>");
    let mut damaged = good.clone();
    let at = damaged.windows(13).position(|window| window == b"OEBPS/b.xhtml").unwrap();
    damaged[at + 14] ^= 0xFF;
    let case = case("*.epub", None).file("a.epub", &good).file("b.epub", &damaged).file("c.epub", "text");
    let made = case.stage(|stage| stage.errors_max = 2).run();
    assert_eq!(made.ids(), BTreeSet::from(["data/a.epub".into(), "data/b.epub".into()]));
    let reasons: BTreeSet<(String, String)> =
        made.reasons().into_iter().map(|(id, _, reason)| (id, reason)).collect();
    let expected = [("data/b.epub#OEBPS/b.xhtml", "chapter"), ("data/c.epub", "not_epub")];
    assert_eq!(reasons, expected.map(|(id, reason)| (id.to_owned(), reason.to_owned())).into());
    let book = made.documents.iter().find(|document| document.id == "data/a.epub").unwrap();
    let page = crate::clean::html::extract(book.html.as_deref().unwrap(), None, Default::default()).unwrap();
    assert_eq!(page.text, "One one\n\nTwo\n");
    assert_eq!(book.metadata["author"], "A. Author");
}

#[test]
fn source_files_have_the_licence_that_they_name() {
    let case = case("*.rs", None).file("a.rs", "// SPDX-License-Identifier: MPL-2.0\nfn a() {}\n");
    let case = case.file("c.rs", "// Subject to the terms of the GNU General Public License.\nfn c() {}\n");
    let made = case.file("b.rs", "fn b() {}\n").stage(|stage| stage.sources[0].license = "MIT".into()).run();
    let licences: BTreeMap<&str, &str> =
        made.documents.iter().map(|document| (document.id.as_str(), document.license.as_str())).collect();
    assert_eq!(licences, BTreeMap::from([("data/a.rs", "MPL-2.0"), ("data/b.rs", "MIT"), ("data/c.rs", "")]));
    assert_eq!(made.metric("license_unclear"), 1.0);
}
