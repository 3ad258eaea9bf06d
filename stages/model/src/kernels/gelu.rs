//! The Gaussian error linear unit (Hendrycks and Gimpel, 2016), in the form by tanh that GPT and GPT-2 have.

use super::array::{Array, Fresh, on_flex};
use super::fused::{Fused, apply};
use super::simd::{exp, multiversion};
use burn::prelude::*;
use rayon::prelude::*;

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, element by element.
pub(crate) fn gelu(x: Tensor<3>) -> Tensor<3> {
    if on_flex(&x.device()) { apply(Gelu, [&x]) } else { plain(x) }
}

pub(super) fn plain(x: Tensor<3>) -> Tensor<3> {
    let inner = (x.clone() + x.clone().powi_scalar(3).mul_scalar(CUBIC)).mul_scalar(ROOT);
    x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
}

/// sqrt(2 / pi)
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

const CHUNK: usize = 16_384;

#[derive(Debug, Clone)]
struct Gelu;

impl Fused<1> for Gelu {
    type Saved = Option<Array>;

    fn forward(&self, [x]: [&Array; 1], [wanted]: [bool; 1]) -> (Array, Option<Array>) {
        let y = Array::build(x.shape(), |y| {
            let chunks = y.par_chunks_mut(CHUNK).zip(x.values().par_chunks(CHUNK));
            chunks.for_each(|(y, x)| forward_part(x, y));
        });
        (y, wanted.then(|| x.clone()))
    }

    fn backward(&self, x: Option<Array>, dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let x = x.expect("invariant: saved where a gradient is wanted");
        let dx = Array::build(x.shape(), |dx| {
            let chunks = dx.par_chunks_mut(CHUNK).zip(x.values().par_chunks(CHUNK));
            chunks.zip(dy.values().par_chunks(CHUNK)).for_each(|((dx, x), dy)| backward_part(x, dy, dx));
        });
        [Some(dx)]
    }
}

multiversion! {
    /// (1 + tanh u) / 2 is the sigmoid of 2 u, which takes one exponential.
    fn forward_part<FMA>(x: &[f32], y: &mut Fresh) {
        for (y, &x) in y.iter_mut().zip(x) {
            let u = ROOT * (x + CUBIC * x * x * x);
            y.write(x / (1.0 + exp::<FMA>(-2.0 * u)));
        }
    }

    /// With s the sigmoid of 2 u: s + x s (1 - s) 2 u'.
    fn backward_part<FMA>(x: &[f32], dy: &[f32], dx: &mut Fresh) {
        let n = x.len();
        let (dy, dx) = (&dy[..n], &mut dx[..n]);
        for i in 0..n {
            let x = x[i];
            let u = ROOT * (x + CUBIC * x * x * x);
            let s = 1.0 / (1.0 + exp::<FMA>(-2.0 * u));
            let slope = 2.0 * ROOT * (1.0 + 3.0 * CUBIC * x * x);
            dx[i].write(dy[i] * (s + x * s * (1.0 - s) * slope));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(18);
        for [b, t, d] in [[1, 1, 1], [2, 3, 10], [5, 70, 97]] {
            let x: Vec<f32> = numbers.vec(b * t * d).iter().map(|x| x * 6.0).collect();
            agree(&[vec![b, t, d]], &[x], |x| gelu(x[0].t3()), |x| plain(x[0].t3()));
        }
    }

    #[test]
    fn values_are_those_of_the_formula_even_far_out() {
        let x = vec![-1e20_f32, -30.0, -1.0, 0.0, 0.5, 30.0, 1e20];
        let y = gelu(Tensor::from_data(burn::tensor::TensorData::new(x, [1, 1, 7]), &Device::flex()));
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32");
        for (y, wanted) in y.iter().zip([0.0, 0.0, -0.158_808, 0.0, 0.345_714, 30.0, 1e20_f32]) {
            assert!((y - wanted).abs() <= 1e-6 * (1.0 + wanted.abs()), "{y} {wanted}");
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, inputs) = ([vec![2, 200, 120]], [Numbers::new(19).vec(48_000)]);
        let op = |x: &[Leaf]| gelu(x[0].t3());
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
