//! Layer normalisation (Ba et al., 2016).

use super::array::{Array, on_flex};
use super::blocks::{rows_per_block, total};
use super::fused::{Fused, apply};
use super::simd::{multiversion, sum};
use burn::prelude::*;
use rayon::prelude::*;

/// `(x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias` over the last axis, the variance without
/// Bessel's correction; `x [batch, time, features]`.
pub(crate) fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f32) -> Tensor<3> {
    if on_flex(&x.device()) {
        apply(LayerNorm { epsilon }, [&x, &weight, &bias])
    } else {
        plain(x, weight, bias, epsilon)
    }
}

pub(super) fn plain(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f32) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    centred / variance.add_scalar(epsilon).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

#[derive(Debug, Clone)]
struct LayerNorm {
    epsilon: f32,
}

/// Mean and reciprocal deviation of a row.
#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f32,
    scale: f32,
}

impl Fused<3> for LayerNorm {
    type Saved = Vec<Moments>;

    fn forward(&self, [x, weight, bias]: [&Array; 3], _: bool) -> (Array, Vec<Moments>) {
        let [features] = weight.dims();
        let mut moments = Vec::new();
        let y = Array::build(x.shape(), |y| {
            let rows = y.par_chunks_mut(features).with_min_len(64).zip(x.values().par_chunks(features));
            rows.map(|(y, x)| forward_row(x, weight.values(), bias.values(), self.epsilon, y))
                .collect_into_vec(&mut moments);
        });
        (y, moments)
    }

    fn backward(
        &self,
        [x, weight, _]: [&Array; 3],
        moments: Vec<Moments>,
        dy: Array,
        _: [bool; 3],
    ) -> [Option<Array>; 3] {
        let [features] = weight.dims();
        let rows = rows_per_block(moments.len());
        let block = rows * features;
        let mut parts = Vec::new();
        let dx = Array::build(x.shape(), |dx| {
            let blocks = dx.par_chunks_mut(block).zip(x.values().par_chunks(block));
            let blocks = blocks.zip(dy.values().par_chunks(block)).zip(moments.par_chunks(rows));
            let blocks = blocks.map(|(((dx, x), dy), moments)| {
                let (mut dw, mut db) = (vec![0.0; features], vec![0.0; features]);
                let rows = dx.chunks_mut(features).zip(x.chunks(features)).zip(dy.chunks(features));
                for (((dx, x), dy), &moments) in rows.zip(moments) {
                    backward_row(x, dy, weight.values(), moments, dx, &mut dw, &mut db);
                }
                (dw, db)
            });
            blocks.collect_into_vec(&mut parts);
        });
        let dw = total(features, parts.iter().map(|(dw, _): &Sums| dw.as_slice()));
        let db = total(features, parts.iter().map(|(_, db): &Sums| db.as_slice()));
        [Some(dx), Some(dw), Some(db)]
    }
}

/// Of a block of rows: the gradients of weight and bias.
type Sums = (Vec<f32>, Vec<f32>);

multiversion! {
    /// Writes the normalised row and returns its moments.
    fn forward_row<FMA>(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) -> Moments {
        let n = x.len();
        let mean = sum(x, |_, v| v) / n as f32;
        // In two passes: the difference of two large squares would lose the variance.
        let variance = sum(x, |_, v| (v - mean) * (v - mean)) / n as f32;
        let scale = 1.0 / (variance + epsilon).sqrt();
        let (y, weight, bias) = (&mut y[..n], &weight[..n], &bias[..n]);
        for i in 0..n {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        }
        Moments { mean, scale }
    }

    /// With z the row without weight and bias, and g = dy w: dx = scale (g - mean(g) - z mean(g z)); adds
    /// dy z to `dw` and dy to `db`.
    fn backward_row<FMA>(x: &[f32], dy: &[f32], weight: &[f32], moments: Moments, dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
        let n = x.len();
        let Moments { mean, scale } = moments;
        let (dy, weight) = (&dy[..n], &weight[..n]);
        let (dx, dw, db) = (&mut dx[..n], &mut dw[..n], &mut db[..n]);
        let g_mean = sum(dy, |i, v| v * weight[i]) / n as f32;
        let gz_mean = sum(dy, |i, v| v * weight[i] * ((x[i] - mean) * scale)) / n as f32;
        for i in 0..n {
            let z = (x[i] - mean) * scale;
            dx[i] = scale * (dy[i] * weight[i] - g_mean - z * gz_mean);
            dw[i] += dy[i] * z;
            db[i] += dy[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(16);
        for [b, t, d] in [[1, 1, 1], [2, 3, 5], [3, 37, 48]] {
            agree(
                &[vec![b, t, d], vec![d], vec![d]],
                &[numbers.vec(b * t * d), numbers.vec(d), numbers.vec(d)],
                |x| layer_norm(x[0].t3(), x[1].t1(), x[2].t1(), 1e-5),
                |x| plain(x[0].t3(), x[1].t1(), x[2].t1(), 1e-5),
            );
        }
    }

    #[test]
    fn a_row_far_from_zero_keeps_its_variance() {
        let x = burn::tensor::TensorData::new(vec![4096.0_f32, 4097.0, 4098.0, 4099.0], [1, 1, 4]);
        let (one, zero) = (Tensor::ones([4], &Device::flex()), Tensor::zeros([4], &Device::flex()));
        let y = layer_norm(Tensor::from_data(x, &Device::flex()), one, zero, 0.0);
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32");
        for (y, wanted) in y.iter().zip([-1.341_640_8, -0.447_213_6, 0.447_213_6, 1.341_640_8]) {
            assert!((y - wanted).abs() < 1e-5, "{y} {wanted}");
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, mut numbers) = ([vec![2, 50, 24], vec![24], vec![24]], Numbers::new(17));
        let inputs = [numbers.vec(2400), numbers.vec(24), numbers.vec(24)];
        let op = |x: &[Leaf]| layer_norm(x[0].t3(), x[1].t1(), x[2].t1(), 1e-5);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
