//! Structured output: what the model must write, and whether it did.

use std::sync::Arc;

use serde_json::Value;

use crate::model::OutputForm;
use crate::validate::Schema;

/// The type of an agent's output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutputType {
    pub(crate) form: Arc<OutputForm>,
}

impl OutputType {
    pub(crate) fn new(schema: Value) -> Result<Self, String> {
        Schema::new(&schema)?;
        let form = OutputForm { name: "output".into(), schema, strict: false };
        Ok(Self { form: Arc::new(form) })
    }
}

/// How the model is told, in the system prompt: every model understands that.
pub(crate) fn instruction(schema: &Value) -> String {
    format!(
        "Give your final answer as JSON alone, without any other text, fitting this JSON Schema:\n{schema}"
    )
}

/// What the model is told when its answer does not fit.
pub(crate) fn complaint(why: &str) -> String {
    format!("Your answer was not accepted: {why}. Answer again, with the corrected JSON alone.")
}

/// Reads an answer. A fence around the JSON is forgiven, as many models cannot help it.
pub(crate) fn read(schema: &Value, text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(unfenced(text))
        .map_err(|error| format!("the answer is not JSON: {error}"))?;
    Schema::new(schema)
        .and_then(|schema| schema.check(&value))
        .map_err(|why| format!("the answer does not fit the schema: {why}"))?;
    Ok(value)
}

/// The JSON of an answer that had to be JSON, with or without a fence around it.
///
/// ```
/// assert_eq!(agentcore::output_json("```json\n[1]\n```"), Some(serde_json::json!([1])));
/// assert_eq!(agentcore::output_json("one"), None);
/// ```
pub fn output_json(text: &str) -> Option<Value> {
    serde_json::from_str(unfenced(text)).ok()
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let Some(inside) = inside else { return text };
    inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_read_with_or_without_a_fence() {
        let schema = json!({ "type": "object", "required": ["n"],
            "properties": { "n": { "type": "integer" } } });

        for text in [r#"{"n":1}"#, " {\"n\": 1}\n", "```json\n{\"n\":1}\n```", "```\n{\"n\":1}```"]
        {
            assert_eq!(read(&schema, text), Ok(json!({ "n": 1 })), "{text}");
        }
        for (text, why) in [
            ("n is 1", "the answer is not JSON"),
            (r#"{"n":"one"}"#, "the answer does not fit the schema: /n"),
            ("```json\n```", "the answer is not JSON"),
        ] {
            let error = read(&schema, text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        assert_eq!(read(&json!({ "type": "integer" }), "7"), Ok(json!(7)), "not only objects");
    }
}
