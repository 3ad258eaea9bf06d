//! Causal self-attention with grouped-query heads, with or without rotary positions, in blocks of rows.
//!
//! Neither pass keeps the matrix of probabilities: the forward pass saves the log of each row's sum, from
//! which the backward pass forms the block's probabilities again (Dao et al., 2022).

use super::array::{Array, Fresh, on_flex};
use super::fused::{Fused, apply};
use super::matmul::{Store, Target, Threads, View, matmul};
use super::rope::{Rope, rotate, rotate_back};
use super::simd::{exp, fma, max, multiversion, sum};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use rayon::prelude::*;

/// How many heads of each kind share a row of `[q heads | k heads | v heads]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Query heads, a multiple of `kv`.
    pub(crate) q: usize,
    /// Key heads, and as many value heads; head `i` of the queries reads head `i / (q / kv)`.
    pub(crate) kv: usize,
    /// Features per head; must be an even number with rotary positions.
    pub(crate) dim: usize,
}

impl Heads {
    /// Features of a row of queries, keys and values.
    fn width(self) -> usize {
        (self.q + 2 * self.kv) * self.dim
    }

    fn group(self) -> usize {
        self.q / self.kv
    }

    fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// Attends over `qkv [batch, time, (q + 2 kv) dim]`, positions from 0; gives `[batch, time, q dim]`. Queries and
/// keys are rotated by `rope` first, if there is one.
pub(crate) fn causal_attention(qkv: Tensor<3>, heads: Heads, rope: Option<&Rope>) -> Tensor<3> {
    if on_flex(&qkv.device()) {
        apply(Attention { heads, rope: rope.cloned() }, [&qkv])
    } else {
        plain(qkv, heads, rope)
    }
}

pub(super) fn plain(qkv: Tensor<3>, heads: Heads, rope: Option<&Rope>) -> Tensor<3> {
    let [_, time, _] = qkv.dims();
    let (q, k, v) = split(qkv, heads, rope, 0);
    let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(heads.scale());
    let future = Tensor::<2, Bool>::tril_mask([time, time], 0, &scores.device());
    let p = softmax(scores.mask_fill(future.unsqueeze::<4>(), f32::NEG_INFINITY), 3);
    merge(p.matmul(v))
}

/// Rotated queries and keys, and values, each `[batch, q heads, time, dim]`.
///
/// Keys and values are repeated by hand: burn's own grouped-query attention returns garbage under autodiff.
pub(crate) fn split(
    qkv: Tensor<3>,
    heads: Heads,
    rope: Option<&Rope>,
    offset: usize,
) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
    let [batch, time, _] = qkv.dims();
    let part = |first: usize, n: usize| {
        qkv.clone().narrow(2, first * heads.dim, n * heads.dim).reshape([batch, time, n, heads.dim])
    };
    let repeat = |x: Tensor<4>| {
        let [batch, time, kv, dim] = x.dims();
        let copies = vec![x.reshape([batch, time, kv, 1, dim]); heads.group()];
        Tensor::<5>::cat(copies, 3).reshape([batch, time, heads.q, dim]).swap_dims(1, 2)
    };
    let rotated = |x: Tensor<4>| match rope {
        Some(rope) => rope.plain(x, offset),
        None => x,
    };
    let q = rotated(part(0, heads.q)).swap_dims(1, 2);
    let k = repeat(rotated(part(heads.q, heads.kv)));
    (q, k, repeat(part(heads.q + heads.kv, heads.kv)))
}

/// `[batch, heads, time, dim]` to `[batch, time, heads dim]`.
pub(crate) fn merge(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, time, dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, time, heads * dim])
}

#[derive(Debug, Clone)]
struct Attention {
    heads: Heads,
    rope: Option<Rope>,
}

/// Rows of scores that are formed at once; only columns up to a block's last row are computed.
const ROWS: usize = 64;

/// The part of a shared output that belongs to one (sequence, key head): disjoint columns of its rows.
#[derive(Clone, Copy)]
struct Columns(*mut f32);

