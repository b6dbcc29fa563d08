//! Publishes firings again of which no run was ever heard.
//!
//! Invariant: a firing that merely waits is left alone. Only what the engine's consumer has acknowledged, everything
//! before it included, counts as lost; the engine makes one run of it however often it comes.

use pubsub::topology::ENGINE_TRIGGER_FIRED;
use serde_json::json;

use crate::{
    app::App,
    store::{self, step::NewStep},
};

const BATCH: i64 = 500;

/// Publishes unheard firings again now; says how many.
pub async fn activate(app: &App) -> anyhow::Result<u64> {
    let floor = pubsub::consumer_ack_floor(&app.bus, &ENGINE_TRIGGER_FIRED).await?;
    let minutes = app.limits.unheard_minutes as i32;
    let mut tx = app.db.system("unheard firings of all tenants").await?;
    let lost = store::firing::unheard(&mut tx, floor as i64, minutes, BATCH).await?;
    tx.commit().await?;
    for firing in &lost {
        let mut tx = app.db.begin(firing.tenant_id).await?;
        let step = NewStep {
            delivery_id: firing.delivery_id,
            event_id: firing.event_id,
            attempt: firing.attempt,
            step: "republished",
            run_id: None,
            detail: json!({ "why": "no run was heard of" }),
            at: None,
        };
        store::step::insert(&mut tx, &step).await?;
        tx.commit().await?;
    }
    if !lost.is_empty() {
        let ids: Vec<_> = lost.iter().map(|firing| firing.message_id).collect();
        pubsub::republish(&app.db, &ids).await?;
        app.relay.ring();
        tracing::warn!(events = lost.len(), "firings without a run are published again");
    }
    Ok(lost.len() as u64)
}
