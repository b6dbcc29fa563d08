//! What a trigger's listener found that the provider had not told of.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery};
use serde::{Deserialize, Serialize};
use servicekit::{Caller, Params, Path, Problem, scope};
use shared_models::{ProblemBody, TriggerId, wire_time};
use utoipa::ToSchema;

use crate::{app::App, error::Error, store, viewer::Viewer};

/// What one look found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Recovery {
    /// How many events.
    recovered: i64,
    /// In words.
    note: String,
    /// When the first of them had happened.
    #[serde(serialize_with = "wire_time::time")]
    first_at: DateTime<Utc>,
    /// And the last.
    #[serde(serialize_with = "wire_time::time")]
    last_at: DateTime<Utc>,
    /// When they were found.
    #[serde(serialize_with = "wire_time::time")]
    found_at: DateTime<Utc>,
}

/// Which page.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List recoveries, latest first.
///
/// Each look of a trigger's listener that found what the provider should have told of and had not.
#[utoipa::path(get, path = "/v1/triggers/{trigger_id}/recoveries", tag = "triggers",
    security(("token" = ["triggers:read"])), params(("trigger_id" = TriggerId, Path), Which),
    responses((status = 200, body = Page<Recovery>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_recoveries(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<TriggerId>,
    Params(which): Params<Which>,
) -> Result<Json<Page<Recovery>>, Problem> {
    let page = PageQuery { limit: which.limit, cursor: which.cursor };
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &Viewer::of(&caller), id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    let rows = store::recovery::list_page(&mut tx, row.source_id, after, limit).await?;
    let page = Page::new(rows, limit, |row| Cursor { at: row.found_at, id: row.recovery_id });
    Ok(Json(page.map(|row| Recovery {
        recovered: row.recovered,
        note: row.note,
        first_at: row.first_at,
        last_at: row.last_at,
        found_at: row.found_at,
    })))
}
