//! Files of records → shards of their own: a change of one file changes no shard of another. Nothing here depends on
//! other files of the source.

use super::PAGES;
use super::borders::{Caps, Place};
use super::ids::{Id, IdsWriter};
use super::records::{RecordReading, sampled};
use crate::documents::{Document, DocumentWriter, DocumentsError};
use pipe_stage::{Inputs, Result, Share, ShareFile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What documents get from their source.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Naming {
    pub(super) source: String,
    pub(super) license: String,
    /// Whether documents may have a media type.
    pub(super) media_types: bool,
}

impl Naming {
    /// Adds the source, and what the record does not say.
    pub(super) fn complete(&self, document: &mut Document) {
        document.id = format!("{}/{}", self.source, document.id);
        document.source.clone_from(&self.source);
        if document.license.is_empty() {
            document.license.clone_from(&self.license);
        }
    }

    /// Starts a shard.
    pub(super) fn writer(&self, file: ShareFile) -> Result<DocumentWriter<ShareFile>, DocumentsError> {
        if self.media_types { DocumentWriter::with_media_types(file) } else { DocumentWriter::new(file) }
    }
}

/// The settings that determine the shards of a share's files.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Sharding {
    pub(super) reading: RecordReading,
    pub(super) naming: Naming,
    pub(super) caps: Caps,
    /// Whether ids come from the records, so that several may have the same.
    pub(super) has_ids: bool,
}

/// A shard that is being written.
struct Open {
    writer: DocumentWriter<ShareFile>,
    bytes: u64,
}

/// Reads files and writes their documents into shards, in the order of their rows.
pub(super) fn read_shards(sharding: &Sharding, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let Sharding { reading, naming, caps, has_ids } = sharding;
    let mut ids = if *has_ids { Some(IdsWriter::new(share)?) } else { None };
    let (mut open, mut shards): (Option<Open>, u32) = (None, 0);
    let mut documents = 0_u32;
    let files = inputs.item().entries();
    let given = sampled(reading, files, share, "rejected.jsonl", |mut document, share| {
        let bytes = document.bytes() as u64;
        let is_full = |open: &Open| {
            open.writer.rows() >= caps.documents
                || open.bytes + bytes > caps.bytes_at(shards.saturating_sub(1))
        };
        if open.as_ref().is_some_and(is_full)
            && let Some(full) = open.take()
        {
            share.keep(full.writer.finish()?)?;
        }
        let open = match &mut open {
            Some(open) => open,
            none => {
                let file = share.below(PAGES.name(), &format!("{shards:05}.parquet"))?;
                shards += 1;
                none.insert(Open { writer: naming.writer(file)?, bytes: 0 })
            }
        };
        if let Some(ids) = &mut ids {
            let place = Place::of(&document.id);
            let text = document.text.len() + document.html.as_ref().map_or(0, Vec::len);
            ids.push(Id { hash: [place.position, place.sample], document: documents, bytes: text as u32 })?;
        }
        documents = documents.checked_add(1).ok_or_else(too_many)?;
        naming.complete(&mut document);
        open.bytes += bytes;
        Ok(open.writer.push(&document)?)
    })?;
    if let Some(open) = open {
        share.keep(open.writer.finish()?)?;
    }
    if let Some(ids) = ids {
        ids.keep(share)?;
    }
    share.value(&given);
    Ok(())
}

fn too_many() -> pipe_stage::Error {
    pipe_stage::Error::input("a file has over four billion records").help("cut it into several files")
}
