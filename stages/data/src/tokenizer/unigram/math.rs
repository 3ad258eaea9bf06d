//! Functions whose last bits are the same on every machine: made of sums, products and quotients. Nothing here knows tokens.

/// e to the power of x: 0 below -708 and infinite above 709.
pub(super) fn exp(x: f64) -> f64 {
    // ln(2) in two parts: the product of the first with an integer is exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < -708.0 {
        return 0.0;
    }
    if x > 709.0 {
        return f64::INFINITY;
    }
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (x - power * LN2_HIGH) - power * LN2_LOW;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..16 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

/// The natural logarithm of a positive number that is not subnormal.
pub(super) fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let (mut exponent, mut mantissa) =
        ((bits >> 52) as i64 - 1023, f64::from_bits(bits & MANTISSA | 1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        (exponent, mantissa) = (exponent + 1, mantissa / 2.0);
    }
    // ln(m) = 2 atanh((m - 1) / (m + 1)).
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..12).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * ratio * series
}

/// The digamma function of a positive number (the asymptotic series after Abramowitz and Stegun 6.3.18).
pub(super) fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 7.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x - 0.5);
    let square = inverse * inverse;
    let series = 1.0 / 24.0 - square * (7.0 / 960.0 - square * (31.0 / 8064.0 - square * (127.0 / 30720.0)));
    sum + ln(x - 0.5) + square * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the comparison has a tolerance")]
    fn functions_agree_with_the_library() {
        for n in 1..100_000 {
            let x = f64::from(n) / 37.0;
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * (1.0 + x.ln().abs()), "{x}");
            let power = -x / 10.0;
            assert!((exp(power) - power.exp()).abs() <= 1e-14 * power.exp(), "{power}");
        }
        assert!((digamma(1.0) + 0.577_215_664_901_532_9).abs() < 1e-9);
        assert!((digamma(10.0) - 2.251_752_589_066_721).abs() < 1e-9);
    }

    #[test]
    fn functions_have_the_same_bits_everywhere() {
        let bits = [exp(-7.5), ln(0.3), digamma(0.7)].map(f64::to_bits);
        let expected = [4_558_240_526_185_214_420, 13_831_473_067_500_349_216, 13_831_545_353_649_326_366];
        assert_eq!(bits, expected);
    }
}
