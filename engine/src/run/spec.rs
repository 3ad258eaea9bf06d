//! Owns: what a worker is told. A spec is a JSON file; it names digests and folders, and no secret.

use pipe_stage::{Digest, LeaseToken, Mode, SourceFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// One stage, or one share of one, to be done by `pipe worker`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Revision of this format: 1.
    pub version: u32,
    /// Key of the stage, which its worker says back when it is done.
    pub key: Digest,
    /// Proof of its lease, for retiring records.
    pub lease: Option<LeaseToken>,
    /// Stage type.
    pub uses: String,
    /// Digest of the program that holds the type, where the key has it.
    #[serde(default)]
    pub program: Option<Digest>,
    /// All of its config, run-time fields too; secrets are placeholders.
    pub config: Value,
    /// What to do.
    pub mode: Mode,
    /// Artifacts by input port.
    pub inputs: BTreeMap<String, Vec<SpecInput>>,
    /// The listing that the plan saw, so that no worker lists or hashes again.
    pub sources: Vec<SourceFile>,
    /// The cache's folder.
    pub cache: PathBuf,
    /// The folder that relative paths start from, and that commands run in.
    pub project: PathBuf,
    /// Where stdout and stderr go.
    pub log: PathBuf,
    /// Threads to use.
    pub threads: usize,
    /// When the worker has to end by itself.
    pub leash: Leash,
}

/// An artifact at an input port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecInput {
    /// Key of a map in `needs`; empty otherwise.
    #[serde(default)]
    pub label: String,
    /// Name of the stage that made it: what a command's environment calls it in messages.
    pub digest: Digest,
}

/// What tells a worker that its engine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leash {
    /// The end of stdin. What comes before, a JSON string a line, are paths of specs for a worker that rests.
    Stdin,
    /// Nothing: whoever started it ends it.
    None,
}

impl Spec {
    /// Reads a spec file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the spec `{}`: {error}", path.display()))?;
        let spec: Self = serde_json::from_str(&text)
            .map_err(|error| format!("`{}` is no spec: {error}", path.display()))?;
        match spec.version {
            1 => Ok(spec),
            version => Err(format!("`{}` has version {version}, this is for 1", path.display())),
        }
    }
}
