//! A running share: the files and views that it writes, its metrics and its progress.

use crate::{
    Content, Error, Event, Input, InputItem, LocalEntry, Metric, Result, ShareRecord,
    canonical::{Encoder, essence},
    context::Running,
    machine::instruction_set,
    source::{Location, SourceFile},
    step::{Made, Name, PartRecord},
};
use pipe_cache::{Blob, Digest, Durable, ObjectWriter, Staged};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

/// A running share: it writes files and views, counts, and reports progress.
pub struct Share<'a> {
    pub(crate) running: &'a Running,
    pub(crate) inputs: &'a [crate::Item],
    made: Vec<Made>,
    staged: Vec<Staged>,
    value: serde_json::Value,
    metrics: Vec<Metric>,
    outlived: Vec<Durable>,
    instruction_sets: BTreeSet<String>,
    began: Instant,
}

impl<'a> Share<'a> {
    pub(crate) fn new(running: &'a Running, inputs: &'a [crate::Item]) -> Self {
        let (made, staged, metrics, outlived) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (value, instruction_sets) = (serde_json::Value::Null, BTreeSet::new());
        let began = Instant::now();
        Self { running, inputs, made, staged, value, metrics, outlived, instruction_sets, began }
    }

    /// Returns the record, the objects to commit with it, and the durable folders to remove after that.
    pub(crate) fn finish(mut self) -> (ShareRecord, Vec<Staged>, Vec<Durable>) {
        self.instruction_sets.insert(instruction_set().to_owned());
        let record = ShareRecord {
            version: ShareRecord::VERSION,
            made: self.made,
            value: self.value,
            metrics: crate::merge(self.metrics),
            seconds: self.began.elapsed().as_secs_f64(),
            instruction_sets: self.instruction_sets.into_iter().collect(),
        };
        (record, self.staged, self.outlived)
    }

