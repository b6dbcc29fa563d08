//! A call's row of the ledger.

use agentcore::ToolCall;
use shared_models::{Effect, EffectState};
use sqlx::types::Uuid;

use crate::committer::EffectChange;
use crate::drive::Cx;
use crate::snapshot::SnapshotTool;

fn find<'a>(cx: &'a Cx<'_>, name: &str) -> Option<&'a SnapshotTool> {
    cx.snapshot.tools.iter().find(|tool| tool.name == name)
}

/// What a repeat of the call would do; unsafe when the tool is not known.
pub(in crate::drive) fn class(cx: &Cx<'_>, call: &ToolCall) -> Effect {
    find(cx, &call.name).map_or(Effect::Unsafe, |tool| tool.effect)
}

/// The call's row of the ledger.
pub(in crate::drive) fn effect(cx: &Cx<'_>, call: &ToolCall, state: EffectState) -> EffectChange {
    EffectChange {
        call_id: cx.journal.key(&call.id),
        tool_name: call.name.clone(),
        class: class(cx, call),
        idempotency_key: key(cx, call),
        timeout_ms: find(cx, &call.name).map_or(0, |tool| i64::from(tool.timeout_ms)),
        state,
        reason: None,
        answered_by: None,
    }
}

/// The same for every attempt at this call, and for no other call of any run.
pub(super) fn key(cx: &Cx<'_>, call: &ToolCall) -> Uuid {
    Uuid::new_v5(&cx.claimed.run.uuid(), cx.journal.key(&call.id).as_bytes())
}
