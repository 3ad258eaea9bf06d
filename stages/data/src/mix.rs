//! Owns: how much of each of several sets of tokens goes into training, and in which order. Nothing here depends on text or on
//! models.

mod buckets;

mod choice;

use crate::documents::DOCUMENTS;
use crate::none_left;
use crate::tokens::TOKENS;
use buckets::Bucketing;
pub use buckets::Buckets;
use choice::{Choice, Counted, Counting, InBucket, choose, count, limit};
use pipe_stage::{
    Artifact, Code, Context, Entry, Error, In, Item, KnownInputs, Metric, Misfit, Out, Port, Result, Stage,
    Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Mixes sets of tokens by weight: `needs: { sets: { web: web-tokens, code: code-tokens } }`.
///
/// A set with weight 0.7 makes up 70 % of the tokens, but for less than a document. Of a set that has more than that,
/// documents are taken in the order of the hashes of their ids, so a smaller share is part of a larger one; a set that has
/// less is repeated. The metrics give tokens, share
/// and epochs of each set (`epochs.web`). No token is copied: the output lists whole shards, several times if they are
/// repeated, and views of them. `pretrain` shuffles them together.
///
/// With `buckets`, documents of a set are used more or less often by their length, or by a fact such as a score. Scores are
/// those of the documents that the tokens come from, under the same names:
/// `needs: { sets: { web: web-tokens }, documents: { web: scored } }`.
///
/// With `phases`, the mixture changes in the course of training: phases follow each other in the output, and a set goes on in
/// each phase with the documents that it has not used yet. Within a phase, parts of the sets alternate. Train on it with
/// `order: sequential` in `pretrain`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Share of each set, in any unit: `{ web: 7, code: 3 }`. A set that is not named is an error. Without weights, each set has
    /// its natural share, changed by `temperature`.
    pub weights: BTreeMap<String, f64>,
    /// Tokens of the mixture. By default as many as there can be without repeating a set more often than `repeats_max`.
    pub tokens: Option<u64>,
    /// Maximum number of times that a set is used, at least 1, also a fraction such as 1.5. The default is 1. Up to 4 epochs are
    /// nearly as good as new data (Muennighoff et al. 2023).
    pub repeats_max: f64,
    /// Without weights: a set of n tokens gets a share in proportion to n^(1/temperature), as for mT5 and XLM-R. 1 keeps the
    /// natural shares; higher temperatures raise those of small sets. At least 1.
    pub temperature: f64,
    /// Random seed of the choice of documents.
    pub seed: u64,
    /// Divides all sets by a fact of their documents. By default, all documents of a set are used equally often.
    pub buckets: Option<Buckets>,
    /// A curriculum: mixtures that follow each other, in place of `weights` and `tokens`.
    pub phases: Vec<Phase>,
}

/// A part of a curriculum.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Tokens of the phase.
    pub tokens: u64,
    /// Share of each set in the phase, in any unit.
    pub weights: BTreeMap<String, f64>,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            weights: BTreeMap::new(),
            tokens: None,
            repeats_max: 1.0,
            temperature: 1.0,
            seed: 0,
            buckets: None,
            phases: Vec::new(),
        }
    }
}

const SETS: In = In::new("sets", &TOKENS, "Sets of tokens of the same tokenizer, by name.").many();
const DOCUMENTS_IN: In =
    In::new("documents", &DOCUMENTS, "The documents of the sets, by the same names, for `buckets`.")
        .optional()
        .many();
const OUTPUT: Out = Out::main("tokens", &TOKENS, "The mixture.");
const METRICS: [&str; 2] = ["tokens", "documents"];
const BY_SET: [&str; 3] = ["tokens.", "share.", "epochs."];

