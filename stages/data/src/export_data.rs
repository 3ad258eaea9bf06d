//! Documents and tokens → files of other programs. Nothing here decides what is in them.

mod megatron;

mod tfrecord;

use crate::documents::{DOCUMENTS, Document, DocumentReader};
use crate::lines::{write_buffered, write_json_line};
use crate::memo::Memo;
use crate::tokenizer::encode::Tokenizer;
use crate::tokenizer::json::{TOKENIZER, TOKENIZER_JSON};
use crate::tokens::{TOKENS, TokensReader};
use pipe_stage::{
    Code, Context, Error, FILES, In, Inputs, Item, KnownInputs, LocalEntry, Misfit, Name, Out, Port, Result,
    Share, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// Writes documents or tokens as files for other programs.
///
/// `jsonl`, `parquet` and `tfrecord` write one file per shard. `nanogpt` and `megatron` write all tokens of the input into
/// `data.bin`, and Megatron-LM's index into `data.idx`; each document ends with the tokenizer's end-of-document token, so they
/// need the tokenizer as well.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportData {
    /// Format of the files: `jsonl` (the default), `parquet`, `tfrecord`, and for tokens also `nanogpt` or `megatron`.
    pub format: DataFormat,
    /// Whether JSON Lines are compressed with zstd (`.jsonl.zst`).
    pub compress: bool,
}

/// Format of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataFormat {
    /// One JSON object per line.
    #[default]
    Jsonl,
    /// Parquet, with the columns that the formats reference describes.
    Parquet,
    /// TensorFlow's records of `tf.train.Example`.
    Tfrecord,
    /// A list of ids, `u16` or `u32`, as nanoGPT and llm.c read it.
    Nanogpt,
    /// Ids with an index of the documents, as Megatron-LM, NeMo and GPT-NeoX read them.
    Megatron,
}

const DOCUMENTS_IN: In = In::new("documents", &DOCUMENTS, "Documents to write.").optional();
const TOKENS_IN: In = In::new("tokens", &TOKENS, "Tokens to write.").optional();
const TOKENIZER_IN: In =
    In::new("tokenizer", &TOKENIZER, "The tokenizer of the tokens, for `nanogpt` and `megatron`.").optional();
const OUTPUT: Out = Out::main("files", &FILES, "The files.");

const METRICS: [&str; 2] = ["documents", "tokens"];

