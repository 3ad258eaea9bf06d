//! The inputs of a share as verified files.

use crate::{
    Content, Entry, Error, Input, Location, Result,
    artifact::Part,
    files,
    remote::{Access, RemoteStream},
    source::SourceFile,
    step::Name,
};
use pipe_cache::{Blob, Digest, Store};
use roaring::RoaringBitmap;
use std::{
    fs::{File, Permissions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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

/// An entry or a source file. Its bytes are checked against its digest or version before use.
#[derive(Clone)]
pub struct LocalEntry {
    pub(crate) store: Store,
    /// Access to remote files, if there is any.
    pub(crate) access: Option<Access>,
    pub(crate) input: Input,
    /// For inputs of a share: the position of the item, and of the input within it.
    pub(crate) place: Option<(u32, u32)>,
}

impl Inputs {
    pub(crate) fn new(store: &Store, access: Option<&Access>, items: &[crate::Item]) -> Self {
        let item = |(number, item): (usize, &crate::Item)| {
            let entry = |(position, input): (usize, &Input)| LocalEntry {
                store: store.clone(),
                access: access.cloned(),
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
        Self { store: store.clone(), access: None, input: Input::Entry(entry.clone()), place: None }
    }

    /// The name of the entry, or the path of the source relative to its root.
    pub fn name(&self) -> &str {
        self.input.name()
    }

    /// Licence of a remote file as its server states it; empty if unknown.
    pub fn license(&self) -> &str {
        match &self.input {
            Input::Source(file) => file.remote().map_or("", |remote| &remote.license),
            Input::Entry(_) | Input::Part(_) => "",
        }
    }

    /// The label of a source file.
    pub fn source(&self) -> Option<&str> {
        match &self.input {
            Input::Entry(_) | Input::Part(_) => None,
            Input::Source(file) => Some(&file.source),
        }
    }

    /// Size of the file itself in bytes, without the view.
    pub fn size(&self) -> u64 {
        match &self.input {
            Input::Entry(entry) => entry.content.blob.size,
            Input::Part(part) => part.blob.size,
            Input::Source(file) => file.size,
        }
    }

    /// Digest of the file itself, without the view.
    pub fn digest(&self) -> Digest {
        match &self.input {
            Input::Entry(entry) => entry.content.blob.digest,
            Input::Part(part) => part.blob.digest,
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
            Input::Part(_) => Err(Error::Panic { message: "a part of a file has no path".into() }),
            Input::Source(file) => match &file.at {
                Location::Path(path) => {
                    Stream::of_source(&self.store, file, path)?.finish()?;
                    Ok(path.clone())
                }
                Location::Remote(_) => Err(Error::Panic { message: "a remote file has no path".into() }),
            },
        }
    }

    /// Returns the path of the file without verifying it. For commands that look something up in many files: damage shows
    /// as a file that cannot be read, and whether it exists is for the caller to see.
    pub fn unverified_path(&self) -> PathBuf {
        match &self.input {
            Input::Entry(entry) => self.store.object_path(&entry.content.blob.digest),
            Input::Part(part) => self.store.object_path(&part.whole.digest),
            Input::Source(file) => file.path().map(Path::to_owned).unwrap_or_default(),
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
                Ok(Stream { file: Opened::File(file, path), expected: None, failed: None })
            }
            Input::Part(part) => Stream::of_part(&self.store, part),
            Input::Source(file) => match &file.at {
                Location::Path(path) => Stream::of_source(&self.store, file, path),
                Location::Remote(remote) => {
                    let remote = RemoteStream::new(self.access.as_ref(), &self.store, remote, file.size)?;
                    Ok(Stream { file: Opened::Remote(Box::new(remote)), expected: None, failed: None })
                }
            },
        }
    }

    /// Reads the whole verified file.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match &self.input {
            Input::Entry(entry) => Ok(self.store.read(&entry.content.blob)?),
            Input::Part(part) => {
                let mut stream = Stream::of_part(&self.store, part)?;
                let mut bytes = Vec::with_capacity(usize::try_from(part.blob.size).unwrap_or(0));
                let read = stream.read_to_end(&mut bytes);
                stream.finish()?;
                read.map_err(|error| Error::io("read", Path::new(&part.name), &error))?;
                Ok(bytes)
            }
            Input::Source(file) => match &file.at {
                Location::Path(path) => source_bytes(&self.store, file, path),
                Location::Remote(remote) => {
                    let mut stream = RemoteStream::new(self.access.as_ref(), &self.store, remote, file.size)?;
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).map_err(|error| stream.error(error))?;
                    Ok(bytes)
                }
            },
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
            Input::Part(_) | Input::Source(_) => {
                let bytes = self.bytes()?;
                std::fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
            }
        }
    }

    /// How a record refers to an input that this share passes on under its own name, which is not part of the key.
    pub(crate) fn relative_name(&self) -> Result<Name> {
        let place = self.place.map(|(item, input)| Name::Input(item, input));
        place.ok_or_else(|| Error::Panic {
            message: format!("`{}` is not an input of this task", self.name()),
        })
    }

    pub(crate) fn content(&self) -> Option<Content> {
        match &self.input {
            Input::Entry(entry) => Some(entry.content.clone()),
            Input::Part(_) | Input::Source(_) => None,
        }
    }
}

