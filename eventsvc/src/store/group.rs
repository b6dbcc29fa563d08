//! A whole group of deliveries, their firings and their events in one statement.
//!
//! Generic plans are forced on the committer's connection, so the statement has one shape whatever the group's size.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use shared_models::{DeliveryId, SourceId, TenantId};
use sqlx::{Connection as _, PgConnection};

use crate::intake::{NewFiring, Received};

/// What became of a group.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The deliveries that were new; the others are repetitions.
    pub new: HashSet<DeliveryId>,
    /// The database's clock, if it was asked.
    pub now: Option<DateTime<Utc>>,
}

/// Opens the connection's row-level security for the tenants of the groups that follow.
pub(crate) async fn set_tenants(
    connection: &mut PgConnection,
    tenants: &[TenantId],
) -> Result<(), sqlx::Error> {
    let setting = dbutil::tenants_setting(tenants);
    sqlx::query!("select set_config('app.tenants', $1, false)", setting)
        .fetch_one(connection)
        .await
        .map(drop)
}

/// The order in which rows are written. Two groups, of two replicas, that hold the same keys take their locks in the same
/// order, whichever of its keys a row is told by.
pub(crate) fn order(
    row: &Received,
) -> (TenantId, SourceId, Option<&str>, Option<&str>, DeliveryId) {
    let dedupe = row.dedupe.as_ref();
    let about = dedupe.and_then(|dedupe| dedupe.about.as_deref());
    let key = dedupe.map(|dedupe| dedupe.key.as_str());
    (row.tenant_id, row.source_id, about, key, row.delivery_id)
}

/// Stores a group; a statement is a transaction of its own here, unless it is a part of the caller's.
///
/// A unique key keeps what is told in the same words from being stored twice, whoever is first. What may be told in others is
/// looked for, and a statement sees nothing of one that has not ended, nor of itself: of a source, those go one after another.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    group: &[&Received],
) -> Result<Stored, sqlx::Error> {
    let near = |row: &&&Received| {
        row.dedupe.as_ref().is_some_and(|key| key.nearby.is_some() || key.window.is_some())
    };
    let sources: BTreeSet<String> =
        group.iter().filter(near).map(|row| row.source_id.to_string()).collect();
    if sources.is_empty() {
        return write(connection, group).await;
    }
    let mut tx = connection.begin().await?;
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(source, 0)) from unnest($1::text[]) source",
        &sources.into_iter().collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .await?;
    let mut stored = Stored { new: HashSet::new(), now: None };
    let mut rest = group.to_vec();
    while !rest.is_empty() {
        let (later, first): (Vec<_>, Vec<_>) =
            rest.iter().copied().partition(|row| is_after(row, &rest));
        let written = write(&mut tx, &first).await?;
        stored.new.extend(written.new);
        stored.now = written.now.or(stored.now);
        rest = later;
    }
    tx.commit().await?;
    Ok(stored)
}

/// Whether what may be the same body, in the stretch of time before, is in the group as well.
fn is_after(row: &Received, group: &[&Received]) -> bool {
    let Some(window) = row.dedupe.as_ref().and_then(|key| key.window.as_ref()) else {
        return false;
    };
    group.iter().any(|other| {
        other.source_id == row.source_id
            && other.dedupe.as_ref().is_some_and(|key| key.key == window.before.0)
    })
}

