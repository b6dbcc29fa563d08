//! What Gemini signed of a reply, to be sent back in the same place ("Thought signatures"): the calls, and the end of
//! the text.

use serde::{Deserialize, Serialize};
use serde_json::{from_value, to_value};
use shared_models::message::Replay;

use super::Gemini;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Signatures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// One for each call, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<Signed>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Signed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    /// The id that Gemini gave to the call, if it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
}

impl Signatures {
    pub(super) fn keep(self) -> Option<Replay> {
        let signed = |call: &Signed| call.signature.is_some() || call.id.is_some();
        if self.text.is_none() && !self.calls.iter().any(signed) {
            return None;
        }
        Some(Replay { provider: Gemini::NAME.into(), data: to_value(self).ok()? })
    }

    pub(super) fn read(replay: Option<&Replay>) -> Option<Self> {
        let replay = replay.filter(|replay| replay.provider == Gemini::NAME)?;
        from_value(replay.data.clone()).ok()
    }
}
