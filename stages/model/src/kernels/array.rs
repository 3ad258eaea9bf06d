//! Contiguous f32 arrays of burn's flex backend, as kernels see them.

use burn::backend::TensorMetadata;
use burn::backend::flex::{FlexTensor, Layout};
use burn::prelude::*;
use burn::tensor::{Bytes, DType, Shape};
use std::mem::{ManuallyDrop, MaybeUninit};

/// Elements that a kernel has to set and must not read before.
pub(super) type Fresh = [MaybeUninit<f32>];

/// Whether kernels apply: tensors of `device` are flex's, with or without autodiff.
pub(crate) fn on_flex(device: &Device) -> bool {
    *device == Device::flex()
}

/// A contiguous f32 tensor; what kernels read.
#[derive(Debug, Clone)]
pub(super) struct Array(FlexTensor);

impl Array {
    /// Takes over a flex tensor, copying it only when it is a strided view.
    pub(super) fn from_flex(tensor: FlexTensor) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "invariant: models are built of f32 parameters");
        match tensor.as_slice::<f32>() {
            Some(_) => Self(tensor),
            None => Self(tensor.to_contiguous()),
        }
    }

    /// An array of `shape` whose elements `write` sets, every one.
    ///
    /// Zeroing them first would be a pass over memory for nothing; `FlexTensor::empty` would even zero a byte
    /// vector and copy it to an aligned one.
    pub(super) fn build(shape: impl Into<Shape>, write: impl FnOnce(&mut Fresh)) -> Self {
        let shape = shape.into();
        let n = shape.num_elements();
        let mut values = Vec::<MaybeUninit<f32>>::with_capacity(n);
        if cfg!(any(test, debug_assertions)) {
            values.resize(n, MaybeUninit::new(f32::NAN)); // an element that a kernel forgets shows in its tests
        }
        // SAFETY: the capacity is there, and `MaybeUninit` needs no value.
        unsafe { values.set_len(n) };
        write(&mut values);
        let mut values = ManuallyDrop::new(values);
        // SAFETY: `write` has set every element, see above, and `MaybeUninit<f32>` has the layout of `f32`.
        let values = unsafe { Vec::from_raw_parts(values.as_mut_ptr().cast::<f32>(), n, values.capacity()) };
        Self::from_vec(values, shape)
    }

    /// An array of zeros that `change` may add to.
    pub(super) fn zeros(shape: impl Into<Shape>, change: impl FnOnce(&mut [f32])) -> Self {
        let shape = shape.into();
        let mut values = vec![0.0_f32; shape.num_elements()];
        change(&mut values);
        Self::from_vec(values, shape)
    }

    pub(super) fn from_vec(values: Vec<f32>, shape: impl Into<Shape>) -> Self {
        Self(FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32))
    }

    pub(super) fn values(&self) -> &[f32] {
        self.0.as_slice::<f32>().expect("invariant: an Array is contiguous f32")
    }

    /// Writable elements; copied first if another tensor shares them.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        if self.0.layout().start_offset() != 0
            || self.0.storage::<f32>().len() != self.0.shape().num_elements()
        {
            *self = Self::from_vec(self.values().to_vec(), self.0.shape());
        }
        self.0.storage_mut::<f32>()
    }

    pub(super) fn dims<const D: usize>(&self) -> [usize; D] {
        self.0.shape().dims()
    }

    pub(super) fn shape(&self) -> Shape {
        self.0.shape()
    }

    pub(super) fn into_flex(self) -> FlexTensor {
        self.0
    }
}
