//! Matrix products of strided f32 views. They run on the gemm crate, which picks AVX2, AVX-512 or NEON by itself,
//! except where the portable instruction set is asked for. Bits do not depend on the number of threads.

use super::array::Fresh;
use super::simd::{Level, level, sum};
use rayon::prelude::*;
use std::marker::PhantomData;
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
    values: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

impl<'a> Target<'a> {
    pub(super) fn rows(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns && last(rows, columns, stride, 1) < values.len() as isize);
        Self { values: values.as_mut_ptr(), rows, columns, stride, borrow: PhantomData }
    }

    /// A matrix whose elements have no value yet: for [`Store::Set`], or once they are set.
    pub(super) fn fresh(values: &'a mut Fresh, rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns && last(rows, columns, stride, 1) < values.len() as isize);
        Self { values: values.as_mut_ptr().cast(), rows, columns, stride, borrow: PhantomData }
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
    if level() == Level::Portable {
        return portable(target, a, b, store, threads);
    }
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
            target.values,
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

/// The same without any instruction that not every processor has: `gemm` would pick AVX by itself.
fn portable(target: Target<'_>, a: View<'_>, b: View<'_>, store: Store, threads: Threads) {
    struct Rows(*mut f32);
    // SAFETY: each task below touches a row of its own.
    unsafe impl Sync for Rows {}
    impl Rows {
        fn at(&self, offset: usize) -> *mut f32 {
            // SAFETY: the caller stays below the last element, which `Target` has checked.
            unsafe { self.0.add(offset) }
        }
    }
    let Target { values, rows, columns, stride, .. } = target;
    let values = Rows(values);
    let row = |i: usize| {
        // SAFETY: row `i` lies in the target and is this call's alone; for `Set` all of it is written first.
        let y = unsafe {
            let y = values.at(i * stride);
            if store == Store::Set {
                y.write_bytes(0, columns);
            }
            std::slice::from_raw_parts_mut(y, columns)
        };
        let a_at = |p: usize| a.values[i * a.row_stride + p * a.column_stride];
        if b.row_stride == 1 && a.column_stride == 1 {
            let x = &a.values[i * a.row_stride..][..a.columns];
            for (j, y) in y.iter_mut().enumerate() {
                let column = &b.values[j * b.column_stride..][..b.rows];
                *y += sum(x, |p, x| x * column[p]);
            }
        } else if b.column_stride == 1 {
            for p in 0..a.columns {
                let (x, b) = (a_at(p), &b.values[p * b.row_stride..][..columns]);
                y.iter_mut().zip(b).for_each(|(y, b)| *y += x * b);
            }
        } else {
            for p in 0..a.columns {
                let x = a_at(p);
                for (j, y) in y.iter_mut().enumerate() {
                    *y += x * b.values[p * b.row_stride + j * b.column_stride];
                }
            }
        }
    };
    match threads {
        Threads::One => (0..rows).for_each(row),
        Threads::All => (0..rows).into_par_iter().for_each(row),
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
    fn portable_products_agree_for_all_layouts() {
        let mut numbers = crate::kernels::check::Numbers::new(30);
        let (m, n, k) = (5, 19, 37);
        let (a, b) = (numbers.vec(m * k), numbers.vec(k * n));
        for (a, b) in [
            (View::rows(&a, m, k, k), View::rows(&b, k, n, n)),
            (View::rows(&a, k, m, m).transposed(), View::rows(&b, k, n, n)),
            (View::rows(&a, m, k, k), View::rows(&b, n, k, k).transposed()),
            (View::rows(&a, k, m, m).transposed(), View::rows(&b, n, k, k).transposed()),
        ] {
            for (store, threads) in [(Store::Set, Threads::One), (Store::Add, Threads::All)] {
                let (mut one, mut other) = (vec![0.5; m * n], vec![0.5; m * n]);
                matmul(Target::rows(&mut one, m, n, n), a, b, store, threads);
                portable(Target::rows(&mut other, m, n, n), a, b, store, threads);
                for (one, other) in one.iter().zip(&other) {
                    assert!((one - other).abs() < 1e-5, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn peak_is_positive() {
        assert!(matrix_peak() > 1e6);
    }
}
