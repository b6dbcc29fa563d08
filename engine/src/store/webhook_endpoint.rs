//! Where tenants want to be told of their runs.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use shared_models::{CredentialId, TenantId, UserId, WebhookEndpointId};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use crate::error::Error;

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) endpoint_id: WebhookEndpointId,
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) enabled: bool,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) failing_since: Option<DateTime<Utc>>,
    pub(crate) owner_id: UserId,
    pub(crate) credential_id: CredentialId,
    pub(crate) previous_until: Option<DateTime<Utc>>,
    pub(crate) version: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// What can be edited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) url: &'a str,
    pub(crate) description: &'a str,
    pub(crate) event_types: &'a [String],
    pub(crate) enabled: bool,
}

/// Adds an endpoint.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    id: WebhookEndpointId,
    fields: Fields<'_>,
    owner: UserId,
    credential: CredentialId,
) -> Result<Row, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.webhook_endpoint (endpoint_id, tenant_id, url, description, event_types, enabled,
             disabled_reason, owner_id, credential_id)
         values ($1, $2, $3, $4, $5, $6, case when $6 then null else 'by an administrator' end, $7, $8)",
        id as _,
        tenant as _,
        fields.url,
        fields.description,
        fields.event_types,
        fields.enabled,
        owner as _,
        credential as _,
    )
    .execute(&mut **tx)
    .await?;
    find(tx, id).await
}

/// Replaces what can be edited. One that is enabled again has failed at nothing yet.
pub(crate) async fn update(
    tx: &mut TenantTx,
    id: WebhookEndpointId,
    fields: Fields<'_>,
) -> Result<Row, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.webhook_endpoint
         set url = $3, description = $4, event_types = $5, enabled = $6,
             disabled_reason = case when not $6 then coalesce(disabled_reason, 'by an administrator') end,
             failing_since = case when enabled = $6 then failing_since end,
             version = version + 1, updated_at = now()
         where tenant_id = $1 and endpoint_id = $2",
        tenant as _,
        id as _,
        fields.url,
        fields.description,
        fields.event_types,
        fields.enabled,
    )
    .execute(&mut **tx)
    .await?;
    find(tx, id).await
}

/// Gives an endpoint another credential; the secret before signs as well for so many seconds.
pub(crate) async fn rotate(
    tx: &mut TenantTx,
    id: WebhookEndpointId,
    (owner, credential): (UserId, CredentialId),
    previous_until: DateTime<Utc>,
) -> Result<Row, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.webhook_endpoint
         set owner_id = $3, credential_id = $4, previous_until = $5, version = version + 1, updated_at = now()
         where tenant_id = $1 and endpoint_id = $2",
        tenant as _,
        id as _,
        owner as _,
        credential as _,
        previous_until,
    )
    .execute(&mut **tx)
    .await?;
    find(tx, id).await
}

/// Removes an endpoint, and with it what became of telling it.
pub(crate) async fn delete(tx: &mut TenantTx, id: WebhookEndpointId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.webhook_endpoint where tenant_id = $1 and endpoint_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

pub(crate) async fn find(tx: &mut TenantTx, id: WebhookEndpointId) -> Result<Row, Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select endpoint_id as "endpoint_id: WebhookEndpointId", url, description, event_types, enabled,
                  disabled_reason, failing_since, owner_id as "owner_id: UserId",
                  credential_id as "credential_id: CredentialId", previous_until, version, created_at, updated_at
           from engine.webhook_endpoint where tenant_id = $1 and endpoint_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.ok_or(Error::WebhookEndpointNotFound(id))
}

/// The same, held until the transaction ends.
pub(crate) async fn find_for_update(
    tx: &mut TenantTx,
    id: WebhookEndpointId,
) -> Result<Row, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select endpoint_id from engine.webhook_endpoint where tenant_id = $1 and endpoint_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find(tx, id).await
}

/// How many the tenant has.
pub(crate) async fn count(tx: &mut TenantTx) -> Result<i64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from engine.webhook_endpoint where tenant_id = $1"#,
        tenant as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// The tenant's endpoints, newest first.
pub(crate) async fn list_page(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<Row>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select endpoint_id as "endpoint_id: WebhookEndpointId", url, description, event_types, enabled,
                  disabled_reason, failing_since, owner_id as "owner_id: UserId",
                  credential_id as "credential_id: CredentialId", previous_until, version, created_at, updated_at
           from engine.webhook_endpoint
           where tenant_id = $1 and ($2::timestamptz is null or (created_at, endpoint_id) < ($2, $3))
           order by created_at desc, endpoint_id desc limit $4"#,
        tenant as _,
        after.map(|cursor| cursor.at),
        after.map_or_else(Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let position = |row: &Row| Cursor { at: row.created_at, id: row.endpoint_id.uuid() };
    Ok(Page::new(rows, page.limit(), position))
}

/// Which of these tenants have any endpoint, for a reader that has set all of them.
pub(crate) async fn tenants_with_any(
    connection: &mut PgConnection,
    tenants: &[TenantId],
) -> Result<HashSet<TenantId>, sqlx::Error> {
    let tenants: Vec<Uuid> = tenants.iter().map(|tenant| tenant.uuid()).collect();
    let found = sqlx::query_scalar!(
        r#"select distinct tenant_id as "tenant_id: TenantId" from engine.webhook_endpoint
           where tenant_id = any ($1)"#,
        &tenants,
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

/// The database's time.
pub(crate) async fn now(tx: &mut TenantTx) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut **tx).await
}
