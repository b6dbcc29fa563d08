//! `POST /v1/prices`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, FieldError, Once, scope::SettingsWrite};
use shared_models::{PriceId, ProblemBody};

use super::list_prices::ListedPrice;
use crate::{app::App, definition::unstorable, error::Error, prices::Rates, store};

/// What the tenant pays for a model from a moment on.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct NewPrice {
    /// As agents name it, or `provider:*` for all models without a price of their own.
    model: String,
    /// From when on; from now on unless said. Calls that have been made keep their cost.
    #[serde(default)]
    effective_from: Option<DateTime<Utc>>,
    #[serde(flatten)]
    rates: Rates,
}

impl NewPrice {
    fn check(&self) -> Result<(), Error> {
        let mut errors = unstorable(&self.model.as_str().into(), "/model");
        let (provider, name) = self.model.split_once(':').unwrap_or_default();
        if provider.is_empty() || name.is_empty() || self.model.len() > 200 {
            errors.push(FieldError::new("/model", "`provider:model` or `provider:*`"));
        }
        let Rates { input, cache_read, cache_write, output, reasoning } = self.rates;
        let named = [
            ("/input", input),
            ("/cache_read", cache_read),
            ("/cache_write", cache_write),
            ("/output", output),
            ("/reasoning", reasoning),
        ];
        let negative = named.into_iter().filter(|(_, rate)| *rate < 0);
        errors.extend(negative.map(|(pointer, _)| FieldError::new(pointer, "at least 0")));
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// Add a price to the tenant's price book.
///
/// Five numbers, in millionths of a dollar for a million tokens. It goes before the platform's list.
#[utoipa::path(post, path = "/v1/prices", tag = "models",
    request_body(content = NewPrice, example = json!({ "model": "openai:gpt-4o", "effective_from": "2026-01-01T00:00:00Z",
        "input": 2_000_000, "cache_read": 1_000_000, "cache_write": 2_000_000, "output": 8_000_000, "reasoning": 8_000_000 })),
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["settings:write"])),
    responses((status = 201, body = ListedPrice), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_price(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    mut once: Once,
    Body(new): Body<NewPrice>,
) -> Result<Response, Error> {
    let by = caller.person()?;
    new.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(stored);
    }
    let id: PriceId =
        store::price::insert(&mut tx, &new.model, new.effective_from, &new.rates, by).await?;
    let rows = store::price::list(&mut tx, Some(&new.model)).await?;
    let made = rows.into_iter().find(|row| row.price_id == id).map(ListedPrice::from);
    let made = made.ok_or(Error::PriceNotFound(id))?;
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    app.prices.forget(caller.tenant);
    Ok(Created(made).into_response())
}