impl Stage for ExportData {
    const NAME: &'static str = "export-data";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] =
        &[DOCUMENTS_IN.port(), TOKENS_IN.port(), TOKENIZER_IN.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        let compressed = !self.compress || self.format == DataFormat::Jsonl;
        Misfit::unless(compressed, "compress", "is for `jsonl`").into_iter().collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let connected = |port| inputs.is_connected(port);
        let of_tokens = matches!(self.format, DataFormat::Nanogpt | DataFormat::Megatron);
        let one = connected(DOCUMENTS_IN) != connected(TOKENS_IN);
        let tokens = !of_tokens || connected(TOKENS_IN);
        let tokenizer = !of_tokens || connected(TOKENIZER_IN);
        [
            Misfit::unless(one, "", "needs either documents or tokens"),
            Misfit::unless(tokens, "format", "is for tokens")
                .map(|misfit| misfit.help("add a stage `tokenize`")),
            Misfit::unless(tokenizer, "format", "needs the tokenizer, for the token that ends documents")
                .map(|misfit| misfit.help("as in `needs: { tokens: tokens, tokenizer: tok }`")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        Some(METRICS.map(str::to_owned).to_vec())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let step = if let Some(documents) = ctx.optional(DOCUMENTS_IN) {
            ctx.each("documents", self, documents.shards(), write_documents)?
        } else {
            let Some(tokens) = ctx.optional(TOKENS_IN) else {
                return Err(Error::input("needs either documents or tokens"));
            };
            let tokenizer = ctx
                .optional(TOKENIZER_IN)
                .and_then(|tokenizer| tokenizer.entries.iter().find(|entry| entry.name == TOKENIZER_JSON));
            match self.format {
                DataFormat::Nanogpt | DataFormat::Megatron => {
                    let tokenizer = Item::new(TOKENIZER_JSON, tokenizer.cloned());
                    ctx.once("joined", &self.format, vec![tokenizer, tokens.item("tokens")], join_tokens)?
                }
                _ => ctx.each("tokens", self, tokens.shards(), write_tokens)?,
            }
        };
        ctx.output(OUTPUT, step.entries(OUTPUT.name()))
    }
}

/// A document as a line of JSON; what is empty is left out.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    media_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    language: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    license: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    date: &'a str,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    metadata: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> Line<'a> {
    fn of(document: &'a Document) -> Result<Self> {
        let Document { id, text, html, media_type, url, source, language, license, date, metadata } =
            document;
        let html = html.as_deref().map(std::str::from_utf8).transpose().map_err(|_| {
            Error::input(format!("the page of document `{id}` is not UTF-8, which JSON needs"))
                .help("export the output of `clean`, or use the format `parquet`")
        })?;
        let text = (html.is_none() || !text.is_empty()).then_some(text.as_str());
        Ok(Self { id, text, html, media_type, url, source, language, license, date, metadata })
    }
}

fn written(error: io::Error) -> Error {
    Error::io("write", Path::new("an exported file"), &error)
}

/// Writes the documents of a shard.
fn write_documents(export: &ExportData, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry = &inputs.item().entries()[0];
    if export.format == DataFormat::Parquet {
        let rows = DocumentReader::of_entry(entry)?.rows_selected();
        share.count(METRICS[0], rows);
        return as_parquet(entry, DOCUMENTS.materialize, share);
    }
    let mut documents = 0;
    let rows = DocumentReader::of_entry(entry)?.rows()?;
    let mut output = Output::new(export, share)?;
    for row in share.track("documents", rows) {
        let mut row = row??;
        if let Some(cluster) = row.cluster {
            row.document.metadata.insert("cluster".into(), format!("{:016x}", cluster.id));
            row.document.metadata.insert("cluster_size".into(), cluster.size.to_string());
        }
        match export.format {
            DataFormat::Tfrecord => output.write(&tfrecord::of_document(&row.document))?,
            _ => write_json_line(&Line::of(&row.document)?, |line| output.file.write_all(line))?,
        }
        documents += 1;
    }
    share.count(METRICS[0], documents);
    output.keep(share)
}

/// A document's tokens as a line of JSON.
#[derive(Serialize)]
struct TokensLine<'a> {
    id: &'a str,
    ids: &'a [u32],
}

/// Writes the tokens of a shard.
fn write_tokens(export: &ExportData, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry = &inputs.item().entries()[0];
    let (mut documents, mut tokens) = (0, 0);
    let is_parquet = export.format == DataFormat::Parquet;
    let mut output = if is_parquet { None } else { Some(Output::new(export, share)?) };
    for document in share.track("documents", TokensReader::of_entry(entry)?) {
        let (id, ids) = document??;
        documents += 1;
        tokens += ids.len() as u64;
        match (&mut output, export.format) {
            (Some(output), DataFormat::Tfrecord) => output.write(&tfrecord::of_tokens(&id, &ids))?,
            (Some(output), _) => {
                write_json_line(&TokensLine { id: &id, ids: &ids }, |line| output.file.write_all(line))?;
            }
            (None, _) => {}
        }
    }
    share.counts(METRICS, [documents, tokens]);
    match output {
        Some(output) => output.keep(share),
        None => as_parquet(entry, TOKENS.materialize, share),
    }
}

/// Writes a shard, or the selected rows of one, as a file of its own.
fn as_parquet(
    entry: &LocalEntry,
    materialize: fn(&LocalEntry, &Path) -> Result<()>,
    share: &mut Share,
) -> Result<()> {
    let scratch = share.scratch()?;
    let path = scratch.path().join("shard.parquet");
    materialize(entry, &path)?;
    share.import(OUTPUT.name(), Name::Extension(0, "parquet".to_owned()), &path)?;
    Ok(())
}

