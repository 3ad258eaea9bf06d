//! The warning of a stage whose output has no documents: what took most of those that came in.

use pipe_stage::Context;

/// Warns that `what` is empty. `reasons` say what happened to the documents that came in, each with their number.
pub(crate) fn warn(ctx: &Context, what: &str, reasons: impl IntoIterator<Item = (u64, String)>) {
    let reasons: Vec<(u64, String)> = reasons.into_iter().collect();
    let came: u64 = reasons.iter().map(|(count, _)| count).sum();
    // Of equal numbers the first.
    let largest = reasons.into_iter().rev().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0);
    let why = largest.map_or_else(
        || "no documents came in".to_owned(),
        |(count, reason)| format!("main reason: {reason} ({count} of {came})"),
    );
    ctx.note(format!("warning: {what}; {why}"));
}

#[cfg(test)]
mod tests {
    use crate::documents::Document;
    use crate::examples::Examples;
    use crate::testing::{put_documents, put_full_documents, words};
    use crate::{Clean, Dedup, Split};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Artifact, Event, Stage};

    /// What a stage notes about its input.
    fn notes(bench: &Bench, stage: &impl Stage, documents: &Artifact) -> Vec<String> {
        bench.run(stage, &[("documents", documents)]).unwrap();
        let note = |event| if let Event::Note { message } = event { Some(message) } else { None };
        bench.events.lock().unwrap().drain(..).filter_map(note).collect()
    }

    #[test]
    fn the_main_reason_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let text = |n: usize| (format!("d{n}"), if n == 0 { String::new() } else { words(n, 5) });
        let documents = put_documents(&bench, &[(0..4).map(text).collect()]);
        let found = notes(&bench, &Clean::default(), &documents);
        let expected = "warning: no documents are left; main reason: dropped by `characters_min`, see the \
            output `dropped` (4 of 4)";
        assert_eq!(found, [expected]);
        let none = Split { validation: 0.0, test: 0.0, ..Split::default() };
        assert_eq!(notes(&bench, &none, &documents), [""; 0]);
        let some = Split { validation: 1e-9, test: 0.0, ..Split::default() };
        let expected =
            "warning: the set `validation` has no documents; main reason: they are in `train` (4 of 4)";
        assert_eq!(notes(&bench, &some, &documents), [expected]);
        let labelled = Examples { label: "{{ language }}".into(), ..Examples::default() };
        let unlabelled = Document { id: "d".into(), text: "T".into(), ..Document::default() };
        let documents = put_full_documents(&bench, &[vec![unlabelled]]);
        let expected =
            "warning: no examples are left; main reason: an empty text, label, prompt or answer (1 of 1)";
        assert_eq!(notes(&bench, &labelled, &documents), [expected]);
    }

    #[test]
    fn an_input_without_documents_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let nothing = put_documents(&bench, &[]);
        let expected = ["warning: no documents are left; no documents came in"];
        assert_eq!(notes(&bench, &Clean::default(), &nothing), expected);
        assert_eq!(notes(&bench, &Dedup::default(), &nothing), expected);
        let split = notes(&bench, &Split { test: 0.0, ..Split::default() }, &nothing);
        let of = |set: &str| format!("warning: the set `{set}` has no documents; no documents came in");
        assert_eq!(split, ["train", "validation"].map(of));
    }
}
