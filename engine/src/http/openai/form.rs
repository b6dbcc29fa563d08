//! What an answer should be like: `tool_choice` and `response_format`.

use std::sync::Arc;

use agentcore::{OutputForm, ToolChoice};
use serde_json::{Value, json};
use servicekit::FieldError;

/// Whether the model has to call one of these functions.
pub(super) fn tool_choice(
    choice: Option<&Value>,
    functions: &[&str],
) -> Result<ToolChoice, FieldError> {
    let refuse = |why: String| Err(FieldError::new("/tool_choice", why));
    let word = choice.and_then(Value::as_str);
    match (choice, word) {
        (None | Some(Value::Null), _) | (_, Some("auto")) => Ok(ToolChoice::Auto),
        (_, Some("none")) => Ok(ToolChoice::None),
        (_, Some("required")) if functions.is_empty() => refuse("there are no tools".into()),
        (_, Some("required")) => Ok(ToolChoice::Required),
        (Some(choice), _) => match choice["function"]["name"].as_str() {
            Some(name) if choice["type"] == "function" && functions.contains(&name) => {
                Ok(ToolChoice::Tool(name.to_owned()))
            }
            Some(name) if choice["type"] == "function" => {
                refuse(format!("there is no function `{name}`"))
            }
            _ => refuse("`auto`, `none`, `required`, or a function by its name".into()),
        },
    }
}

const LONGEST_SCHEMA: usize = 64 * 1024;

/// The form that the answer should have; none for plain text.
pub(super) fn output(format: Option<&Value>) -> Result<Option<Arc<OutputForm>>, FieldError> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    let form = match format["type"].as_str() {
        Some("text") => return Ok(None),
        Some("json_object") => {
            OutputForm { name: "object".into(), schema: json!({ "type": "object" }), strict: false }
        }
        Some("json_schema") => schema(&format["json_schema"])?,
        _ => {
            let why = "its type is `text`, `json_object` or `json_schema`";
            return Err(FieldError::new("/response_format", why));
        }
    };
    Ok(Some(Arc::new(form)))
}

fn schema(asked: &Value) -> Result<OutputForm, FieldError> {
    let refuse = |at: &str, why: String| {
        Err(FieldError::new(format!("/response_format/json_schema{at}"), why))
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = asked["name"].as_str().unwrap_or_default();
    if !(1..=64).contains(&name.len()) || !name.chars().all(fits) {
        return refuse("/name", "1 to 64 of A-Z, a-z, 0-9, `_` and `-`".into());
    }
    let schema = &asked["schema"];
    if !schema.is_object() || schema.to_string().len() > LONGEST_SCHEMA {
        return refuse("/schema", "a JSON Schema of at most 64 KiB".into());
    }
    if let Err(why) = agentcore::validate::check_schema(schema) {
        return refuse("/schema", why);
    }
    let strict = asked["strict"].as_bool().unwrap_or_default();
    Ok(OutputForm { name: name.to_owned(), schema: schema.clone(), strict })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_word_or_a_function_that_is_there() {
        let choice = |choice: Value| tool_choice(Some(&choice), &["look"]).ok();
        let named = |name: &str| json!({ "type": "function", "function": { "name": name } });

        assert_eq!(tool_choice(None, &[]), Ok(ToolChoice::Auto));
        assert_eq!(choice(Value::Null), Some(ToolChoice::Auto));
        assert_eq!(choice(json!("none")), Some(ToolChoice::None));
        assert_eq!(choice(json!("required")), Some(ToolChoice::Required));
        assert_eq!(choice(named("look")), Some(ToolChoice::Tool("look".into())));
        for wrong in [named("leap"), json!("always"), json!({ "type": "function" }), json!(7)] {
            assert_eq!(choice(wrong.clone()), None, "{wrong}");
        }
        assert!(tool_choice(Some(&json!("required")), &[]).is_err());
    }

    #[test]
    fn a_form_is_text_any_object_or_what_a_schema_says() {
        let form = |format: Value| output(Some(&format)).map_err(|error| error.pointer);
        let named = |name: &str, schema: Value| json!({ "type": "json_schema", "json_schema": { "name": name, "schema": schema, "strict": true } });

        assert_eq!((output(None), form(json!({ "type": "text" }))), (Ok(None), Ok(None)));
        let any = form(json!({ "type": "json_object" })).unwrap().unwrap();
        assert_eq!(any.schema, json!({ "type": "object" }));
        let one = form(named("n", json!({ "type": "integer" }))).unwrap().unwrap();
        assert_eq!((one.name.as_str(), one.strict), ("n", true));
        for (wrong, pointer) in [
            (json!("json"), "/response_format"),
            (named("a b", json!({})), "/response_format/json_schema/name"),
            (named("n", json!(7)), "/response_format/json_schema/schema"),
            (named("n", json!({ "type": "wrong" })), "/response_format/json_schema/schema"),
        ] {
            assert_eq!(form(wrong), Err(pointer.to_owned()));
        }
    }
}
