//! Owns: numbers with their nouns, for people.

/// `1 shard`, `2 shards`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
