//! Conversations: runs of one agent that follow each other, each with what was said before.
//!
//! Their messages are only ever appended to, in the order of the turns. Which run's turn it is, is decided in
//! `crate::conversations` under the conversation's lock.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{AgentId, AgentScope, ConversationId, TeamId, UserId};
use utoipa::ToSchema;

use crate::error::Error;
use crate::snapshot::RunSnapshot;
use crate::visibility::Viewer;

/// Runs of one agent that follow each other and remember.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Conversation {
    pub(crate) conversation_id: ConversationId,
    /// Whom it is held with on our side.
    pub(crate) agent_id: AgentId,
    #[serde(skip)]
    agent_scope: String,
    #[serde(skip)]
    agent_owner_id: UserId,
    #[serde(skip)]
    team_id: Option<TeamId>,
    pub(crate) created_by: UserId,
    /// The person it is held with, as you name them.
    pub(crate) end_user_id: Option<String>,
    pub(crate) title: Option<String>,
    /// How many runs it has had.
    pub(crate) turns: i64,
    /// How many messages it remembers.
    pub(crate) messages: i64,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    /// When a run was last begun or taken up.
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
}

/// A conversation that is about to exist.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) created_by: UserId,
    pub(crate) end_user_id: Option<String>,
    pub(crate) title: Option<String>,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) agent: Option<AgentId>,
    pub(crate) end_user_id: Option<String>,
    /// Part of the title, in any case.
    pub(crate) q: Option<String>,
}

impl Conversation {
    fn is_seen_by(&self, viewer: &Viewer) -> bool {
        let scope = self.agent_scope.parse().unwrap_or(AgentScope::User);
        let began_it = viewer.user == Some(self.created_by);
        began_it || viewer.sees(scope, self.agent_owner_id, self.team_id)
    }
}

pub(crate) async fn insert(
    tx: &mut TenantTx,
    agent: &RunSnapshot,
    new: &New,
) -> Result<Conversation, sqlx::Error> {
    let (tenant, id) = (tx.tenant(), ConversationId::mint());
    sqlx::query_as!(
        Conversation,
        r#"insert into engine.conversation
               (conversation_id, tenant_id, agent_id, agent_scope, agent_owner_id, team_id, created_by, end_user_id, title)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
           returning conversation_id as "conversation_id: _", agent_id as "agent_id: _", agent_scope,
                     agent_owner_id as "agent_owner_id: _", team_id as "team_id: _", created_by as "created_by: _",
                     end_user_id, title, turns, messages, created_at, updated_at"#,
        id as _,
        tenant as _,
        agent.agent_id as _,
        agent.scope.as_str(),
        agent.owner as _,
        agent.team_id as _,
        new.created_by as _,
        new.end_user_id,
        new.title,
    )
    .fetch_one(&mut **tx)
    .await
}

/// A conversation that the viewer may see.
pub(crate) async fn find_visible(
    tx: &mut TenantTx,
    viewer: &Viewer,
    id: ConversationId,
) -> Result<Conversation, Error> {
    let tenant = tx.tenant();
    let found = sqlx::query_as!(
        Conversation,
        r#"select conversation_id as "conversation_id: _", agent_id as "agent_id: _", agent_scope,
                  agent_owner_id as "agent_owner_id: _", team_id as "team_id: _", created_by as "created_by: _",
                  end_user_id, title, turns, messages, created_at, updated_at
           from engine.conversation where tenant_id = $1 and conversation_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    found.filter(|found| found.is_seen_by(viewer)).ok_or(Error::ConversationNotFound(id))
}

/// Holds a conversation until the transaction ends: no other run joins it, ends or begins in it meanwhile. Says how many
/// messages it remembers; none when there is no such conversation.
pub(crate) async fn hold(
    tx: &mut TenantTx,
    id: ConversationId,
) -> Result<Option<i64>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select messages from engine.conversation where tenant_id = $1 and conversation_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Keeps what stands for the messages before `upto` in a conversation that the caller holds.
pub(crate) async fn sum_up(
    tx: &mut TenantTx,
    id: ConversationId,
    summary: &str,
    upto: i64,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.conversation set summary = $3, summary_upto = $4
         where tenant_id = $1 and conversation_id = $2 and coalesce(summary_upto, 0) < $4",
        tenant as _,
        id as _,
        summary,
        upto,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Gives a run its place in a conversation that the caller holds.
pub(crate) async fn next_turn(tx: &mut TenantTx, id: ConversationId) -> Result<i64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "update engine.conversation set turns = turns + 1, updated_at = now()
         where tenant_id = $1 and conversation_id = $2 returning turns",
        tenant as _,
        id as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// The conversations a viewer may see, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    filter: &Filter,
    page: &PageQuery,
) -> Result<Page<Conversation>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Conversation,
        r#"select conversation_id as "conversation_id: _", agent_id as "agent_id: _", agent_scope,
                  agent_owner_id as "agent_owner_id: _", team_id as "team_id: _", created_by as "created_by: _",
                  end_user_id, title, turns, messages, created_at, updated_at
           from engine.conversation
           where tenant_id = $1
             and ($2 or created_by = $3 or agent_owner_id = $3 or (agent_scope = 'team' and team_id = any ($4)))
             and ($5::uuid is null or agent_id = $5)
             and ($6::text is null or end_user_id = $6)
             and ($7::text is null or strpos(lower(title), lower($7)) > 0)
             and ($8::timestamptz is null or (created_at, conversation_id) < ($8, $9))
           order by created_at desc, conversation_id desc
           limit $10"#,
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        filter.agent as Option<AgentId>,
        filter.end_user_id.as_deref(),
        filter.q.as_deref(),
        after.map(|cursor| cursor.at),
        after.map_or_else(uuid::Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let position =
        |row: &Conversation| Cursor { at: row.created_at, id: row.conversation_id.uuid() };
    Ok(Page::new(rows, page.limit(), position))
}

/// Changes what a conversation is called.
pub(crate) async fn rename(
    tx: &mut TenantTx,
    id: ConversationId,
    title: Option<&str>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.conversation set title = $3 where tenant_id = $1 and conversation_id = $2",
        tenant as _,
        id as _,
        title,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Forgets a conversation: what was said in it, and what its agent was told to remember about it. Its runs stay, for as
/// long as runs do.
pub(crate) async fn delete(
    tx: &mut TenantTx,
    conversation: &Conversation,
) -> Result<(), sqlx::Error> {
    let (tenant, id) = (tx.tenant(), conversation.conversation_id);
    sqlx::query!(
        "with facts as (
             delete from engine.agent_memory where tenant_id = $1 and agent_id = $3 and subject = $4
         ), runs as (
             -- Nothing is left to take them up; they may be pruned.
             update engine.run set remembered = true
             where tenant_id = $1 and conversation_id = $2 and not remembered
         )
         delete from engine.conversation where tenant_id = $1 and conversation_id = $2",
        tenant as _,
        id as _,
        conversation.agent_id as _,
        format!("conversation:{}", id.uuid()),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
