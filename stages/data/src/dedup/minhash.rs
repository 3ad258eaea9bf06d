//! The algorithms of near-duplicate search: shingles, MinHash bands, exact Jaccard similarity, components. They take
//! slices and return values; nothing here depends on documents, files or stages.
//!
//! Broder 1997 for shingles and MinHash, Leskovec et al. (Mining of Massive Datasets, chapter 3) for bands.
//! All arithmetic is on integers, so results are the same on every machine.

mod orders;
mod sorting;
mod units;

use rustc_hash::FxHashMap;

pub use orders::Orders;
use sorting::sort_distinct;
use units::HashedUnits;

/// Parameters of the search for candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// Bands per signature; texts that agree in one band are candidates.
    pub bands: usize,
    /// MinHash values per band.
    pub rows: usize,
}

/// The distinct shingles of a text as 64-bit hashes, in ascending order.
///
/// A shingle is a sequence of `width` units, in lower case and without surrounding punctuation. A unit is a word
/// between spaces; in scripts without spaces, each character is a unit. This depends on the characters, not on the
/// document's language, which may be unknown, wrong, or spelled in several ways. A text with fewer units has no
/// shingles.
pub fn shingles(text: &str, width: usize) -> Vec<u64> {
    // A few thousand units are held at a time, and duplicates are removed as they accumulate, so a page that repeats
    // itself a million times takes little memory.
    const UNITS_HELD: usize = 4096;
    let width = width.max(1);
    let mut units = Vec::new();
    let (mut shingles, mut scratch, mut distinct) = (Vec::new(), Vec::new(), 0);
    for (unit, _) in HashedUnits::of(text) {
        units.push(unit);
        if units.len() == UNITS_HELD + width {
            shingles.extend(units.windows(width).map(combine));
            units.drain(..=UNITS_HELD);
            if shingles.len() > 2 * distinct + UNITS_HELD {
                sort_distinct(&mut shingles, &mut scratch);
                distinct = shingles.len();
            }
        }
    }
    shingles.extend(units.windows(width).map(combine));
    sort_distinct(&mut shingles, &mut scratch);
    shingles
}

/// The units of a text, each as its hash and its place in the text, in bytes: what [`shingles`] are made of.
pub(crate) fn hashed_units(text: &str) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> + '_ {
    HashedUnits::of(text)
}

/// The hash of a sequence of units, given theirs.
pub(crate) fn hash_of_units(units: &[u64]) -> u64 {
    combine(units)
}

/// Number of common values of two ascending lists of distinct values.
pub fn common(a: &[u64], b: &[u64]) -> usize {
    /// Above this ratio of lengths, binary search in the longer list is faster than reading it.
    const RATIO: usize = 32;
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if long.len() / RATIO >= short.len() {
        return short.iter().filter(|value| long.binary_search(value).is_ok()).count();
    }
    // Each comparison waits for the one before it, so two halves are walked in turns.
    let half = a.len() / 2;
    let place = a.get(half).map_or(0, |middle| b.partition_point(|value| value < middle));
    let ((a, later_a), (b, later_b)) = (a.split_at(half), b.split_at(place));
    let (mut walk, mut later) = (Walk::default(), Walk::default());
    while walk.step(a, b) && later.step(later_a, later_b) {}
    while walk.step(a, b) {}
    while later.step(later_a, later_b) {}
    walk.common + later.common
}

/// A walk through two ascending lists of distinct values.
#[derive(Default)]
struct Walk {
    a: usize,
    b: usize,
    /// Common values so far.
    common: usize,
}

impl Walk {
    /// Passes the smaller of the next values, or both if they are equal; false at the end of a list.
    #[inline(always)]
    fn step(&mut self, a: &[u64], b: &[u64]) -> bool {
        let (Some(x), Some(y)) = (a.get(self.a), b.get(self.b)) else { return false };
        self.common += usize::from(x == y);
        self.a += usize::from(x <= y);
        self.b += usize::from(y <= x);
        true
    }
}

/// The Jaccard similarity of two ascending lists of distinct values; 0 if both are empty.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let common = common(a, b);
    match a.len() + b.len() - common {
        0 => 0.0,
        all => common as f64 / all as f64,
    }
}

/// Whether the Jaccard similarity can reach `threshold`, judging by the numbers of shingles.
pub fn may_reach(threshold: f64, a: usize, b: usize) -> bool {
    a.min(b) as f64 >= threshold * a.max(b) as f64
}

