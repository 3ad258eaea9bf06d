//! The inputs of a share as verified files, and the files that it writes.

use crate::{
    Content, Entry, Error, Event, Input, Metric, Result, ShareRecord,
    canonical::{Encoder, essence},
    context::Running,
    files,
    machine::instruction_set,
    source::SourceFile,
    step::{Made, Name},
};
use pipe_cache::{Blob, Digest, Durable, ObjectWriter, Staged, Store};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

/// The readable items of a share.
pub struct Inputs {
    items: Vec<InputItem>,
}

/// A readable item.
pub struct InputItem {
    name: String,
    entries: Vec<LocalEntry>,
}

/// An entry or a source file on this machine. Its bytes are checked against its digest before use.
#[derive(Clone)]
pub struct LocalEntry {
    store: Store,
    input: Input,
    /// For inputs of a share: the position of the item, and of the input within it.
    place: Option<(u32, u32)>,
}

impl Inputs {
    pub(crate) fn new(store: &Store, items: &[crate::Item]) -> Self {
        let item = |(number, item): (usize, &crate::Item)| {
            let entry = |(position, input): (usize, &Input)| LocalEntry {
                store: store.clone(),
                input: input.clone(),
                place: Some((number as u32, position as u32)),
            };
            InputItem {
                name: item.name.clone(),
                entries: item.inputs.iter().enumerate().map(entry).collect(),
            }
        };
        Self { items: items.iter().enumerate().map(item).collect() }
    }

    /// All items, in order.
    pub fn items(&self) -> &[InputItem] {
        &self.items
    }

    /// The first item; in `each` it is the only one.
    pub fn item(&self) -> &InputItem {
        self.items.first().expect("invariant: a share has an item")
    }

    /// Finds an item by its name.
    pub fn named(&self, name: &str) -> Option<&InputItem> {
        self.items.iter().find(|item| item.name == name)
    }
}

impl InputItem {
    /// Its name. It is not part of the key, so it may be used in names of outputs and in messages, but must not
    /// affect bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its files, in order.
    pub fn entries(&self) -> &[LocalEntry] {
        &self.entries
    }

    /// Finds a file by name.
    pub fn entry(&self, name: &str) -> Option<&LocalEntry> {
        self.entries.iter().find(|entry| entry.name() == name)
    }
}

impl LocalEntry {
    /// An entry of an artifact in a store.
    pub fn new(store: &Store, entry: &Entry) -> Self {
        Self { store: store.clone(), input: Input::Entry(entry.clone()), place: None }
    }

    /// The name of the entry, or the path of the source relative to its root.
    pub fn name(&self) -> &str {
        self.input.name()
    }

    /// The label of a source file.
    pub fn source(&self) -> Option<&str> {
        match &self.input {
            Input::Entry(_) => None,
            Input::Source(file) => Some(&file.source),
        }
    }

    /// Size of the file itself in bytes, without the view.
    pub fn size(&self) -> u64 {
        match &self.input {
            Input::Entry(entry) => entry.content.blob.size,
            Input::Source(file) => file.size,
        }
    }

    /// Digest of the file itself, without the view.
    pub fn digest(&self) -> Digest {
        match &self.input {
            Input::Entry(entry) => entry.content.blob.digest,
            Input::Source(file) => file.digest,
        }
    }

    /// Whether rows are selected or columns added.
    pub fn is_view(&self) -> bool {
        matches!(&self.input, Input::Entry(entry)
            if entry.content.selection.is_some() || entry.content.columns.is_some())
    }

    /// Returns the path of the verified file; it is read-only.
    pub fn path(&self) -> Result<PathBuf> {
        match &self.input {
            Input::Entry(entry) => Ok(self.store.verified(&entry.content.blob)?),
            Input::Source(file) => {
                Stream::of_source(file)?.finish()?;
                Ok(file.path.clone())
            }
        }
    }

    /// Opens the file to be read once from the beginning, whatever its size.
    ///
    /// The bytes of a source are verified while they are read, so they can be trusted only after [`Stream::finish`]
    /// has succeeded.
    pub fn stream(&self) -> Result<Stream> {
        match &self.input {
            Input::Entry(entry) => {
                let path = self.store.verified(&entry.content.blob)?;
                let file = File::open(&path).map_err(|error| Error::io("open", &path, &error))?;
                Ok(Stream { file, path, expected: None, failed: None })
            }
            Input::Source(file) => Stream::of_source(file),
        }
    }

