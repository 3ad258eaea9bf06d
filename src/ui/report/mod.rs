//! Owns: a run as one HTML page that needs nothing beside it: no network, no script, no other file. Decides
//! nothing; text from data is escaped.

mod dag;

mod plot;

use super::{
    table::{heading, spread, title},
    units::{bytes, figure, seconds},
};
use crate::{
    figures::{Comparison, Member, compare},
    manifest::picked_by,
    run::{RowOutcome, folder::RunState, seen::Series},
};
use dag::{Arrow, Node};
use indexmap::IndexMap;
use pipe_stage::{Better, Metric};
use serde_json::Value;
use std::fmt::Write;

/// What a page shows.
#[derive(Debug)]
pub struct Report {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub state: RunState,
    /// When it began, RFC 3339.
    pub began: String,
    /// How long it took.
    pub seconds: f64,
    /// Where it ran.
    pub host: String,
    /// Version of `pipe`.
    pub code: String,
    /// In running order.
    pub stages: Vec<ReportStage>,
}

/// What a page shows of a stage.
#[derive(Debug, Default)]
pub struct ReportStage {
    /// Its name.
    pub name: String,
    /// Its type.
    pub uses: String,
    /// What flows into it.
    pub needs: Vec<Inflow>,
    /// What became of it; nothing if it was not reached.
    pub outcome: Option<RowOutcome>,
    /// Seconds of wall time, bytes of memory at the peak, bytes of what it made; of a stage that is done.
    pub took: Option<(f64, u64, u64)>,
    /// Figures.
    pub metrics: Vec<Metric>,
    /// The config without defaults.
    pub config: Value,
    /// Its series.
    pub series: Series,
    /// A look into each output.
    pub looks: Vec<Look>,
    /// Why it failed, and the end of its log.
    pub failed: Option<(String, String)>,
}

/// An artifact that flows into a stage.
#[derive(Debug)]
pub struct Inflow {
    /// Position of the stage that it comes from.
    pub from: usize,
    /// Which of its outputs.
    pub output: String,
    /// Into which input.
    pub input: String,
}

/// A look into an output.
#[derive(Debug)]
pub struct Look {
    /// Which output.
    pub port: String,
    /// Its kind.
    pub kind: String,
    /// What can be seen.
    pub text: String,
}

/// Outputs of this name are shown unfolded.
const SAMPLES: &str = "samples";
/// Figures of this form count what a rule dropped.
const DROPPED: &str = "dropped.";
/// Larger graphs are no picture any more.
const PICTURE_STAGES_MAX: usize = 300;

