//! The stage `pretrain`: a language model from scratch, on a stream of tokens.

use crate::backend::{Backend, PROBE};
use crate::generate::{self, continuation};
use crate::huggingface::{Config, ModelFiles, Purpose, TokenizerFiles};
use crate::jsonl;
use crate::known::{KnownModel, vocabulary};
use crate::random;
use crate::reported::{Reported, names, report};
use crate::training::{
    AdamW, Build, Ending, Folder, HISTORY_BYTES_PER_STEP, Interval, LOSS, LanguageModelling, Loop,
    LrSchedule, Order, RATES, Rates, Sample, Sampler, State, Validation, Windows, flat_stream,
};
use crate::transformer::{Architecture, ArchitectureOverrides, CausalLm, Preset};
use crate::{METRICS, MODEL};
use pipe_cache::Durable;
use pipe_data::{TOKENIZER, TOKENS, Tokenizer};
use pipe_stage::{
    Code, Context, Devices, Error, FILES, Facts, In, InputItem, Inputs, KnownInputs, Misfit, Out, Port,
    Probe, Result, Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Trains a decoder-only language model from scratch, with the architecture of Llama or of GPT-2.
///
/// The training documents are concatenated into one stream of tokens, with the tokenizer's end-of-document token after
/// each. Every sequence of a batch is a window of `context_length` tokens of this stream. Checkpoints are saved in the
/// cache; an interrupted run resumes from the last one and ends with the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pretrain {
    /// Model shape to start from; `model` overrides single fields of it.
    pub preset: Preset,
    /// Fields of the model shape that differ from the preset.
    pub model: ArchitectureOverrides,
    /// Number of optimizer steps, from 1. The model sees
    /// `steps * batch_size * gradient_accumulation_steps * context_length` tokens.
    pub steps: u64,
    /// Sequences per micro-batch, from 1 to 65,536. Memory grows with it.
    pub batch_size: usize,
    /// Micro-batches per optimizer step, from 1 to 65,536; their gradients are averaged. Use it to train with larger
    /// batches than fit into memory.
    pub gradient_accumulation_steps: u64,
    /// AdamW: learning rate, momentum, weight decay and gradient clipping.
    pub optimizer: AdamW,
    /// How the learning rate decreases after the warmup.
    pub schedule: LrSchedule,
    /// Steps over which the learning rate rises linearly to `optimizer.lr`.
    pub warmup_steps: u64,
    /// Fraction of the steps, from 0 to 1, in which `warmup-stable-decay` lowers the learning rate; other schedules
    /// ignore it.
    pub decay_fraction: f64,
    /// Probability of dropout, from 0 to below 1. 0 by default: most models see each token only once or twice.
    pub dropout: f64,
    /// Order in which training visits the windows of the stream.
    pub order: Order,
    /// Seed for initial weights, order, dropout and samples.
    pub seed: u64,
    /// Validation during training, and early stopping.
    pub validation: Validation,
    /// Texts that the model writes at each validation, to show its progress.
    pub samples: Samples,
    /// Device to train on.
    pub backend: Backend,
    /// Steps between checkpoints, from 1. It changes no result.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_steps: u64,
    /// Longest time between checkpoints, such as `90s`, `10m` or `1h30m`; a checkpoint is saved after this time even if
    /// fewer than `checkpoint_steps` steps were taken. It changes no result.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_interval: Interval,
}

/// Texts that the model writes during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// Beginnings of texts; the model continues each of them at every validation. By default there are none.
    pub prompts: Vec<String>,
    /// Maximum number of tokens written after each prompt.
    pub max_new_tokens: usize,
    /// Sampling temperature, from 0; 0 always takes the most likely token.
    pub temperature: f64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { prompts: Vec::new(), max_new_tokens: 48, temperature: 0.8 }
    }
}

