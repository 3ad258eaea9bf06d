use super::*;
use std::collections::BTreeMap;

/// Numbers of namespaces with their names.
fn names(site: &Site) -> BTreeMap<i32, &str> {
    site.namespaces.iter().map(|(number, name)| (*number, name.as_str())).collect()
}

const HEAD: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
    </namespaces>
  </siteinfo>
"#;

fn page(id: u64, title: &str, text: &str) -> String {
    format!(
        "  <page>\n    <title>{title}</title>\n    <ns>0</ns>\n    <id>{id}</id>\n    <revision>\n      <id>{id}0</id>\n      \
         <timestamp>2024-01-02T03:04:05Z</timestamp>\n      <contributor><username>U</username><id>9</id></contributor>\n      \
         <model>wikitext</model>\n      <text bytes=\"4\" xml:space=\"preserve\">{text}</text>\n    </revision>\n  </page>\n"
    )
}

fn pieces(xml: &str) -> (Site, Vec<Piece>) {
    let mut export = Export::open(io::BufReader::with_capacity(7, xml.as_bytes()), 1 << 16).unwrap().unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = export.piece().unwrap() {
        pieces.push(piece);
    }
    (export.site().clone(), pieces)
}

fn titles(pieces: &[Piece]) -> Vec<String> {
    let name = |piece: &Piece| match piece {
        Piece::Page(page) => page.title.clone(),
        Piece::Damaged(damage) => format!("! {}", damage.reason),
    };
    pieces.iter().map(name).collect()
}

#[test]
fn pages_are_read_with_their_facts() {
    let xml = format!("{HEAD}{}</mediawiki>\n", page(7, "A &amp; B", "x &lt;ref&gt; &#228;\ny"));
    let (site, pieces) = pieces(&xml);
    assert_eq!((site.language.as_str(), site.name.as_str()), ("de", "Wikipedia"));
    assert_eq!(names(&site), BTreeMap::from([(0, ""), (6, "Datei")]));
    let expected = Page {
        offset: HEAD.len() as u64 + 2,
        id: Some(7),
        title: "A & B".into(),
        revision: Some(Revision {
            id: Some(70),
            timestamp: "2024-01-02T03:04:05Z".into(),
            model: "wikitext".into(),
            text: Some("x <ref> ä\ny".into()),
        }),
        ..Page::default()
    };
    assert_eq!(pieces, [Piece::Page(expected)]);
}

#[test]
fn the_newest_revision_is_taken() {
    let revision =
        |time: &str| format!("<revision><timestamp>{time}</timestamp><text>{time}</text></revision>");
    let revisions = ["2001", "2003", "2002"].map(revision).concat();
    let xml = format!("{HEAD}<page><title>T</title>{revisions}</page></mediawiki>");
    let (_, pieces) = pieces(&xml);
    let Piece::Page(page) = &pieces[0] else { panic!("{pieces:?}") };
    assert_eq!(page.revision.as_ref().unwrap().text.as_deref(), Some("2003"));
}

#[test]
fn old_exports_have_neither_namespaces_nor_redirects() {
    let text = "<revision><text>#WEITERLEITUNG [[X]]</text></revision>";
    let xml = format!("{HEAD}<page><title>Datei:A</title>{text}</page></mediawiki>");
    let (_, pieces) = pieces(&xml);
    let Piece::Page(page) = &pieces[0] else { panic!("{pieces:?}") };
    assert!(page.is_redirect && page.namespace == 6);
}

#[test]
fn damage_costs_one_page() {
    let good = |n: u64| page(n, &format!("P{n}"), "t");
    let broken = [
        good(2).replace("</page>", ""),
        good(2).replace("</revision>", ""),
        good(2).replace("</text>", ""),
        good(2).replace("<title>P2", "<title>&unknown;"),
        good(2).replace("P2", ""),
        page(2, "P2", &"x".repeat(1 << 17)),
    ];
    for broken in broken {
        let xml = format!("{HEAD}{}{broken}{}</mediawiki>", good(1), good(3));
        let (_, pieces) = pieces(&xml);
        let found = titles(&pieces);
        assert_eq!(
            (found.len(), found[0].as_str(), found[2].as_str()),
            (3, "P1", "P3"),
            "{broken}\n{found:?}"
        );
        let Piece::Damaged(damage) = &pieces[1] else { panic!("{broken}\n{found:?}") };
        assert_eq!(damage.offset, (HEAD.len() + good(1).len() + 2) as u64);
    }
}

#[test]
fn markup_in_a_text_that_is_not_escaped_is_damage() {
    let tag = "! its `text` contains the tag `b` that is not escaped";
    for (text, reason) in [
        ("<b>inside</b> text", tag),
        ("all before<b/>", tag),
        ("a <!-- hidden --> b", "! its `text` contains a comment that is not escaped"),
        ("a <?php b ?> c", "! its `text` contains a processing instruction that is not escaped"),
    ] {
        let xml = format!("{HEAD}{}{}</mediawiki>", page(1, "P1", text), page(2, "P2", "t"));
        assert_eq!(titles(&pieces(&xml).1), [reason, "P2"]);
    }
    let titled = format!("{HEAD}{}</mediawiki>", page(1, "A<i>B</i>", "t"));
    assert_eq!(titles(&pieces(&titled).1), ["! its `title` contains the tag `i` that is not escaped"]);
    let cdata = format!("{HEAD}{}</mediawiki>", page(1, "P1", "<![CDATA[<b>kept</b>]]>"));
    let Piece::Page(page) = &pieces(&cdata).1[0] else { panic!("{cdata}") };
    assert_eq!(page.revision.as_ref().unwrap().text.as_deref(), Some("<b>kept</b>"));
}

#[test]
fn an_export_that_ends_early_says_so() {
    let xml = format!("{HEAD}{}", page(1, "P1", "t"));
    assert_eq!(titles(&pieces(&xml).1), ["P1", "! the export ends without its end tag"]);
    let cut = &xml[..xml.len() - 20];
    assert_eq!(titles(&pieces(cut).1), ["! the file ends within it"]);
}

#[test]
fn other_files_are_no_exports() {
    for text in ["", "<html></html>", "plain", "<<<<"] {
        assert!(Export::open(text.as_bytes(), 100).unwrap().is_none(), "{text}");
    }
}

#[test]
fn entities_are_not_expanded_and_depth_is_bounded() {
    let bomb = format!("<!DOCTYPE x [<!ENTITY a \"aaaa\">]>{HEAD}{}</mediawiki>", page(1, "P", "&a;&a;"));
    assert_eq!(titles(&pieces(&bomb).1), ["! it has the unknown entity `a`"]);
    let nested = format!("<contributor>{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    let deep = page(1, "P", "t").replace("<contributor>", &nested);
    let xml = format!("{HEAD}{deep}</mediawiki>");
    assert_eq!(titles(&pieces(&xml).1), ["! its XML is nested too deeply"]);
}

#[test]
fn a_page_behind_a_description_without_end_is_not_lost() {
    let head = HEAD.replace("</siteinfo>", "");
    let xml = format!("{head}{}{}</mediawiki>\n", page(1, "A", "a"), page(2, "B", "b"));
    let (_, pieces) = pieces(&xml);
    assert_eq!(titles(&pieces), ["A", "B"]);
    let Piece::Page(first) = &pieces[0] else { panic!("{pieces:?}") };
    assert_eq!(first.offset, xml.find("<page>").unwrap() as u64);
}