impl Stage for Mix {
    const NAME: &'static str = "mix";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[SETS.port(), DOCUMENTS_IN.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        let repeats = (1.0..=1000.0).contains(&self.repeats_max);
        let temperature = (1.0..=1000.0).contains(&self.temperature);
        let has_weights = !self.weights.is_empty() || !self.phases.is_empty();
        let beside_phases = |is_set: bool, path: &str| {
            Misfit::unless(!is_set || self.phases.is_empty(), path, "has no effect beside `phases`")
        };
        let faults = [
            Misfit::unless(self.tokens != Some(0), "tokens", "must be at least 1"),
            Misfit::unless(repeats, "repeats_max", "must be from 1 to 1000"),
            Misfit::unless(temperature, "temperature", "must be from 1 to 1000"),
            Misfit::unless(
                !has_weights || self.temperature == 1.0,
                "temperature",
                "has no effect beside weights",
            ),
            beside_phases(!self.weights.is_empty(), "weights"),
            beside_phases(self.tokens.is_some(), "tokens"),
            Misfit::unless(self.phases.len() <= PHASES_MAX, "phases", "must be at most 99"),
        ];
        let phases = self.phases.iter().enumerate().flat_map(|(number, phase)| {
            let path = format!("phases[{number}]");
            let tokens = Misfit::unless(phase.tokens > 0, &format!("{path}.tokens"), "must be at least 1");
            let none = phase.weights.is_empty();
            let none = none.then(|| Misfit::new(format!("{path}.weights"), "must name the sets"));
            let weights = check_weights(&phase.weights, &format!("{path}.weights"));
            tokens.into_iter().chain(none).chain(weights).collect::<Vec<_>>()
        });
        let buckets = self.buckets.as_ref().map(check_buckets).unwrap_or_default();
        check_weights(&self.weights, "weights")
            .into_iter()
            .chain(faults.into_iter().flatten())
            .chain(phases)
            .chain(buckets)
            .collect()
    }

    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit> {
        let needs = self.bucketing().is_some_and(|bucketing| bucketing.needs_facts());
        let has = connected.contains(&DOCUMENTS_IN.name());
        let missing = (needs && !has).then(|| {
            Misfit::new("buckets.by", "is a fact of documents, which `needs` does not name")
                .help("name the documents of each set, as in `needs: { sets: { web: tokens }, documents: { web: scored } }`")
        });
        let unused = (!needs && has)
            .then(|| Misfit::new("", "has `documents` in `needs`, but no `buckets` by one of their facts"));
        missing.into_iter().chain(unused).collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let labels = |port| inputs.of(port).iter().map(|input| input.label.as_str()).collect::<Vec<&str>>();
        let (sets, documents) = (labels(SETS), labels(DOCUMENTS_IN));
        if sets.is_empty() {
            return Vec::new();
        }
        let mut faults = unknown_sets(&self.weights, "weights", &sets);
        for (number, phase) in self.phases.iter().enumerate() {
            faults.extend(unknown_sets(&phase.weights, &format!("phases[{number}].weights"), &sets));
        }
        let missing = sets.iter().filter(|set| !documents.is_empty() && !documents.contains(set));
        faults.extend(missing.map(|set| {
            Misfit::new("", format!("the set `{set}` has no documents in `needs.documents`"))
                .help("give the documents of each set the name of the set")
        }));
        faults
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let by_set = BY_SET.map(|metric| format!("{metric}*"));
        Some(METRICS.map(str::to_owned).into_iter().chain(by_set).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        METRICS.iter().for_each(|metric| ctx.metric(Metric::count(*metric, 0)));
        let sets = self.sets(ctx)?;
        check_tokenizers(&sets)?;
        let phases = self.wanted(&sets)?;
        let mut used: Vec<Vec<u64>> = sets.iter().map(|set| vec![0; set.buckets.len()]).collect();
        let (mut entries, mut taken) = (Vec::new(), Vec::new());
        for (number, wanted) in phases.iter().enumerate() {
            let phase = Span::of(&sets, &mut used, wanted);
            if self.phases.is_empty() {
                for piece in phase.pieces(ctx, &sets, number)? {
                    entries.extend(piece.entries.iter().cloned());
                    taken.push(piece);
                }
                continue;
            }
            let shards: usize = sets.iter().map(|set| set.shards.len()).sum();
            let blocks = (PIECES_MIN / shards.max(1)).clamp(1, PIECES_MIN) as u64;
            let mut position = 0;
            for block in 0..blocks {
                let pieces = phase.block(block, blocks).pieces(ctx, &sets, number)?;
                for entry in alternating(&pieces) {
                    let name = format!("phase-{:02}/{position:06}/{}", number + 1, entry.name);
                    entries.push(Entry { name, content: entry.content.clone() });
                    position += 1;
                }
                taken.extend(pieces);
            }
        }
        if entries.is_empty() {
            let reason = |set: &Set| {
                let why =
                    format!("they are in the set `{}`, and none fits into its share of `tokens`", set.name);
                (set.buckets.iter().map(|bucket| bucket.documents).sum(), why)
            };
            none_left::warn(ctx, "no documents are left", sets.iter().map(reason));
        }
        self.report(ctx, &sets, &taken);
        ctx.output(OUTPUT, entries)
    }
}