/// A file that is being written.
struct Output {
    file: Compressed,
}

enum Compressed {
    No(io::BufWriter<pipe_stage::ShareFile>),
    Zstd(zstd::stream::write::Encoder<'static, io::BufWriter<pipe_stage::ShareFile>>),
}

impl Write for Compressed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::No(file) => file.write(bytes),
            Self::Zstd(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::No(file) => file.flush(),
            Self::Zstd(file) => file.flush(),
        }
    }
}

impl Output {
    fn new(export: &ExportData, share: &mut Share) -> Result<Self> {
        const ZSTD_LEVEL: i32 = 3;
        let extension = match (export.format, export.compress) {
            (DataFormat::Tfrecord, _) => "tfrecord",
            (_, false) => "jsonl",
            (_, true) => "jsonl.zst",
        };
        let file = io::BufWriter::new(share.file_with(OUTPUT.name(), extension)?);
        let file = match export.compress {
            true => Compressed::Zstd(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL).map_err(written)?),
            false => Compressed::No(file),
        };
        Ok(Self { file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(written)
    }

    fn keep(self, share: &mut Share) -> Result<()> {
        let buffer = match self.file {
            Compressed::No(file) => file,
            Compressed::Zstd(file) => file.finish().map_err(written)?,
        };
        let file = buffer.into_inner().map_err(|error| written(error.into()))?;
        share.keep(file)?;
        Ok(())
    }
}

/// Writes the tokens of all shards into one file, and the index of the documents. The items are the tokenizer and the
/// tokens.
///
/// Memory: four bytes per document, for the index.
fn join_tokens(format: &DataFormat, inputs: &Inputs, share: &mut Share) -> Result<()> {
    static LAST: Memo<Tokenizer> = Memo::new();
    let [tokenizer, tokens] = inputs.items() else {
        return Err(Error::Panic { message: "an item is missing".into() });
    };
    let tokenizer = tokenizer
        .entries()
        .first()
        .ok_or_else(|| Error::input(format!("the tokenizer has no file `{TOKENIZER_JSON}`")))?;
    let tokenizer = LAST.get(tokenizer, |bytes| Ok(Tokenizer::from_json(bytes)?))?;
    let eos = tokenizer.eos().ok_or_else(|| {
        Error::input("the tokenizer has no token that ends documents")
            .help("add one, such as `<|endoftext|>`")
    })?;
    let is_narrow = tokenizer.vocabulary_size() <= 1 << 16;
    let (mut lengths, mut all) = (Vec::new(), 0_u64);
    let mut file = share.named(OUTPUT.name(), "data.bin")?;
    let mut failed = Ok(());
    write_buffered(&mut file, |file| {
        failed = (|| {
            for entry in tokens.entries() {
                let reader = TokensReader::of_entry(entry)?;
                if reader.metadata().tokenizer_digest != tokenizer.digest() {
                    let message =
                        format!("the tokens of shard `{}` are not those of the tokenizer", entry.name());
                    return Err(Error::input(message).help("use the tokenizer that made the tokens"));
                }
                for document in share.track("documents", reader) {
                    let (id, ids) = document??;
                    let length =
                        u32::try_from(ids.len() + 1).ok().filter(|length| *length <= i32::MAX as u32);
                    lengths.push(length.ok_or_else(|| {
                        Error::input(format!("document `{id}` has over two billion tokens"))
                    })?);
                    all += ids.len() as u64 + 1;
                    for id in ids.into_iter().chain([eos]) {
                        match is_narrow {
                            true => file.write_all(&(id as u16).to_le_bytes()),
                            false => file.write_all(&id.to_le_bytes()),
                        }
                        .map_err(written)?;
                    }
                }
            }
            Ok(())
        })();
        Ok(())
    })?;
    failed?;
    share.keep(file)?;
    if *format == DataFormat::Megatron {
        let mut file = share.named(OUTPUT.name(), "data.idx")?;
        write_buffered(&mut file, |file| megatron::write_index(file, &lengths, is_narrow))?;
        share.keep(file)?;
    }
    share.counts(METRICS, [lengths.len() as u64, all]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Document;
    use crate::testing::{put_documents, put_full_documents, words};
    use crate::tokenizer::TokenizerStage;
    use crate::{Ingest, IngestTokens, Tokenize};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Artifact, Mode, Outcome};

    fn files(bench: &Bench, outcome: &Outcome) -> Vec<(String, Vec<u8>)> {
        let files = bench.open(&bench.output(outcome, "files").unwrap());
        files.iter().map(|file| (file.name().to_owned(), file.bytes().unwrap())).collect()
    }

    fn export(format: DataFormat) -> ExportData {
        ExportData { format, compress: false }
    }

    fn documents(bench: &Bench) -> Artifact {
        let document = |n: usize| Document {
            id: format!("d{n}"),
            text: format!("Text \"{n}\"\n你好"),
            url: if n == 1 { String::new() } else { format!("https://e.org/{n}") },
            metadata: [("stars".to_owned(), n.to_string())].into(),
            ..Document::default()
        };
        put_full_documents(bench, &[(0..3).map(document).collect(), vec![document(3)]])
    }

    fn tokens(bench: &Bench) -> (Artifact, Artifact) {
        let documents: Vec<_> = (0..20).map(|n| (format!("d{n}"), words(n, 10 + n))).collect();
        let documents = put_documents(bench, &documents.chunks(8).map(<[_]>::to_vec).collect::<Vec<_>>());
        let stage = TokenizerStage { vocabulary_size: Some(400), ..TokenizerStage::default() };
        let tokenizer = bench.run(&stage, &[("documents", &documents)]).unwrap();
        let tokenizer = bench.output(&tokenizer, "tokenizer").unwrap();
        let inputs = [("train", &documents), ("tokenizer", &tokenizer)];
        let tokens = bench.run(&Tokenize::default(), &inputs).unwrap();
        (bench.output(&tokens, "train").unwrap(), tokenizer)
    }

    fn lists(bench: &Bench, tokens: &Artifact) -> Vec<Vec<u32>> {
        let shards = bench.open(tokens);
        shards
            .iter()
            .flat_map(|shard| TokensReader::of_entry(shard).unwrap())
            .map(|row| row.unwrap().1)
            .collect()
    }

    #[test]
    fn documents_are_lines_of_json_that_ingest_reads() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let documents = documents(&bench);
        for compress in [false, true] {
            let stage = ExportData { compress, ..ExportData::default() };
            let outcome = bench.run(&stage, &[("documents", &documents)]).unwrap();
            let mut files = files(&bench, &outcome);
            let extension = if compress { "jsonl.zst" } else { "jsonl" };
            assert_eq!(files[0].0, format!("0000.{extension}"));
            if compress {
                files[0].1 = zstd::decode_all(&files[0].1[..]).unwrap();
            }
            let text = String::from_utf8(files[0].1.clone()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3);
            let first =
                r#"{"id":"d0","text":"Text \"0\"\n你好","url":"https://e.org/0","metadata":{"stars":"0"}}"#;
            assert_eq!(lines[0], first);
            assert!(!lines[1].contains("url"));
        }
        // There and back.
        let outcome = bench.run(&ExportData::default(), &[("documents", &documents)]).unwrap();
        let exported = bench.output(&outcome, "files").unwrap();
        let ingest: Ingest = serde_json::from_value(serde_json::json!({
            "files": { "format": "jsonl", "columns": { "id": "id", "url": "url", "metadata": { "stars": "metadata.stars" } } }
        }))
        .unwrap();
        let again = bench.run(&ingest, &[("files", &exported)]).unwrap();
        let rows = bench.open(&bench.output(&again, "documents").unwrap());
        let rows: Vec<_> =
            rows.iter().flat_map(|shard| DocumentReader::of_entry(shard).unwrap().rows().unwrap()).collect();
        assert_eq!(rows.len(), 4);
        for row in rows {
            let document = row.unwrap().document;
            let n = document.id.strip_prefix("files/d").unwrap().to_owned();
            assert_eq!((document.text, &document.metadata["stars"]), (format!("Text \"{n}\"\n你好"), &n));
        }
    }

