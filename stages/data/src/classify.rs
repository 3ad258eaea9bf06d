//! Owns: scores of documents by a classifier, as columns added to a view. The classifier is in [`crate::classifier`].
//! Nothing here depends on threads, caches or the manifest.

use std::collections::BTreeMap;

use pipe_linear::{Model, Scratch};
use pipe_stage::{
    Code, Context, Error, Facts, In, Inputs, KnownInputs, Misfit, Out, Port, Result, RoaringBitmap, Share,
    Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::classifier::{CLASSIFIER, beginning, model_entry, open, printable};
use crate::documents::{
    AddedColumn, CLUSTER, CLUSTER_SIZE, Column, DOCUMENTS, DocumentReader, facts_passed_on, lacks_text,
};

/// Adds the labels and probabilities of a classifier to documents.
///
/// The text is not copied: the output is a view of the input with added columns, which `filter`, `dedup` (`score`),
/// `classifier` and `examples` read as facts about documents. `pipe get` writes them into the metadata.
///
/// A document without any word or n-gram that the model knows gets an empty label, and probabilities of 0; the metric
/// `unknown` counts them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Classify {
    /// Name of the column with the most probable label; its probability is in a second column, with `_score` after the
    /// name. The default is `label`; null adds neither.
    pub column: Option<String>,
    /// Further columns, each with the probability of a label: `{toxicity: toxic}`.
    pub probabilities: BTreeMap<String, String>,
    /// Number of characters of a document that are read, from its beginning. The default 2,000 is that of `classifier`.
    pub characters: u32,
}

impl Default for Classify {
    fn default() -> Self {
        Self { column: Some("label".into()), probabilities: BTreeMap::new(), characters: 2000 }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Documents with text.");
const MODEL: In = In::new("model", &CLASSIFIER, "The classifier.");
const OUTPUT: Out = Out::main("documents", &DOCUMENTS, "The same documents, with added columns.");

const METRICS: [&str; 2] = ["documents", "unknown"];
/// Names of metrics with the number of documents of a label.
const OF_LABEL: &str = "label.";
/// A column cannot hold 2 GiB.
const COLUMN_BYTES_MAX: usize = 1 << 30;
/// For models with more labels, documents are not counted by label.
const LABELS_COUNTED_MAX: usize = 256;

impl Classify {
    /// Names of the added columns.
    fn columns(&self) -> Vec<String> {
        let best = self.column.iter().flat_map(|column| [column.clone(), score_of(column)]);
        best.chain(self.probabilities.keys().cloned()).collect()
    }
}

/// The name of the column with the probability of the most probable label.
fn score_of(column: &str) -> String {
    format!("{column}_score")
}

impl Stage for Classify {
    const NAME: &'static str = "classify";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), MODEL.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        let columns = self.columns();
        let mut faults: Vec<Misfit> = [
            Misfit::unless(
                !columns.is_empty(),
                "column",
                "must be given, unless `probabilities` names columns",
            ),
            Misfit::unless(self.characters > 0, "characters", "must be at least 1"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let best = self.column.iter().map(|column| ("column".to_owned(), column));
        let others = self.probabilities.keys().map(|column| (format!("probabilities.{column}"), column));
        for (path, column) in best.chain(others) {
            let count = columns.iter().filter(|other| *other == column).count();
            let message = match column.as_str() {
                "" => "must not be empty",
                CLUSTER | CLUSTER_SIZE => "is a column of `dedup`",
                _ if count > 1 => "is the name of two columns",
                _ => continue,
            };
            faults.push(Misfit::new(path, message));
        }
        faults
    }

    fn facts(&self, _: &str, inputs: &KnownInputs) -> Facts {
        let columns = self.columns();
        facts_passed_on(inputs, INPUT, &columns.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.into_iter().map(str::to_owned).chain([format!("{OF_LABEL}*")]).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let model = &ctx.input(MODEL).entries;
        let model = model.iter().find(|entry| crate::classifier::is_model(&entry.name));
        let shards = ctx.input(INPUT).shards().into_iter().map(|shard| shard.with(model.cloned()));
        let scored = ctx.each("scores", self, shards.collect(), score)?;
        ctx.output(OUTPUT, scored.entries(OUTPUT.name()))
    }
}

/// Where the label of each column is in the model.
fn places(classify: &Classify, model: &Model) -> Result<Vec<usize>> {
    let place = |(column, label): (&String, &String)| {
        let place = model.labels().iter().position(|known| known == label);
        place.ok_or_else(|| {
            const SHOWN: usize = 20;
            let known: Vec<String> =
                model.labels().iter().take(SHOWN).map(|label| format!("`{label}`")).collect();
            let more = if model.labels().len() > SHOWN { ", …" } else { "" };
            Error::input(format!("`probabilities.{column}`: the model has no label `{label}`"))
                .help(format!("its labels are {}{more}", known.join(", ")))
        })
    };
    classify.probabilities.iter().map(place).collect()
}

/// Adds the columns of a shard.
fn score(classify: &Classify, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entries = inputs.item().entries();
    let model = open(model_entry(&entries[1..])?)?;
    let places = places(classify, &model)?;
    let reader = DocumentReader::of_entry(&entries[0])?.columns(&[Column::Id, Column::Text]);
    let rows = reader.rows_total() as u32;
    let mut added = reader.added().cloned().unwrap_or_default();
    let selected = entries[0].selection()?.unwrap_or_else(|| (0..rows).collect::<RoaringBitmap>());
    let count = rows as usize;
    let (mut labels, mut best) = (vec![String::new(); count], vec![0.0; count]);
    let mut probabilities = vec![vec![0.0; count]; places.len()];
    let (mut documents, mut unknown) = (0, 0);
    let mut counts = vec![0_u64; model.labels().len()];
    let mut scratch = Scratch::default();
    for row in share.track("documents", reader.rows()?) {
        let row = row??;
        documents += 1;
        let text = beginning(&row.document.text, classify.characters);
        let Some(shares) = model.probabilities(text, &mut scratch) else {
            unknown += 1;
            continue;
        };
        let at = row.index as usize;
        for (column, place) in probabilities.iter_mut().zip(&places) {
            column[at] = shares[*place];
        }
        // Of equal probabilities the first label.
        let first = shares.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
        if let Some((label, share)) = first {
            labels[at].clone_from(&model.labels()[label]);
            best[at] = *share;
            counts[label] += 1;
        }
    }
    if labels.iter().map(String::len).sum::<usize>() > COLUMN_BYTES_MAX {
        let message = "the labels of a shard have more than 1 GiB: those of the model are too long";
        return Err(Error::input(message).help("set `column` to null, and name labels in `probabilities`"));
    }
    if let Some(column) = &classify.column {
        added.insert(column, AddedColumn::Utf8(labels))?;
        added.insert(&score_of(column), AddedColumn::F32(best))?;
    }
    for (column, values) in classify.probabilities.keys().zip(probabilities) {
        added.insert(column, AddedColumn::F32(values))?;
    }
    let columns = added.write(share.file("columns")?)?;
    share.view(OUTPUT.name(), &entries[0], rows, selected, Some(columns))?;
    share.counts(METRICS, [documents, unknown]);
    if model.labels().len() <= LABELS_COUNTED_MAX {
        for (label, count) in model.labels().iter().zip(counts).filter(|(_, count)| *count > 0) {
            share.count(format!("{OF_LABEL}{}", printable(label)), count);
        }
    }
    Ok(())
}