impl Report {
    /// Draws the page.
    pub fn html(&self) -> String {
        let mut page = Page::default();
        page.put(format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{0} · {1}</title>\n<style>\n{2}</style>\n</head>\n<body>\n<main>\n",
            escape(&self.pipeline),
            escape(&self.run),
            include_str!("style.css")
        ));
        self.heading(&mut page);
        self.failures(&mut page);
        self.highlights(&mut page);
        self.picture(&mut page);
        self.table(&mut page);
        self.comparisons(&mut page);
        self.curves(&mut page);
        self.drops(&mut page);
        self.samples(&mut page);
        self.details(&mut page);
        page.put(format_args!(
            "<footer>Made by pipe {} from the run’s records. Times and memory of a cached stage are those of \
             the run that made it.</footer>\n</main>\n</body>\n</html>\n",
            escape(&self.code)
        ));
        page.0
    }

    fn heading(&self, page: &mut Page) {
        page.put(format_args!(
            "<header>\n<p class=\"over\">Run report</p>\n<h1>{} <span class=\"badge {}\">{}</span></h1>\n<dl class=\"facts\">\n",
            escape(&self.pipeline),
            class(self.state),
            self.state.as_str()
        ));
        let count =
            |wanted: RowOutcome| self.stages.iter().filter(|stage| stage.outcome == Some(wanted)).count();
        let began = self.began.get(..19).unwrap_or(&self.began).replace('T', " ") + " UTC";
        let stages = format!("{} ran, {} cached", count(RowOutcome::Ran), count(RowOutcome::Cached));
        for (name, value) in [
            ("Began", began),
            ("Took", seconds(self.seconds)),
            ("Stages", stages),
            ("Machine", self.host.clone()),
            ("Run", self.run.clone()),
        ] {
            page.put(format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value)));
        }
        page.text("</dl>\n</header>\n");
    }

    fn failures(&self, page: &mut Page) {
        for stage in &self.stages {
            let Some((error, tail)) = &stage.failed else { continue };
            page.put(format_args!(
                "<section class=\"failure\">\n<h2>{} failed</h2>\n<p>{}</p>\n",
                escape(&stage.name),
                escape(error)
            ));
            if !tail.trim().is_empty() {
                page.put(format_args!("<pre>{}</pre>\n", escape(tail.trim_end())));
            }
            page.text("</section>\n");
        }
    }

    /// The figures that judge: one for each stage that has any, the last stages first.
    fn highlights(&self, page: &mut Page) {
        const CARDS_MAX: usize = 4;
        let judged = self.stages.iter().rev().filter_map(|stage| {
            let metric = stage.metrics.iter().find(|metric| is_judging(metric))?;
            Some((stage, metric))
        });
        let mut cards: Vec<_> = judged.take(CARDS_MAX).collect();
        cards.reverse();
        if cards.is_empty() {
            return;
        }
        page.text("<section class=\"cards\">\n");
        for (stage, metric) in cards {
            let better = match metric.better {
                Better::Higher => "higher is better",
                Better::Lower => "lower is better",
                Better::Neutral => "",
            };
            page.put(format_args!(
                "<div class=\"card\"><p class=\"over\">{}</p><p class=\"big\">{} <small>{}</small></p><p class=\"under\">{}, {better}</p></div>\n",
                escape(&stage.name),
                figure(metric.value),
                escape(&metric.unit),
                escape(&metric.name)
            ));
        }
        page.text("</section>\n");
    }

    fn picture(&self, page: &mut Page) {
        page.text("<section>\n<h2>Stages</h2>\n");
        if self.stages.len() > PICTURE_STAGES_MAX {
            page.put(format_args!(
                "<p class=\"note\">{} stages are too many for a picture; <code>pipe graph --as dot</code> gives them to Graphviz.</p>\n",
                self.stages.len()
            ));
        } else {
            let node = |(number, stage): (usize, &ReportStage)| {
                let picked = picked_by(&stage.name).map(|(base, values)| {
                    let values = values.iter().map(|(axis, value)| format!("{axis}={value}"));
                    (base.to_owned(), values.collect::<Vec<_>>().join(", "))
                });
                // What tells stages of a matrix apart fits no title.
                let (title, subtitle) = picked.unwrap_or_else(|| {
                    let took = stage.took.map(|(took, ..)| format!(" · {}", seconds(took)));
                    (stage.name.clone(), format!("{}{}", stage.uses, took.unwrap_or_default()))
                });
                let (class, link) = (outcome_word(stage.outcome), format!("#s{number}"));
                Node { title, subtitle, class, link }
            };
            let arrows = self.stages.iter().enumerate().flat_map(|(to, stage)| {
                stage.needs.iter().map(move |need| Arrow {
                    from: need.from,
                    to,
                    label: format!(
                        "{}.{} → {}.{}",
                        self.stages[need.from].name, need.output, stage.name, need.input
                    ),
                })
            });
            let nodes: Vec<Node> = self.stages.iter().enumerate().map(node).collect();
            page.put(format_args!(
                "<div class=\"picture\">{}</div>\n",
                dag::svg(&nodes, &arrows.collect::<Vec<_>>())
            ));
        }
        page.text("</section>\n");
    }

    fn table(&self, page: &mut Page) {
        page.text(
            "<section>\n<div class=\"scroll\"><table>\n<thead><tr><th>stage</th><th>type</th><th>outcome</th>\
             <th class=\"n\">time</th><th class=\"n\">peak memory</th><th class=\"n\">output</th>\
             <th>main figures</th></tr></thead>\n<tbody>\n",
        );
        for (number, stage) in self.stages.iter().enumerate() {
            let word = outcome_word(stage.outcome);
            let (time, memory, output) = match stage.took {
                Some((took, memory, output)) => (seconds(took), bytes(memory), bytes(output)),
                None => Default::default(),
            };
            page.put(format_args!(
                "<tr id=\"s{number}\"><td><b>{}</b></td><td>{}</td><td class=\"word\"><span class=\"dot {word}\"></span>{word}</td>\
                 <td class=\"n\">{time}</td><td class=\"n\">{memory}</td><td class=\"n\">{output}</td><td>{}</td></tr>\n",
                escape(&stage.name),
                escape(&stage.uses),
                main_figures(&stage.metrics)
            ));
        }
        let total: f64 = self
            .stages
            .iter()
            .filter(|stage| stage.outcome == Some(RowOutcome::Ran))
            .filter_map(|stage| stage.took.map(|(took, ..)| took))
            .sum();
        page.put(format_args!(
            "</tbody>\n<tfoot><tr><td colspan=\"3\">work of this run</td><td class=\"n\">{}</td><td colspan=\"3\"></td></tr></tfoot>\n</table></div>\n</section>\n",
            seconds(total)
        ));
    }

    /// The stages of each matrix side by side.
    fn comparisons(&self, page: &mut Page) {
        let mut families: IndexMap<&str, Vec<Member<'_>>> = IndexMap::new();
        for stage in self.stages.iter().filter(|stage| stage.took.is_some()) {
            if let Some((base, values)) = picked_by(&stage.name) {
                families.entry(base).or_default().push(Member { values, metrics: stage.metrics.clone() });
            }
        }
        let all: Vec<_> = families.iter().filter_map(|(name, members)| compare(name, members)).collect();
        if all.is_empty() {
            return;
        }
        page.text("<section>\n<h2>Side by side</h2>\n");
        for compared in &all {
            let Comparison { axes, columns, rows, .. } = compared;
            page.put(format_args!(
                "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr>",
                escape(&title(compared))
            ));
            axes.iter().for_each(|axis| page.put(format_args!("<th>{}</th>", escape(axis))));
            columns.iter().for_each(|column| {
                page.put(format_args!("<th class=\"n\">{}</th>", escape(&heading(column))))
            });
            page.text("</tr></thead>\n<tbody>\n");
            for row in rows {
                page.text("<tr>");
                row.values.iter().for_each(|value| page.put(format_args!("<td>{}</td>", escape(value))));
                for figure in &row.figures {
                    page.put(format_args!("<td class=\"n\">{}</td>", spread(*figure, row, compared)));
                }
                page.text("</tr>\n");
            }
            page.text("</tbody>\n</table></div>\n");
        }
        page.text("</section>\n");
    }

    fn curves(&self, page: &mut Page) {
        let with_series: Vec<_> = self.stages.iter().filter(|stage| !stage.series.is_empty()).collect();
        if with_series.is_empty() {
            return;
        }
        page.text("<section>\n<h2>Curves</h2>\n");
        for stage in with_series {
            page.put(format_args!("<h3>{}</h3>\n<div class=\"plots\">\n", escape(&stage.name)));
            for plot in plot::plots(&stage.series, &stage.metrics) {
                page.text(&plot);
            }
            page.text("</div>\n");
        }
        page.text("</section>\n");
    }

    fn drops(&self, page: &mut Page) {
        let dropping: Vec<(&ReportStage, Vec<(&str, f64)>)> = self
            .stages
            .iter()
            .map(|stage| {
                let rule = |metric: &'_ Metric| metric.name.starts_with(DROPPED);
                let rules = stage.metrics.iter().filter(|metric| rule(metric));
                (stage, rules.map(|metric| (&metric.name[DROPPED.len()..], metric.value)).collect::<Vec<_>>())
            })
            .filter(|(_, rules)| !rules.is_empty())
            .collect();
        if dropping.is_empty() {
            return;
        }
        page.text("<section>\n<h2>Dropped, by rule</h2>\n");
        for (stage, mut rules) in dropping {
            rules.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
            let most = rules.iter().map(|(_, count)| *count).fold(0.0, f64::max);
            page.put(format_args!(
                "<h3>{}</h3>\n<div class=\"scroll\"><table class=\"bars\">\n<thead><tr><th>rule</th><th class=\"n\">dropped</th><th></th></tr></thead>\n<tbody>\n",
                escape(&stage.name)
            ));
            for (rule, count) in rules {
                let part = if most > 0.0 { (100.0 * count / most).clamp(0.0, 100.0) } else { 0.0 };
                page.put(format_args!(
                    "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"wide\"><div class=\"bar\" style=\"width:{part:.1}%\"></div></td></tr>\n",
                    escape(rule),
                    figure(count)
                ));
            }
            page.text("</tbody>\n</table></div>\n");
        }
        page.text("</section>\n");
    }

    fn samples(&self, page: &mut Page) {
        let is_sample = |look: &&Look| look.port == SAMPLES && !look.text.trim().is_empty();
        let sampled =
            || self.stages.iter().flat_map(|stage| stage.looks.iter().map(move |look| (stage, look)));
        if !sampled().any(|(_, look)| is_sample(&look)) {
            return;
        }
        page.text("<section>\n<h2>Samples</h2>\n");
        for (stage, look) in sampled().filter(|(_, look)| is_sample(look)) {
            page.put(format_args!(
                "<h3>{}</h3>\n<pre class=\"sample\">{}</pre>\n",
                escape(&stage.name),
                escape(look.text.trim_end())
            ));
        }
        page.text("</section>\n");
    }

    fn details(&self, page: &mut Page) {
        page.text("<section>\n<h2>Stage by stage</h2>\n");
        for stage in &self.stages {
            page.put(format_args!(
                "<details>\n<summary><b>{}</b> <span class=\"quiet\">{}</span></summary>\n",
                escape(&stage.name),
                escape(&stage.uses)
            ));
            if stage.config.as_object().is_some_and(|config| !config.is_empty()) {
                let config = serde_json::to_string_pretty(&stage.config).unwrap_or_default();
                page.put(format_args!(
                    "<h4>settings other than the defaults</h4>\n<pre>{}</pre>\n",
                    escape(&config)
                ));
            }
            if !stage.metrics.is_empty() {
                page.text("<h4>figures</h4>\n<div class=\"scroll\"><table class=\"slim\"><tbody>\n");
                for metric in &stage.metrics {
                    page.put(format_args!(
                        "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"quiet\">{}</td></tr>\n",
                        escape(&metric.name),
                        figure(metric.value),
                        escape(&metric.unit)
                    ));
                }
                page.text("</tbody></table></div>\n");
            }
            for look in stage.looks.iter().filter(|look| look.port != SAMPLES) {
                page.put(format_args!(
                    "<h4>{} <span class=\"quiet\">{}</span></h4>\n<pre>{}</pre>\n",
                    escape(&look.port),
                    escape(&look.kind),
                    escape(look.text.trim_end())
                ));
            }
            page.text("</details>\n");
        }
        page.text("</section>\n");
    }
}

