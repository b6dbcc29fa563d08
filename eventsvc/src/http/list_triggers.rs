//! The triggers a caller sees.

use axum::{Json, extract::State};
use dbutil::{Cursor, Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    store::{self, trigger::Narrow},
    trigger::Trigger,
    viewer::Viewer,
};

/// Which triggers.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only those that start this agent.
    agent_id: Option<AgentId>,
    /// Only those of this system.
    system: Option<String>,
    /// Only those that are active, or are not.
    active: Option<bool>,
    /// Only those with this text in their name.
    q: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List triggers.
#[utoipa::path(get, path = "/v1/triggers", tag = "triggers", security(("token" = ["triggers:read"])), params(Which),
    responses((status = 200, body = Page<Trigger>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_triggers(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Params(which): Params<Which>,
) -> Result<Json<Page<Trigger>>, Problem> {
    let page = PageQuery { limit: which.limit, cursor: which.cursor };
    let narrow = Narrow {
        target_id: which.agent_id.map(AgentId::uuid),
        system: which.system,
        active: which.active,
        q: which.q,
    };
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows =
        store::trigger::list_page(&mut tx, &Viewer::of(&caller), &narrow, after, limit).await?;
    let page =
        Page::new(rows, limit, |row| Cursor { at: row.created_at, id: row.trigger_id.uuid() });
    Ok(Json(page.map(Trigger::from)))
}
