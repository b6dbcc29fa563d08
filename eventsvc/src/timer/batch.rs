//! A batch of due timers: what each fires, and where it stands afterwards.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Map;
use shared_models::TriggerId;

use super::{
    End, TimerOptions,
    misfire::{self, Plan},
    schedule::{Pattern, Schedule},
    template,
};
use crate::{
    hooks::{self, HookTrigger},
    intake::{DedupeKey, Draft, Origin, Received, System, decide},
    store::{
        hook::Row,
        timer::{Advance, Due},
    },
};

/// A batch is full with so many deliveries.
const ROWS: usize = 1000;
/// Or with so many bytes of them.
const BYTES: usize = 8 * 1024 * 1024;

/// Or after so long: planning a backlog and asking filters takes time, and the claimed rows are locked meanwhile.
const LONGEST: Duration = Duration::from_secs(1);

/// What one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub received: Vec<Received>,
    pub moved: Vec<Advance>,
}

impl Batch {
    /// Decides about claimed timers until the batch is full; the others are still due.
    pub(super) async fn of(due: &[Due], triggers: Vec<Row>) -> Self {
        let mut triggers: HashMap<TriggerId, Row> =
            triggers.into_iter().map(|row| (row.trigger_id, row)).collect();
        let mut batch = Self::default();
        let mut bytes = 0;
        let until = Instant::now() + LONGEST;
        for due in due {
            if batch.received.len() >= ROWS || bytes >= BYTES || Instant::now() >= until {
                break;
            }
            let row = triggers.remove(&due.trigger_id);
            let running = row.filter(|row| row.active && !row.paused);
            let moved = match running.map(|row| Timer::of(due, row)) {
                Some(Ok(timer)) => {
                    let (received, moved) = timer.fire(due.now, until).await;
                    bytes += received.iter().map(Received::weight).sum::<usize>();
                    batch.received.extend(received);
                    moved
                }
                Some(Err(why)) => {
                    tracing::warn!(trigger.id = %due.trigger_id, why, "a timer cannot be fired");
                    failed(due.trigger_id)
                }
                // Stopped otherwise than by a save, which would have told the clock: what is due waits.
                None => hold(due),
            };
            batch.moved.push(moved);
        }
        batch
    }
}

/// A timer that cannot be fired does not stand in the way of the others.
pub(super) fn failed(trigger: TriggerId) -> Advance {
    let reason = Some(End::Failed.into());
    Advance { end_reason: reason, ..hold_at(trigger, None) }
}

fn hold(due: &Due) -> Advance {
    hold_at(due.trigger_id, Some(due.next_slot_at))
}

fn hold_at(trigger_id: TriggerId, next_slot_at: Option<DateTime<Utc>>) -> Advance {
    Advance {
        trigger_id,
        next_slot_at,
        next_due_at: None,
        fired_slot_at: None,
        missed: 0,
        end_reason: None,
    }
}

struct Timer {
    origin: Origin,
    trigger: HookTrigger,
    options: TimerOptions,
    schedule: Schedule,
    first: DateTime<Utc>,
}

impl Timer {
    fn of(due: &Due, row: Row) -> Result<Self, String> {
        let (tenant_id, source_id) = (row.tenant_id, row.source_id);
        let options: TimerOptions = serde_json::from_value(row.source_options.clone())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            origin: Origin { tenant_id, source_id, system: System::Timer },
            schedule: options.schedule(due.anchor_at).map_err(|error| error.message)?,
            trigger: hooks::trigger(row).map_err(|error| error.to_string())?,
            options,
            first: due.next_slot_at,
        })
    }

    /// Fires what is due; from `until` on, what is left of it stays due.
    async fn fire(self, now: DateTime<Utc>, until: Instant) -> (Vec<Received>, Advance) {
        let id = self.trigger.trigger_id;
        let mut plan = misfire::plan(&self.schedule, id, self.first, now, self.options.misfire());
        let mut received = Vec::with_capacity(plan.fire.len());
        let mut left = None;
        for slot in &plan.fire {
            if !received.is_empty() && Instant::now() >= until {
                left = Some(*slot);
                break;
            }
            let late = (now - slot.due).as_seconds_f64();
            metrics::histogram!("eventsvc_timer_lateness_seconds").record(late);
            let draft = draft(&self.options, &self.schedule, id, slot.at, now);
            received.push(decide(self.origin, std::slice::from_ref(&self.trigger), draft).await);
        }
        if left.is_some() {
            plan.fire.truncate(received.len());
            plan.next = left;
        }
        let moved = Advance {
            trigger_id: id,
            next_slot_at: plan.next.map(|slot| slot.at),
            next_due_at: plan.next.map(|slot| slot.due),
            fired_slot_at: plan.fire.last().map(|slot| slot.at),
            missed: plan.missed,
            end_reason: plan.next.is_none().then(|| self.end(&plan).into()),
        };
        (received, moved)
    }

    fn end(&self, plan: &Plan) -> End {
        match self.schedule.pattern {
            Pattern::Once(_) if plan.fire.is_empty() => End::Missed,
            Pattern::Once(_) => End::Fired,
            Pattern::Cron(_) | Pattern::Every { .. } => End::Over,
        }
    }
}

/// What arrives from the clock at a slot.
fn draft(
    options: &TimerOptions,
    schedule: &Schedule,
    trigger: TriggerId,
    slot: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Draft {
    let payload = template::render(options.payload.as_ref(), schedule, trigger, slot);
    Draft {
        dedupe: Some(DedupeKey::of(super::slot_key(slot))),
        verified_by: "schedule",
        content_type: Some("application/json".into()),
        headers: Map::new(),
        body: payload.to_string().into(),
        payload,
        occurred_at: slot,
        now,
    }
}