// SAFETY: tasks write disjoint columns only, see the uses of `Columns::row`.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Columns {
    /// The `n` elements from `at`.
    ///
    /// SAFETY: the caller makes sure that they lie in the array and that no other task touches them.
    unsafe fn row<'a>(self, at: usize, n: usize) -> &'a mut [f32] {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), n) }
    }

    /// The same of elements without a value.
    ///
    /// SAFETY: as of `row`.
    unsafe fn fresh_row<'a>(self, at: usize, n: usize) -> &'a mut Fresh {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at).cast(), n) }
    }
}

/// One (sequence, key head)'s view of the input.
struct HeadGroup<'a> {
    qkv: &'a [f32],
    heads: Heads,
    time: usize,
    sequence: usize,
    kv: usize,
}

impl HeadGroup<'_> {
    /// Offset of head column `head` (queries, keys, values counted through) in row `position`.
    fn at(&self, position: usize, head: usize) -> usize {
        (self.sequence * self.time + position) * self.heads.width() + head * self.heads.dim
    }

    fn q_head(&self, member: usize) -> usize {
        self.kv * self.heads.group() + member
    }

    /// Rows of a head, one after the other, rotated if there is a `rope`.
    fn rotated(&self, head: usize, rope: Option<&Rope>) -> Vec<f32> {
        let dim = self.heads.dim;
        let mut rows = vec![0.0; self.time * dim];
        match rope {
            Some(rope) => {
                let (cos, sin) = rope.tables(self.time);
                let x = &self.qkv[self.at(0, head)..];
                rotate(x, self.heads.width(), cos, sin, &mut rows, dim, rope.half());
            }
            None => {
                for (position, row) in rows.chunks_exact_mut(dim).enumerate() {
                    row.copy_from_slice(&self.qkv[self.at(position, head)..][..dim]);
                }
            }
        }
        rows
    }

    fn keys(&self, rope: Option<&Rope>) -> Vec<f32> {
        self.rotated(self.heads.q + self.kv, rope)
    }

    /// The first `n` rows of this task's values.
    fn values(&self, n: usize) -> View<'_> {
        let first = self.at(0, self.heads.q + self.heads.kv + self.kv);
        View::rows(&self.qkv[first..], n, self.heads.dim, self.heads.width())
    }
}

impl Attention {
    /// Calls `work` once for every (sequence, key head), in parallel.
    fn groups(&self, qkv: &Array, work: impl Fn(HeadGroup<'_>) + Sync) {
        let [batch, time, width] = qkv.dims();
        assert_eq!(width, self.heads.width());
        assert!(self.rope.as_ref().is_none_or(|rope| rope.half() * 2 == self.heads.dim));
        (0..batch * self.heads.kv).into_par_iter().for_each(|group| {
            let (sequence, kv) = (group / self.heads.kv, group % self.heads.kv);
            work(HeadGroup { qkv: qkv.values(), heads: self.heads, time, sequence, kv });
        });
    }

    /// Scores of query rows `first..first + m` against keys `0..first + m`, in rows `time` apart.
    fn scores(&self, scores: &mut [f32], q: &[f32], k: &[f32], first: usize, m: usize, time: usize) {
        let dim = self.heads.dim;
        let q = View::rows(&q[first * dim..], m, dim, dim);
        let k = View::rows(k, first + m, dim, dim).transposed();
        matmul(Target::rows(scores, m, first + m, time), q, k, Store::Set, Threads::One);
    }

    /// Gradients of a head's rows from those of its rotated rows; `space` is as large as they.
    fn turned_back<'a>(&self, gradients: &'a [f32], space: &'a mut [f32]) -> &'a [f32] {
        let Some(rope) = &self.rope else { return gradients };
        let dim = self.heads.dim;
        let (cos, sin) = rope.tables(gradients.len() / dim);
        rotate_back(gradients, dim, cos, sin, space, dim, rope.half());
        space
    }
}

impl Fused<1> for Attention {
    /// Queries, keys and values, and the log of the sum of each row's exponentials, `[batch, q heads, time]`.
    type Saved = Option<(Array, Vec<f32>)>;

