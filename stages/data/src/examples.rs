//! Documents → examples of a task, by templates over their fields. Nothing here depends on models.
//!
//! ```text
//! an example                 a document, so that `split`, `dedup` and other stages accept it
//! ├── id, url, source, ...   those of the original document
//! ├── text                   input of a model: `text`, or `prompt` followed by `answer`
//! └── metadata
//!     ├── label              of labelled examples
//!     ├── prompt, answer     of the others
//!     └── cluster, cluster_size    of the document, if `dedup` added them; as `pipe get` writes them
//! ```

mod facts;
mod templates;

use crate::documents::{
    Column, DOCUMENTS, Document, DocumentReader, DocumentWriter, METADATA_HELP, Row, facts_of_metadata,
    has_no_text, missing_metadata,
};
use crate::none_left;
use minijinja::{Environment, ErrorKind, Value};
use pipe_stage::{
    Code, Context, Error, Facts, In, Inputs, KnownInputs, Misfit, Out, Port, Result, Share, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use templates::{environment, faults, metadata_of, told, variables_of};

/// Makes labelled examples, or prompts with answers, from documents, by templates over their fields.
///
/// `finetune` and `eval` accept labelled examples like documents; `label` is then left out there. Templates use the
/// language of Jinja and see `id`, `text`, `url`, `source`, `language`, `license`, `date` and `metadata`, as in `{{
/// metadata.topic }}` or `{{ (url | split('/'))[3] }}`. Lists and objects in the metadata are lists and objects in
/// templates, as in `{{ metadata.messages[0].content }}`; printed as a whole, they are JSON. An undefined field is an
/// error that names the document; `{{ metadata.topic | default('') }}` sets a default. Documents with an empty label,
/// prompt or answer are skipped and counted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Examples {
    /// Template of the text of a labelled example. The default is the document's text.
    pub text: String,
    /// Template of the label, a few words on one line; surrounding white space is removed.
    pub label: String,
    /// Template of a prompt; used with `answer`, instead of `text` and `label`.
    pub prompt: String,
    /// Template of the answer to the prompt.
    pub answer: String,
    /// Maximum size of an example's text in MiB, 1 to 128; a larger one is an error. The limit keeps a template from
    /// using up the memory.
    pub text_mib_max: u32,
}

impl Default for Examples {
    fn default() -> Self {
        Self {
            text: "{{ text }}".to_owned(),
            label: String::new(),
            prompt: String::new(),
            answer: String::new(),
            text_mib_max: 16,
        }
    }
}

/// Key of a label in the metadata of an example.
pub const LABEL: &str = "label";
/// Key of a prompt in the metadata of an example.
pub const PROMPT: &str = "prompt";
/// Key of the answer in the metadata of an example.
pub const ANSWER: &str = "answer";

/// Keys of a document's cluster and its size, as `pipe get` writes them.
const CLUSTERS: [&str; 2] = ["cluster", "cluster_size"];

/// Maximum size of a label in bytes.
const LABEL_BYTES_MAX: usize = 1024;
/// The variables of a template, from a document.
const FIELDS: [&str; 8] = ["id", TEXT, "url", "source", "language", "license", "date", METADATA];
const TEXT: &str = "text";
const METADATA: &str = "metadata";

const SOURCE: In = In::new("documents", &DOCUMENTS, "Documents to make examples of.");
const EXAMPLES: Out =
    Out::main("examples", &DOCUMENTS, "The examples, one shard for each shard of documents.");

const METRICS: [&str; 3] = ["examples", "characters", "left_out"];

impl Stage for Examples {
    const NAME: &'static str = "examples";
    /// History: 1: initial version. 2: lists and objects in the metadata are lists and objects in templates.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[SOURCE.port(), EXAMPLES.port()];

    fn check(&self) -> Vec<Misfit> {
        let has_label = !self.label.is_empty();
        let has_answer = !self.prompt.is_empty() || !self.answer.is_empty();
        let both = "conflicts with `prompt` and `answer`: examples have either a label or an answer";
        let own = [
            Misfit::unless(has_label || has_answer, "label", "is missing")
                .map(|misfit| misfit.help("set `label`, or `prompt` and `answer`")),
            Misfit::unless(!(has_label && has_answer), "label", both),
            Misfit::unless(!(has_answer && self.prompt.is_empty()), "prompt", "is required with `answer`"),
            Misfit::unless(!(has_answer && self.answer.is_empty()), "answer", "is required with `prompt`"),
            Misfit::unless(has_answer || !self.text.is_empty(), "text", "is empty"),
            Misfit::unless((1..=128).contains(&self.text_mib_max), "text_mib_max", "must be from 1 to 128"),
        ];
        let templates = self.templates().into_iter().flat_map(|(name, source)| faults(name, source));
        own.into_iter().flatten().chain(templates).collect()
    }

    fn facts(&self, output: &str, _: &KnownInputs) -> Facts {
        let own: &[&str] = if self.label.is_empty() { &[PROMPT, ANSWER] } else { &[LABEL] };
        match output == EXAMPLES.name() {
            true => facts_of_metadata(own.iter().chain(&CLUSTERS).map(|name| (*name).to_owned()).collect()),
            false => Facts::default(),
        }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        for (field, source) in self.templates() {
            let missing = metadata_of(source).into_iter();
            let missing = missing.filter_map(|name| missing_metadata(inputs, SOURCE, &name));
            misfits.extend(missing.map(|message| Misfit::new(field, message).help(METADATA_HELP)));
            let reads_text = has_no_text(inputs, SOURCE) && variables_of(source).contains(TEXT);
            let message =
                "uses `text`, but the documents have none, since `columns.text` of their `ingest` is null";
            let misfit = Misfit::unless(!reads_text, field, message);
            misfits.extend(misfit.map(|misfit| misfit.help(format!("use their `{METADATA}` instead"))));
        }
        misfits
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let examples = ctx.each("examples", self, ctx.input(SOURCE).shards(), make)?;
        let [made, _, left_out] = METRICS.map(|name| ctx.value(name));
        if made == 0.0 {
            let reason = "an empty text, label, prompt or answer".to_owned();
            none_left::warn(ctx, "no examples are left", [(left_out as u64, reason)]);
        }
        ctx.output(EXAMPLES, examples.entries(EXAMPLES.name()))
    }
}

