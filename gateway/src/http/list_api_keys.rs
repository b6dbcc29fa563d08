//! `GET /v1/api-keys`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope::KeysRead};
use shared_models::{ProblemBody, UserId};

use crate::{
    App, Error,
    store::{self, api_key::ApiKey},
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    /// Whose keys; another person's are for administrators.
    user_id: Option<UserId>,
}

/// List API keys, one's own unless said otherwise.
#[utoipa::path(get, path = "/v1/api-keys", tag = "identity", params(KeysQuery),
    security(("token" = ["keys:read"])),
    responses((status = 200, body = Page<ApiKey>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_api_keys(
    State(app): State<App>,
    caller: Caller<KeysRead>,
    Params(query): Params<KeysQuery>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let me = caller.person()?;
    let whose = query.user_id.unwrap_or(me);
    if whose != me && !caller.is_admin() {
        return Err(Error::AdminsOnly.into());
    }
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let after = page.after()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let keys = store::api_key::list_page(&mut tx, whose, after, page.limit()).await?;
    tx.commit().await?;
    Ok(Json(Page::new(keys, page.limit(), ApiKey::position)))
}
