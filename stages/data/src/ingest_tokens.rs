//! Token files of other programs → token shards. Nothing here depends on text.

mod flat;

mod megatron;

use crate::ingest::split_glob;
use crate::tokenizer::encode::Tokenizer;
use crate::tokenizer::json::{TOKENIZER, TOKENIZER_JSON};
use crate::tokens::{TOKENS, TokensWriter, metrics_of_set};
use pipe_stage::{
    Code, Context, Error, In, Input, Inputs, Item, KnownInputs, Links, LocalEntry, Misfit, Out, Places, Port,
    Result, Share, ShareFile, SourceFile, SourceRequest, Stage, files,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;

/// Reads the token files (`.bin`) of nanoGPT and Megatron-LM into token shards.
///
/// A file with an `.idx` of the same name next to it is Megatron's, with its documents. Any other file is a flat list
/// of ids as nanoGPT writes it, in which each document ends with the tokenizer's end-of-document token. That token is
/// stripped, since training adds it back; empty documents are skipped. The tokenizer must be the one that made the
/// ids: shards store its digest, and an id that it does not have is an error. Documents are named `<set>/<file>:<n>`,
/// counted from 0.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IngestTokens {
    /// Glob of the training files, relative to the project, such as `data/train.bin` or `data/*.bin`.
    pub train: String,
    /// Glob of the validation files.
    pub validation: String,
    /// Glob of the test files.
    pub test: String,
    /// Type of the ids of flat files, little-endian: `u16` (the default, as nanoGPT writes GPT-2 tokens) or `u32`.
    /// Megatron's files declare it themselves.
    pub element: Element,
    /// Bytes of a flat file before its first id: 0 for nanoGPT, 1024 for llm.c.
    pub header_bytes: u32,
    /// Maximum tokens per document, 1 to 268,435,456. Longer documents, and files without document boundaries, are
    /// split; this bounds the memory.
    pub document_tokens_max: u32,
    /// Target size of a shard in tokens, at least 1; a shard ends with the document that reaches it.
    pub shard_tokens: u64,
}

/// Type of the ids of a flat file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// Vocabularies of up to 65,536 tokens.
    #[default]
    U16,
    /// Larger vocabularies.
    U32,
}

impl Element {
    const fn bytes(self) -> u64 {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}

impl Default for IngestTokens {
    fn default() -> Self {
        Self {
            train: String::new(),
            validation: String::new(),
            test: String::new(),
            element: Element::U16,
            header_bytes: 0,
            document_tokens_max: 1 << 20,
            shard_tokens: 1 << 23,
        }
    }
}

const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "The tokenizer that made the ids.");
const TRAIN: Out = Out::main("train", &TOKENS, "Tokens for training.");
const VALIDATION: Out = Out::new("validation", &TOKENS, "Tokens for validation.");
const TEST: Out = Out::new("test", &TOKENS, "Tokens for the final evaluation.");

/// Slot of the shards.
const SHARDS: &str = "tokens";
const DATA: &str = ".bin";
const INDEX: &str = ".idx";

/// Beside the figures of each set.
const METRIC: &str = "tokens";

impl Stage for IngestTokens {
    const NAME: &'static str = "ingest-tokens";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[TOKENIZER_IN.port(), TRAIN.port(), VALIDATION.port(), TEST.port()];

    fn check(&self) -> Vec<Misfit> {
        let ends = self.sets().into_iter().map(|(field, glob)| {
            let ends_well = glob.is_empty() || glob.ends_with(DATA);
            Misfit::unless(ends_well, field, format!("must end in `{DATA}`"))
        });
        let documents = 1..=1 << 28;
        let own = [
            Misfit::unless(!self.train.is_empty(), "train", "must be set")
                .map(|misfit| misfit.help("write a pattern, such as `data/train.bin`")),
            Misfit::unless(
                documents.contains(&self.document_tokens_max),
                "document_tokens_max",
                "must be from 1 to 268435456",
            ),
            Misfit::unless(self.shard_tokens > 0, "shard_tokens", "must be at least 1"),
        ];
        own.into_iter().chain(ends).flatten().collect()
    }

    fn sources(&self, places: &Places) -> Result<Vec<SourceRequest>, Vec<Misfit>> {
        let sets = self.sets().into_iter().filter(|(_, glob)| !glob.is_empty());
        Ok(sets.map(|(set, glob)| request(set, glob, places)).collect())
    }

