//! Owns: the parts of a manifest besides configs and dependencies: its own fields, and each stage's resources,
//! execution settings and expectations. None of them is part of a key.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, IgnoredAny, Visitor},
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Display},
    num::NonZeroU32,
    time::Duration,
};

/// A pipeline: stages, and variables for their settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "pipe manifest")]
pub(crate) struct Envelope {
    /// Name of the pipeline: letters, digits, `_`, `-` and `.`.
    #[schemars(with = "String")]
    pub(crate) pipeline: Option<String>,
    /// Version of the manifest format: 1.
    pub(crate) version: Option<String>,
    /// Another manifest to extend, relative to this one. This manifest is merged over it.
    #[schemars(with = "Option<String>")]
    pub(crate) extends: Option<IgnoredAny>,
    /// Values for `${vars.name}`.
    #[schemars(with = "Option<std::collections::BTreeMap<String, serde_json::Value>>")]
    pub(crate) vars: Option<IgnoredAny>,
    /// Shell commands that receive the events of a run on stdin, one JSON object per line. They do not affect results
    /// or keys.
    pub(crate) observers: Vec<String>,
    /// Prices of resources, for the estimated cost of a plan.
    pub(crate) prices: Option<Prices>,
    /// Number of places in each pool, such as `licences: 2`. Pools limit how many stages of a run use a shared
    /// resource that is not a core.
    pub(crate) pools: BTreeMap<String, NonZeroU32>,
    /// Stages by name: letters, digits, `_` and `-`.
    #[schemars(with = "std::collections::BTreeMap<String, StageEntry>")]
    pub(crate) stages: Option<IgnoredAny>,
}

/// A stage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageEntry {
    /// Its type.
    #[expect(dead_code, reason = "read from the tree, where a stage with other faults has it too")]
    pub(crate) uses: String,
    /// The stages whose outputs it reads: one, a list, or a mapping from input to `stage`, `stage.output`, or several
    /// of these.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    #[expect(dead_code, reason = "read from its own subtree; here for the schema")]
    pub(crate) needs: Option<IgnoredAny>,
    /// Its settings.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    #[expect(dead_code, reason = "read from its own subtree; here for the schema")]
    pub(crate) with: Option<IgnoredAny>,
    /// The resources it needs.
    #[serde(default)]
    pub(crate) resources: Resources,
    /// How often it is retried after a failure that may be temporary: `2`, or `{ times: 5, delay: 10s, backoff: 2 }`.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Maximum running time. After it, the stage is asked to stop, and is killed after `grace`.
    #[serde(default)]
    pub(crate) timeout: Option<Time>,
    /// Time that it has to save its work when it is asked to stop [default: 60s].
    #[serde(default)]
    pub(crate) grace: Option<Time>,
    /// Where it runs: `local`.
    #[serde(default)]
    pub(crate) executor: Option<String>,
    /// Axes with their values: creates a stage for each combination, whose settings use `${matrix.AXIS}`. Or a list
    /// of axes of the stages that it depends on.
    #[serde(default)]
    #[schemars(with = "Option<Matrix>")]
    #[expect(dead_code, reason = "read from its own subtree; here for the schema")]
    pub(crate) matrix: Option<IgnoredAny>,
    /// Keep the result in the lock file, even if inputs or settings change.
    #[serde(default)]
    pub(crate) freeze: bool,
    /// Expected range of each metric, by name. A run with a metric out of range fails.
    #[serde(default)]
    pub(crate) expect: BTreeMap<String, Bounds>,
}

/// Prices of resources per hour.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// Per core and hour.
    #[schemars(range(min = 0))]
    pub cpu: f64,
    /// Per GPU and hour.
    #[schemars(range(min = 0))]
    pub gpu: f64,
    /// Per GiB of memory and hour.
    #[schemars(range(min = 0))]
    pub memory_gib: f64,
    /// Currency of the prices: `EUR`.
    pub currency: String,
}

