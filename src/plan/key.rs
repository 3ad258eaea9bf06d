//! Owns: keys and recipes. Pure: digests in, digest out.

use pipe_stage::{Digest, SourceFile, canonical::Encoder};
use serde_json::Value;
use std::collections::BTreeMap;

/// What decides a stage's result, apart from its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Stage type.
    pub uses: &'a str,
    /// Its revision.
    pub revision: u32,
    /// Config without defaults.
    pub essence: &'a Value,
    /// Digest of the program that holds a stage type from outside; `None` for those shipped here.
    pub program: Option<Digest>,
}

/// Digests by port, with labels; of artifacts for keys, of recipes for recipes.
pub type InputDigests = BTreeMap<String, Vec<(String, Digest)>>;

/// Hashes everything that decides a result.
pub fn key(identity: Identity<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Digest {
    encode(identity, inputs, sources).derive("pipe key v1")
}

/// Hashes what was asked for: like the key, with the inputs' recipes.
pub fn recipe(identity: Identity<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Digest {
    encode(identity, inputs, sources).derive("pipe recipe v1")
}

fn encode(identity: Identity<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Encoder {
    let mut out = Encoder::default();
    out.text(identity.uses);
    out.integer(identity.revision);
    out.value(identity.essence);
    match &identity.program {
        Some(program) => out.digest(program),
        None => out.null(),
    }
    out.map(inputs.len());
    for (port, artifacts) in inputs {
        out.text(port);
        out.list(artifacts.len());
        for (label, digest) in artifacts {
            out.text(label);
            out.digest(digest);
        }
    }
    out.list(sources.len());
    for file in sources {
        out.text(&file.source);
        out.text(&file.name);
        out.digest(&file.digest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(essence: &Value) -> Identity<'_> {
        Identity { uses: "clean", revision: 3, essence, program: None }
    }

    #[test]
    fn the_key_is_pinned() {
        // Another digest here means that every cache out there is stale.
        let inputs = InputDigests::from([("documents".into(), vec![(String::new(), Digest::of(b"x"))])]);
        let key = key(identity(&json!({ "profile": "docs" })), &inputs, &[]);
        assert_eq!(key.to_string(), PINNED);
    }

    const PINNED: &str = "42b2af3719d89dcdbd71998217debba6e6f2c069365941d570f4bbb7dce66e0b";

    #[test]
    fn paths_of_sources_stay_out() {
        let file = |path: &str| SourceFile {
            source: "book".into(),
            name: "a.html".into(),
            digest: Digest::of(b"a"),
            size: 1,
            path: path.into(),
        };
        let of = |path| key(identity(&json!({})), &InputDigests::new(), &[file(path)]);
        assert_eq!(of("/here/a.html"), of("/there/a.html"));
    }
}
