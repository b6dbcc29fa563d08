//! Arguments of a tool call against the tool's JSON Schema, in words a model can act on.

use serde_json::Value;

/// More would not help a model, and an answer is paid for by the word.
const MOST_ERRORS: usize = 20;
const LONGEST_ERROR: usize = 300;

/// Arguments longer than this are not read.
pub const LONGEST_ARGUMENTS: usize = 1024 * 1024;

/// A JSON Schema, made ready once and used for every call.
///
/// ```
/// use agentcore::validate::Schema;
/// use serde_json::json;
///
/// let schema = Schema::new(&json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } }))?;
/// assert_eq!(schema.check_arguments(r#"{ "n": 1 }"#)?, json!({ "n": 1 }));
/// assert!(schema.check_arguments("[1]").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
}

impl Schema {
    /// The error says what is wrong with the schema. References to other documents are refused.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(schema).map_err(|error| short(&error))?;
        Ok(Self { validator })
    }

    /// Everything that is wrong with a value, each by its JSON pointer.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let errors = self.validator.iter_errors(value).take(MOST_ERRORS + 1);
        let mut errors: Vec<String> = errors
            .map(|error| match error.instance_path().as_str() {
                "" => short(&error),
                pointer => format!("{pointer}: {}", short(&error)),
            })
            .collect();
        if errors.len() > MOST_ERRORS {
            errors.truncate(MOST_ERRORS);
            errors.push("and more".into());
        }
        Err(errors.join("; "))
    }

    /// Reads the arguments a model wrote for a tool. No arguments at all are an empty object, as several models write
    /// nothing for a tool without parameters.
    pub fn check_arguments(&self, arguments: &str) -> Result<Value, String> {
        let value = read_arguments(arguments)?;
        self.check(&value).map_err(unfit)?;
        Ok(value)
    }
}

/// Like [`Schema::check_arguments`], for a schema that is used once.
///
/// ```
/// use agentcore::validate::check_arguments;
/// use serde_json::json;
///
/// let read = check_arguments(&json!({ "type": "object" }), "")?;
/// assert_eq!(read, json!({}), "several models write nothing for a tool without parameters");
/// # Ok::<(), String>(())
/// ```
pub fn check_arguments(schema: &Value, arguments: &str) -> Result<Value, String> {
    let value = read_arguments(arguments)?;
    let schema =
        Schema::new(schema).map_err(|why| format!("the tool's own schema is broken: {why}"))?;
    schema.check(&value).map_err(unfit)?;
    Ok(value)
}

fn unfit(why: String) -> String {
    format!("the arguments do not fit the tool's schema: {why}")
}

fn read_arguments(arguments: &str) -> Result<Value, String> {
    if arguments.len() > LONGEST_ARGUMENTS || arguments.starts_with(TOO_LONG) {
        let kept = arguments.strip_prefix(TOO_LONG).and_then(|rest| rest.split_once(']'));
        let bytes = kept.map_or_else(|| arguments.len().to_string(), |(bytes, _)| bytes.to_owned());
        return Err(format!(
            "the arguments have {bytes} bytes; more than {LONGEST_ARGUMENTS} are not taken"
        ));
    }
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let value: Value = serde_json::from_str(arguments)
        .map_err(|error| format!("the arguments are not JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("the arguments are not a JSON object".into()) }
}

/// How arguments begin that were too long to be kept.
const TOO_LONG: &str = "[arguments left out, bytes: ";
const KEPT: usize = 200;

/// What stays in a conversation of arguments that are too long: not JSON, so that they are refused the same way whenever
/// they are looked at again.
pub(crate) fn without_excess(arguments: String) -> String {
    if arguments.len() <= LONGEST_ARGUMENTS {
        return arguments;
    }
    let kept = arguments.get(..arguments.floor_char_boundary(KEPT)).unwrap_or_default();
    format!("{TOO_LONG}{}] {kept}", arguments.len())
}

/// Whether this is a JSON Schema at all.
///
/// ```
/// use agentcore::validate::check_schema;
/// use serde_json::json;
///
/// assert!(check_schema(&json!({ "type": "object" })).is_ok());
/// assert!(check_schema(&json!({ "type": "wrong" })).is_err());
/// ```
pub fn check_schema(schema: &Value) -> Result<(), String> {
    Schema::new(schema).map(|_| ())
}

/// What is wrong, in few words: a value that is too long to quote is not quoted.
fn short(error: &jsonschema::ValidationError<'_>) -> String {
    let mut text = error.to_string();
    if text.chars().nth(LONGEST_ERROR).is_some() {
        text = error.masked().to_string();
    }
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
        let many =
            json!({ "properties": { "n": { "type": "array", "items": { "type": "integer" } } } });
        let arguments = json!({ "n": vec!["é".repeat(1_000); 100] }).to_string();

        let error = check_arguments(&many, &arguments).unwrap_err();

        assert!(error.len() < 20 * 800 && error.ends_with("and more"), "{}", error.len());
    }

    #[test]
    fn arguments_that_are_no_object_are_refused_whatever_the_schema_says() {
        for arguments in ["[1]", "1", "null", "\"{}\""] {
            let error = check_arguments(&json!({}), arguments).unwrap_err();
            assert_eq!(error, "the arguments are not a JSON object");
        }
    }

    #[test]
    fn arguments_that_are_too_long_are_refused_the_same_way_before_and_after_they_are_cut() {
        let long = format!("{{\"x\":\"{}\"}}", "é".repeat(LONGEST_ARGUMENTS));
        let refused = check_arguments(&json!({}), &long).unwrap_err();

        let cut = without_excess(long);

        assert!(cut.len() < 300, "{}", cut.len());
        assert_eq!(check_arguments(&json!({}), &cut), Err(refused.clone()));
        assert!(refused.starts_with("the arguments have 2097160 bytes"), "{refused}");
        assert_eq!(without_excess("{}".into()), "{}");
    }

    #[test]
    fn a_broken_schema_is_an_error_not_a_crash() {
        assert!(check_arguments(&json!({ "type": "strin" }), "{}").is_err());
        assert!(check_schema(&json!({ "type": 5 })).is_err());
        assert!(check_schema(&json!({ "$ref": "http://127.0.0.1:1/s.json" })).is_err());
        assert_eq!(check_schema(&schema()), Ok(()));
    }
}