/// Range of a metric, including both bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Minimum value.
    pub min: Option<f64>,
    /// Maximum value.
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether a value is in range; NaN never is.
    pub fn hold(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max) && !value.is_nan()
    }
}

impl Display for Bounds {
    /// As `at least 0.8, at most 30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let min = self.min.map(|min| format!("at least {min}"));
        let max = self.max.map(|max| format!("at most {max}"));
        f.write_str(&min.into_iter().chain(max).collect::<Vec<_>>().join(", "))
    }
}

/// The schema of `matrix`.
pub(crate) struct Matrix;

impl JsonSchema for Matrix {
    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = serde_json::json!({ "type": ["string", "number", "boolean", "null"] });
        let values =
            serde_json::json!({ "type": "array", "items": value, "minItems": 1, "uniqueItems": true });
        let axis = "^[A-Za-z_][A-Za-z0-9_]*$";
        json_schema!({
            "description": "Axes with their values, or axes of the stages that it needs.",
            "anyOf": [
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": { "pattern": axis },
                    "additionalProperties": { "anyOf": [values, { "type": "string", "pattern": r"\$\{" }] }
                },
                { "type": "array", "items": { "type": "string", "pattern": axis }, "minItems": 1 }
            ]
        })
    }
}

/// Resources that a stage needs while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPU cores. By default a command gets one; other stages get all cores that are free when they start.
    pub cpus: Option<NonZeroU32>,
    /// Maximum memory it will use: `16GiB`.
    pub memory: Option<Memory>,
    /// Number of GPUs.
    pub gpus: u32,
    /// Expected running time: `2h`, `1h30m`.
    pub time: Option<Time>,
    /// Places in pools of the manifest: `{ licences: 1 }`.
    pub pools: BTreeMap<String, NonZeroU32>,
}

/// How often and when a stage is retried after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct RetryFields {
    /// Number of retries.
    #[serde(default = "one")]
    times: u32,
    /// Delay before the first retry: `10s`.
    #[serde(default)]
    delay: Option<Time>,
    /// Factor by which the delay grows with each further retry; at least 1.
    #[serde(default = "twice")]
    backoff: f64,
}

fn one() -> u32 {
    1
}

fn twice() -> f64 {
    2.0
}

/// How often and when a stage is retried after a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Number of retries.
    pub times: u32,
    /// Delay before the first retry.
    pub delay: Option<Time>,
    /// Factor by which the delay grows with each further retry.
    pub backoff: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { times: 0, delay: None, backoff: twice() }
    }
}

impl Retry {
    /// Delay after this many retries, at most a day.
    pub fn pause(&self, tries: u32) -> Duration {
        const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
        let first = self.delay.map_or(0.0, |delay| delay.duration().as_secs_f64());
        let seconds = first * self.backoff.powi(tries.min(1000) as i32);
        Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64()))
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Retry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tries, or `{ times: 3, delay: 10s, backoff: 2 }`")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Retry, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
                Ok(Retry { times: u32::try_from(number).map_err(|_| wrong())?, ..Retry::default() })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Retry, A::Error> {
                let fields = RetryFields::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let RetryFields { times, delay, backoff } = fields;
                if !(1.0..=1000.0).contains(&backoff) {
                    return Err(A::Error::custom("`backoff` is a factor from 1 to 1000"));
                }
                Ok(Retry { times, delay, backoff })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl JsonSchema for Retry {
    fn schema_name() -> Cow<'static, str> {
        "Retry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<RetryFields>();
        json_schema!({
            "description": "How often and when a stage is retried after a failure that may be temporary.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, fields]
        })
    }
}

/// An amount of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub u64);

/// A span of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Converts it to the type of the standard library.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

const MEMORY_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const TIME_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Memory {
    /// Parses `16GiB` or `1.5 GB`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let bytes = MEMORY_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        scaled(number, bytes).map(Self)
    }
}

