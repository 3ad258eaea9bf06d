//! Safetensors files of f32 weights, to bytes and back; half precision is widened on reading.

use crate::transformer::Weights;
use burn::prelude::*;
use pipe_stage::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Weights>;

/// Bytes of a file with these tensors, in name order, and this metadata.
pub(crate) fn encode(tensors: &Tensors, metadata: HashMap<String, String>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, weights)| {
        let view = TensorView::new(Dtype::F32, weights.shape.clone(), bytemuck::cast_slice(&weights.values));
        view.map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|error| failed("write", &error))?;
    safetensors::serialize(views, Some(metadata)).map_err(|error| failed("write", &error))
}

/// A tensor on its way into a file: its values are fetched when they are written.
#[expect(clippy::large_enum_variant, reason = "there is one for each tensor of a model, for one write")]
pub(crate) enum Stored<'a> {
    /// Values in memory.
    Weights(&'a Weights),
    /// A flat tensor of a device, and its shape.
    Tensor(Vec<usize>, Tensor<1>),
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Weights(weights) => &weights.shape,
            Self::Tensor(shape, _) => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Weights(weights) => Cow::Borrowed(bytemuck::cast_slice(&weights.values)),
            Self::Tensor(_, tensor) => {
                let values: Vec<f32> = tensor.to_data().iter::<f32>().collect();
                Cow::Owned(bytemuck::cast_slice(&values).to_vec())
            }
        }
    }

    fn data_len(&self) -> usize {
        4 * self.shape().iter().product::<usize>()
    }
}

/// Writes what `encode` gives to a file, one tensor after the other, so that only one is in memory twice.
pub(crate) fn write(
    path: &Path,
    tensors: BTreeMap<String, Stored<'_>>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|error| failed("write", &error))
}

/// Tensors and metadata of a file.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Tensors, HashMap<String, String>)> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| failed("read", &error))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| failed("read", &error))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::BF16 => {
                let halves = view.data().as_chunks().0.iter();
                halves.map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect()
            }
            other => {
                let message = format!("tensor `{name}` holds {other:?}");
                return Err(Error::input(message).help("F32 and BF16 are read"));
            }
        };
        tensors.insert(name.to_owned(), Weights { shape: view.shape().to_vec(), values });
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

fn failed(action: &str, error: &dyn std::fmt::Display) -> Error {
    Error::input(format!("cannot {action} safetensors: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_inverts_encode() {
        let weights = Weights { shape: vec![2, 1], values: vec![1.5, f32::MIN_POSITIVE] };
        let tensors: Tensors = [("b".to_owned(), weights.clone()), ("a".to_owned(), weights)].into();
        let metadata: HashMap<_, _> = [("format".to_owned(), "pt".to_owned())].into();
        let bytes = encode(&tensors, metadata.clone()).expect("encoded");
        assert_eq!(decode(&bytes).expect("decoded"), (tensors, metadata));
    }

    #[test]
    fn a_written_file_holds_the_encoded_bytes() {
        let weights = Weights { shape: vec![2, 1], values: vec![1.5, -2.0] };
        let tensor = Tensor::<1>::from_floats([1.5, -2.0], &Device::flex());
        let metadata: HashMap<_, _> = [("format".to_owned(), "pt".to_owned())].into();
        let tensors: Tensors = [("b".to_owned(), weights.clone()), ("a".to_owned(), weights.clone())].into();
        let stored = [
            ("a".to_owned(), Stored::Tensor(vec![2, 1], tensor)),
            ("b".to_owned(), Stored::Weights(&weights)),
        ];
        let file = tempfile::NamedTempFile::new().expect("a file");
        write(file.path(), stored.into(), metadata.clone()).expect("written");
        assert_eq!(std::fs::read(file.path()).expect("read"), encode(&tensors, metadata).expect("encoded"));
    }

    #[test]
    fn broken_bytes_are_an_error() {
        let bytes = encode(&Tensors::new(), HashMap::new()).expect("encoded");
        for bytes in [&b""[..], &b"\xff\xff\xff\xff\xff\xff\xff\x7f"[..], &bytes[..bytes.len() - 1]] {
            assert!(decode(bytes).is_err());
        }
    }
}
