//! Owns: the lock file: the results of the last complete run of a pipeline, to be committed and reviewed as a diff.

use crate::record::Record;
use pipe_stage::{Digest, Metric, Number, files};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Version of the format. History: 1: initial version.
const VERSION: u32 = 1;
/// A larger one is none of ours: one of 100,000 stages takes a tenth of it.
const BYTES_MAX: u64 = 1 << 30;

/// The results of a pipeline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Revision of this format: 1.
    pub version: u32,
    /// Revisions of sources whose content can change under the same name. They are an input, changed only by
    /// `--update-pins`.
    pub pins: BTreeMap<String, String>,
    /// By stage name.
    pub stages: BTreeMap<String, LockedStage>,
}

/// The result of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedStage {
    /// What was requested: digest of the stage's settings and the recipes of its inputs.
    pub recipe: Digest,
    /// Digest of everything that determines the result.
    pub key: Digest,
    /// The artifacts produced, by port.
    pub outputs: BTreeMap<String, Digest>,
    /// Metrics that do not depend on a clock, by name.
    #[serde(with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// Instruction sets that the kernels used: `avx2`.
    pub instruction_sets: Vec<String>,
    /// Whether the stage keeps this result although its inputs or settings changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Whether the outputs were taken from a folder, so that nothing ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// Why a lock file cannot be read. This is never treated as a missing file: frozen stages would run, and pins would
/// change.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file system failed, or the file is not text.
    #[error("cannot read the lock file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It contains conflict markers of a Git merge.
    #[error("the lock file `{}` has merge conflict markers, the first in line {line}", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// It was written by a newer program.
    #[error("the lock file `{}` has version {found}, but this program reads version {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// It is not a lock file.
    #[error("`{}` is not a lock file: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
}

impl LockError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "make it readable, or move it away to start without a lock file",
            Self::Conflict { .. } => {
                "keep one side (`git checkout --ours FILE` or `--theirs FILE`), then run the pipeline again"
            }
            Self::Newer { .. } => "use a newer pipe, or move the file away to start without a lock file",
            Self::Malformed { .. } => {
                "restore it from version control, or move it away to start without a lock file"
            }
        }
    }
}

impl Lock {
    /// Reads a lock file; `None` if there is none.
    ///
    /// # Errors
    /// If there is a file, but this program cannot read it.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        #[derive(Deserialize)]
        struct Head {
            version: u64,
        }
        let path = || path.to_owned();
        let unreadable = |source| LockError::Unreadable { path: path(), source };
        let bytes = match files::read(&path(), BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(unreadable)?,
        };
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let is_marker =
            |line: &str| ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| line.starts_with(mark));
        if let Some(line) = text.lines().position(is_marker) {
            return Err(LockError::Conflict { path: path(), line: line + 1 });
        }
        let malformed =
            |error: serde_json::Error| LockError::Malformed { path: path(), message: error.to_string() };
        match serde_json::from_str::<Head>(&text).map_err(malformed)?.version {
            found if found > u64::from(VERSION) => Err(LockError::Newer { path: path(), found }),
            _ => serde_json::from_str(&text).map(Some).map_err(malformed),
        }
    }

    /// Writes the file if its content changes.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("invariant: a lock is plain data");
        text.push('\n');
        if files::read(path, BYTES_MAX).is_ok_and(|before| before == text.as_bytes()) {
            return Ok(());
        }
        let path = target(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A new file gets the usual mode, to which the system applies the umask; an existing file keeps its mode.
        let mut fresh =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        fresh.write_all(text.as_bytes())?;
        if let Ok(before) = fs::metadata(&path) {
            fresh.as_file().set_permissions(before.permissions())?;
        }
        fresh.as_file().sync_all()?;
        fresh.persist(&path)?;
        Ok(())
    }
}

/// Follows symbolic links to the file to write, which need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().map_or(to.clone(), |folder| folder.join(&to)),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Metrics, some of which may not be finite.
mod numbers {
    use super::{BTreeMap, Number};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        numbers: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(numbers.iter().map(|(name, value)| (name, Number(*value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let numbers = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|(name, Number(value))| (name, value)).collect())
    }
}

impl LockedStage {
    /// Keeps the parts of a stage's result that do not depend on a clock.
    pub fn new(
        recipe: Digest,
        key: Digest,
        outputs: &BTreeMap<String, Digest>,
        metrics: &[Metric],
        instruction_sets: &[String],
    ) -> Self {
        let lasting = metrics.iter().filter(|metric| !metric.clock);
        Self {
            recipe,
            key,
            outputs: outputs.clone(),
            metrics: lasting.map(|metric| (metric.name.clone(), metric.value)).collect(),
            instruction_sets: instruction_sets.to_vec(),
            frozen: false,
            adopted: false,
        }
    }

    /// Whether a record has other outputs, though equal bytes can be expected.
    pub(crate) fn is_broken_by(&self, key: &Digest, record: &Record) -> bool {
        self.key == *key && self.instruction_sets == record.instruction_sets && self.outputs != record.outputs
    }

    /// Whether equal bytes can be expected: same key, same instruction sets.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.key == other.key && self.instruction_sets == other.instruction_sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let digest = Digest::of(b"x");
        let metrics = [Metric::new("loss", f64::NAN, ""), Metric::new("rows", 3.0, "")];
        let stage = LockedStage::new(digest, digest, &BTreeMap::new(), &metrics, &[]);
        Lock { version: 1, pins: BTreeMap::new(), stages: [("a".to_owned(), stage)].into() }
    }

    #[test]
    fn a_lock_comes_back_with_figures_that_are_no_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        lock().write(&path).unwrap();
        let back = Lock::read(&path).unwrap().unwrap();
        assert!(back.stages["a"].metrics["loss"].is_nan());
        assert_eq!(back.stages["a"].metrics["rows"], 3.0);
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_never_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.lock");
        lock().write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let conflict = text.replacen("  \"pins\"", "<<<<<<< ours\n  \"pins\"", 1);
        let newer = text.replacen("\"version\": 1", "\"version\": 9", 1);
        let unknown = text.replacen("\"pins\"", "\"pens\"", 1);
        for (text, told) in [
            (conflict.as_str(), "merge conflict markers, the first in line 3"),
            (&newer, "version 9"),
            (&unknown, "unknown field `pens`"),
            (&text[..text.len() / 2], "is not a lock file"),
            ("", "is not a lock file"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Lock::read(&path).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Lock::read(&path), Err(LockError::Unreadable { .. })));
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_link_to_it_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.lock"), folder.path().join("m.lock"));
        std::os::unix::fs::symlink("real.lock", &link).unwrap();
        lock().write(&link).unwrap();
        let umask = {
            fs::write(folder.path().join("plain"), "").unwrap();
            fs::metadata(folder.path().join("plain")).unwrap().permissions().mode()
        };
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode(), umask);
        fs::set_permissions(&real, Permissions::from_mode(0o664)).unwrap();
        Lock::default().write(&link).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o664);
        assert!(link.is_symlink());
    }
}
