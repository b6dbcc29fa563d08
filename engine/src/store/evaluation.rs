//! Evaluations of agents. Whoever moves one on holds its row.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Db, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{
    AgentId, EvaluationId, EvaluationMode as Mode, EvaluationStatus as Status, TenantId, UserId,
};
use sqlx::types::Uuid;
use utoipa::ToSchema;

use crate::error::Error;

/// An evaluation and how far it has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Evaluation {
    pub(crate) evaluation_id: EvaluationId,
    pub(crate) agent_id: AgentId,
    pub(crate) agent_name: String,
    /// What is tried, also when the agent is edited meanwhile. Its tools are those it has when a case begins.
    pub(crate) agent_version: i32,
    pub(crate) mode: Mode,
    pub(crate) concurrency: i32,
    pub(crate) deadline_seconds: i32,
    pub(crate) initiator_id: UserId,
    pub(crate) status: Status,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) counts: Counts,
}

/// How many cases have come how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Counts {
    pub(crate) total: i64,
    /// Not ended yet, or never begun because the evaluation was cancelled.
    pub(crate) open: i64,
    pub(crate) passed: i64,
    /// Something that is expected was not so.
    pub(crate) failed: i64,
    /// The case could not be run or not be judged.
    pub(crate) error: i64,
}

struct Row {
    evaluation_id: EvaluationId,
    agent_id: AgentId,
    agent_name: String,
    agent_version: i32,
    mode: String,
    concurrency: i32,
    deadline_seconds: i32,
    initiator_id: UserId,
    status: String,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    total: i64,
    passed: i64,
    failed: i64,
    error: i64,
}

impl From<Row> for Evaluation {
    fn from(row: Row) -> Self {
        let Row { total, passed, failed, error, .. } = row;
        Self {
            evaluation_id: row.evaluation_id,
            agent_id: row.agent_id,
            agent_name: row.agent_name,
            agent_version: row.agent_version,
            mode: row.mode.parse().unwrap_or(Mode::AsSaved),
            concurrency: row.concurrency,
            deadline_seconds: row.deadline_seconds,
            initiator_id: row.initiator_id,
            status: row.status.parse().unwrap_or(Status::Finished),
            created_at: row.created_at,
            finished_at: row.finished_at,
            counts: Counts { total, open: total - passed - failed - error, passed, failed, error },
        }
    }
}

/// An evaluation that is asked for.
pub(crate) struct New<'a> {
    pub(crate) agent: AgentId,
    pub(crate) agent_name: &'a str,
    pub(crate) agent_version: i32,
    pub(crate) mode: Mode,
    pub(crate) concurrency: i32,
    pub(crate) deadline_seconds: i32,
    pub(crate) initiator: UserId,
}

/// A tenant's evaluations that are under way at once.
const MOST_OF_A_TENANT: i64 = 20;

/// Room for one more of the tenant's; nobody else takes it until the transaction ends.
pub(crate) async fn make_room(tx: &mut TenantTx) -> Result<(), Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('evaluations:' || $1::uuid::text, 0))::text as held",
        tenant.uuid(),
    );
    row.fetch_one(&mut **tx).await?;
    let running = sqlx::query_scalar!(
        r#"select count(*) as "count!" from engine.evaluation where tenant_id = $1 and status = 'running'"#,
        tenant as _,
    )
    .fetch_one(&mut **tx)
    .await?;
    if running >= MOST_OF_A_TENANT { Err(Error::EvaluationsFull(MOST_OF_A_TENANT)) } else { Ok(()) }
}

