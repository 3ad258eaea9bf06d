//! The gated activation of the feed-forward layer (Shazeer, 2020).

use super::array::{Array, Fresh, on_flex};
use super::fused::{Fused, apply};
use super::simd::{exp, multiversion};
use burn::prelude::*;
use burn::tensor::activation::silu;
use rayon::prelude::*;

/// `silu(gate) * up` for `x [batch, time, 2 width]` that holds the gate beside the up projection;
/// gives `[batch, time, width]`.
pub(crate) fn swiglu(x: Tensor<3>) -> Tensor<3> {
    if on_flex(&x.device()) { apply(SwiGlu, [&x]) } else { plain(x) }
}

pub(super) fn plain(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2] / 2;
    silu(x.clone().narrow(2, 0, width)) * x.narrow(2, width, width)
}

#[derive(Debug, Clone)]
struct SwiGlu;

impl Fused<1> for SwiGlu {
    type Saved = Option<Array>;

    fn forward(&self, [x]: [&Array; 1], [wanted]: [bool; 1]) -> (Array, Option<Array>) {
        let [batch, time, width] = x.dims();
        let half = width / 2;
        let y = Array::build([batch, time, half], |y| {
            let rows = y.par_chunks_mut(half).with_min_len(16).zip(x.values().par_chunks(width));
            rows.for_each(|(y, x)| forward_row(&x[..half], &x[half..], y));
        });
        (y, wanted.then(|| x.clone()))
    }

    fn backward(&self, x: Option<Array>, dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let x = x.expect("invariant: saved where a gradient is wanted");
        let [_, _, width] = x.dims::<3>();
        let half = width / 2;
        let dx = Array::build(x.shape(), |dx| {
            let rows = dx.par_chunks_mut(width).with_min_len(16).zip(x.values().par_chunks(width));
            rows.zip(dy.values().par_chunks(half)).for_each(|((dx, x), dy)| {
                let (dgate, dup) = dx.split_at_mut(half);
                backward_row(&x[..half], &x[half..], dy, dgate, dup);
            });
        });
        [Some(dx)]
    }
}

multiversion! {
    fn forward_row<FMA>(gate: &[f32], up: &[f32], y: &mut Fresh) {
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            y.write(gate / (1.0 + exp::<FMA>(-gate)) * up);
        }
    }

    /// silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g).
    fn backward_row<FMA>(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut Fresh, dup: &mut Fresh) {
        let n = gate.len();
        let (up, dy, dgate, dup) = (&up[..n], &dy[..n], &mut dgate[..n], &mut dup[..n]);
        for i in 0..n {
            let s = 1.0 / (1.0 + exp::<FMA>(-gate[i]));
            let silu = gate[i] * s;
            dgate[i].write(dy[i] * up[i] * (s + silu * (1.0 - s)));
            dup[i].write(dy[i] * silu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(5);
        for [b, t, d] in [[1, 1, 2], [2, 3, 10], [2, 40, 74]] {
            let x: Vec<f32> = numbers.vec(b * t * d).iter().map(|x| x * 8.0).collect();
            agree(&[vec![b, t, d]], &[x], |x| swiglu(x[0].t3()), |x| plain(x[0].t3()));
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, inputs) = ([vec![2, 50, 24]], [Numbers::new(6).vec(2400)]);
        let op = |x: &[Leaf]| swiglu(x[0].t3());
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
