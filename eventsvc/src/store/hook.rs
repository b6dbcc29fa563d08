//! Looking up what listens at a source, also before any tenant is known.

use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{CredentialId, SourceId, TenantId, TriggerId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// One trigger, with what its source says.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub tenant_id: TenantId,
    pub source_id: SourceId,
    pub system: String,
    pub credential_id: Option<CredentialId>,
    pub source_options: Value,
    pub trigger_id: TriggerId,
    pub target_kind: String,
    pub target_id: Option<Uuid>,
    pub filter: Option<String>,
    pub input: Option<Value>,
    pub flow: Option<Value>,
    pub respond_seconds: Option<i32>,
    pub active: bool,
    pub paused: bool,
    pub owner_id: UserId,
}

/// Triggers, each with what its source says, behind a `from` that calls them `t`.
macro_rules! rows {
    ($from:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select t.tenant_id as "tenant_id: TenantId", t.source_id as "source_id: SourceId", t.system,
                  t.credential_id as "credential_id: CredentialId", t.options as source_options,
                  t.trigger_id as "trigger_id: TriggerId", t.target_kind, t.target_id, t.filter, t.input, t.flow,
                  t.respond_seconds, t.active,
                  (t.paused or exists (
                      select from eventsvc.system_pause p where p.tenant_id = t.tenant_id and p.system = t.system)) as "paused!",
                  t.owner_id as "owner_id: UserId"
               "# + $from,
            $($argument),*
        )
    };
}

/// All triggers of the source with this id, or of the source of the trigger with this id; oldest first.
pub(crate) async fn find(tx: &mut SystemTx, id: Uuid) -> Result<Vec<Row>, sqlx::Error> {
    rows!(
        r#"from eventsvc.source s
           join eventsvc.trigger t on t.source_id = s.source_id and t.deleted_at is null
           where s.system in ('webhook', 'github', 'slack', 'stripe', 'hubspot', 'gmail')
             and s.source_id = coalesce(
                 (select a.source_id from eventsvc.trigger a where a.trigger_id = $1 and a.deleted_at is null), $1)
           order by t.trigger_id"#,
        id,
    )
    .fetch_all(&mut **tx)
    .await
}

/// One trigger of the tenant's, whatever it listens to.
pub(crate) async fn of_trigger(
    tx: &mut TenantTx,
    id: TriggerId,
) -> Result<Option<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    Ok(of_triggers(&mut *tx, &[tenant.uuid()], &[id.uuid()]).await?.pop())
}

/// These triggers, of these tenants.
pub(crate) async fn of_triggers(
    connection: &mut PgConnection,
    tenants: &[Uuid],
    ids: &[Uuid],
) -> Result<Vec<Row>, sqlx::Error> {
    rows!(
        r#"from eventsvc.trigger t
           where t.tenant_id = any($1) and t.trigger_id = any($2) and t.deleted_at is null"#,
        tenants,
        ids,
    )
    .fetch_all(connection)
    .await
}

/// What hears of these tenants' own events, by source and then oldest first.
pub(crate) async fn on_bus(tx: &mut SystemTx, tenants: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    rows!(
        r#"from eventsvc.trigger t
           where t.tenant_id = any($1) and t.system = 'nats' and t.deleted_at is null
           order by t.source_id, t.trigger_id"#,
        tenants,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The triggers of a source, oldest first.
pub(crate) async fn of_source(
    tx: &mut TenantTx,
    source: SourceId,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    rows!(
        r#"from eventsvc.trigger t
           where t.tenant_id = $1 and t.source_id = $2 and t.deleted_at is null
           order by t.trigger_id"#,
        tenant as _,
        source as _,
    )
    .fetch_all(&mut **tx)
    .await
}
