//! Metrics that stages report, and how the values of several shares are merged.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `documents`, `val_loss`, `dropped.gopher.words`.
    pub name: String,
    /// Its value; in JSON a number, or `"NaN"`, `"Infinity"` or `"-Infinity"`.
    #[serde(with = "number")]
    pub value: f64,
    /// `documents`, `bytes`, `bit/byte`; empty for plain numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Whether higher or lower values are better.
    #[serde(default)]
    pub better: Better,
    /// How the values of several shares are merged.
    #[serde(default)]
    pub merge: Merge,
    /// Whether the value depends on a clock; such metrics are not written to the lock file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock: bool,
}

/// Whether higher or lower values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Neither.
    #[default]
    Neutral,
    /// Higher is better.
    Higher,
    /// Lower is better.
    Lower,
}

/// How the values of several shares are merged.
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
    /// Their mean, weighted by this number.
    Mean(f64),
}

impl Metric {
    /// A count, summed over shares.
    pub fn count(name: impl Into<String>, value: u64) -> Self {
        Self::new(name, value as f64, "")
    }

    /// A metric that is summed over shares by default.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        let (better, merge) = (Better::Neutral, Merge::Sum);
        Self { name: name.into(), value, unit: unit.to_owned(), better, merge, clock: false }
    }

    /// Marks lower values as better.
    pub fn lower_is_better(mut self) -> Self {
        self.better = Better::Lower;
        self
    }

    /// Marks higher values as better.
    pub fn higher_is_better(mut self) -> Self {
        self.better = Better::Higher;
        self
    }

    /// Sets how the values of several shares are merged.
    pub fn merged_by(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Marks the value as dependent on a clock.
    pub fn by_clock(mut self) -> Self {
        self.clock = true;
        self
    }
}

/// A number in JSON. Values that are not finite are written as `"NaN"`, `"Infinity"` or `"-Infinity"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(#[serde(with = "number")] pub f64);

/// Merges metrics of the same name by their rule, in the order of first appearance.
///
/// If one of the values is not a number, neither is the result. Values without weight do not count in a mean.
pub fn merge(metrics: impl IntoIterator<Item = Metric>) -> Vec<Metric> {
    let mut merged: Vec<Metric> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for metric in metrics {
        match places.get(&metric.name) {
            Some(&place) => add(&mut merged[place], &metric),
            None => {
                places.insert(metric.name.clone(), merged.len());
                merged.push(metric);
            }
        }
    }
    merged
}

fn add(before: &mut Metric, metric: &Metric) {
    let (old, new) = (before.value, metric.value);
    before.value = match (before.merge, metric.merge) {
        (Merge::Max | Merge::Min, _) if old.is_nan() || new.is_nan() => f64::NAN,
        (Merge::Max, _) => old.max(new),
        (Merge::Min, _) => old.min(new),
        (Merge::Mean(_), Merge::Mean(b)) if b.is_nan() || b <= 0.0 => old,
        (Merge::Mean(a), Merge::Mean(b)) => {
            let a = if a > 0.0 { a } else { 0.0 };
            before.merge = Merge::Mean(a + b);
            if a == 0.0 { new } else { (old * a + new * b) / (a + b) }
        }
        _ => old + new,
    };
}

/// Floating-point numbers in JSON, which cannot represent values that are not finite.
pub(crate) mod number {
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            value if value.is_finite() => serializer.serialize_f64(*value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if *value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, `NaN`, `Infinity` or `-Infinity`")
            }

            fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
                Ok(value)
            }

            fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
                match text {
                    "NaN" => Ok(f64::NAN),
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(values: &[f64], rule: impl Fn(usize) -> Merge) -> Metric {
        let metric = |(place, value): (usize, &f64)| Metric::new("figure", *value, "").merged_by(rule(place));
        merge(values.iter().enumerate().map(metric)).remove(0)
    }

    #[test]
    fn a_mean_ignores_what_has_no_weight() {
        assert_eq!(merged(&[3.0, 5.0], |_| Merge::Mean(0.0)).value, 3.0);
        assert_eq!(merged(&[3.0, 5.0], |place| Merge::Mean(place as f64)).value, 5.0);
        assert_eq!(merged(&[3.0, 5.0], |place| Merge::Mean(1.0 - place as f64)).value, 3.0);
        let nan = merged(&[f64::NAN, 5.0], |place| Merge::Mean(place as f64));
        assert_eq!((nan.value, nan.merge), (5.0, Merge::Mean(1.0)));
        assert_eq!(merged(&[3.0, 5.0, 7.0], |_| Merge::Mean(2.0)).value, 5.0);
    }

    #[test]
    fn one_that_is_no_number_is_not_hidden_by_others() {
        for rule in [Merge::Max, Merge::Min, Merge::Sum, Merge::Mean(1.0)] {
            assert!(merged(&[1.0, f64::NAN, 2.0], |_| rule).value.is_nan(), "{rule:?}");
        }
    }

    #[test]
    fn values_that_json_has_no_form_for_come_back() {
        for value in [1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, -0.0] {
            let text = serde_json::to_string(&Metric::new("figure", value, "")).unwrap();
            let back: Metric = serde_json::from_str(&text).unwrap();
            assert!(back.value == value || back.value.is_nan() && value.is_nan(), "{text}");
            let event = crate::Event::Metric { name: "figure".into(), step: 1, value };
            let text = serde_json::to_string(&event).unwrap();
            let crate::Event::Metric { value: back, .. } = serde_json::from_str(&text).unwrap() else {
                panic!("{text}")
            };
            assert!(back == value || back.is_nan() && value.is_nan(), "{text}");
        }
    }
}
