//! Values as JSON Lines.

use serde::Serialize;

/// One line per value.
pub(crate) fn to_bytes<T: Serialize>(values: &[T]) -> Vec<u8> {
    let line = |value: &T| serde_json::to_string(value).expect("invariant: plain data") + "\n";
    values.iter().map(line).collect::<String>().into_bytes()
}