    /// Reads the whole verified file.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match &self.input {
            Input::Entry(entry) => Ok(self.store.read(&entry.content.blob)?),
            Input::Source(file) => source_bytes(file),
        }
    }

    /// Reads the selected rows; `None` means all.
    pub fn selection(&self) -> Result<Option<RoaringBitmap>> {
        let Some(blob) = self.content().and_then(|content| content.selection) else { return Ok(None) };
        let bytes = self.store.read(&blob)?;
        let damaged = |_| Error::Damaged { digest: blob.digest };
        RoaringBitmap::deserialize_from(&bytes[..]).map(Some).map_err(damaged)
    }

    /// Returns the path of the verified file of added columns.
    pub fn columns(&self) -> Result<Option<PathBuf>> {
        let columns = self.content().and_then(|content| content.columns);
        Ok(columns.map(|blob| self.store.verified(&blob)).transpose()?)
    }

    /// Copies the file itself, without the view.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        match &self.input {
            Input::Entry(entry) => {
                self.store.materialize(&entry.content.blob, path)?;
                if entry.content.executable {
                    let mode = std::fs::metadata(path).map(|data| data.permissions().mode());
                    // Executable by everyone who may read it.
                    let set = mode.and_then(|mode| {
                        std::fs::set_permissions(path, Permissions::from_mode(mode | (mode & 0o444) >> 2))
                    });
                    set.map_err(|error| Error::io("make executable", path, &error))?;
                }
                Ok(())
            }
            Input::Source(file) => {
                let bytes = source_bytes(file)?;
                std::fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
            }
        }
    }

    /// How a record refers to an input that this share passes on under its own name, which is not part of the key.
    fn relative_name(&self) -> Result<Name> {
        let place = self.place.map(|(item, input)| Name::Input(item, input));
        place.ok_or_else(|| Error::Panic {
            message: format!("`{}` is not an input of this task", self.name()),
        })
    }

    fn content(&self) -> Option<Content> {
        match &self.input {
            Input::Entry(entry) => Some(entry.content.clone()),
            Input::Source(_) => None,
        }
    }
}

/// A file while it is read. See [`LocalEntry::stream`].
pub struct Stream {
    file: File,
    path: PathBuf,
    /// For sources: what the plan recorded, and what has been read so far.
    expected: Option<(SourceFile, Box<blake3::Hasher>)>,
    failed: Option<io::Error>,
}

impl Stream {
    fn of_source(source: &SourceFile) -> Result<Self> {
        let file = files::open(&source.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::SourceChanged { name: source.name.clone() },
            _ => Error::io("read", &source.path, &error),
        })?;
        let expected = Some((source.clone(), Box::default()));
        Ok(Self { file, path: source.path.clone(), expected, failed: None })
    }

    /// Opens the file again for random access; [`Stream::finish`] also verifies what is read there.
    pub fn seekable(&self) -> Result<File> {
        files::open(&self.path).map_err(|error| Error::io("open", &self.path, &error))
    }

    /// Reads the rest and compares the whole file with what the plan recorded.
    ///
    /// # Errors
    /// If the file changed or could not be read, even if its reader ignored that.
    pub fn finish(mut self) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(Error::io("read", &self.path, &error));
        }
        let Some((source, mut hasher)) = self.expected.take() else { return Ok(()) };
        let changed = || Error::SourceChanged { name: source.name.clone() };
        let mut buffer = vec![0; 128 << 10];
        // A file that has grown is detected without reading all of it.
        while hasher.count() <= source.size {
            match self.file.read(&mut buffer).map_err(|error| Error::io("read", &self.path, &error))? {
                0 => break,
                read => drop(hasher.update(&buffer[..read])),
            }
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        if digest == source.digest { Ok(()) } else { Err(changed()) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(read) => {
                if let Some((_, hasher)) = &mut self.expected {
                    hasher.update(&buffer[..read]);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

/// Reads a source file and compares it with what the plan recorded.
fn source_bytes(file: &SourceFile) -> Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(file.size as usize);
        // Reads one byte more than expected, so that a file that has grown is detected without reading all of it.
        files::open(&file.path)?.take(file.size + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if Digest::of(&bytes) == file.digest => Ok(bytes),
        Ok(_) => Err(Error::SourceChanged { name: file.name.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::SourceChanged { name: file.name.clone() })
        }
        Err(error) => Err(Error::io("read", &file.path, &error)),
    }
}

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
        let (name, path, source) = (name.to_owned(), path.to_owned(), String::new());
        let file = SourceFile { source, name, digest: blob.digest, size: blob.size, path };
        LocalEntry { store: self.running.store.clone(), input: Input::Source(file), place: None }
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
            let item = self.inputs.iter().find(|own| own.name == item.name);
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
