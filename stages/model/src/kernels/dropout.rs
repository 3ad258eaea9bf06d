//! Dropout whose mask is a pure function of a seed and the element's index, so that nothing about it has to
//! be saved: not for the backward pass, not for a resumed run, and it is the same on every backend.

use super::array::{Array, Fresh, on_flex};
use super::fused::{Fused, apply};
use super::simd::multiversion;
use burn::prelude::*;
use burn::tensor::TensorData;
use rayon::prelude::*;

/// Zeroes elements of `x` with the probability `rate`, and scales the others by `1 / (1 - rate)`.
pub(crate) fn dropout(x: Tensor<3>, dropout: Dropout) -> Tensor<3> {
    if dropout.rate <= 0.0 {
        return x;
    }
    if on_flex(&x.device()) { apply(dropout, [&x]) } else { dropout.plain(x) }
}

/// Which elements are dropped, of a tensor of any shape.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Dropout {
    /// Probability that an element is dropped; 0 drops none.
    pub(crate) rate: f32,
    /// Decides which.
    pub(crate) seed: u64,
}

const CHUNK: usize = 16_384;

impl Dropout {
    pub(super) fn plain(self, x: Tensor<3>) -> Tensor<3> {
        if self.rate <= 0.0 {
            return x;
        }
        let ones = vec![1.0; x.dims().iter().product()];
        let mask = self.mask(&ones, x.shape());
        let mask = Tensor::<3>::from_data(TensorData::new(mask.values().to_vec(), x.dims()), &x.device());
        let mask = if x.is_autodiff() { mask.autodiff() } else { mask };
        x * mask
    }

    fn mask(self, x: &[f32], shape: Shape) -> Array {
        Array::build(shape, |y| {
            let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate();
            chunks.for_each(|(i, (y, x))| masked(x, y, self, (i * CHUNK) as u64));
        })
    }

    /// An element is dropped when its 32 random bits are below this.
    #[inline(always)]
    fn threshold(self) -> u64 {
        (f64::from(self.rate) * 4_294_967_296.0) as u64
    }

    /// What elements that stay are multiplied by.
    #[inline(always)]
    fn keep(self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

/// The factor of element `index`: 0 or `keep`. It draws from splitmix64 of `seed` at `index`.
///
/// Factors are for products, not for choices: a dropped NaN stays visible.
#[inline(always)]
fn factor(seed: u64, index: u64, threshold: u64, keep: f32) -> f32 {
    let z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    if (z >> 32) < threshold { 0.0 } else { keep }
}

impl Fused<1> for Dropout {
    type Saved = ();

    fn forward(&self, [x]: [&Array; 1], _: [bool; 1]) -> (Array, ()) {
        (self.mask(x.values(), x.shape()), ())
    }

    fn backward(&self, (): (), dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        [Some(self.mask(dy.values(), dy.shape()))]
    }
}

multiversion! {
    fn masked<FMA>(x: &[f32], y: &mut Fresh, dropout: Dropout, first: u64) {
        let (threshold, keep) = (dropout.threshold(), dropout.keep());
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            y.write(x * factor(dropout.seed, first + i as u64, threshold, keep));
        }
    }

    /// `x = x factor`, element by element from number `first` on; nothing without a rate.
    pub(super) fn mask_in_place<FMA>(x: &mut [f32], dropout: Dropout, first: u64) {
        if dropout.rate > 0.0 {
            let (threshold, keep) = (dropout.threshold(), dropout.keep());
            for (i, x) in x.iter_mut().enumerate() {
                *x *= factor(dropout.seed, first + i as u64, threshold, keep);
            }
        }
    }

    /// `y = x factor + residual`, element by element from number `first` on.
    pub(super) fn mask_and_add<FMA>(x: &[f32], residual: &[f32], y: &mut Fresh, dropout: Dropout, first: u64) {
        let (threshold, keep) = (dropout.threshold(), dropout.keep());
        let n = y.len();
        let (x, residual) = (&x[..n], &residual[..n]);
        if dropout.rate > 0.0 {
            for i in 0..n {
                y[i].write(x[i] * factor(dropout.seed, first + i as u64, threshold, keep) + residual[i]);
            }
        } else {
            for i in 0..n {
                y[i].write(x[i] + residual[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn drops_its_share_and_keeps_the_mean() {
        let x = Tensor::<3>::ones([10, 100, 100], &Device::flex());
        let y: Vec<f32> = dropout(x, Dropout { rate: 0.25, seed: 7 }).into_data().try_to_vec().expect("f32");
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.25).abs() < 0.005, "{dropped}");
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / y.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn gradients_agree_with_the_plain_form() {
        agree(
            &[vec![2, 9, 11]],
            &[Numbers::new(11).vec(198)],
            |x| dropout(x[0].t3(), Dropout { rate: 0.3, seed: 5 }),
            |x| Dropout { rate: 0.3, seed: 5 }.plain(x[0].t3()),
        );
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, inputs) = ([vec![3, 100, 90]], [Numbers::new(12).vec(27_000)]);
        let op = |x: &[Leaf]| dropout(x[0].t3(), Dropout { rate: 0.5, seed: 1 });
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
