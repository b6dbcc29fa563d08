//! Questions that runs ask people. They are records of the journal; nothing else knows of them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Value;
use shared_models::RunId;

use crate::call_key;
use crate::store::signal::{self, Signal};

/// A question that the run has no answer to yet.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The key of the call that asks.
    pub(crate) key: String,
    pub(crate) text: String,
    /// JSON Schema of the answer.
    pub(crate) answer: Option<Value>,
    pub(crate) asked_at: DateTime<Utc>,
    /// Somebody has answered, and the run has not taken it in yet.
    pub(crate) answered: bool,
}

/// The open questions of a run, in the order they were asked.
pub(crate) async fn open(tx: &mut TenantTx, run: RunId) -> Result<Vec<Question>, sqlx::Error> {
    let tenant = tx.tenant();
    // Read here and not by Postgres, whose operators take no NUL.
    let rows = sqlx::query!(
        r#"select path, kind, data as "data: Value", at from engine.journal
           where tenant_id = $1 and run_id = $2 and kind in ('tool_waiting', 'tool_answered', 'unmatched_decided') order by seq"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    let key_of = |path: &str, data: &Value| {
        call_key::key(path, data["call_id"].as_str().unwrap_or_default())
    };
    let answered: HashSet<String> = rows
        .iter()
        .filter(|row| row.kind != "tool_waiting")
        .map(|row| key_of(&row.path, &row.data))
        .collect();
    let signals = signal::open(tx, run).await?;
    let told = |id: &str| {
        let of =
            |signal: &Signal| matches!(signal, Signal::Answered { call_id, .. } if call_id == id);
        signals.iter().any(|(_, signal)| of(signal))
    };
    let asked =
        rows.iter().filter(|row| row.kind == "tool_waiting" && row.data["reason"] == "input");
    let open = asked.filter(|row| !answered.contains(&key_of(&row.path, &row.data))).map(|row| {
        let key = key_of(&row.path, &row.data);
        Question {
            answered: told(&key),
            key,
            text: row.data["question"].as_str().unwrap_or_default().to_owned(),
            answer: row.data.get("answer").cloned(),
            asked_at: row.at,
        }
    });
    Ok(open.collect())
}
