//! Owns: the lock file: what the last full run of a pipeline made, to be committed and read in a diff.

use pipe_stage::{Digest, Metric};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

/// What a pipeline led to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Revision of this format: 1.
    pub version: u32,
    /// Revisions of sources that can change under one name; an input, changed only by `--update-pins`.
    pub pins: BTreeMap<String, String>,
    /// By stage name.
    pub stages: BTreeMap<String, LockedStage>,
}

/// What a stage led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedStage {
    /// What was asked for.
    pub recipe: Digest,
    /// What decided the result.
    pub key: Digest,
    /// Artifacts that were made, by port.
    pub outputs: BTreeMap<String, Digest>,
    /// Figures that no clock made, by name.
    pub metrics: BTreeMap<String, f64>,
    /// What the kernels ran on: `avx2`.
    pub instruction_sets: Vec<String>,
    /// Whether the stage keeps this, though its inputs or settings changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

impl Lock {
    /// Reads a lock file; `None` if there is none, or if it is of another version.
    pub fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        serde_json::from_str::<Self>(&text).ok().filter(|lock| lock.version == 1)
    }

    /// Writes the file if it would change.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("invariant: a lock is plain data");
        text.push('\n');
        if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        fresh.write_all(text.as_bytes())?;
        fresh.as_file().sync_all()?;
        fresh.persist(path)?;
        Ok(())
    }
}

impl LockedStage {
    /// Keeps of a stage what no clock made.
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
        }
    }

    /// Whether bytes can be expected to be equal: same key, same instruction sets.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.key == other.key && self.instruction_sets == other.instruction_sets
    }
}
