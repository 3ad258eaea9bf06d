//! Owns: series as curves, drawn by plotters. Colours are placeholders, `#010101` for the first series and so on,
//! which the page's style sheet replaces, so that curves are readable in light and dark mode.

use super::escape;
use crate::{run::seen::Series, ui::units::figure};
use pipe_stage::Metric;
use plotters::backend::SVGBackend;
use plotters::{
    chart::ChartBuilder,
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::Circle,
    series::LineSeries,
    style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle},
};
use std::collections::{BTreeMap, BTreeSet};

/// Approximate number of points to draw per curve; a screen cannot show more.
const POINTS_MAX: usize = 800;
/// Maximum number of curves in a picture.
const CURVES_MAX: usize = 4;
/// Longer curves are smoothed; their points are drawn faintly.
const SMOOTH_FROM: usize = 60;

const GRID: RGBColor = RGBColor(0xe0, 0xe0, 0xe1);
const AXIS: RGBColor = RGBColor(0x90, 0xa0, 0xb0);

/// Draws all series of a stage; series whose names begin with the same word share a picture.
pub(super) fn plots(series: &Series, metrics: &[Metric]) -> Vec<String> {
    // `val_loss` belongs to `loss`, and so do `loss.en` and `loss.de`.
    let of_set = |name: &'_ str| {
        ["train_", "val_", "test_"].into_iter().find(|set| name.starts_with(set)).map_or(0, str::len)
    };
    let word = |name: &str| name[of_set(name)..].split(['_', '.', '/']).next().unwrap_or_default().to_owned();
    // The loss comes first, since it is the most important.
    let mut groups: BTreeMap<(bool, String), Vec<Curve<'_>>> = BTreeMap::new();
    for (name, points) in series {
        let points: Vec<(f64, f64)> = points
            .iter()
            .filter(|(_, value)| value.is_finite() && value.abs() < 1e30)
            .map(|(step, value)| (*step as f64, *value))
            .collect();
        if points.len() >= 2 {
            let word = word(name);
            groups.entry((word != "loss", word)).or_default().push(Curve { name, points });
        }
    }
    let unit = |curves: &[Curve<'_>]| {
        let names: BTreeSet<&str> = curves.iter().map(|curve| curve.name).collect();
        metrics.iter().find(|metric| names.contains(metric.name.as_str())).map_or("", |metric| &metric.unit)
    };
    let pictures = groups.iter().flat_map(|((_, word), curves)| {
        curves.chunks(CURVES_MAX).map(move |curves| (word, curves, unit(curves)))
    });
    pictures
        .enumerate()
        .filter_map(|(position, (word, curves, unit))| {
            let is_first = position == 0;
            let title = if let [only] = curves { only.name } else { word };
            let size = if is_first { (1040, 340) } else { (520, 250) };
            // A curve that cannot be drawn is omitted; the table has its values.
            let svg = draw(curves, title, unit, size).ok()?;
            Some(frame(&svg, curves, title, is_first))
        })
        .collect()
}

struct Curve<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

