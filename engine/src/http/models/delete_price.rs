//! `DELETE /v1/prices/{price_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, Path, scope::SettingsWrite};
use shared_models::{PriceId, ProblemBody};

use crate::{app::App, error::Error, store};

/// Take a price out of the tenant's price book. Calls that have been made keep their cost.
#[utoipa::path(delete, path = "/v1/prices/{price_id}", tag = "models",
    params(("price_id" = PriceId, Path)),
    security(("token" = ["settings:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_price(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(price_id): Path<PriceId>,
) -> Result<StatusCode, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if !store::price::delete(&mut tx, price_id).await? {
        return Err(Error::PriceNotFound(price_id));
    }
    tx.commit().await?;
    app.prices.forget(caller.tenant);
    Ok(StatusCode::NO_CONTENT)
}
