//! Owns: which tokenizer a pipeline uses: a trained one or an existing one. Training is in [`crate::tokenizer::bpe`].
//! Nothing here depends on threads, caches or the manifest.

pub mod bpe;
pub(crate) mod counts;
pub mod encode;
pub mod json;
pub mod pattern;
pub mod spelling;

pub mod normalizer;
pub mod splitter;

mod design;
mod training;
mod unigram;

use std::collections::BTreeSet;
use std::path::Path;

use pipe_stage::{
    Code, Context, Error, Facts, In, Inputs, Item, KnownInputs, Links, Misfit, Out, Places, Port, Result,
    Share, SourceFile, SourceRequest, Stage, WorkInputs, files,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::documents::{DOCUMENTS, lacks_text};
use design::{Chat, Counting, Model, Wanted};
use encode::Tokenizer;
use json::{TOKENIZER, TOKENIZER_BYTES_MAX, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, tokenizer_config};
use normalizer::NormalizerName;
use pattern::Pattern;
use splitter::Digits;
use training::METRICS;

/// Trains a tokenizer on documents, or uses an existing tokenizer.json.
///
/// By default, the tokenizer is a byte-level BPE: ids are assigned to special tokens, then the 256 bytes, then one token per
/// merge. Since every byte is a token, any text can be encoded, and there is no unknown token. Vocabulary and merges equal
/// those of Hugging Face's trainer on the same text. Special-token strings in documents are encoded as plain text.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerStage {
    /// Path of an existing tokenizer.json, relative to the project, which is used unchanged. Supported are byte-level BPE
    /// models with the split pattern of GPT-2, GPT-4, GPT-4o, Llama 3 or Qwen 2, BPE models of characters as Llama 2's,
    /// WordPiece as BERT's, and Unigram. A tokenizer_config.json in the same folder is used too. Without a path a tokenizer
    /// is trained; the other fields apply only to training and are errors beside a path.
    pub from: Option<String>,
    /// How pieces of text become tokens. The default is byte-pair encoding of bytes.
    pub model: Model,
    /// Vocabulary size to train, including special tokens and bytes, up to 1,048,576; the default 4,096 suits
    /// small models. The result is smaller if no further pair of tokens occurs `min_frequency` times.
    pub vocabulary_size: Option<u32>,
    /// Special tokens, which get the first ids. For `bpe`, the first marks the end of a document, the second pads batches;
    /// the default is `<|endoftext|>` and `<|pad|>`. The other models have tokens of their own before these:
    /// `<unk>`, `<s>`, `</s>` (which ends documents) and `<pad>`, and for `word-piece` `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`
    /// (which ends documents) and `[MASK]`.
    pub special_tokens: Option<Vec<String>>,
    /// Special tokens of a chat format, in addition to the others.
    pub chat: Option<Chat>,
    /// How text is split into pieces; tokens never cross their boundaries. The default is the pattern of Llama 3, and that of
    /// BERT for `word-piece`. The models `bpe-characters` and `unigram` split text before spaces and have no pattern.
    pub pattern: Option<Pattern>,
    /// How numbers are divided before the pattern is applied. By default, as the pattern does.
    pub digits: Digits,
    /// How texts are changed before they are split. By default not at all, and for `word-piece` as for BERT's uncased models.
    /// The models of Qwen have `nfc`.
    pub normalizer: Option<NormalizerName>,
    /// Minimum number of occurrences of a pair to merge it. The default 2 keeps unique strings out of the vocabulary.
    pub min_frequency: u64,
    /// Maximum size in MiB of the distinct pieces to train on, with 32 bytes for each besides its own, from 1 to 65,536. If
    /// there are more, the rarest are left out; the metrics `pieces_pruned` and `pruned_share` report how many, and their
    /// share of all occurrences. Training needs about ten times as much memory. The default 256 is enough for all pieces of
    /// 10 GB of English, and of 100 MB of Chinese, whose pieces are clauses.
    pub pieces_max_mib: u32,
}

