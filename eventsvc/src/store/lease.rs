//! Who listens to a source, and how far it has come.

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{CredentialId, SourceId, TenantId};
use uuid::Uuid;

/// A source to look at now, held by this replica.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub source_id: SourceId,
    pub tenant_id: TenantId,
    pub epoch: i64,
    pub system: String,
    pub options: Value,
    pub credential_id: Option<CredentialId>,
    pub position: Option<Value>,
    pub failures: i32,
    pub rung: bool,
    /// Since when it is looked at, which tells this look from any other.
    pub looking_since: Option<DateTime<Utc>>,
}

/// A listener as people see it.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub owner: Option<Uuid>,
    pub epoch: i64,
    pub until_at: Option<DateTime<Utc>>,
    pub due_at: DateTime<Utc>,
    pub looking: bool,
    pub last_polled_at: Option<DateTime<Utc>>,
    pub last_item_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub last_error_at: Option<DateTime<Utc>>,
    pub failures: i32,
    pub found: i64,
    pub recovered: i64,
    pub note: Option<String>,
    pub renew_at: Option<DateTime<Utc>>,
    pub position: Option<Value>,
    pub moved_at: Option<DateTime<Utc>>,
    pub triggers: i64,
}

/// Lets a source be looked at soon; what listens there already goes by what it says now.
pub(crate) async fn ensure(tx: &mut TenantTx, source: SourceId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.source_lease (source_id, tenant_id, due_at) values ($1, $2, eventsvc.db_now())
         on conflict (source_id) do update set due_at = eventsvc.db_now(), failures = 0",
        source as _,
        tenant as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Stops listening to a source that no trigger is left of. Should one come back, it begins anew.
///
/// The lease is locked first, so that what is asked next sees the look, or the new trigger, whose commit was waited for.
pub(crate) async fn leave(tx: &mut TenantTx, source: SourceId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let left = sqlx::query_scalar!(
        "select source_id from eventsvc.source_lease where tenant_id = $1 and source_id = $2 for update",
        tenant as _,
        source as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    if left.is_none() {
        return Ok(());
    }
    let wanted = sqlx::query_scalar!(
        r#"select exists (select from eventsvc.trigger t
           where t.tenant_id = $1 and t.source_id = $2 and t.deleted_at is null) as "wanted!""#,
        tenant as _,
        source as _,
    )
    .fetch_one(&mut **tx)
    .await?;
    if wanted { Ok(()) } else { stop(tx, source).await }
}

/// Stops listening to a source whose triggers no longer want that.
pub(crate) async fn stop(tx: &mut TenantTx, source: SourceId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from eventsvc.source_lease where tenant_id = $1 and source_id = $2",
        tenant as _,
        source as _,
    )
    .execute(&mut **tx)
    .await?;
    forget(tx, source).await
}

