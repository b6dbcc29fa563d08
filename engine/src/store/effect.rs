//! Calls to the outside world and how far each has come. The owner writes them with its journal; see `committer`.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use shared_models::{Effect, EffectState, RunId, UserId};
use sqlx::types::Uuid;
use utoipa::ToSchema;

use crate::call_key;

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) call_id: String,
    pub(crate) tool_name: String,
    pub(crate) class: String,
    pub(crate) idempotency_key: Uuid,
    pub(crate) timeout_ms: i64,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) intended_at: DateTime<Utc>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) answered_by: Option<UserId>,
    /// Milliseconds since it was sent.
    pub(crate) sent_ms_ago: Option<i64>,
}

/// A call somebody is asked about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Doubt {
    /// Whose call it is, in a tree of agents; empty for the run's own agent.
    #[serde(default)]
    pub(crate) path: Vec<String>,
    pub(crate) call_id: String,
    pub(crate) tool_name: String,
    pub(crate) reason: Option<String>,
}

impl Doubt {
    /// The same with the path and the call's own id instead of its key.
    pub(crate) fn apart(mut self) -> Self {
        let (path, call_id) = call_key::split(&self.call_id);
        (self.path, self.call_id) = (call_key::names(path), call_id.to_owned());
        self
    }
}

impl Row {
    pub(crate) fn effect(&self) -> Effect {
        // The check constraint keeps anything else out; unsafe is the careful reading.
        self.class.parse().unwrap_or(Effect::Unsafe)
    }

    pub(crate) fn state(&self) -> EffectState {
        self.state.parse().unwrap_or(EffectState::InDoubt)
    }
}

/// All calls of a run, in the order they were intended.
pub(crate) async fn list(tx: &mut TenantTx, run: RunId) -> Result<Vec<Row>, sqlx::Error> {
    first(tx, run, None).await
}

/// The first calls of a run, as many as the limit says, in the order they were intended.
pub(crate) async fn first(
    tx: &mut TenantTx,
    run: RunId,
    limit: Option<i64>,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select call_id, tool_name, class, idempotency_key, timeout_ms, state, reason, intended_at,
                  sent_at, ended_at, answered_by as "answered_by: UserId",
                  (extract(epoch from now() - sent_at) * 1000)::bigint as sent_ms_ago
           from engine.effect where tenant_id = $1 and run_id = $2 order by intended_at, call_id
           limit $3"#,
        tenant as _,
        run as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// How far one call has come.
pub(crate) async fn state(
    tx: &mut TenantTx,
    run: RunId,
    call_id: &str,
) -> Result<Option<EffectState>, sqlx::Error> {
    let tenant = tx.tenant();
    let state = sqlx::query_scalar!(
        "select state from engine.effect where tenant_id = $1 and run_id = $2 and call_id = $3",
        tenant as _,
        run as _,
        call_id,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(state.and_then(|state| state.parse().ok()))
}

/// Settles a doubt of a run that has ended: nobody will act on it, but it is no longer open.
pub(crate) async fn settle(
    tx: &mut TenantTx,
    run: RunId,
    call_id: &str,
    by: UserId,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.effect
         set state = 'answered', answered_by = $4, reason = $5, ended_at = now()
         where tenant_id = $1 and run_id = $2 and call_id = $3 and state = 'in_doubt'",
        tenant as _,
        run as _,
        call_id,
        by as _,
        reason,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
