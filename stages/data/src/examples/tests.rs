//! Templates through the whole stage: documents in; examples or an error out.

use super::*;
use crate::documents::{Cluster, WITHOUT_TEXT, WithoutText};
use crate::testing::put_full_documents;
use pipe_stage::testing::Bench;

fn document(number: usize) -> Document {
    let topic = ["", "stone", "metal"][number % 3];
    Document {
        id: format!("d{number}"),
        text: format!("Text <{number}>\n"),
        html: Some(vec![1]),
        url: format!("https://e.org/{topic}/{number}"),
        metadata: BTreeMap::from([("topic".into(), topic.into())]),
        ..Document::default()
    }
}

fn run(stage: &Examples, threads: usize) -> Result<(String, Vec<Document>, Vec<f64>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path()).unwrap();
    bench.threads = threads;
    let documents: Vec<Document> = (0..12).map(document).collect();
    let input = put_full_documents(&bench, &[documents[..8].to_vec(), documents[8..].to_vec()]);
    let outcome = bench.run(stage, &[("documents", &input)])?;
    let mut found = Vec::new();
    for entry in bench.open(&bench.output(&outcome, "examples").unwrap()) {
        let rows = DocumentReader::of_entry(&entry).unwrap().rows().unwrap();
        found.extend(rows.map(|row| row.unwrap().document));
    }
    let figures = outcome.metrics.iter().map(|metric| metric.value).collect();
    Ok((outcome.outputs["examples"].to_string()[..16].to_owned(), found, figures))
}

fn labelled(label: &str) -> Examples {
    Examples { label: label.into(), ..Examples::default() }
}

fn answered(prompt: &str, answer: &str) -> Examples {
    Examples { prompt: prompt.into(), answer: answer.into(), ..Examples::default() }
}

#[test]
fn templates_make_labelled_examples() {
    let (_, found, figures) = run(&labelled(" {{ metadata.topic }}\n"), 2).unwrap();
    assert_eq!(figures[0], 8.0);
    assert_eq!(figures[2], 4.0, "those without a topic are left out");
    let expected =
        Document { metadata: BTreeMap::from([("label".into(), "stone".into())]), html: None, ..document(1) };
    assert_eq!(found[0], expected);
    let (_, by_url, _) = run(&labelled("{{ (url | split('/'))[3] }}"), 2).unwrap();
    assert_eq!(by_url, found);
}

#[test]
fn templates_make_prompts_with_answers() {
    let stage = answered("Q: {{ text }}\nA:", " {{ metadata.topic | upper }}");
    let (_, found, _) = run(&stage, 2).unwrap();
    assert_eq!(found[1].text, "Q: Text <2>\n\nA: METAL");
    assert_eq!(found[1].metadata["prompt"], "Q: Text <2>\n\nA:");
    assert_eq!(found[1].metadata["answer"], " METAL");
}

#[test]
fn output_bytes_are_pinned_and_threads_do_not_matter() {
    let digests = |stage: &Examples| [1, 4].map(|threads| run(stage, threads).unwrap().0);
    assert_eq!(digests(&labelled("{{ metadata.topic }}")), ["21ac9d10a81944e5"; 2]);
    assert_eq!(digests(&answered("{{ text }}", "{{ id }}")), ["cea59053036db7cd"; 2]);
}

#[test]
fn clusters_stay_with_their_examples() {
    let maker = labelled("x");
    let maker = Maker::new(&maker).unwrap();
    let row =
        Row { index: 0, document: document(1), cluster: Some(Cluster { id: 255, size: 2 }), added: None };
    let example = maker.example(row).unwrap().unwrap();
    assert_eq!(example.metadata["cluster"], "00000000000000ff");
    let row = Row { index: 0, document: example, cluster: None, added: None };
    assert_eq!(maker.example(row).unwrap().unwrap().metadata["cluster_size"], "2");
}

