//! Owns: `needs`: which output of which stage goes to which input. It knows ports and kinds only by name.

use crate::manifest::{
    family::Family,
    fault::{Code, Fault, Faults, nearest},
    name::Name,
    need::{Form, Need, Wanted},
    node::{Entry, Mapping, Node, NodeKind},
    ports::{Input, Inputs, Output, Ports},
    source::Span,
};
use std::collections::BTreeMap;

/// The dependencies of a stage.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) needs: BTreeMap<String, Vec<Wanted>>,
    /// Every stage that is named, and where, whether or not the port was correct.
    pub(crate) edges: Vec<(usize, Span)>,
}

/// All stages, for `needs`.
pub(crate) struct Stages<'a> {
    pub(crate) names: &'a Mapping,
    /// `None` if a stage's type or config is wrong; consequences are not reported again.
    pub(crate) ports: &'a [Option<Ports>],
    pub(crate) families: &'a [Family],
}

/// Resolves `needs: a`, `[a, b.train]`, `{ input: a.train }`, `{ input: [a, b] }` or `{ input: { x: a } }`.
///
/// `own` contains the ports of the stage; only its inputs matter.
pub(crate) fn resolve(
    stages: &Stages<'_>,
    index: usize,
    own: Option<&Ports>,
    faults: &mut Faults,
) -> Resolved {
    let entry = &stages.names[index];
    let mut resolver =
        Resolver { stages, own, faults, resolved: Resolved::default(), is_whole: true, tried: vec![] };
    let key = match entry.value.get("needs") {
        Some(Entry { key, value }) => {
            resolver.needs(value);
            *key
        }
        None => entry.key,
    };
    resolver.report_missing(key);
    resolver.resolved
}

struct Resolver<'a> {
    stages: &'a Stages<'a>,
    own: Option<&'a Ports>,
    faults: &'a mut Faults,
    resolved: Resolved,
    /// Whether every stage without a named input was assigned.
    is_whole: bool,
    /// Inputs that are named, whether or not they exist.
    tried: Vec<&'a str>,
}

/// The form of a list item.
fn listed(node: &Node) -> Form {
    match &node.kind {
        NodeKind::Scalar(scalar) => Form::Listed(scalar.text.to_string()),
        _ => Form::One,
    }
}

/// An output as written in `needs`.
struct Reference<'a> {
    stage: usize,
    output: &'a Output,
    picks: Vec<(usize, usize)>,
}