/// Maximum number of phases, so that their names sort in their order.
const PHASES_MAX: usize = 99;
/// Pieces into which a phase is divided at least, so that its sets alternate, unless they have more shards.
const PIECES_MIN: usize = 64;

fn check_weights(weights: &BTreeMap<String, f64>, path: &str) -> Vec<Misfit> {
    let each = weights.iter().filter_map(|(name, weight)| {
        let path = format!("{path}.{name}");
        Misfit::unless(weight.is_finite() && *weight >= 0.0, &path, "must be 0 or more")
    });
    let some = weights.is_empty() || weights.values().any(|weight| *weight > 0.0);
    let sum = weights.values().filter(|weight| weight.is_finite()).sum::<f64>().is_finite();
    let faults = [
        Misfit::unless(some, path, "must not all be 0"),
        Misfit::unless(sum, path, "must be smaller: their sum is infinite"),
    ];
    each.chain(faults.into_iter().flatten()).collect()
}

fn check_buckets(buckets: &Buckets) -> Vec<Misfit> {
    const LIMITS_MAX: usize = 63;
    let Buckets { by, at, weights } = buckets;
    let ascend = at.iter().all(|limit| limit.is_finite()) && at.windows(2).all(|pair| pair[0] < pair[1]);
    let numbers = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
    let some = weights.iter().any(|weight| *weight > 0.0);
    let faults = [
        Misfit::unless(!by.is_empty(), "buckets.by", "must name a fact"),
        Misfit::unless((1..=LIMITS_MAX).contains(&at.len()), "buckets.at", "must have 1 to 63 limits"),
        Misfit::unless(ascend, "buckets.at", "must ascend"),
        Misfit::unless(
            weights.len() == at.len() + 1,
            "buckets.weights",
            format!("must have {} numbers: {} limits make as many buckets", at.len() + 1, at.len()),
        ),
        Misfit::unless(numbers && some, "buckets.weights", "must be 0 or more, and not all 0"),
    ];
    faults.into_iter().flatten().collect()
}

/// Errors in the names of weights.
fn unknown_sets(weights: &BTreeMap<String, f64>, path: &str, labels: &[&str]) -> Vec<Misfit> {
    if weights.is_empty() {
        return Vec::new();
    }
    let known = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    let help = "name the sets in `needs`, as in `needs: { sets: { web: web-tokens, code: code-tokens } }`";
    let unknown = weights.keys().filter(|name| !labels.contains(&name.as_str())).map(|name| {
        let message = format!("is the weight of no set; the sets are {known}");
        Misfit::new(format!("{path}.{name}"), message).help(help)
    });
    let missing = labels.iter().filter(|label| !weights.contains_key(**label)).map(|label| {
        Misfit::new(path, format!("has no weight for the set `{label}`"))
            .help("a weight of 0 leaves a set out")
    });
    unknown.chain(missing).collect()
}