impl Time {
    /// Parses `2h`, `1h30m` or `90s`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut rest, mut total) = (text.trim(), 0u64);
        loop {
            let end = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
            let length = rest[end..].find(|letter: char| !letter.is_ascii_alphabetic());
            let next = length.map_or(rest.len(), |length| end + length);
            let (number, unit) = split_unit(&rest[..next])?;
            let milliseconds = TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1;
            total = total.checked_add(scaled(number, milliseconds)?)?;
            rest = rest[next..].trim_start();
            if rest.is_empty() {
                return Some(Self(total));
            }
        }
    }
}

fn split_unit(text: &str) -> Option<(&str, &str)> {
    let (number, unit) = text.trim().split_at(text.trim().find(|letter: char| letter.is_alphabetic())?);
    Some((number.trim_end(), unit))
}

/// Multiplies a decimal number, such as `1.5`, exactly.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| (!text.is_empty() && text.len() <= 9).then(|| text.parse::<u64>().ok())?;
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let part = digits(fraction)? as u128 * u128::from(unit) / 10u128.pow(fraction.len() as u32);
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

impl Display for Memory {
    /// In the largest unit without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = MEMORY_UNITS.iter().filter(|(name, _)| name.len() != 2);
        let fits = |unit: &&(&str, u64)| self.0.is_multiple_of(unit.1) && self.0 > 0;
        let (name, bytes) = binary.clone().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl Display for Time {
    /// As `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (name, milliseconds) in TIME_UNITS {
            if rest >= *milliseconds {
                write!(f, "{}{name}", rest / milliseconds)?;
                rest %= milliseconds;
            }
        }
        if self.0 == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

/// Reads text with units; a number without a unit is accepted only if it is unambiguous.
struct WithUnit<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
    number: fn(u64) -> Option<T>,
}

impl<T> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an amount of memory such as `16GiB` (B, kB, MB, GB, TB, KiB, MiB, GiB or TiB), or a number of bytes";
        let number = |bytes| Some(Self(bytes));
        deserializer.deserialize_any(WithUnit { expected, parse: Self::parse, number })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time with its unit, such as `90s`, `2h` or `1h30m` (ms, s, m, h or d)";
        deserializer.deserialize_any(WithUnit { expected, parse: Self::parse, number: |_| None })
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount of memory: `16GiB`, or a number of bytes.",
            "type": ["string", "integer"],
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGT]i?B|kB|B)\s*$",
            "minimum": 0
        })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: `90s`, `2h`, `1h30m`.",
            "type": "string",
            "pattern": r"^(\s*[0-9]+(\.[0-9]+)?\s*(d|h|ms|m|s))+\s*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_are_written() {
        let memory = |text| Memory::parse(text).map(|memory| memory.0);
        assert_eq!(memory("16GiB"), Some(16 << 30));
        assert_eq!(memory("1.5 GB"), Some(1_500_000_000));
        assert_eq!(memory("0.1KiB"), Some(102));
        for wrong in ["", "GiB", "16", "16 gib", "-1GiB", "1e3GiB", "99999999999TiB", "1.GiB", "1.2.3GiB"] {
            assert_eq!(memory(wrong), None, "{wrong}");
        }
        assert_eq!(Memory(16 << 30).to_string(), "16GiB");
        assert_eq!(Memory(1_500_000_000).to_string(), "1500000000B");
    }

    #[test]
    fn times_read_as_they_are_written() {
        let time = |text| Time::parse(text).map(|time| time.0);
        assert_eq!(time("2h"), Some(7_200_000));
        assert_eq!(time("1h30m"), Some(5_400_000));
        assert_eq!(time("1.5s 20ms"), Some(1520));
        for wrong in ["", "h", "2", "2 hours", "-2h", "2h3", "99999999999999999d"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        assert_eq!(Time(5_400_000).to_string(), "1h30m");
        assert_eq!(Time(0).to_string(), "0s");
    }
}