#[test]
fn a_field_that_is_missing_is_an_error_with_the_document() {
    let error = |label: &str| run(&labelled(label), 1).unwrap_err().to_string();
    assert_eq!(error("{{ metadata.other }}"), "`label` fails for document `d0`: undefined value (line 1)");
    assert!(error("{{ titel }}").starts_with("`label` fails for document `d0`: undefined value"));
    assert_eq!(run(&labelled("{{ metadata.other | default('') }}"), 1).unwrap().2[0], 0.0);
}

#[test]
fn templates_are_bounded() {
    let error = |stage: &Examples| run(stage, 1).unwrap_err().to_string();
    let endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}x";
    assert!(error(&labelled(endless)).contains("ran out of fuel"), "{}", error(&labelled(endless)));
    let long = "{% for a in range(3000) %}{{ '0123456789' * 100 }}{% endfor %}";
    let large = Examples { text_mib_max: 1, text: long.into(), ..labelled("x") };
    assert_eq!(error(&large), "`text` fails for document `d0`: its output exceeds 1 MiB");
    assert!(error(&labelled("a\nb")).contains("on one line"));
}

#[test]
fn templates_reach_no_files() {
    for template in ["{% include 'text' %}", "{% import '/etc/passwd' as x %}{{ x }}", "{{ self }}"] {
        let stage = labelled(template);
        assert!(!stage.check().is_empty() || run(&stage, 1).is_err(), "{template}");
    }
}

#[test]
fn bad_settings_are_named_by_their_path() {
    let paths = |stage: Examples| stage.check().into_iter().map(|misfit| misfit.path).collect::<Vec<_>>();
    assert_eq!(paths(Examples::default()), ["label"]);
    assert_eq!(paths(labelled("{{ x")), ["label"]);
    assert_eq!(paths(Examples { label: "x".into(), ..answered("a", "b") }), ["label"]);
    assert_eq!(paths(answered("", "b")), ["prompt"]);
    assert_eq!(paths(Examples { text_mib_max: 0, ..labelled("x") }), ["text_mib_max"]);
    assert_eq!(paths(answered("{{ a }}", "{% if %}")), ["prompt", "answer"]);
}

#[test]
fn names_that_stand_for_nothing_are_found_before_a_run() {
    let faults = |template: &str| -> Vec<String> {
        labelled(template).check().into_iter().map(|misfit| misfit.message).collect()
    };
    for (template, message) in [
        ("{{ titel }}", "uses an unknown variable, `titel`"),
        ("{% if false %}{{ topic.name }}{% endif %}x", "uses an unknown variable, `topic`"),
        ("{{ text | uper }}", "uses an unknown filter, `uper`"),
        ("{% if false %}{{ text|trim|lowercase }}{% endif %}x", "uses an unknown filter, `lowercase`"),
        ("{% filter shout %}x{% endfilter %}", "uses an unknown filter, `shout`"),
        ("{% if text is not numeric %}x{% endif %}", "uses an unknown test, `numeric`"),
        ("{{ now() }}", "uses an unknown variable, `now`"),
        ("{{ text.upper() }}", "uses `text.upper`, but `text` is a text, without attributes and methods"),
    ] {
        assert_eq!(faults(template), [message], "{template}");
    }
    for template in [
        "{{ metadata.topic | default('') | upper }}",
        "{% for m in metadata.messages %}{{ loop.index }}{{ m.content | trim }}{% endfor %}",
        "{% if url is defined and url %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}{{ x }}",
        "{% set ns = namespace(n=0) %}{% set ns.n = 1 %}{{ ns.n }} {{ range(3) | join('|') }}",
        "{% raw %}{{ this | nothing }}{% endraw %}{# {{ that }} #}{{ 'a | b' }}",
        "{{ metadata.is | string }}{{ (url | split('/'))[3] }}{{ date[:4] | int }}",
    ] {
        assert_eq!(faults(template), [""; 0], "{template}");
    }
}

