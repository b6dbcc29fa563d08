//! Runs of a conversation that it has yet to take up: the one whose turn it is, those that wait for theirs, and those
//! that have just ended.

use dbutil::{Db, TenantTx};
use shared_models::{ConversationId, RunId, RunStatus, TenantId};

use crate::snapshot::Recalled;

#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) run: RunId,
    pub(crate) root: RunId,
    status: String,
    wait_reason: Option<String>,
    /// Somebody spoke over it and wants it forgotten.
    pub(crate) rolled_back: bool,
}

impl Turn {
    pub(crate) fn has_ended(&self) -> bool {
        self.status.parse().is_ok_and(RunStatus::terminal)
    }

    pub(crate) fn waits_for_its_turn(&self) -> bool {
        self.wait_reason.as_deref() == Some("turn")
    }
}

/// In the order of their turns.
pub(crate) async fn open(tx: &mut TenantTx, id: ConversationId) -> Result<Vec<Turn>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Turn,
        r#"select run_id as "run: RunId", root_run_id as "root: RunId", status, wait_reason, rolled_back
           from engine.run
           where tenant_id = $1 and conversation_id = $2 and not remembered
           order by conversation_turn"#,
        tenant as _,
        id as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The conversation has taken the run up, or never will.
pub(crate) async fn remembered(tx: &mut TenantTx, run: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set remembered = true where tenant_id = $1 and run_id = $2",
        tenant as _,
        run as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What is said in a run under way will be forgotten with it.
pub(crate) async fn roll_back(tx: &mut TenantTx, run: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set rolled_back = true where tenant_id = $1 and run_id = $2",
        tenant as _,
        run as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// It is the run's turn: it is queued, and told what was said before.
pub(crate) async fn begin(
    tx: &mut TenantTx,
    run: RunId,
    recalled: &Recalled,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let recalled =
        serde_json::to_value(recalled).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "with woken as (
             update engine.run set status = 'queued', wait_reason = null, queued_at = now()
             where tenant_id = $1 and run_id = $2 and status = 'waiting' and wait_reason = 'turn'
             returning run_id
         )
         update engine.run_snapshot set snapshot = jsonb_set(snapshot, '{recalled}', $3)
         where tenant_id = $1 and run_id in (select run_id from woken)",
        tenant as _,
        run as _,
        recalled,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Conversations that have not taken up a run that has ended, or in which a run waits whose turn it is, because whoever drove
/// it has died since.
pub(crate) async fn left_behind(db: &Db) -> Result<Vec<(TenantId, ConversationId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"(select distinct tenant_id as "tenant!: TenantId", conversation_id as "conversation!: ConversationId"
            from engine.run
            where conversation_id is not null and not remembered and finished_at is not null
            limit 100)
           union
           (select w.tenant_id, w.conversation_id
            from engine.run w
            where w.conversation_id is not null and w.wait_reason = 'turn' and not exists (
                select from engine.run b
                where b.conversation_id = w.conversation_id and not b.remembered and b.conversation_turn < w.conversation_turn)
            limit 100)"#,
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.conversation)).collect())
}
