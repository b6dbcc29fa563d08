//! What a `timer` trigger may say about when it fires and what it hands over.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, NaiveDate, SubsecRound as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use utoipa::ToSchema;

use super::{
    cron::Cron,
    schedule::{Pattern, Schedule},
    template,
};

const LONGEST_INTERVAL: i64 = 366 * 24 * 60 * 60;
const LONGEST_DAY: u32 = 24 * 60 * 60;
/// The largest payload, as JSON.
const LARGEST_PAYLOAD: usize = 64 * 1024;

shared_models::text_enum! {
    /// What becomes of slots that passed while nothing could fire: the service was down, or the trigger paused.
    pub enum Misfire {
        /// They are gone. The latest still fires if it is no older than the grace period.
        Skip = "skip",
        /// The latest fires, once.
        FireOnce = "fire_once",
        /// Each fires, oldest first; of more than 100 the latest 100.
        FireAll = "fire_all",
    }
}

#[allow(
    clippy::derivable_impls,
    reason = "text_enum declares the variants, so there is none to mark"
)]
impl Default for Misfire {
    fn default() -> Self {
        Self::FireOnce
    }
}

/// The options of a `timer` trigger: exactly one of `cron`, `interval_seconds` and `at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({
    "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "payload": { "task": "report", "for": "{{local_time}}" }
}))]
pub(crate) struct TimerOptions {
    /// A cron expression: minute, hour, day of month, month, day of week; with six fields, seconds first. When day of
    /// month and day of week are both restricted, either is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0 9 * * MON-FRI")]
    pub cron: Option<String>,
    /// `cron`: the IANA time zone; `UTC` unless said. Where the clock is put forward, a time of day that is left out fires
    /// once, right after the gap; where it is put back, a time of day that comes twice fires the first time. An expression
    /// whose minute or hour begins with `*` keeps its rhythm instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    /// Seconds between slots, at least 1, counted from `start_at` or else from when this was saved, without drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 900)]
    pub interval_seconds: Option<i64>,
    /// Once, at this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// No slot is before this time. With `interval_seconds` it is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<DateTime<Utc>>,
    /// No slot is after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_at: Option<DateTime<Utc>>,
    /// Days without a slot, as the timer's zone counts them: up to 366 dates.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>, example = json!(["2026-12-25", "2027-01-01"]))]
    pub blackout: BTreeSet<NaiveDate>,
    /// Each slot fires up to so many seconds later, by an amount that is always the same for a trigger and slot, and before
    /// the following slot; up to 86400.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_seconds: u32,
    /// What becomes of missed slots.
    pub misfire: Misfire,
    /// How late a slot may be without counting as missed: 1 to 86400, 60 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// What the run is given, up to 64 KiB. In its texts `{{slot_at}}`, `{{local_time}}`, `{{timezone}}` and
    /// `{{trigger_id}}` are replaced. Without a payload the run is given the first three as an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl TimerOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut options: Self = crate::options::read(value)?;
        // What the database keeps.
        for time in [&mut options.at, &mut options.start_at, &mut options.end_at] {
            *time = time.map(|time| time.trunc_subsecs(6));
        }
        let errors = options.errors();
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    /// The schedule, with intervals counted from `anchor` unless `start_at` says otherwise.
    pub(crate) fn schedule(&self, anchor: DateTime<Utc>) -> Result<Schedule, FieldError> {
        let zone = self.zone()?;
        let pattern = match (&self.cron, self.interval_seconds, self.at) {
            (Some(cron), ..) => Pattern::Cron(
                Cron::parse(cron, zone).map_err(|why| FieldError::new("/options/cron", why))?,
            ),
            (_, Some(seconds), _) => {
                Pattern::Every { anchor: self.start_at.unwrap_or(anchor), seconds }
            }
            (_, _, Some(at)) => Pattern::Once(at),
            _ => return Err(FieldError::new("/options", ONE_OF)),
        };
        let jitter = Duration::seconds(self.jitter_seconds.into());
        let blackout = self.blackout.clone();
        Ok(Schedule { pattern, zone, start: self.start_at, end: self.end_at, blackout, jitter })
    }

    /// Refuses a schedule that would never fire after `now`.
    pub(crate) fn check_future(&self, now: DateTime<Utc>) -> Result<(), FieldError> {
        let mut schedule = self.schedule(now)?;
        if schedule.next(now).is_some() {
            return Ok(());
        }
        if schedule.pattern_fires_only_on_blackout(now) {
            return Err(FieldError::new("/options/blackout", "leaves nothing that could fire"));
        }
        schedule.end = None;
        let (field, why) = match (schedule.next(now), &self.cron) {
            (Some(_), _) => ("end_at", "nothing fires between now and then"),
            (None, Some(_)) => ("cron", "never fires: there is no such time"),
            (None, None) => ("at", "is in the past"),
        };
        Err(FieldError::new(format!("/options/{field}"), why))
    }

    /// The policy about missed slots.
    pub(crate) fn misfire(&self) -> (Misfire, Duration) {
        (self.misfire, Duration::seconds(self.grace_seconds.unwrap_or(60).into()))
    }

    /// Whether slots are the same, whatever is done at them.
    pub(crate) fn same_slots(&self, other: &Self) -> bool {
        let slots = |options: &Self| Self {
            jitter_seconds: 0,
            misfire: Misfire::default(),
            grace_seconds: None,
            payload: None,
            ..options.clone()
        };
        slots(self) == slots(other)
    }

