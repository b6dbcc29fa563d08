//! Deleting a trigger. What it received stays to be read until it is pruned.

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, Path, Problem, scope};
use shared_models::{ProblemBody, TriggerId};

use super::update_trigger::may_change;
use crate::{app::App, error::Error, save, store, viewer::Viewer};

/// Delete a trigger.
///
/// Its hook answers 404 from now on, its clock stops, its listener too unless other triggers share it, and its credential is no longer granted to it. A signing secret that was made for it goes as well, unless other triggers use it.
#[utoipa::path(delete, path = "/triggers/{trigger_id}", tag = "triggers", security(("token" = ["triggers:write"])),
    params(("trigger_id" = TriggerId, Path)),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Path(id): Path<TriggerId>,
) -> Result<StatusCode, Problem> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    store::trigger::lock(&mut tx, id).await?;
    let row = store::trigger::find(&mut tx, &viewer, id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    may_change(&viewer, &row)?;
    store::trigger::delete(&mut tx, id).await?;
    store::timer::delete(&mut tx, id).await?;
    store::flow::forget(&mut tx, id).await?;
    store::lease::leave(&mut tx, row.source_id).await?;
    let unused = save::unused(&mut tx, row.own_credential_id).await?;
    tx.commit().await?;
    app.hooks.forget();
    if let Some(credential) = row.credential_id {
        app.secrets.forget(credential, id).await;
    }
    app.bell.notify_one();
    if let Some(own) = unused {
        save::discard(&app, &caller, id, own).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a trigger.
#[utoipa::path(delete, path = "/v1/triggers/{trigger_id}", tag = "triggers", security(("token" = ["triggers:write"])),
    params(("trigger_id" = TriggerId, Path)),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_trigger_v1(
    app: State<App>,
    caller: Caller<scope::TriggersWrite>,
    id: Path<TriggerId>,
) -> Result<StatusCode, Problem> {
    delete_trigger(app, caller, id).await
}