    fn forward(&self, [qkv]: [&Array; 1], [wanted]: [bool; 1]) -> (Array, Self::Saved) {
        let [batch, time, _] = qkv.dims();
        let (heads, dim) = (self.heads, self.heads.dim);
        let width = heads.q * dim;
        let mut logs = vec![0.0; batch * heads.q * time];
        let logs_out = Columns(logs.as_mut_ptr());
        let output = Array::build([batch, time, width], |output| {
            let output = Columns(output.as_mut_ptr().cast());
            self.groups(qkv, |group| {
                let keys = group.keys(self.rope.as_ref());
                let mut p = vec![0.0; ROWS.min(time) * time];
                for head in (0..heads.group()).map(|member| group.q_head(member)) {
                    let q = group.rotated(head, self.rope.as_ref());
                    // SAFETY: each (sequence, query head) belongs to one group.
                    let logs = unsafe { logs_out.row((group.sequence * heads.q + head) * time, time) };
                    for first in (0..time).step_by(ROWS) {
                        let m = ROWS.min(time - first);
                        self.scores(&mut p, &q, &keys, first, m, time);
                        softmax_rows(&mut p, time, first, heads.scale(), &mut logs[first..first + m]);
                        let mut y = vec![0.0; m * dim];
                        let target = Target::rows(&mut y, m, dim, dim);
                        let p = View::rows(&p, m, first + m, time);
                        matmul(target, p, group.values(first + m), Store::Set, Threads::One);
                        for (row, y) in y.chunks_exact(dim).enumerate() {
                            let at = (group.sequence * time + first + row) * width + head * dim;
                            // SAFETY: this head's columns of this sequence's rows are this task's alone.
                            unsafe { output.fresh_row(at, dim) }.write_copy_of_slice(y);
                        }
                    }
                }
            });
        });
        (output, wanted.then(|| (qkv.clone(), logs)))
    }

