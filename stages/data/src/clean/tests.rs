//! Pages through the whole stage: texts, what is dropped and why.

use super::*;
use crate::documents::{Document, DocumentReader, DocumentWriter, Fact};
use pipe_stage::testing::Bench;
use pipe_stage::{Artifact, Outcome};

#[test]
fn personal_data_is_masked_in_texts_titles_and_what_is_dropped() {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let page = |id: &str, text: &str| Document {
        id: id.into(),
        html: Some(format!("<title>Write to a@b.org</title><main><p>{text}</p></main>").into_bytes()),
        ..Document::default()
    };
    let pages = [
        page("kept", "The keeper of the light answers letters to keeper@example.org each evening."),
        page("dropped", "c@d.org"),
    ];
    let input = artifact(&bench, &pages);
    let thresholds = BTreeMap::from([(Rule::GopherWordsMin, 5.0)]);
    let clean =
        Clean { profile: Profile::None, thresholds, pii: vec![Pii::Email, Pii::Phone], ..Clean::default() };
    let outcome = bench.run(&clean, &[("documents", &input)]).unwrap();
    for (output, text) in [
        ("documents", "The keeper of the light answers letters to <EMAIL_ADDRESS> each evening."),
        ("dropped", "<EMAIL_ADDRESS>"),
    ] {
        let document = documents(&bench, &outcome, output).remove(0);
        assert_eq!(
            (document.text.trim(), document.metadata["title"].as_str()),
            (text, "Write to <EMAIL_ADDRESS>")
        );
    }
    let metric =
        |name: &str| outcome.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!((metric("pii.email"), metric("pii.phone")), (Some(4.0), None));
    assert!(clean.metrics(&KnownInputs::default()).unwrap().contains(&"pii.phone".to_owned()));
}

#[test]
fn documents_without_text_are_dropped_by_any_profile() {
    let cleaned = |profile: Profile, thresholds: &[(Rule, f64)], text: &str| {
        let clean = Clean { profile, thresholds: thresholds.iter().copied().collect(), ..Clean::default() };
        let document =
            Document { id: "x".into(), text: text.into(), language: "en".into(), ..Document::default() };
        run(&clean, &[document]).1.pop().map(|mut dropped| dropped.metadata.remove("rule").unwrap())
    };
    let no_text = Some(NO_TEXT.to_owned());
    assert_eq!(cleaned(Profile::None, &[], "\u{7}\u{1b}\u{0}"), no_text);
    assert_eq!(cleaned(Profile::Code, &[], "\u{feff}\n"), no_text);
    let menu = "No final mark here at all in this line of English\nAnother line without any mark\n";
    assert_eq!(cleaned(Profile::None, &[], "x"), None);
    assert_eq!(cleaned(Profile::None, &[(Rule::C4LinePunctuation, 1.0)], menu), no_text);
}

#[test]
fn rules_that_are_off_report_nothing() {
    let names = |clean: Clean| clean.metrics(&KnownInputs::default()).unwrap();
    let has = |names: &[String], name: &str| names.iter().any(|declared| declared == name);
    let web = names(Clean::default());
    assert!(has(&web, "dropped.gopher_words_min") && has(&web, "skipped.c4_line_words"));
    assert!(has(&web, "lines_cut.c4_line_words") && has(&web, "dropped.code_generated"));
    assert!(!has(&web, "dropped.c4_line_words") && !has(&web, "dropped.language"));
    let off = names(Clean { disable: vec![Rule::GopherWordsMin], ..Clean::default() });
    assert!(!has(&off, "dropped.gopher_words_min"));
    let thresholds = BTreeMap::from([(Rule::GopherWordsMin, 5.0)]);
    let on =
        names(Clean { profile: Profile::None, thresholds, languages: vec!["en".into()], ..Clean::default() });
    assert!(has(&on, "dropped.gopher_words_min") && has(&on, "dropped.language"));
    assert!(!has(&on, "dropped.gopher_words_max"));
}

const PROSE: &str = "Ownership is a set of rules that govern how a program manages memory. All programs have \
    to manage the way they use it while they run. Some languages have garbage collection that looks for \
    memory.";
const CHINESE: &str = "所有权是程序管理内存的一组规则。所有程序在运行时都必须管理它们使用内存的方式。\
    一些语言具有垃圾回收机制，在程序运行时不断寻找不再使用的内存。";

