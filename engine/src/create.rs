//! What a run begins with: its row, its snapshot, its first records and the event that tells of it, in one commit. Runs are
//! made in groups by `creator`; [`create`] makes one within a transaction that has more to do.

use std::sync::Arc;
use std::time::Duration;

use agentcore::Message;
use chrono::DateTime;
use dbutil::TenantTx;
use pubsub::OutboxRow;
use shared_models::events::run::{RunCreated, RunRef};
use shared_models::{
    AgentId, ConversationId, EvaluationId, EventId, MessageId, RunId, RunMode, TenantId, TriggerId,
    UserId,
};
use sqlx::types::Uuid;

use crate::catalogue::Pinned;
use crate::config::RunConfig;
use crate::creator::{New, Order};
use crate::error::Error;
use crate::record::{ContentRef, Record, RunSwarm, VERSION};
use crate::snapshot::RunSnapshot;
use crate::store::fork;
use crate::template::Variables;

/// A run that is about to exist.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    pub(crate) run: RunId,
    /// In whose name it acts.
    pub(crate) principal: UserId,
    /// Who started it by hand.
    pub(crate) initiator: Option<UserId>,
    pub(crate) firing: Option<Firing>,
    pub(crate) input: Message,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
    /// Instead of the agent's or the configured one.
    pub(crate) deadline: Option<Duration>,
    /// The person it is held with, as the caller names them.
    pub(crate) end_user: Option<String>,
    pub(crate) place: Option<Place>,
    /// What is said for the instructions.
    pub(crate) variables: Variables,
    /// What it tries its agent for, or judges for.
    pub(crate) evaluation: Option<EvaluationId>,
}

/// A run's place in a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) conversation: ConversationId,
    pub(crate) turn: i64,
    /// Another run is under way: this one waits for its turn.
    pub(crate) waits: bool,
}

/// The call of another run that a run works for.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) root: RunId,
    pub(crate) run: RunId,
    pub(crate) call_id: String,
    /// How many runs stand above the new one.
    pub(crate) depth: i32,
}

/// What started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing {
    pub(crate) trigger: TriggerId,
    pub(crate) event: EventId,
    pub(crate) attempt: i32,
}

impl Firing {
    /// The run of this firing: always the same, so that a redelivery cannot start a second one.
    pub(crate) fn run(&self) -> RunId {
        Uuid::new_v5(&self.event.uuid(), &self.attempt.to_be_bytes()).into()
    }
}

/// Makes the run, unless it exists already. Says whether it did. Refused as [`Error::Invalid`], before anything is written,
/// when something is missing that the instructions need.
pub(crate) async fn create(
    tx: &mut TenantTx,
    config: &RunConfig,
    new: &NewRun,
    snapshot: &RunSnapshot,
) -> Result<bool, Error> {
    create_under(tx, config, (new, snapshot), None).await
}

/// The same for a run that works for another.
pub(crate) async fn create_under(
    tx: &mut TenantTx,
    config: &RunConfig,
    (new, snapshot): (&NewRun, &RunSnapshot),
    parent: Option<&Parent>,
) -> Result<bool, Error> {
    let filled = snapshot.filled(new)?;
    let snapshot = filled.as_ref().unwrap_or(snapshot);
    let body = serde_json::to_vec(&new.input).map_err(anyhow::Error::from)?;
    let message = ContentRef::of(&body);
    let said = Said { message, body: Some(&body), records: RECORDS, mode: RunMode::Live };
    if !insert(tx, config, (new, snapshot, parent), said).await? {
        return Ok(false);
    }
    let root_run_id = parent.map_or(new.run, |parent| parent.root);
    let run = RunRef { root_run_id, ..new.reference(snapshot.agent_id) };
    pubsub::emit(tx, &RunCreated { run }).await?;
    Ok(true)
}

/// What a fork begins with.
pub(crate) struct Opening {
    pub(crate) input: ContentRef,
    /// Nobody else has been told that; it is kept with the fork.
    pub(crate) is_edited: bool,
    pub(crate) mode: RunMode,
}

/// Makes a run that begins with these records besides its own first ones. Its instructions are filled in already, and
/// nothing of the input is kept unless it is new.
pub(crate) async fn create_fork(
    tx: &mut TenantTx,
    config: &RunConfig,
    (new, snapshot): (&NewRun, &RunSnapshot),
    opening: &Opening,
    records: &[(String, Record)],
) -> Result<(), Error> {
    let Opening { input: message, is_edited, mode } = *opening;
    let body = serde_json::to_vec(&new.input).map_err(anyhow::Error::from)?;
    let body = Some(body.as_slice()).filter(|_| is_edited);
    let said = Said { message, body, records: RECORDS + records.len() as i64, mode };
    insert(tx, config, (new, snapshot, None), said).await?;
    fork::write(tx, new.run, RECORDS + 1, records).await?;
    let run = RunRef { mode, ..new.reference(snapshot.agent_id) };
    pubsub::emit(tx, &RunCreated { run }).await?;
    Ok(())
}

