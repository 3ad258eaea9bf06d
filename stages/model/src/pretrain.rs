//! The stage `pretrain`: a language model from scratch, on a stream of tokens.

use crate::backend::{Backend, PROBE};
use crate::generate::{self, continuation};
use crate::huggingface::{Config, ModelFiles, Purpose, TokenizerFiles};
use crate::jsonl;
use crate::random;
use crate::training::{
    AdamW, Build, Ending, Folder, Interval, LOSS, LanguageModelling, Loop, LrSchedule, Order, Rates, Sample,
    Sampler, State, Validation, Windows, flat_stream,
};
use crate::transformer::{Architecture, ArchitectureOverrides, CausalLm, Preset};
use crate::{METRICS, MODEL};
use pipe_cache::Durable;
use pipe_data::{TOKENIZER, TOKENS, Tokenizer};
use pipe_stage::{
    Code, Context, Devices, Error, FILES, In, InputItem, Inputs, Metric, Misfit, Out, Port, Probe, Result,
    Share, Stage, WorkInputs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Trains a language model from scratch, of the form of Llama or of GPT-2.
///
/// Documents follow each other in one stream, each ended by the tokenizer's end-of-document token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pretrain {
    /// Shape of the model, where `model` does not say otherwise.
    pub preset: Preset,
    /// Parts of the shape that differ from the preset's.
    pub model: ArchitectureOverrides,
    /// Optimizer steps. Tokens seen are `steps * batch_size * gradient_accumulation_steps * context`.
    pub steps: u64,
    /// Sequences of a batch.
    pub batch_size: usize,
    /// Batches of a step; their gradients are averaged.
    pub gradient_accumulation_steps: u64,
    /// AdamW, its rate and clipping.
    pub optimizer: AdamW,
    /// How the learning rate falls after warmup.
    pub schedule: LrSchedule,
    /// Steps over which the learning rate rises to `optimizer.lr`.
    pub warmup_steps: u64,
    /// Fraction of the steps over which the learning rate of `warmup-stable-decay` falls.
    pub decay_fraction: f64,
    /// Probability of dropping an activation, from 0 to below 1.
    pub dropout: f64,
    /// Which windows of the stream a step sees.
    pub order: Order,
    /// Decides initial weights, order, dropout and samples.
    pub seed: u64,
    /// Loss on the held-out stream during training, and early stopping.
    pub validation: Validation,
    /// Texts written at each validation.
    pub samples: Samples,
    /// Device to train on.
    pub backend: Backend,
    /// Steps from one checkpoint to the next.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_steps: u64,
    /// Time after which a checkpoint is stored even between these steps, such as `90s`, `10m` or `1h30m`.
    #[schemars(extend("x-runtime" = true))]
    pub checkpoint_interval: Interval,
}

/// Texts that show training progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// Each is continued at every validation; none means no samples.
    pub prompts: Vec<String>,
    /// Tokens written after each prompt.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token always.
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

const TRAIN: In = In::new("train", &TOKENS, "Tokens to learn from.");
const VALIDATION: In = In::new("validation", &TOKENS, "Held-out tokens for the validation loss.");
const TOKENIZER_IN: In = In::new("tokenizer", &TOKENIZER, "The tokenizer that made both.");
const MODEL_OUT: Out = Out::main("model", &MODEL, "The trained model with its tokenizer.");
const HISTORY: Out = Out::new("history", &METRICS, "Loss, learning rate and gradient norm of each step.");
const SAMPLES: Out = Out::new("samples", &FILES, "Texts written during training.");

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

    /// Floating-point operations. Those of the head count for a vocabulary of common size: the tokenizer's is not
    /// known before it is trained.
    fn work(&self, _inputs: &WorkInputs) -> Option<f64> {
        const VOCABULARY: usize = 16_384;
        let architecture = self.architecture(VOCABULARY);
        let rows = self.steps as f64 * self.batch_size as f64 * self.gradient_accumulation_steps as f64;
        Some(rows * architecture.context as f64 * architecture.flops_per_token())
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
        windows: Windows {
            order: config.order,
            seed: config.seed,
            tokens,
            rows: config.batch_size,
            context: architecture.context,
        },
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
    report(config, share, &state, architecture, tokens);
    rates.report(share);
    Ok(())
}

fn report(config: &Pretrain, share: &mut Share, state: &State<CausalLm>, shape: Architecture, tokens: u64) {
    let progress = &state.progress;
    let validation = progress.final_validation(config.validation.patience > 0);
    if let Some(&loss) = validation.and_then(|validation| validation.get(LOSS)) {
        let loss = f64::from(loss);
        share.metric(Metric::new("val_loss", loss, "nat/token").lower_is_better());
        share.metric(Metric::new("val_perplexity", loss.exp(), "").lower_is_better());
    }
    if let Some(loss) = progress.mean_loss(100) {
        share.metric(Metric::new("train_loss", loss, "nat/token").lower_is_better());
    }
    let seen =
        progress.step * config.gradient_accumulation_steps * (config.batch_size * shape.context) as u64;
    share.count("parameters", shape.parameters() as u64);
    share.count("steps", progress.step);
    share.count("tokens_seen", seen);
    share.count("tokens_train", tokens);
}

impl Pretrain {
    fn architecture(&self, vocabulary: usize) -> Architecture {
        self.model.over(self.preset.shape(vocabulary))
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
