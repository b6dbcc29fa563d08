//! One delivery, with its timeline and, for those who may see it, its content.

use axum::{Json, extract::State};
use serde_json::Value;
use servicekit::{Caller, Path, PeerError, Problem, scope};
use shared_models::{DeliveryId, ProblemBody, TenantId};

use crate::{
    app::App,
    delivery::{Delivery, DeliveryDetail, Done, timeline},
    error::Error,
    payload,
    store::{self, step::Step},
    viewer::Viewer,
};

/// Runs whose effects are asked for.
const MOST_RUNS: usize = 20;

/// Get a delivery.
///
/// Its timeline goes from what was received to what its runs did to the world.
#[utoipa::path(get, path = "/v1/deliveries/{delivery_id}", tag = "deliveries",
    security(("token" = ["triggers:read"])), params(("delivery_id" = DeliveryId, Path)),
    responses((status = 200, body = DeliveryDetail), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_delivery(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<DeliveryId>,
) -> Result<Json<DeliveryDetail>, Problem> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    // What is heard of the run between two statements would show in one of them and not in the other.
    store::delivery::as_of_now(&mut tx).await?;
    let row = store::delivery::find(&mut tx, &viewer, id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("delivery {id}")))?;
    let firings = store::firing::of_deliveries(&mut tx, &viewer, &[id]).await?;
    let steps = store::step::list(&mut tx, id).await?;
    let content = if caller.payloads { store::delivery::content(&mut tx, id).await? } else { None };
    let delivery = Delivery::of(row, &firings);
    let own = |step: &Step| firings.iter().any(|own| own.event_id == step.event_id);
    let steps = steps.into_iter().filter(own).map(|step| shown(step, caller.payloads));
    tx.commit().await?;
    let effects = effects(&app, caller.tenant, &delivery).await;
    let effects_unknown = effects.is_none();
    let (effects, effects_cut) = effects.unwrap_or_default();
    let timeline = timeline(&delivery, steps.collect(), &effects);
    let (payload, headers) = match content {
        Some(content) => {
            let payload = payload::parse(content.content_type.as_deref(), &content.body).ok();
            (payload, Some(content.headers))
        }
        None => (None, None),
    };
    let redacted = !caller.payloads;
    Ok(Json(DeliveryDetail {
        delivery,
        timeline,
        effects_unknown,
        effects_cut,
        redacted,
        payload,
        headers,
    }))
}

/// What a run's error says is content, and may quote any.
fn shown(mut step: Step, payloads: bool) -> Step {
    if let Some(error) = step.detail.get_mut("error").filter(|_| !payloads) {
        *error = Value::Null;
    }
    step
}

/// What the delivery's runs did to the world, and whether there was more; none while the engine cannot say.
async fn effects(app: &App, tenant: TenantId, delivery: &Delivery) -> Option<(Vec<Done>, bool)> {
    let runs: Vec<_> =
        delivery.firings.iter().filter_map(|firing| Some((firing, firing.run_id?))).collect();
    let asked = runs.iter().take(MOST_RUNS).map(async |&(firing, run)| {
        let found = app.engine.effects(tenant, run).await?;
        let done = found.items.into_iter().map(|effect| Done::of(firing, run, effect));
        Ok::<_, PeerError>((done.collect::<Vec<_>>(), found.more))
    });
    match futures::future::try_join_all(asked).await {
        Ok(found) => {
            let more = runs.len() > MOST_RUNS || found.iter().any(|(_, more)| *more);
            Some((found.into_iter().flat_map(|(done, _)| done).collect(), more))
        }
        Err(error) => {
            tracing::info!(delivery.id = %delivery.id, %error, "what its runs did is not known now");
            None
        }
    }
}