fn frame(svg: &str, curves: &[Curve<'_>], title: &str, is_first: bool) -> String {
    let keys: String = curves
        .iter()
        .enumerate()
        .filter(|_| curves.len() > 1)
        .map(|(number, curve)| {
            format!(
                "<span class=\"key\" style=\"--color:var(--series-{})\">{}</span>",
                number + 1,
                escape(curve.name)
            )
        })
        .collect();
    let title = escape(title);
    let svg = svg.replacen("<svg ", &format!("<svg class=\"plot\" role=\"img\" aria-label=\"{title}\" "), 1);
    let class = if is_first { " class=\"first\"" } else { "" };
    format!("<figure{class}><figcaption>{title}{keys}</figcaption>\n{svg}</figure>\n")
}

fn draw(
    curves: &[Curve<'_>],
    title: &str,
    unit: &str,
    size: (u32, u32),
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        chart(&area, curves, title, unit)?;
        area.present()?;
    }
    Ok(svg)
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    curves: &[Curve<'_>],
    title: &str,
    unit: &str,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let steps = span(all().map(|(step, _)| step), 0.0);
    let values = span(all().map(|(_, value)| value), 0.04);
    let text = |size: i32| -> TextStyle<'static> { ("sans-serif", size).into_font().into() };
    let mut chart = ChartBuilder::on(area)
        .margin_top(12)
        .margin_right(18)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(steps.0..steps.1, values.0..values.1)?;
    let about = if unit.is_empty() { title.to_owned() } else { format!("{title} ({unit})") };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(ShapeStyle::from(GRID.mix(0.0)))
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .label_style(text(12))
        .axis_desc_style(text(12))
        .x_desc("step")
        .y_desc(about)
        .x_labels(if area.dim_in_pixel().0 > 700 { 10 } else { 6 })
        .y_labels(5)
        .x_label_formatter(&|step| figure(*step))
        .y_label_formatter(&|value| tick(*value, values.1 - values.0))
        .draw()?;
    for (number, curve) in curves.iter().enumerate() {
        let mark = number as u8 + 1;
        let colour = RGBColor(mark, mark, mark);
        let points = thinned(&curve.points);
        if points.len() >= SMOOTH_FROM {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.mix(0.3).stroke_width(1)))?;
            chart.draw_series(LineSeries::new(smoothed(&points), colour.stroke_width(2)))?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            if points.len() <= 12 {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
    }
    Ok(())
}

/// Minimum and maximum with a margin; far enough apart for ticks to fit between them.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let width = high - low;
    let least = low.abs().max(high.abs()).max(1e-9) * 1e-3;
    let pad = if width < least { least } else { width * margin };
    (low - pad, high + pad)
}

/// A tick's value with enough digits to distinguish it from its neighbours.
fn tick(value: f64, width: f64) -> String {
    if value.abs() < width * 1e-9 {
        return "0".to_owned();
    }
    if value.abs() >= 1e6 || value.abs() < 1e-3 {
        return format!("{value:.1e}");
    }
    let digits = (1.0 - (width / 5.0).log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The minimum and maximum of each section, so that peaks remain visible.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS_MAX / 2);
    let ends = |stretch: &[(f64, f64)]| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut ends: Vec<(f64, f64)> = [stretch.iter().min_by(by_value), stretch.iter().max_by(by_value)]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    points.chunks(stretch).flat_map(ends).collect()
}

/// The moving mean over a window of a twentieth of the curve.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = (points.len() / 40).max(1);
    let mean = |at: usize| {
        // Symmetric, so that the ends are not biased.
        let reach = half.min(at).min(points.len() - 1 - at);
        let window = &points[at - reach..=at + reach];
        window.iter().map(|(_, value)| value).sum::<f64>() / window.len() as f64
    };
    (0..points.len()).map(|at| (points[at].0, mean(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_curve_keeps_its_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (f64::from(step), 1.0)).collect();
        points[54_321].1 = 9.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= POINTS_MAX && thinned.contains(&(54_321.0, 9.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn series_of_one_word_share_a_picture_and_the_loss_comes_first() {
        let points = BTreeMap::from([(0, 1.0), (1, 2.0)]);
        let names = ["gradient_norm", "loss", "val_loss", "lr"];
        let series = names.map(|name| (name.to_owned(), points.clone())).into();
        let plots = plots(&series, &[Metric::new("val_loss", 1.0, "nat/token")]);
        assert_eq!(plots.len(), 3);
        assert!(plots[0].contains("loss (nat/token)") && plots[0].contains(">val_loss</span>"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_series_is_drawn_or_left_out(points: BTreeMap<u64, f64>, near in any::<f64>()) {
            let close = (0..5).map(|step| (step, near + step as f64 * f64::EPSILON)).collect();
            let series = Series::from([("a".to_owned(), points), ("b".to_owned(), close)]);
            plots(&series, &[]);
        }
    }
}
