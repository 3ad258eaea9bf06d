//! Owns: the entries under `stages` to typed stages: expansion of matrices, settings, configs, dependencies. Errors
//! of an entry are reported once, however many stages it expands to.

use crate::manifest::{
    config, cycle,
    family::Family,
    fault::{Code, Fault, Faults},
    interpolate::{Binding, Interpolator},
    matrix::{self, Families, Own},
    model::{Executor, Expectation, ManifestStage, StageFamily},
    name::{Name, StageName, is_name, name_help, split_output},
    need::{Form, Need, Wanted},
    needs::{self, Stages},
    node::{self, Entry, Mapping, Node},
    ports::{Inputs, Output, Ports},
    read::read_with,
    settings::StageEntry,
    source::{Sources, Span},
    stage_type::StageType,
};
use indexmap::IndexMap;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
};

/// Reads all stages; they are `None` if an error was reported.
pub(super) fn stages(
    names: &Mapping,
    types: &[StageType],
    interpolator: &mut Interpolator<'_>,
    sources: &Sources,
    faults: &mut Faults,
) -> (Option<IndexMap<StageName, ManifestStage>>, Vec<StageFamily>) {
    let has_matrix = names.values().any(|entry| entry.value.get("matrix").is_some());
    // An entry that is needed before it was visited is part of a cycle, which was reported.
    let unknown = Family { axes: vec![], is_broken: has_matrix };
    let fixed = |entry: &Entry| type_of(entry, types)?.fixed_ports();
    let mut reader = Reader {
        names,
        types,
        interpolator,
        sources,
        families: vec![unknown; names.len()],
        ports: names.values().map(fixed).collect(),
        drafts: names.iter().map(|_| vec![]).collect(),
        made: 0,
        scratch: Faults::default(),
    };
    let order = if has_matrix { needed_first(names) } else { (0..names.len()).collect() };
    for base in order {
        reader.entry(base, has_matrix, faults);
    }
    check_own_kinds(names, &reader.drafts, types, faults);
    let wanted = reader.resolve_needs(faults);
    check_named_inputs(names, &reader.drafts, &wanted, faults);
    check_connected_inputs(names, &reader.drafts, &wanted, faults);
    let families = reader.stage_families();
    let stages = if faults.is_empty() { reader.stages(&wanted, faults) } else { None };
    (stages, families)
}

fn type_of<'t>(entry: &Entry, types: &'t [StageType]) -> Option<&'t StageType> {
    let node::NodeKind::Scalar(uses) = &entry.value.get("uses")?.value.kind else { return None };
    types.iter().find(|kind| kind.name == &*uses.text)
}

/// Sorts entries so that each comes after its dependencies, except in cycles.
fn needed_first(names: &Mapping) -> Vec<usize> {
    let needed = |base: usize| {
        let (mut open, mut found) = (vec![], vec![]);
        open.extend(names[base].value.get("needs").map(|needs| &needs.value));
        while let Some(node) = open.pop() {
            match &node.kind {
                node::NodeKind::Scalar(scalar) => {
                    let name = Name::parse(&scalar.text).map(|name| name.base);
                    found.extend(name.and_then(|name| names.get_index_of(name)));
                }
                node::NodeKind::Sequence(items) => open.extend(items),
                node::NodeKind::Mapping(inputs) => open.extend(inputs.values().map(|entry| &entry.value)),
                node::NodeKind::Broken => {}
            }
        }
        found
    };
    let (mut seen, mut order) = (vec![false; names.len()], vec![]);
    for root in 0..names.len() {
        let mut path = vec![];
        let mut next = Some(root);
        loop {
            if let Some(base) = next.take().filter(|base| !std::mem::replace(&mut seen[*base], true)) {
                path.push((base, needed(base)));
            }
            let Some((base, rest)) = path.last_mut() else { break };
            next = rest.pop();
            if next.is_none() {
                order.push(*base);
                path.pop();
            }
        }
    }
    order
}

/// The dependencies of stages by input, before matrices expand them.
type WantedByInput = BTreeMap<String, Vec<Wanted>>;

struct Reader<'a, 'w> {
    names: &'a Mapping,
    types: &'a [StageType],
    interpolator: &'a mut Interpolator<'w>,
    sources: &'a Sources,
    families: Vec<Family>,
    ports: Vec<Option<Ports>>,
    /// The stages of each entry.
    drafts: Vec<Vec<Draft>>,
    /// Number of stages from matrices so far.
    made: usize,
    /// Errors in dependencies that are examined before all outputs are known; reported later.
    scratch: Faults,
}