impl Default for TokenizerStage {
    fn default() -> Self {
        Self {
            from: None,
            model: Model::Bpe,
            vocabulary_size: None,
            special_tokens: None,
            chat: None,
            pattern: None,
            digits: Digits::ByPattern,
            normalizer: None,
            min_frequency: 2,
            pieces_max_mib: 256,
        }
    }
}

const INPUT: In = In::new("documents", &DOCUMENTS, "Text to train on; not used with `from`.").optional();
const OUTPUT: Out = Out::main("tokenizer", &TOKENIZER, "tokenizer.json and tokenizer_config.json.");

/// A fact about a tokenizer that is to be trained: the size that is asked for.
pub const VOCABULARY_SIZE: &str = "vocabulary_size";

const PIECES_MIB_MAX: u32 = 1 << 16;
const SPECIAL_BYTES_MAX: usize = 100;
const VOCABULARY_MAX: u32 = 1 << 20;
const VOCABULARY_DEFAULT: u32 = 4096;

impl Stage for TokenizerStage {
    const NAME: &'static str = "tokenizer";
    /// History: 1: initial version. 2: pieces above 4,096 bytes are used for training too.
    const REVISION: u32 = 2;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[INPUT.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        if self.from.is_some() {
            return self.idle_beside_from();
        }
        let special_tokens = self.special_tokens();
        let least = self.model.least() + special_tokens.len() as u32;
        let size = (least..=VOCABULARY_MAX).contains(&self.vocabulary_size.unwrap_or(VOCABULARY_DEFAULT));
        let budget = (1..=PIECES_MIB_MAX).contains(&self.pieces_max_mib);
        let own = self.special_tokens.as_deref().unwrap_or_default();
        let distinct = own.iter().collect::<BTreeSet<_>>().len() == own.len();
        let some = !special_tokens.is_empty();
        let mut faults: Vec<Misfit> = [
            Misfit::unless(size, "vocabulary_size", format!("must be from {least} to {VOCABULARY_MAX}")),
            Misfit::unless(some, "special_tokens", "must contain at least one, which ends documents"),
            Misfit::unless(distinct, "special_tokens", "contains a token twice"),
            Misfit::unless(budget, "pieces_max_mib", format!("must be from 1 to {PIECES_MIB_MAX}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        faults.extend(self.pattern.and_then(|pattern| self.model.check_pattern(pattern)));
        if self.digits != Digits::ByPattern && self.model.pattern().is_none() {
            let fault = Misfit::new("digits", "has no effect on a model that splits text at spaces");
            faults.push(fault.help("remove `digits`, or use `model: bpe`"));
        }
        for (at, token) in own.iter().enumerate() {
            let path = format!("special_tokens[{at}]");
            if token.is_empty() || token.len() > SPECIAL_BYTES_MAX {
                faults.push(Misfit::new(path, format!("must have 1 to {SPECIAL_BYTES_MAX} bytes")));
            } else if Pattern::Llama3.pieces(token).count() == 1 {
                // Otherwise training could make an ordinary token of the same text.
                let fault = Misfit::new(path, format!("`{token}` is a word that ordinary text may contain"));
                faults.push(fault.help(format!("mark it, as in `<|{token}|>`")));
            }
        }
        faults
    }

    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit> {
        let has_documents = connected.contains(&INPUT.name());
        match &self.from {
            None if !has_documents => {
                let fault = "neither this nor the input `documents` is given";
                vec![Misfit::new("from", fault).help("add `documents` to `needs`, or set `from`")]
            }
            Some(_) if has_documents => {
                let fault = "an existing tokenizer is not trained on `documents`";
                vec![Misfit::new("from", fault).help("remove `documents` from `needs`, or remove `from`")]
            }
            _ => Vec::new(),
        }
    }

    fn facts(&self, _: &str, _: &KnownInputs) -> Facts {
        match self.from {
            None => {
                Facts::default().with(VOCABULARY_SIZE, self.vocabulary_size.unwrap_or(VOCABULARY_DEFAULT))
            }
            Some(_) => Facts::default(),
        }
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        lacks_text(inputs, INPUT).into_iter().collect()
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        let Some(from) = &self.from else { return Ok(Vec::new()) };
        let path = places.project.join(from);
        if path.is_dir() {
            let file = Path::new(from).join(TOKENIZER_JSON);
            let misfit = Misfit::new("from", format!("`{from}` is a folder"));
            return Err(vec![misfit.help(format!("name the file in it, such as `{}`", file.display()))]);
        }
        if path.exists() && !path.is_file() {
            return Err(vec![Misfit::new("from", format!("`{from}` is not a regular file"))]);
        }
        let config = path.with_file_name(TOKENIZER_CONFIG_JSON);
        if let Some(misfit) = [&path, &config].into_iter().find_map(|path| too_large(path)) {
            return Err(vec![misfit]);
        }
        let (Some(folder), Some(file)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(vec![Misfit::new("from", format!("`{from}` is not the path of a file"))]);
        };
        Ok(vec![SourceRequest {
            source: "tokenizer".into(),
            root: folder.to_owned(),
            // A config without the tokenizer is no source.
            include: std::iter::once(file)
                .chain(path.is_file().then_some(TOKENIZER_CONFIG_JSON))
                .map(str::to_owned)
                .collect(),
            exclude: Vec::new(),
            links: Links::EveryName,
            field: "from".into(),
            help: Some("give the path of a tokenizer.json, relative to the project".into()),
            pin: None,
        }])
    }

    /// The vocabulary that is trained; an existing file is as large as it is.
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        match self.from {
            Some(_) => self.work(inputs),
            None => Some(f64::from(self.vocabulary_size.unwrap_or(VOCABULARY_DEFAULT))),
        }
    }

    fn preview(&self, _: &Places, sources: &[SourceFile]) -> Vec<Misfit> {
        let Some(file) = self.file_name() else { return Vec::new() };
        let read = |name: &str| {
            let source = sources.iter().find(|source| source.name == name)?;
            // A file that cannot be opened is reported by the run.
            files::read(source.path()?, TOKENIZER_BYTES_MAX).ok()
        };
        let config = Some(TOKENIZER_CONFIG_JSON).filter(|config| *config != file).and_then(read);
        match read(&file).map(|json| usable(&file, &json, config.as_deref())) {
            Some(Err(error)) => vec![Misfit::of_error("from", &error)],
            _ => Vec::new(),
        }
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let reported = if self.from.is_some() { &METRICS[..1] } else { &METRICS };
        Some(reported.iter().map(|name| (*name).to_owned()).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let made = match (&self.from, ctx.optional(INPUT)) {
            (Some(_), _) => {
                let adoption = Adoption { file: self.file_name().unwrap_or_default() };
                let sources = Item::of_sources("tokenizer", ctx.sources().to_vec());
                ctx.once("adopt", &adoption, vec![sources], adopt)?
            }
            (None, Some(documents)) => {
                let counting = Counting {
                    model: self.model,
                    pattern: self.pattern.or(self.model.pattern()),
                    digits: self.digits,
                    normalizer: self.normalizer.unwrap_or(self.model.normalizer()),
                };
                let wanted = Wanted {
                    counting,
                    vocabulary_size: self.vocabulary_size.unwrap_or(VOCABULARY_DEFAULT),
                    special_tokens: self.own_special_tokens(),
                    chat: self.chat,
                    min_frequency: self.min_frequency,
                    pieces_bytes_max: u64::from(self.pieces_max_mib) << 20,
                };
                training::run(ctx, &wanted, documents)?
            }
            (None, None) => {
                return Err(Error::input("the stage has neither `documents` to train on nor `from`")
                    .help("add `documents` to `needs`, or name an existing tokenizer.json as `from`"));
            }
        };
        ctx.output(OUTPUT, made.entries("tokenizer"))
    }
}

impl TokenizerStage {
    /// Name of the file that `from` names.
    fn file_name(&self) -> Option<String> {
        let file = Path::new(self.from.as_ref()?).file_name()?;
        Some(file.to_string_lossy().into_owned())
    }

    /// The special tokens of the settings, or their default.
    fn own_special_tokens(&self) -> Vec<String> {
        let default = match self.model {
            Model::Bpe => vec!["<|endoftext|>".to_owned(), "<|pad|>".to_owned()],
            _ => Vec::new(),
        };
        self.special_tokens.clone().unwrap_or(default)
    }

    /// All special tokens of a tokenizer that is trained.
    fn special_tokens(&self) -> Vec<String> {
        design::all_special_tokens(self.model, &self.own_special_tokens(), self.chat)
    }

    /// Settings that apply only to training, set when nothing is trained.
    fn idle_beside_from(&self) -> Vec<Misfit> {
        let default = Self::default();
        let fields = [
            ("vocabulary_size", self.vocabulary_size != default.vocabulary_size),
            ("special_tokens", self.special_tokens != default.special_tokens),
            ("pattern", self.pattern != default.pattern),
            ("model", self.model != default.model),
            ("chat", self.chat != default.chat),
            ("digits", self.digits != default.digits),
            ("normalizer", self.normalizer != default.normalizer),
            ("min_frequency", self.min_frequency != default.min_frequency),
            ("pieces_max_mib", self.pieces_max_mib != default.pieces_max_mib),
        ];
        let idle = fields.into_iter().filter(|(_, is_set)| *is_set);
        idle.map(|(field, _)| {
            Misfit::new(field, "has no effect beside `from`")
                .help(format!("remove `{field}`, or remove `from` to train a tokenizer"))
        })
        .collect()
    }
}

/// Which of the source files is the tokenizer.
#[derive(Debug, Serialize, JsonSchema)]
struct Adoption {
    file: String,
}

/// Checks an existing tokenizer and uses it.
fn adopt(adoption: &Adoption, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let files = inputs.item();
    let missing = || Error::input(format!("no such file: `{}`", adoption.file));
    let json = files.entry(&adoption.file).ok_or_else(missing)?.bytes()?;
    let config = files.entry(TOKENIZER_CONFIG_JSON).filter(|entry| entry.name() != adoption.file);
    let config = config.map(|entry| entry.bytes()).transpose()?;
    let (tokenizer, eos) = usable(&adoption.file, &json, config.as_deref())?;
    share.write("tokenizer", TOKENIZER_JSON, &json)?;
    let config = config.unwrap_or_else(|| {
        let pad = tokenizer.pad().map(|pad| tokenizer.decode(&[pad]));
        tokenizer_config(&tokenizer.decode(&[eos]), pad.as_deref())
    });
    share.write("tokenizer", TOKENIZER_CONFIG_JSON, &config)?;
    share.count(METRICS[0], tokenizer.vocabulary_size().into());
    Ok(())
}

/// Refuses a file that no tokenizer needs, before it is hashed and held in memory.
fn too_large(path: &Path) -> Option<Misfit> {
    let bytes = path.metadata().map_or(0, |data| data.len());
    let name = path.file_name().unwrap_or_default().display();
    let max = TOKENIZER_BYTES_MAX >> 20;
    let message = format!("`{name}` has {bytes} bytes; a file of a tokenizer may have {max} MiB");
    let misfit = Misfit::unless(bytes <= TOKENIZER_BYTES_MAX, "from", message);
    misfit.map(|misfit| misfit.help("check that `from` names a tokenizer.json"))
}

/// Reads an existing tokenizer, with the token that ends documents.
fn usable(file: &str, json: &[u8], config: Option<&[u8]>) -> Result<(Tokenizer, u32)> {
    let tokenizer = match config {
        Some(config) => Tokenizer::from_files(json, config)?,
        None => Tokenizer::from_json(json)?,
    };
    let eos = tokenizer.eos().ok_or_else(|| {
        Error::input(format!("`{file}` has no known end-of-document token"))
            .help(format!("put a {TOKENIZER_CONFIG_JSON} next to it that names its `eos_token`"))
    })?;
    Ok((tokenizer, eos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{put_documents, words};
    use pipe_stage::testing::Bench;
    use pipe_stage::{Artifact, Mode, Outcome};

    fn corpus(bench: &Bench) -> Artifact {
        let document = |n: usize| (format!("d{n}"), words(n % 7, 100) + "\n数据和模型 <|endoftext|>\n");
        put_documents(bench, &[(0..10).map(document).collect(), (10..20).map(document).collect()])
    }

    pub(super) fn small() -> TokenizerStage {
        TokenizerStage { vocabulary_size: Some(400), ..TokenizerStage::default() }
    }

    fn read(bench: &Bench, outcome: &Outcome) -> (Tokenizer, Vec<u8>) {
        let files = bench.open(&bench.output(outcome, "tokenizer").unwrap());
        let bytes = |name: &str| files.iter().find(|file| file.name() == name).unwrap().bytes().unwrap();
        let (json, config) = (bytes(TOKENIZER_JSON), bytes(TOKENIZER_CONFIG_JSON));
        (Tokenizer::from_files(&json, &config).unwrap(), json)
    }

    #[test]
    fn trains_what_hugging_face_reads() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let outcome = bench.run(&small(), &[("documents", &corpus(&bench))]).unwrap();
        let (tokenizer, json) = read(&bench, &outcome);
        assert_eq!((tokenizer.vocabulary_size(), tokenizer.eos(), tokenizer.pad()), (400, Some(0), Some(1)));
        let oracle = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        let text = words(3, 50) + "数据和模型";
        assert_eq!(tokenizer.encode(&text), oracle.encode(text, false).unwrap().get_ids());
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digest = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let outcome = bench.run(&small(), &[("documents", &corpus(&bench))]).unwrap();
            outcome.outputs["tokenizer"].to_string()
        };
        assert_eq!(&digest(1)[..16], "71cdd32b80690932");
        assert_eq!(digest(3), digest(1));
    }

    #[test]
    fn an_existing_tokenizer_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(&folder.path().join("store")).unwrap();
        let trained = bench.run(&small(), &[("documents", &corpus(&bench))]).unwrap();
        let project = folder.path().join("project");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("mine.json"), read(&bench, &trained).1).unwrap();
        let stage = TokenizerStage { from: Some("mine.json".into()), ..TokenizerStage::default() };
        let places = Places { project: project.clone(), variable: &|_| None };
        let request = &stage.sources(&places).unwrap()[0];
        assert_eq!((&request.root, &request.include[0]), (&project, &"mine.json".to_owned()));
        let sources = Bench::sources("tokenizer", &project).unwrap();
        let adopted = bench.enter(&stage, &[], sources, Mode::Here).unwrap();
        assert_eq!(adopted.outputs["tokenizer"], trained.outputs["tokenizer"]);
    }

    #[test]
    fn a_look_finds_files_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let stage = TokenizerStage { from: Some("mine.json".into()), ..TokenizerStage::default() };
        let places = Places { project: folder.path().to_owned(), variable: &|_| None };
        let look = |json: &str, config: Option<&str>| {
            std::fs::write(folder.path().join("mine.json"), json).unwrap();
            let path = folder.path().join(TOKENIZER_CONFIG_JSON);
            if let Some(config) = config {
                std::fs::write(path, config).unwrap();
            }
            let sources = Bench::sources("tokenizer", folder.path()).unwrap();
            let misfits = stage.preview(&places, &sources);
            assert!(misfits.iter().all(|misfit| misfit.path == "from"));
            misfits.into_iter().map(|misfit| misfit.message).collect::<Vec<_>>()
        };
        let bench = Bench::new(&folder.path().join("store")).unwrap();
        let trained = bench.run(&small(), &[("documents", &corpus(&bench))]).unwrap();
        let json = String::from_utf8(read(&bench, &trained).1).unwrap();
        std::fs::remove_dir_all(folder.path().join("store")).unwrap();
        assert_eq!(look(&json, None), [""; 0]);
        assert!(look("version 1", None)[0].starts_with("tokenizer.json cannot be read"));
        let nameless = json.replace("<|endoftext|>", "<|stop|>");
        assert_eq!(look(&nameless, None), ["`mine.json` has no known end-of-document token"]);
        assert_eq!(look(&nameless, Some(r#"{"eos_token": "<|stop|>"}"#)), [""; 0]);
        let normalized = json.replace("\"normalizer\": null", "\"normalizer\": {\"type\": \"Nmt\"}");
        assert!(look(&normalized, None)[0].contains("Nmt"));
        let mut of_folder = stage.clone();
        of_folder.from = Some(".".into());
        assert!(of_folder.sources(&places).unwrap_err()[0].message.contains("is a folder"));
    }

    #[test]
    fn files_that_no_tokenizer_has_are_refused_before_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = |_: &str| None;
        let places = Places { project: folder.path().to_owned(), variable: &nowhere };
        let refusal = |from: &str| {
            let stage = TokenizerStage { from: Some(from.into()), ..TokenizerStage::default() };
            stage.sources(&places).unwrap_err().remove(0).message
        };
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero.json")).unwrap();
        assert_eq!(refusal("zero.json"), "`zero.json` is not a regular file");
        let sparse = |name: &str, bytes: u64| {
            std::fs::File::create(folder.path().join(name)).unwrap().set_len(bytes).unwrap();
        };
        sparse("t.json", 1 << 40);
        let expected = "`t.json` has 1099511627776 bytes; a file of a tokenizer may have 256 MiB";
        assert_eq!(refusal("t.json"), expected);
        sparse("t.json", 10);
        sparse(TOKENIZER_CONFIG_JSON, 1 << 40);
        assert!(refusal("t.json").starts_with("`tokenizer_config.json` has"));
    }

    #[test]
    fn an_unsupported_tokenizer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(&folder.path().join("store")).unwrap();
        std::fs::create_dir(folder.path().join("project")).unwrap();
        let json = r#"{"model": {"type": "WordLevel", "vocab": {"a": 0}}}"#;
        std::fs::write(folder.path().join("project/tokenizer.json"), json).unwrap();
        let stage = TokenizerStage { from: Some("tokenizer.json".into()), ..TokenizerStage::default() };
        let sources = Bench::sources("tokenizer", &folder.path().join("project")).unwrap();
        let error = bench.enter(&stage, &[], sources, Mode::Here).unwrap_err();
        assert!(error.to_string().contains("has a model of type `WordLevel`; supported are"), "{error}");
    }

    #[test]
    fn without_documents_and_file_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let error = bench.run(&small(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "the stage has neither `documents` to train on nor `from`");
        let paths = |stage: TokenizerStage, connected: &[&str]| {
            stage.check_inputs(connected).into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        let from = TokenizerStage { from: Some("tokenizer.json".into()), ..TokenizerStage::default() };
        assert_eq!(paths(small(), &[]), ["from"]);
        assert_eq!(paths(from.clone(), &["documents"]), ["from"]);
        assert_eq!(paths(small(), &["documents"]), [""; 0]);
        assert_eq!(paths(from, &[]), [""; 0]);
    }

    #[test]
    fn settings_of_a_training_are_no_settings_of_an_existing_tokenizer() {
        let from = TokenizerStage { from: Some("tokenizer.json".into()), ..TokenizerStage::default() };
        assert_eq!(from.check(), []);
        let stage = TokenizerStage {
            from: from.from,
            vocabulary_size: Some(4096),
            special_tokens: Some(vec!["<|end|>".into()]),
            pattern: Some(Pattern::Gpt2),
            min_frequency: 3,
            pieces_max_mib: 1,
            model: Model::Unigram,
            chat: Some(Chat::Chatml),
            digits: Digits::Single,
            normalizer: Some(NormalizerName::Nfc),
        };
        let paths: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(
            paths,
            [
                "vocabulary_size",
                "special_tokens",
                "pattern",
                "model",
                "chat",
                "digits",
                "normalizer",
                "min_frequency",
                "pieces_max_mib",
            ]
        );
    }

    #[test]
    fn settings_that_cannot_work_are_told() {
        let stage = TokenizerStage {
            vocabulary_size: Some(257),
            special_tokens: Some(vec!["<|end|>".into(), "the".into(), "the".into()]),
            ..TokenizerStage::default()
        };
        let faults: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(faults, ["vocabulary_size", "special_tokens", "special_tokens[1]", "special_tokens[2]"]);
        assert!(TokenizerStage::default().check().is_empty());
    }
}