    /// The folder to take as the result instead of running the share.
    pub fn adopted(&self) -> Option<&'a Path> {
        self.running.adopted.as_deref()
    }

    /// Creates a file with the name of the share's (first) item.
    pub fn file(&mut self, slot: &str) -> Result<ShareFile> {
        self.file_for(0, slot)
    }

    /// Creates a file with the name of the item at this position. A step over all shards uses it to leave a slice for
    /// each.
    pub fn file_for(&mut self, item: usize, slot: &str) -> Result<ShareFile> {
        self.open(slot, Name::Item(item as u32))
    }

    /// Creates a file with the name of the (first) item and another extension.
    pub fn file_with(&mut self, slot: &str, extension: &str) -> Result<ShareFile> {
        self.open(slot, Name::Extension(0, extension.to_owned()))
    }

    /// Creates a file with the given name in a folder named after the (first) item, without its extension.
    pub fn below(&mut self, slot: &str, name: &str) -> Result<ShareFile> {
        self.open(slot, Name::Below(0, name.to_owned()))
    }

    /// Creates a file with the given name; `/` creates folders.
    pub fn named(&mut self, slot: &str, name: &str) -> Result<ShareFile> {
        self.open(slot, Name::Own(name.to_owned()))
    }

    fn open(&mut self, slot: &str, name: Name) -> Result<ShareFile> {
        Ok(ShareFile { slot: slot.to_owned(), name, writer: self.running.store.writer()? })
    }

    /// Keeps a file that has been written completely.
    pub fn keep(&mut self, file: ShareFile) -> Result<Blob> {
        let staged = file.writer.finish()?;
        let blob = staged.blob();
        self.made.push(Made { slot: file.slot, name: file.name, content: blob.into() });
        self.staged.push(staged);
        Ok(blob)
    }

    /// As [`Self::keep`], with added columns that have one row for each row of the file.
    pub fn keep_with(&mut self, file: ShareFile, columns: Option<ShareFile>) -> Result<Blob> {
        let columns = columns.map(|columns| self.stage(columns.writer)).transpose()?;
        let blob = self.keep(file)?;
        if let Some(made) = self.made.last_mut() {
            made.content.columns = columns;
        }
        Ok(blob)
    }

    /// Creates a file of numbered parts, which [`crate::Step::parts`] and [`crate::Step::by_item`] distribute over the
    /// shares of a later step. A share reads only its parts, and its key contains only their bytes. There is one file
    /// whatever the number of parts; each has about 100 bytes in the record.
    pub fn parts(&mut self, slot: &str) -> Result<PartsFile> {
        let writer = self.running.store.writer()?;
        Ok(PartsFile { slot: slot.to_owned(), writer, parts: Vec::new(), current: None })
    }

    /// Keeps a file of parts that has been written completely. A share has at most one in each slot.
    pub fn keep_parts(&mut self, mut file: PartsFile) -> Result<()> {
        file.end_part();
        let staged = file.writer.finish()?;
        if !file.parts.is_empty() {
            self.made.push(Made {
                slot: file.slot,
                name: Name::Parts(file.parts),
                content: staged.blob().into(),
            });
            self.staged.push(staged);
        }
        Ok(())
    }

    /// Writes a whole file with the given name.
    pub fn write(&mut self, slot: &str, name: &str, bytes: &[u8]) -> Result<Blob> {
        let mut file = self.named(slot, name)?;
        file.write_all(bytes).map_err(|error| Error::io("write", Path::new(name), &error))?;
        self.keep(file)
    }

    /// Imports a file, such as one that a library wrote to [`Share::scratch`].
    pub fn import(&mut self, slot: &str, name: Name, path: &Path) -> Result<Blob> {
        let staged = self.running.store.import(path)?;
        let blob = staged.blob();
        let data = std::fs::metadata(path).map_err(|error| Error::io("examine", path, &error))?;
        let executable = data.permissions().mode() & 0o111 != 0;
        let content = Content { executable, ..blob.into() };
        self.made.push(Made { slot: slot.to_owned(), name, content });
        self.staged.push(staged);
        Ok(blob)
    }

    /// Opens a local file as an entry, so that the functions of its kind can read it.
    pub fn local(&self, name: &str, path: &Path, blob: Blob) -> LocalEntry {
        let (name, at, source) = (name.to_owned(), Location::Path(path.to_owned()), String::new());
        let file = SourceFile { source, name, digest: blob.digest, size: blob.size, at };
        let (store, input) = (self.running.store.clone(), Input::Source(file));
        LocalEntry { store, access: None, input, place: None }
    }

    /// Passes on an entry of this share's inputs unchanged, under its own name.
    pub fn pass(&mut self, slot: &str, entry: &LocalEntry) -> Result<()> {
        if let Some(content) = entry.content() {
            self.made.push(Made { slot: slot.to_owned(), name: entry.relative_name()?, content });
        }
        Ok(())
    }

    /// Creates a view of an input entry: a selection of its `rows` rows, with added columns.
    ///
    /// `selected` contains row numbers of the file itself, not of an existing view. If all rows are selected, the
    /// view has no selection; if none are, there is no entry. Without `columns`, the added columns of the entry are
    /// kept.
    pub fn view(
        &mut self,
        slot: &str,
        entry: &LocalEntry,
        rows: u32,
        mut selected: RoaringBitmap,
        columns: Option<ShareFile>,
    ) -> Result<()> {
        let Some(mut content) = entry.content() else {
            return Err(Error::Panic { message: "a view of a source file".into() });
        };
        if selected.is_empty() {
            return Ok(());
        }
        content.selection = None;
        if selected.len() < u64::from(rows) {
            selected.optimize(); // the canonical form: the same rows are the same bytes
            let mut writer = self.running.store.writer()?;
            let place = || PathBuf::from(entry.name());
            selected.serialize_into(&mut writer).map_err(|error| Error::io("write", &place(), &error))?;
            content.selection = Some(self.stage(writer)?);
        }
        if let Some(columns) = columns {
            content.columns = Some(self.stage(columns.writer)?);
        }
        self.made.push(Made { slot: slot.to_owned(), name: entry.relative_name()?, content });
        Ok(())
    }

    fn stage(&mut self, writer: ObjectWriter) -> Result<Blob> {
        let staged = writer.finish()?;
        let blob = staged.blob();
        self.staged.push(staged);
        Ok(blob)
    }

    /// Stores a small value that the stage's code can read after the step.
    pub fn value(&mut self, value: &impl Serialize) {
        self.value = serde_json::to_value(value).expect("invariant: a share's value is plain data");
    }

    /// Records that part of the result was computed with other instruction sets, for example in a checkpoint from
    /// another machine.
    pub fn made_on(&mut self, sets: impl IntoIterator<Item = impl Into<String>>) {
        self.instruction_sets.extend(sets.into_iter().map(Into::into));
    }

    /// Reports a metric. Metrics of the same name are merged by their rule.
    pub fn metric(&mut self, metric: Metric) {
        self.metrics.push(metric);
    }

    /// Reports a count.
    pub fn count(&mut self, name: impl Into<String>, value: u64) {
        self.metric(Metric::count(name, value));
    }

    /// Reports numbers of things, one for each name.
    pub fn counts<const N: usize>(&mut self, names: [&str; N], values: [u64; N]) {
        names.into_iter().zip(values).for_each(|(name, value)| self.count(name, value));
    }

    /// Reports a point of a series, for live views and reports.
    pub fn point(&self, name: &str, step: u64, value: f64) {
        self.running.events.emit(Event::Metric { name: name.to_owned(), step, value });
    }

    /// Prints a message for people.
    pub fn note(&self, message: impl Into<String>) {
        self.running.events.emit(Event::Note { message: message.into() });
    }

    /// Reports that `more` further items are done.
    pub fn advance(&self, unit: &'static str, more: u64) {
        self.running.advance(unit, more);
    }

    /// Reports progress of a loop, and its total if known.
    pub fn progress(&self, unit: &str, done: u64, total: impl Into<Option<u64>>) {
        self.running.progress(unit, done, total.into());
    }

    /// Counts items as they pass, and returns [`Error::Interrupted`] if the share has to stop immediately.
    pub fn track<I: IntoIterator>(&self, unit: &'static str, items: I) -> Track<'a, I::IntoIter> {
        Track { running: self.running, unit, items: items.into_iter(), unsaid: 0, stopped: false }
    }

    /// Whether a stop was requested: finish quick work, save long work.
    pub fn is_stopping(&self) -> bool {
        self.running.stop.is_asked()
    }

    /// Leaves a long loop between checkpoints if an immediate stop was requested.
    pub fn check_stop(&self) -> Result<()> {
        if self.running.stop.is_now() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Number of threads that this share may use.
    pub fn threads(&self) -> usize {
        self.running.threads
    }

    /// A temporary folder that is removed with the share.
    pub fn scratch(&self) -> Result<pipe_cache::Scratch> {
        Ok(self.running.store.scratch()?)
    }

    /// Opens a durable folder, which survives a crash. Its key is made of the stage, `name`, `params` and these
    /// items.
    ///
    /// Only one holder at a time may write. Waiting for another holder uses no CPU time.
    pub fn durable<P: Serialize + JsonSchema>(
        &self,
        name: &str,
        params: &P,
        items: &[&InputItem],
    ) -> Result<Durable> {
        let mut out = Encoder::default();
        self.running.encode_stage(&mut out);
        out.text(name);
        out.value(&essence(params));
        out.list(items.len());
        for item in items {
            let item = self.inputs.iter().find(|own| own.name == item.name());
            out.digest(&item.expect("invariant: an item of this share").digest());
        }
        self.running.durable(&out.derive("pipe durable v1"))
    }

    /// Removes a durable folder once this share is recorded and no longer needs it.
    pub fn remove_when_recorded(&mut self, durable: Durable) {
        self.outlived.push(durable);
    }
}

/// Items that pass through [`Share::track`].
pub struct Track<'a, I> {
    running: &'a Running,
    unit: &'static str,
    items: I,
    unsaid: u64,
    stopped: bool,
}

