//! Helpers for tests of several stages: documents of numbered words.

use std::collections::BTreeSet;

use pipe_stage::Artifact;
use pipe_stage::testing::Bench;

use crate::documents::{Column, Document, DocumentReader, DocumentWriter};

/// Words in an order that no other `text` has.
pub(crate) fn words(text: usize, count: usize) -> String {
    let word = |n: usize| format!("w{}", (text * 7919 + n * n * 31 + n) % 3001);
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// Stores shards of (id, text).
pub(crate) fn put_documents(bench: &Bench, shards: &[Vec<(String, String)>]) -> Artifact {
    let document = |(id, text): &(String, String)| Document {
        id: id.clone(),
        text: text.clone(),
        language: "en".into(),
        ..Document::default()
    };
    let shards: Vec<Vec<Document>> =
        shards.iter().map(|shard| shard.iter().map(document).collect()).collect();
    put_full_documents(bench, &shards)
}

/// Stores shards of documents.
pub(crate) fn put_full_documents(bench: &Bench, shards: &[Vec<Document>]) -> Artifact {
    let file = |documents: &Vec<Document>| {
        let mut writer = DocumentWriter::new(Vec::new()).unwrap();
        documents.iter().for_each(|document| writer.push(document).unwrap());
        writer.finish().unwrap()
    };
    let files: Vec<(String, Vec<u8>)> =
        (0..).zip(shards).map(|(n, shard): (usize, _)| (format!("{n:04}.parquet"), file(shard))).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    bench.artifact("documents", &files).unwrap()
}

/// The ids of all documents of an artifact.
pub(crate) fn ids(bench: &Bench, documents: &Artifact) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for entry in bench.open(documents) {
        let reader = DocumentReader::of_entry(&entry).unwrap().columns(&[Column::Id]);
        ids.extend(reader.rows().unwrap().map(|row| row.unwrap().document.id));
    }
    ids
}
