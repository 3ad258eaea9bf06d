//! Owns: what is known of artifacts before they exist, because it follows from the settings of the stages that make
//! them. Knows no stage type and no name of a fact.

use crate::In;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is known of an artifact before it exists, by name: the vocabulary size of a tokenizer, the shape of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(BTreeMap<String, Value>);

impl Facts {
    /// Adds a fact; one that is not plain data is left out.
    pub fn with(mut self, name: &str, fact: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(fact) {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// Returns a fact; `None` where it is not known.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }
}

/// An input before its artifact exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownInput {
    /// Its name in the map that `needs` gives, else empty.
    pub label: String,
    /// What is known of the artifact.
    pub facts: Facts,
}

/// The inputs of a stage before their artifacts exist: what is connected, and what is known of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownInputs(BTreeMap<String, Vec<KnownInput>>);

impl KnownInputs {
    /// Adds an input.
    pub fn connect(&mut self, port: &str, input: KnownInput) {
        self.0.entry(port.to_owned()).or_default().push(input);
    }

    /// All that flows into a port, in the order of `needs`.
    pub fn of(&self, port: In) -> &[KnownInput] {
        self.0.get(port.name()).map_or(&[], Vec::as_slice)
    }

    /// Whether something flows into a port.
    pub fn is_connected(&self, port: In) -> bool {
        !self.of(port).is_empty()
    }

    /// Returns a fact about the one artifact that flows into a port.
    pub fn fact<T: DeserializeOwned>(&self, port: In, name: &str) -> Option<T> {
        match self.of(port) {
            [input] => input.facts.get(name),
            _ => None,
        }
    }
}
