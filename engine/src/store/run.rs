//! Runs as people see them. How they are queued and owned is in `queue`, how they move on in `committer`.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, TenantTx};
use serde_json::Value;
use shared_models::events::run::RunRef;
use shared_models::{
    AgentId, ConversationId, EvaluationId, EventId, RunId, RunMode, RunOrigin, RunStatus, SwarmId,
    TeamId, TenantId, TriggerId, UserId,
};
use sqlx::PgConnection;
use sqlx::types::{Json, Uuid};

use crate::snapshot::RunSnapshot;
use crate::store::effect::Doubt;
use crate::visibility::Viewer;

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) tenant_id: TenantId,
    pub(crate) run_id: RunId,
    pub(crate) root_run_id: RunId,
    pub(crate) agent_id: AgentId,
    pub(crate) agent_version: i32,
    pub(crate) agent_name: String,
    pub(crate) agent_scope: String,
    pub(crate) agent_owner_id: UserId,
    pub(crate) team_id: Option<TeamId>,
    pub(crate) initiator_id: Option<UserId>,
    pub(crate) trigger_id: Option<TriggerId>,
    pub(crate) event_id: Option<EventId>,
    pub(crate) attempt: i32,
    pub(crate) status: String,
    pub(crate) wait_reason: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) usage: Value,
    pub(crate) cost_micro_usd: Option<i64>,
    pub(crate) steps: i32,
    pub(crate) deadline_at: DateTime<Utc>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) content_pruned_at: Option<DateTime<Utc>>,
    pub(crate) conversation_id: Option<ConversationId>,
    pub(crate) end_user_id: Option<String>,
    /// The output must fit a schema.
    pub(crate) structured: bool,
    pub(crate) swarm_id: Option<SwarmId>,
    pub(crate) swarm_version: Option<i32>,
    pub(crate) swarm_name: Option<String>,
    pub(crate) mode: String,
    pub(crate) evaluation_id: Option<EvaluationId>,
    pub(crate) origin: String,
    pub(crate) in_doubt: Json<Vec<Doubt>>,
}

impl Row {
    /// A run as it is right after its first commit. `ours` says that it is a worker's already.
    pub(crate) fn begun(
        (tenant_id, run_id, initiator): (TenantId, RunId, UserId),
        agent: &RunSnapshot,
        (at, deadline_at): (DateTime<Utc>, DateTime<Utc>),
        ours: bool,
    ) -> Self {
        let status = if ours { RunStatus::Running } else { RunStatus::Queued };
        Self {
            tenant_id,
            run_id,
            root_run_id: run_id,
            agent_id: agent.agent_id,
            agent_version: agent.agent_version,
            agent_name: agent.agent_name.clone(),
            agent_scope: agent.scope.as_str().to_owned(),
            agent_owner_id: agent.owner,
            team_id: agent.team_id,
            initiator_id: Some(initiator),
            trigger_id: None,
            event_id: None,
            attempt: 0,
            status: status.as_str().to_owned(),
            wait_reason: None,
            output: None,
            finish_reason: None,
            error_code: None,
            error: None,
            usage: Value::Null,
            cost_micro_usd: None,
            steps: 0,
            deadline_at,
            created_at: at,
            started_at: None,
            finished_at: None,
            content_pruned_at: None,
            conversation_id: None,
            end_user_id: None,
            structured: agent.output_schema.is_some(),
            swarm_id: None,
            swarm_version: None,
            swarm_name: None,
            mode: RunMode::Live.as_str().to_owned(),
            evaluation_id: None,
            origin: RunOrigin::Request.as_str().to_owned(),
            in_doubt: Json(Vec::new()),
        }
    }

    /// The run as events name it.
    pub(crate) fn reference(&self) -> RunRef {
        RunRef {
            run_id: self.run_id,
            agent_id: self.agent_id,
            root_run_id: self.root_run_id,
            trigger_id: self.trigger_id,
            event_id: self.event_id,
            attempt: self.attempt,
            mode: self.mode(),
            evaluation_id: self.evaluation_id,
        }
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.status.parse().unwrap_or(RunStatus::Failed)
    }