impl Reader<'_, '_> {
    /// Reads everything that an entry expands to.
    fn entry(&mut self, base: usize, has_matrix: bool, faults: &mut Faults) {
        let (name, entry) = self.names.get_index(base).expect("invariant: a position among the entries");
        if !is_name(name, "_-") {
            let message = format!("`{name}` is not a valid stage name");
            let fault = Fault::new(Code::InvalidValue, message, "not a valid name");
            faults.push(fault.help(name_help(name, "`_` and `-`")).at(entry.key));
        }
        let needs = match has_matrix {
            true => {
                let view = Stages { names: self.names, ports: &self.ports, families: &self.families };
                needs::resolve(&view, base, self.own_ports(base).as_ref(), &mut self.scratch).needs
            }
            false => BTreeMap::new(),
        };
        let mut wanted: Vec<&Wanted> = needs.values().flatten().collect();
        wanted.sort_by_key(|wanted| wanted.need.stage);
        let own = Own::read(entry, faults);
        let name_of = |base: usize| base_name(self.names, base);
        let families = Families { done: &self.families, name: &name_of };
        let family = families.join(own, &wanted, entry.key, &mut self.made, faults);
        let is_bound = !family.axes.is_empty() || entry.value.holds_open();
        let mut drafts = Vec::with_capacity(family.count());
        for stage in 0..family.count() {
            let mut bound = Cow::Borrowed(entry);
            if is_bound {
                let (values, is_whole) = (family.nodes(stage), !family.is_broken);
                let mut binding = Binding { values, is_whole, named: BTreeSet::new() };
                bound = Cow::Owned(self.interpolator.bind(entry, &mut binding, self.sources, faults));
                let named = binding.named;
                if stage == 0 && !bound.value.is_broken() {
                    let strange = |name: &&str| !family.axes.iter().any(|axis| &*axis.name == *name);
                    let strange: Vec<&str> = named.iter().map(String::as_str).filter(strange).collect();
                    for axis in families.unused(&family, &wanted, &named) {
                        let defaults = type_of(entry, self.types).map(StageType::default_json);
                        let field = defaults.as_ref().and_then(|defaults| field(defaults, &axis.name));
                        faults.push(matrix::unused(axis, field.as_deref(), &strange));
                    }
                }
            }
            drafts.push(draft(&bound, self.types, faults));
        }
        let outputs = |draft: &Draft| {
            let outputs = draft.ports.as_ref().map(|ports| ports.outputs.iter());
            let output = |output: &Output| (output.name.clone(), output.kind.clone());
            outputs.map(|outputs| outputs.map(output).collect::<Vec<_>>())
        };
        if let Some(first) = drafts.first().and_then(outputs)
            && drafts.iter().filter_map(outputs).any(|other| other != first)
        {
            let message = format!("the stages of the matrix `{name}` have different outputs");
            let fault = Fault::new(Code::InvalidValue, message, "not the same for all");
            let place = entry.value.get("with").map_or(entry.key, |with| with.key);
            faults.push(fault.help("give all of them the same outputs, with the same kinds").at(place));
        }
        if let Some(ports) = drafts.first().and_then(|draft| draft.ports.clone()) {
            self.ports[base] = Some(ports);
        }
        self.drafts[base] = drafts;
        self.families[base] = family;
    }

    /// The ports of an entry, as far as its inputs are concerned.
    fn own_ports(&self, base: usize) -> Option<Ports> {
        let kind = type_of(&self.names[base], self.types)?;
        Some(kind.fixed_ports().unwrap_or(Ports { inputs: Inputs::Any, outputs: vec![], named: vec![] }))
    }

    fn resolve_needs(&self, faults: &mut Faults) -> Vec<WantedByInput> {
        let view = Stages { names: self.names, ports: &self.ports, families: &self.families };
        let all = 0..self.names.len();
        let resolved: Vec<_> =
            all.map(|base| needs::resolve(&view, base, self.own_ports(base).as_ref(), faults)).collect();
        let edges: Vec<_> = resolved.iter().map(|resolved| &resolved.edges[..]).collect();
        cycle::report_cycles(&edges, |base| base_name(self.names, base), faults);
        resolved.into_iter().map(|resolved| resolved.needs).collect()
    }

