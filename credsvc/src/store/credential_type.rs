//! The types that tenants have of their own.

use dbutil::{OnConstraint as _, TenantTx};
use serde_json::Value;
use shared_models::UserId;
use sqlx::types::Json;

use crate::{Error, types::CredentialType};

/// A tenant's own type.
#[derive(Debug)]
pub(crate) struct StoredType {
    pub(crate) definition: CredentialType,
}

/// One of the tenant's own by its name.
pub(crate) async fn find(tx: &mut TenantTx, name: &str) -> Result<Option<StoredType>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_scalar!(
        r#"select definition as "definition: Json<CredentialType>" from credsvc.credential_type
           where tenant_id = $1 and name = $2"#,
        tenant as _,
        name,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|definition| StoredType { definition: definition.0 }))
}

/// Keeps one of the tenant's own from being removed until the transaction ends; says whether it is there.
pub(crate) async fn hold(tx: &mut TenantTx, name: &str) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query!(
        "select name from credsvc.credential_type where tenant_id = $1 and name = $2 for key share",
        tenant as _,
        name,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.is_some())
}

/// All of the tenant's own, by name. There are few: a tenant may have [`MOST`].
pub(crate) async fn list(tx: &mut TenantTx) -> Result<Vec<CredentialType>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query_scalar!(
        r#"select definition as "definition: Json<CredentialType>" from credsvc.credential_type
           where tenant_id = $1 order by name"#,
        tenant as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|definition| definition.0).collect())
}

/// How many types of its own a tenant may have.
pub(crate) const MOST: i64 = 200;

/// Adds a type.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    definition: &CredentialType,
    by: UserId,
) -> Result<(), Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "insert into credsvc.credential_type (tenant_id, name, definition, created_by)
         select $1, $2, $3, $4
         where (select count(*) from credsvc.credential_type where tenant_id = $1) < $5",
        tenant as _,
        definition.name,
        Json(definition) as _,
        by as _,
        MOST,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("credential_type_pkey", || Error::TypeTaken(definition.name.clone()))?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::field("", format!("a tenant has at most {MOST} types of its own")))
    }
}

/// Replaces a type's definition; says whether it was there.
pub(crate) async fn update(
    tx: &mut TenantTx,
    name: &str,
    definition: &Value,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential_type set definition = $3, updated_at = now()
         where tenant_id = $1 and name = $2",
        tenant as _,
        name,
        definition,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Removes a type that no live credential has; says whether it was there.
pub(crate) async fn delete(tx: &mut TenantTx, name: &str) -> Result<bool, Error> {
    let tenant = tx.tenant();
    let gone = sqlx::query!(
        "delete from credsvc.credential_type where tenant_id = $1 and name = $2",
        tenant as _,
        name,
    )
    .execute(&mut **tx)
    .await?;
    // Asked after the row is ours: whoever stores one of it holds it, and has stored it by now or does not find it any more.
    let used = sqlx::query_scalar!(
        r#"select count(*) as "count!" from credsvc.credential
           where tenant_id = $1 and type = $2 and deleted_at is null"#,
        tenant as _,
        name,
    )
    .fetch_one(&mut **tx)
    .await?;
    if used > 0 { Err(Error::TypeInUse(used)) } else { Ok(gone.rows_affected() == 1) }
}
