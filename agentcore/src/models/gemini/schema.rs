//! JSON Schema in the dialect that Gemini takes: the `Schema` object of "Generating content", a part of OpenAPI 3.0.

use serde_json::{Map, Value, json};

/// Deeper than any model would fill in; schemas that refer to themselves end here.
const DEEPEST: usize = 12;

/// What is taken over as it stands.
const KEPT: [&str; 14] = [
    "description",
    "title",
    "enum",
    "required",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "nullable",
];

/// Formats that are known; any other is refused.
const FORMATS: [&str; 7] = ["float", "double", "int32", "int64", "enum", "date-time", "email"];

/// References are replaced by what they refer to; what the dialect lacks is left out.
pub(super) fn subset(schema: &Value) -> Value {
    convert(schema, schema, 0)
}

fn convert(schema: &Value, root: &Value, depth: usize) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    if depth > DEEPEST {
        return json!({ "type": "object" });
    }
    let inner = |schema: &Value| convert(schema, root, depth + 1);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        let mut found = found.map_or(json!({ "type": "object" }), inner);
        if let (Some(text), Value::Object(fields)) = (schema.get("description"), &mut found) {
            fields.insert("description".into(), text.clone());
        }
        return found;
    }
    let mut result = Map::new();
    for name in KEPT {
        result.extend(schema.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    if let Some(format) = schema.get("format").filter(|format| is_one_of(format, &FORMATS)) {
        result.insert("format".into(), format.clone());
    }
    if let Some(Value::Object(fields)) = schema.get("properties") {
        let fields = fields.iter().map(|(name, field)| (name.clone(), inner(field)));
        result.insert("properties".into(), fields.collect::<Map<_, _>>().into());
    }
    if let Some(items) = schema.get("items") {
        result.insert("items".into(), inner(items));
    }
    put_type(&mut result, schema, &inner);
    put_choice(&mut result, schema, &inner);
    tidy(&mut result);
    result.into()
}

/// A type is one; whether there may also be nothing is said apart.
fn put_type(
    result: &mut Map<String, Value>,
    schema: &Map<String, Value>,
    inner: &impl Fn(&Value) -> Value,
) {
    match schema.get("type") {
        Some(Value::Array(kinds)) => {
            let real: Vec<&Value> = kinds.iter().filter(|kind| *kind != "null").collect();
            if real.len() < kinds.len() {
                result.insert("nullable".into(), true.into());
            }
            if let [only] = real.as_slice() {
                result.insert("type".into(), (*only).clone());
            } else {
                let any = real.iter().map(|kind| inner(&json!({ "type": kind })));
                result.insert("anyOf".into(), any.collect());
            }
        }
        Some(kind) => {
            result.insert("type".into(), kind.clone());
        }
        None => {}
    }
    if let Some(only) = schema.get("const") {
        result.insert("enum".into(), json!([only]));
    }
}

fn put_choice(
    result: &mut Map<String, Value>,
    schema: &Map<String, Value>,
    inner: &impl Fn(&Value) -> Value,
) {
    let choices = ["anyOf", "oneOf"].into_iter().find_map(|name| schema.get(name)?.as_array());
    if let Some(choices) = choices {
        let real: Vec<&Value> = choices
            .iter()
            .filter(|choice| choice.get("type").is_none_or(|kind| kind != "null"))
            .collect();
        if real.len() < choices.len() {
            result.insert("nullable".into(), true.into());
        }
        if let [only] = real.as_slice() {
            merge(result, inner(only));
        } else {
            result.insert("anyOf".into(), real.into_iter().map(inner).collect());
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        merge(result, inner(part));
    }
}

/// What is there stays; properties and what is required of them add up.
fn merge(result: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        match (result.get_mut(&name), value) {
            (Some(Value::Object(all)), Value::Object(more)) if name == "properties" => {
                all.extend(more);
            }
            (Some(Value::Array(all)), Value::Array(more)) if name == "required" => all.extend(more),
            (Some(_), _) => {}
            (None, value) => {
                result.insert(name, value);
            }
        }
    }
}

/// What Google refuses beyond what it does not know: choices that are not text, required properties that are not
/// there, lists of nothing in particular, and objects that say that they have no properties.
fn tidy(result: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = result.get("enum") {
        let text = |choice: &Value| match choice {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        let choices: Vec<String> =
            choices.iter().filter_map(text).filter(|text| !text.is_empty()).collect();
        let is_text = result.get("type").is_none_or(|kind| kind == "string");
        if is_text && !choices.is_empty() {
            result.insert("type".into(), "string".into());
            result.insert("enum".into(), json!(choices));
        } else {
            result.remove("enum");
        }
    }
    if result.get("properties").is_some_and(|fields| fields == &json!({})) {
        result.remove("properties");
    }
    if let Some(Value::Array(required)) = result.get("required") {
        let fields = result.get("properties");
        let known = |name: &&Value| {
            name.as_str().is_some_and(|name| fields.is_some_and(|all| all.get(name).is_some()))
        };
        let required: Vec<Value> = required.iter().filter(known).cloned().collect();
        if required.is_empty() {
            result.remove("required");
        } else {
            result.insert("required".into(), required.into());
        }
    }
    if result.contains_key("properties") {
        result.entry("type").or_insert("object".into());
    }
    if result.get("type").is_some_and(|kind| kind == "array") {
        result.entry("items").or_insert(json!({ "type": "string" }));
    }
}

fn is_one_of(value: &Value, names: &[&str]) -> bool {
    value.as_str().is_some_and(|value| names.contains(&value))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
