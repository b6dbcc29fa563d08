//! How runs begin: from a firing or from a person's request, in either case as one commit of row, snapshot, first
//! records and event.

use std::time::Duration;

use agentcore::Message;
use dbutil::TenantTx;
use shared_models::events::run::{RunCreated, RunRef};
use shared_models::{EventId, RunId, TriggerId, UserId};
use sqlx::types::Uuid;

use crate::config::RunConfig;
use crate::error::Error;
use crate::record::{ContentRef, Record, VERSION};
use crate::snapshot::RunSnapshot;

/// A run that is about to exist.
pub(crate) struct NewRun {
    pub(crate) run: RunId,
    pub(crate) snapshot: RunSnapshot,
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

/// Makes the run, unless it exists already. Says whether it did.
pub(crate) async fn create(
    tx: &mut TenantTx,
    config: &RunConfig,
    new: &NewRun,
) -> Result<bool, Error> {
    let body = serde_json::to_vec(&new.input).map_err(anyhow::Error::from)?;
    let message = ContentRef::of(&body);
    let records = [created(new), Record::Input { message }];
    if !insert(tx, config, new, &records, &message, &body).await? {
        return Ok(false);
    }
    pubsub::emit(tx, &RunCreated { run: reference(new) }).await?;
    Ok(true)
}

fn created(new: &NewRun) -> Record {
    Record::Created {
        agent_id: new.snapshot.agent_id,
        agent_version: new.snapshot.agent_version,
        agent_name: new.snapshot.agent_name.clone(),
        model: new.snapshot.model.clone(),
        trigger_id: new.firing.map(|firing| firing.trigger),
        event_id: new.firing.map(|firing| firing.event),
        attempt: new.firing.map_or(0, |firing| firing.attempt),
    }
}

fn reference(new: &NewRun) -> RunRef {
    RunRef {
        run_id: new.run,
        agent_id: new.snapshot.agent_id,
        root_run_id: new.run,
        trigger_id: new.firing.map(|firing| firing.trigger),
        event_id: new.firing.map(|firing| firing.event),
        attempt: new.firing.map_or(0, |firing| firing.attempt),
    }
}

async fn insert(
    tx: &mut TenantTx,
    config: &RunConfig,
    new: &NewRun,
    records: &[Record],
    message: &ContentRef,
    body: &[u8],
) -> Result<bool, Error> {
    let (tenant, snapshot) = (tx.tenant(), &new.snapshot);
    let columns: Result<Vec<_>, _> = records.iter().map(Record::columns).collect();
    let (kinds, data): (Vec<_>, Vec<_>) = columns.map_err(anyhow::Error::from)?.into_iter().unzip();
    let own = snapshot.limits.deadline_seconds.map(|s| Duration::from_secs(s.into()));
    let deadline = new.deadline.or(own).unwrap_or(config.deadline);
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
        records.len() as i64 + 1,
        VERSION,
        snapshot.limits.max_concurrent_runs,
        deadline.as_secs_f64(),
        serde_json::to_value(snapshot).map_err(anyhow::Error::from)?,
        message.0.as_slice(),
        body,
        &kinds,
        &data,
        new.traceparent,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(made.is_some())
}
