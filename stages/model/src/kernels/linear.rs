//! Linear projections of one input, side by side.

use super::array::{Array, on_flex};
use super::blocks::{add, rows_per_block, total};
use super::fused::{Fused, apply};
use super::matmul::{Store, Target, Threads, View, matmul};
use burn::prelude::*;
use rayon::prelude::*;

/// `x [.., in]` times each weight `[out, in]` transposed, plus its bias `[out]` where it has one, concatenated
/// to `[.., sum of out]`.
///
/// Weights are stored as in PyTorch and safetensors, so a tied head is the embedding itself, and projections
/// that share an input (query, key and value; gate and up) share one output buffer and one input gradient.
pub(crate) fn linear<const K: usize>(
    x: Tensor<3>,
    weights: [Tensor<2>; K],
    biases: [Option<Tensor<1>>; K],
) -> Tensor<3> {
    if !on_flex(&x.device()) {
        return plain(x, weights, biases);
    }
    let op = Linear { weights: K };
    match (&weights[..], &biases[..]) {
        ([a], [None]) => apply(op, [&x, a]),
        ([a], [Some(p)]) => apply(op, [&x, a, p]),
        ([a, b], [None, None]) => apply(op, [&x, a, b]),
        ([a, b], [Some(p), Some(q)]) => apply(op, [&x, a, b, p, q]),
        ([a, b, c], [None, None, None]) => apply(op, [&x, a, b, c]),
        ([a, b, c], [Some(p), Some(q), Some(r)]) => apply(op, [&x, a, b, c, p, q, r]),
        _ => plain(x, weights, biases),
    }
}

pub(super) fn plain<const K: usize>(
    x: Tensor<3>,
    weights: [Tensor<2>; K],
    biases: [Option<Tensor<1>>; K],
) -> Tensor<3> {
    let [batch, time, features] = x.dims();
    let x = x.reshape([batch * time, features]);
    let outputs = weights.into_iter().zip(biases).map(|(weight, bias)| {
        let y = x.clone().matmul(weight.transpose());
        match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        }
    });
    let y = Tensor::cat(outputs.collect(), 1);
    let width = y.dims()[1];
    y.reshape([batch, time, width])
}

/// Inputs are `x`, then all weights, then all biases or none.
#[derive(Debug, Clone)]
struct Linear {
    weights: usize,
}

/// Rows and input width of `x`, and each weight's first output column and number of outputs.
struct Geometry {
    rows: usize,
    features: usize,
    columns: Vec<(usize, usize)>,
    width: usize,
}

impl Linear {
    fn geometry(&self, inputs: &[&Array]) -> Geometry {
        let [batch, time, features] = inputs[0].dims();
        let mut width = 0;
        let columns = inputs[1..=self.weights].iter().map(|weight| {
            let [out, _] = weight.dims();
            width += out;
            (width - out, out)
        });
        let columns = columns.collect();
        Geometry { rows: batch * time, features, columns, width }
    }
}

impl<const N: usize> Fused<N> for Linear {
    type Saved = ();

    fn forward(&self, inputs: [&Array; N], _: bool) -> (Array, ()) {
        let Geometry { rows, features, columns, width } = self.geometry(&inputs);
        let [batch, time, _] = inputs[0].dims();
        let x = View::rows(inputs[0].values(), rows, features, features);
        let (weights, biases) = inputs[1..].split_at(self.weights);
        let y = Array::build([batch, time, width], |y| {
            // A product that is added to the biases reads what another pass would have to read again.
            let store = if biases.is_empty() { Store::Set } else { Store::Add };
            if store == Store::Add {
                let biases = biases.iter().flat_map(|bias| bias.values().iter().copied());
                let biases: Vec<f32> = biases.collect();
                y.par_chunks_mut(width).with_min_len(64).for_each(|row| row.copy_from_slice(&biases));
            }
            for (weight, &(at, out)) in weights.iter().zip(&columns) {
                let weight = View::rows(weight.values(), out, features, features);
                let target = Target::rows(&mut y[at..], rows, out, width);
                matmul(target, x, weight.transposed(), store, Threads::All);
            }
        });
        (y, ())
    }