fn page(number: usize) -> Document {
    let html = match number % 4 {
        0 => format!(
            "<html lang=en><title>Page {number}</title>\
             <main><h1>P{number}</h1><p>{PROSE}</p><pre>  x\n</pre></main>"
        ),
        1 => format!("<html lang=zh><main><p>第{number}页。{CHINESE}</p></main>"),
        2 => "<main><p>Short.</p></main>".to_owned(),
        _ => format!("<html lang=en><main>{}</main>", "<p>The same line again.</p>".repeat(60 + number)),
    };
    Document { id: format!("site/{number}.html"), html: Some(html.into_bytes()), ..Document::default() }
}

fn artifact(bench: &Bench, documents: &[Document]) -> Artifact {
    let shards: Vec<Vec<u8>> = documents
        .chunks(10)
        .map(|documents| {
            let mut writer = DocumentWriter::new(Vec::new()).unwrap();
            documents.iter().for_each(|document| writer.push(document).unwrap());
            writer.finish().unwrap()
        })
        .collect();
    let names: Vec<String> = (0..shards.len()).map(|shard| format!("site/{shard:016x}.parquet")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&shards).map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    bench.artifact("documents", &files).unwrap()
}

fn documents(bench: &Bench, outcome: &Outcome, port: &str) -> Vec<Document> {
    let entries = bench.open(&bench.output(outcome, port).unwrap());
    let rows = |entry| DocumentReader::of_entry(entry).unwrap().rows().unwrap();
    let with_facts = |row: std::result::Result<crate::documents::Row, _>| {
        let mut row = row.unwrap();
        row.note_added();
        row.document
    };
    entries.iter().flat_map(rows).map(with_facts).collect()
}

fn docs(languages: &[&str]) -> Clean {
    let languages = languages.iter().map(|code| (*code).to_owned()).collect();
    Clean { profile: Profile::Docs, languages, ..Clean::default() }
}

fn run(clean: &Clean, pages: &[Document]) -> (Vec<Document>, Vec<Document>, Outcome) {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let outcome = bench.run(clean, &[("documents", &artifact(&bench, pages))]).unwrap();
    (documents(&bench, &outcome, "documents"), documents(&bench, &outcome, "dropped"), outcome)
}

#[test]
fn makes_text_of_pages() {
    let (texts, dropped, _) = run(&docs(&["en"]), &[page(0)]);
    assert_eq!(dropped, []);
    assert_eq!(texts[0].text, format!("# P0\n\n{PROSE}\n\n```\n  x\n```\n"));
    assert_eq!((texts[0].language.as_str(), texts[0].html.as_ref()), ("en", None));
    assert_eq!(texts[0].metadata["title"], "Page 0");
}

#[test]
fn a_page_of_names_has_the_language_that_it_declares() {
    let names: String =
        (0..40).map(|n| format!("<h3>impl Mul&lt;f{n}&gt; for Wrapping&lt;i{n}&gt;</h3>")).collect();
    let html = format!("<html lang=en-US><main>{names}</main>").into_bytes();
    let page = Document { id: "names".into(), html: Some(html), ..Document::default() };
    let strict = Clean { language_score_min: 1.0, ..docs(&["en"]) };
    let (texts, _, _) = run(&strict, &[page]);
    assert_eq!((texts[0].language.as_str(), texts[0].metadata["language_declared"].as_str()), ("en", "en"));
}

#[test]
fn dropped_documents_say_rule_value_and_threshold() {
    let empty = Document { id: "site/x".into(), html: Some(b"<p></p>".to_vec()), ..Document::default() };
    let pages = [page(1), page(2), page(3), empty];
    let (texts, dropped, outcome) = run(&docs(&["en"]), &pages);
    assert_eq!(texts, []);
    let facts = |document: &Document| {
        ["rule", "value", "threshold"].map(|name| document.metadata.get(name).cloned().unwrap_or_default())
    };
    let found: Vec<[String; 3]> = dropped.iter().map(facts).collect();
    assert_eq!(found[0], ["language", "zh", "en"]);
    assert_eq!(found[1][0], "language");
    assert_eq!(found[2], ["gopher_duplicate_lines", "0.9841", "0.7"]);
    assert_eq!(found[3], ["page_no_content", "it has no main content", ""]);
    let count = outcome.metrics.iter().find(|metric| metric.name == "dropped.language").unwrap();
    assert_eq!(count.value, 2.0);
}

