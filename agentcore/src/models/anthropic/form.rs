//! Schemas as Anthropic takes them.

use serde_json::{Map, Value, json};

use crate::tool::ToolSpec;

/// Constraints that "Structured outputs" lists as unsupported. What they say is checked when the answer is here.
const REFUSED: [&str; 12] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// The schema without what is refused, closed as is required; none when it is open by intent, or refers to itself.
pub(super) fn closed(schema: &Value) -> Option<Value> {
    match schema {
        Value::Object(fields) => closed_object(fields).map(Value::Object),
        Value::Array(all) => all.iter().map(closed).collect::<Option<_>>().map(Value::Array),
        other => Some(other.clone()),
    }
}

fn closed_object(schema: &Map<String, Value>) -> Option<Map<String, Value>> {
    if schema.get("$ref").is_some_and(|target| target == "#") {
        return None;
    }
    let mut result = Map::new();
    for (name, value) in schema {
        let value = match name.as_str() {
            refused if REFUSED.contains(&refused) => continue,
            // Names of properties, not of keywords.
            "properties" | "$defs" | "definitions" => {
                let Value::Object(fields) = value else { return None };
                let fields =
                    fields.iter().map(|(name, field)| Some((name.clone(), closed(field)?)));
                fields.collect::<Option<Map<_, _>>>()?.into()
            }
            "enum" | "const" | "default" | "examples" => value.clone(),
            _ => closed(value)?,
        };
        result.insert(name.clone(), value);
    }
    if result.get("type").is_some_and(|kind| kind == "object") {
        let open = schema.get("additionalProperties").is_some_and(|more| *more != false);
        if open || !result.contains_key("properties") {
            return None;
        }
        result.insert("additionalProperties".into(), false.into());
    }
    Some(result)
}

/// Asks in words for what cannot be enforced.
pub(super) fn in_words(schema: &Value) -> String {
    format!(
        "Answer with JSON alone, no other words and no code fence. It must fit this JSON Schema:\n{schema}"
    )
}

pub(super) fn tools(specs: &[ToolSpec]) -> Vec<Value> {
    let tool = |spec: &ToolSpec| {
        json!({ "name": spec.name, "description": spec.description,
            "input_schema": input(&spec.parameters) })
    };
    specs.iter().map(tool).collect()
}

/// "Define tools": the outermost schema is an object, and no choice between several. Arguments are checked against the
/// whole schema when they come.
fn input(schema: &Value) -> Value {
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    for choice in ["anyOf", "oneOf", "allOf"] {
        schema.remove(choice);
    }
    schema.insert("type".into(), "object".into());
    schema.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_closed_and_loses_what_is_refused() {
        let schema = json!({ "type": "object", "required": ["age"], "properties": {
            "age": { "type": "integer", "minimum": 0 },
            "minimum": { "type": "array", "minItems": 2, "items": { "type": "string" } },
            "kind": { "enum": ["a", { "maxLength": 1 }] } } });
        assert_eq!(
            closed(&schema),
            Some(json!({ "type": "object", "required": ["age"], "additionalProperties": false,
                "properties": {
                    "age": { "type": "integer" },
                    "minimum": { "type": "array", "items": { "type": "string" } },
                    "kind": { "enum": ["a", { "maxLength": 1 }] } } }))
        );
    }

    #[test]
    fn a_form_that_is_open_or_endless_cannot_be_enforced() {
        for open in [
            json!({ "type": "object" }),
            json!({ "type": "object", "properties": {}, "additionalProperties": { "type": "string" } }),
            json!({ "type": "object", "properties": { "next": { "$ref": "#" } } }),
        ] {
            assert_eq!(closed(&open), None, "{open}");
        }
    }

    #[test]
    fn a_tool_takes_an_object_whatever_its_schema_says() {
        let schema =
            json!({ "anyOf": [{ "required": ["a"] }], "properties": { "a": { "anyOf": [] } } });
        let expected = json!({ "type": "object", "properties": { "a": { "anyOf": [] } } });
        assert_eq!(input(&schema), expected);
    }
}
