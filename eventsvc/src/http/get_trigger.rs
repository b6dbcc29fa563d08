//! One trigger.

use axum::extract::State;
use servicekit::{Caller, Path, Problem, reply::Tagged, scope};
use shared_models::{ProblemBody, TriggerId};

use crate::{app::App, error::Error, store, trigger::Trigger, viewer::Viewer};

/// Get a trigger.
#[utoipa::path(get, path = "/triggers/{trigger_id}", tag = "triggers", security(("token" = ["triggers:read"])),
    params(("trigger_id" = TriggerId, Path)),
    responses((status = 200, body = Trigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_trigger(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<TriggerId>,
) -> Result<Tagged<Trigger>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::trigger::find(&mut tx, &Viewer::of(&caller), id).await?;
    let found = found.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    Ok(Tagged(found.version, found.into()))
}

/// Get a trigger.
#[utoipa::path(get, path = "/v1/triggers/{trigger_id}", tag = "triggers", security(("token" = ["triggers:read"])),
    params(("trigger_id" = TriggerId, Path)),
    responses((status = 200, body = Trigger), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_trigger_v1(
    app: State<App>,
    caller: Caller<scope::TriggersRead>,
    id: Path<TriggerId>,
) -> Result<Tagged<Trigger>, Problem> {
    get_trigger(app, caller, id).await
}
