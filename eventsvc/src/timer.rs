//! Triggers that fire by the clock.
//!
//! A timer is one row: the slot that comes next and when it is due. Nothing runs per timer; one task per process
//! ([`scheduler`]) looks at the earliest due time, sleeps until then, and fires what is due in batches. Any number of
//! processes may do so.

mod arm;
mod batch;
mod cron;
mod misfire;
pub(crate) mod options;
pub(crate) mod schedule;
pub(crate) mod scheduler;
pub(crate) mod template;

pub(crate) use arm::arm;
pub(crate) use options::TimerOptions;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::store::hook::Row;

/// What a trigger would hand over at a slot now; null when it is no timer.
pub(crate) fn sample(row: &Row, now: DateTime<Utc>) -> Value {
    let options = TimerOptions::parse(&row.source_options).ok();
    let schedule = options.as_ref().and_then(|options| options.schedule(now).ok());
    match (options, schedule) {
        (Some(options), Some(schedule)) => {
            template::render(options.payload.as_ref(), &schedule, row.trigger_id, now)
        }
        _ => Value::Null,
    }
}

shared_models::text_enum! {
    /// Why no slot of a timer will come any more.
    pub(crate) enum End {
        /// It was to fire once, and did.
        Fired = "fired",
        /// It was to fire once, and could not in time.
        Missed = "missed",
        /// No slot is left.
        Over = "over",
        /// It cannot be fired.
        Failed = "failed",
    }
}

/// A stored reason for people.
pub(crate) fn end_in_words(reason: &str) -> &'static str {
    match reason.parse() {
        Ok(End::Fired) => "it has fired, as it was to do once",
        Ok(End::Missed) => "its time passed while it could not fire",
        Ok(End::Over) => "its schedule has no slot left",
        Ok(End::Failed) | Err(_) => "what it says cannot be carried out any more; save it again",
    }
}

/// What tells the delivery of a slot from others of its timer.
pub(crate) fn slot_key(slot: DateTime<Utc>) -> String {
    slot.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
