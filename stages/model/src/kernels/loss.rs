//! Cross entropy of a linear head, without ever holding all logits: rows are projected, scored and, in
//! training, turned into gradients in chunks.

use super::array::{Array, on_flex};
use super::fused::{Fused, apply};
use super::matmul::{Store, Target, Threads, View, matmul};
use super::simd::{exp, max, multiversion, sum};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, TensorData};
use rayon::prelude::*;
use std::sync::Arc;

/// A target that does not count: padding, or a position that is context only.
pub(crate) const IGNORE: u32 = u32::MAX;

/// Mean cross entropy in nats of `x [batch, time, features]` under `weight [classes, features]`, over the
/// `targets [batch * time]` that are not `IGNORE` (the others below `classes`); summed in f64. NaN without
/// any target that counts.
pub(crate) fn head_loss(x: Tensor<3>, weight: Tensor<2>, targets: &Arc<Vec<u32>>) -> Tensor<1> {
    if on_flex(&x.device()) {
        apply(HeadLoss { targets: targets.clone() }, [&x, &weight])
    } else {
        plain(x, weight, targets)
    }
}

/// Cross entropy of each position in nats, 0 where the target is `IGNORE`; no gradients.
pub(crate) fn head_losses(x: Tensor<3>, weight: Tensor<2>, targets: &[u32]) -> Vec<f32> {
    let (x, weight) = (x.inner(), weight.inner());
    if !on_flex(&x.device()) {
        let losses: Vec<f32> = plain_losses(x, weight, targets).into_data().iter::<f32>().collect();
        return losses.iter().zip(targets).map(|(&l, &t)| if t == IGNORE { 0.0 } else { l }).collect();
    }
    use super::fused::Input;
    let mut losses = Vec::with_capacity(targets.len());
    project(&x.array(), &weight.array(), targets, |_, logits, targets, classes| {
        let rows = logits.par_chunks_mut(classes).with_min_len(4).zip(targets.par_iter());
        let chunk: Vec<f32> = rows.map(|(row, &target)| loss_row(row, target, 0.0)).collect();
        losses.extend(chunk);
    });
    losses
}

pub(super) fn plain(x: Tensor<3>, weight: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let device = x.device();
    let counted = targets.iter().filter(|&&t| t != IGNORE).count();
    let mask: Vec<f32> = targets.iter().map(|&t| if t == IGNORE { 0.0 } else { 1.0 }).collect();
    let mask = Tensor::<1>::from_data(TensorData::new(mask, [targets.len()]), &device);
    (plain_losses(x, weight, targets) * mask).sum().div_scalar(counted as f32)
}

fn plain_losses(x: Tensor<3>, weight: Tensor<2>, targets: &[u32]) -> Tensor<1> {
    let [batch, time, features] = x.dims();
    let ids: Vec<i32> = targets.iter().map(|&t| if t == IGNORE { 0 } else { t as i32 }).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [batch * time, 1]), &x.device());
    let logits = x.reshape([batch * time, features]).matmul(weight.transpose());
    log_softmax(logits, 1).gather(1, ids).neg().reshape([batch * time])
}

#[derive(Debug, Clone)]
struct HeadLoss {
    targets: Arc<Vec<u32>>,
}

/// Rows of a chunk: 2M logits (8 MiB), at least 64 rows.
fn chunk_rows(classes: usize) -> usize {
    ((2 << 20) / classes.max(1) / 64 * 64).max(64)
}

/// Calls `work` with each chunk's first row, logits `[rows, classes]` and targets.
fn project(
    x: &Array,
    weight: &Array,
    targets: &[u32],
    mut work: impl FnMut(usize, &mut [f32], &[u32], usize),
) {
    let ([batch, time, features], [classes, _]) = (x.dims(), weight.dims::<2>());
    assert_eq!(targets.len(), batch * time);
    assert!(targets.iter().all(|&t| t == IGNORE || (t as usize) < classes));
    let rows = chunk_rows(classes).min(batch * time);
    let mut logits = vec![0.0; rows * classes];
    let head = View::rows(weight.values(), classes, features, features).transposed();
    for (i, targets) in targets.chunks(rows.max(1)).enumerate() {
        let n = targets.len();
        let logits = &mut logits[..n * classes];
        let x = View::rows(&x.values()[i * rows * features..], n, features, features);
        matmul(Target::rows(logits, n, classes, classes), x, head, Store::Set, Threads::All);
        work(i * rows, logits, targets, classes);
    }
}

impl Fused<2> for HeadLoss {
    /// Gradients of `x` and `weight` for an output gradient of 1.
    type Saved = Option<(Array, Array)>;

