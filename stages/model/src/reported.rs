//! The metrics that stage types report. Each is defined once, in a list of its stage type: `Stage::metrics` takes
//! names from it, and reports go through it, so that neither can name a metric that the other does not have.

use pipe_stage::{Better, Metric, Share};

/// A metric of a stage type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    better: Better,
    is_by_clock: bool,
}

impl Reported {
    /// A metric of which neither more nor less is better.
    pub(crate) const fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Neutral, is_by_clock: false }
    }

    pub(crate) const fn higher_is_better(mut self) -> Self {
        self.better = Better::Higher;
        self
    }

    pub(crate) const fn lower_is_better(mut self) -> Self {
        self.better = Better::Lower;
        self
    }

    pub(crate) const fn by_clock(mut self) -> Self {
        self.is_by_clock = true;
        self
    }

    pub(crate) fn metric(&self, value: f64) -> Metric {
        let metric = Metric::new(self.name, value, self.unit);
        let metric = match self.better {
            Better::Neutral => metric,
            Better::Higher => metric.higher_is_better(),
            Better::Lower => metric.lower_is_better(),
        };
        if self.is_by_clock { metric.by_clock() } else { metric }
    }
}

/// Reports a group of metrics.
pub(crate) fn report<const N: usize>(share: &mut Share, group: &[Reported; N], values: [f64; N]) {
    group.iter().zip(values).for_each(|(reported, value)| share.metric(reported.metric(value)));
}

/// The names of groups of metrics.
pub(crate) fn names<'a>(groups: impl IntoIterator<Item = &'a [Reported]>) -> Vec<String> {
    groups.into_iter().flatten().map(|reported| reported.name.to_owned()).collect()
}
