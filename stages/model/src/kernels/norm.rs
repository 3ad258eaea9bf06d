//! Normalisation, by itself or in one pass with the residual sum before it: root mean square (Zhang and
//! Sennrich, 2019) where there is no bias, and layer normalisation (Ba et al., 2016) where there is one.
//!
//! ```text
//! branch ──► dropout ──► + ──► sum ──► norm ──► normed
//!                        ▲
//!                    residual
//! ```
//!
//! The forward pass reads `branch` and `residual` once and writes both outputs. The backward pass forms the
//! gradient of the sum from those of both outputs in one pass as well, so that no sum of gradients is left to
//! burn's tape.

use super::array::{Array, Fresh, on_flex};
use super::blocks::{rows_per_block, total};
use super::dropout::{Dropout, dropout, mask_and_add, mask_in_place};
use super::fused::{Fused, Input, apply};
use super::simd::{multiversion, sum};
use burn::prelude::*;
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

/// Gains `[features]`, a bias `[features]` of layer normalisation, and what is added to the mean square or the
/// variance.
#[derive(Debug, Clone)]
pub(crate) struct Gains {
    pub(crate) weight: Tensor<1>,
    pub(crate) bias: Option<Tensor<1>>,
    pub(crate) epsilon: f32,
}

/// Normalises `x [batch, time, features]` over the last axis.
#[cfg(test)]
pub(crate) fn norm(x: Tensor<3>, gains: Gains) -> Tensor<3> {
    sum_norm(None, x, Dropout::default(), gains)
}

/// Gives `normed`, see above; without a residual the sum is the branch after dropout.
pub(crate) fn sum_norm(
    residual: Option<Tensor<3>>,
    branch: Tensor<3>,
    dropout: Dropout,
    gains: Gains,
) -> Tensor<3> {
    if !on_flex(&branch.device()) {
        return plain(residual, branch, dropout, gains).1;
    }
    let op = SumNorm { dropout, epsilon: gains.epsilon, has_residual: residual.is_some(), link: None };
    record(op, residual.as_ref(), &branch, &gains)
}

/// Gives `(sum, normed)`, see above. Where there are gradients, both outputs have to be used, and the sum's
/// gradient must not depend on the norm's alone: in a transformer it goes on to the next residual sum.
pub(crate) fn sum_and_norm(
    residual: Option<Tensor<3>>,
    branch: Tensor<3>,
    dropout: Dropout,
    gains: Gains,
) -> (Tensor<3>, Tensor<3>) {
    if !on_flex(&branch.device()) {
        return plain(residual, branch, dropout, gains);
    }
    let link = Link::default();
    let op = SumNorm {
        dropout,
        epsilon: gains.epsilon,
        has_residual: residual.is_some(),
        link: Some(link.clone()),
    };
    let sum = record(op, residual.as_ref(), &branch, &gains);
    let normed = apply(HandedOver { link }, [&sum]);
    (sum, normed)
}

/// Runs `op` on its two to four inputs.
fn record(op: SumNorm, residual: Option<&Tensor<3>>, branch: &Tensor<3>, gains: &Gains) -> Tensor<3> {
    match (residual, &gains.bias) {
        (None, None) => apply(op, [branch, &gains.weight]),
        (None, Some(bias)) => apply(op, [branch, &gains.weight, bias]),
        (Some(residual), None) => apply(op, [branch, &gains.weight, residual as &dyn Input]),
        (Some(residual), Some(bias)) => apply(op, [branch, &gains.weight, bias, residual]),
    }
}

pub(super) fn plain(
    residual: Option<Tensor<3>>,
    branch: Tensor<3>,
    noise: Dropout,
    gains: Gains,
) -> (Tensor<3>, Tensor<3>) {
    let dropped = dropout(branch, noise);
    let sum = match residual {
        Some(residual) => dropped + residual,
        None => dropped,
    };
    let normed = match gains.bias {
        None => {
            let mean = sum.clone().powi_scalar(2).mean_dim(2);
            sum.clone() / mean.add_scalar(gains.epsilon).sqrt() * gains.weight.unsqueeze()
        }
        Some(bias) => {
            let centred = sum.clone() - sum.clone().mean_dim(2);
            let variance = centred.clone().powi_scalar(2).mean_dim(2);
            centred / variance.add_scalar(gains.epsilon).sqrt() * gains.weight.unsqueeze() + bias.unsqueeze()
        }
    };
    (sum, normed)
}

