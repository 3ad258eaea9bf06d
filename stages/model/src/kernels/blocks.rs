//! Sums over rows that do not depend on the number of threads: rows are cut into a fixed number of blocks, and
//! the blocks' sums are added in order.

use super::array::Array;
use super::simd::multiversion;

/// Rows are summed in this many blocks.
const BLOCKS: usize = 16;

/// Rows of a block.
pub(super) fn rows_per_block(rows: usize) -> usize {
    rows.div_ceil(BLOCKS).max(1)
}

/// The sum of the blocks' sums, in order.
pub(super) fn total<'a>(width: usize, parts: impl IntoIterator<Item = &'a [f32]>) -> Array {
    Array::zeros([width], |total| parts.into_iter().for_each(|part| add(part, total)))
}

multiversion! {
    /// Adds `row` to `total`.
    pub(super) fn add<FMA>(row: &[f32], total: &mut [f32]) {
        for (total, row) in total.iter_mut().zip(row) {
            *total += row;
        }
    }
}