/// A set of tokens.
struct Set {
    name: String,
    counting: Counting,
    counted: Vec<Counted>,
    step: Step,
    /// The shards, each with what is known of its facts.
    shards: Vec<Item>,
    entries: Vec<Entry>,
    /// Everything that is counted, by bucket.
    buckets: Vec<InBucket>,
    /// How often each bucket is used, relative to the one that is used most.
    frequencies: Vec<f64>,
}

impl Set {
    fn tokens(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.tokens).sum()
    }

    /// Tokens that are used until one bucket is used up.
    fn capacity(&self) -> f64 {
        self.buckets.iter().zip(&self.frequencies).map(|(bucket, often)| bucket.tokens as f64 * often).sum()
    }
}

impl Mix {
    fn bucketing(&self) -> Option<Bucketing> {
        self.buckets.as_ref().map(|buckets| Bucketing { by: buckets.by.clone(), at: buckets.at.clone() })
    }

    /// Counts the sets.
    fn sets(&self, ctx: &Context) -> Result<Vec<Set>> {
        let counting = Counting { seed: self.seed, bucketing: self.bucketing() };
        let weights = self.buckets.as_ref().map_or_else(|| vec![1.0], |buckets| buckets.weights.clone());
        let mut sets = Vec::new();
        for (number, input) in (1..).zip(ctx.many(SETS)) {
            let name = if input.label.is_empty() { format!("set-{number}") } else { input.label.clone() };
            let facts = self.facts_of(ctx, &name, number - 1, &input.artifact)?;
            let shards: Vec<Item> = input
                .artifact
                .shards()
                .into_iter()
                .zip(&facts)
                .map(|(shard, facts)| shard.and(facts))
                .collect();
            let step = ctx.each("counted", &counting, shards.clone(), count)?;
            let counted = step.values::<Counted>()?;
            let mut buckets = vec![InBucket::default(); weights.len()];
            for (bucket, more) in counted.iter().flat_map(buckets_of) {
                buckets[bucket].tokens += more.tokens;
                buckets[bucket].documents += more.documents;
            }
            // Of the buckets that have documents.
            let filled = weights.iter().zip(&buckets).filter(|(_, bucket)| bucket.tokens > 0);
            let most = filled.map(|(weight, _)| *weight).fold(0.0, f64::max);
            let frequencies =
                weights.iter().map(|weight| if most > 0.0 { (weight / most).min(1.0) } else { 0.0 });
            let (counting, frequencies) = (counting.clone(), frequencies.collect());
            let entries = input.artifact.entries.clone();
            sets.push(Set { name, counting, counted, step, shards, entries, buckets, frequencies });
        }
        Ok(sets)
    }

    /// What is known of the facts of a set's shards.
    fn facts_of(&self, ctx: &Context, name: &str, number: usize, tokens: &Artifact) -> Result<Vec<Item>> {
        let Some(bucketing) = self.bucketing().filter(Bucketing::needs_facts) else {
            return Ok(vec![Item::new("", []); tokens.entries.len()]);
        };
        let documents = ctx.many(DOCUMENTS_IN);
        let own = match documents.iter().all(|input| input.label.is_empty()) {
            true => documents.get(number),
            false => documents.iter().find(|input| input.label == name),
        };
        let own = own.ok_or_else(|| {
            Error::input(format!("the set `{name}` has no documents in `needs.documents`"))
                .help("give the documents of each set the name of the set")
        })?;
        buckets::join(ctx, name, &bucketing, &own.artifact, tokens)
    }
}

fn buckets_of(counted: &Counted) -> impl Iterator<Item = (usize, &InBucket)> {
    counted.buckets.iter().enumerate()
}

/// What is taken of each bucket of each set: a range of tokens of its endless repetition.
struct Span(Vec<Vec<std::ops::Range<u64>>>);

/// What was taken of a bucket in one epoch of it.
struct Piece {
    phase: usize,
    set: usize,
    bucket: usize,
    entries: Vec<Entry>,
    tokens: u64,
    documents: u64,
}