/// A file while it is read. See [`LocalEntry::stream`].
pub struct Stream {
    file: Opened,
    /// What is verified when reading ends, and what has been read so far; none if the file was verified before.
    expected: Option<(Expected, Box<blake3::Hasher>)>,
    failed: Option<io::Error>,
}

enum Opened {
    File(File, PathBuf),
    /// It verifies itself.
    Remote(Box<RemoteStream>),
}

impl Opened {
    /// The error of a read.
    fn error(&self, error: io::Error) -> Error {
        match self {
            Self::File(_, path) => Error::io("read", path, &error),
            Self::Remote(remote) => remote.error(error),
        }
    }
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => file.read(buffer),
            Self::Remote(remote) => remote.read(buffer),
        }
    }
}

enum Expected {
    /// What the plan recorded, and the error if the file differs.
    Source(SourceFile, Error),
    Part(Part),
}

impl Expected {
    /// Size and digest.
    fn blob(&self) -> Blob {
        match self {
            Self::Source(file, _) => Blob { digest: file.digest, size: file.size },
            Self::Part(part) => part.blob,
        }
    }

    /// How many bytes may be read next: a part ends before its file does.
    fn room(&self, hasher: &blake3::Hasher, wanted: usize) -> usize {
        match self {
            Self::Source(..) => wanted,
            Self::Part(part) => {
                let left = part.blob.size.saturating_sub(hasher.count());
                usize::try_from(left).unwrap_or(wanted).min(wanted)
            }
        }
    }

    fn error(self) -> Error {
        match self {
            Self::Source(_, error) => error,
            Self::Part(part) => Error::Damaged { digest: part.whole.digest },
        }
    }
}

impl Stream {
    fn of_part(store: &Store, part: &Part) -> Result<Self> {
        let path = store.object_path(&part.whole.digest);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Damaged { digest: part.whole.digest },
            _ => Error::io("open", &path, &error),
        })?;
        file.seek(SeekFrom::Start(part.at)).map_err(|error| Error::io("read", &path, &error))?;
        let expected = Some((Expected::Part(part.clone()), Box::default()));
        Ok(Self { file: Opened::File(file, path), expected, failed: None })
    }

    fn of_source(store: &Store, source: &SourceFile, path: &Path) -> Result<Self> {
        let file = files::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => changed(store, source),
            _ => Error::io("read", path, &error),
        })?;
        let expected = Some((Expected::Source(source.clone(), changed(store, source)), Box::default()));
        Ok(Self { file: Opened::File(file, path.to_owned()), expected, failed: None })
    }

    /// Opens the file again for random access; [`Stream::finish`] also verifies what is read there. A remote file is
    /// first copied to this machine, for as long as the stream exists.
    pub fn seekable(&mut self) -> Result<File> {
        match &mut self.file {
            Opened::File(_, path) => files::open(path).map_err(|error| Error::io("open", path, &error)),
            Opened::Remote(remote) => remote.seekable(),
        }
    }

    /// Reads the rest and compares the whole file with what the plan recorded.
    ///
    /// # Errors
    /// If the file changed or could not be read, even if its reader ignored that.
    pub fn finish(mut self) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(self.file.error(error));
        }
        if let Opened::Remote(remote) = self.file {
            return remote.finish();
        }
        let Some((expected, mut hasher)) = self.expected.take() else { return Ok(()) };
        let mut buffer = vec![0; 128 << 10];
        // A file that has grown is detected without reading all of it.
        while hasher.count() <= expected.blob().size {
            let room = expected.room(&hasher, buffer.len());
            match self.file.read(&mut buffer[..room]).map_err(|error| self.file.error(error))? {
                0 => break,
                read => drop(hasher.update(&buffer[..read])),
            }
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        if digest == expected.blob().digest { Ok(()) } else { Err(expected.error()) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len();
        let room = self.expected.as_ref().map_or(wanted, |(expected, hasher)| expected.room(hasher, wanted));
        match self.file.read(&mut buffer[..room]) {
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

/// The error of a source that is not as the plan recorded it: it changed, or, if it is an object of the cache that is
/// read like a source (see [`crate::Context::as_sources`]), it is damaged.
fn changed(store: &Store, file: &SourceFile) -> Error {
    if file.path() == Some(store.object_path(&file.digest).as_path()) {
        Error::Damaged { digest: file.digest }
    } else {
        Error::SourceChanged { name: file.name.clone() }
    }
}

/// Reads a source file and compares it with what the plan recorded.
fn source_bytes(store: &Store, file: &SourceFile, path: &Path) -> Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(file.size as usize);
        // Reads one byte more than expected, so that a file that has grown is detected without reading all of it.
        files::open(path)?.take(file.size + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if Digest::of(&bytes) == file.digest => Ok(bytes),
        Ok(_) => Err(changed(store, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(changed(store, file)),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}
