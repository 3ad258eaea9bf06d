//! The Huffman tree of the hierarchical softmax: frequent labels have short paths. Built as fastText builds it, since
//! files have only the counts. Nothing here knows text.

use crate::math::sigmoid;

/// Nodes above the labels; the last is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    labels: usize,
    /// Left and right child of the nodes `labels`, `labels + 1`, …; a number below `labels` is a label.
    children: Vec<(usize, usize)>,
}

/// The count of a node that does not exist yet; the sum of all counts must be below.
const UNBUILT: u64 = 1_000_000_000_000_000;

impl Tree {
    /// Builds the tree of labels with these counts, in falling order.
    ///
    /// Returns nothing if the sum of the counts is 10^15 or more.
    pub(crate) fn new(counts: &[u64]) -> Option<Self> {
        counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count).filter(|sum| *sum < UNBUILT))?;
        let labels = counts.len();
        let mut made: Vec<u64> = Vec::new();
        let mut children = Vec::new();
        // Labels from the last, and nodes from the first, wait for a parent.
        let (mut waiting, mut node) = (labels, 0);
        let mut next = |made: &[u64]| {
            let count = made.get(node).copied().unwrap_or(UNBUILT);
            match waiting.checked_sub(1).filter(|last| counts[*last] < count) {
                Some(last) => {
                    waiting = last;
                    (last, counts[last])
                }
                None => {
                    node += 1;
                    (labels + node - 1, count)
                }
            }
        };
        for _ in 1..labels {
            let (left, right) = (next(&made), next(&made));
            children.push((left.0, right.0));
            made.push(left.1 + right.1);
        }
        Some(Self { labels, children })
    }

    /// The probabilities of all labels, by the score of each node.
    pub(crate) fn probabilities(&self, score: impl Fn(usize) -> f32, out: &mut [f32]) {
        let mut nodes = vec![0.0; self.children.len()];
        if let Some(root) = nodes.last_mut() {
            *root = 1.0;
        } else {
            out.fill(1.0);
        }
        for node in (0..self.children.len()).rev() {
            let right = sigmoid(f64::from(score(node)));
            let (left, above) = (1.0 - right, nodes[node]);
            let (left_child, right_child) = self.children[node];
            for (child, share) in [(left_child, left), (right_child, right)] {
                match child.checked_sub(self.labels) {
                    Some(below) => nodes[below] = above * share,
                    None => out[child] = (above * share) as f32,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_labels_have_short_paths() {
        let tree = Tree::new(&[100, 10, 5, 1]).unwrap();
        let mut probabilities = [0.0; 4];
        tree.probabilities(|_| 0.0, &mut probabilities);
        assert_eq!(probabilities, [0.5, 0.25, 0.125, 0.125]);
    }

    #[test]
    fn counts_of_any_order_and_size_make_a_tree_or_none() {
        for counts in [vec![1, 2, 3], vec![0, 0, 0], vec![7], vec![5, 5, 5, 5, 5], vec![0, UNBUILT - 1]] {
            let tree = Tree::new(&counts).unwrap();
            let mut probabilities = vec![0.0; counts.len()];
            tree.probabilities(|_| 1.0, &mut probabilities);
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{counts:?}");
        }
        assert_eq!(Tree::new(&[UNBUILT]), None);
        assert_eq!(Tree::new(&[u64::MAX, u64::MAX]), None);
    }
}
