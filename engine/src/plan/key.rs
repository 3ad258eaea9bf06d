//! Owns: keys and recipes. Pure functions: digests in, digest out.

use pipe_stage::{Digest, Identity, SourceFile, canonical::Encoder};
use serde_json::Value;
use std::collections::BTreeMap;

/// What determines a stage's result, besides its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Stage type.
    pub identity: &'a Identity,
    /// Config without defaults.
    pub essence: &'a Value,
}

/// Digests by port, with labels; of artifacts for keys, of recipes for recipes.
pub type InputDigests = BTreeMap<String, Vec<(String, Digest)>>;

/// Hashes everything that determines a result.
pub fn key(asked: Asked<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Digest {
    encode(asked, inputs, sources).derive("pipe key v1")
}

/// Hashes what was requested: like the key, with the recipes of the inputs.
pub fn recipe(asked: Asked<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Digest {
    encode(asked, inputs, sources).derive("pipe recipe v1")
}

fn encode(asked: Asked<'_>, inputs: &InputDigests, sources: &[SourceFile]) -> Encoder {
    let mut out = Encoder::default();
    out.text(&asked.identity.name);
    out.integer(asked.identity.revision);
    out.value(asked.essence);
    match &asked.identity.program {
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

    fn key_of(
        essence: &Value,
        program: Option<Digest>,
        inputs: &InputDigests,
        sources: &[SourceFile],
    ) -> Digest {
        let identity = Identity { name: "clean".into(), revision: 3, program };
        key(Asked { identity: &identity, essence }, inputs, sources)
    }

    #[test]
    fn the_key_is_pinned() {
        // If this digest changes, all existing caches become stale.
        let inputs = InputDigests::from([("documents".into(), vec![(String::new(), Digest::of(b"x"))])]);
        let key = key_of(&json!({ "profile": "docs" }), None, &inputs, &[]);
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
            at: pipe_stage::Location::Path(path.into()),
        };
        let of = |path| key_of(&json!({}), None, &InputDigests::new(), &[file(path)]);
        assert_eq!(of("/here/a.html"), of("/there/a.html"));
    }

    #[test]
    fn another_program_is_another_key() {
        let of = |program| key_of(&json!({}), program, &InputDigests::new(), &[]);
        let (one, other) = (Some(Digest::of(b"one")), Some(Digest::of(b"other")));
        assert!(of(one) != of(other) && of(one) != of(None));
    }
}
