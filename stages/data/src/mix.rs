//! Owns: how much of each of several sets of tokens goes into training. Nothing here depends on text or on models.

use crate::none_left;
use crate::parts::{PARTS, part_of};
use crate::tokens::{TOKENS, TokensReader};
use pipe_stage::{
    Code, Context, Entry, Error, In, Inputs, Item, KnownInputs, Metric, Misfit, Out, Port, Result,
    RoaringBitmap, Share, Stage, Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Mixes sets of tokens by weight: `needs: { sets: { web: web-tokens, code: code-tokens } }`.
///
/// A set with weight 0.7 makes up 70 % of the tokens, but for less than a document. Of a set that has more than that,
/// documents are taken in the order of the hashes of their ids, so a smaller share is part of a larger one; a set that has
/// less is repeated. The metrics give tokens, share
/// and epochs of each set (`epochs.web`). No token is copied: the output lists whole shards, several times if they are
/// repeated, and views of them. `pretrain` shuffles them together.
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
}

impl Default for Mix {
    fn default() -> Self {
        Self { weights: BTreeMap::new(), tokens: None, repeats_max: 1.0, temperature: 1.0, seed: 0 }
    }
}

const SETS: In = In::new("sets", &TOKENS, "Sets of tokens of the same tokenizer, by name.").many();
const OUTPUT: Out = Out::main("tokens", &TOKENS, "The mixture.");
const METRICS: [&str; 2] = ["tokens", "documents"];
const BY_SET: [&str; 3] = ["tokens.", "share.", "epochs."];

impl Stage for Mix {
    const NAME: &'static str = "mix";
    /// History: 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[SETS.port(), OUTPUT.port()];

    fn check(&self) -> Vec<Misfit> {
        let weights = self.weights.iter().filter_map(|(name, weight)| {
            let path = format!("weights.{name}");
            Misfit::unless(weight.is_finite() && *weight >= 0.0, &path, "must be 0 or more")
        });
        let some = self.weights.is_empty() || self.weights.values().any(|weight| *weight > 0.0);
        let sum = self.weights.values().filter(|weight| weight.is_finite()).sum::<f64>().is_finite();
        let repeats = (1.0..=1000.0).contains(&self.repeats_max);
        let temperature = (1.0..=1000.0).contains(&self.temperature);
        let both = self.weights.is_empty() || self.temperature == 1.0;
        let faults = [
            Misfit::unless(some, "weights", "must not all be 0"),
            Misfit::unless(sum, "weights", "must be smaller: their sum is infinite"),
            Misfit::unless(self.tokens != Some(0), "tokens", "must be at least 1"),
            Misfit::unless(repeats, "repeats_max", "must be from 1 to 1000"),
            Misfit::unless(temperature, "temperature", "must be from 1 to 1000"),
            Misfit::unless(both, "temperature", "has no effect beside `weights`"),
        ];
        weights.chain(faults.into_iter().flatten()).collect()
    }

    fn check_known(&self, inputs: &KnownInputs) -> Vec<Misfit> {
        let labels: Vec<&str> = inputs.of(SETS).iter().map(|input| input.label.as_str()).collect();
        if self.weights.is_empty() || labels.is_empty() {
            return Vec::new();
        }
        let known = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let help =
            "name the sets in `needs`, as in `needs: { sets: { web: web-tokens, code: code-tokens } }`";
        let unknown = self.weights.keys().filter(|name| !labels.contains(&name.as_str())).map(|name| {
            let message = format!("is the weight of no set; the sets are {known}");
            Misfit::new(format!("weights.{name}"), message).help(help)
        });
        let missing = labels.iter().filter(|label| !self.weights.contains_key(**label)).map(|label| {
            Misfit::new("weights", format!("has no weight for the set `{label}`"))
                .help("a weight of 0 leaves a set out")
        });
        unknown.chain(missing).collect()
    }

