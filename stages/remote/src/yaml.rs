//! YAML as JSON values, within bounds: the head of a data set's card comes from strangers.

use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, options};
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 200_000;

/// Reads a document. Plain scalars are text, except `true`, `false` and `null`. Anchors are refused: no card needs them.
///
/// # Errors
/// With what is wrong.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let nesting = DEPTH_MAX + 1;
    let limits: Options = options! { flow_nesting_limit: nesting, block_nesting_limit: nesting };
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, limits), nodes: 0 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(Value::Null),
            first => return reader.node(first, 1),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.events.next() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(format!("line {}: {}", error.marker().line(), error.info())),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Value, String> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err("it is nested too deeply or too large".to_owned());
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(match &*text {
                "true" | "True" => Value::Bool(true),
                "false" | "False" => Value::Bool(false),
                "null" | "~" | "" => Value::Null,
                text => Value::String(text.to_owned()),
            }),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Value::Array(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut fields = Map::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Value::Object(fields)),
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return Err("a key is no text".to_owned()),
                    };
                    let value = self.next()?;
                    let value = self.node(value, depth + 1)?;
                    fields.insert(key, value);
                }
            }
            Event::Alias(_) => Err("it has aliases".to_owned()),
            _ => Err("it is no YAML".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cards_are_read() {
        let text =
            "license: [mit, 'x']\nconfigs:\n- config_name: a\n  default: true\n  data_files: \"*.json\"\n";
        let expected = json!({
            "license": ["mit", "x"],
            "configs": [{ "config_name": "a", "default": true, "data_files": "*.json" }],
        });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("").unwrap(), Value::Null);
    }

    #[test]
    fn hostile_yaml_is_refused() {
        assert!(read(&"[".repeat(10_000)).is_err());
        assert!(read("a: &x [1]\nb: *x\n").is_err());
        assert!(read(&format!("[{}]", "1,".repeat(300_000))).is_err());
        assert!(read("a: [1").is_err());
    }
}