    #[test]
    fn token_files_are_read_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let (tokens, tokenizer) = tokens(&bench);
        for format in [DataFormat::Nanogpt, DataFormat::Megatron] {
            let inputs = [("tokens", &tokens), ("tokenizer", &tokenizer)];
            let outcome = bench.run(&export(format), &inputs).unwrap();
            let place = tempfile::tempdir().unwrap();
            for (name, bytes) in files(&bench, &outcome) {
                std::fs::write(place.path().join(name), bytes).unwrap();
            }
            let sources = Bench::sources("train", place.path()).unwrap();
            let stage = IngestTokens { train: "data.bin".into(), ..IngestTokens::default() };
            let again = bench.enter(&stage, &[("tokenizer", &tokenizer)], sources, Mode::Here).unwrap();
            assert_eq!(
                lists(&bench, &bench.output(&again, "train").unwrap()),
                lists(&bench, &tokens),
                "{format:?}"
            );
        }
    }

    #[test]
    fn views_become_plain_parquet() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let unique = bench.run(&crate::Dedup::default(), &[("documents", &documents(&bench))]).unwrap();
        let unique = bench.output(&unique, "documents").unwrap();
        let outcome = bench.run(&export(DataFormat::Parquet), &[("documents", &unique)]).unwrap();
        let made = bench.output(&outcome, "files").unwrap();
        let rows: Vec<_> = bench
            .open(&made)
            .iter()
            .flat_map(|shard| DocumentReader::of_entry(shard).unwrap().rows().unwrap())
            .collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0].as_ref().unwrap().document.metadata["cluster_size"], "1");
        let (tokens, _) = tokens(&bench);
        let outcome = bench.run(&export(DataFormat::Parquet), &[("tokens", &tokens)]).unwrap();
        assert_eq!(lists(&bench, &bench.output(&outcome, "files").unwrap()), lists(&bench, &tokens));
    }

    #[test]
    fn what_cannot_be_exported_is_explained() {
        let mut known = KnownInputs::default();
        known.connect("documents", pipe_stage::KnownInput::default());
        let messages = |export: ExportData, known: &KnownInputs| -> Vec<String> {
            export.check_known(known).into_iter().map(|misfit| misfit.message).collect()
        };
        assert_eq!(messages(export(DataFormat::Jsonl), &known), [""; 0]);
        assert_eq!(messages(export(DataFormat::Megatron), &known).len(), 2);
        assert_eq!(
            messages(ExportData::default(), &KnownInputs::default()),
            ["needs either documents or tokens"]
        );
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let page = Document { id: "p".into(), html: Some(vec![0xFF]), ..Document::default() };
        let pages = put_full_documents(&bench, &[vec![page]]);
        let error = bench.run(&ExportData::default(), &[("documents", &pages)]).map(drop).unwrap_err();
        assert!(error.to_string().contains("the page of document `p` is not UTF-8"), "{error}");
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digests = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let (tokens, tokenizer) = tokens(&bench);
            let documents = documents(&bench);
            let of = |format, inputs: &[(&str, &Artifact)]| {
                bench.run(&export(format), inputs).unwrap().outputs["files"].to_string()[..16].to_owned()
            };
            [
                of(DataFormat::Jsonl, &[("documents", &documents)]),
                of(DataFormat::Tfrecord, &[("documents", &documents)]),
                of(DataFormat::Tfrecord, &[("tokens", &tokens)]),
                of(DataFormat::Megatron, &[("tokens", &tokens), ("tokenizer", &tokenizer)]),
            ]
        };
        let pinned = ["1c2f8d930826b260", "af7777c79db0ecb4", "e8d5da7d43cdef39", "64ac73de71d146f2"];
        assert_eq!(digests(1), pinned);
        assert_eq!(digests(4), digests(1));
    }
}
