//! Who runs the platform.

use dbutil::SystemTx;
use shared_models::UserId;

/// Makes somebody a platform administrator; says whether they were none before.
pub(crate) async fn insert(tx: &mut SystemTx, user: UserId) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "insert into gateway.platform_admin (user_id) values ($1) on conflict do nothing",
        user as _
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}
