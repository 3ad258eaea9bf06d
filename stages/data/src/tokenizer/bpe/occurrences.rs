//! The positions of a pair of tokens: ascending numbers, packed. Nothing here depends on tokens.
//!
//! Millions of pairs occur once, and frequent ones almost everywhere. The first number is stored in place; the others
//! as differences, seven bits per byte.

/// A list under construction. Numbers are added in ascending order.
#[derive(Debug)]
pub(super) struct Builder {
    first: u32,
    last: u32,
    rest: Vec<u8>,
}

impl Builder {
    /// A list of one number.
    pub(super) fn new(number: u32) -> Self {
        Self { first: number, last: number, rest: Vec::new() }
    }

    /// Adds a number that is not below the last one; the last one itself is ignored.
    pub(super) fn push(&mut self, number: u32) {
        let mut difference = number - self.last;
        if difference == 0 {
            return;
        }
        self.last = number;
        while difference >= 0x80 {
            self.rest.push(difference as u8 | 0x80);
            difference >>= 7;
        }
        self.rest.push(difference as u8);
    }

    /// Finishes the list.
    pub(super) fn finish(self) -> Occurrences {
        Occurrences { first: self.first, rest: self.rest.into() }
    }
}

/// Ascending numbers, at least one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Occurrences {
    first: u32,
    rest: Box<[u8]>,
}

impl Occurrences {
    /// Drops all but the first.
    pub(super) fn forget(&mut self) {
        self.rest = Box::default();
    }

    /// The numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut last = self.first;
        let mut bytes = self.rest.iter();
        let rest = std::iter::from_fn(move || {
            let (mut difference, mut shift) = (0, 0);
            for byte in bytes.by_ref() {
                difference |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    last += difference;
                    return Some(last);
                }
            }
            None
        });
        std::iter::once(self.first).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn numbers_come_back(numbers: BTreeSet<u32>, twice: bool) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            let Some(first) = numbers.first() else { return Ok(()) };
            let mut builder = Builder::new(*first);
            for &number in &numbers[1..] {
                builder.push(number);
                if twice {
                    builder.push(number);
                }
            }
            let found: Vec<u32> = builder.finish().iter().collect();
            prop_assert_eq!(found, numbers);
        }
    }

    #[test]
    fn neighbours_take_a_byte() {
        let mut builder = Builder::new(7);
        (8..1000).for_each(|number| builder.push(number));
        assert_eq!(builder.finish().rest.len(), 992);
    }
}
