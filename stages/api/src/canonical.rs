//! The bytes that keys are made of. Nothing here depends on YAML, files or paths.
//!
//! A config becomes JSON. Then fields are removed from every struct, also those in lists, options and variants:
//! fields that equal the default given in the struct's JSON Schema, and fields marked `x-runtime`. The rest is
//! encoded by these rules. Lengths and counts are u64; all numbers are little-endian.
//!
//! ```text
//! null             n
//! bool             t | f
//! integer          i, 16 bytes of i128
//! float            d, 8 bytes of f64 (0.0 and -0.0 differ)
//! text             s, length, bytes
//! digest           h, 32 bytes
//! list             l, count, values
//! map, struct      m, count, (key as text, value) in the order of the keys' bytes
//! ```
//!
//! Enums use serde's external tagging: text, or a map with one key. This is revision 1; a change of these rules
//! raises the `v1` of every context string that is passed to [`Encoder::derive`].

use pipe_cache::Digest;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// Builds canonical bytes.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Nothing.
    pub fn null(&mut self) {
        self.0.push(b'n');
    }

    /// An integer.
    pub fn integer(&mut self, value: impl Into<i128>) {
        self.0.push(b'i');
        self.0.extend(value.into().to_le_bytes());
    }

    /// A UTF-8 string.
    pub fn text(&mut self, text: &str) {
        self.head(b's', text.len());
        self.0.extend(text.as_bytes());
    }

    /// A digest.
    pub fn digest(&mut self, digest: &Digest) {
        self.0.push(b'h');
        self.0.extend(digest.as_bytes());
    }

    /// Begins a list of `count` values.
    pub fn list(&mut self, count: usize) {
        self.head(b'l', count);
    }

    /// Begins a map of `count` keys and values. The caller writes them sorted by the bytes of the keys.
    pub fn map(&mut self, count: usize) {
        self.head(b'm', count);
    }

    /// A whole value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.0.push(if *value { b't' } else { b'f' }),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.list(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_bytes());
                self.map(entries.len());
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    /// Hashes what was written, under a context string.
    pub fn derive(&self, context: &'static str) -> Digest {
        Digest::derive(context, &self.0)
    }

    fn number(&mut self, number: &Number) {
        let integer = number.as_u64().map(i128::from).or(number.as_i64().map(i128::from));
        match (integer, number.as_f64()) {
            (Some(integer), _) => self.integer(integer),
            (None, Some(float)) => {
                self.0.push(b'd');
                self.0.extend(float.to_bits().to_le_bytes());
            }
            (None, None) => self.text(&number.to_string()),
        }
    }

    fn head(&mut self, kind: u8, count: usize) {
        self.0.push(kind);
        self.0.extend((count as u64).to_le_bytes());
    }
}

/// Returns the JSON Schema of a config type, including the defaults of its fields.
pub fn schema<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// Returns the part of a config that determines results: its JSON without defaults and run-time fields.
pub fn essence<T: Serialize + JsonSchema>(config: &T) -> Value {
    let value = serde_json::to_value(config).expect("invariant: a config is plain data");
    essence_of(&value, &schema::<T>())
}

/// As [`essence`], for a config whose type is known only by its schema.
pub fn essence_of(value: &Value, schema: &Value) -> Value {
    Walk { root: schema }.strip(value, schema)
}

struct Walk<'a> {
    root: &'a Value,
}

impl<'a> Walk<'a> {
    fn strip(&self, value: &Value, schema: &'a Value) -> Value {
        let schema = self.resolve(schema);
        match value {
            Value::Object(fields) => match self.object(fields, schema) {
                Some(schema) => Value::Object(self.strip_fields(fields, schema)),
                None => value.clone(),
            },
            Value::Array(items) => {
                let schema = self.alternatives(schema).find(|schema| schema["type"] == "array");
                let each = |(position, item): (usize, &Value)| {
                    let schema = schema.unwrap_or(&Value::Null);
                    let own = schema["prefixItems"].get(position).unwrap_or(&schema["items"]);
                    self.strip(item, own)
                };
                Value::Array(items.iter().enumerate().map(each).collect())
            }
            _ => value.clone(),
        }
    }

    fn strip_fields(&self, fields: &Map<String, Value>, schema: &'a Value) -> Map<String, Value> {
        let mut kept = Map::new();
        for (name, value) in fields {
            let own = &schema["properties"][name];
            // A map has no properties, only values of one schema.
            let own = if own.is_null() { &schema["additionalProperties"] } else { own };
            let is_default = own.get("default").is_some_and(|default| default == value);
            let is_runtime = own.get("x-runtime").is_some_and(|mark| mark == true);
            if !is_default && !is_runtime {
                kept.insert(name.clone(), self.strip(value, own));
            }
        }
        kept
    }

