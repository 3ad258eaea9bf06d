//! Linear projections of one input, side by side.

use super::array::{Array, on_flex};
use super::fused::{Fused, apply};
use super::matmul::{Store, Target, Threads, View, matmul};
use burn::prelude::*;

/// `x [.., in]` times each weight `[out, in]` transposed, concatenated to `[.., sum of out]`.
///
/// Weights are stored as in PyTorch and safetensors, so a tied head is the embedding itself, and projections
/// that share an input (query, key and value; gate and up) share one output buffer and one input gradient.
pub(crate) fn linear<const K: usize>(x: Tensor<3>, weights: [Tensor<2>; K]) -> Tensor<3> {
    if !on_flex(&x.device()) {
        return plain(x, weights);
    }
    match &weights[..] {
        [a] => apply(Linear, [&x, a]),
        [a, b] => apply(Linear, [&x, a, b]),
        [a, b, c] => apply(Linear, [&x, a, b, c]),
        _ => plain(x, weights),
    }
}

pub(super) fn plain<const K: usize>(x: Tensor<3>, weights: [Tensor<2>; K]) -> Tensor<3> {
    let [batch, time, features] = x.dims();
    let x = x.reshape([batch * time, features]);
    let outputs = weights.map(|weight| x.clone().matmul(weight.transpose()));
    let y = Tensor::cat(outputs.into(), 1);
    let width = y.dims()[1];
    y.reshape([batch, time, width])
}

#[derive(Debug, Clone)]
struct Linear;

/// Rows and input width of `x`, and each weight's first output column and number of outputs.
fn geometry<const N: usize>(inputs: [&Array; N]) -> (usize, usize, Vec<(usize, usize)>, usize) {
    let [batch, time, features] = inputs[0].dims();
    let mut width = 0;
    let columns = inputs[1..].iter().map(|weight| {
        let [out, _] = weight.dims();
        width += out;
        (width - out, out)
    });
    let columns = columns.collect();
    (batch * time, features, columns, width)
}

impl<const N: usize> Fused<N> for Linear {
    type Saved = ();

    fn forward(&self, inputs: [&Array; N], _: bool) -> (Array, ()) {
        let (rows, features, columns, width) = geometry(inputs);
        let [batch, time, _] = inputs[0].dims();
        let x = View::rows(inputs[0].values(), rows, features, features);
        let y = Array::build([batch, time, width], |y| {
            for (weight, &(at, out)) in inputs[1..].iter().zip(&columns) {
                let weight = View::rows(weight.values(), out, features, features);
                let target = Target::rows(&mut y[at..], rows, out, width);
                matmul(target, x, weight.transposed(), Store::Set, Threads::All);
            }
        });
        (y, ())
    }

    fn backward(&self, inputs: [&Array; N], _: (), dy: Array, wanted: [bool; N]) -> [Option<Array>; N] {
        let (rows, features, columns, width) = geometry(inputs);
        let dy = |at: usize, out: usize| View::rows(&dy.values()[at..], rows, out, width);
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            Some(Array::build(inputs[input].shape(), |gradient| match input {
                // dx = sum over the weights of dy w
                0 => {
                    for (i, (weight, &(at, out))) in inputs[1..].iter().zip(&columns).enumerate() {
                        let weight = View::rows(weight.values(), out, features, features);
                        let store = if i == 0 { Store::Set } else { Store::Add };
                        let target = Target::rows(gradient, rows, features, features);
                        matmul(target, dy(at, out), weight, store, Threads::All);
                    }
                }
                // dw = dy^T x
                _ => {
                    let (at, out) = columns[input - 1];
                    let x = View::rows(inputs[0].values(), rows, features, features);
                    let target = Target::rows(gradient, out, features, features);
                    matmul(target, dy(at, out).transposed(), x, Store::Set, Threads::All);
                }
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(1);
        for [b, t, k, o1, o2, o3] in [[1, 1, 1, 1, 1, 1], [2, 5, 7, 3, 9, 1], [3, 17, 33, 64, 5, 20]] {
            let inputs =
                || [numbers.vec(b * t * k), numbers.vec(o1 * k), numbers.vec(o2 * k), numbers.vec(o3 * k)];
            let shapes = [vec![b, t, k], vec![o1, k], vec![o2, k], vec![o3, k]];
            let mut inputs = inputs;
            agree(
                &shapes,
                &inputs(),
                |x| linear(x[0].t3(), [x[1].t2(), x[2].t2(), x[3].t2()]),
                |x| plain(x[0].t3(), [x[1].t2(), x[2].t2(), x[3].t2()]),
            );
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, mut numbers) = ([vec![2, 9, 40], vec![33, 40]], Numbers::new(2));
        let inputs = [numbers.vec(720), numbers.vec(1320)];
        let op = |x: &[crate::kernels::check::Leaf]| linear(x[0].t3(), [x[1].t2()]);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
