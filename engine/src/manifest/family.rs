//! Owns: families: the stages of an entry with a matrix, and how they are matched with the stages of another family.

use crate::manifest::{
    fault::{Code, Fault},
    need::Wanted,
    node::Node,
    source::Span,
};
use std::{collections::HashSet, sync::Arc};

/// An axis of a matrix.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Its name: `lr`.
    pub name: Arc<str>,
    /// Its values, as written in stage names: `1e-3`.
    pub values: Vec<String>,
    pub(super) nodes: Vec<Node>,
    pub(super) place: Span,
}

/// The stages of an entry in the manifest; one if it has no matrix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family {
    pub(crate) axes: Vec<Arc<Axis>>,
    /// Whether an error was reported, so that the axes are unknown.
    pub(crate) is_broken: bool,
}

impl Axis {
    pub(super) fn position(&self, value: &str) -> Option<usize> {
        self.values.iter().position(|known| known == value)
    }

    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        let known: HashSet<&str> = self.values.iter().map(String::as_str).collect();
        other.values.iter().all(|value| known.contains(value.as_str()))
    }
}

impl Family {
    /// Number of stages.
    pub(crate) fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }

    /// Position of a stage's value on each axis.
    fn digits(&self, stage: usize) -> Vec<usize> {
        let mut rest = stage;
        let mut digits: Vec<usize> = self
            .axes
            .iter()
            .rev()
            .map(|axis| {
                let digit = rest % axis.values.len();
                rest /= axis.values.len();
                digit
            })
            .collect();
        digits.reverse();
        digits
    }

    /// The suffix of a stage's name: `[lr=1e-3,seed=1]`; empty without axes.
    pub(crate) fn suffix(&self, stage: usize) -> String {
        let pairs = self.values(stage).map(|(axis, value)| format!("{axis}={value}"));
        match self.axes.is_empty() {
            true => String::new(),
            false => format!("[{}]", pairs.collect::<Vec<_>>().join(",")),
        }
    }

    /// A stage's values by axis, as written in names.
    pub(crate) fn values(&self, stage: usize) -> impl Iterator<Item = (&str, &str)> {
        let digits = self.digits(stage);
        self.axes.iter().zip(digits).map(|(axis, digit)| (&*axis.name, axis.values[digit].as_str()))
    }

    /// A stage's values by axis, with their types.
    pub(crate) fn nodes(&self, stage: usize) -> Vec<(Arc<str>, &Node)> {
        let digits = self.digits(stage);
        self.axes.iter().zip(digits).map(|(axis, digit)| (axis.name.clone(), &axis.nodes[digit])).collect()
    }

    pub(super) fn longest_suffix(&self) -> Option<usize> {
        let longest = |axis: &Arc<Axis>| {
            axis.values.iter().map(String::len).max().map(|value| axis.name.len() + 2 + value)
        };
        self.axes.iter().map(longest).sum()
    }

    /// Number of stages of `other` that each stage of this family depends on.
    pub(crate) fn met(&self, wanted: &Wanted, other: &Self) -> usize {
        let is_free = |(position, axis): &(usize, &Arc<Axis>)| {
            !wanted.picks.iter().any(|(picked, _)| picked == position)
                && !self.axes.iter().any(|own| own.name == axis.name)
        };
        other.axes.iter().enumerate().filter(is_free).map(|(_, axis)| axis.values.len()).product()
    }

    /// The stages of `other` that a stage of this family depends on, and how they differ: `seed=1`.
    pub(crate) fn meet(&self, stage: usize, wanted: &Wanted, other: &Self) -> Vec<(usize, String)> {
        let digits = self.digits(stage);
        let own = |axis: &Arc<Axis>| {
            let (own, digit) = self.axes.iter().zip(&digits).find(|(own, _)| own.name == axis.name)?;
            if Arc::ptr_eq(own, axis) { Some(*digit) } else { axis.position(&own.values[*digit]) }
        };
        let mut met = vec![(0, String::new())];
        for (position, axis) in other.axes.iter().enumerate() {
            let pick = wanted.picks.iter().find(|(axis, _)| *axis == position).map(|(_, value)| *value);
            let size = axis.values.len();
            match pick.or_else(|| own(axis)) {
                Some(digit) => met.iter_mut().for_each(|(index, _)| *index = *index * size + digit),
                None => {
                    let each = |(index, suffix): (usize, String)| {
                        let between = if suffix.is_empty() { "" } else { "," };
                        axis.values.iter().enumerate().map(move |(digit, value)| {
                            (index * size + digit, format!("{suffix}{between}{}={value}", axis.name))
                        })
                    };
                    met = met.into_iter().flat_map(each).collect();
                }
            }
        }
        met
    }

    /// Finds positions of the axes and values that a name selects.
    pub(crate) fn picks(&self, base: &str, picks: &[(&str, &str)]) -> Result<Vec<(usize, usize)>, Fault> {
        let find = |(name, value): &(&str, &str)| {
            let Some(position) = self.axes.iter().position(|axis| &*axis.name == *name) else {
                let fault =
                    Fault::new(Code::UnknownAxis, format!("`{base}` has no axis `{name}`"), "no such axis");
                return Err(fault.nearest(name, self.axes.iter().map(|axis| &*axis.name)));
            };
            let axis = &self.axes[position];
            let Some(digit) = axis.position(value) else {
                let message = format!("`{base}` has no stage with `{name}={value}`");
                let fault = Fault::new(Code::UnknownStage, message, "no such value");
                return Err(fault.nearest(value, axis.values.iter().map(String::as_str)));
            };
            Ok((position, digit))
        };
        picks.iter().map(find).collect()
    }

    /// Lists the stages that match a selection.
    pub(crate) fn picked(&self, picks: &[(usize, usize)]) -> Vec<usize> {
        let agrees = |stage: &usize| {
            let digits = self.digits(*stage);
            picks.iter().all(|(axis, value)| digits[*axis] == *value)
        };
        (0..self.count()).filter(agrees).collect()
    }
}
