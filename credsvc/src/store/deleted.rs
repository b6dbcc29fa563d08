//! Deleted credentials, until they are shredded.

use dbutil::{OnConstraint as _, TenantTx};
use shared_models::{CredentialId, UserId};

use crate::Error;

/// A credential that can be brought back.
#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) name: String,
    pub(crate) user_id: Option<UserId>,
}

/// One that was deleted at most so many days ago, kept from being shredded until the transaction ends.
pub(crate) async fn hold(
    tx: &mut TenantTx,
    id: CredentialId,
    days: u32,
) -> Result<Option<Deleted>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Deleted,
        r#"select name, user_id as "user_id: UserId" from credsvc.credential
           where tenant_id = $1 and credential_id = $2 and deleted_at >= now() - make_interval(days => $3)
           for update"#,
        tenant as _,
        id as _,
        days.cast_signed(),
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Brings it back. Its name may have been given to another meanwhile.
pub(crate) async fn restore(tx: &mut TenantTx, id: CredentialId, name: &str) -> Result<(), Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential set deleted_at = null, updated_at = now(), revision = revision + 1
         where tenant_id = $1 and credential_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("credential_name_key", || Error::NameTaken(name.to_owned()))
    .map(drop)
}
