//! Rows of the vocabulary's matrix by token id.

use super::array::{Array, on_flex};
use super::fused::{Fused, apply};
use burn::prelude::*;
use burn::tensor::{Int, TensorData};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of `weight [vocabulary, features]` for `ids [batch * time]` (all below `vocabulary`);
/// gives `[batch, time, features]`.
pub(crate) fn embedding(weight: Tensor<2>, ids: &Arc<Vec<u32>>, [batch, time]: [usize; 2]) -> Tensor<3> {
    assert_eq!(ids.len(), batch * time);
    if on_flex(&weight.device()) {
        apply(Embedding { ids: ids.clone(), shape: [batch, time] }, [&weight])
    } else {
        plain(weight, ids, [batch, time])
    }
}

pub(super) fn plain(weight: Tensor<2>, ids: &[u32], [batch, time]: [usize; 2]) -> Tensor<3> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [batch * time]), &weight.device());
    let features = weight.dims()[1];
    weight.select(0, ids).reshape([batch, time, features])
}

#[derive(Debug, Clone)]
struct Embedding {
    ids: Arc<Vec<u32>>,
    shape: [usize; 2],
}

impl Fused<1> for Embedding {
    /// Shape of the weights.
    type Saved = [usize; 2];

    fn forward(&self, [weight]: [&Array; 1], _: [bool; 1]) -> (Array, [usize; 2]) {
        let (dims @ [_, features], [batch, time]) = (weight.dims(), self.shape);
        let y = Array::build([batch, time, features], |y| {
            let rows = y.par_chunks_exact_mut(features).with_min_len(64).zip(self.ids.par_iter());
            rows.for_each(|(y, &id)| {
                y.write_copy_of_slice(&weight.values()[id as usize * features..][..features]);
            });
        });
        (y, dims)
    }

    fn backward(&self, dims: [usize; 2], dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let [_, features] = dims;
        let gradient = Array::zeros(dims, |gradient| {
            for (dy, &id) in dy.values().chunks_exact(features).zip(self.ids.iter()) {
                let row = &mut gradient[id as usize * features..][..features];
                row.iter_mut().zip(dy).for_each(|(row, dy)| *row += dy);
            }
        });
        [Some(gradient)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form_for_repeated_ids() {
        let mut numbers = Numbers::new(9);
        let ids = Arc::new((0..2 * 7).map(|_| numbers.below(5) as u32).collect::<Vec<_>>());
        agree(
            &[vec![5, 3]],
            &[numbers.vec(15)],
            |x| embedding(x[0].t2(), &ids, [2, 7]),
            |x| plain(x[0].t2(), &ids, [2, 7]),
        );
    }

    #[test]
    fn nan_and_threads() {
        let ids = Arc::new(vec![0, 1, 2, 3]);
        let op = |x: &[Leaf]| embedding(x[0].t2(), &ids, [2, 2]);
        let (shapes, inputs) = ([vec![4, 3]], [Numbers::new(10).vec(12)]);
        nan_reaches_output(&shapes, &inputs, op);
        same_bits_for_any_threads(&shapes, &inputs, op);
    }
}