    fn backward(&self, saved: Self::Saved, dy: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let (qkv, logs) = saved.expect("invariant: saved where a gradient is wanted");
        let [_, time, width] = qkv.dims();
        let (heads, dim) = (self.heads, self.heads.dim);
        let dy_width = heads.q * dim;
        let gradient = Array::build(qkv.shape(), |gradient| {
            let gradient = Columns(gradient.as_mut_ptr().cast());
            self.groups(&qkv, |group| {
                let keys = group.keys(self.rope.as_ref());
                let (mut dk, mut dv) = (vec![0.0; time * dim], vec![0.0; time * dim]);
                let mut dq = vec![0.0; time * dim];
                let mut back = vec![0.0; time * dim];
                let (mut p, mut dp) = (vec![0.0; ROWS.min(time) * time], vec![0.0; ROWS.min(time) * time]);
                let write = |head: usize, values: &[f32]| {
                    for (position, values) in values.chunks_exact(dim).enumerate() {
                        // SAFETY: columns of this task's query, key and value heads are its alone.
                        unsafe { gradient.fresh_row(group.at(position, head), dim) }
                            .write_copy_of_slice(values);
                    }
                };
                for head in (0..heads.group()).map(|member| group.q_head(member)) {
                    let q = group.rotated(head, self.rope.as_ref());
                    let logs = &logs[(group.sequence * heads.q + head) * time..][..time];
                    for first in (0..time).step_by(ROWS) {
                        let m = ROWS.min(time - first);
                        let n = first + m;
                        self.scores(&mut p, &q, &keys, first, m, time);
                        let dy = &dy.values()[(group.sequence * time + first) * dy_width + head * dim..];
                        let dy = View::rows(dy, m, dim, dy_width);
                        let target = Target::rows(&mut dp, m, n, time);
                        matmul(target, dy, group.values(n).transposed(), Store::Set, Threads::One);
                        softmax_rows_backward(&mut p, &mut dp, time, first, heads.scale(), &logs[first..n]);
                        let (p, ds) = (View::rows(&p, m, n, time), View::rows(&dp, m, n, time));
                        let q = View::rows(&q[first * dim..], m, dim, dim);
                        let k = View::rows(&keys, n, dim, dim);
                        let target = Target::rows(&mut dv, n, dim, dim);
                        matmul(target, p.transposed(), dy, Store::Add, Threads::One);
                        let target = Target::rows(&mut dk, n, dim, dim);
                        matmul(target, ds.transposed(), q, Store::Add, Threads::One);
                        let target = Target::rows(&mut dq[first * dim..], m, dim, dim);
                        matmul(target, ds, k, Store::Set, Threads::One);
                    }
                    write(head, self.turned_back(&dq, &mut back));
                }
                write(heads.q + group.kv, self.turned_back(&dk, &mut back));
                write(heads.q + heads.kv + group.kv, &dv);
            });
        });
        debug_assert_eq!(width, heads.width());
        [Some(gradient)]
    }
}

multiversion! {
    /// Turns rows `first..` of scores into probabilities over columns `0..=row`, zero beyond, and stores
    /// each row's `scale * max + ln(sum)`.
    fn softmax_rows<FMA>(p: &mut [f32], stride: usize, first: usize, scale: f32, logs: &mut [f32]) {
        let n = logs.len();
        for (i, (row, log)) in p.chunks_mut(stride).zip(logs).enumerate() {
            let (row, rest) = row[..first + n].split_at_mut(first + i + 1);
            let largest = max(row);
            for v in row.iter_mut() {
                *v = exp::<FMA>((*v - largest) * scale);
            }
            let total = sum(row, |_, v| v);
            *log = fma::<FMA>(largest, scale, total.ln());
            let k = 1.0 / total;
            for v in row.iter_mut() {
                *v *= k;
            }
            rest.fill(0.0);
        }
    }

    /// Turns scores `p` into probabilities by their saved logs, and the probabilities' gradients `dp` into
    /// the scores': `p (dp - sum(p dp)) scale`.
    fn softmax_rows_backward<FMA>(p: &mut [f32], dp: &mut [f32], stride: usize, first: usize, scale: f32, logs: &[f32]) {
        let n = logs.len();
        for (i, ((p, dp), log)) in p.chunks_mut(stride).zip(dp.chunks_mut(stride)).zip(logs).enumerate() {
            let (p, p_rest) = p[..first + n].split_at_mut(first + i + 1);
            let (dp, dp_rest) = dp[..first + n].split_at_mut(first + i + 1);
            for v in p.iter_mut() {
                *v = exp::<FMA>(fma::<FMA>(*v, scale, -*log));
            }
            let mean = sum(p, |j, v| v * dp[j]);
            for (dp, p) in dp.iter_mut().zip(p.iter()) {
                *dp = p * (*dp - mean) * scale;
            }
            p_rest.fill(0.0);
            dp_rest.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check::{Leaf, Numbers, agree, nan_reaches_output, same_bits_for_any_threads};

    #[test]
    fn gradients_agree_with_the_plain_form_for_all_head_ratios() {
        let mut numbers = Numbers::new(7);
        for [b, t, q, kv, dim] in
            [[1, 1, 1, 1, 2], [2, 5, 2, 1, 4], [1, 65, 4, 2, 6], [2, 130, 3, 3, 8], [1, 200, 6, 2, 10]]
        {
            let heads = Heads { q, kv, dim };
            let rope = Rope::new(t + 3, dim, 10_000.0);
            let x: Vec<f32> = numbers.vec(b * t * heads.width()).iter().map(|x| x * 2.0).collect();
            for rope in [Some(&rope), None] {
                agree(
                    &[vec![b, t, heads.width()]],
                    std::slice::from_ref(&x),
                    |x| causal_attention(x[0].t3(), heads, rope),
                    |x| plain(x[0].t3(), heads, rope),
                );
            }
        }
    }

    #[test]
    fn nan_and_threads() {
        let heads = Heads { q: 4, kv: 2, dim: 8 };
        let rope = Rope::new(70, 8, 10_000.0);
        let (shapes, inputs) = ([vec![2, 70, 64]], [Numbers::new(8).vec(2 * 70 * 64)]);
        for rope in [Some(&rope), None] {
            let op = |x: &[Leaf]| causal_attention(x[0].t3(), heads, rope);
            nan_reaches_output(&shapes, &inputs, op);
            same_bits_for_any_threads(&shapes, &inputs, op);
        }
    }
}
