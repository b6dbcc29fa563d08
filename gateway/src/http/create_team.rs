//! `POST /v1/teams`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, Created, Once, Problem, scope::MembersWrite};
use shared_models::ProblemBody;

use super::{Changer, all_right, name};
use crate::{
    App,
    origin::Origin,
    store::{self, team::Team},
};

/// A team to be.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTeam {
    /// Unique within the tenant.
    name: String,
}

/// Make a team.
#[utoipa::path(post, path = "/v1/teams", tag = "identity", request_body = NewTeam,
    params(("Idempotency-Key" = Option<String>, Header)), security(("token" = ["members:write"])),
    responses((status = 201, body = Team), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_team(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<NewTeam>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let called = name("/name", &new.name, &mut errors);
    all_right(errors)?;

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    let team = store::team::insert(&mut tx, caller.tenant, &called, false).await?;
    let detail = json!({ "name": team.name });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "team.created", team.id, &detail)
        .await?;
    once.remember(&mut tx, StatusCode::CREATED, &team).await?;
    tx.commit().await?;
    Ok(Created(team).into_response())
}
