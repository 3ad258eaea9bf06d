//! `pipe data sample`: a sample of a stage's documents, such as those that a rule dropped.

use clap::Args;
use pipe::cli::{FolderCommand, Work, arguments};
use pipe_data::documents::{Document, DocumentReader};
use pipe_stage::{LocalEntry, Result};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "data sample",
    kind: "documents",
    arguments: |command| {
        let command =
            command.about("Print a random sample of documents, with the rule that dropped them if any");
        Sample::augment_args(command).after_help(
            "Example: pipe data sample pipelines/gpt-small.yaml text --dropped-by gopher_duplicate_lines -n 20",
        )
    },
    port: |matches| arguments::<Sample>(matches).dropped_by.map(|_| "dropped"),
    run: Work::Entries(|entries, matches| {
        arguments::<Sample>(matches).run(entries, matches.get_flag("json"))
    }),
};

#[derive(Args)]
struct Sample {
    /// Only documents that this rule dropped, from the output `dropped`; `any` means every rule.
    #[arg(long, value_name = "RULE")]
    dropped_by: Option<String>,
    /// Number of documents.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "DOCUMENTS")]
    limit: usize,
    /// Maximum characters to print of each text.
    #[arg(long, default_value_t = 400)]
    characters: usize,
    /// Random seed; the same seed picks the same documents.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Sample {
    fn run(self, entries: &[LocalEntry], json: bool) -> Result<()> {
        const DOCUMENTS_MAX: usize = 10_000;
        let limit = self.limit.min(DOCUMENTS_MAX);
        let (mut picked, mut seen) = (Vec::new(), 0u64);
        let (mut rules, mut state) = (std::collections::BTreeMap::<String, u64>::new(), self.seed);
        for entry in entries {
            for row in DocumentReader::of_entry(entry)?.rows()? {
                let document = row?.document;
                if let Some(wanted) = self.dropped_by.as_deref().filter(|wanted| *wanted != "any") {
                    let rule = document.metadata.get("rule").map_or("", String::as_str);
                    if rule != wanted {
                        *rules.entry(rule.to_owned()).or_default() += 1;
                        continue;
                    }
                }
                seen += 1;
                reservoir(&mut picked, limit, seen, &mut state, document);
            }
        }
        picked.sort_by_key(|(place, _)| *place);
        for (_, document) in &picked {
            match json {
                true => pipe::cli::print_json(&as_json(document)),
                false => pipe::cli::print(&self.as_text(document)),
            }
        }
        let of = match self.dropped_by.as_deref() {
            None => String::new(),
            Some("any") => " dropped by any rule".to_owned(),
            Some(rule) => format!(" dropped by `{rule}`"),
        };
        pipe::cli::say(&format!("{} of {seen} documents{of}", picked.len()));
        if let (0, Some(_), false) = (seen, &self.dropped_by, rules.is_empty()) {
            let rules: Vec<String> = rules.iter().map(|(rule, count)| format!("{rule} ({count})")).collect();
            pipe::cli::say(&format!("help: rules that dropped documents: {}", rules.join(", ")));
        }
        Ok(())
    }

    fn as_text(&self, document: &Document) -> String {
        let fact =
            |name: &str| document.metadata.get(name).map(String::as_str).filter(|fact| !fact.is_empty());
        let mut heading = document.id.clone();
        for known in [&document.language, &document.url] {
            if !known.is_empty() && !heading.ends_with(known.as_str()) {
                heading += &format!("  {known}");
            }
        }
        if let Some(rule) = fact("rule").or_else(|| fact("reason")) {
            heading += &format!("\n  dropped by {rule}");
            heading += &fact("value").map(|value| format!(": {value}")).unwrap_or_default();
            heading += &fact("threshold").map(|limit| format!(" (threshold {limit})")).unwrap_or_default();
        }
        // Pages that `clean` has not read have HTML, and records without text have metadata.
        let metadata =
            || document.metadata.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
        let whole = match &document.html {
            _ if !document.text.is_empty() => document.text.clone(),
            Some(html) => String::from_utf8_lossy(html).into_owned(),
            None => metadata(),
        };
        let mut text: String = whole.chars().take(self.characters).collect();
        if text.len() < whole.len() {
            text.push('…');
        }
        let lines: String = text.lines().map(|line| format!("  | {line}\n")).collect();
        format!("{heading}\n{lines}")
    }
}

/// Keeps each of the documents seen so far with the same probability (Vitter 1985, algorithm R).
fn reservoir(
    picked: &mut Vec<(u64, Document)>,
    limit: usize,
    seen: u64,
    state: &mut u64,
    document: Document,
) {
    if picked.len() < limit {
        picked.push((seen, document));
        return;
    }
    let place = random(state) % seen;
    if let Some(old) = usize::try_from(place).ok().and_then(|place| picked.get_mut(place)) {
        *old = (seen, document);
    }
}

/// SplitMix64 (Steele et al. 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn as_json(document: &Document) -> serde_json::Value {
    serde_json::json!({
        "version": 1,
        "id": document.id,
        "text": document.text,
        "url": document.url,
        "source": document.source,
        "language": document.language,
        "license": document.license,
        "date": document.date,
        "metadata": document.metadata,
    })
}