fn is_judging(metric: &Metric) -> bool {
    !metric.clock && metric.better != Better::Neutral
}

/// Up to three figures: those that judge, else the first.
fn main_figures(metrics: &[Metric]) -> String {
    const FIGURES_MAX: usize = 3;
    let mut shown: Vec<&Metric> =
        metrics.iter().filter(|metric| is_judging(metric)).take(FIGURES_MAX).collect();
    if shown.is_empty() {
        shown.extend(metrics.iter().find(|metric| !metric.clock));
    }
    let told = |metric: &&Metric| {
        let (name, unit) = (escape(&metric.name), escape(&metric.unit));
        let unit = if unit.is_empty() { unit } else { format!(" {unit}") };
        format!(
            "<span class=\"figure\"><span class=\"quiet\">{name}</span> {}{unit}</span>",
            figure(metric.value)
        )
    };
    shown.iter().map(told).collect::<Vec<_>>().join(" ")
}

fn class(state: RunState) -> &'static str {
    match state {
        RunState::Done => "ran",
        RunState::Running => "cached",
        RunState::Failed | RunState::BrokenOff => "failed",
        RunState::Interrupted => "interrupted",
    }
}

fn outcome_word(outcome: Option<RowOutcome>) -> &'static str {
    outcome.map_or("skipped", RowOutcome::as_str)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("invariant: a String takes all that is written");
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }
}

