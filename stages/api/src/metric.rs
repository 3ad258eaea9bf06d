//! Owns: figures that stages report, and how those of shares become one.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `documents`, `loss_validation`, `dropped.gopher.words`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// `documents`, `bytes`, `bit/byte`; empty for plain numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Which way is good.
    #[serde(default)]
    pub better: Better,
    /// How those of several shares become one.
    #[serde(default)]
    pub merge: Merge,
    /// Whether a clock made it: then it stays out of the lock file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock: bool,
}

/// Which way a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Neither.
    #[default]
    Neutral,
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// How the values of several shares become one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Their sum.
    #[default]
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The mean, each with this weight.
    Mean(f64),
}

impl Metric {
    /// A number of things, summed over shares.
    pub fn count(name: impl Into<String>, value: u64) -> Self {
        Self::new(name, value as f64, "")
    }

    /// A figure that is summed over shares unless told otherwise.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        let (better, merge) = (Better::Neutral, Merge::Sum);
        Self { name: name.into(), value, unit: unit.to_owned(), better, merge, clock: false }
    }

    /// Says that less is better.
    pub fn lower_is_better(mut self) -> Self {
        self.better = Better::Lower;
        self
    }

    /// Says that more is better.
    pub fn higher_is_better(mut self) -> Self {
        self.better = Better::Higher;
        self
    }

    /// Sets how those of several shares become one.
    pub fn merged_by(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Says that a clock made it.
    pub fn by_clock(mut self) -> Self {
        self.clock = true;
        self
    }
}

/// Merges metrics of one name by their rule; in order of first appearance.
pub fn merge(metrics: impl IntoIterator<Item = Metric>) -> Vec<Metric> {
    let mut merged: Vec<Metric> = Vec::new();
    for metric in metrics {
        let Some(before) = merged.iter_mut().find(|before| before.name == metric.name) else {
            merged.push(metric);
            continue;
        };
        match (before.merge, metric.merge) {
            (Merge::Max, _) => before.value = before.value.max(metric.value),
            (Merge::Min, _) => before.value = before.value.min(metric.value),
            (Merge::Mean(a), Merge::Mean(b)) if a + b > 0.0 => {
                before.value = (before.value * a + metric.value * b) / (a + b);
                before.merge = Merge::Mean(a + b);
            }
            _ => before.value += metric.value,
        }
    }
    merged
}
