//! Triggers on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use shared_models::{
    AgentId, CredentialId, SourceId, SwarmId, TeamId, TenantId, TriggerId, UserId,
    events::trigger::TargetKind, wire_time,
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{flow::Flow, options::Scheme, store::trigger as stored, timer};

shared_models::text_enum! {
    /// What a trigger listens to.
    pub enum System {
        /// Deliveries at a hook.
        Webhook = "webhook",
        /// The clock.
        Timer = "timer",
        /// GitHub, delivering at a hook.
        Github = "github",
        /// Slack, delivering at a hook.
        Slack = "slack",
        /// Stripe, delivering at a hook.
        Stripe = "stripe",
        /// HubSpot, delivering batches at a hook.
        Hubspot = "hubspot",
        /// A document or feed that is looked at.
        Poll = "poll",
        /// A mailbox of Gmail's that is looked at, sooner when Google pushes.
        Gmail = "gmail",
        /// A mailbox anywhere else that is looked at.
        Imap = "imap",
        /// What happens on the platform itself.
        Nats = "nats",
    }
}

impl System {
    /// How its deliveries may be signed, the usual way first; empty where the trigger says.
    pub(crate) fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::Webhook | Self::Timer | Self::Poll | Self::Gmail | Self::Imap | Self::Nats => &[],
            Self::Github => &[Scheme::Github],
            Self::Slack => &[Scheme::Slack],
            Self::Stripe => &[Scheme::Stripe],
            Self::Hubspot => &[Scheme::Hubspot, Scheme::HubspotV1],
        }
    }

    /// Whether somebody goes and looks.
    pub(crate) fn listened(self) -> bool {
        matches!(self, Self::Poll | Self::Gmail | Self::Imap)
    }

    /// Whether it delivers at a hook.
    pub(crate) fn hooked(self) -> bool {
        self == Self::Webhook || !self.schemes().is_empty()
    }
}

shared_models::text_enum! {
    /// What a sender at a hook is answered.
    pub enum Respond {
        /// That the delivery was stored.
        Async = "async",
        /// What the run came to, if it ends in time.
        Result = "result",
    }
}

/// Who is started, where that is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    Agent(AgentId),
    Swarm(SwarmId),
}

impl Started {
    pub(crate) fn kind(self) -> TargetKind {
        match self {
            Self::Agent(_) => TargetKind::Agent,
            Self::Swarm(_) => TargetKind::Swarm,
        }
    }

    pub(crate) fn uuid(self) -> Uuid {
        match self {
            Self::Agent(id) => id.uuid(),
            Self::Swarm(id) => id.uuid(),
        }
    }
}

impl From<AgentId> for Started {
    fn from(id: AgentId) -> Self {
        Self::Agent(id)
    }
}

/// What a trigger starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetRef {
    /// The kind of thing. An `agent` or a `swarm` can be started; what is fired at `route` is parked until there is a router.
    pub kind: TargetKind,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl TargetRef {
    /// An agent.
    pub(crate) fn agent(id: AgentId) -> Self {
        Self { kind: TargetKind::Agent, id: Some(id.to_string()) }
    }

    /// Whatever the router picks.
    pub(crate) fn is_route(&self) -> bool {
        self.kind == TargetKind::Route && self.id.is_none()
    }

    /// The agent or the swarm, or why there is none.
    pub(crate) fn started(&self) -> Result<Started, FieldError> {
        match (self.kind, &self.id) {
            (TargetKind::Swarm, Some(id)) => id
                .parse()
                .map(Started::Swarm)
                .map_err(|_| FieldError::new("/target/id", "not the id of a swarm")),
            (TargetKind::Swarm, None) => Err(FieldError::new("/target/id", "name the swarm")),
            _ => self.as_agent().map(Started::Agent),
        }
    }

    /// The agent, or why there is none.
    pub(crate) fn as_agent(&self) -> Result<AgentId, FieldError> {
        match (self.kind, &self.id) {
            (TargetKind::Agent, Some(id)) => {
                id.parse().map_err(|_| FieldError::new("/target/id", "not the id of an agent"))
            }
            (TargetKind::Agent, None) => Err(FieldError::new("/target/id", "name the agent")),
            (kind, _) => {
                let message =
                    format!("a {kind} cannot be started by a trigger yet; `agent` and `swarm` can");
                Err(FieldError::new("/target/kind", message))
            }
        }
    }
}

