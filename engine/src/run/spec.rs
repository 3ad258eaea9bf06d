//! Owns: the instructions for a worker. A spec is a JSON file with digests and folders, and without secrets.

use pipe_stage::{Digest, LeaseToken, Mode, SourceFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A stage, or some of its tasks, to be run by `pipe worker`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Revision of this format: 1.
    pub version: u32,
    /// Key of the stage, which its worker repeats when it is done.
    pub key: Digest,
    /// Proof of its lease, for retiring records.
    pub lease: Option<LeaseToken>,
    /// Stage type.
    pub uses: String,
    /// Digest of the program that contains the type, if it is part of the key.
    #[serde(default)]
    pub program: Option<Digest>,
    /// The full config, including run-time fields; secrets are placeholders.
    pub config: Value,
    /// What to do.
    pub mode: Mode,
    /// Artifacts by input port.
    pub inputs: BTreeMap<String, Vec<SpecInput>>,
    /// The listing from the plan, so that workers need not list and hash again.
    pub sources: Vec<SourceFile>,
    /// The cache folder.
    pub cache: PathBuf,
    /// The folder that relative paths start from, and in which commands run.
    pub project: PathBuf,
    /// File for stdout and stderr.
    pub log: PathBuf,
    /// Number of threads to use.
    pub threads: usize,
    /// When the worker ends by itself.
    pub leash: Leash,
}

/// An artifact at an input port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecInput {
    /// Its key in the map under `needs`; otherwise empty.
    #[serde(default)]
    pub label: String,
    /// Name of the stage that made it: what a command's environment calls it in messages.
    pub digest: Digest,
}

/// How a worker notices that its engine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leash {
    /// By the end of stdin. Before that, each line is a JSON string: the path of a spec for an idle worker.
    Stdin,
    /// Not at all: the caller ends it.
    None,
}

impl Spec {
    /// Reads a spec file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the spec `{}`: {error}", path.display()))?;
        let spec: Self = serde_json::from_str(&text)
            .map_err(|error| format!("`{}` is not a spec: {error}", path.display()))?;
        match spec.version {
            1 => Ok(spec),
            version => {
                Err(format!("`{}` has version {version}, but this program reads version 1", path.display()))
            }
        }
    }
}