pub(crate) async fn insert(tx: &mut TenantTx, new: &New<'_>) -> Result<EvaluationId, sqlx::Error> {
    let (id, tenant) = (EvaluationId::mint(), tx.tenant());
    sqlx::query!(
        "insert into engine.evaluation (evaluation_id, tenant_id, agent_id, agent_name, agent_version, mode, concurrency,
             deadline_seconds, initiator_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id as _,
        tenant as _,
        new.agent as _,
        new.agent_name,
        new.agent_version,
        new.mode.as_str(),
        new.concurrency,
        new.deadline_seconds,
        new.initiator as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

pub(crate) async fn find(
    tx: &mut TenantTx,
    id: EvaluationId,
) -> Result<Option<Evaluation>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select e.evaluation_id as "evaluation_id: EvaluationId", e.agent_id as "agent_id: AgentId", e.agent_name,
                  e.agent_version, e.mode, e.concurrency, e.deadline_seconds, e.initiator_id as "initiator_id: UserId",
                  e.status, e.created_at, e.finished_at, r.total as "total!", r.passed as "passed!",
                  r.failed as "failed!", r.error as "error!"
           from engine.evaluation e cross join lateral (
               select count(*) as total, count(*) filter (where state = 'passed') as passed,
                      count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'error') as error
               from engine.evaluation_result r where r.tenant_id = $1 and r.evaluation_id = e.evaluation_id) r
           where e.tenant_id = $1 and e.evaluation_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(Into::into))
}

/// The agent's evaluations, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    agent: AgentId,
    page: &PageQuery,
) -> Result<Page<Evaluation>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select e.evaluation_id as "evaluation_id: EvaluationId", e.agent_id as "agent_id: AgentId", e.agent_name,
                  e.agent_version, e.mode, e.concurrency, e.deadline_seconds, e.initiator_id as "initiator_id: UserId",
                  e.status, e.created_at, e.finished_at, r.total as "total!", r.passed as "passed!",
                  r.failed as "failed!", r.error as "error!"
           from engine.evaluation e cross join lateral (
               select count(*) as total, count(*) filter (where state = 'passed') as passed,
                      count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'error') as error
               from engine.evaluation_result r where r.tenant_id = $1 and r.evaluation_id = e.evaluation_id) r
           where e.tenant_id = $1 and e.agent_id = $2
             and ($3::timestamptz is null or (e.created_at, e.evaluation_id) < ($3, $4))
           order by e.created_at desc, e.evaluation_id desc limit $5"#,
        tenant as _,
        agent as _,
        after.map(|cursor| cursor.at),
        after.map_or_else(Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let evaluations = rows.into_iter().map(Evaluation::from).collect();
    let position = |one: &Evaluation| Cursor { at: one.created_at, id: one.evaluation_id.uuid() };
    Ok(Page::new(evaluations, page.limit(), position))
}

/// More than this under way at once wait for the next look.
const MOST_RUNNING: i64 = 10_000;

/// Evaluations of all tenants that are under way: the oldest of each, then the next of each, and so on.
pub(crate) async fn running(db: &Db) -> Result<Vec<(TenantId, EvaluationId)>, sqlx::Error> {
    let mut tx = db.system("move evaluations of all tenants on").await?;
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", evaluation_id as "evaluation_id: EvaluationId"
           from engine.evaluation where status = 'running'
           order by row_number() over (partition by tenant_id order by created_at), created_at limit $1"#,
        MOST_RUNNING,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.evaluation_id)).collect())
}

/// Holds an evaluation that is under way, unless somebody else does.
pub(crate) async fn take(tx: &mut TenantTx, id: EvaluationId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let taken = sqlx::query_scalar!(
        r#"select true as "taken!" from engine.evaluation
           where tenant_id = $1 and evaluation_id = $2 and status = 'running' for update skip locked"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(taken.is_some())
}

/// Waits until nobody moves it on, and holds it.
pub(crate) async fn hold(tx: &mut TenantTx, id: EvaluationId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select evaluation_id from engine.evaluation where tenant_id = $1 and evaluation_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(drop)
}

/// Ends it.
pub(crate) async fn end(
    tx: &mut TenantTx,
    id: EvaluationId,
    status: Status,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.evaluation set status = $3, finished_at = now()
         where tenant_id = $1 and evaluation_id = $2 and status = 'running'",
        tenant as _,
        id as _,
        status.as_str(),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