    fn zone(&self) -> Result<Tz, FieldError> {
        self.timezone.as_deref().map_or(Ok(Tz::UTC), |name| {
            name.parse().map_err(|_| {
                let why = format!("`{}` is no IANA time zone", name.escape_default());
                FieldError::new("/options/timezone", why)
            })
        })
    }

    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            errors.push(FieldError::new(format!("/options/{field}"), message));
        };
        if self.timezone.is_some() && self.cron.is_none() {
            refuse("timezone", "only used with cron");
        }
        if self.interval_seconds.is_some_and(|every| !(1..=LONGEST_INTERVAL).contains(&every)) {
            refuse("interval_seconds", "must be between 1 and 31622400");
        }
        if self.at.is_some() {
            for (field, said) in [("start_at", self.start_at), ("end_at", self.end_at)] {
                if said.is_some() {
                    refuse(field, "has no meaning with `at`");
                }
            }
        } else if self.end_at.zip(self.start_at).is_some_and(|(end, start)| end < start) {
            refuse("end_at", "is before start_at");
        }
        if self.blackout.len() > 366 {
            refuse("blackout", "at most 366 dates");
        }
        if self.jitter_seconds > LONGEST_DAY {
            refuse("jitter_seconds", "must be at most 86400");
        }
        if self.grace_seconds.is_some_and(|grace| !(1..=LONGEST_DAY).contains(&grace)) {
            refuse("grace_seconds", "must be between 1 and 86400");
        }
        if let Some(payload) = &self.payload {
            if payload.to_string().len() > LARGEST_PAYLOAD {
                refuse("payload", "larger than 64 KiB");
            }
            if let Err((at, why)) = template::check(payload) {
                refuse(&format!("payload{at}"), &why);
            }
        }
        let said = [self.cron.is_some(), self.interval_seconds.is_some(), self.at.is_some()];
        if said.iter().filter(|said| **said).count() != 1 {
            errors.push(FieldError::new("/options", ONE_OF));
        } else if let Err(error) = self.schedule(DateTime::UNIX_EPOCH) {
            errors.push(error);
        }
        errors
    }
}

const ONE_OF: &str = "say exactly one of cron, interval_seconds, at";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_refused_field_is_named() {
        let table = [
            (json!({}), "/options", "exactly one"),
            (json!({ "cron": "* * * * *", "at": "2030-01-01T00:00:00Z" }), "/options", "exactly"),
            (json!({ "corn": "* * * * *" }), "/options/corn", "unknown field"),
            (json!({ "cron": "61 * * * *" }), "/options/cron", "the minute `61`"),
            (json!({ "cron": "0 0 9 * * FUNDAY" }), "/options/cron", "the day of week `FUNDAY`"),
            (json!({ "cron": "* * * *" }), "/options/cron", "has 4 fields"),
            (json!({ "cron": "@reboot" }), "/options/cron", "has 1 fields"),
            (
                json!({ "cron": "0 9 * * *", "timezone": "Mars/Base" }),
                "/options/timezone",
                "`Mars/Base` is no IANA time zone",
            ),
            (json!({ "interval_seconds": 0 }), "/options/interval_seconds", "between 1 and"),
            (json!({ "interval_seconds": "5" }), "/options/interval_seconds", "invalid type"),
            (
                json!({ "interval_seconds": 5, "timezone": "UTC" }),
                "/options/timezone",
                "only used with cron",
            ),
            (json!({ "at": "tomorrow" }), "/options/at", "input"),
            (
                json!({ "at": "2030-01-01T00:00:00Z", "end_at": "2030-01-02T00:00:00Z" }),
                "/options/end_at",
                "no meaning",
            ),
            (
                json!({ "cron": "* * * * *", "start_at": "2031-01-01T00:00:00Z",
                    "end_at": "2030-01-01T00:00:00Z" }),
                "/options/end_at",
                "before start_at",
            ),
            (
                json!({ "interval_seconds": 5, "jitter_seconds": 86401 }),
                "/options/jitter_seconds",
                "86400",
            ),
            (
                json!({ "interval_seconds": 5, "grace_seconds": 0 }),
                "/options/grace_seconds",
                "between",
            ),
            (json!({ "interval_seconds": 5, "misfire": "panic" }), "/options/misfire", "fire_once"),
            (
                json!({ "interval_seconds": 5, "payload": { "a": ["{{who}}"] } }),
                "/options/payload/a/0",
                "`{{who}}` is not known",
            ),
            (
                json!({ "interval_seconds": 5, "payload": "x".repeat(65_536) }),
                "/options/payload",
                "64 KiB",
            ),
        ];
        for (value, pointer, why) in table {
            let errors = TimerOptions::parse(&value).unwrap_err();
            assert_eq!(errors.len(), 1, "{value}: {errors:?}");
            assert_eq!(errors[0].pointer, pointer, "{value}");
            assert!(errors[0].message.contains(why), "{value}: {}", errors[0].message);
        }
    }

    #[test]
    fn what_would_never_fire_is_refused_by_the_field_that_keeps_it_from_firing() {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let table = [
            (json!({ "cron": "0 0 30 2 *" }), Some("/options/cron")),
            (json!({ "at": "2026-05-31T23:59:59Z" }), Some("/options/at")),
            (
                json!({ "cron": "0 0 * * *", "end_at": "2026-06-01T00:00:00Z" }),
                Some("/options/end_at"),
            ),
            (
                json!({ "interval_seconds": 9, "end_at": "2026-01-01T00:00:00Z" }),
                Some("/options/end_at"),
            ),
            (json!({ "cron": "0 0 29 2 *" }), None),
            (json!({ "at": "2026-06-01T00:00:01Z" }), None),
            (json!({ "interval_seconds": 9, "start_at": "2020-01-01T00:00:00Z" }), None),
        ];
        for (value, pointer) in table {
            let refused = TimerOptions::parse(&value).unwrap().check_future(now).err();
            assert_eq!(refused.as_ref().map(|error| &*error.pointer), pointer, "{value}");
        }
    }
}
