//! Schemas of a document as JSON Schemas that stand alone: references written out, OpenAPI 3.0's own words translated,
//! what says nothing to a model left out.

use serde_json::{Map, Value, json};

use super::refs::Refs;

/// How many nodes the schemas of one operation may have in all; a model reads each of them with every call.
const BUDGET: usize = 1500;
const DEEPEST: usize = 24;

const PLAIN: [&str; 22] = [
    "type",
    "enum",
    "const",
    "default",
    "description",
    "title",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
    "nullable",
];
const ONE: [&str; 5] = ["items", "additionalProperties", "not", "contains", "propertyNames"];
const MANY: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 2] = ["properties", "patternProperties"];

pub(super) struct Schemas<'a> {
    refs: &'a Refs<'a>,
    budget: usize,
    /// The references being written out just now, outermost first.
    open: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(refs: &'a Refs<'a>) -> Self {
        Self { refs, budget: BUDGET, open: Vec::new(), warnings: Vec::new() }
    }

    /// The schema as it can stand in a tool's parameters.
    pub(super) fn write_out(&mut self, schema: &Value) -> Value {
        let Some(fields) = schema.as_object() else {
            return if schema.is_boolean() { schema.clone() } else { json!({}) };
        };
        if self.budget == 0 || self.open.len() > DEEPEST {
            self.warn("the schema is too large: what is deepest in it is left open");
            return json!({});
        }
        self.budget -= 1;
        match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.referred(reference, fields),
            None => self.written(fields),
        }
    }

    fn referred(&mut self, reference: &str, beside: &Map<String, Value>) -> Value {
        if self.open.iter().any(|open| open == reference) {
            self.warn(&format!("`{reference}` contains itself: the inner one is left open"));
            return json!({ "description": "the same again" });
        }
        let target = match self.refs.find(reference) {
            Ok(target) => target,
            Err(why) => {
                self.warn(&why);
                return json!({});
            }
        };
        self.open.push(reference.to_owned());
        let mut written = self.write_out(target);
        self.open.pop();
        if let (Some(fields), Some(description)) =
            (written.as_object_mut(), beside.get("description").filter(|text| text.is_string()))
        {
            fields.insert("description".into(), description.clone());
        }
        written
    }

    fn written(&mut self, fields: &Map<String, Value>) -> Value {
        let mut written = Map::new();
        // Depth counts through everything that nests.
        self.open.push(String::new());
        for (key, value) in fields {
            let name = key.as_str();
            if PLAIN.contains(&name) {
                written.insert(key.clone(), value.clone());
            } else if ONE.contains(&name) {
                written.insert(key.clone(), self.write_out(value));
            } else if MANY.contains(&name) {
                let all = value.as_array().into_iter().flatten();
                let all = all.map(|schema| self.write_out(schema)).collect();
                written.insert(key.clone(), Value::Array(all));
            } else if NAMED.contains(&name) {
                written.insert(key.clone(), self.named(value));
            }
        }
        self.open.pop();
        translate(&mut written);
        drop_read_only(&mut written, fields);
        Value::Object(written)
    }

    fn named(&mut self, schemas: &Value) -> Value {
        let mut written = Map::new();
        for (name, schema) in schemas.as_object().into_iter().flatten() {
            let read_only = self.refs.resolve_any(schema).get("readOnly") == Some(&json!(true));
            if !read_only {
                let schema = self.write_out(schema);
                written.insert(name.clone(), schema);
            }
        }
        Value::Object(written)
    }

    pub(super) fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|known| known == warning) {
            self.warnings.push(warning.to_owned());
        }
    }
}

/// OpenAPI 3.0 to JSON Schema, and what no validator could read.
fn translate(schema: &mut Map<String, Value>) {
    for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match schema.get(flag) {
            Some(Value::Bool(true)) => {
                let bound = schema.remove(limit);
                schema.remove(flag);
                schema.extend(bound.map(|bound| (flag.to_owned(), bound)));
            }
            Some(Value::Bool(false)) => drop(schema.remove(flag)),
            _ => {}
        }
    }
    if schema.remove("nullable") == Some(Value::Bool(true)) {
        if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string()) {
            *kind = json!([kind, "null"]);
        }
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
            values.dedup();
        }
    }
    let unreadable = |pattern: &Value| {
        agentcore::validate::check_schema(&json!({ "pattern": pattern })).is_err()
    };
    if schema.get("pattern").is_some_and(unreadable) {
        schema.remove("pattern");
    }
}

/// What the server alone sets is not required of a caller.
fn drop_read_only(written: &mut Map<String, Value>, declared: &Map<String, Value>) {
    let Some(properties) = declared.get("properties").and_then(Value::as_object) else { return };
    let left: Vec<String> = written
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = written.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| {
            let name = name.as_str().unwrap_or_default();
            !properties.contains_key(name) || left.iter().any(|left| left == name)
        });
    }
}