impl Default for Pretrain {
    fn default() -> Self {
        Self {
            preset: Preset::GptSmall,
            model: ArchitectureOverrides::default(),
            steps: 1000,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            optimizer: AdamW::default(),
            schedule: LrSchedule::Cosine,
            warmup_steps: 50,
            decay_fraction: 0.2,
            dropout: 0.0,
            order: Order::Shuffled,
            seed: 0,
            validation: Validation::default(),
            samples: Samples::default(),
            backend: Backend::Cpu,
            checkpoint_steps: 100,
            checkpoint_interval: Interval(Duration::from_secs(600)),
        }
    }
}

const TRAIN: In = In::new("train", &TOKENS, "Tokens to train on.");
const VALIDATION: In = In::new("validation", &TOKENS, "Held-out tokens for the validation loss.");
const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "The tokenizer that made the tokens of both.");
const MODEL_OUT: Out = Out::main("model", &MODEL, "The trained model with its tokenizer.");
const HISTORY: Out = Out::new(
    "history",
    &METRICS,
    "history.jsonl: loss, learning rate and gradient norm of each step, and validations.",
);
const SAMPLES: Out =
    Out::new("samples", &FILES, "samples.jsonl: texts that the model wrote during training.");

/// Of the weights that the stage gives; with validation only.
const VALIDATED: [Reported; 2] = [
    Reported::new(LOSS, "nat/token").lower_is_better(),
    Reported::new("val_perplexity", "").lower_is_better(),
];
const TRAIN_LOSS: Reported = Reported::new("train_loss", "nat/token").lower_is_better();
const COUNTS: [Reported; 4] = [
    Reported::new("parameters", ""),
    Reported::new("steps", ""),
    Reported::new("tokens_seen", ""),
    Reported::new("tokens_train", ""),
];

impl Stage for Pretrain {
    const NAME: &'static str = "pretrain";
    /// History: 1, the first. 2, validation batches lie evenly over the held-out set. 3, micro-batches are summed in
    /// a binary tree; queries, keys and values are one product, gate and up another; sum, dropout and norm are one
    /// pass; initial weights follow from parameters' names; short held-out sets are met once.
    const REVISION: u32 = 3;
    const CODE: Code = Code::Revision;
    const PROBE: Option<&'static Probe> = Some(&PROBE);
    const PORTS: &'static [Port] = &[
        TRAIN.port(),
        VALIDATION.port(),
        TOKENIZER_IN.port(),
        MODEL_OUT.port(),
        HISTORY.port(),
        SAMPLES.port(),
    ];

    fn check(&self) -> Vec<Misfit> {
        // The vocabulary comes with the tokenizer; any other part of the shape can be judged now.
        let shape = self.architecture(1).check().err().map(|fault| Misfit::new("model", fault));
        let own = [
            shape,
            Misfit::unless(self.samples.temperature >= 0.0, "samples.temperature", "must be 0 or above"),
        ];
        own.into_iter().flatten().chain(self.training().check()).collect()
    }

    fn facts(&self, output: &str, inputs: &KnownInputs) -> Facts {
        if output == MODEL_OUT.name() { self.known_model(inputs).facts() } else { Facts::default() }
    }

    /// The whole shape, now that the vocabulary is known.
    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let shape = self.known_model(inputs).architecture.check();
        shape.err().map(|fault| Misfit::new("model", fault)).into_iter().collect()
    }

    /// Floating-point operations of training and of validation, which is a third of training for each token.
    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        let architecture = self.known_model(&inputs.known).architecture;
        let batch_tokens = (self.batch_size * architecture.context) as f64;
        let trained = self.steps as f64 * self.gradient_accumulation_steps as f64;
        let validations = self.validation.times(self.steps) as f64;
        let validated = validations * self.validation.eval_batches as f64;
        Some((trained + validated / 3.0) * batch_tokens * architecture.flops_per_token())
    }

    /// Bytes of the model and of the history.
    fn output_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let history = HISTORY_BYTES_PER_STEP * self.steps as f64;
        Some(self.known_model(&inputs.known).architecture.weight_bytes() + history)
    }

    fn memory_amount(&self, inputs: &WorkInputs) -> Option<f64> {
        let architecture = self.known_model(&inputs.known).architecture;
        Some(architecture.training_bytes(self.batch_size * architecture.context))
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let validated: &[Reported] = if self.validation.eval_interval > 0 { &VALIDATED } else { &[] };
        Some(names([validated, &[TRAIN_LOSS], &COUNTS, &RATES]))
    }

    fn asks_for_device(&self) -> bool {
        self.backend.asks_for_device()
    }

    fn settle(&self, devices: &Devices) -> std::result::Result<Self, Misfit> {
        Ok(Self { backend: self.backend.settle(devices)?, ..self.clone() })
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let items = vec![
            ctx.input(TRAIN).item("train"),
            ctx.input(VALIDATION).item("validation"),
            ctx.input(TOKENIZER_IN).item("tokenizer"),
        ];
        let trained = ctx.once("train", self, items, pretrain)?;
        ctx.output(MODEL_OUT, trained.entries("model"))?;
        ctx.output(HISTORY, trained.entries("history"))?;
        ctx.output(SAMPLES, trained.entries("samples"))
    }
}