/// Joins similar members of a group; each pair is tested unless it is already connected.
///
/// A member is tested against at most `tests_max` earlier members of other components, so a group of many thousands
/// of different members stays affordable; `limited` is called for members that this leaves untested against others.
/// Earlier members that are already connected to it are skipped together, so a group of near-duplicates takes linear time.
/// The first `known` members are not tested against each other.
pub fn join_group(
    group: &[u32],
    known: usize,
    components: &mut Components,
    tests_max: usize,
    mut alike: impl FnMut(u32, u32) -> bool,
    mut limited: impl FnMut(u32),
) {
    let mut parts = Parts::default();
    let (untested, tested) = group.split_at(known);
    for &member in untested {
        parts.push(components.find(member), member);
    }
    for &member in tested {
        parts.compact(components);
        let (mut tests, mut at, mut is_limited) = (0, 0, false);
        while at < parts.members.len() && !is_limited {
            if parts.holding(components.find(member)) != Some(at) {
                let earlier = &parts.members[at];
                let mut tested = earlier.iter().take(tests_max - tests);
                let found = tested.clone().position(|&earlier| alike(earlier, member));
                is_limited = found.is_none() && tested.len() < earlier.len();
                tests += found.map_or(tested.len(), |before| before + 1);
                if let Some(&earlier) = found.and_then(|before| tested.nth(before)) {
                    parts.join(components, earlier, member);
                }
            }
            at += 1;
        }
        if is_limited {
            limited(member);
        }
        parts.push(components.find(member), member);
    }
}

/// The members of a group examined so far, grouped by component.
#[derive(Default)]
struct Parts {
    /// One list per component. Some are empty, since joining two leaves one.
    members: Vec<Vec<u32>>,
    empty: usize,
    /// Position of a component's list, by its smallest member.
    by_root: FxHashMap<u32, usize>,
}

/// Number of empty lists after which the others are compacted.
const EMPTY_PARTS_MAX: usize = 1000;

impl Parts {
    fn holding(&self, root: u32) -> Option<usize> {
        self.by_root.get(&root).copied()
    }

    fn push(&mut self, root: u32, member: u32) {
        match self.holding(root) {
            Some(at) => self.members[at].push(member),
            None => {
                self.by_root.insert(root, self.members.len());
                self.members.push(vec![member]);
            }
        }
    }

    /// Joins two members, and the lists of their components.
    fn join(&mut self, components: &mut Components, a: u32, b: u32) {
        let roots = [components.find(a), components.find(b)];
        components.join(a, b);
        let at = match roots.map(|root| self.by_root.remove(&root)) {
            [Some(a), Some(b)] => {
                let (small, large) = match self.members[a].len() < self.members[b].len() {
                    true => (a, b),
                    false => (b, a),
                };
                let moved = std::mem::take(&mut self.members[small]);
                self.members[large].extend(moved);
                self.empty += 1;
                large
            }
            [Some(at), None] | [None, Some(at)] => at,
            [None, None] => return,
        };
        self.by_root.insert(components.find(a), at);
    }

    fn compact(&mut self, components: &mut Components) {
        if self.empty > EMPTY_PARTS_MAX {
            self.members.retain(|members| !members.is_empty());
            self.empty = 0;
            self.by_root =
                (0..).zip(&self.members).map(|(at, members)| (components.find(members[0]), at)).collect();
        }
    }
}

/// Connected components of numbered items (union-find by smallest member, with path halving).
#[derive(Debug, Clone)]
pub struct Components {
    parents: Vec<u32>,
}

impl Components {
    /// The given number of components with one member each.
    pub fn new(things: u32) -> Self {
        Self { parents: (0..things).collect() }
    }

    /// The smallest member of the component.
    pub fn find(&mut self, thing: u32) -> u32 {
        let mut at = thing;
        while self.parents[at as usize] != at {
            let above = self.parents[self.parents[at as usize] as usize];
            self.parents[at as usize] = above;
            at = above;
        }
        at
    }