/// The operation behind both functions: its output is the sum where there is a link, which then takes the
/// normed rows along, and else the normed rows.
///
/// Inputs are the branch, the weight, the bias if there is one, and the residual if there is one.
#[derive(Debug, Clone)]
struct SumNorm {
    dropout: Dropout,
    epsilon: f32,
    has_residual: bool,
    link: Option<Link>,
}

/// Between the two nodes of the tape that share one kernel: normed rows on the way forward, their gradient on
/// the way back.
type Link = Arc<Mutex<Option<Array>>>;

fn hand_over(link: &Link, array: Array) {
    *link.lock().expect("invariant: nobody panics while it is held") = Some(array);
}

fn take_over(link: &Link) -> Array {
    let array = link.lock().expect("invariant: nobody panics while it is held").take();
    array.expect("invariant: the other node has run before")
}

/// Mean (0 without a bias) and reciprocal deviation of a row.
#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f32,
    scale: f32,
}

#[derive(Debug, Clone)]
struct Saved {
    /// What was normalised.
    sum: Array,
    weight: Array,
    moments: Vec<Moments>,
}

impl<const N: usize> Fused<N> for SumNorm {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [&Array; N], wanted: [bool; N]) -> (Array, Self::Saved) {
        let (branch, weight) = (inputs[0], inputs[1]);
        let residual = self.has_residual.then(|| inputs[N - 1]);
        let bias = (N == 3 + usize::from(self.has_residual)).then(|| inputs[2].values());
        let [features] = weight.dims();
        // Nothing to add and nothing to drop: the branch is the sum.
        let sum = if residual.is_none() && self.dropout.rate <= 0.0 {
            branch.clone()
        } else {
            Array::build(branch.shape(), |sum| {
                let rows =
                    sum.par_chunks_mut(features * ROWS).zip(branch.values().par_chunks(features * ROWS));
                rows.enumerate().for_each(|(i, (sum, branch))| {
                    let first = i * features * ROWS;
                    match residual {
                        Some(residual) => {
                            let residual = &residual.values()[first..][..branch.len()];
                            mask_and_add(branch, residual, sum, self.dropout, first as u64);
                        }
                        None => {
                            let sum = sum.write_copy_of_slice(branch);
                            mask_in_place(sum, self.dropout, first as u64);
                        }
                    }
                });
            })
        };
        let mut moments = Vec::new();
        let normed = Array::build(branch.shape(), |y| {
            let rows = y.par_chunks_mut(features).with_min_len(ROWS).zip(sum.values().par_chunks(features));
            let rows = rows.map(|(y, x)| match bias {
                None => root_mean_square_row(x, weight.values(), self.epsilon, y),
                Some(bias) => layer_row(x, weight.values(), bias, self.epsilon, y),
            });
            rows.collect_into_vec(&mut moments);
        });
        let saved =
            wanted.contains(&true).then(|| Saved { sum: sum.clone(), weight: weight.clone(), moments });
        match &self.link {
            Some(link) => {
                hand_over(link, normed);
                (sum, saved)
            }
            None => (normed, saved),
        }
    }

    fn backward(&self, saved: Self::Saved, gradient: Array, wanted: [bool; N]) -> [Option<Array>; N] {
        let Saved { sum, weight, moments } = saved.expect("invariant: saved where a gradient is wanted");
        let (dy, dsum) = match &self.link {
            Some(link) => (take_over(link), Some(gradient)),
            None => (gradient, None),
        };
        let has_bias = N == 3 + usize::from(self.has_residual);
        let [features] = weight.dims();
        let rows = rows_per_block(moments.len());
        let block = rows * features;
        let mut parts = Vec::new();
        let dx = Array::build(sum.shape(), |dx| {
            let blocks = dx.par_chunks_mut(block).zip(sum.values().par_chunks(block));
            let blocks = blocks.zip(dy.values().par_chunks(block)).zip(moments.par_chunks(rows)).enumerate();
            let blocks = blocks.map(|(i, (((dx, x), dy), moments))| {
                let (mut dw, mut db) = (vec![0.0; features], vec![0.0; if has_bias { features } else { 0 }]);
                let rows = dx.chunks_mut(features).zip(x.chunks(features)).zip(dy.chunks(features));
                for (row, (((dx, x), dy), &moments)) in rows.zip(moments).enumerate() {
                    let before = match &dsum {
                        Some(dsum) => &dsum.values()[i * block + row * features..][..features],
                        None => &[],
                    };
                    if has_bias {
                        layer_row_backward(x, dy, weight.values(), moments, before, dx, &mut dw, &mut db);
                    } else {
                        root_mean_square_row_backward(x, dy, weight.values(), moments, before, dx, &mut dw);
                    }
                }
                (dw, db)
            });
            blocks.collect_into_vec(&mut parts);
        });
        let dw = wanted[1].then(|| total(features, parts.iter().map(|(dw, _): &Sums| dw.as_slice())));
        let db = (has_bias && wanted[2])
            .then(|| total(features, parts.iter().map(|(_, db): &Sums| db.as_slice())));
        let dbranch = wanted[0].then(|| {
            if self.dropout.rate <= 0.0 {
                return dx.clone();
            }
            Array::build(dx.shape(), |dbranch| {
                let chunks = dbranch.par_chunks_mut(features * ROWS);
                let chunks = chunks.zip(dx.values().par_chunks(features * ROWS)).enumerate();
                chunks.for_each(|(i, (dbranch, dx))| {
                    let dbranch = dbranch.write_copy_of_slice(dx);
                    mask_in_place(dbranch, self.dropout, (i * features * ROWS) as u64);
                });
            })
        });
        let mut gradients = [dbranch, dw, db].into_iter();
        let parameters = N - usize::from(self.has_residual);
        std::array::from_fn(|input| {
            if input < parameters { gradients.next().flatten() } else { wanted[input].then(|| dx.clone()) }
        })
    }
}

