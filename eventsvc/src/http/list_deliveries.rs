//! The deliveries a caller sees.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope};
use shared_models::{DeliveryId, ProblemBody, TriggerId};

use crate::{
    app::App,
    delivery::Delivery,
    intake::{ReasonClass, Status},
    store::{self, delivery::Narrow},
    viewer::Viewer,
};

/// Which deliveries.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only those that came for this trigger.
    trigger_id: Option<TriggerId>,
    /// Only those of which this came, for this trigger or for any.
    status: Option<Status>,
    /// Only those that did not fire, or whose runs failed or wait, for this reason.
    reason: Option<ReasonClass>,
    /// Only those that came at or after this moment.
    since: Option<DateTime<Utc>>,
    /// Only those that came before this moment.
    until: Option<DateTime<Utc>>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List deliveries, newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", security(("token" = ["triggers:read"])),
    params(Which), responses((status = 200, body = Page<Delivery>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_deliveries(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Params(which): Params<Which>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let page = PageQuery { limit: which.limit, cursor: which.cursor };
    let narrow = Narrow {
        trigger: which.trigger_id,
        status: which.status.map(Into::into),
        reason: which.reason.map(Into::into),
        since: which.since,
        until: which.until,
        without_run: false,
    };
    let (viewer, after, limit) = (Viewer::of(&caller), page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = store::delivery::list_page(&mut tx, &viewer, &narrow, after, limit).await?;
    let ids: Vec<DeliveryId> = rows.iter().map(|row| row.delivery_id).collect();
    let firings = store::firing::of_deliveries(&mut tx, &viewer, &ids).await?;
    let page =
        Page::new(rows, limit, |row| Cursor { at: row.received_at, id: row.delivery_id.uuid() });
    Ok(Json(page.map(|row| Delivery::of(row, &firings))))
}
