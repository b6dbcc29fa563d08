//! Tenants.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, SystemTx, TenantTx};
use pubsub::OutboxRow;
use serde::Serialize;
use shared_models::{EventId, TenantId, events::tenant::TenantCreated};
use uuid::Uuid;

use crate::{Error, wire_time};

/// A tenant as people see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    /// `personal` or `organization`.
    pub(crate) kind: String,
    /// Its name in addresses: lowercase letters, digits and hyphens.
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) plan: String,
    pub(crate) contact_email: Option<String>,
    /// What it may use at most; empty means the defaults.
    #[schema(value_type = Object)]
    pub(crate) limits: serde_json::Value,
    /// `active`, `suspended` or `deleting`.
    pub(crate) status: String,
    /// The organization of an identity provider that it is.
    pub(crate) external_id: Option<String>,
    /// Counts edits; the `ETag`.
    pub(crate) version: i32,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
}

impl Tenant {
    /// Where it stands in lists.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id.uuid() }
    }
}

/// A tenant to be.
pub(crate) struct NewTenant<'a> {
    pub(crate) kind: &'a str,
    pub(crate) slug: &'a str,
    pub(crate) name: &'a str,
    pub(crate) contact_email: &'a str,
}

/// Lets a transaction see one more tenant: the one it is about to make. The tenant's id was minted a moment ago, so
/// there is nothing of anybody's to see.
pub(crate) async fn widen(tx: &mut TenantTx, new: TenantId) -> Result<(), sqlx::Error> {
    let tenants = dbutil::tenants_setting(&[tx.tenant(), new]);
    sqlx::query_scalar!("select set_config('app.tenants', $1, true)", tenants)
        .fetch_one(&mut **tx)
        .await
        .map(drop)
}

/// Adds a tenant; the slug must be new on the whole platform.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    id: TenantId,
    new: &NewTenant<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into gateway.tenant (tenant_id, kind, slug, name, contact_email) values ($1, $2, $3, $4, $5)",
        id as _,
        new.kind,
        new.slug,
        new.name,
        new.contact_email,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
    .on_constraint("tenant_slug_key", || Error::SlugTaken(new.slug.to_owned()))
}

/// Sends the news of a tenant in the tenant's own name, whoever's transaction this is.
pub(crate) async fn announce(tx: &mut TenantTx, event: &TenantCreated) -> Result<(), Error> {
    let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut **tx).await?;
    let id = EventId::mint().uuid();
    let row = OutboxRow::new(event.tenant_id, (id, 0), now, event).map_err(anyhow::Error::from)?;
    Ok(pubsub::insert_rows(tx, &[row]).await?)
}

/// A tenant this transaction sees.
pub(crate) async fn find(tx: &mut TenantTx, id: TenantId) -> Result<Option<Tenant>, sqlx::Error> {
    sqlx::query_as!(
        Tenant,
        r#"select tenant_id as "id: TenantId", kind, slug, name, plan, contact_email, limits, status, external_id,
                  version, created_at, updated_at
           from gateway.tenant where tenant_id = $1"#,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Holds the tenant's row until the transaction ends, so that edits do not cross.
pub(crate) async fn hold(tx: &mut TenantTx) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!("select 1 as one from gateway.tenant where tenant_id = $1 for update", tenant as _)
        .fetch_optional(&mut **tx)
        .await
        .map(drop)
}

/// Changes what a tenant's administrators may change.
pub(crate) async fn update(
    tx: &mut TenantTx,
    name: &str,
    contact_email: Option<&str>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update gateway.tenant
         set name = $2, contact_email = $3, version = version + 1, updated_at = now()
         where tenant_id = $1",
        tenant as _,
        name,
        contact_email,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// All tenants, newest first, one more than `limit`.
pub(crate) async fn list_page(
    tx: &mut SystemTx,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Tenant>, sqlx::Error> {
    let (at, id) = after.map(|cursor| (cursor.at, cursor.id)).unzip();
    sqlx::query_as!(
        Tenant,
        r#"select tenant_id as "id: TenantId", kind, slug, name, plan, contact_email, limits, status, external_id,
                  version, created_at, updated_at
           from gateway.tenant
           where $1::timestamptz is null or (created_at, tenant_id) < ($1, $2::uuid)
           order by created_at desc, tenant_id desc limit $3"#,
        at,
        id as Option<Uuid>,
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The tenant of a slug, before anybody's tenant is known.
pub(crate) async fn find_by_slug(
    tx: &mut SystemTx,
    slug: &str,
) -> Result<Option<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select tenant_id as "id: TenantId" from gateway.tenant where slug = $1"#,
        slug,
    )
    .fetch_optional(&mut **tx)
    .await
}
