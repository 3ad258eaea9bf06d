//! Windows of a text, by which a model of bounded context scores all of it.

/// A run of inputs, and the first of them whose next token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) counted_from: usize,
}

/// Windows of `context` inputs, one after the other; each of the `n - 1` predictions counts once.
pub(super) fn disjoint_windows(n: usize, context: usize) -> Vec<Window> {
    let window = |start: usize| Window { start, end: (start + context).min(n - 1), counted_from: start };
    (0..n - 1).step_by(context).map(window).collect()
}

/// Windows of `context` inputs that move by `stride`; a prediction counts in the first window that has it.
pub(super) fn sliding_windows(n: usize, context: usize, stride: usize) -> Vec<Window> {
    let (mut windows, mut counted, mut start) = (Vec::new(), 0, 0);
    while counted < n - 1 {
        let end = (start + context).min(n - 1);
        windows.push(Window { start, end, counted_from: counted });
        (counted, start) = (end, start + stride);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prediction_counts_once() {
        for n in [2, 3, 9, 10, 11, 40] {
            for (context, stride) in [(4, 1), (4, 2), (4, 4), (8, 3), (100, 50)] {
                for windows in [disjoint_windows(n, context), sliding_windows(n, context, stride)] {
                    let mut counted: Vec<usize> =
                        windows.iter().flat_map(|window| window.counted_from..window.end).collect();
                    assert!(windows.iter().all(|w| w.start <= w.counted_from && w.end - w.start <= context));
                    counted.sort_unstable();
                    assert_eq!(counted, (0..n - 1).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn sliding_windows_see_enough_before_them() {
        for window in &sliding_windows(50, 8, 3)[1..] {
            assert!(window.counted_from - window.start >= 5);
        }
    }
}