impl Span {
    /// The tokens after those that were used, which are moved on.
    fn of(sets: &[Set], used: &mut [Vec<u64>], wanted: &[u64]) -> Self {
        let of_set = |((set, used), wanted): ((&Set, &mut Vec<u64>), &u64)| {
            let capacity = set.capacity();
            let of_bucket = |((used, bucket), often): ((&mut u64, &InBucket), &f64)| {
                let share = bucket.tokens as f64 * often;
                // Rounded down, but for the errors of the arithmetic; without rounding if there is one bucket.
                let part = || *wanted as f64 * share / capacity * (1.0 + 1e-12);
                let more = if share == capacity { *wanted as f64 } else { part() };
                let from = *used;
                *used += if capacity > 0.0 { more as u64 } else { 0 };
                from..*used
            };
            used.iter_mut().zip(&set.buckets).zip(&set.frequencies).map(of_bucket).collect()
        };
        Self(sets.iter().zip(used).zip(wanted).map(of_set).collect())
    }

    /// One of several parts of about the same size.
    fn block(&self, block: u64, blocks: u64) -> Self {
        let part = |range: &std::ops::Range<u64>| {
            let at = |block: u64| {
                let tokens = u128::from(range.end - range.start) * u128::from(block) / u128::from(blocks);
                range.start + tokens as u64
            };
            at(block)..at(block + 1)
        };
        Self(self.0.iter().map(|set| set.iter().map(part).collect()).collect())
    }

    fn pieces(&self, ctx: &Context, sets: &[Set], phase: usize) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for (number, (set, ranges)) in sets.iter().zip(&self.0).enumerate() {
            for (bucket, range) in ranges.iter().enumerate().filter(|(_, range)| !range.is_empty()) {
                let own = set.buckets[bucket].tokens;
                for epoch in range.start / own..range.end.div_ceil(own) {
                    let from = range.start.max(epoch * own) - epoch * own;
                    let to = range.end.min((epoch + 1) * own) - epoch * own;
                    let (entries, tokens, documents) = take(ctx, set, bucket, from..to)?;
                    let entries =
                        entries.into_iter().map(|entry| named(set, bucket, epoch + 1, entry)).collect();
                    pieces.push(Piece { phase, set: number, bucket, entries, tokens, documents });
                }
            }
        }
        Ok(pieces)
    }
}

/// The documents of a bucket that have these tokens in the order of hashes: entries, tokens and documents.
fn take(
    ctx: &Context,
    set: &Set,
    bucket: usize,
    range: std::ops::Range<u64>,
) -> Result<(Vec<Entry>, u64, u64)> {
    let own = &set.buckets[bucket];
    let is_whole = range == (0..own.tokens);
    if is_whole && set.buckets.len() == 1 {
        return Ok((set.entries.clone(), own.tokens, own.documents));
    }
    let limit = |tokens: u64| limit(ctx, &set.step, &set.counted, bucket, tokens);
    let from = if range.start == 0 { 0 } else { limit(range.start)? };
    let below = if range.end == own.tokens { u64::MAX } else { limit(range.end)? };
    let choice = Choice { counting: set.counting.clone(), bucket: bucket as u32, from, below };
    let part = ctx.each("part", &choice, set.shards.clone(), choose)?;
    let (mut tokens, mut documents) = (0, 0);
    for more in part.values::<InBucket>()? {
        tokens += more.tokens;
        documents += more.documents;
    }
    Ok((part.entries("tokens"), tokens, documents))
}

/// The entries of several pieces in turn: each piece at even distances.
fn alternating(pieces: &[Piece]) -> Vec<&Entry> {
    let place = |(number, piece): (usize, &'_ Piece)| {
        let count = piece.entries.len() as f64;
        (0..piece.entries.len()).map(move |at| ((at as f64 + 0.5) / count, number, at)).collect::<Vec<_>>()
    };
    let mut places: Vec<(f64, usize, usize)> = pieces.iter().enumerate().flat_map(place).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    places.into_iter().map(|(_, piece, at)| &pieces[piece].entries[at]).collect()
}