#[test]
fn no_rule_made_for_english_drops_chinese() {
    let clean = Clean { languages: vec!["zh".into()], ..Clean::default() };
    let text = CHINESE.repeat(3).replace("机制", "机制。此外还有别的办法");
    let page = Document { text, ..Document { id: "zh".into(), ..Document::default() } };
    let thresholds = BTreeMap::from([(Rule::GopherDuplicateLines, 1.0)]);
    let (texts, _, outcome) = run(&Clean { thresholds, ..clean }, &[page]);
    assert_eq!(texts[0].language, "zh");
    let skipped = |name: &str| outcome.metrics.iter().any(|metric| metric.name == format!("skipped.{name}"));
    assert!(skipped("gopher_word_length_min") && skipped("gopher_top_2_gram"));
}

#[test]
fn source_code_passes_verbatim() {
    let text = "\t int  main(void)\r\n{\n\n\n\u{c}\tputs(\"Ã©\");  \n}\n\n";
    let code =
        |id: &str, metadata| Document { id: id.into(), text: text.into(), metadata, ..Document::default() };
    let marked = code("marked", BTreeMap::from([("format".to_owned(), "code".to_owned())]));
    for profile in [Profile::Web, Profile::None] {
        let (texts, _, _) = run(&Clean { profile, ..Clean::default() }, std::slice::from_ref(&marked));
        assert_eq!(texts[0].text, text);
    }
    let clean = Clean { profile: Profile::Code, ..Clean::default() };
    let long = Document { text: "1,".repeat(2000), ..code("long", BTreeMap::new()) };
    let (texts, dropped, _) = run(&clean, &[code("plain", BTreeMap::new()), long]);
    assert_eq!(texts[0].text, text);
    assert_eq!(dropped[0].metadata["rule"], "code_line_length_mean");
}

#[test]
fn lines_that_are_cut_are_counted() {
    let text = format!("{PROSE}\n\nHome\n\nPlease enable JavaScript to read on.\n");
    let page = Document { id: "cut".into(), text, ..Document::default() };
    let thresholds = BTreeMap::from([(Rule::C4LineWords, 5.0), (Rule::C4LineJavascript, 0.0)]);
    let clean = Clean { profile: Profile::None, thresholds, ..Clean::default() };
    let (texts, _, outcome) = run(&clean, &[page]);
    assert_eq!(texts[0].text, format!("{PROSE}\n"));
    let cut = |rule: &str| {
        let name = format!("lines_cut.{rule}");
        outcome.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    };
    assert_eq!((cut("c4_line_words"), cut("c4_line_javascript")), (Some(1.0), Some(1.0)));
}

#[test]
fn a_language_that_the_detector_lacks_is_the_declared_one() {
    let text = "Gach seachtain scríobhadh coimeádaí an tí solais litir, agus thugadh an bád a bhí ag tabhairt aráin \
        an litir i dtír, áit nach raibh aon duine ag fanacht léi.";
    let page = |language: &str| Document {
        id: "x".into(),
        text: text.into(),
        language: language.into(),
        ..Document::default()
    };
    let none = Clean { profile: Profile::None, ..Clean::default() };
    for (declared, found) in [("ga", "ga"), ("ga-IE", "ga"), ("GLE", "ga"), ("", ""), ("und", "")] {
        assert_eq!(run(&none, &[page(declared)]).0[0].language, found, "{declared}");
    }
}

#[test]
fn output_bytes_are_pinned_and_threads_do_not_matter() {
    let pages: Vec<Document> = (0..40).map(page).collect();
    let digests: Vec<[String; 2]> = [1, 4]
        .into_iter()
        .map(|threads| {
            let store = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(store.path()).unwrap();
            bench.threads = threads;
            let outcome =
                bench.run(&docs(&["en", "zh"]), &[("documents", &artifact(&bench, &pages))]).unwrap();
            ["documents", "dropped"].map(|port| outcome.outputs[port].to_string()[..16].to_owned())
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], ["c871e618e8b3a630", "3551a8221bba700a"]);
}

#[test]
fn text_does_not_depend_on_the_documents_around_it() {
    let pages: Vec<Document> = (0..40).map(page).collect();
    let backwards: Vec<Document> = pages.iter().rev().cloned().collect();
    let (mut forwards, _, _) = run(&docs(&[]), &pages);
    let (backwards, _, _) = run(&docs(&[]), &backwards);
    forwards.reverse();
    assert_eq!(forwards, backwards);
}

#[test]
fn every_page_is_kept_or_dropped_with_a_reason() {
    let pages: Vec<Document> = (0..40).map(page).collect();
    let (texts, dropped, _) = run(&Clean::default(), &pages);
    assert_eq!(texts.len() + dropped.len(), 40);
    assert!(dropped.iter().all(|document| document.metadata.contains_key("rule")));
}

