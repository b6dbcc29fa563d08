//! Trying a trigger out with a payload of one's own.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::{Body, Caller, FieldError, Once, Path, Problem, scope};
use shared_models::{DeliveryId, EventId, ProblemBody, TriggerId};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::Error,
    hooks,
    intake::{Draft, Status, decide},
    options::BODY_CAP,
    payload, store, timer,
    viewer::Viewer,
};

/// A delivery to make up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFire {
    /// What the trigger shall believe it received. Without it, null at a hook, and what a timer would hand over now.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
    /// Headers as the filter shall see them.
    #[serde(default)]
    #[schema(value_type = Object)]
    headers: Map<String, Value>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TestFired {
    /// The delivery, marked as a test.
    delivery_id: DeliveryId,
    /// The event, if it fired.
    event_ids: Vec<EventId>,
    /// What the trigger did.
    outcome: Status,
    /// Why it did not fire.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Test-fire a trigger.
///
/// Goes the way of a real delivery, filter included, except that nothing is verified and nothing is a repetition. If it
/// fires, a real run starts.
#[utoipa::path(post, path = "/v1/triggers/{trigger_id}/test", tag = "triggers",
    security(("token" = ["triggers:write"])), params(("trigger_id" = TriggerId, Path)), request_body = TestFire,
    responses((status = 202, body = TestFired), (status = "default", body = ProblemBody)))]
pub(crate) async fn test_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    mut once: Once,
    Path(id): Path<TriggerId>,
    Body(test): Body<TestFire>,
) -> Result<Response, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &test).await? {
        return Ok(stored);
    }
    let missing = || Error::NotFound(format!("trigger {id}"));
    store::trigger::find(&mut tx, &Viewer::of(&caller), id).await?.ok_or_else(missing)?;
    let row = store::hook::of_trigger(&mut tx, id).await?.ok_or_else(missing)?;
    // Ended here and now, not when the connection is next used: the key is begun again below.
    tx.commit().await?;
    let payload = match &test.payload {
        Some(payload) => payload.clone(),
        None => timer::sample(&row, app.clock.now()),
    };
    let draft = draft(&app, payload, test.headers.clone())?;
    let (origin, trigger) = hooks::one(row)?;
    let received = decide(origin, &[trigger], draft).await;
    let verdict = received.verdict();
    let answer = TestFired {
        delivery_id: received.delivery_id,
        event_ids: received.event_ids(),
        outcome: verdict.status(),
        reason: verdict.reason().map(|(_, why)| why.to_owned()),
    };

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &test).await? {
        return Ok(stored);
    }
    store::group::insert(&mut tx, &[&received]).await?;
    once.remember(&mut tx, StatusCode::ACCEPTED, &answer).await?;
    tx.commit().await?;
    app.relay.ring();
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn draft(app: &App, payload: Value, headers: Map<String, Value>) -> Result<Draft, Problem> {
    let body = serde_json::to_vec(&payload).map_err(Problem::internal)?;
    if body.len() > BODY_CAP as usize {
        return Err(Problem::validation(vec![FieldError::new("/payload", "larger than 10 MiB")]));
    }
    // The same checks as for what comes from outside.
    let payload = payload::parse(Some("application/json"), &body)?;
    if let Some((name, _)) = headers.iter().find(|(name, value)| {
        name.contains('\0') || value.as_str().is_none_or(|text| text.contains('\0'))
    }) {
        return Err(Problem::validation(vec![FieldError::new(
            format!("/headers/{name}"),
            "must be plain text",
        )]));
    }
    let now = app.clock.now();
    Ok(Draft {
        dedupe: None,
        verified_by: "test",
        content_type: Some("application/json".into()),
        headers,
        body: body.into(),
        payload,
        occurred_at: now,
        now,
    })
}