impl Examples {
    /// The templates in use, by field.
    fn templates(&self) -> Vec<(&'static str, &str)> {
        let labelled = [(TEXT, self.text.as_str()), (LABEL, &self.label)];
        let answered = [(PROMPT, self.prompt.as_str()), (ANSWER, &self.answer)];
        if self.label.is_empty() { answered.to_vec() } else { labelled.to_vec() }
    }
}

/// Makes the examples of a shard.
fn make(examples: &Examples, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let columns: Vec<Column> = Column::ALL.into_iter().filter(|column| *column != Column::Html).collect();
    let rows = DocumentReader::of_entry(&inputs.item().entries()[0])?.columns(&columns).rows()?;
    let maker = Maker::new(examples)?;
    let mut writer = DocumentWriter::new(share.file(EXAMPLES.name())?)?;
    let (mut left_out, mut characters) = (0, 0);
    for row in share.track("documents", rows) {
        match maker.example(row??)? {
            Some(example) => {
                characters += example.text.chars().count() as u64;
                writer.push(&example)?;
            }
            None => left_out += 1,
        }
    }
    share.counts(METRICS, [writer.rows(), characters, left_out]);
    if writer.rows() > 0 {
        share.keep(writer.finish()?)?;
    }
    Ok(())
}

/// Makes examples; the templates are compiled once.
struct Maker<'e> {
    examples: &'e Examples,
    templates: Environment<'static>,
}

/// A document as the value of [`FIELDS`].
fn fields(document: &Document) -> Value {
    let Document { id, text, url, source, language, license, date, metadata, html: _, media_type: _ } =
        document;
    let metadata = metadata.iter().map(|(name, fact)| (name.as_str(), facts::value(fact)));
    let texts =
        [id, text, url, source, language, license, date].into_iter().map(|text| Value::from(text.as_str()));
    Value::from_pairs(FIELDS.into_iter().zip(texts.chain([Value::from_pairs(metadata)])))
}

impl<'e> Maker<'e> {
    fn new(examples: &'e Examples) -> Result<Self> {
        let mut templates = environment();
        for (name, source) in examples.templates() {
            let added = templates.add_template_owned(name, source.to_owned());
            added.map_err(|error| {
                Error::input(format!("`{name}` is not a valid template: {}", told(&error)))
            })?;
        }
        Ok(Self { examples, templates })
    }

    /// Makes an example; none if a part of it is empty.
    fn example(&self, mut row: Row) -> Result<Option<Document>> {
        row.note_added();
        let Row { mut document, cluster, .. } = row;
        let (fields, id) = (fields(&document), &document.id);
        let (text, facts) = if self.examples.label.is_empty() {
            let (prompt, answer) = (self.render(PROMPT, &fields, id)?, self.render(ANSWER, &fields, id)?);
            let text = format!("{prompt}{answer}");
            (text, vec![(PROMPT, prompt), (ANSWER, answer)])
        } else {
            let label = self.render(LABEL, &fields, id)?.trim().to_owned();
            if label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
                let message = format!("the label of document `{id}` is not a few words on one line");
                return Err(Error::input(message).help(format!("see `label`: `{}`", self.examples.label)));
            }
            (self.render(TEXT, &fields, id)?, vec![(LABEL, label)])
        };
        if text.trim().is_empty() || facts.iter().any(|(_, fact)| fact.trim().is_empty()) {
            return Ok(None);
        }
        let mut metadata: BTreeMap<String, String> =
            facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
        for name in CLUSTERS {
            metadata.extend(document.metadata.remove(name).map(|fact| (name.to_owned(), fact)));
        }
        if let Some(cluster) = cluster {
            let [id, size] = CLUSTERS.map(str::to_owned);
            metadata.extend([(id, format!("{:016x}", cluster.id)), (size, cluster.size.to_string())]);
        }
        Ok(Some(Document { text, metadata, html: None, ..document }))
    }

    fn render(&self, name: &str, fields: &Value, id: &str) -> Result<String> {
        let bytes_max = (self.examples.text_mib_max as usize) << 20;
        let mut bounded = Bounded { bytes: Vec::new(), bytes_max };
        let template = self.templates.get_template(name);
        let rendered =
            template.and_then(|template| template.render_captured_to(fields, &mut bounded).map(drop));
        rendered.map_err(|error| {
            let help = match error.kind() {
                ErrorKind::UndefinedError => "`default('')` sets a value for missing fields",
                ErrorKind::OutOfFuel => "a template may take at most 100,000 instructions per document",
                ErrorKind::WriteFailure => "see `text_mib_max`",
                _ => "see `pipe stages examples`",
            };
            let what = match error.kind() {
                ErrorKind::WriteFailure => format!("its output exceeds {} MiB", self.examples.text_mib_max),
                _ => told(&error),
            };
            Error::input(format!("`{name}` fails for document `{id}`: {what}")).help(help)
        })?;
        String::from_utf8(bounded.bytes)
            .map_err(|_| Error::input(format!("`{name}` produces no text for document `{id}`")))
    }
}

/// Collects bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
