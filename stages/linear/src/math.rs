//! Functions whose last bits are the same on every machine: made of sums, products and quotients, which IEEE 754
//! rounds in one way only. Nothing here knows models.

/// 1 / n! for n from 13 to 0, the terms of the series of `exp`: with |x| ≤ ln(2) / 2, the remainder is below half a unit in
/// the last place.
const TERMS: [f64; 14] = {
    let mut terms = [1.0; 14];
    let (mut place, mut factorial) = (13, 1.0);
    while place > 0 {
        place -= 1;
        factorial *= (13 - place) as f64;
        terms[place] = 1.0 / factorial;
    }
    terms
};

/// e to the power of x, with a relative error of about 1e-16; 0 below -708 and infinite above 709.
pub(crate) fn exp(x: f64) -> f64 {
    // ln(2) in two parts: the product of the first with an integer is exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x.is_nan() {
        return x;
    }
    if x < -708.0 {
        return 0.0;
    }
    if x > 709.0 {
        return f64::INFINITY;
    }
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (x - power * LN2_HIGH) - power * LN2_LOW;
    let series = TERMS.iter().fold(0.0, |sum, term| sum * rest + term);
    series * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

/// 1 / (1 + e^-x).
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// e to the power of x for x from -87 to 0, with a relative error of about 2e-7: less than that of the scores. Without
/// branches, so that compilers can use vectors.
fn exp_short(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Added to a small number, it leaves the nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0;
    const EXPONENT_BITS: u32 = 23;
    const EXPONENT_OF_ONE: u32 = 127;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = (x - power * LN2_HIGH) - power * LN2_LOW;
    let series = 1.0 / 720.0;
    let series = series * rest + 1.0 / 120.0;
    let series = series * rest + 1.0 / 24.0;
    let series = series * rest + 1.0 / 6.0;
    let series = series * rest + 0.5;
    let series = series * rest + 1.0;
    let series = series * rest + 1.0;
    let scale = (shifted.to_bits() << EXPONENT_BITS).wrapping_add(EXPONENT_OF_ONE << EXPONENT_BITS);
    series * f32::from_bits(scale)
}

/// Replaces scores by their softmax.
pub(crate) fn softmax(scores: &mut [f32]) {
    const LEAST: f32 = -87.0;
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = exp_short((*score - max).max(LEAST)));
    let sum: f64 = scores.iter().map(|power| f64::from(*power)).sum();
    let factor = (1.0 / sum) as f32;
    scores.iter_mut().for_each(|score| *score *= factor);
}

/// The scalar product, summed in eight lanes: the order of additions is fixed, and compilers can use vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_eights, a_rest) = a.as_chunks::<8>();
    let (b_eights, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_eights.iter().zip(b_eights) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// Adds a multiple of `row` to `sum`.
pub(crate) fn add(sum: &mut [f32], row: &[f32], factor: f32) {
    let (sums, sums_rest) = sum.as_chunks_mut::<8>();
    let (rows, rows_rest) = row.as_chunks::<8>();
    for (sums, row) in sums.iter_mut().zip(rows) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
    }
    sums_rest.iter_mut().zip(rows_rest).for_each(|(sum, value)| *sum += factor * value);
}

/// SplitMix64 (Steele et al. 2014): a stream of random numbers from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream for a purpose and a position, such as an epoch.
    pub(crate) fn new(seed: u64, purpose: u64, position: u64) -> Self {
        let mut random = Self(seed);
        let mixed = random.next() ^ purpose;
        random = Self(mixed);
        let mixed = random.next() ^ position;
        Self(mixed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit that is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// A number from -1 to 1.
    pub(crate) fn symmetric(&mut self) -> f32 {
        // 24 bits: every value is exact.
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the comparison has a tolerance")]
    fn exp_agrees_with_the_library() {
        for n in -70_000..=70_000 {
            let x = f64::from(n) / 100.0;
            let (own, expected) = (exp(x), x.exp());
            assert!((own - expected).abs() <= expected * 4e-16, "{x}: {own} {expected}");
        }
        assert_eq!((exp(0.0), exp(-1e300), exp(1e300)), (1.0, 0.0, f64::INFINITY));
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn exp_has_the_same_bits_everywhere() {
        let bits = [-7.5, 0.3, 20.0].map(|x| exp(x).to_bits());
        assert_eq!(bits, [4_558_240_526_185_214_421, 4_608_758_042_795_448_982, 4_736_919_330_018_093_060]);
    }

    #[test]
    fn the_short_exp_is_as_exact_as_floats_are() {
        for n in 0..=87_000 {
            let x = -(n as f32) / 1000.0;
            let (own, expected) = (f64::from(exp_short(x)), exp(f64::from(x)));
            assert!((own - expected).abs() <= expected * 3e-7 + 1e-38, "{x}: {own} {expected}");
        }
        let bits = [-0.3, -20.0].map(|x| exp_short(x).to_bits());
        assert_eq!(bits, [1_061_004_868, 822_977_587]);
    }

    #[test]
    fn a_softmax_sums_to_one_whatever_the_scores() {
        for scores in [[1.0, 2.0, 3.0], [1e30, -1e30, 0.0], [0.0; 3]] {
            let mut shares = scores;
            softmax(&mut shares);
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{shares:?}");
        }
    }

    #[test]
    fn a_scalar_product_uses_every_element() {
        for length in 0..40 {
            let numbers: Vec<f32> = (0..length).map(|n| n as f32).collect();
            let expected: f32 = numbers.iter().map(|n| n * n).sum();
            assert_eq!(dot(&numbers, &numbers), expected);
        }
    }
}
