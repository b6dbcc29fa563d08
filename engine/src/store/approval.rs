//! What people are asked about, and what they have said. Votes are only ever added.
//!
//! Whoever decides holds the run first and the approval then; nobody holds them the other way round.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Db, TenantTx};
use serde_json::Value;
use shared_models::{AgentId, ApiKeyId, ApprovalId, RunId, TenantId, UserId};
use sqlx::types::{Json, Uuid};

use crate::approvals::binding::Subject;
use crate::approvals::{self, Policy, Rule};
use crate::visibility::Viewer;

/// What people are asked.
#[derive(Clone, Debug)]
pub(crate) struct NewApproval {
    pub(crate) approval_id: ApprovalId,
    pub(crate) run: RunId,
    pub(crate) agent: AgentId,
    /// Which call; see [`crate::call_key`].
    pub(crate) key: String,
    pub(crate) tool_name: String,
    pub(crate) subject: Subject,
    pub(crate) arguments: Value,
    /// JSON Schema of the arguments.
    pub(crate) parameters: Value,
    pub(crate) rules: Vec<Rule>,
    pub(crate) policy: Policy,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) approval_id: ApprovalId,
    pub(crate) run_id: RunId,
    pub(crate) agent_id: AgentId,
    pub(crate) call_key: String,
    pub(crate) tool_name: String,
    pub(crate) subject: Json<Subject>,
    /// What the model wrote; none when it has been forgotten.
    pub(crate) asked: Option<Json<Value>>,
    /// What would be sent.
    pub(crate) arguments: Option<Json<Value>>,
    pub(crate) parameters: Value,
    pub(crate) binding: Vec<u8>,
    pub(crate) revision: i32,
    pub(crate) rules: Json<Vec<Rule>>,
    pub(crate) policy: Json<Policy>,
    /// `withdrawn` as soon as the run has ended.
    pub(crate) status: String,
    pub(crate) sticky: bool,
    pub(crate) reason: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) is_over: bool,
    pub(crate) decided_at: Option<DateTime<Utc>>,
    /// How many people have approved of it as it is.
    pub(crate) approvals: i64,
    pub(crate) initiator_id: Option<UserId>,
}

impl Row {
    pub(crate) fn is_open(&self) -> bool {
        self.status == "open"
    }
}

/// Asks, unless that has been asked already; gives what there is then.
pub(crate) async fn request(tx: &mut TenantTx, new: &NewApproval) -> Result<Row, sqlx::Error> {
    let tenant = tx.tenant();
    let (binding, scope) = (new.subject.binding(&new.arguments), new.subject.scope());
    let users: Vec<Uuid> = new.policy.users().iter().map(|user| user.uuid()).collect();
    sqlx::query!(
        "insert into engine.approval (approval_id, tenant_id, run_id, agent_id, call_key, tool_name, subject, asked,
             arguments, parameters, binding, scope, rules, policy, voters, voter_rank, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $8::text::json, $9, $10, $11, $12, $13, $14, $15,
                 now() + make_interval(secs => $16))
         on conflict (approval_id) do nothing",
        new.approval_id as _,
        tenant as _,
        new.run as _,
        new.agent as _,
        new.key,
        new.tool_name,
        Json(&new.subject) as _,
        new.arguments.to_string(),
        new.parameters,
        binding.as_slice(),
        scope.as_slice(),
        Json(&new.rules) as _,
        Json(&new.policy) as _,
        &users,
        new.policy.role().map(approvals::rank),
        f64::from(new.policy.expires_seconds),
    )
    .execute(&mut **tx)
    .await?;
    find(tx, new.approval_id).await?.ok_or(sqlx::Error::RowNotFound)
}

pub(crate) async fn find(tx: &mut TenantTx, id: ApprovalId) -> Result<Option<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_file_as!(Row, "src/store/approval_find.sql", tenant as _, id as _)
        .fetch_optional(&mut **tx)
        .await
}

/// Keeps everybody else from deciding until the transaction ends.
pub(crate) async fn hold(tx: &mut TenantTx, id: ApprovalId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select approval_id from engine.approval where tenant_id = $1 and approval_id = $2 for no key update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(drop)
}

/// What the inbox is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) status: Option<&'static str>,
    pub(crate) run: Option<RunId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) tool: Option<String>,
}