    fn stage_families(&self) -> Vec<StageFamily> {
        let mut start = 0;
        let mut families = vec![];
        for (name, family) in self.names.keys().zip(&self.families) {
            let stages = start..start + family.count();
            start = stages.end;
            if !family.axes.is_empty() {
                let axes = family.axes.clone();
                families.push(StageFamily { name: name.to_string(), axes, stages, family: family.clone() });
            }
        }
        families
    }

    /// Makes the stages with their dependencies.
    fn stages(
        mut self,
        wanted: &[WantedByInput],
        faults: &mut Faults,
    ) -> Option<IndexMap<StageName, ManifestStage>> {
        let mut first = vec![];
        let mut count = 0;
        for family in &self.families {
            first.push(count);
            count += family.count();
        }
        let mut whole = IndexMap::with_capacity(count);
        for (base, drafts) in std::mem::take(&mut self.drafts).into_iter().enumerate() {
            let family = &self.families[base];
            let met = wanted[base]
                .values()
                .flatten()
                .map(|wanted| family.met(wanted, &self.families[wanted.need.stage]));
            let met = met.fold(0, usize::saturating_add).saturating_mul(drafts.len());
            if !family.axes.is_empty() || met > wanted[base].values().flatten().count() {
                let paid = self.interpolator.pay(met).map_err(|fault| fault.at(self.names[base].key));
                faults.take(paid)?;
            }
            for (stage, draft) in drafts.into_iter().enumerate() {
                let mut needs = BTreeMap::new();
                for (input, wanted) in &wanted[base] {
                    needs.insert(input.clone(), self.met(family, stage, wanted, &first, faults));
                }
                let name = base_name(self.names, base) + &family.suffix(stage);
                whole.insert(StageName::new(name), ManifestStage { needs, ..draft.stage? });
            }
        }
        Some(whole)
    }

    /// The stages that a stage takes at an input, with their labels.
    fn met(
        &self,
        family: &Family,
        stage: usize,
        wanted: &[Wanted],
        first: &[usize],
        faults: &mut Faults,
    ) -> Vec<Need> {
        let other = |wanted: &Wanted| family.meet(stage, wanted, &self.families[wanted.need.stage]);
        let met: Vec<_> = wanted.iter().map(|wanted| (wanted, other(wanted))).collect();
        let spreads = met.iter().flat_map(|(_, met)| met).any(|(_, suffix)| !suffix.is_empty());
        let mut needs = vec![];
        for (wanted, met) in met {
            for (index, suffix) in met {
                let label = match (&wanted.form, &wanted.need.label) {
                    (Form::One, _) => None,
                    (Form::Bare, _) => Some(suffix).filter(|suffix| !suffix.is_empty()),
                    (Form::Listed(text), _) => spreads.then(|| spread(text, &suffix)),
                    (Form::Labelled, Some(label)) => Some(spread_label(label, &suffix)),
                    (Form::Labelled, None) => None,
                };
                // A label is kept if only one stage is taken.
                let label = label.or_else(|| wanted.need.label.clone());
                let stage = first[wanted.need.stage] + index;
                needs.push(Need { label, stage, ..wanted.need.clone() });
            }
        }
        let mut labels = HashSet::new();
        if spreads && let Some(twice) = needs.iter().find(|need| !labels.insert(need.label.as_deref())) {
            let label = twice.label.as_deref().unwrap_or_default();
            let message = format!("two stages have the label `{label}`");
            let fault = Fault::new(Code::TooManyInputs, message, "the second one");
            faults.push(fault.help("write a mapping with unique labels").at(twice.place));
        }
        needs
    }
}

/// Combines `base.history` and `seed=1` to `base[seed=1].history`.
fn spread(text: &str, suffix: &str) -> String {
    let (stage, output) = split_output(text);
    let output = output.map(|output| format!(".{output}")).unwrap_or_default();
    match stage.strip_suffix(']') {
        _ if suffix.is_empty() => text.to_owned(),
        Some(picked) => format!("{picked},{suffix}]{output}"),
        None => format!("{stage}[{suffix}]{output}"),
    }
}

fn spread_label(label: &str, suffix: &str) -> String {
    if suffix.is_empty() { label.to_owned() } else { format!("{label}[{suffix}]") }
}

fn base_name(names: &Mapping, base: usize) -> String {
    names.get_index(base).map_or_else(String::new, |(name, _)| name.to_string())
}