    /// Finds the struct, variant or map that an object is.
    fn object(&self, fields: &Map<String, Value>, schema: &'a Value) -> Option<&'a Value> {
        let fits = |schema: &&Value| {
            let properties = schema["properties"].as_object();
            let open = schema["additionalProperties"].is_object() || schema["additionalProperties"] == true;
            let known = |name: &String| open || properties.is_some_and(|known| known.contains_key(name));
            let required = schema["required"].as_array();
            let has = |name: &Value| name.as_str().is_some_and(|name| fields.contains_key(name));
            schema["type"] == "object"
                && fields.keys().all(known)
                && required.is_none_or(|names| names.iter().all(has))
        };
        self.alternatives(schema).find(fits)
    }

    fn alternatives(&self, schema: &'a Value) -> Box<dyn Iterator<Item = &'a Value> + '_> {
        let listed = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema[key].as_array());
        let below = listed.flatten().flat_map(|schema| self.alternatives(self.resolve(schema)));
        Box::new(std::iter::once(schema).chain(below))
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // Schemas made by schemars have reference chains of only a few links.
        for _ in 0..16 {
            let Some(name) = schema["$ref"].as_str().and_then(|way| way.strip_prefix("#/$defs/")) else {
                break;
            };
            schema = &self.root["$defs"][name];
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, JsonSchema, Clone)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        name: String,
        rate: f64,
        narrow: f32,
        inner: Inner,
        maybe: Option<Inner>,
        list: Vec<Inner>,
        choice: Choice,
        /// Does not affect results.
        #[schemars(extend("x-runtime" = true))]
        prefetch: u32,
    }

    #[derive(Serialize, Deserialize, JsonSchema, Clone)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        size: u32,
        words: Vec<String>,
    }

    /// One of three.
    #[derive(Serialize, Deserialize, JsonSchema, Clone)]
    #[serde(rename_all = "kebab-case")]
    enum Choice {
        /// Nothing more.
        Plain,
        /// With a struct.
        With(Inner),
        /// With fields.
        Fields { size: u32 },
    }

    impl Default for Outer {
        fn default() -> Self {
            let (inner, maybe, list) = (Inner::default(), None, vec![]);
            let (name, rate, narrow, choice) = ("x".into(), 3e-4, 0.1, Choice::Plain);
            Self { name, rate, narrow, inner, maybe, list, choice, prefetch: 4 }
        }
    }

    impl Default for Inner {
        fn default() -> Self {
            Self { size: 7, words: vec!["a".into()] }
        }
    }

    fn digest(outer: &Outer) -> String {
        let mut out = Encoder::default();
        out.value(&essence(outer));
        out.derive("pipe test v1").to_string()
    }

    #[test]
    fn defaults_are_left_out_wherever_a_struct_stands() {
        assert_eq!(essence(&Outer::default()), serde_json::json!({}));
        let inner = Inner { size: 8, ..Inner::default() };
        let outer = Outer {
            inner: inner.clone(),
            maybe: Some(inner.clone()),
            list: vec![Inner::default(), inner.clone()],
            choice: Choice::With(inner),
            prefetch: 9,
            ..Outer::default()
        };
        let expected = serde_json::json!({
            "inner": { "size": 8 }, "maybe": { "size": 8 }, "list": [{}, { "size": 8 }],
            "choice": { "with": { "size": 8 } },
        });
        assert_eq!(essence(&outer), expected);
        let fields = Outer { choice: Choice::Fields { size: 7 }, ..Outer::default() };
        assert_eq!(essence(&fields), serde_json::json!({ "choice": { "fields": { "size": 7 } } }));
    }

    #[test]
    fn a_present_default_and_an_absent_option_differ() {
        let some = Outer { maybe: Some(Inner::default()), ..Outer::default() };
        assert_eq!(essence(&some), serde_json::json!({ "maybe": {} }));
        assert_ne!(digest(&some), digest(&Outer::default()));
    }

    #[test]
    fn the_canonical_form_is_pinned() {
        // If this digest changes, all existing caches become stale; see the rules above.
        let outer = Outer { name: "ä".into(), rate: 1e-3, list: vec![Inner::default()], ..Outer::default() };
        assert_eq!(digest(&outer), PINNED);
    }

    const PINNED: &str = "6146868424565d2d53f310a6a57550856a387344719af76146ac85fa72c25d51";
}
