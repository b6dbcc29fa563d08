//! What became of a delivery after it was received.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Value;
use shared_models::{DeliveryId, EventId, RunId};

/// A later step of a delivery.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub event_id: EventId,
    pub attempt: i32,
    pub step: String,
    pub run_id: Option<RunId>,
    pub detail: Value,
    pub at: DateTime<Utc>,
}

/// A step to add; its time is the database's unless the event that tells of it has one.
#[derive(Clone, Debug)]
pub(crate) struct NewStep<'a> {
    pub delivery_id: DeliveryId,
    pub event_id: EventId,
    pub attempt: i32,
    pub step: &'a str,
    pub run_id: Option<RunId>,
    pub detail: Value,
    pub at: Option<DateTime<Utc>>,
}

/// Adds a step.
pub(crate) async fn insert(tx: &mut TenantTx, new: &NewStep<'_>) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.delivery_step (delivery_id, tenant_id, event_id, attempt, step, run_id, detail, at)
         values ($1, $2, $3, $4, $5, $6, $7, coalesce($8, now()))",
        new.delivery_id as _,
        tenant as _,
        new.event_id as _,
        new.attempt,
        new.step,
        new.run_id as _,
        new.detail,
        new.at,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The later steps of a delivery, in the order in which they happened.
pub(crate) async fn list(
    tx: &mut TenantTx,
    delivery: DeliveryId,
) -> Result<Vec<Step>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Step,
        r#"select event_id as "event_id: EventId", attempt, step, run_id as "run_id: RunId", detail, at
           from eventsvc.delivery_step
           where tenant_id = $1 and delivery_id = $2
           order by at, step_no"#,
        tenant as _,
        delivery as _,
    )
    .fetch_all(&mut **tx)
    .await
}
