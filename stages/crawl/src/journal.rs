//! The folder of a crawl in progress: the archives, and a journal of everything that happened, from which the crawl goes on
//! after a crash.
//!
//! ```text
//! journal.jsonl        {"journal":1}, then one event per line
//! crawl-00000.warc.gz  …
//! ```
//!
//! Archives reach the disk before the events that refer to them. After a crash, everything behind the last whole event is
//! cut off: a page is in the archives if and only if the journal has it. It does not know what events mean.

use crate::{
    fetch::now,
    frontier::Found,
    outcome::{Done, Place},
    warc,
};
use pipe_stage::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// Addresses were found elsewhere than in a page.
    Found(Vec<Found>),
    /// It is known what became of an address.
    Done {
        url: String,
        done: Done,
        /// What was found there and was not known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        found: Vec<Found>,
        /// Links beyond a limit on their number.
        #[serde(default)]
        unlisted: u64,
    },
    /// A robots.txt was read, or could not be.
    Site { url: String, done: Done },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    journal: u32,
}

/// Revision of the journal. 1: initial version.
const VERSION: u32 = 1;

/// A longer line is no event.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The folder, open for writing.
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    path: PathBuf,
    /// Events that are not in the file yet.
    unwritten: Vec<u8>,
    archive: Option<Archive>,
    next_archive: u32,
    archive_bytes_max: u64,
    /// Fields of `warcinfo`.
    info: Vec<(&'static str, String)>,
}

struct Archive {
    number: u32,
    file: BufWriter<File>,
    path: PathBuf,
    length: u64,
}

/// Name of an archive.
pub(crate) fn archive_name(number: u32) -> String {
    format!("crawl-{number:05}.warc.gz")
}

fn failed<'a>(action: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |error| Error::io(action, path, &error)
}

impl Journal {
    /// Opens a folder, passes the events of earlier owners to `apply`, and removes what belongs to none.
    pub(crate) fn open(
        folder: &Path,
        archive_bytes_max: u64,
        info: Vec<(&'static str, String)>,
        mut apply: impl FnMut(Event) -> Result<()>,
    ) -> Result<Self> {
        let path = folder.join("journal.jsonl");
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        let lengths = archive_lengths(folder)?;
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut line).map_err(failed("read", &path))? as u64;
            if line.pop() != Some(b'\n') {
                break; // the end, or a line that was cut
            }
            if whole == 0 {
                match serde_json::from_slice::<Header>(&line) {
                    Ok(Header { journal: VERSION }) => {
                        whole = read;
                        continue;
                    }
                    Ok(Header { journal }) if journal > VERSION => {
                        let message =
                            format!("a newer version of pipe began this crawl, in `{}`", folder.display());
                        return Err(Error::Cache { message });
                    }
                    _ => break,
                }
            }
            let Ok(event) = serde_json::from_slice::<Event>(&line) else { break };
            if let Event::Done { done: Done { kept: Some(kept), .. }, .. } = &event {
                let Place { archive, offset, length } = kept.place;
                let end = offset.saturating_add(length);
                if lengths.get(&archive).is_none_or(|length| *length < end) {
                    break;
                }
                ends.insert(archive, end);
            }
            apply(event)?;
            whole += read;
        }
        file.set_len(whole).map_err(failed("cut", &path))?;
        file.seek(SeekFrom::End(0)).map_err(failed("open", &path))?;
        let last = ends.last_key_value().map(|(number, end)| (*number, *end));
        for number in lengths.into_keys().filter(|number| last.is_none_or(|(last, _)| *number > last)) {
            let path = folder.join(archive_name(number));
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        let (info, unwritten, next_archive) = (info, Vec::new(), last.map_or(0, |(number, _)| number + 1));
        let folder = folder.to_owned();
        let mut journal =
            Self { folder, file, path, unwritten, archive: None, next_archive, archive_bytes_max, info };
        if let Some((number, end)) = last {
            journal.archive = Some(journal.reopen(number, end)?);
        }
        if whole == 0 {
            journal.line(&Header { journal: VERSION });
            journal.commit()?;
        }
        Ok(journal)
    }

    fn reopen(&self, number: u32, end: u64) -> Result<Archive> {
        let path = self.folder.join(archive_name(number));
        let mut file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        file.set_len(end).map_err(failed("cut", &path))?;
        file.seek(SeekFrom::End(0)).map_err(failed("open", &path))?;
        Ok(Archive { number, file: BufWriter::new(file), path, length: end })
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &Event) {
        self.line(event);
    }

