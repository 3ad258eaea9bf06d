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

/// What a loss is measured against: the class of each position, and how much it counts.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    ids: Arc<Vec<u32>>,
    weights: Arc<Vec<f32>>,
}

impl Targets {
    /// Targets that count alike, so that the loss is their mean; those that are [`IGNORE`] do not count. Without
    /// any that does, loss and gradients are 0.
    pub(crate) fn mean(ids: Vec<u32>) -> Self {
        let counted = ids.iter().filter(|&&id| id != IGNORE).count();
        let weight = 1.0 / counted.max(1) as f32;
        Self { weights: Arc::new(vec![weight; ids.len()]), ids: Arc::new(ids) }
    }

    /// How much the target at `position` counts.
    fn weight(&self, position: usize) -> f32 {
        if self.ids[position] == IGNORE { 0.0 } else { self.weights[position] }
    }
}

/// Cross entropy in nats of `x [batch, time, features]` under `weight [classes, features]`, summed over the
/// `targets [batch * time]` (below `classes`), each times its weight; summed in f64.
pub(crate) fn head_loss(x: Tensor<3>, weight: Tensor<2>, targets: &Targets) -> Tensor<1> {
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
        let chunk: Vec<f32> = rows.map(|(row, &target)| loss_row(row, target, None)).collect();
        losses.extend(chunk);
    });
    losses
}

pub(super) fn plain(x: Tensor<3>, weight: Tensor<2>, targets: &Targets) -> Tensor<1> {
    let device = x.device();
    let n = targets.ids.len();
    let weights: Vec<f32> = (0..n).map(|at| targets.weight(at)).collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &device);
    (plain_losses(x, weight, &targets.ids) * weights).sum()
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
    targets: Targets,
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
    /// Gradients of `x` and `weight` for an output gradient of 1, where they are wanted.
    type Saved = [Option<Array>; 2];

    fn forward(&self, [x, weight]: [&Array; 2], wanted: [bool; 2]) -> (Array, Self::Saved) {
        let ([_, _, features], [classes, _]) = (x.dims::<3>(), weight.dims::<2>());
        let is_training = wanted.contains(&true);
        let mut total = 0.0_f64;
        let zeros = |like: &Array| vec![0.0_f32; like.values().len()];
        let mut dx = wanted[0].then(|| zeros(x));
        let mut dw = wanted[1].then(|| zeros(weight));
        project(x, weight, &self.targets.ids, |first, logits, ids, _| {
            let rows = logits.par_chunks_mut(classes).with_min_len(4).zip(ids.par_iter()).enumerate();
            let losses: Vec<(f32, f32)> = rows
                .map(|(row, (logits, &id))| {
                    let weight = self.targets.weight(first + row);
                    (loss_row(logits, id, is_training.then_some(weight)), weight)
                })
                .collect();
            total += losses.iter().map(|&(loss, weight)| f64::from(loss) * f64::from(weight)).sum::<f64>();
            let n = ids.len();
            if let Some(dx) = &mut dx {
                let head = View::rows(weight.values(), classes, features, features);
                let target = Target::rows(&mut dx[first * features..], n, features, features);
                matmul(target, View::rows(logits, n, classes, classes), head, Store::Set, Threads::All);
            }
            if let Some(dw) = &mut dw {
                let dlogits = View::rows(logits, n, classes, classes).transposed();
                let x = View::rows(&x.values()[first * features..], n, features, features);
                let store = if first == 0 { Store::Set } else { Store::Add };
                let target = Target::rows(dw, classes, features, features);
                matmul(target, dlogits, x, store, Threads::All);
            }
        });
        let dx = dx.map(|dx| Array::from_vec(dx, x.shape()));
        let dw = dw.map(|dw| Array::from_vec(dw, weight.shape()));
        (Array::from_vec(vec![total as f32], [1]), [dx, dw])
    }

    fn backward(&self, saved: Self::Saved, gradient: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let factor = gradient.values()[0];
        saved.map(|gradient| {
            let mut gradient = gradient?;
            if factor != 1.0 {
                gradient.values_mut().par_chunks_mut(CHUNK).for_each(|part| scale(part, factor));
            }
            Some(gradient)
        })
    }
}

