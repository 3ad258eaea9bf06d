//! Owns: the inputs and outputs of a stage, by name and kind.

use pipe_stage::{Direction, Port};
use std::borrow::Cow;

/// The ports of one stage.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Its inputs.
    pub inputs: Inputs,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Inputs that the config refers to: field and name.
    pub named: Vec<(String, String)>,
}

/// The inputs of a stage.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// These, in this order.
    Listed(Vec<Input>),
    /// Any number, of any kind, under any name.
    Any,
}

/// One input.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Name of its kind.
    pub kind: Cow<'static, str>,
    /// Whether it takes any number of stages.
    pub many: bool,
    /// Whether it may be omitted.
    pub optional: bool,
}

/// One output.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Name of its kind.
    pub kind: Cow<'static, str>,
    /// Whether the stage's name alone refers to it.
    pub main: bool,
}

impl Ports {
    pub(super) fn fixed(ports: &'static [Port]) -> Self {
        let of = |direction| ports.iter().filter(move |port| port.direction == direction);
        let input = |port: &Port| Input {
            name: port.name.into(),
            kind: port.kind.name.into(),
            many: port.many,
            optional: port.optional,
        };
        let output =
            |port: &Port| Output { name: port.name.into(), kind: port.kind.name.into(), main: port.main };
        Self {
            inputs: Inputs::Listed(of(Direction::Input).map(input).collect()),
            outputs: of(Direction::Output).map(output).collect(),
            named: Vec::new(),
        }
    }

    pub(super) fn own(outputs: Vec<(String, String)>) -> Self {
        let output =
            |(name, kind): (String, String)| Output { name: name.into(), kind: kind.into(), main: false };
        let outputs = outputs.into_iter().map(output).collect();
        Self { inputs: Inputs::Any, outputs, named: Vec::new() }
    }

    /// Finds the output that the stage's name alone refers to: the main output, or the only one.
    pub fn main_output(&self) -> Option<&Output> {
        let only = || if let [only] = &self.outputs[..] { Some(only) } else { None };
        self.outputs.iter().find(|output| output.main).or_else(only)
    }
}
