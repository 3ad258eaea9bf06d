//! Root mean square normalisation (Zhang and Sennrich, 2019).

use super::array::{Array, on_flex};
use super::blocks::{rows_per_block, total};
use super::fused::{Fused, apply};
use super::simd::{multiversion, sum};
use burn::prelude::*;
use rayon::prelude::*;

/// `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis; `x [batch, time, features]`.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f32) -> Tensor<3> {
    if on_flex(&x.device()) { apply(RmsNorm { epsilon }, [&x, &weight]) } else { plain(x, weight, epsilon) }
}

pub(super) fn plain(x: Tensor<3>, weight: Tensor<1>, epsilon: f32) -> Tensor<3> {
    let mean = x.clone().powi_scalar(2).mean_dim(2);
    x / mean.add_scalar(epsilon).sqrt() * weight.unsqueeze()
}

#[derive(Debug, Clone)]
struct RmsNorm {
    epsilon: f32,
}

impl Fused<2> for RmsNorm {
    /// Reciprocal root mean square of each row.
    type Saved = Vec<f32>;

    fn forward(&self, [x, weight]: [&Array; 2], _: bool) -> (Array, Vec<f32>) {
        let [features] = weight.dims();
        let mut scales = Vec::new();
        let y = Array::build(x.shape(), |y| {
            let rows = y.par_chunks_mut(features).with_min_len(64).zip(x.values().par_chunks(features));
            rows.map(|(y, x)| forward_row(x, weight.values(), self.epsilon, y)).collect_into_vec(&mut scales);
        });
        (y, scales)
    }

    fn backward(
        &self,
        [x, weight]: [&Array; 2],
        scales: Vec<f32>,
        dy: Array,
        _: [bool; 2],
    ) -> [Option<Array>; 2] {
        let [features] = weight.dims();
        let block = rows_per_block(scales.len()) * features;
        let mut parts = Vec::new();
        let dx = Array::build(x.shape(), |dx| {
            let blocks = dx.par_chunks_mut(block).zip(x.values().par_chunks(block));
            let blocks = blocks.zip(dy.values().par_chunks(block)).zip(scales.par_chunks(block / features));
            let blocks = blocks.map(|(((dx, x), dy), scales)| {
                let mut dw = vec![0.0; features];
                let rows = dx.chunks_mut(features).zip(x.chunks(features)).zip(dy.chunks(features));
                for (((dx, x), dy), &scale) in rows.zip(scales) {
                    backward_row(x, dy, weight.values(), scale, dx, &mut dw);
                }
                dw
            });
            blocks.collect_into_vec(&mut parts);
        });
        let dw = total(features, parts.iter().map(Vec::as_slice));
        [Some(dx), Some(dw)]
    }
}

multiversion! {
    /// Writes the normalised row and returns the reciprocal root mean square.
    fn forward_row<FMA>(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) -> f32 {
        let scale = 1.0 / (sum(x, |_, v| v * v) / x.len() as f32 + epsilon).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * scale * w;
        }
        scale
    }

    /// dx = scale * (dy w - x * mean(dy w x) * scale^2); adds dy * x * scale to `dw`.
    fn backward_row<FMA>(x: &[f32], dy: &[f32], weight: &[f32], scale: f32, dx: &mut [f32], dw: &mut [f32]) {
        let n = x.len();
        let (x, weight, dx, dw) = (&x[..n], &weight[..n], &mut dx[..n], &mut dw[..n]);
        let mean = sum(&dy[..n], |i, v| v * weight[i] * x[i]) / n as f32;
        let k = mean * scale * scale;
        for i in 0..n {
            dx[i] = scale * (dy[i] * weight[i] - x[i] * k);
            dw[i] += dy[i] * x[i] * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(3);
        for [b, t, d] in [[1, 1, 1], [2, 3, 5], [3, 37, 48]] {
            agree(
                &[vec![b, t, d], vec![d]],
                &[numbers.vec(b * t * d), numbers.vec(d)],
                |x| rms_norm(x[0].t3(), x[1].t1(), 1e-5),
                |x| plain(x[0].t3(), x[1].t1(), 1e-5),
            );
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, mut numbers) = ([vec![2, 50, 24], vec![24]], Numbers::new(4));
        let inputs = [numbers.vec(2400), numbers.vec(24)];
        let op = |x: &[Leaf]| rms_norm(x[0].t3(), x[1].t1(), 1e-5);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
