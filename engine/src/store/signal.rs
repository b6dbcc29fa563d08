//! What people want of a run. Written by any process; the owner drains it into the journal.

use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::{RunId, UserId};

use crate::budgets::Changed;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub(crate) enum Signal {
    Cancel {
        #[serde(default)]
        by: Option<UserId>,
        reason: String,
    },
    /// Stop for a while.
    Pause {
        #[serde(default)]
        by: Option<UserId>,
    },
    /// Go on.
    Resume {
        #[serde(default)]
        by: Option<UserId>,
    },
    /// People have decided about a call, or have not in time; what is in the approval's row.
    Decided { call_id: String, approval_id: uuid::Uuid },
    /// The other side of a call has said what became of it, or has not in time; what is in the callback's row.
    CalledBack { call_id: String },
    /// A person's answer to a question.
    Answered { call_id: String, text: String, by: UserId },
    /// A run that a call has started has ended. Written with the run's end itself; see `committer/group.sql`.
    ChildEnded { call_id: String, child_id: uuid::Uuid },
    /// There may be room in a budget that the run is short of. Engines of before take no notice of what has changed.
    Room {
        /// Somebody has changed the run's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changed: Option<Box<Changed>>,
    },
    /// A credential that calls wait for may be asked for again.
    Connected { credential_id: uuid::Uuid },
    /// Somebody wants the probe asked about a call in doubt.
    Check { call_id: String, by: UserId },
    /// What became of a call in doubt.
    Doubt {
        call_id: String,
        happened: bool,
        #[serde(default)]
        result: Option<String>,
        by: UserId,
    },
}

pub(crate) async fn insert(
    tx: &mut TenantTx,
    run: RunId,
    signal: &Signal,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.run_signal (run_id, tenant_id, signal) values ($1, $2, $3::text::jsonb)",
        run as _,
        tenant as _,
        text(signal)?,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A signal as its row has it.
pub(super) fn text(signal: &Signal) -> Result<String, sqlx::Error> {
    serde_json::to_string(signal).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// What the owner has not taken in yet, in order, each with its number.
pub(crate) async fn open(tx: &mut TenantTx, run: RunId) -> Result<Vec<(i64, Signal)>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select n, signal as "signal: Value" from engine.run_signal
           where tenant_id = $1 and run_id = $2 and drained_at is null order by n"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.n,
                serde_json::from_value(row.signal)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            ))
        })
        .collect()
}
