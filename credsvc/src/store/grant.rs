//! Grants: which agent or trigger of which owner may use which credential.

use dbutil::{OnConstraint as _, TenantTx};
use shared_models::{CredentialId, GrantId, UserId};

use crate::{Error, grantee::Grantee};

/// Records a grant, or finds the one there is.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    credential: CredentialId,
    grantee: Grantee,
    owner: UserId,
    granted_by: UserId,
) -> Result<GrantId, Error> {
    let (tenant, id) = (tx.tenant(), GrantId::mint());
    sqlx::query_scalar!(
        r#"insert into credsvc.credential_grant
               (grant_id, tenant_id, credential_id, grantee_kind, grantee_id, owner, granted_by)
           values ($1, $2, $3, $4, $5, $6, $7)
           on conflict on constraint credential_grant_key do update set granted_by = excluded.granted_by
           returning grant_id as "grant_id: GrantId""#,
        id as _,
        tenant as _,
        credential as _,
        grantee.kind(),
        grantee.uuid(),
        owner as _,
        granted_by as _,
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("credential_grant_credential_fkey", || Error::NotFound(credential))
}

/// Who uses a credential.
pub(crate) async fn list_of_credential(
    tx: &mut TenantTx,
    credential: CredentialId,
) -> Result<Vec<Grantee>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        "select distinct grantee_kind, grantee_id from credsvc.credential_grant
         where tenant_id = $1 and credential_id = $2 order by grantee_kind, grantee_id",
        tenant as _,
        credential as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .iter()
        .filter_map(|row| Grantee::from_parts(&row.grantee_kind, row.grantee_id))
        .collect())
}

/// Removes the grants of a credential.
pub(crate) async fn delete_of_credential(
    tx: &mut TenantTx,
    credential: CredentialId,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from credsvc.credential_grant where tenant_id = $1 and credential_id = $2",
        tenant as _,
        credential as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Removes every grant of an agent or trigger; gives the credentials they were for.
pub(crate) async fn delete_of_grantee(
    tx: &mut TenantTx,
    grantee: Grantee,
) -> Result<Vec<CredentialId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"delete from credsvc.credential_grant
           where tenant_id = $1 and grantee_kind = $2 and grantee_id = $3
           returning credential_id as "credential_id: CredentialId""#,
        tenant as _,
        grantee.kind(),
        grantee.uuid(),
    )
    .fetch_all(&mut **tx)
    .await
}

/// Removes the grants of an agent or trigger for one credential; says whether there were any.
pub(crate) async fn delete(
    tx: &mut TenantTx,
    grantee: Grantee,
    credential: CredentialId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from credsvc.credential_grant
         where tenant_id = $1 and credential_id = $2 and grantee_kind = $3 and grantee_id = $4",
        tenant as _,
        credential as _,
        grantee.kind(),
        grantee.uuid(),
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}
