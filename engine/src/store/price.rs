//! What tenants pay for models, by date.

use chrono::{DateTime, Utc};
use dbutil::{OnConstraint as _, TenantTx};
use shared_models::{PriceId, UserId};

use crate::error::Error;
use crate::prices::{Own, Rates};

/// A price as stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) price_id: PriceId,
    pub(crate) model: String,
    pub(crate) effective_from: DateTime<Utc>,
    pub(crate) rates: Rates,
    pub(crate) created_by: UserId,
    pub(crate) created_at: DateTime<Utc>,
}

/// Adds a price; there must be none of the model for that moment yet. Without a moment it holds from now on.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    model: &str,
    from: Option<DateTime<Utc>>,
    rates: &Rates,
    by: UserId,
) -> Result<PriceId, Error> {
    let (tenant, id) = (tx.tenant(), PriceId::mint());
    sqlx::query!(
        "insert into engine.price (price_id, tenant_id, model, effective_from, input, cache_read, cache_write,
                                   output, reasoning, created_by)
         values ($1, $2, $3, coalesce($4, now()), $5, $6, $7, $8, $9, $10)",
        id as _,
        tenant as _,
        model,
        from,
        rates.input,
        rates.cache_read,
        rates.cache_write,
        rates.output,
        rates.reasoning,
        by as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("price_model_date_key", || Error::PriceTaken(model.to_owned()))?;
    Ok(id)
}

/// Takes a price away; says whether there was one.
pub(crate) async fn delete(tx: &mut TenantTx, id: PriceId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.price where tenant_id = $1 and price_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}

/// The tenant's price book, by model and newest first. It is short: one row for each change of a price.
pub(crate) async fn list(tx: &mut TenantTx, model: Option<&str>) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select price_id as "price_id: PriceId", model, effective_from, input, cache_read, cache_write, output,
                  reasoning, created_by as "created_by: UserId", created_at
           from engine.price where tenant_id = $1 and ($2::text is null or model = $2)
           order by model, effective_from desc"#,
        tenant as _,
        model,
    )
    .fetch_all(&mut **tx)
    .await?;
    let row = rows.into_iter().map(|row| Row {
        price_id: row.price_id,
        model: row.model,
        effective_from: row.effective_from,
        rates: Rates {
            input: row.input,
            cache_read: row.cache_read,
            cache_write: row.cache_write,
            output: row.output,
            reasoning: row.reasoning,
        },
        created_by: row.created_by,
        created_at: row.created_at,
    });
    Ok(row.collect())
}

/// The whole book, and the database's clock.
pub(crate) async fn book(tx: &mut TenantTx) -> Result<(DateTime<Utc>, Vec<Own>), sqlx::Error> {
    let now = now(tx).await?;
    let own = list(tx, None).await?.into_iter();
    let own = own.map(|row| Own { model: row.model, from: row.effective_from, rates: row.rates });
    Ok((now, own.collect()))
}

/// The database's clock.
pub(crate) async fn now(tx: &mut TenantTx) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut **tx).await
}