/// A trigger.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// The kind of source.
    pub system: String,
    /// What it starts.
    pub target: TargetRef,
    /// The agent it starts, when the target is one.
    pub agent_id: Option<AgentId>,
    /// The credential deliveries are verified with.
    pub credential_id: Option<CredentialId>,
    /// How the source is listened to, as its system has it.
    #[schema(value_type = crate::options::TriggerOptions)]
    pub options: Value,
    /// A CEL expression over `payload`, `headers` and `system`; only what passes fires.
    pub filter: Option<String>,
    /// What the agent is given in place of what was received.
    #[schema(value_type = Option<Object>)]
    pub input: Option<Value>,
    /// How fast it fires and what is fired together.
    #[schema(value_type = Option<Flow>)]
    pub flow: Option<Value>,
    /// Whether the sender is told that the delivery was stored, or waits for the run's answer.
    pub respond: Respond,
    /// How long it waits at most, with `result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond_seconds: Option<i32>,
    /// Whether it fires.
    pub active: bool,
    /// Whether deliveries are held back until it is not.
    pub paused: bool,
    /// The person in whose name it fires.
    pub owner: UserId,
    /// Who sees it: `user` or `team`, as its agent.
    pub scope: String,
    /// The team, when the scope is `team`.
    pub team_id: Option<TeamId>,
    /// The source it shares with triggers of the same owner, credential and options.
    pub source_id: SourceId,
    /// Where deliveries are sent to; a timer has no such place.
    pub hook_url: Option<String>,
    /// Raised by each edit; the `ETag`.
    pub version: i32,
    /// When it was made.
    #[serde(serialize_with = "wire_time::time")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[serde(serialize_with = "wire_time::time")]
    pub updated_at: DateTime<Utc>,
    /// How it is doing.
    pub status: TriggerStatus,
}

/// How a trigger is doing. Counters are written once a second.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TriggerStatus {
    /// `listening` (a timer: `scheduled`), `paused`, `inactive`, or `completed`: a timer of which no slot is left.
    pub state: &'static str,
    /// Why it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Where a timer stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerStatus>,
    /// Why it is paused, when it does not say so itself: its agent was deleted, or its system is paused as a whole.
    pub paused_why: Option<String>,
    /// When the last delivery was stored.
    #[serde(serialize_with = "wire_time::maybe")]
    pub last_delivery_at: Option<DateTime<Utc>>,
    /// When the last delivery was refused.
    #[serde(serialize_with = "wire_time::maybe")]
    pub last_refused_at: Option<DateTime<Utc>>,
    /// Deliveries that fired.
    pub fired: i64,
    /// Deliveries the filter turned away.
    pub filtered: i64,
    /// Deliveries that came while it was not active.
    pub skipped: i64,
    /// Deliveries that could not fire, and runs that failed or ran out of time, each attempt by itself.
    pub failed: i64,
    /// Repetitions.
    pub duplicate: i64,
    /// Deliveries that could not prove where they come from.
    pub refused: i64,
}

