//! What of a trigger's queue is complete, where firings of a key go together. How much of a key waits, and since when, is asked
//! of all of its queue, however long it is: what is not complete hides nothing, and a flurry is never cut in two.

use chrono::{DateTime, Duration, Utc};
use dbutil::TenantTx;
use shared_models::{EventId, TriggerId};

use super::{
    options::Flow,
    plan::{BATCH_BYTES, earlier},
    worker::{self, Queue, ROUNDS},
};
use crate::{
    error::Error,
    store::flow::{self, Together, Which},
};

/// Keys that are looked at together.
const KEYS: usize = 200;

/// Locks what is complete and does not wait for one of these keys; says when time alone will make more of it so.
pub(super) async fn complete(
    tx: &mut TenantTx,
    flow: &Flow,
    trigger: TriggerId,
    past: &[String],
    now: DateTime<Utc>,
) -> Result<(Queue, Option<DateTime<Utc>>), Error> {
    let mut again_at = None;
    let begin = flow.key.as_deref().map(worker::beginning);
    if let Some(begin) = &begin
        && !all_keyed(tx, flow, trigger, begin).await?
    {
        return Ok((Queue::default(), Some(now)));
    }
    let mut ready = Vec::new();
    for together in flow::by_key(tx, trigger, begin.as_deref()).await? {
        let at = complete_at(flow, &together);
        if let Some(at) = at.filter(|at| *at > now) {
            earlier(&mut again_at, at);
        } else if !past.contains(&together.key) {
            ready.push(together);
        }
    }
    ready.truncate(KEYS);
    let mut which = Which::default();
    if flow.debounce_seconds.is_some() {
        which.events = Some(ready.iter().map(|together| together.last).collect());
    } else if begin.is_some() {
        which.keys = Some(ready.into_iter().map(|together| together.key).collect());
    } else if ready.is_empty() {
        return Ok((Queue::default(), again_at));
    }
    Ok((worker::queue(tx, trigger, &which).await?, again_at))
}

/// When what waits of a key goes, if nothing more comes; none when it is complete already.
fn complete_at(flow: &Flow, together: &Together) -> Option<DateTime<Utc>> {
    let after = |at: DateTime<Utc>, seconds: u32| Some(at + Duration::seconds(seconds.into()));
    match (flow.debounce_seconds, flow.batch) {
        (Some(seconds), _) => after(together.last_at, seconds),
        (None, Some(batch)) => {
            let full = together.count >= i64::from(batch.max)
                || together.bytes > i64::try_from(BATCH_BYTES).unwrap_or(i64::MAX);
            (!full).then(|| after(together.first_at, batch.seconds)).flatten()
        }
        (None, None) => None,
    }
}

/// Writes down the keys of all that waits; says whether that was all of it.
async fn all_keyed(
    tx: &mut TenantTx,
    flow: &Flow,
    trigger: TriggerId,
    begin: &str,
) -> Result<bool, Error> {
    let which = Which { unkeyed: Some(begin.to_owned()), ..Which::default() };
    for _ in 0..ROUNDS {
        let queue = worker::queue(tx, trigger, &which).await?;
        let waiting = worker::keyed(tx, flow, &queue.firings).await?;
        let keys: Vec<(EventId, String)> = waiting
            .iter()
            .filter_map(|one| Some((one.event_id, worker::mark(flow.key.as_deref()?, &one.key))))
            .collect();
        flow::remember_keys(tx, &keys).await?;
        if !queue.more {
            return Ok(true);
        }
    }
    Ok(false)
}
