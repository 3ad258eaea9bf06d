//! Dropout whose mask is a pure function of a seed and the element's index, so that nothing about it has to
//! be saved: not for the backward pass, not for a resumed run, and it is the same on every backend.

use super::array::{Array, on_flex};
use super::fused::{Fused, apply};
use super::simd::multiversion;
use burn::prelude::*;
use burn::tensor::TensorData;
use rayon::prelude::*;

/// Zeroes elements of `x` with probability `rate`, scales the others by `1 / (1 - rate)`.
pub(crate) fn dropout(x: Tensor<3>, rate: f32, seed: u64) -> Tensor<3> {
    if rate <= 0.0 {
        return x;
    }
    let op = Dropout { rate, seed };
    if on_flex(&x.device()) { apply(op, [&x]) } else { op.plain(x) }
}

#[derive(Debug, Clone, Copy)]
struct Dropout {
    rate: f32,
    seed: u64,
}

const CHUNK: usize = 16_384;

impl Dropout {
    fn plain(self, x: Tensor<3>) -> Tensor<3> {
        let ones = vec![1.0; x.dims().iter().product()];
        let mask = self.mask(&ones, x.shape());
        let mask = Tensor::<3>::from_data(TensorData::new(mask.values().to_vec(), x.dims()), &x.device());
        x * mask
    }

    fn mask(self, x: &[f32], shape: Shape) -> Array {
        // A share of 2^32: an element is dropped when its 32 random bits are below.
        let threshold = (f64::from(self.rate) * 4_294_967_296.0) as u64;
        let keep = 1.0 / (1.0 - self.rate);
        Array::build(shape, |y| {
            let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate();
            chunks.for_each(|(i, (y, x))| masked(x, y, self.seed, (i * CHUNK) as u64, threshold, keep));
        })
    }
}

impl Fused<1> for Dropout {
    type Saved = ();

    fn forward(&self, [x]: [&Array; 1], _: bool) -> (Array, ()) {
        (self.mask(x.values(), x.shape()), ())
    }

    fn backward(&self, [x]: [&Array; 1], _: (), dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        [Some(self.mask(dy.values(), x.shape()))]
    }
}

multiversion! {
    /// Element `i` draws from splitmix64 of `seed` at `first + i`.
    fn masked<FMA>(x: &[f32], y: &mut [f32], seed: u64, first: u64, threshold: u64, keep: f32) {
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            let z = seed.wrapping_add((first + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            // A product with zero, not a choice: a dropped NaN stays visible.
            *y = x * if (z >> 32) < threshold { 0.0 } else { keep };
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
        let y: Vec<f32> = dropout(x, 0.25, 7).into_data().try_to_vec().expect("f32");
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
            |x| dropout(x[0].t3(), 0.3, 5),
            |x| Dropout { rate: 0.3, seed: 5 }.plain(x[0].t3()),
        );
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, inputs) = ([vec![3, 100, 90]], [Numbers::new(12).vec(27_000)]);
        let op = |x: &[Leaf]| dropout(x[0].t3(), 0.5, 1);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