    fn metrics(&self, _: &KnownInputs) -> Option<Vec<String>> {
        let by_set = BY_SET.map(|metric| format!("{metric}*"));
        Some(METRICS.map(str::to_owned).into_iter().chain(by_set).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        METRICS.iter().for_each(|metric| ctx.metric(Metric::count(*metric, 0)));
        let mut sets = Vec::new();
        for (number, input) in (1..).zip(ctx.many(SETS)) {
            let name = if input.label.is_empty() { format!("set-{number}") } else { input.label.clone() };
            let step = ctx.each("counted", &self.seed, input.artifact.shards(), count)?;
            sets.push(Set { name, counted: step.values()?, step, entries: &input.artifact.entries });
        }
        check_tokenizers(&sets)?;
        let wanted = self.wanted(&sets)?;
        let mut entries = Vec::new();
        let mut taken = Vec::new();
        for (set, wanted) in sets.iter().zip(&wanted) {
            let own = set.tokens().max(1);
            let (whole, rest) = (wanted / own, wanted % own);
            for epoch in 1..=whole {
                entries.extend(set.entries.iter().map(|entry| named(set, epoch, entry)));
            }
            let mut counted = Counted::default();
            for more in &set.counted {
                counted.tokens += more.tokens * whole;
                counted.documents += more.documents * whole;
            }
            if rest > 0 {
                let choice = Choice { seed: self.seed, below: set.limit(ctx, rest)? };
                let items = set.entries.iter().map(|entry| Item::new(&entry.name, [entry.clone()]));
                let part = ctx.each("part", &choice, items.collect(), choose)?;
                entries.extend(part.entries("tokens").iter().map(|entry| named(set, whole + 1, entry)));
                for more in part.values::<Counted>()? {
                    counted.tokens += more.tokens;
                    counted.documents += more.documents;
                }
            }
            taken.push(counted);
        }
        if entries.is_empty() {
            let reason = |set: &Set| {
                let why =
                    format!("they are in the set `{}`, and none fits into its share of `tokens`", set.name);
                (set.counted.iter().map(|counted| counted.documents).sum(), why)
            };
            none_left::warn(ctx, "no documents are left", sets.iter().map(reason));
        }
        self.report(ctx, &sets, &taken);
        ctx.output(OUTPUT, entries)
    }
}

/// A set of tokens.
struct Set<'a> {
    name: String,
    counted: Vec<Counted>,
    step: Step,
    entries: &'a [Entry],
}

impl Set<'_> {
    fn tokens(&self) -> u64 {
        self.counted.iter().map(|counted| counted.tokens).sum()
    }

    /// The hash below which documents have at most `wanted` tokens together, and with the next one more.
    fn limit(&self, ctx: &Context, wanted: u64) -> Result<u64> {
        let mut left = wanted;
        for part in 0..PARTS {
            let of_part = |counted: &Counted| counted.parts.get(part as usize).copied().unwrap_or(0);
            let tokens: u64 = self.counted.iter().map(of_part).sum();
            if tokens > left {
                let items = self.step.parts("sizes", std::slice::from_ref(&(part..part + 1)));
                let limit = ctx.each_of("limit", &left, items, find_limit)?.values::<u64>()?;
                return Ok(limit.first().copied().unwrap_or(0));
            }
            left -= tokens;
        }
        Ok(u64::MAX)
    }
}

/// What is in a shard, or was taken of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Counted {
    tokens: u64,
    documents: u64,
    #[serde(default)]
    tokenizer: String,
    /// Tokens by part of the documents' hashes.
    #[serde(default)]
    parts: Vec<u64>,
}

/// Which documents are taken: those with smaller hashes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
struct Choice {
    seed: u64,
    below: u64,
}

/// The place of a document in the order in which documents are taken.
fn hash_of(seed: u64, id: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("pipe mix v1");
    hasher.update(&seed.to_le_bytes()).update(id.as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hasher.finalize().as_bytes()[at]))
}

