//! One OpenAPI document out of those of all services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use shared_models::Service;

const SCHEMAS: &str = "#/components/schemas/";

/// Merges the services' documents into the public one: routes under `/internal` are left out, schemas that differ
/// under one name get their service's name in front, and operation ids are unique. Pure; the order decides who keeps
/// a name.
pub fn merge(documents: &[(Service, Value)]) -> Value {
    let mut merged = Merged::default();
    for (service, document) in documents {
        merged.add(*service, document);
    }
    merged.finish()
}

#[derive(Default)]
struct Merged {
    paths: Map<String, Value>,
    schemas: BTreeMap<String, Value>,
    security: Map<String, Value>,
    operation_ids: BTreeSet<String>,
}

impl Merged {
    fn add(&mut self, service: Service, document: &Value) {
        let schemas = object(&document["components"]["schemas"]);
        let renamed = self.renames(service, schemas);
        for (name, schema) in schemas {
            let name = renamed.get(name).unwrap_or(name).clone();
            self.schemas.entry(name).or_insert_with(|| rewritten(schema, &renamed));
        }
        for (name, scheme) in object(&document["components"]["securitySchemes"]) {
            self.security.entry(name.clone()).or_insert_with(|| scheme.clone());
        }
        for (path, item) in object(&document["paths"]) {
            if !path.starts_with("/internal/") {
                self.add_path(service, path, rewritten(item, &renamed));
            }
        }
    }

    /// Which of a service's schemas need another name: those that differ from one we have, and so on for those that
    /// refer to them.
    fn renames(&self, service: Service, schemas: &Map<String, Value>) -> BTreeMap<String, String> {
        let mut renamed = BTreeMap::new();
        loop {
            let conflict = schemas.iter().find(|(name, schema)| {
                !renamed.contains_key(*name)
                    && self
                        .schemas
                        .get(*name)
                        .is_some_and(|known| *known != rewritten(schema, &renamed))
            });
            let Some((name, _)) = conflict else { return renamed };
            renamed.insert(name.clone(), format!("{}{name}", capitalised(service.name())));
        }
    }

    fn add_path(&mut self, service: Service, path: &str, mut item: Value) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(id) =
                operation.get("operationId").and_then(Value::as_str).map(str::to_owned)
            {
                let unique =
                    if self.operation_ids.contains(&id) { format!("{service}_{id}") } else { id };
                operation["operationId"] = json!(unique);
                self.operation_ids.insert(unique);
            }
        }
        match (self.paths.get_mut(path).and_then(Value::as_object_mut), item) {
            (Some(known), Value::Object(item)) => {
                for (method, operation) in item {
                    known.entry(method).or_insert(operation);
                }
            }
            (_, item) => {
                self.paths.insert(path.to_owned(), item);
            }
        }
    }

    fn finish(self) -> Value {
        let mut paths = self.paths;
        paths.sort_keys();
        let paths = Value::Object(paths);
        // What only internal routes spoke of is nobody's business.
        let mut wanted = BTreeSet::new();
        reach(&paths, &self.schemas, &mut wanted);
        let schemas: Map<String, Value> =
            self.schemas.into_iter().filter(|(name, _)| wanted.contains(name)).collect();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Switchyard",
                "description": "Events become agent work. Everything here takes an API key \
                    (`Authorization: Bearer sy_…`) unless it says otherwise; errors are RFC 9457 problems whose codes \
                    are listed at `/errors`.",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "paths": paths,
            "components": { "schemas": schemas, "securitySchemes": self.security },
        })
    }
}

/// Collects the names of all schemas that a value refers to, however indirectly.
fn reach(value: &Value, schemas: &BTreeMap<String, Value>, wanted: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(SCHEMAS)
                && wanted.insert(name.to_owned())
                && let Some(schema) = schemas.get(name)
            {
                reach(schema, schemas, wanted);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| reach(item, schemas, wanted)),
        Value::Object(fields) => fields.values().for_each(|field| reach(field, schemas, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The same with references to renamed schemas changed.
fn rewritten(value: &Value, renamed: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let new = text.strip_prefix(SCHEMAS).and_then(|name| renamed.get(name));
            json!(new.map_or_else(|| text.clone(), |name| format!("{SCHEMAS}{name}")))
        }
        Value::Array(items) => items.iter().map(|item| rewritten(item, renamed)).collect(),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, field)| (name.clone(), rewritten(field, renamed)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(schemas: Value, paths: Value) -> Value {
        json!({ "components": { "schemas": schemas }, "paths": paths })
    }

    fn get(id: &str, schema: &str) -> Value {
        json!({ "get": { "operationId": id, "responses": { "200": { "content": {
            "application/json": { "schema": { "$ref": format!("{SCHEMAS}{schema}") } } } } } } })
    }

    #[test]
    fn schemas_that_differ_under_one_name_are_kept_apart_with_all_that_refer_to_them() {
        let page = json!({ "items": { "$ref": "#/components/schemas/Entry" } });
        let problem = json!({ "type": "object" });
        let one = document(
            json!({ "Entry": { "a": 1 }, "Page": page, "Problem": problem }),
            json!({ "/v1/one": get("list", "Page"), "/v1/problem": get("problem", "Problem") }),
        );
        let other = document(
            json!({ "Entry": { "b": 2 }, "Page": page, "Problem": problem, "Secret": {} }),
            json!({ "/v1/other": get("list", "Page"), "/internal/secret": get("secret", "Secret") }),
        );

        let merged = merge(&[(Service::Credsvc, one), (Service::Engine, other)]);

        let names: Vec<&String> = object(&merged["components"]["schemas"]).keys().collect();
        assert_eq!(names, ["EngineEntry", "EnginePage", "Entry", "Page", "Problem"]);
        assert_eq!(
            merged["components"]["schemas"]["EnginePage"]["items"]["$ref"],
            "#/components/schemas/EngineEntry"
        );
        let operation = &merged["paths"]["/v1/other"]["get"];
        assert_eq!(operation["operationId"], "engine_list");
        assert_eq!(
            operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/EnginePage"
        );
        assert_eq!(merged["paths"]["/v1/one"]["get"]["operationId"], "list");
        assert!(merged["paths"].get("/internal/secret").is_none());
    }
}