    fn preview(&self, _: &Places, files: &[SourceFile]) -> Vec<Misfit> {
        let reading = self.reading();
        let misfits = self.sets().into_iter().map(|(set, _)| {
            let items = pairs(files.iter().filter(|file| file.source == set));
            let looked = items.and_then(|items| items.iter().try_for_each(|item| look(&reading, item)));
            looked.err().map(|error| Misfit::of_error(set, &error))
        });
        misfits.flatten().collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let sets = self.sets().into_iter().filter(|(_, glob)| !glob.is_empty());
        Some([METRIC.to_owned()].into_iter().chain(sets.flat_map(|(set, _)| metrics_of_set(set))).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        // The config file next to it does not affect ids, so it is not part of the key.
        let tokenizer = ctx.input(TOKENIZER_IN).entries.iter().find(|entry| entry.name == TOKENIZER_JSON);
        for (set, output) in [("train", TRAIN), ("validation", VALIDATION), ("test", TEST)] {
            let files = ctx.sources().iter().filter(|file| file.source == set);
            let items = pairs(files)?.into_iter().map(|item| item.with(tokenizer.cloned())).collect();
            let tokens = ctx.each(output.name(), &self.reading(), items, read)?;
            ctx.output(output, tokens.entries(SHARDS))?;
        }
        Ok(())
    }
}

impl IngestTokens {
    fn sets(&self) -> [(&'static str, &str); 3] {
        [("train", &self.train), ("validation", &self.validation), ("test", &self.test)]
    }

    fn reading(&self) -> Reading {
        let Self { element, header_bytes, document_tokens_max, shard_tokens, .. } = *self;
        Reading { element, header_bytes, document_tokens_max, shard_tokens }
    }
}

/// Requests data files, and the indexes that may be next to them.
fn request(set: &str, glob: &str, places: &Places) -> SourceRequest {
    let (mut root, mut pattern) = split_glob(glob);
    if pattern.is_empty() {
        pattern = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        root.pop();
    }
    let index = pattern.strip_suffix(DATA).map(|stem| format!("{stem}{INDEX}"));
    SourceRequest {
        source: set.to_owned(),
        root: places.project.join(root),
        include: std::iter::once(pattern).chain(index).collect(),
        exclude: Vec::new(),
        links: Links::Once,
        field: set.to_owned(),
        help: Some("the pattern is relative to the project, `**` matches any folders".to_owned()),
        pin: None,
    }
}

/// One item per data file, with its index if there is one.
fn pairs<'f>(files: impl Iterator<Item = &'f SourceFile>) -> Result<Vec<Item>> {
    let mut found: BTreeMap<String, [Option<SourceFile>; 2]> = BTreeMap::new();
    for file in files {
        let stem = |ending| file.name.strip_suffix(ending).map(str::to_owned);
        match (stem(DATA), stem(INDEX)) {
            (Some(stem), _) => found.entry(stem).or_default()[0] = Some(file.clone()),
            (None, Some(stem)) => found.entry(stem).or_default()[1] = Some(file.clone()),
            (None, None) => {}
        }
    }
    let item = |(stem, [data, index]): (String, [Option<SourceFile>; 2])| match data {
        Some(data) => Ok(Item::of_sources(&stem, std::iter::once(data).chain(index))),
        None => Err(Error::input(format!("`{stem}{INDEX}` has no `{stem}{DATA}` next to it"))),
    };
    found.into_iter().map(item).collect()
}

/// The settings that determine how a file is read.
#[derive(Debug, Serialize, JsonSchema)]
struct Reading {
    element: Element,
    header_bytes: u32,
    document_tokens_max: u32,
    shard_tokens: u64,
}

/// Looks at the beginning of a data file, or at its index.
fn look(reading: &Reading, item: &Item) -> Result<()> {
    const INDEX_BYTES_MAX: u64 = 256 << 20;
    const START_BYTES: u64 = 1024;
    // A file that cannot be opened is reported by the run.
    let read = |file: &SourceFile, bytes_max: u64| -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        files::open(file.path()?).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    match item.inputs.as_slice() {
        [Input::Source(data), Input::Source(index)] if index.size <= INDEX_BYTES_MAX => {
            let Some(bytes) = read(index, INDEX_BYTES_MAX) else { return Ok(()) };
            megatron::preview(&index.name, &bytes, &data.name, data.size)
        }
        [Input::Source(data)] => {
            let Some(start) = read(data, START_BYTES) else { return Ok(()) };
            flat::preview(&data.name, reading, data.size, &start)
        }
        _ => Ok(()),
    }
}

fn read(reading: &Reading, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let (data, index, tokenizer) = match inputs.item().entries() {
        [data, tokenizer] if tokenizer.name() == TOKENIZER_JSON => (data, None, tokenizer),
        [data, index, tokenizer] if tokenizer.name() == TOKENIZER_JSON => (data, Some(index), tokenizer),
        _ => return Err(Error::input(format!("the tokenizer has no file `{TOKENIZER_JSON}`"))),
    };
    let tokenizer = Tokenizer::from_json(&tokenizer.bytes()?)?;
    let mut shards = Shards::new(reading, data, &tokenizer, share);
    match index {
        Some(index) => megatron::read(data, index, &mut shards)?,
        None => flat::read(data, reading, &mut shards)?,
    }
    shards.finish()
}

/// Shards being written: documents in, files out.
struct Shards<'a, 's, 'r> {
    reading: &'a Reading,
    data: &'a LocalEntry,
    vocabulary_size: u32,
    eos: Option<u32>,
    tokenizer_digest: &'a str,
    share: &'s mut Share<'r>,
    writer: Option<TokensWriter<ShareFile>>,
    document: Vec<u32>,
    in_shard: u64,
    shards: u64,
    documents: u64,
    tokens: u64,
}