/// Rows of a task.
const ROWS: usize = 64;

/// Of a block of rows: the gradients of weight and bias.
type Sums = (Vec<f32>, Vec<f32>);

/// Gives the normed rows that a [`SumNorm`] has formed, and hands it their gradient.
#[derive(Debug, Clone)]
struct HandedOver {
    link: Link,
}

impl Fused<1> for HandedOver {
    type Saved = ();

    fn forward(&self, _: [&Array; 1], _: [bool; 1]) -> (Array, ()) {
        (take_over(&self.link), ())
    }

    fn backward(&self, (): (), gradient: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        hand_over(&self.link, gradient);
        [None]
    }
}

multiversion! {
    /// Writes the normalised row and returns its moments.
    fn root_mean_square_row<FMA>(x: &[f32], weight: &[f32], epsilon: f32, y: &mut Fresh) -> Moments {
        let scale = 1.0 / (sum(x, |_, v| v * v) / x.len() as f32 + epsilon).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            y.write(x * scale * w);
        }
        Moments { mean: 0.0, scale }
    }

    /// dx = scale (dy w - x mean(dy w x) scale^2) + before; adds dy x scale to `dw`.
    fn root_mean_square_row_backward<FMA>(x: &[f32], dy: &[f32], weight: &[f32], moments: Moments, before: &[f32], dx: &mut Fresh, dw: &mut [f32]) {
        let n = x.len();
        let scale = moments.scale;
        let (x, dy, weight, dx, dw) = (&x[..n], &dy[..n], &weight[..n], &mut dx[..n], &mut dw[..n]);
        let mean = sum(dy, |i, v| v * weight[i] * x[i]) / n as f32;
        let k = mean * scale * scale;
        if before.is_empty() {
            for i in 0..n {
                dx[i].write(scale * (dy[i] * weight[i] - x[i] * k));
                dw[i] += dy[i] * x[i] * scale;
            }
        } else {
            let before = &before[..n];
            for i in 0..n {
                dx[i].write(scale * (dy[i] * weight[i] - x[i] * k) + before[i]);
                dw[i] += dy[i] * x[i] * scale;
            }
        }
    }

    /// Writes the normalised row and returns its moments.
    fn layer_row<FMA>(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut Fresh) -> Moments {
        let n = x.len();
        let mean = sum(x, |_, v| v) / n as f32;
        // In two passes: the difference of two large squares would lose the variance.
        let variance = sum(x, |_, v| (v - mean) * (v - mean)) / n as f32;
        let scale = 1.0 / (variance + epsilon).sqrt();
        let (y, weight, bias) = (&mut y[..n], &weight[..n], &bias[..n]);
        for i in 0..n {
            y[i].write((x[i] - mean) * scale * weight[i] + bias[i]);
        }
        Moments { mean, scale }
    }

    /// With z the row without weight and bias, and g = dy w: dx = scale (g - mean(g) - z mean(g z)) + before;
    /// adds dy z to `dw` and dy to `db`.
    fn layer_row_backward<FMA>(x: &[f32], dy: &[f32], weight: &[f32], moments: Moments, before: &[f32], dx: &mut Fresh, dw: &mut [f32], db: &mut [f32]) {
        let n = x.len();
        let Moments { mean, scale } = moments;
        let (dy, weight) = (&dy[..n], &weight[..n]);
        let (dx, dw, db) = (&mut dx[..n], &mut dw[..n], &mut db[..n]);
        let g_mean = sum(dy, |i, v| v * weight[i]) / n as f32;
        let gz_mean = sum(dy, |i, v| v * weight[i] * ((x[i] - mean) * scale)) / n as f32;
        for i in 0..n {
            let z = (x[i] - mean) * scale;
            let more = if before.is_empty() { 0.0 } else { before[i] };
            dx[i].write(scale * (dy[i] * weight[i] - g_mean - z * gz_mean) + more);
            dw[i] += dy[i] * z;
            db[i] += dy[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    const NOISE: [Dropout; 2] = [Dropout { rate: 0.0, seed: 0 }, Dropout { rate: 0.3, seed: 9 }];

    /// Leaves are the branch, the residual, the weight, and the bias if there is one.
    fn gains(x: &[Leaf]) -> Gains {
        Gains { weight: x[2].t1(), bias: x.get(3).map(Leaf::t1), epsilon: 1e-5 }
    }

    fn both((sum, normed): (Tensor<3>, Tensor<3>)) -> Tensor<3> {
        Tensor::cat(vec![sum, normed], 2)
    }

    fn leaves(
        numbers: &mut Numbers,
        [b, t, d]: [usize; 3],
        biases: usize,
    ) -> (Vec<Vec<usize>>, Vec<Vec<f32>>) {
        let mut shapes = vec![vec![b, t, d], vec![b, t, d], vec![d]];
        shapes.extend(vec![vec![d]; biases]);
        let values = shapes.iter().map(|shape| numbers.vec(shape.iter().product())).collect();
        (shapes, values)
    }

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(3);
        for (size, biases) in
            [[1, 1, 1], [2, 3, 5], [3, 37, 48]].into_iter().flat_map(|size| [(size, 0), (size, 1)])
        {
            let (shapes, values) = leaves(&mut numbers, size, biases);
            for noise in NOISE {
                agree(
                    &shapes,
                    &values,
                    |x| both(sum_and_norm(Some(x[1].t3()), x[0].t3(), noise, gains(x))),
                    |x| both(plain(Some(x[1].t3()), x[0].t3(), noise, gains(x))),
                );
                agree(
                    &shapes,
                    &values,
                    |x| sum_norm(Some(x[1].t3()), x[0].t3(), noise, gains(x)),
                    |x| plain(Some(x[1].t3()), x[0].t3(), noise, gains(x)).1,
                );
                agree(
                    &shapes,
                    &values,
                    |x| both(sum_and_norm(None, x[0].t3(), noise, gains(x))) + both((x[1].t3(), x[1].t3())),
                    |x| both(plain(None, x[0].t3(), noise, gains(x))) + both((x[1].t3(), x[1].t3())),
                );
            }
        }
    }

    #[test]
    fn a_row_far_from_zero_keeps_its_variance() {
        let x = burn::tensor::TensorData::new(vec![4096.0_f32, 4097.0, 4098.0, 4099.0], [1, 1, 4]);
        let (weight, bias) = (Tensor::ones([4], &Device::flex()), Tensor::zeros([4], &Device::flex()));
        let y = norm(Tensor::from_data(x, &Device::flex()), Gains { weight, bias: Some(bias), epsilon: 0.0 });
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32");
        for (y, wanted) in y.iter().zip([-1.341_640_8, -0.447_213_6, 0.447_213_6, 1.341_640_8]) {
            assert!((y - wanted).abs() < 1e-5, "{y} {wanted}");
        }
    }

    #[test]
    fn nan_and_threads() {
        let mut numbers = Numbers::new(4);
        for biases in [0, 1] {
            let (shapes, values) = leaves(&mut numbers, [2, 90, 24], biases);
            for noise in NOISE {
                let pair = |x: &[Leaf]| both(sum_and_norm(Some(x[1].t3()), x[0].t3(), noise, gains(x)));
                nan_reaches_output(&shapes, &values, pair);
                same_bits_for_any_threads(&shapes, &values, pair);
                let last = |x: &[Leaf]| sum_norm(Some(x[1].t3()), x[0].t3(), noise, gains(x));
                nan_reaches_output(&shapes, &values, last);
                same_bits_for_any_threads(&shapes, &values, last);
            }
        }
    }
}