/// The order for a run, to be made with the next group. Refused as [`Error::Invalid`] when something is missing that the
/// instructions need.
pub(crate) fn order(
    tenant: TenantId,
    config: &RunConfig,
    (new, pinned): (NewRun, Arc<Pinned>),
    heard: Option<MessageId>,
) -> Result<Order, Error> {
    let pinned = pinned.filled(&new)?;
    let event = RunCreated { run: new.reference(pinned.agent_id) };
    let id = MessageId::mint().uuid();
    // The creator puts the database's time in.
    let event = OutboxRow::new(tenant, (id, 0), DateTime::UNIX_EPOCH, &event);
    let event = event.map_err(anyhow::Error::from)?;
    let deadline = new.deadline(config, &pinned);
    let revision = pinned.revision;
    let run = Some(New { run: new, pinned, deadline });
    Ok(Order { tenant, revision, heard, run, events: vec![event] })
}

/// A run's first record.
pub(crate) fn created(new: &NewRun, snapshot: &RunSnapshot) -> Record {
    Record::Created {
        agent_id: snapshot.agent_id,
        agent_version: snapshot.agent_version,
        agent_name: snapshot.agent_name.clone(),
        model: snapshot.model.clone(),
        trigger_id: new.firing.map(|firing| firing.trigger),
        event_id: new.firing.map(|firing| firing.event),
        attempt: new.firing.map_or(0, |firing| firing.attempt),
        swarm: snapshot.swarm.as_ref().map(|swarm| RunSwarm {
            swarm_id: swarm.swarm_id,
            swarm_version: swarm.version,
            swarm_name: swarm.name.clone(),
        }),
    }
}

impl NewRun {
    fn reference(&self, agent_id: AgentId) -> RunRef {
        RunRef {
            run_id: self.run,
            agent_id,
            root_run_id: self.run,
            trigger_id: self.firing.map(|firing| firing.trigger),
            event_id: self.firing.map(|firing| firing.event),
            attempt: self.firing.map_or(0, |firing| firing.attempt),
            mode: RunMode::Live,
            evaluation_id: self.evaluation,
        }
    }

    /// How long it may take: as was said, or as its agent says, or as is usual.
    fn deadline(&self, config: &RunConfig, snapshot: &RunSnapshot) -> Duration {
        let own = snapshot.limits.deadline_seconds.map(|s| Duration::from_secs(s.into()));
        self.deadline.or(own).unwrap_or(config.deadline)
    }
}

/// Records that every run begins with.
const RECORDS: i64 = 2;

/// What is said in a run from its beginning.
struct Said<'a> {
    message: ContentRef,
    /// None when it is kept elsewhere.
    body: Option<&'a [u8]>,
    /// How many records it will have, once all are written.
    records: i64,
    mode: RunMode,
}

async fn insert(
    tx: &mut TenantTx,
    config: &RunConfig,
    (new, snapshot, parent): (&NewRun, &RunSnapshot, Option<&Parent>),
    said: Said<'_>,
) -> Result<bool, Error> {
    let tenant = tx.tenant();
    let records = [created(new, snapshot), Record::Input { message: said.message }];
    let columns: Result<Vec<_>, _> = records.iter().map(Record::columns).collect();
    let (kinds, data): (Vec<_>, Vec<_>) = columns.map_err(anyhow::Error::from)?.into_iter().unzip();
    let deadline = new.deadline(config, snapshot);
    let made = sqlx::query_file_scalar!(
        "src/create.sql",
        new.run as _,
        tenant as _,
        snapshot.agent_id as _,
        snapshot.agent_version,
        snapshot.agent_name,
        snapshot.scope.as_str(),
        snapshot.owner as _,
        snapshot.team_id as _,
        new.principal as _,
        new.initiator as _,
        new.firing.map(|firing| firing.trigger) as _,
        new.firing.map(|firing| firing.event) as _,
        new.firing.map_or(0, |firing| firing.attempt),
        said.records + 1,
        VERSION,
        snapshot.limits.max_concurrent_runs,
        deadline.as_secs_f64(),
        serde_json::to_value(snapshot).map_err(anyhow::Error::from)?,
        said.message.0.as_slice(),
        said.body,
        &kinds,
        &data,
        new.traceparent,
        parent.map(|parent| parent.root) as _,
        parent.map(|parent| parent.run) as _,
        parent.map(|parent| parent.call_id.as_str()),
        parent.map_or(0, |parent| parent.depth),
        new.place.map(|place| place.conversation) as _,
        new.place.map(|place| place.turn),
        new.end_user,
        snapshot.output_schema.is_some(),
        new.place.is_some_and(|place| place.waits),
        snapshot.swarm.as_ref().map(|swarm| swarm.swarm_id) as _,
        snapshot.swarm.as_ref().map(|swarm| swarm.version),
        snapshot.swarm.as_ref().map(|swarm| swarm.name.as_str()),
        said.mode.as_str(),
        new.evaluation as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(made.is_some())
}