impl<I: Iterator> Iterator for Track<'_, I> {
    type Item = Result<I::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        const SAID_EVERY: u64 = 64;
        if self.stopped {
            return None;
        }
        if self.running.stop.is_now() {
            self.stopped = true;
            return Some(Err(Error::Interrupted));
        }
        let item = self.items.next();
        self.unsaid += u64::from(item.is_some());
        if self.unsaid >= SAID_EVERY || item.is_none() {
            self.running.advance(self.unit, std::mem::take(&mut self.unsaid));
        }
        item.map(Ok)
    }
}

/// A file that a share is writing.
pub struct ShareFile {
    slot: String,
    name: Name,
    writer: ObjectWriter,
}

impl Write for ShareFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A file of numbered parts that a share is writing. See [`Share::parts`].
pub struct PartsFile {
    slot: String,
    writer: ObjectWriter,
    parts: Vec<PartRecord>,
    /// Number, size so far and digest so far of the part that is being written.
    current: Option<(u32, u64, Box<blake3::Hasher>)>,
}

impl PartsFile {
    /// Writes a part. Numbers ascend; a part without bytes is left out.
    pub fn part(&mut self, number: u32, bytes: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|(current, ..)| *current != number) {
            self.end_part();
            if self.parts.last().is_some_and(|part| part.0 >= number) {
                let message = format!("part {number} is not behind the one before it");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            self.current = Some((number, 0, Box::default()));
        }
        if let Some((_, size, hasher)) = &mut self.current {
            *size += bytes.len() as u64;
            hasher.update(bytes);
        }
        self.writer.write_all(bytes)
    }

    fn end_part(&mut self) {
        if let Some((number, size @ 1.., hasher)) = self.current.take() {
            let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
            self.parts.push(PartRecord(number, size, digest));
        }
    }
}
