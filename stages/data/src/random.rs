//! Random numbers by name: each is a pure function of (seed, purpose, position), so nothing about them has to be saved, a
//! resumed run draws what an undisturbed one would, and what was drawn at any step can be told afterwards.

/// What random numbers are for; each purpose has its own stream under one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Initialisation = 1,
    /// The order of training.
    Order = 2,
    /// Dropout.
    Dropout = 3,
    /// Generated text.
    Sampling = 4,
}

/// The seed of `purpose` at `position` (a step, an epoch, a parameter's number).
pub fn seed(seed: u64, purpose: Purpose, position: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(purpose as u64)).wrapping_add(position))
}

/// The output function of splitmix64 (Steele et al., 2014): a bijection whose outputs look random.
pub fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A permutation of `0..n` without any table: a four-round Feistel network over the next power of four, walked until it
/// falls below `n` (Black and Rogaway, 2002).
pub fn permuted(index: u64, n: u64, key: u64) -> u64 {
    walk(index, n, |value, bits| {
        let mask = (1_u64 << bits) - 1;
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (scrambled(right, round, key) & mask));
        }
        left << bits | right
    })
}

/// The inverse of [`permuted`]: the network backwards.
pub fn unpermuted(index: u64, n: u64, key: u64) -> u64 {
    walk(index, n, |value, bits| {
        let mask = (1_u64 << bits) - 1;
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ (scrambled(left, round, key) & mask), left);
        }
        left << bits | right
    })
}

const ROUNDS: u64 = 4;

fn scrambled(half: u64, round: u64, key: u64) -> u64 {
    mix(key ^ mix(half.wrapping_add(round << 60)))
}

/// Applies a permutation of the numbers of twice so many bits until the result is below `n`.
fn walk(index: u64, n: u64, permutation: impl Fn(u64, u32) -> u64) -> u64 {
    debug_assert!(index < n);
    let bits = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mut value = index;
    loop {
        value = permutation(value, bits);
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

        #[test]
        fn unpermuted_is_its_inverse(n in 1_u64..u64::MAX, index: u64, key: u64) {
            let index = index % n;
            prop_assert_eq!(unpermuted(permuted(index, n, key), n, key), index);
            prop_assert_eq!(permuted(unpermuted(index, n, key), n, key), index);
        }
    }

    #[test]
    fn another_key_gives_another_order() {
        let order = |key| (0..100).map(|i| permuted(i, 100, key)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..100).collect::<Vec<_>>());
        // The order of every training run since the first version depends on these.
        assert_eq!(order(1)[..8], [16, 13, 54, 74, 78, 6, 19, 96]);
    }
}