/// What the viewer may see, newest first, one more than `limit` when there are more: what runs ask that they see, and what
/// they are named for.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    (viewer, rank): (&Viewer, Option<i32>),
    filter: &Filter,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_file_as!(
        Row,
        "src/store/approval_list.sql",
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        rank,
        filter.status,
        filter.run as Option<RunId>,
        filter.agent as Option<AgentId>,
        filter.tool.as_deref(),
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id),
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// A decision that somebody has made for the rest of the run.
#[derive(Clone, Debug)]
pub(crate) struct Sticky {
    pub(crate) approval_id: ApprovalId,
    pub(crate) approved: bool,
    /// What was wanted of those who made it.
    pub(crate) policy: Json<Policy>,
    pub(crate) revision: i32,
    pub(crate) reason: Option<String>,
}

/// The last decision for all calls of a scope that holds for one of this policy. A yes does when it took as much as the call
/// needs, a no always does.
pub(crate) async fn sticky(
    tx: &mut TenantTx,
    run: RunId,
    scope: &[u8; 32],
    policy: &Policy,
) -> Result<Option<Sticky>, sqlx::Error> {
    let tenant = tx.tenant();
    let all = sqlx::query_as!(
        Sticky,
        r#"select approval_id as "approval_id: ApprovalId", status = 'approved' as "approved!",
                  policy as "policy: Json<Policy>", revision, reason
           from engine.approval
           where tenant_id = $1 and run_id = $2 and scope = $3 and sticky and status in ('approved', 'rejected')
           order by decided_at desc, approval_id desc"#,
        tenant as _,
        run as _,
        scope.as_slice(),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(all.into_iter().find(|sticky| !sticky.approved || sticky.policy.covers(policy)))
}

/// Somebody has changed what would be sent.
pub(crate) async fn edit(
    tx: &mut TenantTx,
    id: ApprovalId,
    (arguments, binding): (&Value, &[u8; 32]),
    policy: &Policy,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let users: Vec<Uuid> = policy.users().iter().map(|user| user.uuid()).collect();
    sqlx::query!(
        "update engine.approval
         set arguments = $3::text::json, binding = $4, policy = $5, voters = $6, voter_rank = $7, revision = revision + 1
         where tenant_id = $1 and approval_id = $2",
        tenant as _,
        id as _,
        arguments.to_string(),
        binding.as_slice(),
        Json(policy) as _,
        &users,
        policy.role().map(approvals::rank),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// It is settled.
pub(crate) async fn settle(
    tx: &mut TenantTx,
    id: ApprovalId,
    status: &'static str,
    (sticky, reason): (bool, Option<&str>),
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.approval set status = $3, sticky = $4, reason = $5, decided_at = now()
         where tenant_id = $1 and approval_id = $2 and status = 'open'",
        tenant as _,
        id as _,
        status,
        sticky,
        reason,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What somebody says.
#[derive(Clone, Debug)]
pub(crate) struct NewVote<'a> {
    pub(crate) user: UserId,
    pub(crate) key: Option<ApiKeyId>,
    pub(crate) kind: &'static str,
    pub(crate) sticky: bool,
    pub(crate) comment: Option<&'a str>,
}

/// Adds a vote on the call as it is now.
pub(crate) async fn vote(
    tx: &mut TenantTx,
    id: ApprovalId,
    vote: &NewVote<'_>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.approval_vote (approval_id, tenant_id, user_id, key_id, kind, revision, binding, sticky, comment)
         select approval_id, tenant_id, $3, $4, $5, revision, binding, $6, $7
         from engine.approval where tenant_id = $1 and approval_id = $2",
        tenant as _,
        id as _,
        vote.user as _,
        vote.key as Option<ApiKeyId>,
        vote.kind,
        vote.sticky,
        vote.comment,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What somebody has said.
#[derive(Clone, Debug)]
pub(crate) struct Vote {
    pub(crate) user_id: UserId,
    pub(crate) key_id: Option<ApiKeyId>,
    pub(crate) kind: String,
    pub(crate) revision: i32,
    pub(crate) binding: Vec<u8>,
    pub(crate) sticky: bool,
    pub(crate) comment: Option<String>,
    pub(crate) at: DateTime<Utc>,
}

/// All that has been said, in order.
pub(crate) async fn votes(tx: &mut TenantTx, id: ApprovalId) -> Result<Vec<Vote>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Vote,
        r#"select user_id as "user_id: UserId", key_id as "key_id: ApiKeyId", kind, revision, binding, sticky, comment, at
           from engine.approval_vote where tenant_id = $1 and approval_id = $2 order by n"#,
        tenant as _,
        id as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// What nobody has decided in time, the oldest first.
pub(crate) async fn overdue(
    db: &Db,
    limit: i64,
) -> Result<Vec<(TenantId, ApprovalId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", approval_id as "id: ApprovalId"
           from engine.approval where status = 'open' and expires_at <= now() order by expires_at limit $1"#,
        limit,
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.id)).collect())
}
