//! Linear projections.

use super::array::{Array, on_flex};
use super::blocks::{add, rows_per_block, total};
use super::fused::{Fused, apply};
use super::matmul::{Store, Target, Threads, View, matmul};
use burn::prelude::*;
use rayon::prelude::*;

/// `x [batch, time, in]` times the transposed `weight [out, in]`, plus `bias [out]` where there is one; gives
/// `[batch, time, out]`.
///
/// Weights are stored as in PyTorch and safetensors, so a tied head is the embedding itself.
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    if !on_flex(&x.device()) {
        return plain(x, weight, bias);
    }
    match bias {
        None => apply(Linear, [&x, &weight]),
        Some(bias) => apply(Linear, [&x, &weight, &bias]),
    }
}

pub(super) fn plain(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch, time, features] = x.dims();
    let [out, _] = weight.dims();
    let y = x.reshape([batch * time, features]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape([batch, time, out])
}

/// Inputs are `x`, the weight, and the bias if there is one.
#[derive(Debug, Clone)]
struct Linear;

/// What gradients need: the weight for that of `x`, and `x` for that of the weight.
#[derive(Debug, Clone)]
struct Saved {
    x: Option<Array>,
    weight: Option<Array>,
}

impl<const N: usize> Fused<N> for Linear {
    type Saved = Saved;

    fn forward(&self, inputs: [&Array; N], wanted: [bool; N]) -> (Array, Saved) {
        let (x, weight) = (inputs[0], inputs[1]);
        let ([batch, time, features], [out, _]) = (x.dims(), weight.dims::<2>());
        let rows = batch * time;
        let y = Array::build([batch, time, out], |y| {
            // A product that is added to the bias reads what another pass would have to read again.
            let store = match inputs.get(2) {
                None => Store::Set,
                Some(bias) => {
                    let rows = y.par_chunks_mut(out).with_min_len(64);
                    rows.for_each(|row| {
                        row.write_copy_of_slice(bias.values());
                    });
                    Store::Add
                }
            };
            let x = View::rows(x.values(), rows, features, features);
            let weight = View::rows(weight.values(), out, features, features).transposed();
            matmul(Target::fresh(y, rows, out, out), x, weight, store, Threads::All);
        });
        let saved = Saved { x: wanted[1].then(|| x.clone()), weight: wanted[0].then(|| weight.clone()) };
        (y, saved)
    }

    fn backward(&self, saved: Saved, dy: Array, wanted: [bool; N]) -> [Option<Array>; N] {
        let [batch, time, out] = dy.dims();
        let rows = batch * time;
        let view = View::rows(dy.values(), rows, out, out);
        let Saved { x, weight } = saved;
        // dx = dy w
        let dx = weight.map(|weight| {
            let [_, features] = weight.dims::<2>();
            Array::build([batch, time, features], |dx| {
                let target = Target::fresh(dx, rows, features, features);
                let weight = View::rows(weight.values(), out, features, features);
                matmul(target, view, weight, Store::Set, Threads::All);
            })
        });
        // dw = dy^T x
        let dw = x.map(|x| {
            let [_, _, features] = x.dims::<3>();
            Array::build([out, features], |dw| {
                let target = Target::fresh(dw, out, features, features);
                let x = View::rows(x.values(), rows, features, features);
                matmul(target, view.transposed(), x, Store::Set, Threads::All);
            })
        });
        let mut gradients = [dx, dw].into_iter();
        std::array::from_fn(|input| match input {
            0 | 1 => gradients.next().flatten(),
            _ => wanted[input].then(|| column_sums(dy.values(), rows, out)),
        })
    }
}

/// Sums over the rows of `dy [rows, width]`.
fn column_sums(dy: &[f32], rows: usize, width: usize) -> Array {
    let mut parts = Vec::new();
    let blocks = dy.par_chunks(rows_per_block(rows) * width).map(|block| {
        let mut part = vec![0.0; width];
        block.chunks(width).for_each(|row| add(row, &mut part));
        part
    });
    blocks.collect_into_vec(&mut parts);
    total(width, parts.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    const SIZES: [[usize; 4]; 4] = [[1, 1, 1, 1], [2, 5, 7, 12], [3, 17, 33, 89], [1, 70, 24, 3]];

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(1);
        for [b, t, k, out] in SIZES {
            agree(
                &[vec![b, t, k], vec![out, k]],
                &[numbers.vec(b * t * k), numbers.vec(out * k)],
                |x| linear(x[0].t3(), x[1].t2(), None),
                |x| plain(x[0].t3(), x[1].t2(), None),
            );
        }
    }

    #[test]
    fn gradients_with_a_bias_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(20);
        for [b, t, k, out] in SIZES {
            agree(
                &[vec![b, t, k], vec![out, k], vec![out]],
                &[numbers.vec(b * t * k), numbers.vec(out * k), numbers.vec(out)],
                |x| linear(x[0].t3(), x[1].t2(), Some(x[2].t1())),
                |x| plain(x[0].t3(), x[1].t2(), Some(x[2].t1())),
            );
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, mut numbers) = ([vec![2, 9, 40], vec![33, 40]], Numbers::new(2));
        let inputs = [numbers.vec(720), numbers.vec(1320)];
        let op = |x: &[Leaf]| linear(x[0].t3(), x[1].t2(), None);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }

    #[test]
    fn nan_and_threads_with_a_bias() {
        let (shapes, mut numbers) = ([vec![2, 90, 40], vec![33, 40], vec![33]], Numbers::new(21));
        let inputs = [numbers.vec(7200), numbers.vec(1320), numbers.vec(33)];
        let op = |x: &[Leaf]| linear(x[0].t3(), x[1].t2(), Some(x[2].t1()));
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
