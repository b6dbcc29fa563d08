//! What a tenant says about models.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::{Deserialize, Serialize};
use shared_models::{CredentialId, ModelId, UserId};
use utoipa::ToSchema;

use crate::error::Error;
use crate::models::setting::{ModelApi, ModelFields, ModelKind, ModelTask};

/// A model as the tenant has it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ModelSetting {
    pub(crate) model_id: ModelId,
    /// In whose name its credential was granted.
    pub(crate) owner: UserId,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) fields: ModelFields,
}

struct Row {
    model_id: ModelId,
    owner: UserId,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    name: String,
    api: String,
    provider_model: Option<String>,
    base_url: Option<String>,
    credential_id: Option<CredentialId>,
    enabled: bool,
    kind: String,
    task: String,
    context_window: Option<i32>,
    description: String,
}

impl From<Row> for ModelSetting {
    fn from(row: Row) -> Self {
        Self {
            model_id: row.model_id,
            owner: row.owner,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            fields: ModelFields {
                // The check constraints keep anything else out.
                api: Some(row.api.parse().unwrap_or(ModelApi::OpenAi)),
                kind: row.kind.parse().unwrap_or(ModelKind::Hosted),
                task: row.task.parse().unwrap_or(ModelTask::Chat),
                name: row.name,
                provider_model: row.provider_model,
                base_url: row.base_url,
                credential_id: row.credential_id,
                enabled: row.enabled,
                context_window: row.context_window,
                description: row.description,
            },
        }
    }
}

/// Adds a model; its name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    id: ModelId,
    owner: UserId,
    fields: &ModelFields,
) -> Result<ModelSetting, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.model_setting (model_id, tenant_id, owner_id, name, api, provider_model, base_url,
             credential_id, enabled, kind, task, context_window, description)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        id as _,
        tenant as _,
        owner as _,
        fields.name,
        fields.api().as_str(),
        fields.provider_model,
        fields.base_url,
        fields.credential_id as Option<CredentialId>,
        fields.enabled,
        fields.kind.as_str(),
        fields.task.as_str(),
        fields.context_window,
        fields.description,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("model_setting_name_key", || Error::ModelTaken(fields.name.clone()))?;
    find(tx, id).await
}

/// Replaces what can be edited, in the name of `owner`.
pub(crate) async fn update(
    tx: &mut TenantTx,
    id: ModelId,
    owner: UserId,
    fields: &ModelFields,
) -> Result<ModelSetting, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.model_setting
         set owner_id = $3, name = $4, api = $5, provider_model = $6, base_url = $7, credential_id = $8,
             enabled = $9, kind = $10, task = $11, context_window = $12, description = $13,
             version = version + 1, updated_at = now()
         where tenant_id = $1 and model_id = $2",
        tenant as _,
        id as _,
        owner as _,
        fields.name,
        fields.api().as_str(),
        fields.provider_model,
        fields.base_url,
        fields.credential_id as Option<CredentialId>,
        fields.enabled,
        fields.kind.as_str(),
        fields.task.as_str(),
        fields.context_window,
        fields.description,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("model_setting_name_key", || Error::ModelTaken(fields.name.clone()))?;
    find(tx, id).await
}

/// Takes a model away; the platform's defaults hold for its name again.
pub(crate) async fn delete(tx: &mut TenantTx, id: ModelId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.model_setting where tenant_id = $1 and model_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

pub(crate) async fn find(tx: &mut TenantTx, id: ModelId) -> Result<ModelSetting, Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select model_id as "model_id: ModelId", owner_id as "owner: UserId", version, created_at, updated_at, name,
                  api, provider_model, base_url, credential_id as "credential_id: CredentialId", enabled, kind, task,
                  context_window, description
           from engine.model_setting where tenant_id = $1 and model_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.map(Into::into).ok_or(Error::ModelNotFound(id))
}

/// The same, held until the transaction ends.
pub(crate) async fn find_for_update(tx: &mut TenantTx, id: ModelId) -> Result<ModelSetting, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select model_id from engine.model_setting where tenant_id = $1 and model_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find(tx, id).await
}

/// What the tenant says about models of these names.
pub(crate) async fn named(
    tx: &mut TenantTx,
    names: &[String],
) -> Result<Vec<ModelSetting>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query_as!(
        Row,
        r#"select model_id as "model_id: ModelId", owner_id as "owner: UserId", version, created_at, updated_at, name,
                  api, provider_model, base_url, credential_id as "credential_id: CredentialId", enabled, kind, task,
                  context_window, description
           from engine.model_setting where tenant_id = $1 and name = any ($2)"#,
        tenant as _,
        names,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The names of all models that the tenant says something about.
pub(crate) async fn names(tx: &mut TenantTx) -> Result<Vec<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!("select name from engine.model_setting where tenant_id = $1", tenant as _)
        .fetch_all(&mut **tx)
        .await
}

/// The tenant's models, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    page: &PageQuery,
) -> Result<Page<ModelSetting>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select model_id as "model_id: ModelId", owner_id as "owner: UserId", version, created_at, updated_at, name,
                  api, provider_model, base_url, credential_id as "credential_id: CredentialId", enabled, kind, task,
                  context_window, description
           from engine.model_setting
           where tenant_id = $1 and ($2::timestamptz is null or (created_at, model_id) < ($2, $3))
           order by created_at desc, model_id desc limit $4"#,
        tenant as _,
        after.map(|cursor| cursor.at),
        after.map_or_else(uuid::Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let models = rows.into_iter().map(ModelSetting::from).collect();
    let position =
        |model: &ModelSetting| Cursor { at: model.created_at, id: model.model_id.uuid() };
    Ok(Page::new(models, page.limit(), position))
}