    pub(crate) fn mode(&self) -> RunMode {
        // The check constraint keeps anything else out; dry is the careful reading.
        self.mode.parse().unwrap_or(RunMode::Dry)
    }

    pub(crate) fn origin(&self) -> RunOrigin {
        self.origin.parse().unwrap_or(RunOrigin::Request)
    }
}

/// A run, if there is one in the tenant. Whether the caller may see it is for `Viewer` to say.
pub(crate) async fn find(tx: &mut TenantTx, run: RunId) -> Result<Option<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    Ok(find_many(tx, &[tenant], &[run]).await?.pop())
}

/// The runs of several tenants, for a reader that has set all of them.
pub(crate) async fn find_many(
    connection: &mut PgConnection,
    tenants: &[TenantId],
    runs: &[RunId],
) -> Result<Vec<Row>, sqlx::Error> {
    let tenants: Vec<Uuid> = tenants.iter().map(|tenant| tenant.uuid()).collect();
    let runs: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    sqlx::query_file_as!(Row, "src/store/run_find.sql", &tenants, &runs).fetch_all(connection).await
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) status: Option<RunStatus>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) trigger: Option<TriggerId>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) swarm: Option<SwarmId>,
    pub(crate) evaluation: Option<EvaluationId>,
    pub(crate) mode: Option<RunMode>,
    /// Any of these.
    pub(crate) origins: Option<Vec<RunOrigin>>,
}

/// Runs the viewer may see, newest first, one more than `limit` when there are more.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    filter: &Filter,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    let teams: Vec<Uuid> = viewer.teams.iter().map(|team| team.uuid()).collect();
    let origins = filter.origins.as_ref();
    let origins: Option<Vec<String>> =
        origins.map(|origins| origins.iter().copied().map(String::from).collect());
    if origins.is_some() || filter.mode.is_some() {
        // These have indexes that a plan for just any values cannot use.
        sqlx::query("set local plan_cache_mode = force_custom_plan").execute(&mut **tx).await?;
    }
    sqlx::query_file_as!(
        Row,
        "src/store/run_list.sql",
        tenant as _,
        viewer.admin,
        viewer.user as _,
        &teams,
        filter.status.map(RunStatus::as_str),
        filter.agent as _,
        filter.trigger as _,
        filter.since,
        filter.until,
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id),
        limit + 1,
        filter.conversation as _,
        filter.swarm as _,
        filter.evaluation as _,
        filter.mode.map(RunMode::as_str),
        origins.as_deref(),
    )
    .fetch_all(&mut **tx)
    .await
}

/// Whether what was said in the run is gone, or the run itself.
pub(crate) async fn is_forgotten(tx: &mut TenantTx, run: RunId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select not exists (
               select from engine.run where tenant_id = $1 and run_id = $2 and content_pruned_at is null
           ) as "gone!""#,
        tenant as _,
        run as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Locks a run against ending while something is decided about it; gives its status.
pub(crate) async fn hold(tx: &mut TenantTx, run: RunId) -> Result<Option<RunStatus>, sqlx::Error> {
    let tenant = tx.tenant();
    let status = sqlx::query_scalar!(
        "select status from engine.run where tenant_id = $1 and run_id = $2 for no key update",
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(status.and_then(|status| status.parse().ok()))
}

/// What the run was started with.
pub(crate) async fn snapshot(tx: &mut TenantTx, run: RunId) -> Result<Option<Value>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select snapshot from engine.run_snapshot where tenant_id = $1 and run_id = $2",
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The agent of this name, whoever may see it.
pub(crate) async fn agent_named(
    tx: &mut TenantTx,
    name: &str,
) -> Result<Option<AgentId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select agent_id as "agent_id: AgentId" from engine.agent
           where tenant_id = $1 and name = $2 and deleted_at is null"#,
        tenant as _,
        name,
    )
    .fetch_optional(&mut **tx)
    .await
}
