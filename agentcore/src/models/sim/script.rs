//! Where a script comes from: the instructions, or a program.

use std::sync::{Mutex, PoisonError};

use shared_models::message::Message;

use super::turn::Turn;
use crate::model::ModelRequest;

/// A script that a program wrote: a turn for each call, whoever makes it.
pub(super) struct Script {
    turns: Vec<Turn>,
    asked: Mutex<Vec<ModelRequest>>,
}

impl Script {
    pub(super) fn new(turns: Vec<Turn>) -> Self {
        Self { turns, asked: Mutex::default() }
    }

    pub(super) fn next(&self, request: &ModelRequest) -> Option<&Turn> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(request.clone());
        nth(&self.turns, asked.len() - 1)
    }

    pub(super) fn asked(&self) -> Vec<ModelRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A turn of a script, whose last one may go on for ever.
pub(super) fn nth(turns: &[Turn], index: usize) -> Option<&Turn> {
    turns.get(index).or_else(|| turns.last().filter(|turn| turn.repeat))
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
}