impl Mix {
    /// How many tokens of each set are used in each phase.
    fn wanted(&self, sets: &[Set]) -> Result<Vec<Vec<u64>>> {
        let own: Vec<f64> = sets.iter().map(Set::capacity).collect();
        if self.phases.is_empty() {
            return Ok(vec![self.wanted_of_all(sets, &own)?]);
        }
        let mut wanted: Vec<Vec<f64>> = Vec::new();
        for phase in &self.phases {
            let shares = shares(sets.iter().map(|set| phase.weights.get(&set.name).copied().unwrap_or(0.0)));
            check_filled(sets, &shares, &own)?;
            wanted.push(shares.into_iter().map(|share| share * phase.tokens as f64).collect());
        }
        let mut short = Vec::new();
        for (number, (set, own)) in sets.iter().zip(&own).enumerate() {
            let all: f64 = wanted.iter().map(|wanted| wanted[number]).sum();
            if all > own * self.repeats_max * (1.0 + 1e-9) {
                short.push(format!("`{}` would be used {:.2} times", set.name, all / own));
            }
        }
        if !short.is_empty() {
            let message = format!(
                "there are not enough tokens for these phases: {}, but `repeats_max` is {}",
                short.join(", "),
                self.repeats_max
            );
            return Err(Error::input(message)
                .help("raise `repeats_max`, or lower `tokens` or the weights in `phases`"));
        }
        Ok(wanted
            .into_iter()
            .map(|wanted| wanted.into_iter().map(|tokens| tokens as u64).collect())
            .collect())
    }

    /// How many tokens of each set are used in a mixture without phases.
    fn wanted_of_all(&self, sets: &[Set], own: &[f64]) -> Result<Vec<u64>> {
        let weights: Vec<f64> = match self.weights.is_empty() {
            true => own.iter().map(|tokens| root(*tokens, self.temperature)).collect(),
            false => sets.iter().map(|set| self.weights.get(&set.name).copied().unwrap_or(0.0)).collect(),
        };
        let shares = shares(weights.into_iter());
        check_filled(sets, &shares, own)?;
        let possible = shares.iter().zip(own).filter(|(share, _)| **share > 0.0);
        let most =
            possible.map(|(share, tokens)| tokens * self.repeats_max / share).fold(f64::INFINITY, f64::min);
        let most = if most.is_finite() { most } else { 0.0 };
        let wanted = match self.tokens {
            None => most,
            Some(tokens) if tokens as f64 <= most * (1.0 + 1e-9) => tokens as f64,
            Some(tokens) => {
                let short = sets.iter().zip(&shares).zip(own);
                let short = short
                    .filter(|((_, share), own)| **share * tokens as f64 > **own * self.repeats_max)
                    .map(|((set, share), own)| {
                        format!("`{}` would be used {:.2} times", set.name, share * tokens as f64 / own)
                    });
                let message = format!(
                    "there are not enough tokens for a mixture of {tokens}: {}, but `repeats_max` is {}",
                    short.collect::<Vec<_>>().join(", "),
                    self.repeats_max
                );
                let help =
                    format!("lower `tokens` to {}, raise `repeats_max`, or change the weights", most as u64);
                return Err(Error::input(message).help(help));
            }
        };
        // A share of a sum may be a hair above the set that limits it.
        let of_set = |(share, own): (&f64, &f64)| (share * wanted).min(own * self.repeats_max) as u64;
        Ok(shares.iter().zip(own).map(of_set).collect())
    }

