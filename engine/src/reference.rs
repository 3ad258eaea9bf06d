//! Owns: the reference of stage types, as text and as JSON, from their ports and the schemas of their configs.

use crate::manifest::stage_type::StageType;
use pipe_stage::{Direction, Port};
use serde::Serialize;
use serde_json::{Value, json};

/// Width of the text in columns, unless a terminal is narrower.
pub const WIDTH: usize = 100;

/// Lists stage types, one paragraph per type, in lines of this width.
pub fn overview(types: &[StageType], columns: usize) -> String {
    let width = types.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    types.iter().map(|kind| hanging(&format!("{:width$}  ", kind.name), &kind.about(), columns)).collect()
}

/// Describes a stage type: what it does, its ports, and the fields of its config, in lines of this width.
pub fn text(kind: &StageType, columns: usize) -> String {
    let mut out = format!("{} (revision {})\n\n", kind.name, kind.revision);
    out += &paragraphs("  ", kind.schema()["description"].as_str().unwrap_or_default(), columns);
    for (title, direction) in [("Inputs", Direction::Input), ("Outputs", Direction::Output)] {
        let ports: Vec<&Port> = kind.ports.iter().filter(|port| port.direction == direction).collect();
        if ports.is_empty() {
            if kind.has_own_ports {
                out += &format!("\n{title}\n  defined by its config and its `needs`\n");
            }
            continue;
        }
        out += &format!("\n{title}\n");
        let names = ports.iter().map(|port| port.name.len()).max().unwrap_or(0);
        let kinds = ports.iter().map(|port| port.kind.name.len()).max().unwrap_or(0);
        for port in ports {
            let head = format!("  {:names$}  {:kinds$}  ", port.name, port.kind.name);
            out += &hanging(&head, &format!("{}{}", port.about, remarks(port)), columns);
        }
    }
    let fields = fields(kind.schema());
    if !fields.is_empty() {
        out += "\nConfig\n";
    }
    for field in fields {
        out += &field_text(&field, columns);
    }
    out
}

/// The same as JSON, with the whole schema.
pub fn json(kind: &StageType) -> Value {
    let ports = |direction| {
        let port = |port: &Port| {
            json!({
                "name": port.name, "kind": port.kind.name, "about": port.about,
                "main": port.main, "many": port.many, "optional": port.optional,
            })
        };
        kind.ports.iter().filter(|port| port.direction == direction).map(port).collect::<Vec<_>>()
    };
    json!({
        "name": kind.name,
        "revision": kind.revision,
        "about": kind.about(),
        "inputs": ports(Direction::Input),
        "outputs": ports(Direction::Output),
        "fields": fields(kind.schema()),
        "schema": kind.schema(),
    })
}

