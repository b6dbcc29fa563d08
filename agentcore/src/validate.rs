//! Arguments of a tool call against the tool's JSON Schema, in words a model can act on.

use serde_json::Value;

/// More would not help a model, and an answer is paid for by the word.
const MOST_ERRORS: usize = 20;
const LONGEST_ERROR: usize = 300;

/// Reads the arguments a model wrote. The error lists everything that is wrong with them, each by its JSON pointer.
///
/// No arguments at all are an empty object, as several models write nothing for a tool without parameters.
pub fn check_arguments(schema: &Value, arguments: &str) -> Result<Value, String> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let value: Value = serde_json::from_str(arguments)
        .map_err(|error| format!("the arguments are not JSON: {error}"))?;
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("the tool's own schema is broken: {}", short(&error)))?;
    let mut errors: Vec<String> = validator
        .iter_errors(&value)
        .take(MOST_ERRORS + 1)
        .map(|error| match error.instance_path().as_str() {
            "" => short(&error),
            pointer => format!("{pointer}: {}", short(&error)),
        })
        .collect();
    if errors.is_empty() {
        return Ok(value);
    }
    if errors.len() > MOST_ERRORS {
        errors.truncate(MOST_ERRORS);
        errors.push("and more".into());
    }
    Err(format!("the arguments do not fit the tool's schema: {}", errors.join("; ")))
}

/// Whether this is a JSON Schema at all.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    jsonschema::validator_for(schema).map(|_| ()).map_err(|error| short(&error))
}

fn short(error: &jsonschema::ValidationError<'_>) -> String {
    let text = error.to_string();
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({ "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 1 } } })
    }

    #[test]
    fn arguments_that_fit_are_returned() {
        let arguments = check_arguments(&schema(), r#"{"city":"Bern","days":2}"#);
        assert_eq!(arguments, Ok(json!({ "city": "Bern", "days": 2 })));
        assert_eq!(check_arguments(&json!({ "type": "object" }), "  "), Ok(json!({})));
    }

    #[test]
    fn every_error_is_listed_with_its_place() {
        let error = check_arguments(&schema(), r#"{"days":0,"wind":true}"#).unwrap_err();

        for part in ["/days: 0 is less than the minimum of 1", "\"city\" is a required", "wind"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn what_is_not_json_is_named_with_its_place() {
        let error = check_arguments(&schema(), r#"{"city": Bern}"#).unwrap_err();
        assert!(error.starts_with("the arguments are not JSON"), "{error}");
        assert!(error.contains("line 1 column 10"), "{error}");
    }

    #[test]
    fn long_errors_are_shortened() {
        let many = json!({ "type": "array", "items": { "type": "integer" } });
        let arguments = json!(vec!["é".repeat(10_000); 100]).to_string();

        let error = check_arguments(&many, &arguments).unwrap_err();

        assert!(error.len() < 20 * 800 && error.ends_with("and more"), "{}", error.len());
    }

    #[test]
    fn a_broken_schema_is_an_error_not_a_crash() {
        assert!(check_arguments(&json!({ "type": "strin" }), "{}").is_err());
        assert!(check_schema(&json!({ "type": 5 })).is_err());
        assert!(check_schema(&json!({ "$ref": "http://127.0.0.1:1/s.json" })).is_err());
        assert_eq!(check_schema(&schema()), Ok(()));
    }
}
