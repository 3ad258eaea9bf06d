//! What a training reports: texts, labels, and figures on held-out documents.
//!
//! ```text
//! report.json
//! ├── version                 1
//! ├── train, held_out         numbers of documents
//! ├── unlabelled, empty       documents without a label, or without text; they were not used
//! ├── left_out[]              labels with too few documents, and their numbers
//! ├── sharpness               what scores were multiplied by to make probabilities true; null if nothing was held out
//! └── figures                 of the held-out documents: accuracy, macro_f1, calibration_error, labels[], bins[]
//! ```

use pipe_linear::Report as Figures;
use serde::{Deserialize, Serialize};

use super::kind::printable;

/// The file `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) train: u64,
    pub(crate) held_out: u64,
    pub(crate) unlabelled: u64,
    pub(crate) empty: u64,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) sharpness: Option<f64>,
    pub(crate) figures: Figures,
}

/// A label without enough documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) label: String,
    pub(crate) documents: u64,
}

impl Report {
    /// The report for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Figures { accuracy, macro_f1, calibration_error, labels, .. } = &self.figures;
        let mut lines = vec![
            format!("trained on {} documents; held out: {}", self.train, self.held_out),
            format!(
                "accuracy {accuracy:.4}, macro F1 {macro_f1:.4}, calibration error {calibration_error:.4}"
            ),
            format!("{:<20} {:>9} {:>9} {:>9} {:>9}", "label", "documents", "precision", "recall", "F1"),
        ];
        lines.extend(labels.iter().map(|label| {
            let name = printable(&label.label);
            let (precision, recall) = (label.precision, label.recall);
            format!("{name:<20} {:>9} {precision:>9.4} {recall:>9.4} {:>9.4}", label.support, label.f1)
        }));
        let left_out = self.left_out.iter();
        lines.extend(left_out.map(|label| {
            format!("{:<20} {:>9} left out: too few documents", printable(&label.label), label.documents)
        }));
        lines
    }
}