    fn line(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.unwritten, value).expect("invariant: an event is plain data");
        self.unwritten.push(b'\n');
    }

    /// Adds a record to the archives.
    pub(crate) fn record(&mut self, member: &[u8]) -> Result<Place> {
        let is_full =
            |archive: &Archive| archive.length.saturating_add(member.len() as u64) > self.archive_bytes_max;
        if self.archive.as_ref().is_none_or(is_full) {
            self.sync_archive()?;
            self.archive = Some(self.create()?);
        }
        let archive = self.archive.as_mut().expect("invariant: just opened");
        let place = Place { archive: archive.number, offset: archive.length, length: member.len() as u64 };
        archive.file.write_all(member).map_err(failed("write", &archive.path))?;
        archive.length += place.length;
        Ok(place)
    }

    fn create(&mut self) -> Result<Archive> {
        let name = archive_name(self.next_archive);
        let fields: Vec<_> = self.info.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let info = warc::info(&name, &now(), &fields);
        let path = self.folder.join(&name);
        let mut file = File::create(&path).map_err(failed("create", &path))?;
        file.write_all(&info).map_err(failed("write", &path))?;
        let number = self.next_archive;
        self.next_archive += 1;
        Ok(Archive { number, file: BufWriter::new(file), path, length: info.len() as u64 })
    }

    fn sync_archive(&mut self) -> Result<()> {
        if let Some(archive) = &mut self.archive {
            archive.file.flush().map_err(failed("write", &archive.path))?;
            archive.file.get_ref().sync_data().map_err(failed("write", &archive.path))?;
        }
        Ok(())
    }

    /// Puts everything so far on the disk.
    pub(crate) fn commit(&mut self) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.sync_archive()?;
        let folder = File::open(&self.folder).map_err(failed("open", &self.folder))?;
        folder.sync_all().map_err(failed("write", &self.folder))?;
        self.file.write_all(&self.unwritten).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("write", &self.path))?;
        self.unwritten.clear();
        Ok(())
    }

    /// The archives in order, with their names.
    pub(crate) fn archives(&self) -> Vec<(String, PathBuf)> {
        (0..self.next_archive).map(archive_name).map(|name| (name.clone(), self.folder.join(name))).collect()
    }
}

/// The archives that are in a folder, with their lengths.
fn archive_lengths(folder: &Path) -> Result<BTreeMap<u32, u64>> {
    let mut lengths = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let entry = entry.map_err(failed("list", folder))?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("crawl-")?.strip_suffix(".warc.gz")?.parse().ok());
        if let Some(number) = number {
            let metadata = entry.metadata().map_err(failed("examine", &entry.path()))?;
            lengths.insert(number, metadata.len());
        }
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Kept, Outcome};

    fn open(folder: &Path) -> (Journal, Vec<Event>) {
        let mut events = Vec::new();
        let journal = Journal::open(folder, 1000, Vec::new(), |event| {
            events.push(event);
            Ok(())
        });
        (journal.unwrap(), events)
    }

    fn page(journal: &mut Journal, number: u32) -> Event {
        let place = journal.record(&[b'0' + number as u8; 300]).unwrap();
        let (date, digest) = (now(), String::new());
        let kept = Kept { place, bytes: 300, date, digest, media_type: None, revisit: false };
        let done = Done { kept: Some(Box::new(kept)), ..Done::new(Outcome::Page) };
        let event = Event::Done { url: format!("http://h/{number}"), done, found: Vec::new(), unlisted: 0 };
        journal.push(&event);
        event
    }

    fn bytes(journal: &Journal) -> Vec<u8> {
        journal.archives().iter().flat_map(|(_, path)| fs::read(path).unwrap()).collect()
    }

    /// Wherever a crash cuts the files, what the journal has is what the archives have.
    #[test]
    fn any_cut_leaves_whole_pages() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, events) = open(folder.path());
        assert_eq!(events, []);
        let events: Vec<Event> = (0..5).map(|number| page(&mut journal, number)).collect();
        journal.commit().unwrap();
        page(&mut journal, 5); // never committed
        journal.sync_archive().unwrap();
        assert!(journal.archives().len() > 1, "several archives");
        let log = fs::read(folder.path().join("journal.jsonl")).unwrap();
        for cut in (0..=log.len()).step_by(17).chain([log.len()]) {
            let copy = tempfile::tempdir().unwrap();
            for (name, path) in journal.archives() {
                fs::copy(path, copy.path().join(name)).unwrap();
            }
            fs::write(copy.path().join("journal.jsonl"), &log[..cut]).unwrap();
            let (mut resumed, found) = open(copy.path());
            assert_eq!(found, events[..found.len()]);
            for number in found.len() as u32..6 {
                page(&mut resumed, number);
            }
            resumed.commit().unwrap();
            let bytes = bytes(&resumed);
            for number in 0..6 {
                let count = bytes
                    .windows(300)
                    .filter(|window| window.iter().all(|byte| *byte == b'0' + number))
                    .count();
                assert_eq!(count, 1, "page {number} after a cut at {cut}");
            }
            let (_, found) = open(copy.path());
            assert_eq!(found.len(), 6);
        }
    }

    #[test]
    fn events_without_their_archive_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path());
        (0..3).for_each(|number| drop(page(&mut journal, number)));
        journal.commit().unwrap();
        let (_, path) = journal.archives().remove(0);
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 200).unwrap();
        let (_, events) = open(folder.path());
        assert_eq!(events.len(), 1);
    }
}