/// Where a timer stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TimerStatus {
    /// The slot that fires next, also while the trigger is paused.
    #[serde(serialize_with = "wire_time::maybe")]
    pub next_slot_at: Option<DateTime<Utc>>,
    /// When it will fire: the slot with its jitter; none while it is paused.
    #[serde(serialize_with = "wire_time::maybe")]
    pub next_due_at: Option<DateTime<Utc>>,
    /// The slot that fired last.
    #[serde(serialize_with = "wire_time::maybe")]
    pub last_slot_at: Option<DateTime<Utc>>,
    /// When that was.
    #[serde(serialize_with = "wire_time::maybe")]
    pub last_fired_at: Option<DateTime<Utc>>,
    /// Slots that passed without firing; at least so many when more than 10,000 passed at once.
    pub missed: i64,
    /// When that was last noticed.
    #[serde(serialize_with = "wire_time::maybe")]
    pub last_missed_at: Option<DateTime<Utc>>,
    /// When the last of its slots was dealt with.
    #[serde(serialize_with = "wire_time::maybe")]
    pub ended_at: Option<DateTime<Utc>>,
}

impl TimerStatus {
    fn of(row: &stored::Trigger) -> Option<Self> {
        Some(Self {
            missed: row.missed?,
            next_slot_at: row.next_slot_at,
            next_due_at: row.next_due_at,
            last_slot_at: row.last_slot_at,
            last_fired_at: row.last_fired_at,
            last_missed_at: row.last_missed_at,
            ended_at: row.ended_at,
        })
    }
}

fn paused_as_a_whole(row: &stored::Trigger) -> Option<String> {
    let why = row.system_pause.as_deref()?;
    let said = if why.is_empty() { String::new() } else { format!(": {why}") };
    Some(format!("everything of `{}` is paused{said}", row.system))
}

/// The state in one word, and why it is that when it is the end.
pub(crate) fn state(row: &stored::Trigger) -> (&'static str, Option<&'static str>) {
    match (row.active, row.end_reason.as_deref(), row.paused || row.system_pause.is_some()) {
        (false, ..) => ("inactive", None),
        (true, Some(reason), _) => ("completed", Some(timer::end_in_words(reason))),
        (true, None, true) => ("paused", None),
        (true, None, false) if row.missed.is_some() => ("scheduled", None),
        (true, None, false) => ("listening", None),
    }
}

impl From<stored::Trigger> for Trigger {
    fn from(row: stored::Trigger) -> Self {
        let (state, reason) = state(&row);
        let status = TriggerStatus {
            state,
            reason,
            timer: TimerStatus::of(&row),
            paused_why: row.paused_why.clone().or_else(|| paused_as_a_whole(&row)),
            last_delivery_at: row.last_delivery_at,
            last_refused_at: row.last_refused_at,
            fired: row.fired,
            filtered: row.filtered,
            skipped: row.skipped,
            failed: row.failed + row.failed_later,
            duplicate: row.duplicate,
            refused: row.refused,
        };
        let target = target(&row);
        let hooked =
            row.system.parse().is_ok_and(System::hooked) || row.options["audience"].is_string();
        let hook_url = if row.options["app"].is_object() {
            format!("/v1/hooks/{}", row.system)
        } else {
            format!("/v1/hooks/{}", row.trigger_id)
        };
        Self {
            id: row.trigger_id,
            tenant_id: row.tenant_id,
            name: row.name,
            system: row.system,
            agent_id: target.as_agent().ok(),
            target,
            credential_id: row.credential_id,
            options: row.options,
            filter: row.filter,
            input: row.input,
            flow: row.flow,
            respond: if row.respond_seconds.is_some() { Respond::Result } else { Respond::Async },
            respond_seconds: row.respond_seconds,
            active: row.active,
            paused: row.paused,
            owner: row.owner_id,
            scope: row.scope,
            team_id: row.team_id,
            source_id: row.source_id,
            hook_url: hooked.then_some(hook_url),
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            status,
        }
    }
}

/// The target of a stored trigger, with the prefix its kind's ids have.
pub(crate) fn target(row: &stored::Trigger) -> TargetRef {
    let kind = row.target_kind.parse().unwrap_or(TargetKind::Agent);
    let id = row.target_id.map(|id| match kind {
        TargetKind::Agent => AgentId::from(id).to_string(),
        TargetKind::Swarm => SwarmId::from(id).to_string(),
        TargetKind::Workflow | TargetKind::Route => id.to_string(),
    });
    TargetRef { kind, id }
}