fn remarks(port: &Port) -> String {
    let marks = [(port.main, "main"), (port.many, "takes several"), (port.optional, "optional")];
    let marks: Vec<&str> = marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect();
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

/// A field of a config, or of a nested struct.
#[derive(Debug, Serialize)]
struct Field {
    /// `optimizer.lr`, `sources[].glob`.
    path: String,
    /// Its type, in words.
    takes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    about: String,
    /// Choices with their own documentation.
    choices: Vec<(String, String)>,
    /// Whether it does not affect the result.
    runtime: bool,
}

fn field_text(field: &Field, columns: usize) -> String {
    let default = field.default.as_ref().filter(|default| !default.is_object());
    let default = default.map(|default| format!(" = {}", yaml(default))).unwrap_or_default();
    let mut out = hanging(&format!("  {}: ", field.path), &format!("{}{default}", field.takes), columns);
    out += &paragraphs("      ", &field.about, columns);
    for (name, about) in &field.choices {
        out += &hanging(&format!("      - {name}: "), about, columns);
    }
    if field.runtime {
        out += "      Does not affect the result; changing it triggers no rerun.\n";
    }
    out
}

/// Lists the fields of a schema, each followed by the fields of its nested structs.
fn fields(schema: &Value) -> Vec<Field> {
    let mut walk = Walk { root: schema, open: vec![], fields: vec![] };
    walk.structure("", schema);
    walk.fields
}

struct Walk<'a> {
    root: &'a Value,
    /// The definitions above this one, so that recursive types end.
    open: Vec<&'a str>,
    fields: Vec<Field>,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, path: &str, schema: &'a Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let target = self.resolve(property);
            let own = property["description"].as_str().or(target["description"].as_str());
            self.fields.push(Field {
                takes: self.takes(property),
                default: property.get("default").cloned(),
                about: own.unwrap_or_default().to_owned(),
                choices: self.choices(property),
                runtime: property["x-runtime"] == true,
                path: path.clone(),
            });
            self.below(&path, property);
        }
    }

    /// Visits nested structs, also in options, lists, maps and enum variants.
    fn below(&mut self, path: &str, schema: &'a Value) {
        let name = schema["$ref"].as_str();
        if name.is_some_and(|name| self.open.contains(&name)) || self.open.len() >= 16 {
            return;
        }
        self.open.push(name.unwrap_or_default());
        let target = self.resolve(schema);
        if target["properties"].is_object() {
            self.structure(path, target);
        }
        if target["items"].is_object() {
            self.below(&format!("{path}[]"), &target["items"]);
        }
        if target["additionalProperties"].is_object() {
            self.below(&format!("{path}.NAME"), &target["additionalProperties"]);
        }
        for choice in alternatives(target) {
            self.below(path, choice);
        }
        self.open.pop();
    }

    /// Describes the type of a field in words.
    fn takes(&self, schema: &'a Value) -> String {
        let target = self.resolve(schema);
        if let Some(choices) = target["enum"].as_array() {
            return choices.iter().map(yaml).collect::<Vec<_>>().join(" | ");
        }
        if let Some(value) = target.get("const") {
            return yaml(value);
        }
        let alternatives: Vec<_> = alternatives(target).collect();
        if !alternatives.is_empty() {
            return distinct(alternatives.into_iter().map(|one| self.takes(one)));
        }
        let types: Vec<&str> = match &target["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => return "any value".into(),
        };
        distinct(types.iter().map(|name| match *name {
            "string" => "string".to_owned(),
            "boolean" => "true | false".to_owned(),
            "integer" => format!("whole number{}", range(target)),
            "number" => format!("number{}", range(target)),
            "array" => match &target["items"] {
                Value::Null => "list".to_owned(),
                items => format!("list of ({})", self.takes(items)),
            },
            "object" => self.object(target),
            _ => "null".to_owned(),
        }))
    }

    /// A struct, a map, or an enum variant with data, which schemas represent as a struct with one required field.
    fn object(&self, target: &'a Value) -> String {
        let properties = target["properties"].as_object();
        let required = target["required"].as_array().map_or(0, Vec::len);
        match (properties, &target["additionalProperties"]) {
            (Some(properties), _) if properties.len() == 1 && required == 1 => {
                let name = properties.keys().next().map_or("", String::as_str);
                format!("{{ {name}: … }}")
            }
            (Some(_), _) => "fields below".to_owned(),
            (None, Value::Object(_)) => format!("map to ({})", self.takes(&target["additionalProperties"])),
            _ => "mapping".to_owned(),
        }
    }

    fn choices(&self, schema: &'a Value) -> Vec<(String, String)> {
        let documented = |choice: &'a Value| {
            let about = choice["description"].as_str()?.to_owned();
            choice.get("const").map(|name| (yaml(name), about))
        };
        let target = self.resolve(schema);
        let nested = alternatives(target).map(|choice| self.resolve(choice)).flat_map(alternatives);
        alternatives(target).chain(nested).filter_map(documented).collect()
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|way| way.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.root["$defs"][name])
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten()
}

fn distinct(words: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = vec![];
    words.for_each(|word| {
        if !all.contains(&word) {
            all.push(word)
        }
    });
    all.join(" | ")
}

/// Writes ` from 0 to 1` if the schema has a range; the limits of integer types are omitted.
fn range(schema: &Value) -> String {
    let machine = schema["format"].as_str().is_some_and(|format| format.starts_with("uint"));
    let low = schema["minimum"].as_f64().filter(|low| !(machine && *low == 0.0));
    let high = schema["maximum"]
        .as_f64()
        .filter(|high| !machine || *high > f64::from(u16::MAX) + 0.5 || *high < 255.0);
    match (low, high) {
        (Some(low), Some(high)) => format!(" from {low} to {high}"),
        (Some(low), None) => format!(" from {low}"),
        (None, Some(high)) => format!(" up to {high}"),
        (None, None) => String::new(),
    }
}

/// Writes a default as YAML.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', ':', '#', '"', '\'']) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

/// Breaks a text into lines that fit; later lines are indented to the start of the text.
fn hanging(head: &str, text: &str, columns: usize) -> String {
    let indent = head.chars().count().min(columns / 2);
    let mut lines = wrap(text, columns - indent).into_iter();
    let mut out = format!("{head}{}", lines.next().unwrap_or_default()).trim_end().to_owned() + "\n";
    lines.for_each(|line| out += &format!("{}{line}\n", " ".repeat(indent)));
    out
}

/// Breaks a text into paragraphs and lines.
fn paragraphs(indent: &str, text: &str, columns: usize) -> String {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    let drawn = paragraphs.map(|paragraph| {
        wrap(paragraph, columns.saturating_sub(indent.len()))
            .iter()
            .map(|line| format!("{indent}{line}\n"))
            .collect::<String>()
    });
    drawn.collect::<Vec<_>>().join("\n")
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
