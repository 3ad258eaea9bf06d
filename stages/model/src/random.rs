//! Random numbers by name: each is a pure function of (seed, purpose, position), so nothing about them has
//! to be saved, and a resumed run draws what an undisturbed one would.

/// What random numbers are for; each purpose has its own stream under one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Initialisation = 1,
    Order = 2,
    Dropout = 3,
    Sampling = 4,
}

/// The seed of `purpose` at `position` (a step, an epoch, a parameter's number).
pub(crate) fn seed(seed: u64, purpose: Purpose, position: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(purpose as u64)).wrapping_add(position))
}

/// The output function of splitmix64 (Steele et al., 2014): a bijection whose outputs look random.
pub(crate) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that stands for a name (FNV-1a).
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A stream of numbers from one seed.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let value = mix(self.state);
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A permutation of `0..n` without any table: a four-round Feistel network over the next power of four,
/// walked until it falls below `n` (Black and Rogaway, 2002).
pub(crate) fn permuted(index: u64, n: u64, key: u64) -> u64 {
    debug_assert!(index < n);
    let bits = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << bits) - 1;
    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(key ^ mix(right + (round << 60))) & mask));
        }
        value = left << bits | right;
        if value < n {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn permuted_is_a_permutation(n in 1_u64..2000, key: u64) {
            let mut seen = vec![false; n as usize];
            for i in 0..n {
                let p = permuted(i, n, key) as usize;
                prop_assert!(!seen[p]);
                seen[p] = true;
            }
        }
    }

    #[test]
    fn another_key_gives_another_order() {
        let order = |key| (0..100).map(|i| permuted(i, 100, key)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut random = Random::new(seed(1, Purpose::Initialisation, 0));
        let x: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
