//! A question to a person. The run waits, holding nothing, until somebody answers.

use serde_json::{Value, json};

use super::{BuiltinConfig, text};
use crate::toolbox::{Outcome, Waiting};

const LONGEST: usize = 16 * 1024;

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "required": ["question"],
        "properties": { "question": { "type": "string", "minLength": 1, "maxLength": LONGEST } } });
    (
        "Asks a person and waits for the answer. Use it when you cannot go on without them.",
        parameters,
    )
}

pub(super) fn call(config: &BuiltinConfig, arguments: &Value) -> Outcome {
    let Some(question) = text(arguments, "question") else {
        return Outcome::Failed("there is no question".into());
    };
    Outcome::Waits(Waiting::Input {
        question: question.replace('\0', "\u{fffd}"),
        answer: config.answer.clone(),
    })
}