impl Mix {
    /// How many tokens of each set are used.
    fn wanted(&self, sets: &[Set]) -> Result<Vec<u64>> {
        let own: Vec<f64> = sets.iter().map(|set| set.tokens() as f64).collect();
        let weights: Vec<f64> = match self.weights.is_empty() {
            true => own.iter().map(|tokens| root(*tokens, self.temperature)).collect(),
            false => sets.iter().map(|set| self.weights.get(&set.name).copied().unwrap_or(0.0)).collect(),
        };
        let sum: f64 = weights.iter().sum();
        let shares: Vec<f64> =
            weights.iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect();
        for ((set, share), tokens) in sets.iter().zip(&shares).zip(&own) {
            if *share > 0.0 && *tokens == 0.0 {
                let message = format!("the set `{}` has a weight, but no tokens", set.name);
                return Err(Error::input(message).help("set its weight to 0, or see why it is empty"));
            }
        }
        let possible = shares.iter().zip(&own).filter(|(share, _)| **share > 0.0);
        let most =
            possible.map(|(share, tokens)| tokens * self.repeats_max / share).fold(f64::INFINITY, f64::min);
        let most = if most.is_finite() { most } else { 0.0 };
        let wanted = match self.tokens {
            None => most,
            Some(tokens) if tokens as f64 <= most * (1.0 + 1e-9) => tokens as f64,
            Some(tokens) => {
                let short = sets.iter().zip(&shares).zip(&own);
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
        Ok(shares.iter().zip(&own).map(of_set).collect())
    }

    fn report(&self, ctx: &Context, sets: &[Set], taken: &[Counted]) {
        let all: u64 = taken.iter().map(|counted| counted.tokens).sum();
        let documents: u64 = taken.iter().map(|counted| counted.documents).sum();
        ctx.metric(Metric::count(METRICS[0], all));
        ctx.metric(Metric::count(METRICS[1], documents));
        for (set, counted) in sets.iter().zip(taken) {
            let own = set.tokens();
            let ratio = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
            let [tokens, share, epochs] = BY_SET.map(|metric| format!("{metric}{}", set.name));
            ctx.metric(Metric::count(tokens, counted.tokens));
            ctx.metric(Metric::new(share, ratio(counted.tokens, all), ""));
            ctx.metric(Metric::new(epochs, ratio(counted.tokens, own), ""));
        }
    }
}

/// An entry of an epoch of a set, under a name of its own.
fn named(set: &Set, epoch: u64, entry: &Entry) -> Entry {
    Entry { name: format!("{}/{epoch:03}/{}", set.name, entry.name), content: entry.content.clone() }
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

/// Counts the documents and tokens of a shard, or of the rows that a view selects, and leaves the tokens of each document by
/// part of its hash.
fn count(seed: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let reader = TokensReader::of_entry(&inputs.item().entries()[0])?;
    let tokenizer = reader.metadata().tokenizer_digest.clone();
    let mut counted = Counted { tokenizer, parts: vec![0; PARTS as usize], ..Counted::default() };
    let mut sizes = Vec::new();
    for document in share.track("documents", reader) {
        let (id, ids) = document??;
        let hash = hash_of(*seed, &id);
        counted.documents += 1;
        counted.tokens += ids.len() as u64;
        counted.parts[part_of(hash) as usize] += ids.len() as u64;
        sizes.push((hash, ids.len() as u64));
    }
    sizes.sort_unstable();
    let mut parts = share.parts("sizes")?;
    for (hash, tokens) in sizes {
        let bytes = [hash.to_le_bytes(), tokens.to_le_bytes()].concat();
        parts.part(part_of(hash), &bytes).map_err(|error| Error::io("write", Path::new("sizes"), &error))?;
    }
    share.keep_parts(parts)?;
    share.value(&counted);
    Ok(())
}

/// Finds the hash of the first document with which there would be more tokens than wanted. The items are one part of all
/// shards.
fn find_limit(wanted: &u64, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let mut sizes: Vec<(u64, u64)> = Vec::new();
    for part in inputs.items().iter().flat_map(|item| item.entries()) {
        let bytes = part.bytes()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        sizes.extend((0..numbers.len() / 2).map(|at| (number(2 * at), number(2 * at + 1))));
    }
    sizes.sort_unstable();
    let mut tokens = 0_u64;
    let above = sizes.iter().find(|(_, more)| {
        tokens += more;
        tokens > *wanted
    });
    share.value(&above.map_or(u64::MAX, |(hash, _)| *hash));
    Ok(())
}

/// Selects the documents of a shard with small hashes.
fn choose(choice: &Choice, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let entry = &inputs.item().entries()[0];
    let reader = TokensReader::of_entry(entry)?;
    let rows = u32::try_from(reader.metadata().documents)
        .map_err(|_| Error::input("a shard of over four billion documents"))?;
    let before = entry.selection()?;
    let mut numbers: Box<dyn Iterator<Item = u32>> = match &before {
        Some(selection) => Box::new(selection.iter()),
        None => Box::new(0..rows),
    };
    let mut counted = Counted::default();
    let mut selected = RoaringBitmap::new();
    for document in share.track("documents", reader) {
        let (id, ids) = document??;
        let row =
            numbers.next().ok_or_else(|| Error::input("a shard has more documents than its selection"))?;
        if hash_of(choice.seed, &id) < choice.below {
            selected.insert(row);
            counted.documents += 1;
            counted.tokens += ids.len() as u64;
        }
    }
    drop(numbers);
    share.view("tokens", entry, rows, selected, None)?;
    share.value(&counted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::TokensWriter;
    use pipe_stage::testing::Bench;
    use pipe_stage::{Artifact, KnownInput, Outcome};

    /// Shards of ten documents of ten tokens.
    fn tokens(bench: &Bench, name: &str, shards: usize, tokenizer: &str) -> Artifact {
        let shard = |shard: usize| {
            let mut writer = TokensWriter::new(Vec::new(), 1000, tokenizer).unwrap();
            for n in 0..10 {
                writer.push(&format!("{name}-{shard}-{n}"), &[shard as u32; 10]).unwrap();
            }
            writer.finish().unwrap()
        };
        let files: Vec<(String, Vec<u8>)> =
            (0..shards).map(|n| (format!("{n:02}.parquet"), shard(n))).collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        bench.artifact("tokens", &files).unwrap()
    }

    /// Runs the stage with the sets `set-1` and `set-2`.
    fn run(bench: &Bench, mix: &Mix, sets: [usize; 2]) -> Result<Outcome> {
        assert_eq!(mix.check(), []);
        let [a, b] = [tokens(bench, "a", sets[0], "t"), tokens(bench, "b", sets[1], "t")];
        bench.run(mix, &[("sets", &a), ("sets", &b)])
    }

    fn figures(outcome: &Outcome, metric: &str) -> [f64; 2] {
        let value = |set: &str| {
            let name = format!("{metric}.set-{set}");
            outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
        };
        [value("1"), value("2")]
    }

    fn weights(a: f64, b: f64) -> BTreeMap<String, f64> {
        [("set-1".to_owned(), a), ("set-2".to_owned(), b)].into()
    }

    #[test]
    fn sets_are_used_by_weight_and_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let mix = Mix { weights: weights(1.0, 1.0), repeats_max: 3.0, ..Mix::default() };
        let outcome = run(&bench, &mix, [30, 10]).unwrap();
        assert_eq!(
            (figures(&outcome, "epochs"), figures(&outcome, "tokens")),
            ([1.0, 3.0], [3000.0, 3000.0])
        );
        let made = bench.output(&outcome, "tokens").unwrap();
        assert_eq!(made.entries.len(), 60);
        assert_eq!(made.entries[59].name, "set-2/003/09.parquet");

        // Without a budget, as much as the smaller set allows.
        let mix = Mix { weights: weights(1.0, 1.0), ..Mix::default() };
        let outcome = run(&bench, &mix, [30, 10]).unwrap();
        let [a, b] = figures(&outcome, "tokens");
        assert_eq!([a, b], [1000.0, 1000.0]);
        let documents: usize = bench
            .open(&bench.output(&outcome, "tokens").unwrap())
            .iter()
            .map(|entry| TokensReader::of_entry(entry).unwrap().count())
            .sum();
        assert_eq!(documents as f64 * 10.0, a + b);
    }

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let ids = |tokens| {
            let mix = Mix { weights: weights(1.0, 0.0), tokens: Some(tokens), ..Mix::default() };
            let outcome = run(&bench, &mix, [30, 1]).unwrap();
            let entries = bench.open(&bench.output(&outcome, "tokens").unwrap());
            let ids = entries.iter().flat_map(|entry| TokensReader::of_entry(entry).unwrap());
            ids.map(|document| document.unwrap().0).collect::<std::collections::BTreeSet<_>>()
        };
        let (few, many) = (ids(500), ids(1500));
        assert!(few.is_subset(&many) && !few.is_empty() && few.len() < many.len());
    }

    #[test]
    fn temperature_raises_small_sets() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let natural = run(&bench, &Mix::default(), [16, 4]).unwrap();
        assert_eq!(figures(&natural, "share"), [0.8, 0.2]);
        let mix = Mix { temperature: 2.0, repeats_max: 10.0, tokens: Some(6000), ..Mix::default() };
        // Square roots of 16 and 4.
        assert_eq!(figures(&run(&bench, &mix, [16, 4]).unwrap(), "tokens"), [4000.0, 2000.0]);
        assert!((root(1000.0, 3.0) - 10.0).abs() < 1e-6);
        assert_eq!((root(81.0, 2.0), root(81.0, 4.0), root(0.0, 2.0)), (9.0, 3.0, 0.0));
    }

    #[test]
    fn no_set_is_used_more_often_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        // Documents of ten tokens fill budgets up to the last whole one.
        for (repeats_max, tokens, expected) in
            [(1.5, None, [1500.0, 1500.0]), (1.25, None, [1250.0, 1250.0]), (2.5, Some(1999), [990.0, 990.0])]
        {
            let mix = Mix { weights: weights(1.0, 1.0), repeats_max, tokens, ..Mix::default() };
            let outcome = run(&bench, &mix, [30, 10]).unwrap();
            assert_eq!(figures(&outcome, "tokens"), expected);
            assert!(figures(&outcome, "epochs")[1] <= repeats_max);
        }
        bench.events.lock().unwrap().clear();
        let mix = Mix { weights: weights(1.0, 1.0), tokens: Some(8), ..Mix::default() };
        assert_eq!(figures(&run(&bench, &mix, [30, 10]).unwrap(), "tokens"), [0.0, 0.0]);
        let events = bench.events.lock().unwrap();
        let is_warning = |event: &pipe_stage::Event| match event {
            pipe_stage::Event::Note { message } => message.starts_with("warning: no documents are left"),
            _ => false,
        };
        assert!(events.iter().any(is_warning), "{events:?}");
    }