#[test]
fn bad_settings_are_named_by_their_path() {
    let clean = Clean {
        languages: vec!["en".into(), "eng".into()],
        language_score_min: 2.0,
        thresholds: BTreeMap::from([(Rule::GopherAlphabeticWords, 80.0)]),
        ..Clean::default()
    };
    let paths: Vec<String> = clean.check().into_iter().map(|misfit| misfit.path).collect();
    assert_eq!(paths, ["language_score_min", "languages[1]", "thresholds.gopher_alphabetic_words"]);
    assert_eq!(Clean::default().check(), []);
}

/// The numbers of tasks of each step that are not recorded yet, since the last call.
fn missing(bench: &Bench) -> Vec<(String, u64)> {
    let events = std::mem::take(&mut *bench.events.lock().unwrap());
    let step = |event| match event {
        pipe_stage::Event::Step { step, missing, .. } => Some((step, missing)),
        _ => None,
    };
    events.into_iter().filter_map(step).collect()
}

#[test]
fn a_changed_threshold_reads_columns_only() {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let pages: Vec<Document> = (0..40).map(page).collect();
    let input = artifact(&bench, &pages);
    let steps = |clean: &Clean| {
        bench.run(clean, &[("documents", &input)]).unwrap();
        missing(&bench).into_iter().map(|(step, missing)| format!("{step} {missing}")).collect::<Vec<_>>()
    };
    let web = |thresholds: &[(Rule, f64)]| Clean {
        thresholds: thresholds.iter().copied().collect(),
        ..Clean::default()
    };
    assert_eq!(steps(&web(&[])), ["texts 4", "scores 4", "kept 4"]);
    // A step without missing tasks is not told.
    assert_eq!(steps(&web(&[(Rule::GopherWordsMin, 3.0)])), ["kept 4"]);
    assert_eq!(steps(&Clean { licenses: vec!["MIT".into()], ..Clean::default() }), ["kept 4"]);
    assert_eq!(steps(&web(&[(Rule::C4LineWords, 3.0)])), ["scores 4", "kept 4"]);
    assert_eq!(steps(&Clean { languages: vec!["en".into()], ..Clean::default() }), ["scores 4", "kept 4"]);
    assert_eq!(steps(&Clean { preset: Some(Preset::Gopher), ..Clean::default() }), ["scores 4", "kept 4"]);
    // Neither cuts lines.
    assert_eq!(steps(&Clean { profile: Profile::None, ..Clean::default() }), ["kept 4"]);
}

#[test]
fn values_of_rules_are_facts() {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let clean = Clean { languages: vec!["en".into()], ..docs(&[]) };
    let outcome = bench.run(&clean, &[("documents", &artifact(&bench, &[page(0), page(1)]))]).unwrap();
    let rows = |port: &str| -> Vec<crate::documents::Row> {
        let entries = bench.open(&bench.output(&outcome, port).unwrap());
        entries
            .iter()
            .flat_map(|entry| DocumentReader::of_entry(entry).unwrap().rows().unwrap())
            .map(Result::unwrap)
            .collect()
    };
    let kept = &rows("documents")[0];
    assert_eq!(
        kept.fact("characters").and_then(Fact::number),
        Some(kept.document.text.chars().count() as f64)
    );
    assert_eq!(kept.fact("gopher_stop_words").and_then(Fact::number), Some(5.0));
    assert_eq!((kept.fact("code_data"), kept.fact("rule")), (None, None));
    // Documents in other languages are dropped without being measured.
    let dropped = &rows("dropped")[0];
    assert_eq!(
        (dropped.fact("rule"), dropped.fact("value")),
        (Some(Fact::Text("language")), Some(Fact::Text("zh")))
    );
    assert_eq!(dropped.fact("gopher_stop_words"), None);
    let facts = clean.facts("documents", &KnownInputs::default());
    assert_eq!(facts.get::<BTreeSet<String>>(crate::documents::METADATA_NAMES), None);
}

