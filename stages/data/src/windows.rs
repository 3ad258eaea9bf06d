//! Which windows of a stream of tokens, or which of some texts, make up which training batch. There is no state: the rows
//! of any batch follow from its number, and the batches that contain a token or a text follow from its position.

use crate::random::{Purpose, permuted, seed, unpermuted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Order in which training visits the windows of the token stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Random: each epoch visits every window once, in an order and with an offset that follow from the seed.
    #[default]
    Shuffled,
    /// From the beginning of the stream to its end, in every epoch.
    Sequential,
}

/// The rule from a batch's number to its windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windows {
    /// Order of the windows.
    pub order: Order,
    /// Seed of the order.
    pub seed: u64,
    /// Tokens in the stream, more than `context`.
    pub tokens: u64,
    /// Rows of a batch.
    pub rows: usize,
    /// Tokens of a row.
    pub context: usize,
}

/// A row of a batch that contains some tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Number of the batch, from 0.
    pub batch: u64,
    /// Row of the batch, from 0.
    pub row: usize,
    /// First token of the row in the stream.
    pub start: u64,
}

impl Windows {
    /// The windows of a held-out stream in order, with fewer rows where it has fewer windows: none occurs twice.
    #[must_use]
    pub fn over(self, tokens: u64) -> Self {
        let windows = Self { order: Order::Sequential, tokens, ..self };
        Self { rows: (windows.whole_windows() as usize).clamp(1, self.rows), ..windows }
    }

    fn whole_windows(&self) -> u64 {
        (self.tokens - 1) / self.context as u64
    }

    /// Batches that a pass over the stream fills.
    pub fn whole_batches(&self) -> u64 {
        (self.whole_windows() / self.rows as u64).max(1)
    }

    /// First token of row `row` of batch `batch`. The row's inputs are `context` tokens from there, its targets the same
    /// number from the next.
    pub fn start(&self, batch: u64, row: usize) -> u64 {
        let (index, windows) = (batch * self.rows as u64 + row as u64, self.whole_windows());
        let (pass, window) = (index / windows, index % windows);
        let window = match self.order {
            Order::Sequential => window,
            Order::Shuffled => permuted(window, windows, self.key(pass)),
        };
        window * self.context as u64 + self.offset(pass)
    }

    fn key(&self, pass: u64) -> u64 {
        seed(self.seed, Purpose::Order, pass)
    }

    /// Where the first window of a pass begins.
    fn offset(&self, pass: u64) -> u64 {
        let slack = self.tokens - 1 - self.whole_windows() * self.context as u64;
        match self.order {
            // Every other pass ends with the stream's last token.
            Order::Sequential => {
                if pass % 2 == 1 {
                    slack
                } else {
                    0
                }
            }
            Order::Shuffled => self.key(pass).rotate_left(32) % (slack + 1),
        }
    }

    /// The rows among the first `batches` batches that have any of these tokens as an input or a target, pass by pass
    /// over the stream. The inverse of [`start`](Self::start): its cost does not depend on the length of the stream.
    pub fn visits(&self, tokens: Range<u64>, batches: u64) -> impl Iterator<Item = Visit> + use<> {
        let (own, context, windows) = (*self, self.context as u64, self.whole_windows());
        let passes = if tokens.is_empty() { 0 } else { (batches * self.rows as u64).div_ceil(windows) };
        (0..passes).flat_map(move |pass| {
            let offset = own.offset(pass);
            // The last target of a window is the first input of the next.
            let first = tokens.start.saturating_sub(offset + context).div_ceil(context);
            let end = tokens.end.saturating_sub(offset).div_ceil(context).min(windows);
            (first..end).filter_map(move |window| {
                let index = match own.order {
                    Order::Sequential => window,
                    Order::Shuffled => unpermuted(window, windows, own.key(pass)),
                };
                let index = pass * windows + index;
                let (batch, row) = (index / own.rows as u64, (index % own.rows as u64) as usize);
                (batch < batches).then_some(Visit { batch, row, start: window * context + offset })
            })
        })
    }
}

/// The rule from a batch's number to its texts, where each row is a whole text: every epoch reads each text once, in a
/// random order that follows from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texts {
    /// Seed of the order.
    pub seed: u64,
    /// Number of texts, at least 1.
    pub texts: u64,
    /// Rows of a batch.
    pub rows: usize,
}

impl Texts {
    fn key(&self, epoch: u64) -> u64 {
        seed(self.seed, Purpose::Order, epoch)
    }

