//! Where a timer stands after a save.

use dbutil::TenantTx;
use shared_models::TriggerId;

use super::{End, TimerOptions};
use crate::{
    error::Error,
    store::{
        timer::{self, Standing},
        trigger as stored,
    },
};

/// Winds a timer up anew in the transaction of the save, by the database's clock. `before` is the trigger as it was.
///
/// The slot that is waiting stays, unless the save changed which slots there are: those of the old schedule are gone.
/// While paused it waits, and is dealt with as missed when the pause ends too late for it. While inactive there is none.
pub(crate) async fn arm(
    tx: &mut TenantTx,
    id: TriggerId,
    before: Option<&stored::Trigger>,
    saved: &stored::Saved,
    options: &TimerOptions,
) -> Result<(), Error> {
    let (present, now) = timer::lock(tx, id).await?;
    let same_slots = before.is_some_and(|before| {
        TimerOptions::parse(&before.options).is_ok_and(|before| before.same_slots(options))
    });
    let kept = if same_slots { present.clone() } else { None };
    let anchor_at = kept.as_ref().map_or(now, |kept| kept.anchor_at);
    let schedule = options.schedule(anchor_at).map_err(|error| Error::Invalid(vec![error]))?;
    let last_slot_at = present.and_then(|present| present.last_slot_at);
    let was_active = before.is_some_and(|before| before.active);
    let mut standing = match kept {
        Some(kept) if saved.active && was_active => kept,
        _ => {
            // What has fired does not fire again because of an edit.
            let after = last_slot_at.map_or(now, |last| last.max(now));
            let next_slot_at = schedule.next(after).filter(|_| saved.active);
            let over = (saved.active && next_slot_at.is_none()).then_some(End::Over);
            Standing {
                anchor_at,
                next_slot_at,
                next_due_at: None,
                last_slot_at,
                ended_at: over.map(|_| now),
                end_reason: over.map(Into::into),
            }
        }
    };
    let due = standing.next_slot_at.map(|at| schedule.slot(id, at).due);
    standing.next_due_at = due.filter(|_| !saved.paused);
    Ok(timer::save(tx, id, &standing).await?)
}
