//! Calls that wait for a moment: those of the `wait` tool, and those in doubt whose probe was asked too early. The moment is in
//! the journal, by the database's clock, so it comes whoever has the run then.

use std::collections::BTreeMap;

use agentcore::Answer;
use chrono::{DateTime, Utc};
use shared_models::EffectState;
use tokio::time::Instant;

use super::{Cx, Run, tools};
use crate::error::Error;
use crate::transcript::Told;

const OVER: &str = "The wait is over.";

/// Whether a conversation has such calls.
pub(super) fn any(told: &Told) -> bool {
    !told.early.is_empty() || told.waiting.values().any(|waited| waited.until.is_some())
}

/// When these calls of one conversation are done with waiting, if the time is `now`.
pub(super) fn of(told: &Told, now: DateTime<Utc>) -> BTreeMap<String, Instant> {
    let until =
        |moment: DateTime<Utc>| Instant::now() + (moment - now).to_std().unwrap_or_default();
    let moments = told.waiting.iter().filter_map(|(call, waited)| Some((call, waited.until?)));
    let moments = moments.chain(told.early.iter().map(|(call, moment)| (call, *moment)));
    moments.map(|(call, moment)| (call.clone(), until(moment))).collect()
}

/// Answers the calls whose moment has come, or has their probes asked again; says whether there were any.
pub(super) fn wake(cx: &Cx<'_>, run: &mut Run) -> Result<bool, Error> {
    if run.naps.is_empty() {
        return Ok(false);
    }
    let now = Instant::now();
    let (over, naps) = std::mem::take(&mut run.naps).into_iter().partition(|(_, at)| *at <= now);
    run.naps = naps;
    let over: BTreeMap<String, Instant> = over;
    for call_id in over.keys() {
        let call = run.state.unanswered().find(|call| call.id == *call_id).cloned();
        if let Some(call) = call.filter(|call| run.waiting.remove(&call.id).is_some()) {
            let effect = tools::effect(cx, &call, EffectState::Done);
            tools::answer(cx, run, &call, Answer::ok(OVER), effect)?;
        } else if run.doubts.contains_key(call_id) {
            run.probing.insert(call_id.clone(), 0);
        }
    }
    Ok(!over.is_empty())
}