    fn backward(&self, inputs: [&Array; N], _: (), dy: Array, wanted: [bool; N]) -> [Option<Array>; N] {
        let Geometry { rows, features, columns, width } = self.geometry(&inputs);
        let part = |at: usize, out: usize| View::rows(&dy.values()[at..], rows, out, width);
        std::array::from_fn(|input| {
            if !wanted[input] {
                return None;
            }
            if input > self.weights {
                let (at, out) = columns[input - 1 - self.weights];
                return Some(column_sums(dy.values(), rows, at, out, width));
            }
            Some(Array::build(inputs[input].shape(), |gradient| match input {
                // dx = sum over the weights of dy w
                0 => {
                    for (i, (weight, &(at, out))) in inputs[1..].iter().zip(&columns).enumerate() {
                        let weight = View::rows(weight.values(), out, features, features);
                        let store = if i == 0 { Store::Set } else { Store::Add };
                        let target = Target::rows(gradient, rows, features, features);
                        matmul(target, part(at, out), weight, store, Threads::All);
                    }
                }
                // dw = dy^T x
                _ => {
                    let (at, out) = columns[input - 1];
                    let x = View::rows(inputs[0].values(), rows, features, features);
                    let target = Target::rows(gradient, out, features, features);
                    matmul(target, part(at, out).transposed(), x, Store::Set, Threads::All);
                }
            }))
        })
    }
}

/// Sums over the rows of `dy [rows, width]` of the `out` columns from `at`.
fn column_sums(dy: &[f32], rows: usize, at: usize, out: usize, width: usize) -> Array {
    let mut parts = Vec::new();
    let blocks = dy.par_chunks(rows_per_block(rows) * width).map(|block| {
        let mut part = vec![0.0; out];
        block.chunks(width).for_each(|row| add(&row[at..at + out], &mut part));
        part
    });
    blocks.collect_into_vec(&mut parts);
    total(out, parts.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    const SIZES: [[usize; 6]; 3] = [[1, 1, 1, 1, 1, 1], [2, 5, 7, 3, 9, 1], [3, 17, 33, 64, 5, 20]];

    #[test]
    fn gradients_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(1);
        for [b, t, k, o1, o2, o3] in SIZES {
            let inputs =
                [numbers.vec(b * t * k), numbers.vec(o1 * k), numbers.vec(o2 * k), numbers.vec(o3 * k)];
            let shapes = [vec![b, t, k], vec![o1, k], vec![o2, k], vec![o3, k]];
            let none = || [None, None, None];
            agree(
                &shapes,
                &inputs,
                |x| linear(x[0].t3(), [x[1].t2(), x[2].t2(), x[3].t2()], none()),
                |x| plain(x[0].t3(), [x[1].t2(), x[2].t2(), x[3].t2()], none()),
            );
        }
    }

    #[test]
    fn gradients_with_biases_agree_with_the_plain_form() {
        let mut numbers = Numbers::new(20);
        for [b, t, k, o1, o2, o3] in SIZES {
            let inputs = [b * t * k, o1 * k, o2 * k, o3 * k, o1, o2, o3].map(|n| numbers.vec(n));
            let shapes = [vec![b, t, k], vec![o1, k], vec![o2, k], vec![o3, k], vec![o1], vec![o2], vec![o3]];
            let weights = |x: &[Leaf]| [x[1].t2(), x[2].t2(), x[3].t2()];
            let biases = |x: &[Leaf]| [Some(x[4].t1()), Some(x[5].t1()), Some(x[6].t1())];
            agree(
                &shapes,
                &inputs,
                |x| linear(x[0].t3(), weights(x), biases(x)),
                |x| plain(x[0].t3(), weights(x), biases(x)),
            );
        }
    }

    #[test]
    fn nan_and_threads() {
        let (shapes, mut numbers) = ([vec![2, 9, 40], vec![33, 40]], Numbers::new(2));
        let inputs = [numbers.vec(720), numbers.vec(1320)];
        let op = |x: &[Leaf]| linear(x[0].t3(), [x[1].t2()], [None]);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }

    #[test]
    fn nan_and_threads_with_a_bias() {
        let (shapes, mut numbers) = ([vec![2, 90, 40], vec![33, 40], vec![33]], Numbers::new(21));
        let inputs = [numbers.vec(7200), numbers.vec(1320), numbers.vec(33)];
        let op = |x: &[Leaf]| linear(x[0].t3(), [x[1].t2()], [Some(x[2].t1())]);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
