//! Deliveries on the wire, with their timeline.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared_models::{DeliveryId, EventId, RunId, SourceId, TriggerId, wire_time};
use utoipa::ToSchema;

use crate::{
    clients::engine::Effect,
    store::{delivery as stored, firing, step},
};

/// One thing received.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Where it came.
    pub source_id: SourceId,
    /// `fired`, `held`, `filtered`, `skipped` or `failed`.
    pub status: String,
    /// Why it did not fire, as a word.
    pub reason_class: Option<String>,
    /// Why it did not fire, in words.
    pub reason: Option<String>,
    /// The scheme that proved its origin; `test` when a person sent it from inside.
    pub verified_by: String,
    /// How a repetition of it is told.
    pub dedupe_key: Option<String>,
    /// The body's content type.
    pub content_type: Option<String>,
    /// The body's size.
    pub payload_bytes: i32,
    /// When the provider says it happened, or else when it came.
    #[serde(serialize_with = "wire_time::time")]
    pub occurred_at: DateTime<Utc>,
    /// When it came.
    #[serde(serialize_with = "wire_time::time")]
    pub received_at: DateTime<Utc>,
    /// What each trigger did with it.
    pub firings: Vec<Firing>,
}

/// What one trigger did with a delivery.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Firing {
    /// The event; the same for every attempt.
    pub event_id: EventId,
    /// The trigger.
    pub trigger_id: TriggerId,
    /// The latest attempt; 0 when it never fired.
    pub attempt: i32,
    /// `fired`, `held`, `filtered`, `skipped` or `failed`.
    pub status: String,
    /// Why it did not fire, as a word.
    pub reason_class: Option<String>,
    /// Why it did not fire, in words.
    pub reason: Option<String>,
    /// When the latest attempt fired.
    #[serde(serialize_with = "wire_time::maybe")]
    pub fired_at: Option<DateTime<Utc>>,
    /// The latest attempt's run, once the engine has made it.
    pub run_id: Option<RunId>,
    /// How that run is doing.
    pub run_status: Option<String>,
}

/// One line of a delivery's history.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct TimelineStep {
    /// `received`, `verified`, `deduped`, `matched`, `fired`, `held`, `filtered`, `skipped`, `failed`, `replayed`,
    /// `released`, `republished`, `run_created`, `run_started`, `run_waiting`, `run_paused`, `run_resumed`, `effect`,
    /// `run_finished` or `run_refused`.
    pub step: String,
    /// When.
    #[serde(serialize_with = "wire_time::time")]
    pub at: DateTime<Utc>,
    /// The firing it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// The attempt it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The run it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// More about it.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A delivery with everything known about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Its history, oldest first.
    pub timeline: Vec<TimelineStep>,
    /// Whether what the runs did is missing, because the engine could not be asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub effects_unknown: bool,
    /// Whether the runs did more than the timeline has room for: it names the first 200 calls of each of 20 runs. The runs
    /// themselves have all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub effects_cut: bool,
    /// Whether content was left out because the caller may not see it.
    pub redacted: bool,
    /// What was received, as agents see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Value>,
    /// The headers that were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub headers: Option<Value>,
}

impl Delivery {
    /// A stored delivery and those of the firings that are its own.
    pub(crate) fn of(row: stored::Delivery, firings: &[firing::Firing]) -> Self {
        let own = firings.iter().filter(|firing| firing.delivery_id == row.delivery_id);
        Self {
            id: row.delivery_id,
            source_id: row.source_id,
            status: row.status,
            reason_class: row.reason_class,
            reason: row.reason,
            verified_by: row.verified_by,
            dedupe_key: row.dedupe_key,
            content_type: row.content_type,
            payload_bytes: row.payload_bytes,
            occurred_at: row.occurred_at,
            received_at: row.received_at,
            firings: own.map(Firing::of).collect(),
        }
    }
}

impl Firing {
    fn of(row: &firing::Firing) -> Self {
        Self {
            event_id: row.event_id,
            trigger_id: row.trigger_id,
            attempt: row.attempt,
            status: row.status.clone(),
            reason_class: row.reason_class.clone(),
            reason: row.reason.clone(),
            fired_at: row.fired_at,
            run_id: row.run_id,
            run_status: row.run_status.clone(),
        }
    }
}

/// What a run of a firing did to the world.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    event_id: EventId,
    attempt: i32,
    run_id: RunId,
    effect: Effect,
}

impl Done {
    /// A call of the run that a firing's latest attempt made.
    pub(crate) fn of(firing: &Firing, run_id: RunId, effect: Effect) -> Self {
        Self { event_id: firing.event_id, attempt: firing.attempt, run_id, effect }
    }

    fn step(&self) -> TimelineStep {
        let Effect { path, call_id, tool_name, class, state, intended_at, sent_at, ended_at } =
            &self.effect;
        TimelineStep {
            step: "effect".into(),
            at: sent_at.unwrap_or(*intended_at),
            event_id: Some(self.event_id),
            attempt: Some(self.attempt),
            run_id: Some(self.run_id),
            detail: json!({ "path": path, "call_id": call_id, "tool_name": tool_name, "effect": class,
                "state": state,
                "ended_at": ended_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)) }),
        }
    }
}

/// The whole history: what one commit did when the delivery came, what was heard later, and what came of it.
pub(crate) fn timeline(
    delivery: &Delivery,
    later: Vec<step::Step>,
    done: &[Done],
) -> Vec<TimelineStep> {
    let at = delivery.received_at;
    let begin = |step: &str, detail: Value| TimelineStep {
        step: step.into(),
        at,
        event_id: None,
        attempt: None,
        run_id: None,
        detail,
    };
    let mut steps = vec![
        begin("received", json!({ "bytes": delivery.payload_bytes })),
        begin("verified", json!({ "by": delivery.verified_by })),
        begin("deduped", json!({ "key": delivery.dedupe_key })),
        begin("matched", json!({ "triggers": delivery.firings.len() })),
    ];
    for firing in &delivery.firings {
        let first = first_status(firing, &later);
        let same = first == firing.status;
        let reason = same.then_some(firing.reason.as_deref()).flatten();
        steps.push(TimelineStep {
            event_id: Some(firing.event_id),
            attempt: Some(i32::from(first == "fired")),
            ..begin(first, json!({ "trigger_id": firing.trigger_id, "reason": reason }))
        });
    }
    let heard = later.into_iter().map(|step| TimelineStep {
        step: step.step,
        at: step.at,
        event_id: Some(step.event_id),
        attempt: Some(step.attempt),
        run_id: step.run_id,
        detail: step.detail,
    });
    let mut since: Vec<_> = heard.chain(done.iter().map(Done::step)).collect();
    since.sort_by_key(|step| step.at);
    steps.extend(since);
    steps
}

/// What the firing was when the delivery came: what it is, unless it fired again or was refused since.
fn first_status<'a>(firing: &'a Firing, later: &'a [step::Step]) -> &'a str {
    let own = || later.iter().filter(|step| step.event_id == firing.event_id);
    let again = own().find_map(|step| Some((step.attempt, step.detail.get("was")?.as_str()?)));
    match again {
        // Its first attempt was not made when the delivery came.
        Some((1, was)) => was,
        Some(_) => "fired",
        // Nothing is heard of a run before it fired.
        None if own().any(|step| step.step.starts_with("run_")) => "fired",
        None => &firing.status,
    }
}
