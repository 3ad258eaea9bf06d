//! One step of AdamW with decoupled weight decay (Loshchilov and Hutter, 2019).

use super::array::{Array, on_flex};
use super::fused::Input;
use super::simd::multiversion;
use burn::backend::Flex;
use burn::prelude::*;
use rayon::prelude::*;

/// The numbers of one step, the same for all elements of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamWStep {
    /// Learning rate.
    pub(crate) lr: f32,
    /// Exponential decay rate of the first moment.
    pub(crate) beta1: f32,
    /// Exponential decay rate of the second moment.
    pub(crate) beta2: f32,
    /// Added to the root of the second moment.
    pub(crate) epsilon: f32,
    /// Decoupled weight decay.
    pub(crate) weight_decay: f32,
    /// Factor on the gradient: clipping, and one over the number of accumulated batches.
    pub(crate) gradient_scale: f32,
    /// Steps taken, this one included; corrects the moments' bias towards zero.
    pub(crate) time: u64,
}

impl AdamWStep {
    /// `1 - beta^time` of both moments.
    fn corrections(self) -> (f32, f32) {
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(self.time as f64)) as f32;
        (correction(self.beta1), correction(self.beta2))
    }
}

/// A parameter with its two moments, all of one shape.
pub(crate) struct Slot<const D: usize> {
    pub(crate) parameter: Tensor<D>,
    pub(crate) first: Tensor<D>,
    pub(crate) second: Tensor<D>,
}

/// Updates a slot by `gradient`. Tensors are without autodiff; those that nobody else holds are changed in
/// place.
pub(crate) fn adamw<const D: usize>(slot: Slot<D>, gradient: Tensor<D>, step: AdamWStep) -> Slot<D> {
    if !on_flex(&gradient.device()) {
        return plain(slot, gradient, step);
    }
    let Slot { parameter, first, second } = slot;
    let array = |tensor: Tensor<D>| {
        Array::from_flex(tensor.try_into_primitive::<Flex>().expect("invariant: a plain flex tensor"))
    };
    let gradient = Input::array(&gradient);
    let (mut p, mut m, mut v) = (array(parameter), array(first), array(second));
    let chunks = p.values_mut().par_chunks_mut(CHUNK).zip(m.values_mut().par_chunks_mut(CHUNK));
    let chunks = chunks.zip(v.values_mut().par_chunks_mut(CHUNK)).zip(gradient.values().par_chunks(CHUNK));
    let corrections = step.corrections();
    chunks.for_each(|(((p, m), v), g)| update(p, m, v, g, step, corrections));
    let tensor = |array: Array| Tensor::from_primitive::<Flex>(array.into_flex());
    Slot { parameter: tensor(p), first: tensor(m), second: tensor(v) }
}

/// `a + b`, in place where nobody else holds `a`. Tensors are without autodiff.
pub(crate) fn add(a: Tensor<1>, b: Tensor<1>) -> Tensor<1> {
    if !on_flex(&a.device()) {
        return a + b;
    }
    let b = Input::array(&b);
    let mut a = Array::from_flex(a.try_into_primitive::<Flex>().expect("invariant: a plain flex tensor"));
    let chunks = a.values_mut().par_chunks_mut(CHUNK).zip(b.values().par_chunks(CHUNK));
    chunks.for_each(|(a, b)| super::blocks::add(b, a));
    Tensor::from_primitive::<Flex>(a.into_flex())
}

/// Sum of the squares of all elements in f64, in chunks of fixed size; NaN if any element is.
pub(crate) fn sum_of_squares(x: &Tensor<1>) -> f64 {
    if !on_flex(&x.device()) {
        return x.clone().inner().powi_scalar(2).sum().into_data().iter::<f64>().sum();
    }
    let x = Input::array(x);
    let parts: Vec<f64> = x.values().par_chunks(CHUNK).map(squares).collect();
    parts.into_iter().sum()
}

const CHUNK: usize = 16_384;