/// Makes text of data harmless in elements and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stages: Vec<ReportStage>) -> Report {
        Report {
            pipeline: "<b>p</b>".to_owned(),
            run: "2026-01-01T00-00-00Z-1".to_owned(),
            state: RunState::Done,
            began: "2026-01-01T00:00:00.000Z".to_owned(),
            seconds: 1.0,
            host: "h&h".to_owned(),
            code: "0".to_owned(),
            stages,
        }
    }

    #[test]
    fn text_from_data_is_escaped_wherever_it_stands() {
        let evil = "<script>alert(\"1\")</script>";
        let points = std::collections::BTreeMap::from([(1, 2.0), (2, f64::NAN), (3, 1.0)]);
        let stage = ReportStage {
            name: evil.to_owned(),
            uses: evil.to_owned(),
            outcome: Some(RowOutcome::Failed),
            metrics: vec![Metric::new(evil, 1.0, evil), Metric::new(format!("dropped.{evil}"), 1.0, evil)],
            config: serde_json::json!({ "x": evil }),
            series: Series::from([(evil.to_owned(), points)]),
            looks: ["samples", evil]
                .map(|port| Look {
                    port: port.to_owned(),
                    kind: evil.to_owned(),
                    text: format!("{evil}\u{1b}[0m"),
                })
                .into(),
            failed: Some((evil.to_owned(), evil.to_owned())),
            ..ReportStage::default()
        };
        let html = report(vec![stage]).html();
        assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
    }

    #[test]
    fn stages_of_a_matrix_stand_side_by_side() {
        let stage = |name: &str, loss: f64| ReportStage {
            name: name.to_owned(),
            took: Some((1.0, 1, 1)),
            metrics: vec![Metric::new("loss", loss, "nat").lower_is_better()],
            ..ReportStage::default()
        };
        let html =
            report(vec![stage("base[lr=1,seed=1]", 1.0), stage("base[lr=1,seed=2]", 3.0), stage("b", 9.0)]);
        let html = html.html();
        assert!(html.contains("base: mean ± standard deviation over 2 seeds"), "{html}");
        assert!(html.contains("<th class=\"n\">loss (nat)</th>") && html.contains("2 ± 1.4142"), "{html}");
    }

    #[test]
    fn a_page_needs_nothing_beside_it() {
        let html = report(vec![ReportStage { name: "a".to_owned(), ..ReportStage::default() }]).html();
        for word in ["src=", "url(h", "url(/", "@import", "<link", "<script"] {
            assert!(!html.contains(word), "{word}");
        }
        let addresses: Vec<&str> =
            html.split("http").skip(1).map(|rest| rest.get(..22).unwrap_or(rest)).collect();
        assert!(
            addresses.iter().all(|address| address.starts_with("://www.w3.org/2000/svg")),
            "{addresses:?}"
        );
    }
}
