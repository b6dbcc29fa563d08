//! Test cases of agents. Who may see a case is for its agent to say.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::Serialize;
use serde_json::Value;
use shared_models::{AgentId, CaseId, RunId, UserId};
use sqlx::types::{Json, Uuid};
use utoipa::ToSchema;

use crate::cases::CaseFields;
use crate::error::Error;
use crate::template::Variables;

/// A case as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Case {
    pub(crate) case_id: CaseId,
    pub(crate) agent_id: AgentId,
    /// The run it was kept from; that may be forgotten by now.
    pub(crate) source_run_id: Option<RunId>,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    pub(crate) created_by: UserId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    /// Whether what is said in it is withheld, because the caller may not see content.
    pub(crate) redacted: bool,
    #[serde(flatten)]
    pub(crate) fields: CaseFields,
}

impl Case {
    /// What of it somebody sees who may not see content.
    pub(crate) fn shown(mut self, payloads: bool) -> Self {
        self.redacted = !payloads;
        if !payloads {
            let (name, tools) = (self.fields.name, self.fields.tools);
            self.fields = CaseFields {
                name,
                tools,
                input: Value::Null,
                history: Vec::new(),
                variables: Variables::new(),
                answers: Vec::new(),
                expectations: Vec::new(),
            };
        }
        self
    }
}

struct Row {
    case_id: CaseId,
    agent_id: AgentId,
    source_run_id: Option<RunId>,
    version: i32,
    created_by: UserId,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    fields: Json<CaseFields>,
}

impl From<Row> for Case {
    fn from(row: Row) -> Self {
        Self {
            case_id: row.case_id,
            agent_id: row.agent_id,
            source_run_id: row.source_run_id,
            version: row.version,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            redacted: false,
            fields: row.fields.0,
        }
    }
}

/// What a list shows of a case: the whole of it may be long.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct CaseSummary {
    pub(crate) case_id: CaseId,
    pub(crate) agent_id: AgentId,
    /// The run it was kept from; that may be forgotten by now.
    pub(crate) source_run_id: Option<RunId>,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    pub(crate) created_by: UserId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) name: String,
    /// How long it is as JSON; all cases of an agent together are 16 MiB at most.
    pub(crate) bytes: i32,
}

/// Adds a case; its name must be new among the agent's.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    agent: AgentId,
    by: UserId,
    fields: &CaseFields,
    source: Option<RunId>,
) -> Result<Case, Error> {
    let (case, tenant) = (CaseId::mint(), tx.tenant());
    sqlx::query!(
        "insert into engine.agent_case (case_id, tenant_id, agent_id, name, definition, source_run_id, created_by, bytes)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        case as _,
        tenant as _,
        agent as _,
        fields.name,
        Json(fields) as _,
        source as Option<RunId>,
        by as _,
        bytes(fields),
    )
    .execute(&mut **tx)
    .await
    .on_constraint("agent_case_name_key", || Error::CaseNameTaken(fields.name.clone()))?;
    find(tx, agent, case).await
}

/// A case is 1 MiB at most.
fn bytes(fields: &CaseFields) -> i32 {
    i32::try_from(fields.bytes()).unwrap_or(i32::MAX)
}

/// Replaces what can be edited.
pub(crate) async fn update(
    tx: &mut TenantTx,
    agent: AgentId,
    case: CaseId,
    fields: &CaseFields,
) -> Result<Case, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.agent_case set name = $3, definition = $4, bytes = $5, version = version + 1, updated_at = now()
         where tenant_id = $1 and case_id = $2",
        tenant as _,
        case as _,
        fields.name,
        Json(fields) as _,
        bytes(fields),
    )
    .execute(&mut **tx)
    .await
    .on_constraint("agent_case_name_key", || Error::CaseNameTaken(fields.name.clone()))?;
    find(tx, agent, case).await
}

pub(crate) async fn find(tx: &mut TenantTx, agent: AgentId, case: CaseId) -> Result<Case, Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select case_id as "case_id: CaseId", agent_id as "agent_id: AgentId",
                  source_run_id as "source_run_id: RunId", version, created_by as "created_by: UserId",
                  created_at, updated_at, definition as "fields: Json<CaseFields>"
           from engine.agent_case where tenant_id = $1 and agent_id = $2 and case_id = $3"#,
        tenant as _,
        agent as _,
        case as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.map(Into::into).ok_or(Error::CaseNotFound(case))
}

/// The same, held until the transaction ends.
pub(crate) async fn find_for_update(
    tx: &mut TenantTx,
    agent: AgentId,
    case: CaseId,
) -> Result<Case, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select case_id from engine.agent_case where tenant_id = $1 and case_id = $2 for update",
        tenant as _,
        case as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find(tx, agent, case).await
}

/// How many cases an agent has besides this one, and how long they are together.
pub(crate) async fn taken(
    tx: &mut TenantTx,
    agent: AgentId,
    besides: Option<CaseId>,
) -> Result<(i64, i64), sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select count(*) as "count!", coalesce(sum(bytes), 0)::bigint as "bytes!" from engine.agent_case
           where tenant_id = $1 and agent_id = $2 and case_id is distinct from $3"#,
        tenant as _,
        agent as _,
        besides as Option<CaseId>,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok((row.count, row.bytes))
}

/// The agent's cases, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    agent: AgentId,
    page: &PageQuery,
) -> Result<Page<CaseSummary>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let cases = sqlx::query_as!(
        CaseSummary,
        r#"select case_id as "case_id: CaseId", agent_id as "agent_id: AgentId",
                  source_run_id as "source_run_id: RunId", version, created_by as "created_by: UserId",
                  created_at, updated_at, name, bytes
           from engine.agent_case
           where tenant_id = $1 and agent_id = $2
             and ($3::timestamptz is null or (created_at, case_id) < ($3, $4))
           order by created_at desc, case_id desc limit $5"#,
        tenant as _,
        agent as _,
        after.map(|cursor| cursor.at),
        after.map_or_else(Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let position = |case: &CaseSummary| Cursor { at: case.created_at, id: case.case_id.uuid() };
    Ok(Page::new(cases, page.limit(), position))
}

/// Takes a case away. Evaluations keep what they had of it.
pub(crate) async fn delete(tx: &mut TenantTx, case: CaseId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.agent_case where tenant_id = $1 and case_id = $2",
        tenant as _,
        case as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
