//! JSON Schemas of Rust types, in the plain form that models and providers understand best.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The schema of a type: one object without references where the type is not recursive, without titles, and without the
/// names of Rust's numbers.
///
/// ```
/// #[derive(schemars::JsonSchema)]
/// struct City {
///     /// As its people call it.
///     name: String,
///     people: Option<u32>,
/// }
///
/// let schema = agentcore::schema_of::<City>();
/// assert_eq!(schema["required"], serde_json::json!(["name"]));
/// assert_eq!(schema["properties"]["name"]["description"], "As its people call it.");
/// assert_eq!(schema["properties"]["people"]["type"], serde_json::json!(["integer", "null"]));
/// ```
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Numbers' Rust names, which no provider knows.
const RUST_FORMATS: [&str; 14] = [
    "int8", "int16", "int32", "int64", "int128", "int", "uint8", "uint16", "uint32", "uint64",
    "uint128", "uint", "float", "double",
];

fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    if object.get("title").is_some_and(Value::is_string) {
        object.remove("title");
    }
    let format = object.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| RUST_FORMATS.contains(&format)) {
        object.remove("format");
    }
    for (keyword, value) in object.iter_mut() {
        match keyword.as_str() {
            // Maps from a name to a schema: a property may well be called `title` or `format`.
            "properties" | "$defs" | "patternProperties" => each(value, tidy),
            // Data, not schemas.
            "default" | "enum" | "const" | "examples" => {}
            _ => match value {
                Value::Array(items) => items.iter_mut().for_each(tidy),
                value => tidy(value),
            },
        }
    }
}

fn each(map: &mut Value, change: impl Fn(&mut Value)) {
    map.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Inner {
        title: String,
        format: f32,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Outer {
        /// Two of them.
        inner: Vec<Inner>,
        named: BTreeMap<String, u8>,
        flag: bool,
        maybe: Option<i64>,
    }

    #[test]
    fn a_schema_is_plain() {
        assert_eq!(
            schema_of::<Outer>(),
            json!({
                "type": "object",
                "required": ["inner", "named", "flag"],
                "properties": {
                    "inner": { "type": "array", "description": "Two of them.", "items": {
                        "type": "object", "required": ["title", "format"],
                        "properties": { "title": { "type": "string" }, "format": { "type": "number" } } } },
                    "named": { "type": "object", "additionalProperties":
                        { "type": "integer", "minimum": 0, "maximum": 255 } },
                    "flag": { "type": "boolean" },
                    "maybe": { "type": ["integer", "null"] },
                },
            })
        );
    }
}