/// Finds a setting of this name in a config with all its defaults: `optimizer.lr`.
fn field(config: &Value, name: &str) -> Option<String> {
    let fields = config.as_object()?;
    if fields.contains_key(name) {
        return Some(name.to_owned());
    }
    fields.iter().find_map(|(outer, below)| Some(format!("{outer}.{}", field(below, name)?)))
}

/// A stage without its dependencies.
#[derive(Default)]
struct Draft {
    /// Known if its type is, whatever else is wrong.
    ports: Option<Ports>,
    stage: Option<ManifestStage>,
}

/// Reads everything of a stage except its dependencies.
fn draft(entry: &Entry, types: &[StageType], faults: &mut Faults) -> Draft {
    if matches!(&entry.value.kind, node::NodeKind::Scalar(scalar) if scalar.is_null()) {
        let fault = Fault::new(Code::MissingField, "the stage is empty", "nothing is written below");
        let known: Vec<&str> = types.iter().map(|kind| kind.name).collect();
        let help = format!("give it a type: `uses: …`, one of {}", known.join(", "));
        faults.push(fault.help(help).at(entry.key));
        return Draft::default();
    }
    // A setting of the type may have been written beside `with` by mistake.
    let settings = || type_of(entry, types).map(|kind| config::fields(&kind.default_json(), "with."));
    let reading = read_with::<StageEntry>(&entry.value, entry.key, faults, &|fault| {
        fault.look_elsewhere(|| settings().unwrap_or_default())
    });
    let written = entry.value.get("uses").and_then(|uses| match &uses.value.kind {
        node::NodeKind::Scalar(scalar) if !scalar.is_null() => Some((&*scalar.text, uses.value.span)),
        _ => None,
    });
    // A stage with a wrong field still has a type, and so a config that may have errors too.
    let Some((uses, place)) = written else { return Draft::default() };
    let settings = reading.value;
    let executor = settings.as_ref().and_then(|settings| executor(settings, &entry.value, faults));
    let expect = settings.as_ref().map(|settings| expectations(settings, &reading.tree, entry.key, faults));
    let Some(index) = types.iter().position(|kind| kind.name == uses) else {
        let fault = Fault::new(Code::UnknownStageType, format!("no stage type `{uses}`"), "unknown");
        faults.push(fault.nearest(uses, types.iter().map(|kind| kind.name)).at(place));
        return Draft::default();
    };
    let kind = &types[index];
    let with = match entry.value.get("with") {
        Some(Entry { key, value: Node { kind: node::NodeKind::Scalar(scalar), .. } }) if scalar.is_null() => {
            Entry { key: *key, value: Node::empty(*key) }
        }
        Some(with) => with.clone(),
        None => Entry { key: entry.key, value: Node::empty(entry.key) },
    };
    let Some(config) = kind.read(&with.value, with.key, faults) else {
        return Draft { ports: kind.fixed_ports(), stage: None };
    };
    let ports = Some(config.ports.clone());
    let Some(StageEntry { resources, retry, timeout, grace, freeze, .. }) = settings else {
        return Draft { ports, stage: None };
    };
    let stage = ManifestStage {
        uses: index,
        config,
        needs: BTreeMap::new(),
        resources,
        retry,
        timeout,
        grace,
        executor: executor.unwrap_or_default(),
        freeze,
        expect: expect.unwrap_or_default(),
        name_place: entry.key,
        pool_places: pool_places(&entry.value),
        with: with.value,
    };
    Draft { ports, stage: Some(stage) }
}

/// Finds where a stage names pools.
fn pool_places(stage: &Node) -> BTreeMap<String, Span> {
    let pools = stage.get("resources").and_then(|resources| resources.value.get("pools"));
    let pools = pools.and_then(|pools| pools.value.mapping());
    pools.into_iter().flatten().map(|(name, entry)| (name.to_string(), entry.key)).collect()
}

/// Reads where a stage runs; refuses executors that are planned for later.
fn executor(settings: &StageEntry, node: &Node, faults: &mut Faults) -> Option<Executor> {
    match settings.executor.as_deref() {
        None | Some("local") => Some(Executor::Local),
        Some("slurm") => {
            let message = "the executor `slurm` is not supported yet";
            let fault = Fault::new(Code::Unsupported, message, "not supported yet");
            faults.push(fault.at(node.get("executor").map_or(node.span, |entry| entry.key)));
            None
        }
        Some(other) => {
            let fault =
                Fault::new(Code::UnknownVariant, format!("no executor `{other}`"), "not one of the choices");
            faults.push(fault.nearest(other, ["local"]).at(node.find("executor").node.span));
            None
        }
    }
}

