//! Owns: a DAG as a picture: stages in layers, arrows downwards. After Sugiyama, Tagawa and Toda 1981: layers by the
//! longest path, order within them by barycentres, positions by the mean of the neighbours.

use super::escape;
use std::fmt::Write;

/// A box.
pub(super) struct Node {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) class: &'static str,
    pub(super) link: String,
}

/// An arrow from an earlier box to a later one.
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: String,
}

const BOX: (f64, f64) = (152.0, 46.0);
/// Space between boxes: horizontal, and between layers.
const GAP: (f64, f64) = (26.0, 40.0);
/// Width of an arrow that passes a layer.
const LANE: f64 = 6.0;
const MARGIN: f64 = 6.0;
const SWEEPS: usize = 12;

/// Draws boxes, each of which comes after all that point to it.
pub(super) fn svg(nodes: &[Node], arrows: &[Arrow]) -> String {
    let layout = Layout::new(nodes.len(), arrows);
    let (width, height) = layout.size();
    let mut svg = format!(
        "<svg class=\"dag\" role=\"img\" aria-label=\"graph of the stages\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
    );
    for (arrow, path) in layout.paths(arrows) {
        put(
            &mut svg,
            format_args!(
                "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"{path}\"><title>{}</title></path>\n",
                escape(&arrow.label)
            ),
        );
    }
    for (node, (x, y)) in nodes.iter().zip(&layout.boxes()) {
        put(
            &mut svg,
            format_args!(
                "<a href=\"{}\"><g class=\"{}\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{}\" \
                 height=\"{}\" rx=\"9\"/><text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\">{}</text><text class=\"sub\" \
                 x=\"{x:.1}\" y=\"{:.1}\">{}</text></g></a>\n",
                escape(&node.link),
                node.class,
                escape(&node.title),
                x - BOX.0 / 2.0,
                y - BOX.1 / 2.0,
                BOX.0,
                BOX.1,
                y - 3.0,
                escape(&shortened(&node.title, 19)),
                y + 13.0,
                escape(&shortened(&node.subtitle, 25)),
            ),
        );
    }
    svg + "</svg>"
}

fn shortened(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return text.to_owned();
    }
    text.chars().take(letters_max - 1).chain(['…']).collect()
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: a String takes all that is written");
}

/// Positions of boxes, and of the lanes in which arrows pass layers.
struct Layout {
    /// For each point its layer and its horizontal position. The first points are the boxes.
    layer: Vec<usize>,
    x: Vec<f64>,
    /// By box: the lanes that its arrows share, layer by layer below it.
    lanes: Vec<Vec<usize>>,
    boxes: usize,
}

impl Layout {
    fn new(boxes: usize, arrows: &[Arrow]) -> Self {
        let mut layer = vec![0; boxes];
        for to in 0..boxes {
            let above = arrows.iter().filter(|arrow| arrow.to == to).map(|arrow| layer[arrow.from] + 1);
            layer[to] = above.max().unwrap_or(0);
        }
        // All arrows of a box that pass a layer use one lane.
        let mut lanes = vec![Vec::new(); boxes];
        for from in 0..boxes {
            let lowest = arrows.iter().filter(|arrow| arrow.from == from).map(|arrow| layer[arrow.to]).max();
            for level in layer[from] + 1..lowest.unwrap_or(0) {
                lanes[from].push(layer.len());
                layer.push(level);
            }
        }
        let mut layout = Self { x: vec![0.0; layer.len()], layer, lanes, boxes };
        let links = layout.links(arrows);
        let rows = layout.order(&links);
        layout.place(&rows, &links);
        layout
    }

    /// The points of an arrow.
    fn route(&self, arrow: &Arrow) -> Vec<usize> {
        let passed = self.layer[arrow.to].saturating_sub(self.layer[arrow.from] + 1);
        let lanes = self.lanes[arrow.from].iter().take(passed).copied();
        std::iter::once(arrow.from).chain(lanes).chain([arrow.to]).collect()
    }

    /// The neighbours of each point: above, below.
    fn links(&self, arrows: &[Arrow]) -> [Vec<Vec<usize>>; 2] {
        let mut links = [vec![Vec::new(); self.layer.len()], vec![Vec::new(); self.layer.len()]];
        for arrow in arrows {
            for pair in self.route(arrow).windows(2) {
                if !links[0][pair[1]].contains(&pair[0]) {
                    links[0][pair[1]].push(pair[0]);
                    links[1][pair[0]].push(pair[1]);
                }
            }
        }
        links
    }