async fn write(connection: &mut PgConnection, group: &[&Received]) -> Result<Stored, sqlx::Error> {
    let deliveries = Deliveries::of(group);
    let firings = Firings::of(group);
    let outbox = Outbox::of(group);
    let rows = sqlx::query!(
        r#"with d as (
               insert into eventsvc.delivery (delivery_id, tenant_id, source_id, dedupe_key, status, reason_class, reason,
                   verified_by, content_type, headers, body, occurred_at, received_at, about_key)
               select n.delivery_id, n.tenant_id, n.source_id, n.dedupe_key, n.status, n.reason_class, n.reason,
                      n.verified_by, n.content_type, n.headers, n.body, n.occurred_at, n.received_at,
                      n.about_key
               from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                           $9::text[], $10::jsonb[], $11::bytea[], $12::timestamptz[], $13::timestamptz[], $14::text[],
                           $15::timestamptz[], $32::text[], $33::text[], $34::text[], $35::text[], $36::timestamptz[])
                    as n(delivery_id, tenant_id, source_id, dedupe_key, status, reason_class, reason, verified_by,
                         content_type, headers, body, occurred_at, received_at, before_key, before_since, about_key,
                         near_before, near_after, after_key, after_until)
               where (n.before_key is null or not exists (
                   select from eventsvc.delivery p
                   where p.tenant_id = n.tenant_id and p.source_id = n.source_id and p.dedupe_key = n.before_key
                     and p.received_at > n.before_since))
                 and (n.after_key is null or not exists (
                   select from eventsvc.delivery p
                   where p.tenant_id = n.tenant_id and p.source_id = n.source_id and p.dedupe_key = n.after_key
                     and p.received_at < n.after_until))
                 and (n.near_before is null or not exists (
                   select from eventsvc.delivery p
                   where p.tenant_id = n.tenant_id and p.source_id = n.source_id and p.about_key is not null
                     and p.about_key in (n.near_before, n.near_after)))
               on conflict do nothing
               returning delivery_id
           ), f as (
               insert into eventsvc.firing (event_id, tenant_id, delivery_id, trigger_id, attempt, status, reason_class,
                   reason, fired_at)
               select n.event_id, n.tenant_id, n.delivery_id, n.trigger_id, n.attempt, n.status, n.reason_class, n.reason,
                      n.fired_at
               from unnest($16::uuid[], $17::uuid[], $18::uuid[], $19::uuid[], $20::int4[], $21::text[], $22::text[],
                           $23::text[], $24::timestamptz[])
                    as n(event_id, tenant_id, delivery_id, trigger_id, attempt, status, reason_class, reason, fired_at)
               join d on d.delivery_id = n.delivery_id
           ), o as (
               insert into eventsvc.outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
               select n.message_id, n.tenant_id, n.event_id, n.attempt, n.subject, n.envelope::jsonb
               from unnest($25::uuid[], $26::uuid[], $27::uuid[], $28::int4[], $29::text[], $30::text[], $31::uuid[])
                    as n(message_id, tenant_id, event_id, attempt, subject, envelope, delivery_id)
               join d on d.delivery_id = n.delivery_id
           )
           select delivery_id as "id!: DeliveryId", clock_timestamp() + (eventsvc.db_now() - now()) as "now!" from d"#,
        &deliveries.ids,
        &deliveries.tenants,
        &deliveries.sources,
        &deliveries.keys as _,
        &deliveries.statuses,
        &deliveries.classes as _,
        &deliveries.reasons as _,
        &deliveries.verified_by,
        &deliveries.content_types as _,
        &deliveries.headers,
        &deliveries.bodies,
        &deliveries.occurred,
        &deliveries.received,
        &deliveries.before as _,
        &deliveries.since as _,
        &firings.events,
        &firings.tenants,
        &firings.deliveries,
        &firings.triggers,
        &firings.attempts,
        &firings.statuses,
        &firings.classes as _,
        &firings.reasons as _,
        &firings.fired as _,
        &outbox.messages,
        &outbox.tenants,
        &outbox.events,
        &outbox.attempts,
        &outbox.subjects,
        &outbox.envelopes,
        &outbox.deliveries,
        &deliveries.about as _,
        &deliveries.near_before as _,
        &deliveries.near_after as _,
        &deliveries.after as _,
        &deliveries.until as _,
    )
    .fetch_all(connection)
    .await?;
    let now = rows.last().map(|row| row.now);
    Ok(Stored { new: rows.into_iter().map(|row| row.id).collect(), now })
}

/// Which of these are stored: asked when a connection broke before it could answer.
pub(crate) async fn stored(
    connection: &mut PgConnection,
    tenants: &[TenantId],
    ids: &[DeliveryId],
) -> Result<HashSet<DeliveryId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select delivery_id as "id: DeliveryId" from eventsvc.delivery
           where tenant_id = any($1) and delivery_id = any($2)"#,
        &tenants.iter().map(|tenant| tenant.uuid()).collect::<Vec<_>>(),
        &ids.iter().map(|id| id.uuid()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

#[derive(Default)]
struct Deliveries<'a> {
    ids: Vec<uuid::Uuid>,
    tenants: Vec<uuid::Uuid>,
    sources: Vec<uuid::Uuid>,
    keys: Vec<Option<&'a str>>,
    statuses: Vec<String>,
    classes: Vec<Option<&'a str>>,
    reasons: Vec<Option<&'a str>>,
    verified_by: Vec<String>,
    content_types: Vec<Option<&'a str>>,
    headers: Vec<serde_json::Value>,
    bodies: Vec<Vec<u8>>,
    occurred: Vec<DateTime<Utc>>,
    received: Vec<DateTime<Utc>>,
    before: Vec<Option<&'a str>>,
    since: Vec<Option<DateTime<Utc>>>,
    after: Vec<Option<&'a str>>,
    until: Vec<Option<DateTime<Utc>>>,
    about: Vec<Option<&'a str>>,
    near_before: Vec<Option<&'a str>>,
    near_after: Vec<Option<&'a str>>,
}