    fn forward(&self, [x, weight]: [&Array; 2], tracked: bool) -> (Array, Self::Saved) {
        let ([_, _, features], [classes, _]) = (x.dims::<3>(), weight.dims::<2>());
        let counted = self.targets.iter().filter(|&&t| t != IGNORE).count();
        let unit = if tracked { 1.0 / counted as f32 } else { 0.0 };
        let mut total = 0.0_f64;
        let (mut dx, mut dw) = (Vec::new(), Vec::new());
        if tracked {
            dx = vec![0.0; x.values().len()];
            dw = vec![0.0; weight.values().len()];
        }
        project(x, weight, &self.targets, |first, logits, targets, _| {
            let rows = logits.par_chunks_mut(classes).with_min_len(4).zip(targets.par_iter());
            let losses: Vec<f32> = rows.map(|(row, &target)| loss_row(row, target, unit)).collect();
            total += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            if tracked {
                let n = targets.len();
                let dlogits = View::rows(logits, n, classes, classes);
                let head = View::rows(weight.values(), classes, features, features);
                let target = Target::rows(&mut dx[first * features..], n, features, features);
                matmul(target, dlogits, head, Store::Set, Threads::All);
                let x = View::rows(&x.values()[first * features..], n, features, features);
                let store = if first == 0 { Store::Set } else { Store::Add };
                let target = Target::rows(&mut dw, classes, features, features);
                matmul(target, dlogits.transposed(), x, store, Threads::All);
            }
        });
        let saved = tracked.then(|| (Array::from_vec(dx, x.shape()), Array::from_vec(dw, weight.shape())));
        (Array::from_vec(vec![(total / counted as f64) as f32], [1]), saved)
    }

    fn backward(
        &self,
        _: [&Array; 2],
        saved: Self::Saved,
        gradient: Array,
        _: [bool; 2],
    ) -> [Option<Array>; 2] {
        let (mut dx, mut dw) = saved.expect("invariant: a tracked forward pass saves gradients");
        let factor = gradient.values()[0];
        if factor != 1.0 {
            dx.values_mut().iter_mut().for_each(|v| *v *= factor);
            dw.values_mut().iter_mut().for_each(|v| *v *= factor);
        }
        [Some(dx), Some(dw)]
    }
}

/// The cross entropy of a row of logits; with `unit > 0` the row becomes the gradient, scaled by `unit`.
fn loss_row(row: &mut [f32], target: u32, unit: f32) -> f32 {
    if target == IGNORE {
        row.fill(0.0);
        return 0.0;
    }
    let logit = row[target as usize];
    let (largest, total) = exponentials(row);
    if unit > 0.0 {
        scale(row, unit / total);
        row[target as usize] -= unit;
    }
    total.ln() + largest - logit
}

multiversion! {
    /// Replaces `x` by `e^(x - max)`; returns the maximum and the sum.
    fn exponentials<FMA>(x: &mut [f32]) -> (f32, f32) {
        let largest = max(x);
        for v in x.iter_mut() {
            *v = exp::<FMA>(*v - largest);
        }
        (largest, sum(x, |_, v| v))
    }

    fn scale<FMA>(x: &mut [f32], k: f32) {
        for v in x {
            *v *= k;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    fn targets(numbers: &mut Numbers, n: usize, classes: usize) -> Arc<Vec<u32>> {
        let target = |i| if i % 5 == 3 { IGNORE } else { numbers.below(classes) as u32 };
        Arc::new((0..n).map(target).collect())
    }

    #[test]
    fn gradients_agree_with_the_plain_form_over_several_chunks() {
        let mut numbers = Numbers::new(13);
        for [b, t, d, classes] in [[1, 1, 3, 1], [2, 3, 5, 7], [3, 50, 6, 40_001]] {
            let targets = targets(&mut numbers, b * t, classes);
            agree(
                &[vec![b, t, d], vec![classes, d]],
                &[numbers.vec(b * t * d), numbers.vec(classes * d)],
                |x| head_loss(x[0].t3(), x[1].t2(), &targets),
                |x| plain(x[0].t3(), x[1].t2(), &targets),
            );
        }
    }

    #[test]
    fn mean_of_the_losses_is_the_loss() {
        let mut numbers = Numbers::new(14);
        let targets = targets(&mut numbers, 100, 30_000);
        let leaf = |values: Vec<f32>| TensorData::new(values, [100 * 4]);
        let x = Tensor::<1>::from_data(leaf(numbers.vec(400)), &Device::flex()).reshape([1, 100, 4]);
        let w = TensorData::new(numbers.vec(120_000), [30_000, 4]);
        let w = Tensor::<2>::from_data(w, &Device::flex());
        let losses = head_losses(x.clone(), w.clone(), &targets);
        let counted = targets.iter().filter(|&&t| t != IGNORE).count() as f64;
        let mean = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / counted;
        let loss: f32 = head_loss(x, w, &targets).into_scalar();
        assert!((mean - f64::from(loss)).abs() < 1e-6);
    }

    #[test]
    fn nan_and_threads() {
        let mut numbers = Numbers::new(15);
        let targets = Arc::new((0..140).map(|_| numbers.below(300) as u32).collect::<Vec<_>>());
        let shapes = [vec![2, 70, 8], vec![300, 8]];
        let inputs = [numbers.vec(1120), numbers.vec(2400)];
        let op = |x: &[Leaf]| head_loss(x[0].t3(), x[1].t2(), &targets);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
