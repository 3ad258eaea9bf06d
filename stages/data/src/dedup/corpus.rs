//! The documents of all shards as dedup compares them: by number, from the files of their signatures.

use super::minhash::{jaccard, may_reach};
use super::pool::FilePool;
use super::signatures::Signatures;
use pipe_stage::{Error, Inputs, LocalEntry, Result};
use rustc_hash::FxHashMap;
use std::path::Path;
use std::rc::Rc;

/// The signatures of all shards, with consecutive document numbers.
///
/// Memory: about 50 bytes per document, and one band; shingles are read from the files when they are compared.
pub(super) struct Corpus {
    pub(super) shards: Vec<Signatures>,
    /// Number of the first document of each shard, and the total.
    starts: Vec<u32>,
    rows: Vec<u32>,
    pub(super) texts: Vec<[u8; 16]>,
    pub(super) ranks: Vec<u64>,
    shingles: FxHashMap<u32, Rc<[u64]>>,
    shingles_held: usize,
}

/// Maximum number of cached shingle hashes (128 MiB).
const SHINGLES_HELD_MAX: usize = 16 << 20;

impl Corpus {
    pub(super) fn open(inputs: &Inputs) -> Result<Self> {
        let (mut shards, mut starts) = (Vec::new(), vec![0_u32]);
        let (mut rows, mut texts, mut ranks) = (Vec::new(), Vec::new(), Vec::new());
        let pool = FilePool::default();
        for item in inputs.items() {
            let signatures = open_signatures(&pool, &item.entries()[0])?;
            rows.extend(signatures.rows().map_err(unreadable)?);
            texts.extend(signatures.texts().map_err(unreadable)?);
            ranks.extend(signatures.ranks().map_err(unreadable)?);
            let too_many = |_| Error::input("over four billion documents; deduplicate parts of them first");
            starts.push(u32::try_from(rows.len()).map_err(too_many)?);
            shards.push(signatures);
        }
        Ok(Self { shards, starts, rows, texts, ranks, shingles: FxHashMap::default(), shingles_held: 0 })
    }

    pub(super) fn documents(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The shard of a document, and its number within it.
    pub(super) fn place(&self, document: u32) -> (usize, usize) {
        let shard = self.starts.partition_point(|start| *start <= document) - 1;
        (shard, (document - self.starts[shard]) as usize)
    }

    pub(super) fn row(&self, document: u32) -> u32 {
        self.rows[document as usize]
    }

    pub(super) fn id(&self, document: u32) -> Result<String> {
        let (shard, document) = self.place(document);
        self.shards[shard].id(document).map_err(unreadable)
    }

    pub(super) fn band(&self, band: usize) -> Result<Vec<u64>> {
        let mut hashes = Vec::with_capacity(self.rows.len());
        for shard in &self.shards {
            hashes.extend(shard.band(band).map_err(unreadable)?);
        }
        Ok(hashes)
    }

    pub(super) fn shingle_count(&self, document: u32) -> usize {
        let (shard, document) = self.place(document);
        self.shards[shard].shingle_count(document)
    }

    fn shingles(&mut self, document: u32) -> Result<Rc<[u64]>> {
        if let Some(known) = self.shingles.get(&document) {
            return Ok(Rc::clone(known));
        }
        let (shard, number) = self.place(document);
        let shingles: Rc<[u64]> = self.shards[shard].shingles(number).map_err(unreadable)?.into();
        if self.shingles_held + shingles.len() > SHINGLES_HELD_MAX {
            self.shingles.clear();
            self.shingles_held = 0;
        }
        self.shingles_held += shingles.len();
        self.shingles.insert(document, Rc::clone(&shingles));
        Ok(shingles)
    }

    pub(super) fn similarity(&mut self, a: u32, b: u32) -> Result<f64> {
        Ok(jaccard(&self.shingles(a)?, &self.shingles(b)?))
    }

    pub(super) fn alike(&mut self, a: u32, b: u32, threshold: f64) -> Result<bool> {
        let possible = may_reach(threshold, self.shingle_count(a), self.shingle_count(b));
        Ok(possible && self.similarity(a, b)? >= threshold)
    }
}

/// Opens a signature file that an earlier step made.
pub(crate) fn open_signatures(pool: &FilePool, entry: &LocalEntry) -> Result<Signatures> {
    Signatures::open(pool.file(entry.path()?)).map_err(unreadable)
}

/// An error from reading an intermediate file.
pub(crate) fn unreadable(error: std::io::Error) -> Error {
    Error::io("read", Path::new("signatures"), &error)
}