fn plain<const D: usize>(slot: Slot<D>, gradient: Tensor<D>, step: AdamWStep) -> Slot<D> {
    let (correct1, correct2) = step.corrections();
    let gradient = gradient.mul_scalar(step.gradient_scale);
    let first = slot.first.mul_scalar(step.beta1) + gradient.clone().mul_scalar(1.0 - step.beta1);
    let squared = gradient.clone() * gradient;
    let second = slot.second.mul_scalar(step.beta2) + squared.mul_scalar(1.0 - step.beta2);
    let root = second.clone().div_scalar(correct2).sqrt().add_scalar(step.epsilon);
    let update = first.clone().div_scalar(correct1) / root;
    let kept = slot.parameter.mul_scalar(1.0 - step.lr * step.weight_decay);
    Slot { parameter: kept - update.mul_scalar(step.lr), first, second }
}

multiversion! {
    fn squares<FMA>(x: &[f32]) -> f64 {
        let mut partial = [0.0_f64; 8];
        let (whole, rest) = x.as_chunks::<8>();
        for eight in whole {
            for lane in 0..8 {
                partial[lane] += f64::from(eight[lane]) * f64::from(eight[lane]);
            }
        }
        partial.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    }

    fn update<FMA>(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], step: AdamWStep, corrections: (f32, f32)) {
        let n = p.len();
        let (m, v, g) = (&mut m[..n], &mut v[..n], &g[..n]);
        let keep = 1.0 - step.lr * step.weight_decay;
        let rate = step.lr / corrections.0;
        let root = 1.0 / corrections.1.sqrt();
        for i in 0..n {
            let gradient = g[i] * step.gradient_scale;
            m[i] = m[i] * step.beta1 + gradient * (1.0 - step.beta1);
            v[i] = v[i] * step.beta2 + gradient * gradient * (1.0 - step.beta2);
            p[i] = p[i] * keep - rate * m[i] / (v[i].sqrt() * root + step.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::Numbers;
    use burn::tensor::TensorData;

    const STEP: AdamWStep = AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        gradient_scale: 0.5,
        time: 3,
    };

    fn slot(numbers: &mut Numbers, n: usize) -> (Slot<1>, Tensor<1>) {
        let mut tensor = |f: fn(f32) -> f32| {
            let values: Vec<f32> = numbers.vec(n).into_iter().map(f).collect();
            Tensor::<1>::from_data(TensorData::new(values, [n]), &Device::flex())
        };
        let slot = Slot { parameter: tensor(|x| x), first: tensor(|x| x), second: tensor(f32::abs) };
        (slot, tensor(|x| x))
    }

    fn values(slot: Slot<1>) -> Vec<f32> {
        let parts = [slot.parameter, slot.first, slot.second];
        parts.into_iter().flat_map(|t| t.into_data().try_to_vec::<f32>().expect("f32")).collect()
    }

    #[test]
    fn agrees_with_the_plain_form() {
        for n in [1, 17, 40_000] {
            let (a, gradient) = slot(&mut Numbers::new(16), n);
            let (b, _) = slot(&mut Numbers::new(16), n);
            let (a, b) = (adamw(a, gradient.clone(), STEP), plain(b, gradient, STEP));
            for (a, b) in values(a).iter().zip(values(b)) {
                assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }

    #[test]
    fn nan_gradient_shows_in_the_parameter() {
        let (a, _) = slot(&mut Numbers::new(17), 5);
        let gradient =
            Tensor::from_data(TensorData::new(vec![0.0, f32::NAN, 0.0, 0.0, 0.0], [5]), &Device::flex());
        assert!(values(adamw(a, gradient, STEP))[1].is_nan());
    }

    #[test]
    fn leaves_shared_tensors_alone() {
        let (a, gradient) = slot(&mut Numbers::new(18), 5);
        let (shared, before) = (a.parameter.clone(), a.parameter.to_data());
        let after = adamw(a, gradient, STEP);
        assert_eq!(shared.into_data(), before);
        assert_ne!(after.parameter.into_data(), before);
    }
}