impl<'a, 's, 'r> Shards<'a, 's, 'r> {
    fn new(
        reading: &'a Reading,
        data: &'a LocalEntry,
        tokenizer: &'a Tokenizer,
        share: &'s mut Share<'r>,
    ) -> Self {
        Self {
            reading,
            data,
            vocabulary_size: tokenizer.vocabulary_size(),
            eos: tokenizer.eos(),
            tokenizer_digest: tokenizer.digest(),
            share,
            writer: None,
            document: Vec::new(),
            in_shard: 0,
            shards: 0,
            documents: 0,
            tokens: 0,
        }
    }

    /// Takes the next id of a document. `token` and `byte` are its position in the file, counted from 0.
    fn push(&mut self, id: u64, token: u64, byte: u64) -> Result<()> {
        let id = u32::try_from(id).ok().filter(|id| *id < self.vocabulary_size).ok_or_else(|| {
            let (file, size) = (self.data.name(), self.vocabulary_size);
            let message = format!(
                "`{file}` contains id {id} at token {token} (byte {byte}), but the tokenizer has {size} tokens"
            );
            Error::input(message)
                .help("give the tokenizer that made the file; see `element` and `header_bytes` too")
        })?;
        self.document.push(id);
        if self.document.len() == self.reading.document_tokens_max as usize {
            self.end_document()?;
        }
        Ok(())
    }

    /// Ends a document and strips its end-of-document token.
    fn end_document(&mut self) -> Result<()> {
        if self.document.last().is_some_and(|last| Some(*last) == self.eos) {
            self.document.pop();
        }
        if self.document.is_empty() {
            return Ok(());
        }
        let name = self.data.name();
        let id = format!("{}/{name}:{}", self.data.source().unwrap_or_default(), self.documents);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            writer => {
                let stem = name.strip_suffix(DATA).unwrap_or(name);
                let file = self.share.named(SHARDS, &format!("{stem}/{:06}.parquet", self.shards))?;
                writer.insert(TokensWriter::new(file, self.vocabulary_size, self.tokenizer_digest)?)
            }
        };
        writer.push(&id, &self.document)?;
        let length = self.document.len() as u64;
        self.document.clear();
        (self.documents, self.tokens, self.in_shard) =
            (self.documents + 1, self.tokens + length, self.in_shard + length);
        if self.in_shard >= self.reading.shard_tokens {
            self.end_shard()?;
        }
        Ok(())
    }

    fn end_shard(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.share.keep(writer.finish()?)?;
            self.shards += 1;
            self.in_shard = 0;
        }
        Ok(())
    }

    /// Reports progress in the file; called a few thousand times at most.
    fn advance(&self, tokens: u64) -> Result<()> {
        self.share.advance("tokens", tokens);
        self.share.check_stop()
    }

    fn finish(mut self) -> Result<()> {
        self.end_document()?;
        self.end_shard()?;
        if self.tokens == 0 {
            return Err(Error::input(format!("`{}` contains no tokens", self.data.name())));
        }
        let set = self.data.source().unwrap_or_default().to_owned();
        self.share.count(METRIC, self.tokens);
        let of_set = metrics_of_set(&set);
        self.share.counts(of_set.each_ref().map(String::as_str), [self.tokens, self.documents]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
