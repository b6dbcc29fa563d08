//! What a simulated model takes in of a conversation.

use shared_models::message::Message;

use crate::model::ModelRequest;

#[derive(Default)]
pub(super) struct Heard {
    /// The last thing the user said.
    pub(super) input: String,
    /// How often the model has answered since.
    pub(super) replies: usize,
    pub(super) last_tool_result: String,
    /// Whether that result came since the user spoke, and from which tool.
    pub(super) tool_answered: Option<String>,
    pub(super) replies_ever: usize,
    /// In words, each of which counts as a token.
    pub(super) words: u64,
}

impl From<&ModelRequest> for Heard {
    fn from(request: &ModelRequest) -> Self {
        let mut heard = Self::default();
        for message in &request.messages {
            heard.take(message);
        }
        heard
    }
}

impl Heard {
    fn take(&mut self, message: &Message) {
        match message {
            Message::System { content } => self.words += words(content),
            Message::User { content } => {
                self.input = content.text();
                self.words += words(&self.input);
                self.replies = 0;
                self.tool_answered = None;
            }
            Message::Assistant { content, tool_calls, .. } => {
                let called = tool_calls.iter().map(|call| 1 + words(&call.arguments));
                self.words += words(content) + called.sum::<u64>();
                self.replies += 1;
                self.replies_ever += 1;
            }
            Message::Tool { content, tool_name, .. } => {
                self.words += words(content);
                self.last_tool_result.clone_from(content);
                self.tool_answered = Some(tool_name.clone());
            }
        }
    }
}

/// A word counts as a token.
pub(super) fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}
