//! How many tokens a request takes, in the worst case that is worth paying for.

use agentcore::{Block, Content, Message, ModelRequest};

/// What providers count for an image or a page, about.
const PER_ATTACHMENT: u64 = 3_000;
/// Roles, separators and the like.
const PER_MESSAGE: u64 = 8;

/// Above what tokenizers make of it: words in Latin letters take a token for more than three of them, everything else up to one
/// for each byte. What a provider counts beyond that is overshoot.
pub(crate) fn input_tokens(request: &ModelRequest) -> i64 {
    let said: u64 = request.messages.iter().map(message).sum();
    let shown = request.tools.iter().map(|tool| {
        PER_MESSAGE
            + text(&tool.name)
            + text(&tool.description)
            + text(&tool.parameters.to_string())
    });
    let form = request.output.as_ref().map_or(0, |form| text(&form.schema.to_string()));
    i64::try_from(said + shown.sum::<u64>() + form).unwrap_or(i64::MAX)
}

fn message(message: &Message) -> u64 {
    let said = match message {
        Message::System { content } | Message::Tool { content, .. } => text(content),
        Message::User { content: Content::Text(said) } => text(said),
        Message::User { content: Content::Blocks(blocks) } => blocks.iter().map(block).sum(),
        Message::Assistant { content, tool_calls, reasoning, .. } => {
            let called: u64 =
                tool_calls.iter().map(|call| text(&call.name) + text(&call.arguments)).sum();
            text(content) + called + reasoning.as_deref().map_or(0, text)
        }
    };
    said + PER_MESSAGE
}

fn block(block: &Block) -> u64 {
    match block {
        Block::Text { text: said } => text(said),
        Block::Image { .. } | Block::Document { .. } => PER_ATTACHMENT,
    }
}

fn text(text: &str) -> u64 {
    let plain = text.bytes().filter(|byte| byte.is_ascii_alphabetic() || *byte == b' ').count();
    let rest = text.len() - plain;
    (plain as u64).div_ceil(3) + rest as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_above_what_tokenizers_count() {
        // Counted with o200k_base: 10, 9 and 8 tokens.
        let table = [
            ("The quick brown fox jumps over the lazy dog.", 10),
            ("3.14159265358979323846", 9),
            ("東京都に住んでいます。", 8),
        ];
        for (said, counted) in table {
            assert!(text(said) >= counted, "{said}");
        }
    }

    #[test]
    fn everything_that_is_sent_counts() {
        let request = |messages| ModelRequest { messages, ..ModelRequest::default() };
        let one = input_tokens(&request(vec![Message::user("abc")]));
        let two = input_tokens(&request(vec![Message::system("abcabc"), Message::user("abc")]));
        assert_eq!((one, two), (9, 19));
    }
}
