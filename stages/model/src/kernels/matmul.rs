//! Matrix products of strided f32 views on the gemm crate, which picks AVX2 or AVX-512 by itself and whose
//! bits do not depend on the number of threads.

use std::sync::OnceLock;
use std::time::Instant;

/// A read-only matrix of `rows` x `columns` in a slice, by strides in elements.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Row-major rows that start `stride` elements apart.
    pub(super) fn rows(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }.checked()
    }

    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn checked(self) -> Self {
        assert!(
            last(self.rows, self.columns, self.row_stride, self.column_stride) < self.values.len() as isize
        );
        self
    }
}

/// A matrix to write: row-major rows that start `stride` elements apart.
pub(super) struct Target<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Target<'a> {
    pub(super) fn rows(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns && last(rows, columns, stride, 1) < values.len() as isize);
        Self { values, rows, columns, stride }
    }
}

/// Offset of the last element of a strided matrix, -1 if it has none.
fn last(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> isize {
    if rows == 0 || columns == 0 {
        return -1;
    }
    ((rows - 1) * row_stride + (columns - 1) * column_stride) as isize
}

/// Whether a product replaces the target or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Set,
    Add,
}

/// Who computes a product: the calling thread, or all threads of the current rayon pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    One,
    All,
}

/// `target = a b`, or `target += a b`.
pub(super) fn matmul(target: Target<'_>, a: View<'_>, b: View<'_>, store: Store, threads: Threads) {
    assert!(target.rows == a.rows && target.columns == b.columns && a.columns == b.rows);
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: `View` and `Target` are built only where their last element lies inside their slices, the
    // target's borrow is exclusive, and its rows do not overlap (stride >= columns).
    unsafe {
        gemm::gemm(
            target.rows,
            target.columns,
            a.columns,
            target.values.as_mut_ptr(),
            1,
            target.stride as isize,
            store == Store::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if store == Store::Add { 1.0_f32 } else { 0.0 },
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Measured peak of f32 matrix products in FLOP/s, with the threads of the current pool; the best of nine
/// products of 1024 x 1024 matrices. Measured once per process.
pub fn matrix_peak() -> f64 {
    static PEAK: OnceLock<f64> = OnceLock::new();
    *PEAK.get_or_init(|| {
        const N: usize = 1024;
        let (a, b, mut c) = (vec![0.5; N * N], vec![0.25; N * N], vec![0.0; N * N]);
        let seconds = (0..9).map(|_| {
            let start = Instant::now();
            let target = Target::rows(&mut c, N, N, N);
            matmul(target, View::rows(&a, N, N, N), View::rows(&b, N, N, N), Store::Set, Threads::All);
            start.elapsed().as_secs_f64()
        });
        2.0 * (N * N * N) as f64 / seconds.fold(f64::INFINITY, f64::min).max(1e-9)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_views_add_up() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]);
        let mut c = [10.0; 4];
        let (a, b) = (View::rows(&a, 2, 3, 3), View::rows(&b, 2, 3, 3).transposed());
        matmul(Target::rows(&mut c, 2, 2, 2), a, b, Store::Add, Threads::One);
        assert_eq!(c, [17.0, 20.0, 26.0, 32.0]);
    }

    #[test]
    fn peak_is_positive() {
        assert!(matrix_peak() > 1e6);
    }
}