    /// Sorts each layer by the mean position of the neighbours in the previous layer, alternating down and up.
    fn order(&self, links: &[Vec<Vec<usize>>; 2]) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); self.layer.iter().max().map_or(0, |last| last + 1)];
        (0..self.layer.len()).for_each(|point| rows[self.layer[point]].push(point));
        let mut place = vec![0.0; self.layer.len()];
        let note = |rows: &[Vec<usize>], row: usize, place: &mut Vec<f64>| {
            rows[row].iter().enumerate().for_each(|(at, point)| place[*point] = at as f64);
        };
        (0..rows.len()).for_each(|row| note(&rows, row, &mut place));
        for sweep in 0..SWEEPS {
            let towards = &links[sweep % 2];
            for step in 0..rows.len() {
                let row = if sweep % 2 == 0 { step } else { rows.len() - 1 - step };
                let mean = |point: &usize| mean(&towards[*point], &place).unwrap_or(place[*point]);
                let mut keyed: Vec<(f64, usize)> =
                    rows[row].iter().map(|point| (mean(point), *point)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                rows[row] = keyed.into_iter().map(|(_, point)| point).collect();
                note(&rows, row, &mut place);
            }
        }
        rows
    }

    /// Moves each point to the mean of its neighbours, as far as there is room.
    fn place(&mut self, rows: &[Vec<usize>], links: &[Vec<Vec<usize>>; 2]) {
        let half = |point: usize| if point < self.boxes { BOX.0 / 2.0 } else { LANE / 2.0 };
        let apart = |a: usize, b: usize| half(a) + GAP.0 + half(b);
        for row in rows {
            for pair in row.windows(2) {
                self.x[pair[1]] = self.x[pair[0]] + apart(pair[0], pair[1]);
            }
        }
        for sweep in 0..2 * SWEEPS {
            for step in 0..rows.len() {
                let row = &rows[if sweep % 2 == 0 { step } else { rows.len() - 1 - step }];
                let both = |point: usize| -> f64 {
                    let all: Vec<usize> = links[0][point].iter().chain(&links[1][point]).copied().collect();
                    let near = if sweep + 2 < 2 * SWEEPS { &links[sweep % 2][point] } else { &all };
                    mean(near, &self.x).unwrap_or(self.x[point])
                };
                let wanted: Vec<f64> = row.iter().map(|point| both(*point)).collect();
                // Pushed to the right, and pushed to the left: both keep the distance, and so does their mean.
                let (mut right, mut left) = (wanted.clone(), wanted);
                for at in 1..row.len() {
                    right[at] = right[at].max(right[at - 1] + apart(row[at - 1], row[at]));
                }
                for at in (1..row.len()).rev() {
                    left[at - 1] = left[at - 1].min(left[at] - apart(row[at - 1], row[at]));
                }
                for (at, point) in row.iter().enumerate() {
                    self.x[*point] = (right[at] + left[at]) / 2.0;
                }
            }
        }
        let leftmost =
            (0..self.x.len()).map(|point| self.x[point] - half(point)).fold(f64::INFINITY, f64::min);
        self.x.iter_mut().for_each(|x| *x += MARGIN - leftmost);
    }

    fn y(&self, point: usize) -> f64 {
        MARGIN + BOX.1 / 2.0 + self.layer[point] as f64 * (BOX.1 + GAP.1)
    }

    fn size(&self) -> (f64, f64) {
        let right = |point: usize| self.x[point] + if point < self.boxes { BOX.0 / 2.0 } else { LANE };
        let width = (0..self.x.len()).map(right).fold(BOX.0, f64::max);
        let height = (0..self.boxes).map(|point| self.y(point) + BOX.1 / 2.0).fold(BOX.1, f64::max);
        (width + MARGIN, height + MARGIN)
    }

    fn boxes(&self) -> Vec<(f64, f64)> {
        (0..self.boxes).map(|point| (self.x[point], self.y(point))).collect()
    }

    /// The curve of each arrow: from the bottom of a box, straight through lanes, to the top of another.
    fn paths<'a>(&self, arrows: &'a [Arrow]) -> Vec<(&'a Arrow, String)> {
        let path = |arrow: &'a Arrow| {
            let route = self.route(arrow);
            let mut at = (self.x[arrow.from], self.y(arrow.from) + BOX.1 / 2.0);
            let mut path = format!("M{:.1} {:.1}", at.0, at.1);
            for point in &route[1..] {
                let to = (self.x[*point], self.y(*point) - BOX.1 / 2.0);
                let middle = (at.1 + to.1) / 2.0;
                put(
                    &mut path,
                    format_args!("C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}", at.0, to.0, to.0, to.1),
                );
                at = to;
                if *point >= self.boxes {
                    at.1 += BOX.1;
                    put(&mut path, format_args!("V{:.1}", at.1));
                }
            }
            (arrow, path)
        };
        arrows.iter().map(path).collect()
    }
}

fn mean(points: &[usize], places: &[f64]) -> Option<f64> {
    let sum: f64 = points.iter().map(|point| places[*point]).sum();
    (!points.is_empty()).then(|| sum / points.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn boxes_of_a_layer_keep_apart_and_arrows_point_down(pairs in prop::collection::vec((0usize..20, 0usize..20), 0..60)) {
            let arrows: Vec<Arrow> = pairs
                .into_iter()
                .filter(|(a, b)| a != b)
                .map(|(a, b)| Arrow { from: a.min(b), to: a.max(b), label: String::new() })
                .collect();
            let layout = Layout::new(20, &arrows);
            let boxes = layout.boxes();
            let (width, height) = layout.size();
            for (at, a) in boxes.iter().enumerate() {
                prop_assert!(a.0 >= BOX.0 / 2.0 && a.0 <= width - BOX.0 / 2.0 && a.1 <= height);
                for b in &boxes[at + 1..] {
                    prop_assert!(a.1 != b.1 || (a.0 - b.0).abs() >= BOX.0 + GAP.0 - 1e-6);
                }
            }
            for arrow in &arrows {
                prop_assert!(boxes[arrow.from].1 < boxes[arrow.to].1);
            }
        }
    }

    #[test]
    fn a_chain_is_straight() {
        let arrows: Vec<Arrow> =
            (0..4).map(|at| Arrow { from: at, to: at + 1, label: String::new() }).collect();
        let boxes = Layout::new(5, &arrows).boxes();
        assert!(boxes.iter().all(|place| (place.0 - boxes[0].0).abs() < 1e-6));
    }
}
