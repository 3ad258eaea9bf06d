//! Rotary position embedding (Su et al., 2021) in the layout of Hugging Face's Llama: feature `i` of a head
//! is rotated together with feature `i + head_dim / 2`.

use super::simd::multiversion;
use burn::prelude::*;
use burn::tensor::TensorData;
use std::sync::Arc;

/// Cosines and sines, `[positions, head_dim / 2]`, shared by all layers.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    half: usize,
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
}

impl Rope {
    /// Angles `position * theta^(-2 i / head_dim)`, formed in f32 as transformers does.
    pub(crate) fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let frequency: Vec<f32> =
            (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64) as f32).collect();
        let angles = (0..positions).flat_map(|p| frequency.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Self { half, cos: Arc::new(cos), sin: Arc::new(sin) }
    }

    /// Rotates `x [batch, time, heads, head_dim]`, whose first position is `offset`, with burn's operations.
    pub(crate) fn plain(&self, x: Tensor<4>, offset: usize) -> Tensor<4> {
        let time = x.dims()[1];
        let table = |values: &[f32]| {
            let values = values[offset * self.half..(offset + time) * self.half].to_vec();
            let table = Tensor::<4>::from_data(TensorData::new(values, [1, time, 1, self.half]), &x.device());
            if x.is_autodiff() { table.autodiff() } else { table }
        };
        let (cos, sin) = (table(&self.cos), table(&self.sin));
        let (a, b) = (x.clone().narrow(3, 0, self.half), x.narrow(3, self.half, self.half));
        let rotated = a.clone() * cos.clone() - b.clone() * sin.clone();
        Tensor::cat(vec![rotated, b * cos + a * sin], 3)
    }

    pub(super) fn half(&self) -> usize {
        self.half
    }

    /// Cosines and sines of the first `time` positions.
    pub(super) fn tables(&self, time: usize) -> (&[f32], &[f32]) {
        (&self.cos[..time * self.half], &self.sin[..time * self.half])
    }
}

multiversion! {
    /// Rotates rows of `x` that start `x_stride` apart into rows of `y`, one position a row.
    pub(super) fn rotate<FMA>(x: &[f32], x_stride: usize, cos: &[f32], sin: &[f32], y: &mut [f32], y_stride: usize, half: usize) {
        for (row, (cos, sin)) in cos.chunks_exact(half).zip(sin.chunks_exact(half)).enumerate() {
            let (a, b) = x[row * x_stride..][..2 * half].split_at(half);
            let (ya, yb) = y[row * y_stride..][..2 * half].split_at_mut(half);
            for i in 0..half {
                ya[i] = a[i] * cos[i] - b[i] * sin[i];
                yb[i] = b[i] * cos[i] + a[i] * sin[i];
            }
        }
    }

    /// The inverse of `rotate`, which is its transpose: what gradients need.
    pub(super) fn rotate_back<FMA>(x: &[f32], x_stride: usize, cos: &[f32], sin: &[f32], y: &mut [f32], y_stride: usize, half: usize) {
        for (row, (cos, sin)) in cos.chunks_exact(half).zip(sin.chunks_exact(half)).enumerate() {
            let (a, b) = x[row * x_stride..][..2 * half].split_at(half);
            let (ya, yb) = y[row * y_stride..][..2 * half].split_at_mut(half);
            for i in 0..half {
                ya[i] = a[i] * cos[i] + b[i] * sin[i];
                yb[i] = b[i] * cos[i] - a[i] * sin[i];
            }
        }
    }
}
