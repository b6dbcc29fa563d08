//! How many tokens a request takes, about: on the high side for words, but an estimate. What a provider counts beyond it is overshoot.

use agentcore::{Block, Content, Message, ModelRequest};

/// What providers count for an image or a page, about.
const PER_ATTACHMENT: u64 = 3_000;
/// What models read at most of which nobody knows how much they read.
const LARGEST: u64 = 1_000_000;
/// Roles, separators and the like.
const PER_MESSAGE: u64 = 8;

/// Words in Latin letters are taken as a token for three of them, which is more than tokenizers make of prose and less than they make of
/// letters at random; everything else as one for each byte. Documents are taken by their bytes, but for no more than the model's
/// window; those that the provider fetches itself for all of the window, as nobody here knows how long they are.
pub(crate) fn input_tokens(request: &ModelRequest, window: Option<u64>) -> i64 {
    let window = window.unwrap_or(LARGEST);
    let said: u64 = request.messages.iter().map(|said| message(said, window)).sum();
    let shown = request.tools.iter().map(|tool| {
        PER_MESSAGE
            + text(&tool.name)
            + text(&tool.description)
            + text(&tool.parameters.to_string())
    });
    let form = request.output.as_ref().map_or(0, |form| text(&form.schema.to_string()));
    i64::try_from(said + shown.sum::<u64>() + form).unwrap_or(i64::MAX)
}

fn message(message: &Message, window: u64) -> u64 {
    let said = match message {
        Message::System { content } | Message::Tool { content, .. } => text(content),
        Message::User { content: Content::Text(said) } => text(said),
        Message::User { content: Content::Blocks(blocks) } => {
            blocks.iter().map(|shown| block(shown, window)).sum()
        }
        Message::Assistant { content, tool_calls, reasoning, .. } => {
            let called: u64 =
                tool_calls.iter().map(|call| text(&call.name) + text(&call.arguments)).sum();
            text(content) + called + reasoning.as_deref().map_or(0, text)
        }
    };
    said + PER_MESSAGE
}

fn block(block: &Block, window: u64) -> u64 {
    match block {
        Block::Text { text: said } => text(said),
        // Providers scale images down.
        Block::Image { .. } => PER_ATTACHMENT,
        // Four characters of Base64 are three bytes.
        Block::Document { url, .. } if url.starts_with("data:") => {
            (url.len() as u64 / 4 * 3).max(PER_ATTACHMENT).min(window)
        }
        Block::Document { .. } => window,
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
    fn the_estimate_of_prose_is_above_what_tokenizers_count() {
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
        let one = input_tokens(&request(vec![Message::user("abc")]), None);
        let two =
            input_tokens(&request(vec![Message::system("abcabc"), Message::user("abc")]), None);
        assert_eq!((one, two), (9, 19));
    }

    #[test]
    fn a_document_takes_what_it_is_long() {
        let takes = |url: String| block(&Block::Document { url, name: None }, 100_000);
        assert_eq!(takes(format!("data:text/plain;base64,{}", "a".repeat(40_001))), 30_018);
        assert_eq!(takes(format!("data:text/plain;base64,{}", "a".repeat(400_000))), 100_000);
        assert_eq!(takes("data:text/plain;base64,YQ==".into()), PER_ATTACHMENT);
        assert_eq!(takes("https://example.com/a.pdf".into()), 100_000);
    }
}