/// Reads the expected ranges of metrics, and their places.
fn expectations(settings: &StageEntry, stage: &Node, key: Span, faults: &mut Faults) -> Vec<Expectation> {
    let written = stage.get("expect").map(|entry| &entry.value);
    let mut all = vec![];
    for (metric, bounds) in &settings.expect {
        let found = written.and_then(|written| written.get(metric));
        let place = found.map_or(key, |entry| entry.key);
        let wrong = match (bounds.min, bounds.max) {
            (None, None) => Some("neither `min` nor `max` is given"),
            (Some(min), Some(max)) if min > max => Some("`min` is greater than `max`"),
            _ => None,
        };
        // A bound that could not be read was reported.
        if let Some(message) = wrong.filter(|_| !found.is_some_and(|entry| entry.value.holds_broken())) {
            let fault = Fault::new(Code::InvalidValue, format!("`expect.{metric}`: {message}"), message);
            faults.push(fault.help("write `{ min: 0.8 }`, `{ max: 30 }` or both").at(place));
        }
        all.push(Expectation { metric: metric.clone(), bounds: *bounds, place });
    }
    all
}

/// Compares kinds in configs with those of the stage types.
fn check_own_kinds(names: &Mapping, drafts: &[Vec<Draft>], types: &[StageType], faults: &mut Faults) {
    let known = || types.iter().flat_map(|kind| kind.ports).map(|port| port.kind.name).chain(["files"]);
    let all =
        names.values().zip(drafts).flat_map(|(entry, drafts)| drafts.iter().map(move |draft| (entry, draft)));
    for (entry, draft) in all {
        let Some(stage) = draft.stage.as_ref().filter(|stage| types[stage.uses].has_own_ports) else {
            continue;
        };
        for output in &stage.config.ports.outputs {
            if !known().any(|kind| kind == output.kind) {
                let fault = Fault::new(Code::UnknownVariant, format!("no kind `{}`", output.kind), "unknown");
                let known: BTreeSet<_> = known().collect();
                let place = stage.with.find(&format!("outputs.{}", output.name)).span();
                faults.push(fault.nearest(&output.kind, known).at(place.unwrap_or(entry.key)));
            }
        }
    }
}

/// Compares the inputs that configs refer to with those in `needs`.
fn check_named_inputs(names: &Mapping, drafts: &[Vec<Draft>], wanted: &[WantedByInput], faults: &mut Faults) {
    for ((entry, drafts), wanted) in names.values().zip(drafts).zip(wanted) {
        for stage in drafts.iter().filter_map(|draft| draft.stage.as_ref()) {
            for (field, name) in
                stage.config.ports.named.iter().filter(|(_, name)| !wanted.contains_key(name))
            {
                let fault = Fault::new(Code::UnknownInput, format!("no input `{name}`"), "not in `needs`");
                let place = stage.with.find(field).span();
                let known = wanted.keys().map(String::as_str);
                faults.push(fault.nearest(name, known).at(place.unwrap_or(entry.key)));
            }
        }
    }
}

/// Asks each stage whether its config works with these inputs.
fn check_connected_inputs(
    names: &Mapping,
    drafts: &[Vec<Draft>],
    wanted: &[WantedByInput],
    faults: &mut Faults,
) {
    for ((entry, drafts), wanted) in names.values().zip(drafts).zip(wanted) {
        let written = entry.value.get("needs").map_or(Some(0), |needs| references(&needs.value));
        if written != Some(wanted.values().map(Vec::len).sum()) {
            continue; // the invalid reference was reported
        }
        let connected: Vec<&str> = wanted.keys().map(String::as_str).collect();
        for stage in drafts.iter().filter_map(|draft| draft.stage.as_ref()) {
            for misfit in stage.config.stage.check_inputs(&connected) {
                faults.push(config::fault(&misfit, stage.with.find(&misfit.path), stage.name_place));
            }
        }
    }
}

/// Number of outputs that `needs` refers to, whether or not they exist; none if part of it could not be read.
fn references(needs: &Node) -> Option<usize> {
    match &needs.kind {
        node::NodeKind::Scalar(scalar) => Some(usize::from(!scalar.is_null())),
        node::NodeKind::Sequence(items) => items.iter().map(references).sum(),
        node::NodeKind::Mapping(inputs) => inputs.values().map(|entry| references(&entry.value)).sum(),
        node::NodeKind::Broken => None,
    }
}