    fn report(&self, ctx: &Context, sets: &[Set], taken: &[Piece]) {
        let ratio = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
        let tokens = |is: &dyn Fn(&Piece) -> bool| -> u64 {
            taken.iter().filter(|piece| is(piece)).map(|piece| piece.tokens).sum()
        };
        let all = tokens(&|_| true);
        ctx.metric(Metric::count(METRICS[0], all));
        ctx.metric(Metric::count(METRICS[1], taken.iter().map(|piece| piece.documents).sum()));
        let [tokens_of, share_of, epochs_of] = BY_SET;
        for (number, set) in sets.iter().enumerate() {
            let name = &set.name;
            let own = tokens(&|piece| piece.set == number);
            ctx.metric(Metric::count(format!("{tokens_of}{name}"), own));
            ctx.metric(Metric::new(format!("{share_of}{name}"), ratio(own, all), ""));
            ctx.metric(Metric::new(format!("{epochs_of}{name}"), ratio(own, set.tokens()), ""));
            for (bucket, counted) in set.buckets.iter().enumerate().filter(|_| set.buckets.len() > 1) {
                let own = tokens(&|piece| (piece.set, piece.bucket) == (number, bucket));
                let name = format!("{name}.bucket-{}", bucket + 1);
                ctx.metric(Metric::count(format!("{tokens_of}{name}"), own));
                ctx.metric(Metric::new(format!("{epochs_of}{name}"), ratio(own, counted.tokens), ""));
            }
            for phase in 0..self.phases.len() {
                let own = tokens(&|piece| (piece.set, piece.phase) == (number, phase));
                let name = format!("{name}.phase-{}", phase + 1);
                ctx.metric(Metric::count(format!("{tokens_of}{name}"), own));
                let all = tokens(&|piece| piece.phase == phase);
                ctx.metric(Metric::new(format!("{share_of}{name}"), ratio(own, all), ""));
            }
        }
    }
}

/// Weights as parts of 1; all 0 if they are.
fn shares(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect()
}

/// A set with a share must have tokens.
fn check_filled(sets: &[Set], shares: &[f64], own: &[f64]) -> Result<()> {
    for ((set, share), tokens) in sets.iter().zip(shares).zip(own) {
        if *share > 0.0 && *tokens == 0.0 {
            let message = format!("the set `{}` has a weight, but no tokens", set.name);
            return Err(Error::input(message).help("set its weight to 0, or see why it is empty"));
        }
    }
    Ok(())
}

/// An entry of an epoch of a set, under a name of its own.
fn named(set: &Set, bucket: usize, epoch: u64, entry: Entry) -> Entry {
    let bucket = if set.buckets.len() > 1 { format!("bucket-{}/", bucket + 1) } else { String::new() };
    Entry { name: format!("{}/{bucket}{epoch:03}/{}", set.name, entry.name), content: entry.content }
}

/// `value` to the power of `1 / root`, the same bits on every machine: a product of square roots of square roots, one
/// for each bit of the exponent.
fn root(value: f64, root: f64) -> f64 {
    const BITS: usize = 40;
    if value <= 0.0 || root == 1.0 {
        return value.max(0.0);
    }
    let (mut exponent, mut power, mut product) = (1.0 / root, value, 1.0);
    for _ in 0..BITS {
        power = power.sqrt();
        exponent *= 2.0;
        if exponent >= 1.0 {
            exponent -= 1.0;
            product *= power;
        }
    }
    product
}

/// Ids of one tokenizer mean nothing to another.
fn check_tokenizers(sets: &[Set]) -> Result<()> {
    let of = |set: &Set| {
        set.counted.iter().map(|counted| counted.tokenizer.clone()).find(|tokenizer| !tokenizer.is_empty())
    };
    let mut known = sets.iter().filter_map(|set| Some((set, of(set)?)));
    let Some((first, tokenizer)) = known.next() else { return Ok(()) };
    match known.find(|(_, other)| *other != tokenizer) {
        None => Ok(()),
        Some((set, _)) => {
            let message =
                format!("the tokens of `{}` and `{}` are of different tokenizers", first.name, set.name);
            Err(Error::input(message).help("tokenize both sets with the same tokenizer"))
        }
    }
}

#[cfg(test)]
mod tests;
