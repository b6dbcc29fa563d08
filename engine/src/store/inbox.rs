//! Messages that have been taken.

use dbutil::TenantTx;
use shared_models::MessageId;

/// Notes that a message is taken; false when it was before.
pub(crate) async fn take(
    tx: &mut TenantTx,
    consumer: &str,
    message: MessageId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.inbox (consumer, message_id, tenant_id) values ($1, $2, $3)
         on conflict do nothing",
        consumer,
        message as _,
        tenant as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}
