//! What `sim:script` plays.

use serde::Deserialize;
use serde_json::Value;
use shared_models::message::Message;

/// One reply of the simulated model. The first turn answers the user, the next one the tools it called, and so on; a
/// new message of the user begins the script again.
///
/// `{{input}}` stands for the last thing the user said and `{{last_tool_result}}` for what the last tool said, in the
/// text and in every string of the arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turn {
    pub text: String,
    pub tool_calls: Vec<ScriptedCall>,
    /// How long the model thinks.
    pub delay_ms: u64,
    pub fail: Option<Fail>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    pub name: String,
    #[serde(default)]
    pub arguments: Value,
}

/// Answers like a provider in trouble.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// The HTTP status to fail with.
    pub status: u16,
    /// How often, before it answers; always, when left out.
    #[serde(default)]
    pub times: Option<u32>,
    /// In seconds.
    #[serde(default)]
    pub retry_after: Option<u64>,
}

impl Turn {
    pub(super) fn spoken(self, input: &str, last_result: &str) -> (String, Vec<(String, Value)>) {
        let say = |text: &str| {
            // One pass, so that nothing the user or a tool says is taken for a placeholder.
            let parts = text.split("{{input}}");
            let parts = parts.map(|part| part.replace("{{last_tool_result}}", last_result));
            parts.collect::<Vec<_>>().join(input)
        };
        let calls = self.tool_calls.into_iter().map(|call| {
            let arguments = match call.arguments {
                Value::Null => Value::Object(serde_json::Map::new()),
                arguments => replaced(arguments, &say),
            };
            (call.name, arguments)
        });
        (say(&self.text), calls.collect())
    }
}

fn replaced(value: Value, say: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(say(&text)),
        Value::Array(items) => items.into_iter().map(|item| replaced(item, say)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, replaced(field, say))).collect()
        }
        other => other,
    }
}

/// The script in the first system message that has one.
pub(super) fn read(messages: &[Message]) -> Result<Vec<Turn>, String> {
    let block = messages.iter().find_map(|message| match message {
        Message::System { content } => fenced(content),
        Message::User { .. } | Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    let block = block.ok_or("sim:script needs a ```sim block in the instructions")?;
    serde_json::from_str(block).map_err(|error| format!("the ```sim block is no script: {error}"))
}

fn fenced(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("```sim")?;
    Some(after.split_once("```").map_or(after, |(block, _)| block))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_is_read_from_the_instructions() {
        let prompt = "You are a test.\n```sim\n[{\"text\": \"hi\"}, {\"delay_ms\": 5}]\n```\nBye.";
        let turns = read(&[Message::system("none here"), Message::system(prompt)]).unwrap();
        let second = Turn { delay_ms: 5, ..Turn::default() };
        assert_eq!(turns, [Turn { text: "hi".into(), ..Turn::default() }, second]);
    }

    #[test]
    fn a_missing_or_wrong_script_says_what_is_wrong() {
        assert!(read(&[Message::system("no")]).unwrap_err().contains("needs a ```sim block"));
        let wrong = read(&[Message::system("```sim\n[{\"txt\": 1}]\n```")]).unwrap_err();
        assert!(wrong.contains("unknown field `txt`"), "{wrong}");
    }

    #[test]
    fn placeholders_are_filled_everywhere_but_not_twice() {
        let turn: Turn = serde_json::from_value(json!({
            "text": "{{input}} -> {{last_tool_result}}",
            "tool_calls": [{ "name": "a", "arguments": { "x": ["{{input}}", 1] } }, { "name": "b" }],
        }))
        .unwrap();

        let (text, calls) = turn.spoken("{{last_tool_result}}", "{{input}}");

        assert_eq!(text, "{{last_tool_result}} -> {{input}}");
        let first = ("a".into(), json!({ "x": ["{{last_tool_result}}", 1] }));
        assert_eq!(calls, [first, ("b".into(), json!({}))]);
    }
}