/// Forgets how far a source has come.
pub(crate) async fn forget(tx: &mut TenantTx, source: SourceId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from eventsvc.source_cursor where tenant_id = $1 and source_id = $2",
        tenant as _,
        source as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The provider says that there is something at a source.
pub(crate) async fn ring(tx: &mut TenantTx, source: SourceId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update eventsvc.source_lease set due_at = least(due_at, eventsvc.db_now()), rung_at = eventsvc.db_now()
         where tenant_id = $1 and source_id = $2",
        tenant as _,
        source as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Claims the source that has been due longest and nobody else holds, for so many seconds. Its epoch rises when it changes
/// hands.
///
/// While a system is paused its sources rest, but for those of an app: that their account is theirs is shown all the same, or
/// what is delivered meanwhile would be nobody's. What a look finds there is held like a delivery.
pub(crate) async fn claim(
    tx: &mut SystemTx,
    replica: Uuid,
    seconds: f64,
) -> Result<Option<Claimed>, sqlx::Error> {
    sqlx::query_as!(
        Claimed,
        r#"with due as (
               select l.source_id
               from eventsvc.source_lease l
               join eventsvc.source s on s.source_id = l.source_id
               where l.due_at <= eventsvc.db_now()
                 and (l.until_at is null or l.until_at < eventsvc.db_now() or (l.owner = $1 and l.looking_since is null))
                 and exists (
                     select from eventsvc.trigger t
                     where t.source_id = l.source_id and t.deleted_at is null and t.active
                       and (s.options->>'app' is not null or not exists (
                           select from eventsvc.system_pause p
                           where p.tenant_id = t.tenant_id and p.system = t.system)))
               order by l.due_at limit 1
               for update of l skip locked
           )
           update eventsvc.source_lease l
           set owner = $1, looking_since = eventsvc.db_now(),
               epoch = case when l.owner = $1 and l.until_at >= eventsvc.db_now() then l.epoch else l.epoch + 1 end,
               until_at = eventsvc.db_now() + make_interval(secs => $2)
           from due
           join eventsvc.source s on s.source_id = due.source_id
           left join eventsvc.source_cursor c on c.source_id = due.source_id
           where l.source_id = due.source_id
           returning l.source_id as "source_id: SourceId", l.tenant_id as "tenant_id: TenantId", l.epoch, s.system,
                     s.options, s.credential_id as "credential_id: CredentialId", c.position as "position?", l.failures,
                     (l.rung_at is not null and (l.last_polled_at is null or l.rung_at >= l.last_polled_at)) as "rung!",
                     l.looking_since"#,
        replica,
        seconds,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// When the next source is due that this replica may look at.
pub(crate) async fn next(
    tx: &mut SystemTx,
    replica: Uuid,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select min(case when owner is null or owner = $1 then due_at else greatest(due_at, until_at) end)
           from eventsvc.source_lease where looking_since is null or until_at < eventsvc.db_now()"#,
        replica,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Keeps what this replica holds for so many seconds more, but for what it has been looking at for longer than that: that
/// look broke, and somebody else shall try.
pub(crate) async fn renew(
    tx: &mut SystemTx,
    replica: Uuid,
    seconds: f64,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update eventsvc.source_lease set until_at = eventsvc.db_now() + make_interval(secs => $2)
         where owner = $1 and until_at >= eventsvc.db_now()
           and (looking_since is null or looking_since > eventsvc.db_now() - make_interval(secs => $2))",
        replica,
        seconds,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// Gives up what this replica holds, so that another need not wait.
pub(crate) async fn release(tx: &mut SystemTx, replica: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update eventsvc.source_lease set owner = null, until_at = null, looking_since = null where owner = $1",
        replica,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Locks the lease if it is still this replica's, under this epoch, for this look, and the source is still what was looked
/// at. A source that was left and is listened to again has another lease, whose epochs begin anew: the look tells them apart.
///
/// The source is locked first, as an edit does it: what it is now is read once an edit's commit was waited for.
pub(crate) async fn confirm(
    tx: &mut TenantTx,
    claimed: &Claimed,
    replica: Uuid,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let source = sqlx::query!(
        r#"select options, credential_id as "credential_id: CredentialId" from eventsvc.source
           where tenant_id = $1 and source_id = $2 for key share"#,
        tenant as _,
        claimed.source_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let lease = sqlx::query_scalar!(
        "select epoch from eventsvc.source_lease
         where tenant_id = $1 and source_id = $2 and owner = $3 and epoch = $4 and looking_since = $5 for update",
        tenant as _,
        claimed.source_id as _,
        replica,
        claimed.epoch,
        claimed.looking_since,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let same = source.is_some_and(|source| {
        source.options == claimed.options && source.credential_id == claimed.credential_id
    });
    Ok(same && lease.is_some())
}

/// Writes down how far the source has come.
pub(crate) async fn move_to(
    tx: &mut TenantTx,
    source: SourceId,
    position: &Value,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.source_cursor (source_id, tenant_id, position) values ($1, $2, $3)
         on conflict (source_id) do update set position = excluded.position, moved_at = now()
         where source_cursor.position is distinct from excluded.position",
        source as _,
        tenant as _,
        position,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What a look came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// When to look again, in seconds.
    pub again: f64,
    pub found: i64,
    pub recovered: i64,
    pub note: Option<String>,
    pub renew_at: Option<DateTime<Utc>>,
    /// Why nothing could be found.
    pub error: Option<String>,
}

/// A look is over. A bell that rang meanwhile, and an edit, are not forgotten.
pub(crate) async fn done(
    tx: &mut TenantTx,
    claimed: &Claimed,
    replica: Uuid,
    done: &Done,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.source_lease
         set due_at = case
                 when rung_at > looking_since or due_at > looking_since then least(due_at, eventsvc.db_now())
                 else eventsvc.db_now() + make_interval(secs => $5) end,
             last_polled_at = looking_since, looking_since = null,
             found = found + $6, recovered = recovered + $7,
             last_item_at = case when $6 > 0 then eventsvc.db_now() else last_item_at end,
             note = coalesce($8, note), renew_at = coalesce($9, renew_at),
             failures = case when $10::text is null then 0 else failures + 1 end,
             last_error = $10, last_error_at = case when $10 is null then last_error_at else eventsvc.db_now() end
         where tenant_id = $1 and source_id = $2 and owner = $3 and epoch = $4 and looking_since = $11",
        tenant as _,
        claimed.source_id as _,
        replica,
        claimed.epoch,
        done.again,
        done.found,
        done.recovered,
        done.note,
        done.renew_at,
        done.error,
        claimed.looking_since,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A source's listener, if it has one.
pub(crate) async fn find(
    tx: &mut TenantTx,
    source: SourceId,
) -> Result<Option<Lease>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Lease,
        r#"select l.owner, l.epoch, l.until_at, l.due_at, l.looking_since is not null as "looking!", l.last_polled_at,
                  l.last_item_at, l.last_error, l.last_error_at, l.failures, l.found, l.recovered, l.note, l.renew_at,
                  c.position as "position?", c.moved_at as "moved_at?",
                  (select count(*) from eventsvc.trigger t
                   where t.tenant_id = $1 and t.source_id = l.source_id and t.deleted_at is null) as "triggers!"
           from eventsvc.source_lease l
           left join eventsvc.source_cursor c on c.tenant_id = $1 and c.source_id = l.source_id
           where l.tenant_id = $1 and l.source_id = $2"#,
        tenant as _,
        source as _,
    )
    .fetch_optional(&mut **tx)
    .await
}