impl<'a> Resolver<'a> {
    fn needs(&mut self, needs: &'a Node) {
        match &needs.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => {}
            NodeKind::Scalar(_) => self.unnamed(needs, &|_| Form::Bare),
            NodeKind::Sequence(items) => items.iter().for_each(|item| self.unnamed(item, &listed)),
            NodeKind::Mapping(inputs) => {
                for (name, entry) in inputs {
                    self.tried.push(name);
                    self.named(name, entry);
                }
            }
            NodeKind::Broken => self.is_whole = false,
        }
    }

    /// Finds the input that an output fits: the only one of its kind, or the only one of these that is required.
    fn unnamed(&mut self, node: &'a Node, many: &dyn Fn(&Node) -> Form) {
        let Some(reference) = self.reference(node) else {
            self.is_whole = false;
            return;
        };
        match self.fitting(&reference) {
            Ok(None) => self.is_whole = false,
            Ok(Some(input)) => {
                let form = if input.many { many(node) } else { Form::One };
                self.add(&input.name, Some(input), reference, None, form, node.span);
            }
            Err(fault) => {
                self.is_whole = false;
                self.faults.push(fault.at(node.span));
            }
        }
    }

    fn fitting(&self, reference: &Reference<'_>) -> Result<Option<&'a Input>, Fault> {
        let (name, kind) = (self.name(reference.stage), &*reference.output.kind);
        let Some(own) = self.own else { return Ok(None) };
        let inputs = match &own.inputs {
            Inputs::Listed(inputs) => inputs,
            Inputs::Any => {
                let fault =
                    Fault::new(Code::AmbiguousNeed, "inputs of this stage need names", "give it a name");
                return Err(fault.help(format!("write `needs: {{ NAME: {name} }}`")));
            }
        };
        let fits: Vec<&Input> = inputs.iter().filter(|input| input.kind == reference.output.kind).collect();
        let mut required = fits.iter().filter(|input| !input.optional);
        if let (Some(input), None) = (required.next(), required.next()) {
            return Ok(Some(input));
        }
        match fits[..] {
            [input] => Ok(Some(input)),
            [] => {
                let message = format!("no input of this stage accepts `{name}`, which is of kind `{kind}`");
                Err(self
                    .wrong_kind(message, reference, |wanted| inputs.iter().any(|input| input.kind == wanted)))
            }
            [first, ..] => {
                let names: Vec<_> = fits.iter().map(|input| format!("`{}`", input.name)).collect();
                let message = format!("`{name}` is of kind `{kind}`, which {} inputs accept", fits.len());
                let fault =
                    Fault::new(Code::AmbiguousNeed, message, format!("{} accept it", names.join(", ")));
                Err(fault.help(format!("name the input: `needs: {{ {}: {name} }}`", first.name)))
            }
        }
    }

    /// Resolves the value under the name of an input.
    fn named(&mut self, name: &'a str, entry: &'a Entry) {
        let input = match self.own.map(|own| &own.inputs) {
            None => None,
            Some(Inputs::Any) => {
                if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.is_empty() {
                    let message = format!("`{name}` is not a valid input name");
                    let fault = Fault::new(Code::InvalidValue, message, "it becomes part of a variable name");
                    self.faults.push(fault.help("names consist of letters, digits and `_`").at(entry.key));
                }
                None
            }
            Some(Inputs::Listed(inputs)) => match inputs.iter().find(|input| input.name == name) {
                Some(input) => Some(input),
                None => {
                    let fault = Fault::new(Code::UnknownInput, format!("no input `{name}`"), "no such input");
                    let known = inputs.iter().map(|input| &*input.name);
                    self.faults.push(fault.nearest(name, known).at(entry.key));
                    return self.references_only(&entry.value);
                }
            },
        };
        // An input that accepts any kind takes many stages if it is given a list or a map.
        let takes_many = input.is_none_or(|input| input.many);
        match &entry.value.kind {
            NodeKind::Broken => {}
            NodeKind::Scalar(_) => {
                let form = if input.is_some_and(|input| input.many) { Form::Bare } else { Form::One };
                self.named_one(name, input, None, form, &entry.value);
            }
            NodeKind::Sequence(items) => {
                for item in items {
                    let form = if takes_many { listed(item) } else { Form::One };
                    self.named_one(name, input, None, form, item);
                }
            }
            NodeKind::Mapping(labels) => {
                if let Some(input) = input.filter(|input| !input.many) {
                    let message = format!("the input `{}` accepts a single stage", input.name);
                    let fault = Fault::new(Code::TooManyInputs, message, "several are given");
                    self.faults.push(fault.at(entry.value.span));
                    return self.references_only(&entry.value);
                }
                for (label, entry) in labels {
                    self.named_one(name, input, Some(label), Form::Labelled, &entry.value);
                }
            }
        }
    }

    fn named_one(
        &mut self,
        name: &str,
        input: Option<&'a Input>,
        label: Option<&str>,
        form: Form,
        node: &'a Node,
    ) {
        let Some(reference) = self.reference(node) else { return };
        if let Some(input) = input
            && input.kind != reference.output.kind
        {
            let (kind, from) = (&reference.output.kind, self.name(reference.stage));
            let output = &reference.output.name;
            let message = format!(
                "the input `{name}` accepts `{}`, but `{from}.{output}` is of kind `{kind}`",
                input.kind
            );
            let fault = self.wrong_kind(message, &reference, |wanted| input.kind == wanted);
            return self.faults.push(fault.at(node.span));
        }
        self.add(name, input, reference, label, form, node.span);
    }

    fn add(
        &mut self,
        name: &str,
        input: Option<&Input>,
        reference: Reference<'_>,
        label: Option<&str>,
        form: Form,
        place: Span,
    ) {
        let needs = self.resolved.needs.entry(name.to_owned()).or_default();
        if let Some(first) = needs.first()
            && input.is_some_and(|input| !input.many)
        {
            let fault = Fault::new(
                Code::TooManyInputs,
                format!("the input `{name}` accepts a single stage"),
                "a second one",
            );
            return self.faults.push(fault.at(place).also(first.need.place, "the first one"));
        }
        let need = Need {
            label: label.map(str::to_owned),
            stage: reference.stage,
            output: reference.output.name.to_string(),
            place,
        };
        needs.push(Wanted { need, form, picks: reference.picks });
    }

    /// Looks for unknown stages and outputs if the input is already wrong.
    fn references_only(&mut self, node: &'a Node) {
        let nodes: Vec<&Node> = match &node.kind {
            NodeKind::Scalar(_) => vec![node],
            NodeKind::Sequence(items) => items.iter().collect(),
            NodeKind::Mapping(labels) => labels.values().map(|entry| &entry.value).collect(),
            NodeKind::Broken => vec![],
        };
        for node in nodes {
            self.reference(node);
        }
    }

    /// Parses `stage` or `stage.output`.
    fn reference(&mut self, node: &'a Node) -> Option<Reference<'a>> {
        let scalar = match &node.kind {
            NodeKind::Scalar(scalar) if !scalar.is_null() => scalar,
            NodeKind::Broken => return None,
            _ => {
                let fault = Fault::new(
                    Code::WrongType,
                    "a dependency is written `stage` or `stage.output`",
                    "neither",
                );
                self.faults.push(fault.at(node.span));
                return None;
            }
        };
        let Some(Name { base: name, picks, output }) = Name::parse(&scalar.text) else {
            let message = format!("`{}` is not a stage name", scalar.text);
            let fault = Fault::new(Code::UnknownStage, message, "not a valid name");
            self.faults
                .push(fault.help("write a stage of a matrix as `\"base[lr=1e-3,seed=1]\"`").at(node.span));
            return None;
        };
        let Some(stage) = self.stages.names.get_index_of(name) else {
            let fault = Fault::new(Code::UnknownStage, format!("no stage `{name}`"), "needed here");
            let known = self.stages.names.keys().map(|name| &**name);
            self.faults.push(self.faults.nearest(fault, name, known).at(node.span));
            return None;
        };
        self.resolved.edges.push((stage, node.span));
        let family = &self.stages.families[stage];
        let picks = match family.picks(name, &picks) {
            Ok(picks) => picks,
            Err(_) if family.is_broken => return None,
            Err(fault) => {
                self.faults.push(fault.at(node.span));
                return None;
            }
        };
        let ports = self.stages.ports[stage].as_ref()?;
        let found = match output {
            Some(output) => ports.outputs.iter().find(|known| known.name == output),
            None => ports.main_output(),
        };
        let known = || ports.outputs.iter().map(|output| &*output.name);
        let fault = match output {
            _ if found.is_some() => return found.map(|output| Reference { stage, output, picks }),
            Some(output) => Fault::new(
                Code::UnknownOutput,
                format!("`{name}` has no output `{output}`"),
                "no such output",
            )
            .nearest(output, known()),
            None if ports.outputs.is_empty() => {
                Fault::new(Code::UnknownOutput, format!("`{name}` has no outputs"), "needed here")
            }
            None => {
                Fault::new(Code::AmbiguousNeed, format!("`{name}` has several outputs"), "which of them?")
                    .help(format!(
                        "write `{name}.OUTPUT`; outputs: {}",
                        known().collect::<Vec<_>>().join(", ")
                    ))
            }
        };
        self.faults.push(fault.at(node.span));
        None
    }

    /// Suggests another output of the same stage with the right kind.
    fn wrong_kind(&self, message: String, reference: &Reference<'_>, fits: impl Fn(&str) -> bool) -> Fault {
        let name = self.name(reference.stage);
        let fault = Fault::new(Code::WrongPortKind, message, format!("of kind `{}`", reference.output.kind));
        let ports = self.stages.ports[reference.stage].as_ref();
        let outputs = ports.map(|ports| &ports.outputs[..]).unwrap_or_default();
        let would_do: Vec<_> = outputs
            .iter()
            .filter(|output| fits(&output.kind))
            .map(|output| format!("`{name}.{}`", output.name))
            .collect();
        match (&would_do[..], self.own.map(|own| &own.inputs)) {
            ([], Some(Inputs::Listed(inputs))) if !inputs.is_empty() => {
                let inputs: Vec<_> =
                    inputs.iter().map(|input| format!("{} ({})", input.name, input.kind)).collect();
                fault.help(format!("inputs of this stage: {}", inputs.join(", ")))
            }
            ([], _) => fault.help("this stage has no inputs"),
            (would_do, _) => fault.help(format!("did you mean {}?", would_do.join(" or "))),
        }
    }

    /// Reports required inputs that are missing, with stages that could provide them.
    fn report_missing(&mut self, key: Span) {
        let Some(Inputs::Listed(inputs)) = self.own.map(|own| &own.inputs) else { return };
        if !self.is_whole {
            return;
        }
        for input in
            inputs.iter().filter(|input| !input.optional && !self.resolved.needs.contains_key(&*input.name))
        {
            let misspelt = nearest(&input.name, &self.tried)
                .is_some_and(|tried| !inputs.iter().any(|input| input.name == tried));
            if self.tried.contains(&&*input.name) || misspelt || self.faults.is_full() {
                continue; // its error was reported
            }
            let message = format!("the input `{}` is missing", input.name);
            let fault = Fault::new(
                Code::MissingInput,
                message,
                format!("`{}` accepts the kind `{}`", input.name, input.kind),
            );
            let givers = self.givers(&input.kind);
            let help = match givers.first() {
                None => format!("no stage in this manifest produces the kind `{}`", input.kind),
                Some(_) => format!(
                    "add `{}: …` to `needs`; the kind `{}` is produced by {}",
                    input.name,
                    input.kind,
                    givers.join(", ")
                ),
            };
            self.faults.push(fault.help(help).at(key));
        }
    }

    fn givers(&self, kind: &str) -> Vec<String> {
        const LISTED_MAX: usize = 4;
        let all = self
            .stages
            .names
            .keys()
            .zip(self.stages.ports)
            .filter_map(|(name, ports)| Some((name, ports.as_ref()?)));
        let giving = all.flat_map(|(name, ports)| {
            let outputs = ports.outputs.iter().filter(|output| output.kind == kind);
            let is_main = |output: &Output| ports.main_output().is_some_and(|main| main.name == output.name);
            outputs.map(move |output| {
                if is_main(output) { format!("`{name}`") } else { format!("`{name}.{}`", output.name) }
            })
        });
        giving.take(LISTED_MAX).collect()
    }

    fn name(&self, stage: usize) -> &'a str {
        self.stages.names.get_index(stage).map_or("", |(name, _)| name)
    }
}
