//! Predictions of models that fastText trained, compared with fastText's own. `scripts/make_fasttext_models.py` made the
//! files.

use pipe_linear::{Model, ModelError, Scratch};
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    models: BTreeMap<String, Vec<Vec<(String, f64)>>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn expected() -> Expected {
    let json = std::fs::read(folder().join("expected.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<Model, ModelError> {
    Model::read(bytes, bytes.len() as u64)
}

/// fastText adds this to each probability, and along a tree to that of each step.
const FASTTEXT_ADDS: f64 = 1e-5;

#[test]
fn predictions_equal_those_of_fasttext() {
    let Expected { texts, models } = expected();
    assert_eq!(models.len(), 8);
    for (name, predictions) in models {
        let model = read(&bytes(&name)).unwrap();
        let mut scratch = Scratch::default();
        assert_eq!(predictions.len(), texts.len());
        for (text, expected) in texts.iter().zip(predictions) {
            let found = model.probabilities(text, &mut scratch).unwrap_or_default().to_vec();
            assert_eq!(found.is_empty(), expected.is_empty(), "{name}: {text}");
            for (label, probability) in expected {
                let label = label.strip_prefix("__label__").unwrap();
                let at = model.labels().iter().position(|known| known == label).unwrap();
                let difference = probability - FASTTEXT_ADDS - f64::from(found[at]);
                let tolerance = if name.contains("hierarchical") || name.contains("output") {
                    10.0 * FASTTEXT_ADDS
                } else {
                    FASTTEXT_ADDS / 2.0
                };
                assert!(difference.abs() < tolerance, "{name}: {text}: {label}: {probability} {}", found[at]);
            }
        }
    }
}

#[test]
fn a_written_model_is_the_same_model() {
    for name in ["softmax.bin", "one_vs_all.bin", "hierarchical.bin"] {
        let model = read(&bytes(name)).unwrap();
        let written = model.write(Vec::new()).unwrap();
        assert_eq!(read(&written).unwrap(), model);
    }
    let quantized = read(&bytes("quantized.ftz")).unwrap();
    assert!(quantized.write(Vec::new()).is_err());
}

#[test]
fn every_truncation_is_an_error() {
    for name in expected().models.keys() {
        let whole = bytes(name);
        for length in (0..whole.len()).step_by(7) {
            let cut = read(&whole[..length]).map(drop).unwrap_err();
            assert!(matches!(cut, ModelError::Magic | ModelError::Truncated(_)), "{name} {length}: {cut}");
            // A file that became shorter than its length says.
            assert!(Model::read(&whole[..length], whole.len() as u64).is_err());
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }
}

#[test]
fn huge_sizes_are_refused_before_memory_is_reserved() {
    let whole = bytes("softmax.bin");
    // Each number of the header and the dictionary, replaced by a huge one.
    for place in (8..92).step_by(4) {
        for huge in [i32::MAX, -1, i32::MIN] {
            let mut changed = whole.clone();
            changed[place..place + 4].copy_from_slice(&huge.to_le_bytes());
            let found = read(&changed);
            if let Ok(model) = found {
                let _ = model.probabilities("the text", &mut Scratch::default());
            }
        }
    }
}

#[test]
fn other_files_are_named() {
    assert!(matches!(read(b"PK\x03\x04 something else"), Err(ModelError::Magic)));
    let mut vectors = bytes("softmax.bin");
    vectors[36..40].copy_from_slice(&2_i32.to_le_bytes());
    assert!(matches!(read(&vectors), Err(ModelError::NotSupervised("skipgram"))));
    let mut version = bytes("softmax.bin");
    version[4..8].copy_from_slice(&13_i32.to_le_bytes());
    assert!(matches!(read(&version), Err(ModelError::Version(13))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_models_give_errors_or_numbers(
        which in 0_usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        text in "\\PC{0,40}",
    ) {
        let name = expected().models.into_keys().nth(which).unwrap();
        let mut bytes = bytes(&name);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(model) = read(&bytes) {
            let mut scratch = Scratch::default();
            let found = model.probabilities(&text, &mut scratch).unwrap_or_default();
            prop_assert!(found.iter().all(|share| (0.0..=1.0001).contains(share)), "{found:?}");
        }
    }
}