#[test]
fn a_text_is_written_again_only_if_it_changes() {
    let store = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    let text = |id: &str, more: &str| Document {
        id: id.into(),
        text: format!("{PROSE}\n{more}"),
        ..Document::default()
    };
    let pages: Vec<Document> =
        (0..10).map(|n| text(&format!("a/{n}"), "")).chain([text("a/10", "Write to a@b.org.\n")]).collect();
    let input = artifact(&bench, &pages);
    let run = |pii: Vec<Pii>| bench.run(&Clean { pii, ..docs(&[]) }, &[("documents", &input)]).unwrap();
    let blobs = |outcome: &Outcome| -> Vec<pipe_stage::Digest> {
        bench
            .output(outcome, "documents")
            .unwrap()
            .entries
            .iter()
            .map(|entry| entry.content.blob.digest)
            .collect()
    };
    let (plain, masked) = (run(Vec::new()), run(vec![Pii::Email]));
    let (blobs, masked_blobs) = (blobs(&plain), blobs(&masked));
    assert_eq!((blobs[0] == masked_blobs[0], blobs[1] == masked_blobs[1]), (true, false));
    let texts: Vec<String> =
        documents(&bench, &masked, "documents").into_iter().map(|document| document.text).collect();
    assert_eq!((texts.len(), texts[10].contains("<EMAIL_ADDRESS>")), (11, true));
}

#[test]
fn rows_before_the_first_change_of_a_shard_are_kept() {
    let text = |id: &str, more: &str| Document {
        id: id.into(),
        text: format!("{PROSE}\n{more}"),
        ..Document::default()
    };
    let pages = [text("a", ""), text("b", ""), text("c", "a@b.org\n"), text("d", "")];
    let (kept, _, _) = run(&Clean { pii: vec![Pii::Email], ..docs(&[]) }, &pages);
    assert_eq!(kept.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(kept[2].text.ends_with("<EMAIL_ADDRESS>\n"));
}

#[test]
fn licences_and_block_lists_drop_documents() {
    let store = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(store.path()).unwrap();
    for (name, list) in [
        ("domains.txt", "# advertisements\nads.example\n\n"),
        ("urls.txt", "https://e.org/secret/\n"),
        ("url_words.txt", "casino"),
        ("words.txt", "Forbidden Phrase\n"),
    ] {
        std::fs::write(folder.path().join(name), list).unwrap();
    }
    let list = |name: &str| vec![format!("{name}.txt")];
    let lists = BlockListFiles {
        domains: list("domains"),
        urls: list("urls"),
        url_words: list("url_words"),
        words: list("words"),
    };
    let clean = Clean { licenses: vec!["MIT".into()], block_lists: lists, ..docs(&[]) };
    let places = Places { project: folder.path().to_owned(), variable: &|_| None };
    let requests = clean.sources(&places).unwrap();
    let sources: Vec<_> = Bench::sources("", folder.path())
        .unwrap()
        .into_iter()
        .map(|mut file| {
            file.source =
                requests.iter().find(|request| request.root.ends_with(&file.name)).unwrap().source.clone();
            file
        })
        .collect();
    let page = |url: &str, license: &str, more: &str| Document {
        id: format!("{url} {license} {more}"),
        text: format!("{PROSE} {more}\n"),
        url: url.into(),
        license: license.into(),
        ..Document::default()
    };
    let pages = [
        page("https://e.org/a", "MIT OR GPL-3.0-only", ""),
        page("https://x.ads.example/", "MIT", ""),
        page("https://www.e.org/secret", "MIT", ""),
        page("https://e.org/casino", "MIT", ""),
        page("https://e.org/b", "", ""),
        page("https://e.org/c", "MIT", "It has a forbidden phrase."),
    ];
    let input = artifact(&bench, &pages);
    let enter = |sources: &[pipe_stage::SourceFile]| {
        bench.enter(&clean, &[("documents", &input)], sources.to_vec(), pipe_stage::Mode::Here)
    };
    let outcome = enter(&sources).unwrap();
    assert_eq!(documents(&bench, &outcome, "documents").len(), 1);
    let reason = |document: Document| ["rule", "value"].map(|name| document.metadata[name].clone());
    let dropped: Vec<[String; 2]> = documents(&bench, &outcome, "dropped").into_iter().map(reason).collect();
    assert_eq!(
        dropped,
        [
            ["blocked_domain", "ads.example"],
            ["blocked_url", "e.org/secret"],
            ["blocked_url_word", "casino"],
            ["license", "unknown"],
            ["c4_bad_words", "1"],
        ]
    );
    let mut wrong = sources.clone();
    let at = wrong.iter().position(|file| file.name == "domains.txt").unwrap();
    std::fs::write(wrong[at].path().unwrap(), "ok.example\nads.example/page\n").unwrap();
    wrong[at] = Bench::sources(&wrong[at].source, folder.path())
        .unwrap()
        .into_iter()
        .find(|file| file.name == "domains.txt")
        .unwrap();
    let error = enter(&wrong).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("line 2 of `domains.txt` is not a domain"), "{told}");
}
