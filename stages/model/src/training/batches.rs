//! Training batches by position: a flat file of token ids, and a rule that says which windows of it make up
//! batch number `m`. There is no state, so a run resumes at any step.

use super::stream::TokenFile;
use crate::random::{Purpose, permuted, seed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;

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
pub(crate) struct Windows {
    pub(crate) order: Order,
    pub(crate) seed: u64,
    /// Tokens in the stream, more than `context`.
    pub(crate) tokens: u64,
    /// Rows of a batch.
    pub(crate) rows: usize,
    /// Tokens of a row.
    pub(crate) context: usize,
}

/// Rows of inputs, and the token that follows each position.
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) targets: Vec<u32>,
}

impl Windows {
    /// The windows of a held-out stream in order, with fewer rows where it has fewer windows: none occurs twice.
    pub(crate) fn over(self, tokens: u64) -> Self {
        let windows = Self { order: Order::Sequential, tokens, ..self };
        Self { rows: (windows.whole_windows() as usize).clamp(1, self.rows), ..windows }
    }

    fn whole_windows(&self) -> u64 {
        (self.tokens - 1) / self.context as u64
    }

    /// Batches that a pass over the stream fills.
    pub(crate) fn whole_batches(&self) -> u64 {
        (self.whole_windows() / self.rows as u64).max(1)
    }

    /// First token of row `row` of batch `batch`.
    fn start(&self, batch: u64, row: usize) -> u64 {
        let (context, index) = (self.context as u64, batch * self.rows as u64 + row as u64);
        let windows = self.whole_windows();
        let (pass, window) = (index / windows, index % windows);
        let slack = self.tokens - 1 - windows * context;
        match self.order {
            // Every other pass ends with the stream's last token.
            Order::Sequential => window * context + if pass % 2 == 1 { slack } else { 0 },
            Order::Shuffled => {
                let key = seed(self.seed, Purpose::Order, pass);
                permuted(window, windows, key) * context + key.rotate_left(32) % (slack + 1)
            }
        }
    }

    /// Reads batch number `batch`.
    pub(crate) fn batch(&self, stream: &TokenFile, batch: u64) -> io::Result<Batch> {
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for row in 0..self.rows {
            let window = stream.read(self.start(batch, row), self.context + 1)?;
            ids.extend_from_slice(&window[..self.context]);
            targets.extend_from_slice(&window[1..]);
        }
        Ok(Batch { ids, targets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::stream::TokenWriter;

    fn stream(n: u32) -> (tempfile::TempDir, TokenFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = TokenWriter::create(&folder.path().join("tokens"), 1 << 20).expect("a file");
        writer.push(&(0..n / 2).collect::<Vec<_>>()).expect("written");
        writer.push(&(n / 2..n).collect::<Vec<_>>()).expect("written");
        let file = writer.finish().expect("finished");
        (folder, file)
    }

    fn windows(order: Order, tokens: u64) -> Windows {
        Windows { order, seed: 3, tokens, rows: 2, context: 8 }
    }

    #[test]
    fn sequential_rows_follow_each_other_and_wrap() {
        let (_folder, stream) = stream(100);
        let windows = windows(Order::Sequential, stream.len());
        let batch = windows.batch(&stream, 0).expect("read");
        assert_eq!(batch.ids, (0..16).collect::<Vec<u32>>());
        assert_eq!(batch.targets, (1..17).collect::<Vec<u32>>());
        assert_eq!(windows.start(5, 1), 88);
        assert_eq!((windows.start(6, 0), windows.start(11, 1)), (3, 91));
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
    fn every_token_but_the_first_is_a_target() {
        let (_folder, stream) = stream(10);
        let sequential = windows(Order::Sequential, 10);
        let targets: Vec<u32> =
            (0..20).flat_map(|i| sequential.batch(&stream, i).expect("read").targets).collect();
        assert!((1..10).all(|token| targets.contains(&token)), "{targets:?}");
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

    #[test]
    fn short_streams_work() {
        let (_folder, stream) = stream(9);
        for order in [Order::Sequential, Order::Shuffled] {
            for batch in 0..5 {
                assert_eq!(windows(order, 9).batch(&stream, batch).expect("read").ids.len(), 16);
            }
        }
    }
}
