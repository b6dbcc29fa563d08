//! A group of orders as one statement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dbutil::{Seat, within};
use shared_models::{EventId, MessageId, TeamId, TenantId, TriggerId, UserId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::{CreateError, Job, New};
use crate::app::App;
use crate::catalogue::Pinned;
use crate::create;
use crate::listeners::trigger_fired::CONSUMER;
use crate::record::{ContentRef, Record, VERSION};
use crate::snapshot::RunSnapshot;
use crate::store::queue::CLAIMING;

/// What takes longer than this was lost on its way to the database.
const LIMIT: Duration = Duration::from_secs(15);

/// Records that every run has from its first commit on.
pub(super) const RECORDS: i64 = 2;

pub(super) struct Row {
    n: i64,
    pub(super) made: bool,
    /// Its events are in the outbox.
    pub(super) told: bool,
    pub(super) ours: bool,
    pub(super) at: DateTime<Utc>,
    pub(super) deadline_at: Option<DateTime<Utc>>,
}

/// The rows by the place of their order in the group; an order without one was out of date.
pub(super) fn in_order(rows: Vec<Row>, count: usize) -> Vec<Option<Row>> {
    let mut placed: Vec<Option<Row>> = (0..count).map(|_| None).collect();
    for row in rows {
        let place = usize::try_from(row.n - 1).ok().and_then(|place| placed.get_mut(place));
        if let Some(place) = place {
            *place = Some(row);
        }
    }
    placed
}

pub(super) async fn commit(
    app: &App,
    seat: &mut Seat,
    jobs: &[Job],
) -> Result<Vec<Row>, CreateError> {
    let columns = Columns::of(jobs).map_err(|error| CreateError::Refused(error.to_string()))?;
    // Half of the slots are left to what waits in the queue, other tenants' runs above all.
    let room = (app.runs.slots / 2).saturating_sub(app.stage.count());
    let room = if app.lease.holds() && !app.draining.is_cancelled() { room as i64 } else { 0 };
    let made = within(LIMIT, make(app, seat, jobs, (&columns, room))).await;
    made.map_err(|error| {
        if dbutil::is_refused(&error) {
            return CreateError::Refused(error.to_string());
        }
        seat.give_up();
        CreateError::Unavailable(error.to_string())
    })
}

async fn make(
    app: &App,
    seat: &mut Seat,
    jobs: &[Job],
    (columns, room): (&Columns, i64),
) -> Result<Vec<Row>, sqlx::Error> {
    let mut tenants: Vec<TenantId> = jobs.iter().map(|job| job.order.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let connection = seat.take(&tenants).await?;
    if room == 0 {
        return columns.insert(app, room, connection).await;
    }
    // Whoever takes runs does so under the lock of claims, so that limits hold in all processes together.
    let begin = format!("begin; select pg_advisory_xact_lock({CLAIMING})");
    let mut tx = connection.begin_with(AssertSqlSafe(begin)).await?;
    let rows = columns.insert(app, room, &mut tx).await?;
    tx.commit().await?;
    Ok(rows)
}

/// The columns of a group, for `unnest`.
#[derive(Default)]
struct Columns {
    tenant: Vec<Uuid>,
    heard: Vec<Option<Uuid>>,
    revision: Vec<i64>,
    run: Vec<Option<Uuid>>,
    agent: Vec<Option<Uuid>>,
    version: Vec<Option<i32>>,
    name: Vec<Option<String>>,
    scope: Vec<Option<String>>,
    owner: Vec<Option<Uuid>>,
    team: Vec<Option<Uuid>>,
    principal: Vec<Option<Uuid>>,
    initiator: Vec<Option<Uuid>>,
    trigger: Vec<Option<Uuid>>,
    event: Vec<Option<Uuid>>,
    attempt: Vec<Option<i32>>,
    concurrency: Vec<Option<i32>>,
    deadline: Vec<Option<f64>>,
    traceparent: Vec<Option<String>>,
    structured: Vec<Option<bool>>,
    snapshot_at: Vec<Option<i32>>,
    hash: Vec<Option<Vec<u8>>>,
    body: Vec<Option<Vec<u8>>>,
    created: Vec<Option<String>>,
    input: Vec<Option<String>>,
    snapshots: Vec<String>,
    outbox: Outbox,
}

#[derive(Default)]
struct Outbox {
    n: Vec<i32>,
    message: Vec<Uuid>,
    event: Vec<Uuid>,
    attempt: Vec<i32>,
    subject: Vec<String>,
    envelope: Vec<String>,
}

/// What a run has said at its beginning, as its rows have it.
struct Said {
    hash: ContentRef,
    body: Vec<u8>,
    created: String,
    input: String,
}

impl Said {
    fn of(new: &New) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(&new.run.input)?;
        let hash = ContentRef::of(&body);
        let (_, created) = create::created(&new.run, &new.pinned).columns()?;
        let (_, input) = Record::Input { message: hash }.columns()?;
        Ok(Self { hash, body, created, input })
    }
}

impl Columns {
    fn of(jobs: &[Job]) -> Result<Self, serde_json::Error> {
        let mut columns = Self::default();
        // The same snapshot travels once.
        let mut places: HashMap<*const Pinned, i32> = HashMap::new();
        for (n, job) in (1..).zip(jobs) {
            columns.tenant.push(job.order.tenant.uuid());
            columns.heard.push(job.order.heard.map(MessageId::uuid));
            columns.revision.push(job.order.revision);
            let new = job.order.run.as_ref();
            let place = match new.map(|new| (Arc::as_ptr(&new.pinned), new)) {
                None => None,
                Some((pinned, new)) => match places.entry(pinned) {
                    Entry::Occupied(place) => Some(*place.get()),
                    Entry::Vacant(place) => {
                        let snapshot: &RunSnapshot = &new.pinned;
                        columns.snapshots.push(serde_json::to_string(snapshot)?);
                        Some(*place.insert(columns.snapshots.len() as i32))
                    }
                },
            };
            columns.snapshot_at.push(place);
            columns.push_run(new);
            columns.push_said(new.map(Said::of).transpose()?);
            for row in &job.order.events {
                columns.outbox.push(n, row);
            }
        }
        Ok(columns)
    }

    fn push_run(&mut self, new: Option<&New>) {
        let (run, agent) = (new.map(|new| &new.run), new.map(|new| &new.pinned));
        let firing = run.and_then(|run| run.firing);
        self.run.push(run.map(|run| run.run.uuid()));
        self.agent.push(agent.map(|agent| agent.agent_id.uuid()));
        self.version.push(agent.map(|agent| agent.agent_version));
        self.name.push(agent.map(|agent| agent.agent_name.clone()));
        self.scope.push(agent.map(|agent| agent.scope.as_str().to_owned()));
        self.owner.push(agent.map(|agent| agent.owner.uuid()));
        self.team.push(agent.and_then(|agent| agent.team_id).map(TeamId::uuid));
        self.principal.push(run.map(|run| run.principal.uuid()));
        self.initiator.push(run.and_then(|run| run.initiator).map(UserId::uuid));
        self.trigger.push(firing.map(|firing| TriggerId::uuid(firing.trigger)));
        self.event.push(firing.map(|firing| EventId::uuid(firing.event)));
        self.attempt.push(run.map(|_| firing.map_or(0, |firing| firing.attempt)));
        let most = agent.and_then(|agent| agent.limits.max_concurrent_runs);
        self.concurrency.push(most);
        self.deadline.push(new.map(|new| new.deadline.as_secs_f64()));
        self.traceparent.push(run.and_then(|run| run.traceparent.clone()));
        self.structured.push(agent.map(|agent| agent.output_schema.is_some()));
    }

    fn push_said(&mut self, said: Option<Said>) {
        let Some(Said { hash, body, created, input }) = said else {
            self.hash.push(None);
            self.body.push(None);
            self.created.push(None);
            self.input.push(None);
            return;
        };
        self.hash.push(Some(hash.0.to_vec()));
        self.body.push(Some(body));
        self.created.push(Some(created));
        self.input.push(Some(input));
    }

    async fn insert(
        &self,
        app: &App,
        room: i64,
        connection: &mut PgConnection,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let outbox = &self.outbox;
        sqlx::query_file_as!(
            Row,
            "src/creator/group.sql",
            &self.tenant,
            &self.heard as _,
            &self.revision,
            &self.run as _,
            &self.agent as _,
            &self.version as _,
            &self.name as _,
            &self.scope as _,
            &self.owner as _,
            &self.team as _,
            &self.principal as _,
            &self.initiator as _,
            &self.trigger as _,
            &self.event as _,
            &self.attempt as _,
            &self.concurrency as _,
            &self.deadline as _,
            &self.traceparent as _,
            &self.snapshot_at as _,
            &self.hash as _,
            &self.body as _,
            &self.created as _,
            &self.input as _,
            CONSUMER.durable,
            app.worker as _,
            i64::from(app.runs.tenant_concurrency),
            room,
            VERSION,
            &self.snapshots,
            &outbox.n,
            &outbox.message,
            &outbox.event,
            &outbox.attempt,
            &outbox.subject,
            &outbox.envelope,
            &self.structured as _,
        )
        .fetch_all(connection)
        .await
    }
}

impl Outbox {
    fn push(&mut self, n: i32, row: &pubsub::OutboxRow) {
        self.n.push(n);
        self.message.push(row.message_id.uuid());
        self.event.push(row.event_id);
        self.attempt.push(row.attempt);
        self.subject.push(row.subject.clone());
        self.envelope.push(row.envelope.clone());
    }
}