const CHUNK: usize = 16_384;

/// The cross entropy of a row of logits; where a weight is given, the row becomes the gradient, times the
/// weight.
fn loss_row(row: &mut [f32], target: u32, weight: Option<f32>) -> f32 {
    if target == IGNORE {
        row.fill(0.0);
        return 0.0;
    }
    let logit = row[target as usize];
    let (largest, total) = exponentials(row);
    if let Some(weight) = weight {
        scale(row, weight / total);
        row[target as usize] -= weight;
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

    fn ids(numbers: &mut Numbers, n: usize, classes: usize) -> Vec<u32> {
        let id = |i| if i % 5 == 3 { IGNORE } else { numbers.below(classes) as u32 };
        (0..n).map(id).collect()
    }

    /// Every target with a weight of its own, some below 0.
    fn weighted(numbers: &mut Numbers, n: usize, classes: usize) -> Targets {
        Targets { ids: Arc::new(ids(numbers, n, classes)), weights: Arc::new(numbers.vec(n)) }
    }

    #[test]
    fn gradients_agree_with_the_plain_form_over_several_chunks() {
        let mut numbers = Numbers::new(13);
        for [b, t, d, classes] in [[1, 1, 3, 1], [2, 3, 5, 7], [3, 50, 6, 40_001]] {
            for targets in
                [Targets::mean(ids(&mut numbers, b * t, classes)), weighted(&mut numbers, b * t, classes)]
            {
                agree(
                    &[vec![b, t, d], vec![classes, d]],
                    &[numbers.vec(b * t * d), numbers.vec(classes * d)],
                    |x| head_loss(x[0].t3(), x[1].t2(), &targets),
                    |x| plain(x[0].t3(), x[1].t2(), &targets),
                );
            }
        }
    }

    #[test]
    fn mean_of_the_losses_is_the_loss() {
        let mut numbers = Numbers::new(14);
        let targets = ids(&mut numbers, 100, 30_000);
        let leaf = |values: Vec<f32>| TensorData::new(values, [100 * 4]);
        let x = Tensor::<1>::from_data(leaf(numbers.vec(400)), &Device::flex()).reshape([1, 100, 4]);
        let w = TensorData::new(numbers.vec(120_000), [30_000, 4]);
        let w = Tensor::<2>::from_data(w, &Device::flex());
        let losses = head_losses(x.clone(), w.clone(), &targets);
        let counted = targets.iter().filter(|&&t| t != IGNORE).count() as f64;
        let mean = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / counted;
        let loss: f32 = head_loss(x, w, &Targets::mean(targets)).into_scalar();
        assert!((mean - f64::from(loss)).abs() < 1e-6);
    }

    #[test]
    fn without_targets_that_count_loss_and_gradients_are_zero() {
        let device = Device::flex().autodiff();
        let x = Tensor::<3>::ones([1, 3, 4], &device).require_grad();
        let w = Tensor::<2>::ones([5, 4], &device).require_grad();
        let loss = head_loss(x.clone(), w.clone(), &Targets::mean(vec![IGNORE; 3]));
        assert_eq!(loss.clone().into_scalar::<f32>(), 0.0);
        let gradients = loss.backward();
        let of_x = x.grad(&gradients).expect("a gradient").into_data();
        let of_w = w.grad(&gradients).expect("a gradient").into_data();
        assert!(of_x.iter::<f32>().chain(of_w.iter::<f32>()).all(|gradient| gradient == 0.0));
    }

    #[test]
    fn nan_and_threads() {
        let mut numbers = Numbers::new(15);
        let targets = Targets::mean((0..140).map(|_| numbers.below(300) as u32).collect());
        let shapes = [vec![2, 70, 8], vec![300, 8]];
        let inputs = [numbers.vec(1120), numbers.vec(2400)];
        let op = |x: &[Leaf]| head_loss(x[0].t3(), x[1].t2(), &targets);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
