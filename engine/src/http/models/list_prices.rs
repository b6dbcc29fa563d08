//! `GET /v1/prices`

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::Page;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, scope::AgentsRead};
use shared_models::{PriceId, ProblemBody, UserId};

use crate::{
    app::App,
    error::Error,
    prices::{PLATFORM, Rates, Standard},
    store::{self, price::Row},
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPrices {
    /// Exactly this model.
    model: Option<String>,
}

/// What a model costs from a moment on, in millionths of a dollar for a million tokens.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ListedPrice {
    /// Null in the platform's own list.
    price_id: Option<PriceId>,
    model: String,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    effective_from: DateTime<Utc>,
    #[serde(flatten)]
    rates: Rates,
    created_by: Option<UserId>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    created_at: Option<DateTime<Utc>>,
}

impl From<Row> for ListedPrice {
    fn from(row: Row) -> Self {
        Self {
            price_id: Some(row.price_id),
            model: row.model,
            effective_from: row.effective_from,
            rates: row.rates,
            created_by: Some(row.created_by),
            created_at: Some(row.created_at),
        }
    }
}

impl From<&Standard> for ListedPrice {
    fn from(standard: &Standard) -> Self {
        Self {
            price_id: None,
            model: standard.model.to_owned(),
            effective_from: standard.effective_from(),
            rates: standard.rates,
            created_by: None,
            created_at: None,
        }
    }
}

/// The tenant's price book, then the platform's list: the first one that names the model counts, by its newest price that
/// holds. A model that neither names has no cost. There is only ever one page.
#[utoipa::path(get, path = "/v1/prices", tag = "models", params(ListPrices),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<ListedPrice>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_prices(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Params(asked): Params<ListPrices>,
) -> Result<Json<Page<ListedPrice>>, Error> {
    if asked.model.as_deref().is_some_and(|model| model.contains('\0')) {
        return Err(Error::Invalid(vec![FieldError::new("model", "must not contain U+0000")]));
    }
    let mut tx = app.db.begin(caller.tenant).await?;
    let own = store::price::list(&mut tx, asked.model.as_deref()).await?;
    let named = |standard: &&Standard| asked.model.as_deref().is_none_or(|m| m == standard.model);
    let platform = PLATFORM.iter().filter(named).map(ListedPrice::from);
    let items = own.into_iter().map(ListedPrice::from).chain(platform).collect();
    Ok(Json(Page { items, next_cursor: None }))
}
