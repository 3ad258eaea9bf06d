//! Run-time choice of the instruction set, and the few mathematical functions that kernels share.

/// The instruction set that the kernels use; results may differ between these. It is the one that records and
/// checkpoints name, [`pipe_stage::instruction_set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The level of this process.
pub(super) fn level() -> Level {
    use std::sync::OnceLock;
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match pipe_stage::instruction_set() {
        // `instruction_set` has asked the processor for every feature that the level enables.
        #[cfg(target_arch = "x86_64")]
        "avx512" => Level::Avx512,
        #[cfg(target_arch = "x86_64")]
        "avx2" => Level::Avx2,
        #[cfg(target_arch = "aarch64")]
        "neon" => Level::Neon,
        _ => Level::Portable,
    })
}

/// Compiles each function once per instruction set and picks one at run time.
///
/// The const parameter that follows the function's name tells its body whether a fused multiply-add is one
/// instruction; without that, `f32::mul_add` would call libm for every element.
macro_rules! multiversion {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$fma:ident>($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take their operands as slices")]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "kernels take their operands as slices")]
            fn body<const $fma: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "kernels take their operands as slices")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "kernels take their operands as slices")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                match $crate::kernels::simd::level() {
                    // SAFETY: `level` has found every feature that the function enables.
                    $crate::kernels::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Level::Portable => {}
                }
            }
            #[cfg(target_arch = "aarch64")]
            if $crate::kernels::simd::level() == $crate::kernels::simd::Level::Neon {
                return body::<true>($($arg),*);
            }
            body::<false>($($arg),*)
        }
    )*};
}
pub(super) use multiversion;

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x by range reduction and a degree 5 polynomial (Cephes `expf`), within 2 ulp; NaN stays NaN.
///
/// Below -87 and above 88 it saturates, so that it never yields a denormal or an infinity.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Comparisons, not `max` and `min`: those drop NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    // 1.5 * 2^23: adding it rounds to the nearest integer and leaves that in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    p = fma::<FMA>(p, r, 1.398_2e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p * r, r, r) + 1.0;
    // 2^n by its exponent bits. For NaN the scale is arbitrary, but `p` is NaN and stays so.
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

const LANES: usize = 16;

/// Sum of `f(i, x[i])` in 16 interleaved partial sums: one order of additions for every instruction set.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(usize, f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; LANES];
    let whole = x.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            partial[lane] += f(i + lane, x[i + lane]);
        }
    }
    let mut total: f32 = partial.iter().sum();
    for (i, &value) in x.iter().enumerate().skip(whole) {
        total += f(i, value);
    }
    total
}

/// Largest value that is not NaN. A caller that exponentiates `x - max` still meets every NaN there.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; LANES];
    let whole = x.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let value = x[i + lane];
            partial[lane] = if value > partial[lane] { value } else { partial[lane] };
        }
    }
    let rest = x[whole..].iter().copied();
    partial.into_iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    multiversion! {
        fn exp_all<FMA>(x: &[f32], y: &mut [f32]) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = exp::<FMA>(x);
            }
        }
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let x: Vec<f32> = (-8600..8700).map(|i| i as f32 * 0.01003).collect();
        let mut y = vec![0.0; x.len()];
        exp_all(&x, &mut y);
        for (x, y) in x.iter().zip(y) {
            let exact = f64::from(*x).exp();
            assert!(((f64::from(y) - exact) / exact).abs() < 2.4e-7, "exp({x}) = {y}, not {exact}");
        }
    }

    #[test]
    fn exp_keeps_nan_and_saturates() {
        for exp in [exp::<false>, exp::<true>] {
            assert!(exp(f32::NAN).is_nan());
            assert!(exp(f32::NEG_INFINITY) > 0.0 && exp(f32::NEG_INFINITY) < 1e-37);
            assert!(exp(f32::INFINITY).is_finite());
            assert_eq!(exp(0.0), 1.0);
        }
    }

    #[test]
    fn max_and_sum_see_every_element() {
        for n in [1, 15, 16, 17, 40] {
            for at in 0..n {
                let mut x = vec![-1.0; n];
                x[at] = 5.0;
                assert_eq!(max(&x), 5.0);
                assert_eq!(sum(&x, |_, v| v), 6.0 - n as f32);
            }
        }
    }
}
