//! Values of a document's metadata in templates: text, or the list or object that a JSON text represents.

use crate::json::{Json, Parser};
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value; if it is neither a list nor an object, it is its text.
pub(super) fn value(fact: &str) -> Value {
    if !fact.starts_with(['[', '{']) {
        return Value::from(fact);
    }
    let mut parser = Parser::new(fact);
    match parser.value().and_then(|json| parser.end().map(|()| json)) {
        Ok(json) => Value::from_object(Structure { text: fact.to_owned(), value: of_json(json) }),
        Err(_) => Value::from(fact),
    }
}

fn of_json(json: Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(value),
        Json::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Value::from(number),
            // A number whose text differs from its usual form remains text.
            (_, Ok(number)) if format!("{number:?}") == text => Value::from(number),
            _ => Value::from(text),
        },
        Json::Text(text) => Value::from(text),
        Json::List(values) => values.into_iter().map(of_json).collect(),
        Json::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, of_json(value))).collect();
            Value::from(fields)
        }
    }
}

/// A list or an object, which is printed as the text that it was parsed from.
#[derive(Debug)]
struct Structure {
    text: String,
    value: Value,
}

impl Object for Structure {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.text.starts_with('[') { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.value.get_item(key).ok().filter(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match (self.repr(), self.value.len(), self.value.try_iter()) {
            (ObjectRepr::Seq, Some(length), _) => Enumerator::Seq(length),
            (_, _, Ok(keys)) => Enumerator::Values(keys.collect()),
            _ => Enumerator::Empty,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
