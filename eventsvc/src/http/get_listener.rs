//! How a trigger's listener is doing.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use pubsub::topology;
use serde::Serialize;
use serde_json::{Value, json};
use servicekit::{Caller, Path, Problem, scope};
use shared_models::{ProblemBody, SourceId, TriggerId, WorkerId, wire_time};
use utoipa::ToSchema;

use super::update_trigger::may_change;
use crate::{
    app::App,
    error::{Error, NO_LISTENER},
    store::{self, lease},
    trigger::System,
    viewer::Viewer,
};

/// What goes and looks at a trigger's source.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ListenerView {
    /// The source. Triggers with the same credential and options share it.
    source_id: SourceId,
    /// How many triggers share it.
    triggers: i64,
    /// `waiting`, `looking` or `failing`.
    state: &'static str,
    /// The replica that listens.
    owner: Option<WorkerId>,
    /// Raised each time it changes hands.
    epoch: i64,
    /// Until when it stays with that replica, unless that one keeps it.
    #[serde(serialize_with = "wire_time::maybe")]
    lease_until: Option<DateTime<Utc>>,
    /// When it looks next.
    #[serde(serialize_with = "wire_time::time")]
    next_at: DateTime<Utc>,
    /// When it last looked.
    #[serde(serialize_with = "wire_time::maybe")]
    last_looked_at: Option<DateTime<Utc>>,
    /// When it last found something.
    #[serde(serialize_with = "wire_time::maybe")]
    last_found_at: Option<DateTime<Utc>>,
    /// What it has found so far.
    found: i64,
    /// How much of that the provider should have told of and had not.
    recovered: i64,
    /// Looks in a row that did not work.
    failures: i32,
    /// Why the last one did not.
    last_error: Option<String>,
    /// When one last did not.
    #[serde(serialize_with = "wire_time::maybe")]
    last_error_at: Option<DateTime<Utc>>,
    /// What happened that a person should know, such as a cursor that had become too old.
    note: Option<String>,
    /// When something at the provider will be renewed.
    #[serde(serialize_with = "wire_time::maybe")]
    renew_at: Option<DateTime<Utc>>,
    /// How far it has come, as its system has it.
    #[schema(value_type = Option<Object>)]
    cursor: Option<Value>,
    /// When that last changed.
    #[serde(serialize_with = "wire_time::maybe")]
    cursor_at: Option<DateTime<Utc>>,
}

/// Get a trigger's listener.
#[utoipa::path(get, path = "/v1/triggers/{trigger_id}/listener", tag = "triggers",
    security(("token" = ["triggers:read"])), params(("trigger_id" = TriggerId, Path)),
    responses((status = 200, body = ListenerView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_listener(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<TriggerId>,
) -> Result<Json<ListenerView>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &Viewer::of(&caller), id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    if row.system == System::Nats.as_str() {
        tx.commit().await?;
        return Ok(Json(on_bus(&app, &row).await?));
    }
    let found = lease::find(&mut tx, row.source_id).await?.ok_or_else(|| nobody(id))?;
    Ok(Json(view(row.source_id, found)))
}

/// Look now.
///
/// The trigger's listener looks as soon as it can, whenever it would have looked next.
#[utoipa::path(post, path = "/v1/triggers/{trigger_id}/listener/look", tag = "triggers",
    security(("token" = ["triggers:write"])), params(("trigger_id" = TriggerId, Path)),
    responses((status = 202), (status = "default", body = ProblemBody)))]
pub(crate) async fn look_now(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Path(id): Path<TriggerId>,
) -> Result<StatusCode, Problem> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &viewer, id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    may_change(&viewer, &row)?;
    if lease::find(&mut tx, row.source_id).await?.is_none() {
        return Err(nobody(id));
    }
    lease::ensure(&mut tx, row.source_id).await?;
    tx.commit().await?;
    app.listeners.notify_waiters();
    Ok(StatusCode::ACCEPTED)
}

/// The bus is heard by all replicas together, at once and without a lease.
async fn on_bus(app: &App, row: &store::trigger::Trigger) -> Result<ListenerView, Problem> {
    let consumer = &topology::EVENTSVC_BUS_TRIGGERS;
    let heard = pubsub::consumer_ack_floor(&app.bus, consumer).await;
    let told = pubsub::last_sequence(&app.bus, consumer.stream).await;
    let (heard, told, error) = match (heard, told) {
        (Ok(heard), Ok(told)) => (heard, told, None),
        (Err(error), _) | (_, Err(error)) => (0, 0, Some(format!("NATS does not answer: {error}"))),
    };
    let cursor = error.is_none().then(|| {
        json!({ "stream": consumer.stream.name(), "sequence": heard, "behind": told.saturating_sub(heard) })
    });
    Ok(ListenerView {
        source_id: row.source_id,
        triggers: 1,
        state: if error.is_none() { "waiting" } else { "failing" },
        owner: None,
        epoch: 0,
        lease_until: None,
        next_at: app.clock.now(),
        last_looked_at: None,
        last_found_at: row.last_delivery_at,
        found: row.fired + row.filtered + row.skipped + row.failed,
        recovered: 0,
        failures: i32::from(error.is_some()),
        last_error: error,
        last_error_at: None,
        note: None,
        renew_at: None,
        cursor,
        cursor_at: None,
    })
}

fn nobody(id: TriggerId) -> Problem {
    Problem::new(&NO_LISTENER, format!("the trigger {id} waits for what is delivered or due"))
}

fn view(source_id: SourceId, lease: lease::Lease) -> ListenerView {
    ListenerView {
        source_id,
        triggers: lease.triggers,
        state: match (lease.looking, lease.failures) {
            (true, _) => "looking",
            (false, 0) => "waiting",
            (false, _) => "failing",
        },
        owner: lease.owner.map(WorkerId::from),
        epoch: lease.epoch,
        lease_until: lease.until_at,
        next_at: lease.due_at,
        last_looked_at: lease.last_polled_at,
        last_found_at: lease.last_item_at,
        found: lease.found,
        recovered: lease.recovered,
        failures: lease.failures,
        last_error: lease.last_error,
        last_error_at: lease.last_error_at,
        note: lease.note,
        renew_at: lease.renew_at,
        cursor: lease.position,
        cursor_at: lease.moved_at,
    }
}
