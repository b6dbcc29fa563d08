//! Descriptions of APIs that tools were made of, and those tools.

use dbutil::TenantTx;
use shared_models::{ToolId, ToolImportId, UserId};
use sqlx::types::Json;

use crate::{error::Error, store::tool, tools::ToolFields};

/// An import as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) import_id: ToolImportId,
    pub(crate) owner: UserId,
}

/// A tool of an import, and the operation it was made of.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    pub(crate) tool_id: ToolId,
    pub(crate) key: String,
    pub(crate) fields: Json<ToolFields>,
}

/// The import of this name, made for `owner` if there is none; held until the transaction ends.
pub(crate) async fn hold(
    tx: &mut TenantTx,
    name: &str,
    owner: UserId,
    source: Option<&str>,
) -> Result<Import, sqlx::Error> {
    let (tenant, id) = (tx.tenant(), ToolImportId::mint());
    sqlx::query_as!(
        Import,
        r#"insert into engine.tool_import (import_id, tenant_id, name, owner_id, source)
           values ($1, $2, $3, $4, $5)
           on conflict on constraint tool_import_tenant_name_key do update
           set source = excluded.source, updated_at = now()
           returning import_id as "import_id: ToolImportId", owner_id as "owner: UserId""#,
        id as _,
        tenant as _,
        name,
        owner as _,
        source,
    )
    .fetch_one(&mut **tx)
    .await
}

/// The tools of an import, held until the transaction ends: see [`tool::hold_all`].
pub(crate) async fn tools(
    tx: &mut TenantTx,
    import: ToolImportId,
) -> Result<Vec<Imported>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Imported,
        r#"select tool_id as "tool_id: ToolId", origin_key as "key!", definition as "fields: Json<ToolFields>"
           from engine.tool where tenant_id = $1 and import_id = $2 order by tool_id for update"#,
        tenant as _,
        import as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Adds a tool made of an operation.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    import: ToolImportId,
    owner: UserId,
    key: &str,
    fields: &ToolFields,
) -> Result<ToolId, Error> {
    let tenant = tx.tenant();
    let made = tool::insert(tx, owner, fields).await?;
    sqlx::query!(
        "update engine.tool set import_id = $3, origin_key = $4 where tenant_id = $1 and tool_id = $2",
        tenant as _,
        made.tool_id as _,
        import as _,
        key,
    )
    .execute(&mut **tx)
    .await?;
    Ok(made.tool_id)
}

/// Which of these names tools of the tenant have.
pub(crate) async fn taken_names(
    tx: &mut TenantTx,
    names: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select name from engine.tool where tenant_id = $1 and name = any($2)",
        tenant as _,
        names,
    )
    .fetch_all(&mut **tx)
    .await
}
