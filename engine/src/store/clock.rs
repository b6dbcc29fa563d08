//! The database's clock, by which everything is compared that several processes wait for.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;

/// What time it was when the transaction began.
pub(crate) async fn now(tx: &mut TenantTx) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut **tx).await
}