    #[test]
    fn what_cannot_be_mixed_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let mix = Mix { weights: weights(1.0, 1.0), tokens: Some(5000), ..Mix::default() };
        let error = run(&bench, &mix, [30, 10]).map(drop).unwrap_err();
        let expected = "there are not enough tokens for a mixture of 5000: `set-2` would be used 2.50 times, but \
            `repeats_max` is 1";
        assert_eq!(error.to_string(), expected);
        let paths: Vec<String> = Mix { weights: weights(1e308, 1e308), ..Mix::default() }
            .check()
            .into_iter()
            .map(|misfit| misfit.path)
            .collect();
        assert_eq!(paths, ["weights"]);
        let [a, b] = [tokens(&bench, "a", 1, "t"), tokens(&bench, "b", 1, "other")];
        let error = bench.run(&Mix::default(), &[("sets", &a), ("sets", &b)]).map(drop).unwrap_err();
        assert!(error.to_string().contains("are of different tokenizers"), "{error}");

        let mut known = KnownInputs::default();
        for label in ["web", "code"] {
            known.connect("sets", KnownInput { label: label.into(), ..KnownInput::default() });
        }
        let mix =
            Mix { weights: [("web".to_owned(), 1.0), ("cod".to_owned(), 1.0)].into(), ..Mix::default() };
        let paths: Vec<String> = mix.check_known(&known).into_iter().map(|misfit| misfit.path).collect();
        assert_eq!(paths, ["weights.cod", "weights"]);
    }

    #[test]
    fn outputs_are_stable_whatever_the_threads() {
        let digest = |threads| {
            let folder = tempfile::tempdir().unwrap();
            let mut bench = Bench::new(folder.path()).unwrap();
            bench.threads = threads;
            let mix =
                Mix { weights: weights(2.0, 1.0), repeats_max: 2.0, tokens: Some(2500), ..Mix::default() };
            run(&bench, &mix, [30, 10]).unwrap().outputs["tokens"].to_string()[..16].to_owned()
        };
        assert_eq!(digest(1), "a6683138c369df5c");
        assert_eq!(digest(4), digest(1));
    }
}
