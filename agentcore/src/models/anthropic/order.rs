//! In which order a reply was said. Thinking comes between words and calls, and is to be sent back exactly there, signed
//! as it came ("Extended thinking", section on preserving thinking blocks).

use serde::{Deserialize, Serialize};
use serde_json::{Value, from_value, to_value};
use shared_models::message::Replay;

use super::Anthropic;

/// A piece of a reply: a block to send back as it is, so many bytes of the text, or the next call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Piece {
    Thinking(Value),
    Text(usize),
    Call,
}

/// Nothing without thinking: words and calls are in the usual order then.
pub(super) fn keep(pieces: Vec<Piece>) -> Option<Replay> {
    if !pieces.iter().any(|piece| matches!(piece, Piece::Thinking(_))) {
        return None;
    }
    let data = to_value(pieces).ok()?;
    Some(Replay { provider: Anthropic::NAME.into(), data })
}

/// The order of a message with this text and so many calls, if it is one of ours and was not changed since.
pub(super) fn read(replay: Option<&Replay>, text: &str, calls: usize) -> Option<Vec<Piece>> {
    let replay = replay.filter(|replay| replay.provider == Anthropic::NAME)?;
    let pieces: Vec<Piece> = from_value(replay.data.clone()).ok()?;
    let mut at = 0_usize;
    let mut called = 0;
    let mut fits = true;
    for piece in &pieces {
        match piece {
            Piece::Text(length) => {
                at = at.saturating_add(*length);
                fits &= text.is_char_boundary(at);
            }
            Piece::Call => called += 1,
            Piece::Thinking(_) => {}
        }
    }
    if fits && at == text.len() && called == calls {
        return Some(pieces);
    }
    // The words were changed: the thinking still goes first.
    let thinking = pieces.into_iter().filter(|piece| matches!(piece, Piece::Thinking(_)));
    let text = (!text.is_empty()).then_some(Piece::Text(text.len()));
    Some(thinking.chain(text).chain((0..calls).map(|_| Piece::Call)).collect())
}
