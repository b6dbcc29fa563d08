//! Runs that could be told to stop.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use shared_models::{AgentId, ConversationId, RunId, RunMode, RunStatus, SwarmId, TriggerId};

use crate::visibility::Viewer;

/// What they are narrowed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) status: Option<RunStatus>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) swarm: Option<SwarmId>,
    pub(crate) trigger: Option<TriggerId>,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) mode: Option<RunMode>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Runs that the viewer may see, that have not ended and that nobody has told to stop yet, oldest first, one more than
/// `limit` when there are more.
pub(crate) async fn list(
    tx: &mut TenantTx,
    viewer: &Viewer,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run_id: RunId" from engine.run r
           where tenant_id = $1
             and ($2 or initiator_id = $3 or (agent_scope = 'user' and agent_owner_id = $3)
                  or (agent_scope = 'team' and team_id = any ($4::uuid[])))
             and status in ('queued', 'running', 'waiting', 'paused')
             and ($5::text is null or status = $5)
             and ($6::uuid is null or agent_id = $6)
             and ($7::uuid is null or trigger_id = $7)
             and ($8::uuid is null or conversation_id = $8)
             and ($9::timestamptz is null or created_at >= $9)
             and ($10::timestamptz is null or created_at < $10)
             and ($12::uuid is null or swarm_id = $12)
             and ($13::text is null or mode = $13)
             and not exists (select from engine.run_signal s
                             where s.run_id = r.run_id and s.drained_at is null and s.signal ->> 'signal' = 'cancel')
           order by created_at, run_id
           limit $11"#,
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        filter.status.map(RunStatus::as_str),
        filter.agent as Option<AgentId>,
        filter.trigger as Option<TriggerId>,
        filter.conversation as Option<ConversationId>,
        filter.since,
        filter.until,
        limit + 1,
        filter.swarm as Option<SwarmId>,
        filter.mode.map(RunMode::as_str),
    )
    .fetch_all(&mut **tx)
    .await
}