fn pretrain(config: &Pretrain, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let [train, validation, tokenizer] = ["train", "validation", "tokenizer"]
        .map(|name| inputs.named(name).expect("invariant: `run` gives these three items"));
    let files = TokenizerFiles::from_entries(tokenizer.entries())?;
    let tokenizer = files.open()?;
    let architecture = config.architecture(tokenizer.vocabulary_size() as usize);
    architecture.check().map_err(Error::input)?;

    let scratch = share.scratch()?;
    let least = architecture.context as u64 + 1;
    let stream = |item, name: &str| flat_stream(share, item, &tokenizer, &scratch.path().join(name), least);
    let (train, validation) = (stream(train, "train.tokens")?, stream(validation, "validation.tokens")?);
    let tokens = train.len();
    let task = LanguageModelling {
        architecture,
        windows: config.windows(tokens),
        train,
        validation,
        validation_batches: config.validation.eval_batches,
        is_on_cpu: config.backend == Backend::Cpu,
        sampler: config.sampler(&tokenizer, architecture.context),
    };
    let mut rates = Rates::default();
    let (state, finished) = config.run_phases(&task, inputs, share, &mut rates)?;
    // Once the result is recorded, only the trunk is of use: to a run with more steps.
    share.remove_when_recorded(finished);
    share.made_on(&state.progress.instruction_sets);

    let progress = &state.progress;
    let model = ModelFiles {
        config: Config {
            architecture,
            purpose: Purpose::Language,
            bos: tokenizer.eos(),
            eos: tokenizer.eos().into_iter().collect(),
            pad: tokenizer.pad(),
        },
        weights: state.result(),
        tokenizer: files,
    };
    for (name, bytes) in model.files()? {
        share.write("model", name, &bytes)?;
    }
    share.write("history", "history.jsonl", &jsonl::to_bytes(&progress.history))?;
    share.write("samples", "samples.jsonl", &jsonl::to_bytes(&progress.samples))?;
    report_result(config, share, &state, architecture, tokens);
    rates.report(share);
    Ok(())
}

fn report_result(
    config: &Pretrain,
    share: &mut Share,
    state: &State<CausalLm>,
    shape: Architecture,
    tokens: u64,
) {
    let progress = &state.progress;
    let validation = progress.final_validation(config.validation.patience > 0);
    if let Some(&loss) = validation.and_then(|validation| validation.get(LOSS)) {
        let loss = f64::from(loss);
        report(share, &VALIDATED, [loss, loss.exp()]);
    }
    if let Some(loss) = progress.mean_loss(100) {
        share.metric(TRAIN_LOSS.metric(loss));
    }
    let seen =
        progress.step * config.gradient_accumulation_steps * (config.batch_size * shape.context) as u64;
    report(
        share,
        &COUNTS,
        [shape.parameters() as u64, progress.step, seen, tokens].map(|count| count as f64),
    );
}

