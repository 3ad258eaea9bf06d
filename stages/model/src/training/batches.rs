//! Training batches by position, read from a flat file of token ids; see [`Windows`] for the rule.

use super::stream::TokenFile;
pub use pipe_data::windows::Order;
pub(crate) use pipe_data::windows::Windows;
use std::io;

/// Rows of inputs, and the token that follows each position.
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) targets: Vec<u32>,
}

impl Batch {
    /// Reads batch number `batch`.
    pub(crate) fn read(windows: &Windows, stream: &TokenFile, batch: u64) -> io::Result<Self> {
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for row in 0..windows.rows {
            let window = stream.read(windows.start(batch, row), windows.context + 1)?;
            ids.extend_from_slice(&window[..windows.context]);
            targets.extend_from_slice(&window[1..]);
        }
        Ok(Self { ids, targets })
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
        let batch = Batch::read(&windows, &stream, 0).expect("read");
        assert_eq!(batch.ids, (0..16).collect::<Vec<u32>>());
        assert_eq!(batch.targets, (1..17).collect::<Vec<u32>>());
        assert_eq!(windows.start(5, 1), 88);
        assert_eq!((windows.start(6, 0), windows.start(11, 1)), (3, 91));
    }

    #[test]
    fn every_token_but_the_first_is_a_target() {
        let (_folder, stream) = stream(10);
        let sequential = windows(Order::Sequential, 10);
        let targets: Vec<u32> =
            (0..20).flat_map(|i| Batch::read(&sequential, &stream, i).expect("read").targets).collect();
        assert!((1..10).all(|token| targets.contains(&token)), "{targets:?}");
    }

    #[test]
    fn short_streams_work() {
        let (_folder, stream) = stream(9);
        for order in [Order::Sequential, Order::Shuffled] {
            for batch in 0..5 {
                assert_eq!(Batch::read(&windows(order, 9), &stream, batch).expect("read").ids.len(), 16);
            }
        }
    }
}