    /// Merges two components.
    pub fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    /// The members of each component of two or more; both orders ascend. Memory is that of these members.
    pub fn clusters(mut self) -> Vec<Vec<u32>> {
        let mut linked: Vec<(u32, u32)> = Vec::new();
        for thing in 0..self.parents.len() as u32 {
            let least = self.find(thing);
            if least != thing {
                linked.push((least, thing));
            }
        }
        linked.sort_unstable();
        let members = |linked: &[(u32, u32)]| {
            std::iter::once(linked[0].0).chain(linked.iter().map(|(_, thing)| *thing)).collect()
        };
        linked.chunk_by(|a, b| a.0 == b.0).map(members).collect()
    }
}

/// Combines several hashes, in order.
fn combine(hashes: &[u64]) -> u64 {
    mix(hashes.iter().fold(0, |state, hash| fold(state ^ A, hash ^ B)))
}

const A: u64 = 0xa076_1d64_78bd_642f;
const B: u64 = 0xe703_7ed1_a0b4_28db;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const BANDS: Bands = Bands { bands: 14, rows: 8 };

    fn words(text: &str) -> Vec<u64> {
        shingles(text, 5)
    }

    proptest! {
        #[test]
        fn jaccard_is_that_of_sets(a: BTreeSet<u8>, b: BTreeSet<u8>) {
            let list = |set: &BTreeSet<u8>| set.iter().map(|value| u64::from(*value)).collect::<Vec<_>>();
            let union = a.union(&b).count();
            let expected = if union == 0 { 0.0 } else { a.intersection(&b).count() as f64 / union as f64 };
            prop_assert_eq!(jaccard(&list(&a), &list(&b)), expected);
            prop_assert!(expected < 0.6 || may_reach(0.6, a.len(), b.len()));
            let long: Vec<u64> = (0..10_000).step_by(3).collect();
            let among = a.iter().filter(|value| long.contains(&u64::from(**value))).count();
            prop_assert_eq!((common(&list(&a), &long), common(&long, &list(&a))), (among, among));
        }

        #[test]
        fn components_are_those_of_the_graph(edges in prop::collection::vec((0_u32..30, 0_u32..30), 0..40)) {
            let mut components = Components::new(30);
            edges.iter().for_each(|&(a, b)| components.join(a, b));
            // Reference implementation: labels spread along the edges until nothing changes.
            let mut labels: Vec<u32> = (0..30).collect();
            for _ in 0..30 {
                for &(a, b) in &edges {
                    let least = labels[a as usize].min(labels[b as usize]);
                    (labels[a as usize], labels[b as usize]) = (least, least);
                }
            }
            for thing in 0..30 {
                prop_assert_eq!(components.find(thing), labels[thing as usize]);
            }
            let clustered: usize = components.clusters().iter().map(Vec::len).sum();
            let together = |label: u32| labels.iter().filter(|other| **other == label).count() > 1;
            prop_assert_eq!(clustered, labels.iter().filter(|label| together(**label)).count());
        }

        #[test]
        fn groups_join_as_all_pairs_do(values in prop::collection::vec(0_u32..20, 0..30)) {
            let alike = |a: u32, b: u32| values[a as usize].abs_diff(values[b as usize]) <= 1;
            let group: Vec<u32> = (0..values.len() as u32).collect();
            let mut grouped = Components::new(group.len() as u32);
            join_group(&group, 0, &mut grouped, usize::MAX, alike, |_| panic!("no limit"));
            let mut all = Components::new(group.len() as u32);
            for &a in &group {
                group.iter().filter(|b| alike(a, **b)).for_each(|&b| all.join(a, b));
            }
            prop_assert_eq!(grouped.clusters(), all.clusters());
        }
    }

    #[test]
    fn shingles_ignore_case_and_punctuation_around_words() {
        assert_eq!(words("One two, three four five. Six"), words("one TWO three (four) five six!"));
        assert_eq!(words("one two three four five six").len(), 2);
        assert!(words("one two three four").is_empty());
        assert_ne!(words("one two three four five"), words("two one three four five"));
    }

    #[test]
    fn long_texts_are_shingled_as_a_whole() {
        let text = |words: usize| (0..words).map(|n| format!("w{} ", n * n % 9973)).collect::<String>();
        let units: Vec<String> = text(20_000).split_whitespace().map(str::to_owned).collect();
        let mut expected: Vec<u64> = units.windows(5).flat_map(|window| words(&window.join(" "))).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(words(&text(20_000)), expected);
        assert_eq!(words(&"a b ".repeat(1 << 20)).len(), 2);
    }

    #[test]
    fn scripts_without_spaces_are_shingled_by_characters() {
        assert_eq!(words("数据和模型,很好").len(), 3);
        assert_eq!(words("数据 和模型很好"), words("数据和模型，很好。"));
        assert_eq!(words("ข้อมูลและ").len(), words("ขอมลและ").len());
        assert_eq!(words("これはテキストです。").len(), 5);
        // A Han word leaves the words around it as they are; Korean has spaces.
        assert_eq!(words("use the 模型 crate foo-bar now").len(), 3);
        assert_eq!(words("데이터와 모델은 매우 아주 좋습니다").len(), 1);
    }

    #[test]
    fn a_group_of_copies_takes_time_in_proportion_to_its_size() {
        // Members that are already connected used to be compared with each other, which took minutes at this size.
        let group: Vec<u32> = (0..300_000).collect();
        let tests = |components: &mut Components| {
            let mut tests = 0;
            let alike = |_, _| {
                tests += 1;
                true
            };
            join_group(&group, 0, components, 1000, alike, |_| panic!("all are tested"));
            tests
        };
        let mut components = Components::new(group.len() as u32);
        assert_eq!(tests(&mut components), group.len() - 1);
        assert_eq!(tests(&mut components), 0, "all are connected");
        assert_eq!(components.clusters().len(), 1);
    }

    #[test]
    fn tests_of_a_member_are_bounded() {
        let group: Vec<u32> = (0..5000).collect();
        let mut tests = 0;
        let mut components = Components::new(5000);
        // Neighbouring pairs are similar, then two bridges.
        let alike = |earlier, member| {
            tests += 1;
            earlier / 2 == member / 2 || (earlier < 2 && member == 4998)
        };
        let mut limited = Vec::new();
        join_group(&group, 0, &mut components, 100, alike, |member| limited.push(member));
        assert!(tests <= 5000 * 100, "{tests}");
        // The first that 101 members precede.
        assert_eq!((limited[0], limited.last()), (101, Some(&4999)));
        assert_eq!(components.find(4998), 0);
        assert_eq!(components.find(60), 60);
        assert_eq!(components.find(61), 60);
    }

    #[test]
    fn texts_alike_share_a_band_and_others_do_not() {
        let text = |changed: usize| {
            let word = |n: usize| if n % 100 < changed { format!("x{n} ") } else { format!("w{} ", n * n) };
            words(&(0..2000).map(word).collect::<String>())
        };
        let orders = Orders::new(BANDS);
        let shared = |a: &[u64], b: &[u64]| {
            let pairs = orders.band_hashes(a).into_iter().zip(orders.band_hashes(b));
            pairs.filter(|(a, b)| a == b).count()
        };
        assert!(jaccard(&text(0), &text(2)) > 0.8);
        assert!(shared(&text(0), &text(2)) > 0);
        assert!(jaccard(&text(0), &text(30)) < 0.5);
        assert_eq!(shared(&text(0), &text(60)), 0);
    }

    /// Over many random pairs, the fraction of equal MinHash values is the Jaccard similarity.
    #[test]
    fn minhash_estimates_jaccard() {
        let (mut equal, mut all) = (0, 0);
        for seed in 0..40_u64 {
            let set = |from: u64| {
                let mut set: Vec<u64> = (from..from + 150).map(|n| mix(n + seed * 1000)).collect();
                set.sort_unstable();
                set
            };
            let (a, b) = (set(0), set(50)); // 100 of 200 in common
            let signatures = [&a, &b].map(|set| Orders::new(BANDS).signature(set));
            equal += signatures[0].iter().zip(&signatures[1]).filter(|(a, b)| a == b).count();
            all += signatures[0].len();
        }
        let estimate = equal as f64 / all as f64;
        assert!((estimate - 0.5).abs() < 0.03, "{estimate}");
    }

    #[test]
    fn hashes_are_stable() {
        let bands = Orders::new(BANDS).band_hashes(&[1, 2, 3]);
        let found = [
            hashed_units("shingle").next().unwrap().0,
            words("one two three four five")[0],
            bands[0],
            bands[13],
        ];
        let expected = [
            13_349_238_103_523_150_097,
            12_818_308_080_176_082_459,
            2_598_971_246_382_551_023,
            8_803_637_901_510_914_633,
        ];
        assert_eq!(found, expected);
    }
}