impl Pretrain {
    /// The windows of a stream of so many tokens that make up its micro-batches. Step `n`, from 1, takes the
    /// [`gradient_accumulation_steps`](Self::gradient_accumulation_steps) micro-batches behind those of the steps before.
    pub fn windows(&self, tokens: u64) -> Windows {
        // The context does not depend on the vocabulary.
        let context = self.architecture(1).context;
        Windows { order: self.order, seed: self.seed, tokens, rows: self.batch_size, context }
    }

    fn architecture(&self, vocabulary: usize) -> Architecture {
        self.model.over(self.preset.shape(vocabulary))
    }

    fn known_model(&self, inputs: &KnownInputs) -> KnownModel {
        let architecture = self.architecture(vocabulary(inputs, TOKENIZER_IN));
        KnownModel { architecture, is_classifier: false }
    }

    fn training(&self) -> Loop<'_> {
        Loop {
            steps: self.steps,
            batch_size: self.batch_size,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            optimizer: &self.optimizer,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_fraction: self.decay_fraction,
            dropout: self.dropout,
            validation: &self.validation,
            seed: self.seed,
            checkpoint_steps: self.checkpoint_steps,
        }
    }

    /// The part of the config that decides the stable part of the schedule: all but its end.
    fn trunk(&self) -> Self {
        Self { steps: 0, decay_fraction: 0.0, ..self.clone() }
    }

    /// Trains the stable part in one durable folder and the decay in another, so that a run with more steps
    /// goes on from where this one's decay began.
    fn run_phases(
        &self,
        task: &LanguageModelling<'_>,
        inputs: &Inputs,
        share: &Share,
        rates: &mut Rates,
    ) -> Result<(State<CausalLm>, Durable)> {
        let device = self.backend.device().autodiff();
        let items: Vec<&InputItem> = inputs.items().iter().collect();
        let recipe = self.training().recipe();
        // The last step belongs to the decay even of a constant rate: it validates where a longer run may not.
        let decay_start = recipe.learning_rate.decay_start().min(self.steps - 1);
        let build: &Build<'_, CausalLm> = &|source| task.architecture.build(&device, source);
        let folder = |durable| Folder {
            share,
            durable,
            every: self.checkpoint_steps,
            interval: self.checkpoint_interval.0,
            total: self.steps,
        };

        let decay = folder(share.durable("decay", self, &items)?);
        let mut state = decay.latest(self.steps, build, &device)?;
        if state.is_none() && decay_start > 0 {
            let trunk = folder(share.durable("trunk", &self.trunk(), &items)?);
            let start = match trunk.latest(decay_start, build, &device)? {
                Some(state) => state,
                None => State::new(task.architecture.init(self.seed, &device)),
            };
            state = Some(trunk.train(task, &recipe, start, decay_start, Ending::Pinned, rates)?);
        }
        let state = state.unwrap_or_else(|| State::new(task.architecture.init(self.seed, &device)));
        let state = decay.train(task, &recipe, state, self.steps, Ending::Stored, rates)?;
        Ok((state, decay.durable))
    }

    fn sampler<'a>(&'a self, tokenizer: &'a Tokenizer, context: usize) -> Option<Sampler<'a>> {
        if self.samples.prompts.is_empty() {
            return None;
        }
        Some(Box::new(move |model, step| {
            let sample = |prompt: &String| {
                let options = generate::Options {
                    tokens_max: self.samples.max_new_tokens,
                    temperature: self.samples.temperature,
                    seed: random::seed(self.seed, random::Purpose::Sampling, step),
                    ..generate::Options::default()
                };
                let start = tokenizer.encode(prompt);
                let ids =
                    continuation(model, &start, tokenizer.eos().as_slice(), context, &options, || true)?;
                Ok(Sample { step, prompt: prompt.clone(), text: tokenizer.decode(&ids) })
            };
            self.samples.prompts.iter().map(sample).collect()
        }))
    }
}
