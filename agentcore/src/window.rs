//! When a conversation grows beyond what its model can read, and how it is shortened: a summary stands for the oldest
//! turns, the last ones stay whole. Decided from the conversation alone, so that a replay decides the same.

use serde::{Deserialize, Serialize};
use shared_models::message::{Content, Message, ToolCall};

use crate::models::KnownModels;

/// How much a model can read, in tokens, and what to keep of it.
///
/// ```
/// use agentcore::Window;
///
/// assert_eq!(Window::of_model("openai:gpt-4o"), Some(Window::new(128_000)));
/// let careful = Window { fill_percent: 50, ..Window::new(8_000) };
/// assert_eq!(careful.keep_turns, Window::KEEP_TURNS);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub tokens: u64,
    /// A conversation is shortened when it fills this much of the window, in per cent.
    pub fill_percent: u64,
    /// The newest turns, never summarised while there are older ones.
    pub keep_turns: usize,
}

/// What stands for the oldest messages when the model is asked.
///
/// ```
/// use agentcore::Conversation;
///
/// let conversation = Conversation::new("").with_summary("They have met before.");
/// assert_eq!(conversation.summary().map(|summary| summary.messages), Some(0), "of another one's messages");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub text: String,
    /// How many messages it stands for.
    pub messages: usize,
}

impl Window {
    pub const FILL_PERCENT: u64 = 80;
    pub const KEEP_TURNS: usize = 4;

    pub fn new(tokens: u64) -> Self {
        Self { tokens, fill_percent: Self::FILL_PERCENT, keep_turns: Self::KEEP_TURNS }
    }

    /// The window of a model named as an agent's is, where it is known.
    pub fn of_model(name: &str) -> Option<Self> {
        KnownModels::default().of(name).map(|known| Self::new(known.window))
    }

    fn limit(&self) -> u64 {
        self.tokens.saturating_mul(self.fill_percent) / 100
    }
}

/// How many messages from the start a new summary should stand for; none while everything fits, or nothing can be spared.
pub(crate) fn to_summarise(
    window: Window,
    instructions: &str,
    summary: Option<&Summary>,
    messages: &[Message],
) -> Option<usize> {
    let done = summary.map_or(0, |summary| summary.messages);
    let told = tokens(instructions) + summary.map_or(0, |summary| tokens(&summary.text));
    let open = messages.get(done..)?;
    let all: u64 = open.iter().map(tokens_of).sum();
    if told + all <= window.limit() {
        return None;
    }
    let starts: Vec<usize> = open
        .iter()
        .enumerate()
        .filter(|(_, message)| matches!(message, Message::User { .. } | Message::Assistant { .. }))
        .map(|(index, _)| index)
        .collect();
    let spared = |upto: usize| -> u64 { open.iter().take(upto).map(tokens_of).sum() };
    let most = window.keep_turns.max(1).min(starts.len().saturating_sub(1));
    // As many whole turns as leave room for more to come; one, where even the last ones are long.
    let mut keeps = (1..=most).rev();
    let upto = keeps.find_map(|keep| {
        let upto = *starts.get(starts.len().checked_sub(keep)?)?;
        let fits = told + all - spared(upto) <= window.limit() / 2;
        (fits || keep == 1).then_some(upto)
    })?;
    // A summary of next to nothing would cost a call and gain nothing.
    (spared(upto) >= window.limit() / 10).then_some(done + upto)
}

/// The messages a model is asked with when a summary stands for the first ones. What the user said last stays in their
/// own words.
pub(crate) fn shortened(summary: &Summary, messages: &[Message]) -> Vec<Message> {
    let (old, new) = messages.split_at(summary.messages.min(messages.len()));
    let intro = "Summary of the conversation so far, in place of its older messages:";
    let mut shown = vec![Message::user(format!("{intro}\n{}", summary.text))];
    let said = |message: &&Message| matches!(message, Message::User { .. });
    if !new.iter().any(|message| said(&message)) {
        shown.extend(old.iter().rev().find(said).cloned());
    }
    shown.extend_from_slice(new);
    shown
}

const TASK: &str = "Summarise the conversation you are given, so that the assistant can go on with it without reading \
                    it again. Keep what was asked, what was decided and found out, names, numbers and identifiers, and what is \
                    still open. Leave out pleasantries. Answer with the summary alone.";

/// What the model is asked with for a summary of the first `upto` messages.
pub(crate) fn summary_prompt(
    window: Option<Window>,
    summary: Option<&Summary>,
    messages: &[Message],
    upto: usize,
) -> Vec<Message> {
    let done = summary.map_or(0, |summary| summary.messages).min(upto);
    let mut text = String::new();
    if let Some(summary) = summary {
        text = format!("[summary of what came before] {}\n", summary.text);
    }
    for message in messages.iter().take(upto).skip(done) {
        text.push_str(&line(message));
        text.push('\n');
    }
    // The request must itself fit, with room for the answer.
    let most = window.map_or(u64::MAX, |window| window.limit().saturating_mul(BYTES_PER_TOKEN));
    vec![Message::system(TASK), Message::user(cut_middle(text, most as usize))]
}

fn line(message: &Message) -> String {
    match message {
        Message::System { content } => format!("[system] {content}"),
        Message::User { content } => format!("[user] {}", content.text()),
        Message::Assistant { content, tool_calls, .. } => {
            let call = |call: &ToolCall| format!(" [calls {} {}]", call.name, call.arguments);
            format!("[assistant] {content}{}", tool_calls.iter().map(call).collect::<String>())
        }
        Message::Tool { tool_name, content, .. } => format!("[tool {tool_name}] {content}"),
    }
}

fn cut_middle(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let half = most / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}\n[…]\n{}", &text[..head], &text[tail..])
}

const BYTES_PER_TOKEN: u64 = 4;
/// Roles, separators and the like.
const PER_MESSAGE: u64 = 4;

/// An estimate that errs on the high side for English text: four bytes each.
fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

fn tokens_of(message: &Message) -> u64 {
    let said = match message {
        Message::System { content } | Message::Tool { content, .. } => tokens(content),
        Message::User { content: Content::Text(text) } => tokens(text),
        Message::User { content: Content::Blocks(blocks) } => blocks.iter().map(block).sum(),
        Message::Assistant { content, tool_calls, .. } => {
            let call = |call: &ToolCall| tokens(&call.name) + tokens(&call.arguments);
            tokens(content) + tool_calls.iter().map(call).sum::<u64>()
        }
    };
    said + PER_MESSAGE
}

/// What providers count for an image, roughly; documents vary too much to say better.
const PER_ATTACHMENT: u64 = 1_000;

fn block(block: &shared_models::message::Block) -> u64 {
    match block {
        shared_models::message::Block::Text { text } => tokens(text),
        shared_models::message::Block::Image { .. }
        | shared_models::message::Block::Document { .. } => PER_ATTACHMENT,
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
