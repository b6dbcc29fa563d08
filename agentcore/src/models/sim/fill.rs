//! Makes up arguments that fit a JSON Schema: enough for a demo, not for every schema.

use serde_json::{Map, Value, json};

/// Deeper schemas refer to themselves.
const DEEPEST: usize = 8;

/// Arguments for a tool with this schema; strings get the user's words. Optional properties are left out, unless none
/// is required.
pub(super) fn arguments(schema: &Value, input: &str) -> Value {
    match value(schema, schema, input, 0) {
        Value::Object(fields) => Value::Object(fields),
        _ => json!({}),
    }
}

fn value(schema: &Value, root: &Value, input: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    let inner = |schema: &Value| value(schema, root, input, depth + 1);
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, inner);
    }
    let first_of =
        |name: &str| schema.get(name).and_then(Value::as_array).and_then(|all| all.first());
    let given = schema.get("const").or_else(|| schema.get("default"));
    if let Some(given) = given.or_else(|| first_of("enum")).or_else(|| first_of("examples")) {
        return given.clone();
    }
    if let Some(choice) = ["anyOf", "oneOf", "allOf"].into_iter().find_map(first_of) {
        return inner(choice);
    }
    match kind(schema) {
        "string" => string(schema, input),
        "integer" => json!(number(schema, input).ceil() as i64),
        "number" => json!(number(schema, input)),
        "boolean" => json!(true),
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(16);
            let items = schema.get("items").unwrap_or(&Value::Null);
            (0..least).map(|_| inner(items)).collect()
        }
        "object" => object(schema, &inner),
        _ => Value::Null,
    }
}

fn kind(schema: &Value) -> &str {
    let of = |kind: &Value| kind.as_str().is_some_and(|kind| kind != "null");
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().find(|kind| of(kind)).and_then(Value::as_str).unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    }
}

fn string(schema: &Value, input: &str) -> Value {
    let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    Value::String(input.chars().take(most).collect())
}

/// The first number the user said, or 1, within the bounds.
fn number(schema: &Value, input: &str) -> f64 {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let said = input.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let least = bound("minimum").unwrap_or(f64::MIN);
    let most = bound("maximum").unwrap_or(f64::MAX);
    said.filter(|number| number.is_finite()).unwrap_or(1.0).min(most).max(least)
}

fn object(schema: &Value, inner: &impl Fn(&Value) -> Value) -> Value {
    let Some(Value::Object(properties)) = schema.get("properties") else { return json!({}) };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let wanted = properties
        .iter()
        .filter(|(name, _)| required.is_empty() || required.contains(&name.as_str()));
    wanted.map(|(name, schema)| (name.clone(), inner(schema))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::check_arguments;

    #[test]
    fn arguments_fit_the_schema_they_were_made_for() {
        let schema = json!({
            "type": "object",
            "required": ["city", "days", "unit", "place", "tags", "note"],
            "properties": {
                "city": { "type": "string", "maxLength": 6 },
                "days": { "type": "integer", "minimum": 2, "maximum": 5 },
                "unit": { "enum": ["celsius", "kelvin"] },
                "place": { "$ref": "#/$defs/Place" },
                "tags": { "type": "array", "minItems": 1, "items": { "type": "string" } },
                "note": { "type": ["null", "string"] },
                "extra": { "type": "string" },
            },
            "$defs": { "Place": { "type": "object", "required": ["lat"],
                "properties": { "lat": { "anyOf": [{ "type": "number" }, { "type": "null" }] } } } },
        });

        let made = arguments(&schema, "Zürich 7");

        assert_eq!(
            made,
            json!({ "city": "Zürich", "days": 5, "unit": "celsius", "place": { "lat": 7.0 },
                "tags": ["Zürich 7"], "note": "Zürich 7" })
        );
        assert_eq!(check_arguments(&schema, &made.to_string()), Ok(made));
    }

    #[test]
    fn without_required_properties_all_are_filled() {
        let schema = json!({ "properties": { "q": {}, "sure": { "type": "boolean" } } });
        assert_eq!(arguments(&schema, "hi"), json!({ "q": "hi", "sure": true }));
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let schema = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
        assert!(arguments(&schema, "hi").is_object());
        assert_eq!(arguments(&json!({ "type": "string" }), "hi"), json!({}));
    }
}