#[test]
fn lists_and_objects_of_the_metadata_are_lists_and_objects() {
    let messages = r#"[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]"#;
    let facts = [("messages", messages), ("note", "[sic]"), ("stats", r#"{"stars":4.50,"n":12}"#)];
    let document = Document {
        id: "d".into(),
        text: "T".into(),
        metadata: facts.map(|(name, fact)| (name.to_owned(), fact.to_owned())).into(),
        ..Document::default()
    };
    let written = |template: &str| {
        let stage = answered(template, "A");
        let row = Row { index: 0, document: document.clone(), cluster: None, added: None };
        Maker::new(&stage).unwrap().example(row).map(|example| example.unwrap().metadata[PROMPT].clone())
    };
    let chat = "{% for m in metadata.messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    assert_eq!(written(chat).unwrap(), "user: Hi\nassistant: Hello\n");
    assert_eq!(
        written("{{ metadata.messages[1].content }}{{ metadata.messages | length }}").unwrap(),
        "Hello2"
    );
    assert_eq!(written("{{ metadata.messages }}").unwrap(), messages);
    assert_eq!(
        written("{{ metadata.messages[0] | tojson }}").unwrap(),
        r#"{"content": "Hi", "role": "user"}"#
    );
    assert_eq!(written("{{ metadata.note | upper }}").unwrap(), "[SIC]");
    assert_eq!(written("{{ metadata.stats.stars }} {{ metadata.stats.n + 1 }}").unwrap(), "4.50 13");
    assert!(written("{{ metadata.stats.none }}").unwrap_err().to_string().contains("undefined"));
    assert!(written("{{ metadata.messages[7].role }}").is_err());
}

#[test]
fn metadata_that_no_document_has_is_found_before_a_run() {
    let known = |facts: Facts| {
        let mut inputs = KnownInputs::default();
        inputs.connect("documents", pipe_stage::KnownInput { facts, ..Default::default() });
        inputs
    };
    let names = |names: &[&str]| facts_of_metadata(names.iter().map(|name| (*name).to_owned()).collect());
    let check = |stage: &Examples, facts| -> Vec<(String, String)> {
        let misfits = stage.check_known(&known(facts)).into_iter();
        misfits.map(|misfit| (misfit.path, misfit.message)).collect()
    };
    let stage = answered(
        "{{ metadata.topic }} {{ metadata.messages[0].content }}",
        "{{ metadata['a.b'] }} {{ text }}",
    );
    assert_eq!(check(&stage, names(&["topic", "messages"])), []);
    assert_eq!(check(&stage, Facts::default()), []);
    let message = |name: &str| format!("no document has `{name}` in its metadata, which contains `topics`");
    let expected = ["messages", "topic"].map(|name| ("prompt".to_owned(), message(name)));
    assert_eq!(check(&stage, names(&["topics"])), expected);
    let own = known(labelled("{{ url }}").facts("examples", &KnownInputs::default()));
    assert_eq!(answered("{{ metadata.label }}", "{{ metadata.cluster }}").check_known(&own), []);
}

#[test]
fn templates_of_documents_without_text_use_metadata() {
    let known = |which: WithoutText| {
        let facts = facts_of_metadata(["messages".to_owned()].into()).with(WITHOUT_TEXT, which);
        let mut inputs = KnownInputs::default();
        inputs.connect("documents", pipe_stage::KnownInput { facts, ..Default::default() });
        inputs
    };
    let check = |stage: &Examples, which| -> Vec<(String, String)> {
        let misfits = stage.check_known(&known(which)).into_iter();
        misfits.map(|misfit| (misfit.path, misfit.message)).collect()
    };
    let message =
        "uses `text`, but the documents have none, since `columns.text` of their `ingest` is null".to_owned();
    assert_eq!(
        check(&labelled("{{ metadata.messages[0].role }}"), WithoutText::All),
        [("text".to_owned(), message.clone())]
    );
    let stage = answered("{{ text }}", "{{ metadata.messages[0].content }}");
    assert_eq!(check(&stage, WithoutText::All), [("prompt".to_owned(), message)]);
    assert_eq!(check(&stage, WithoutText::Some), []);
    let chat = answered("{{ metadata.messages[0].content }}", "{{ metadata.messages[1].content }}");
    assert_eq!(check(&chat, WithoutText::All), []);
}
