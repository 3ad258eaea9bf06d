//! Sums in a fixed binary tree.

use std::ops::Range;

/// Makes a value of every index of `range`, which is not empty, and joins them: the first half's sum with the
/// second half's, and so on down. Where 2, 4, … processes each own as many indices, the parts that they can form
/// alone are branches of this tree, so they come to the same bits as one process.
///
/// At most one value per level of the tree is held at once.
pub(super) fn reduce<T, E>(
    range: Range<u64>,
    mut value: impl FnMut(u64) -> Result<T, E>,
    join: impl Fn(T, T) -> T,
) -> Result<T, E> {
    branch(range, &mut value, &join)
}

fn branch<T, E>(
    range: Range<u64>,
    value: &mut impl FnMut(u64) -> Result<T, E>,
    join: &impl Fn(T, T) -> T,
) -> Result<T, E> {
    let n = range.end - range.start;
    if n <= 1 {
        return value(range.start);
    }
    let middle = range.start + n / 2;
    let first = branch(range.start..middle, value, join)?;
    let second = branch(middle..range.end, value, join)?;
    Ok(join(first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(range: Range<u64>) -> String {
        let leaf = |i| Ok::<_, ()>(format!("{i}"));
        reduce(range, leaf, |a, b| format!("({a}+{b})")).expect("no leaf fails")
    }

    #[test]
    fn halves_are_joined_in_order() {
        assert_eq!(tree(0..4), "((0+1)+(2+3))");
        assert_eq!(tree(3..6), "(3+(4+5))");
        assert_eq!(tree(7..8), "7");
    }

    proptest! {
        #[test]
        fn processes_that_own_equal_parts_come_to_the_same(each in 1_u64..20, levels in 0_u32..4, first in 0_u64..9) {
            let processes = 1_u64 << levels;
            let part = |process: u64| tree(first + process * each..first + (process + 1) * each);
            let over_processes = reduce(0..processes, |p| Ok::<_, ()>(part(p)), |a, b| format!("({a}+{b})"));
            prop_assert_eq!(over_processes, Ok(tree(first..first + processes * each)));
        }
    }
}