impl<'a> Deliveries<'a> {
    fn of(group: &[&'a Received]) -> Self {
        let mut columns = Self::default();
        for row in group {
            let verdict = row.verdict();
            let dedupe = row.dedupe.as_ref();
            let window = dedupe.and_then(|dedupe| dedupe.window.as_ref());
            columns.ids.push(row.delivery_id.uuid());
            columns.tenants.push(row.tenant_id.uuid());
            columns.sources.push(row.source_id.uuid());
            columns.keys.push(dedupe.map(|dedupe| dedupe.key.as_str()));
            columns.statuses.push(verdict.status().into());
            columns.classes.push(verdict.reason().map(|(class, _)| class.as_str()));
            columns.reasons.push(verdict.reason().map(|(_, reason)| reason));
            columns.verified_by.push(row.verified_by.to_owned());
            columns.content_types.push(row.content_type.as_deref());
            columns.headers.push(row.headers.clone());
            columns.bodies.push(row.body.to_vec());
            columns.occurred.push(row.occurred_at);
            columns.received.push(row.received_at);
            columns.before.push(window.map(|window| window.before.0.as_str()));
            columns.since.push(window.map(|window| window.before.1));
            columns.after.push(window.map(|window| window.after.0.as_str()));
            columns.until.push(window.map(|window| window.after.1));
            let nearby = dedupe.and_then(|dedupe| dedupe.nearby.as_ref());
            columns.near_before.push(nearby.map(|[before, _]| before.as_str()));
            columns.near_after.push(nearby.map(|[_, after]| after.as_str()));
            columns.about.push(dedupe.and_then(|dedupe| dedupe.about.as_deref()));
        }
        columns
    }
}

#[derive(Default)]
struct Firings<'a> {
    events: Vec<uuid::Uuid>,
    tenants: Vec<uuid::Uuid>,
    deliveries: Vec<uuid::Uuid>,
    triggers: Vec<uuid::Uuid>,
    attempts: Vec<i32>,
    statuses: Vec<String>,
    classes: Vec<Option<&'a str>>,
    reasons: Vec<Option<&'a str>>,
    fired: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Firings<'a> {
    fn of(group: &[&'a Received]) -> Self {
        let mut columns = Self::default();
        for (row, firing) in each(group) {
            let fired = firing.outbox.is_some();
            columns.events.push(firing.event_id.uuid());
            columns.tenants.push(row.tenant_id.uuid());
            columns.deliveries.push(row.delivery_id.uuid());
            columns.triggers.push(firing.trigger_id.uuid());
            columns.attempts.push(i32::from(fired));
            columns.statuses.push(firing.verdict.status().into());
            columns.classes.push(firing.verdict.reason().map(|(class, _)| class.as_str()));
            columns.reasons.push(firing.verdict.reason().map(|(_, reason)| reason));
            columns.fired.push(fired.then_some(row.received_at));
        }
        columns
    }
}

#[derive(Default)]
struct Outbox {
    messages: Vec<uuid::Uuid>,
    tenants: Vec<uuid::Uuid>,
    events: Vec<uuid::Uuid>,
    attempts: Vec<i32>,
    subjects: Vec<String>,
    envelopes: Vec<String>,
    deliveries: Vec<uuid::Uuid>,
}

impl Outbox {
    fn of(group: &[&Received]) -> Self {
        let mut columns = Self::default();
        for (row, firing) in each(group) {
            let Some(outbox) = &firing.outbox else { continue };
            columns.messages.push(outbox.message_id.uuid());
            columns.tenants.push(row.tenant_id.uuid());
            columns.events.push(firing.event_id.uuid());
            columns.attempts.push(outbox.attempt);
            columns.subjects.push(outbox.subject.clone());
            columns.envelopes.push(outbox.envelope.clone());
            columns.deliveries.push(row.delivery_id.uuid());
        }
        columns
    }
}

fn each<'a>(group: &[&'a Received]) -> impl Iterator<Item = (&'a Received, &'a NewFiring)> {
    group.iter().flat_map(|row| row.firings.iter().map(move |firing| (*row, firing)))
}
