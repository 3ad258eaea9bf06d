//! Step `texts`: pages → texts, each with its language. Every page is a row, whatever becomes of it, so that rules and
//! thresholds can change without reading a page again.
//!
//! Owns: extraction, repair and language, in this order, for one document.

use super::html::{Limits, Refusal, extract};
use super::language::{Detector, canonical};
use super::repair::repair;
use super::{METRICS, NOTES, shown};
use crate::classifier::{model_entry, open};
use crate::documents::{DOCUMENT_BYTES_MAX, Document, DocumentReader, DocumentWriter};
use pipe_linear::Scratch;
use pipe_stage::{Inputs, Result, Share};
use schemars::JsonSchema;
use serde::Serialize;

/// The slot of the texts.
pub(super) const TEXTS: &str = "texts";

/// The entry of the metadata that says why a page has no text: a code of [`Refusal`], and the reason.
pub(super) const REFUSED: &str = "refused";

/// What the texts depend on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Texts {
    /// Whether all documents are source code.
    pub(super) is_code: bool,
    pub(super) language_score_min: f64,
    pub(super) elements_max: u32,
}

/// Makes texts of a shard of pages. A second entry is the model of a language detector.
pub(super) fn make_texts(texts: &Texts, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let detector = match &entries[1..] {
        [] => Detector::Whatlang,
        model => Detector::of_model(open(model_entry(model)?)?),
    };
    // The metrics of the stage begin with these, whatever the steps before `kept` count.
    share.counts(METRICS, [0; METRICS.len()]);
    let mut scratch = Scratch::default();
    let mut file = DocumentWriter::new(share.file(TEXTS)?)?;
    for row in share.track("documents", DocumentReader::of_entry(&entries[0])?.rows()?) {
        file.push(&texts.text_of(row??.document, &detector, &mut scratch))?;
    }
    share.keep(file.finish()?)?;
    Ok(())
}

impl Texts {
    /// The text of a document, repaired, with its language.
    pub(super) fn text_of(
        &self,
        mut document: Document,
        detector: &Detector,
        scratch: &mut Scratch,
    ) -> Document {
        let mut declared = document.language.clone();
        let media_type = std::mem::take(&mut document.media_type);
        // Of documents that another `clean` dropped.
        document.metadata.remove(REFUSED);
        if let Some(html) = document.html.take() {
            let media_type = Some(media_type.as_str()).filter(|media_type| !media_type.is_empty());
            match extract(&html, media_type, self.limits()) {
                Ok(page) => {
                    document.text = page.text;
                    if !page.language.is_empty() {
                        declared = page.language;
                    }
                    note(&mut document, NOTES[0], page.title);
                    if document.url.is_empty() {
                        document.url = page.canonical;
                    }
                }
                Err(refusal) => {
                    let setting = match refusal {
                        Refusal::TooManyNodes(_) => ", the limit `elements_max`",
                        _ => "",
                    };
                    note(&mut document, REFUSED, format!("{}: {refusal}{setting}", refusal.code()));
                    return document;
                }
            }
        }
        if self.is_code || is_code(&document) {
            // Source code is kept as it is; only a byte order mark is removed.
            if let Some(text) = document.text.strip_prefix('\u{FEFF}') {
                document.text = text.to_owned();
            }
            return document;
        }
        document.text = repair(&document.text);
        let detected = detector.detect(&document.text, scratch);
        let declared = canonical(&declared);
        document.language = detector.decide(detected, &declared, self.language_score_min);
        note(&mut document, NOTES[1], declared);
        note(&mut document, NOTES[2], detected.map(|found| shown(found.score)).unwrap_or_default());
        document
    }

    fn limits(&self) -> Limits {
        // `ingest` has already checked that the file can be represented.
        Limits { nodes_max: self.elements_max as usize, bytes_max: DOCUMENT_BYTES_MAX }
    }
}

/// Whether `ingest` read a document as source code.
pub(super) fn is_code(document: &Document) -> bool {
    document.metadata.get("format").is_some_and(|format| format == "code")
}

fn note(document: &mut Document, name: &str, fact: String) {
    if !fact.is_empty() {
        document.metadata.insert(name.to_owned(), fact);
    }
}
