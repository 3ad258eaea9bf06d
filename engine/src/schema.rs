//! Owns: the JSON Schema of a whole manifest, for editors and `pipe schema`. The content of a stage's `with` depends
//! on its `uses`.

use crate::manifest::{Envelope, StageEntry, stage_type::StageType};
use pipe_stage::canonical;
use serde_json::{Map, Value, json};

/// Builds the schema (JSON Schema 2020-12) of manifests with these stage types.
///
/// Every value may also be a `${…}`, which a schema sees as text, so each field accepts such a text besides its own
/// type.
pub fn manifest(types: &[StageType]) -> Value {
    let mut definitions = Map::new();
    let configs: Vec<(&str, Value)> =
        types.iter().map(|kind| (kind.name, config(kind, &mut definitions))).collect();
    let mut envelope = canonical::schema::<Envelope>();
    let mut stage = canonical::schema::<StageEntry>();
    for schema in [&mut envelope, &mut stage] {
        if let Some(Value::Object(own)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
            definitions.extend(own);
        }
    }
    definitions.insert("StageEntry".into(), with_types(stage, types, &configs));
    definitions.insert("Needs".into(), needs());
    definitions.insert("Interpolated".into(), json!({ "type": "string", "pattern": r"\$\{" }));
    definitions.values_mut().for_each(let_fields_interpolate);
    envelope["properties"]["version"]["enum"] = json!([1, "1", null]);
    drop(envelope["properties"]["version"].as_object_mut().and_then(|version| version.remove("type")));
    envelope["$defs"] = Value::Object(definitions);
    envelope["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    // A manifest that extends another may omit what the other defines.
    envelope["required"] = json!([]);
    envelope
}

/// Moves a config's schema to the definitions, under names that are unique per type.
fn config(kind: &StageType, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = kind.schema().clone();
    rename(&mut schema, kind.name);
    let fields = schema.as_object_mut().expect("invariant: a config is a struct");
    fields.remove("$schema");
    if let Some(Value::Object(own)) = fields.remove("$defs") {
        definitions.extend(own.into_iter().map(|(name, schema)| (format!("{}.{name}", kind.name), schema)));
    }
    let name = format!("with.{}", kind.name);
    definitions.insert(name.clone(), schema);
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// Updates references to the new names of a type's definitions.
fn rename(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (value.as_str(), &**key) {
                    (Some(target), "$ref") => {
                        *value = target.replace("#/$defs/", &format!("#/$defs/{prefix}.")).into();
                    }
                    _ => rename(value, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
        _ => {}
    }
}

fn with_types(mut stage: Value, types: &[StageType], configs: &[(&str, Value)]) -> Value {
    let choices = types.iter().map(|kind| json!({ "const": kind.name, "description": kind.about() }));
    stage["properties"]["uses"] = json!({ "description": "Its type.", "oneOf": choices.collect::<Vec<_>>() });
    stage["properties"]["needs"] = json!({ "$ref": "#/$defs/Needs" });
    stage["properties"]["with"] = json!({ "description": "Its settings." });
    let interpolated = json!({ "$ref": "#/$defs/Interpolated" });
    let rule = |(name, config): &(&str, Value)| {
        json!({
            "if": { "properties": { "uses": { "const": name } }, "required": ["uses"] },
            "then": { "properties": { "with": { "anyOf": [config, { "type": "null" }, interpolated] } } },
        })
    };
    stage["allOf"] = configs.iter().map(rule).collect();
    if let Some(fields) = stage.as_object_mut() {
        ["$schema", "title", "required"].iter().for_each(|key| drop(fields.remove(*key)));
    }
    stage
}

fn needs() -> Value {
    let one = json!({
        "type": "string",
        "pattern": r"^[A-Za-z0-9_-]+(\[[^\[\]]+\])?(\.[A-Za-z0-9_-]+)?$",
        "description": "`stage`, `stage.output`, or `stage[axis=value]` of a matrix.",
    });
    let list = json!({ "type": "array", "items": one });
    let labelled = json!({ "type": "object", "additionalProperties": one });
    json!({
        "description": "The stages whose outputs it reads: one, a list, or a mapping by input.",
        "anyOf": [
            { "type": "null" }, one, list,
            { "type": "object", "additionalProperties": { "anyOf": [one, list, labelled] } },
        ],
    })
}

/// Lets each field of each struct be `${…}`.
fn let_fields_interpolate(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                for (name, property) in properties {
                    let is_rule = matches!(&**name, "uses" | "with" | "needs");
                    if !is_rule && !takes_text(property) {
                        let description =
                            property.as_object_mut().and_then(|fields| fields.remove("description"));
                        let default = property.as_object_mut().and_then(|fields| fields.remove("default"));
                        let own = property.take();
                        *property = json!({ "anyOf": [own, { "$ref": "#/$defs/Interpolated" }] });
                        for (key, value) in [("description", description), ("default", default)] {
                            if let Some(value) = value {
                                property[key] = value;
                            }
                        }
                    }
                }
            }
            fields.values_mut().for_each(let_fields_interpolate);
        }
        Value::Array(items) => items.iter_mut().for_each(let_fields_interpolate),
        _ => {}
    }
}

/// Whether a schema accepts any text.
fn takes_text(schema: &Value) -> bool {
    let open = ["pattern", "enum", "const", "format"].iter().all(|key| schema.get(key).is_none());
    schema["type"] == "string" && open
}