    /// The text, from 0, in row `row` of batch `batch`.
    pub fn text(&self, batch: u64, row: usize) -> u64 {
        let index = batch * self.rows as u64 + row as u64;
        permuted(index % self.texts, self.texts, self.key(index / self.texts))
    }

    /// Those of the first `batches` batches that have a text, with the row, epoch by epoch. The inverse of
    /// [`text`](Self::text).
    pub fn visits(&self, text: u64, batches: u64) -> impl Iterator<Item = (u64, usize)> + use<> {
        let (own, rows) = (*self, self.rows as u64);
        let all = batches.saturating_mul(rows);
        (0..all.div_ceil(own.texts)).filter_map(move |epoch| {
            let index = epoch * own.texts + unpermuted(text, own.texts, own.key(epoch));
            (index < all).then_some((index / rows, (index % rows) as usize))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(order: Order, tokens: u64) -> Windows {
        Windows { order, seed: 3, tokens, rows: 2, context: 8 }
    }

    proptest! {
        #[test]
        fn visits_are_the_rows_that_contain_the_tokens(
            sequential: bool, seed: u64, tokens in 2_u64..300, rows in 1_usize..5, context in 1_usize..9,
            batches in 0_u64..60, begin in 0_u64..300, length in 0_u64..20,
        ) {
            let order = if sequential { Order::Sequential } else { Order::Shuffled };
            let windows = Windows { order, seed, tokens: tokens + context as u64, rows, context };
            let wanted = begin..begin + length;
            let contains = |start: u64| start < wanted.end && wanted.start < start + context as u64 + 1;
            let mut expected = Vec::new();
            for batch in 0..batches {
                for row in 0..rows {
                    let start = windows.start(batch, row);
                    if !wanted.is_empty() && contains(start) {
                        expected.push((batch, row, start));
                    }
                }
            }
            let mut found: Vec<_> =
                windows.visits(wanted.clone(), batches).map(|visit| (visit.batch, visit.row, visit.start)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    proptest! {
        #[test]
        fn visits_are_the_rows_that_have_the_text(
            seed: u64, texts in 1_u64..40, rows in 1_usize..5, batches in 0_u64..60, text in 0_u64..40,
        ) {
            let order = Texts { seed, texts, rows };
            let text = text % texts;
            let all = (0..batches).flat_map(|batch| (0..rows).map(move |row| (batch, row)));
            let expected: Vec<_> = all.filter(|(batch, row)| order.text(*batch, *row) == text).collect();
            let mut found: Vec<_> = order.visits(text, batches).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_epoch_reads_each_text_once() {
        let order = Texts { seed: 7, texts: 12, rows: 4 };
        for epoch in 0..3 {
            let rows = (0..3).flat_map(|batch| (0..4).map(move |row| order.text(3 * epoch + batch, row)));
            let mut rows: Vec<u64> = rows.collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..12).collect::<Vec<_>>());
        }
        assert_ne!(order.text(0, 0), Texts { seed: 8, ..order }.text(0, 0));
    }

    #[test]
    fn shuffled_epoch_meets_every_window_once() {
        let windows = windows(Order::Shuffled, 101);
        let epoch = |n: u64| {
            let mut starts: Vec<u64> =
                (n * 12..n * 12 + 12).map(|i| windows.start(i / 2, (i % 2) as usize)).collect();
            let shuffled = starts.clone();
            starts.sort_unstable();
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 8));
            assert!(starts[0] <= 4 && starts[11] + 8 < 101);
            shuffled
        };
        assert_ne!(epoch(0), epoch(1));
    }

    #[test]
    fn held_out_windows_are_met_once() {
        // Rows and batches of streams that fill no batch, one, and several.
        for (tokens, rows, batches) in [(9, 1, 1), (16, 1, 1), (17, 2, 1), (40, 2, 2), (100, 2, 6)] {
            let windows = windows(Order::Shuffled, 1000).over(tokens);
            assert_eq!((windows.rows, windows.whole_batches()), (rows, batches));
            let mut starts: Vec<u64> =
                (0..batches).flat_map(|batch| (0..rows).map(move |row| windows.start(batch, row))).collect();
            starts.dedup();
            assert_eq!(starts.len() as u64, rows as u64 * batches, "{tokens} tokens");
            assert!(starts.iter().all(|start| start + 8 < tokens));
        }
    }
}
