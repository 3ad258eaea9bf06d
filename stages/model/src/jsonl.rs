//! Values as JSON Lines.

use serde::{Serialize, de::DeserializeOwned};

/// One line per value.
pub(crate) fn to_bytes<T: Serialize>(values: &[T]) -> Vec<u8> {
    let line = |value: &T| serde_json::to_string(value).expect("invariant: plain data") + "\n";
    values.iter().map(line).collect::<String>().into_bytes()
}

/// The values of all lines; the error names the line.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let lines = text.lines().enumerate();
    lines
        .map(|(i, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1)))
        .collect()
}
