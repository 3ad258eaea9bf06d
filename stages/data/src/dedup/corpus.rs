//! The documents of all shards as dedup compares them, from the files of their signatures.

use super::pool::FilePool;
use super::signatures::Signatures;
use pipe_stage::{Error, InputItem, LocalEntry, Result};
use rustc_hash::FxHashMap;
use std::path::Path;
use std::rc::Rc;

/// A document: its shard, and its number within it. The order is that of shards, then of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) shard: u32,
    pub(super) document: u32,
}

impl Place {
    pub(super) fn to_le_bytes(self) -> [u8; 8] {
        (u64::from(self.shard) << 32 | u64::from(self.document)).to_le_bytes()
    }

    pub(super) fn from_le_bytes(bytes: [u8; 8]) -> Self {
        let number = u64::from_le_bytes(bytes);
        Self { shard: (number >> 32) as u32, document: number as u32 }
    }
}

/// The signatures of all shards. Files are opened when one of their documents is asked for.
///
/// Memory: a bounded number of shingles, whatever the number of documents.
pub(super) struct Corpus<'i> {
    files: Vec<&'i LocalEntry>,
    shards: Vec<Option<Signatures>>,
    pool: FilePool,
    shingles: FxHashMap<Place, Rc<[u64]>>,
    shingles_held: usize,
}

/// Maximum number of cached shingle hashes (32 MiB).
const SHINGLES_HELD_MAX: usize = 4 << 20;

impl<'i> Corpus<'i> {
    /// Takes the signatures of one shard per item, in their order.
    pub(super) fn new(items: &'i [InputItem]) -> Self {
        let files: Vec<&LocalEntry> = items.iter().filter_map(|item| item.entries().first()).collect();
        let shards = files.iter().map(|_| None).collect();
        Self { files, shards, pool: FilePool::default(), shingles: FxHashMap::default(), shingles_held: 0 }
    }

    /// Number of shards.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The signatures of a shard.
    pub(super) fn shard(&mut self, shard: u32) -> Result<&Signatures> {
        let unknown = || Error::Panic { message: format!("there is no shard {shard}") };
        let opened = self.shards.get_mut(shard as usize).ok_or_else(unknown)?;
        match opened {
            Some(signatures) => Ok(signatures),
            None => Ok(opened.insert(open_signatures(&self.pool, self.files[shard as usize])?)),
        }
    }

    pub(super) fn row(&mut self, place: Place) -> Result<u32> {
        self.shard(place.shard)?.row(place.document as usize).map_err(unreadable)
    }

    pub(super) fn rank(&mut self, place: Place) -> Result<u64> {
        self.shard(place.shard)?.rank(place.document as usize).map_err(unreadable)
    }

    pub(super) fn text(&mut self, place: Place) -> Result<[u8; 16]> {
        self.shard(place.shard)?.text(place.document as usize).map_err(unreadable)
    }

    pub(super) fn id(&mut self, place: Place) -> Result<String> {
        self.shard(place.shard)?.id(place.document as usize).map_err(unreadable)
    }

    pub(super) fn shingles(&mut self, place: Place) -> Result<Rc<[u64]>> {
        if let Some(known) = self.shingles.get(&place) {
            return Ok(Rc::clone(known));
        }
        let shingles = self.shard(place.shard)?.shingles(place.document as usize);
        let shingles: Rc<[u64]> = shingles.map_err(unreadable)?.into();
        if self.shingles_held + shingles.len() > SHINGLES_HELD_MAX {
            self.shingles.clear();
            self.shingles_held = 0;
        }
        self.shingles_held += shingles.len();
        self.shingles.insert(place, Rc::clone(&shingles));
        Ok(shingles)
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
