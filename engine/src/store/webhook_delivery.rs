//! What endpoints shall be told, and what became of it. How it is looked at is in `webhook_log`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use shared_models::{CredentialId, MessageId, RunId, TenantId, UserId, WebhookEndpointId};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use crate::webhooks::{After, Attempt, Sent};

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) tenant: TenantId,
    pub(crate) message: MessageId,
    pub(crate) kind: String,
    pub(crate) run: Option<RunId>,
    pub(crate) body: String,
    pub(crate) at: DateTime<Utc>,
}

/// A delivery that this process has taken.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) tenant_id: TenantId,
    pub(crate) endpoint_id: WebhookEndpointId,
    pub(crate) message_id: MessageId,
    pub(crate) body: String,
    /// This attempt is the how many-th ever, and since it was last asked for.
    pub(crate) attempts: i32,
    pub(crate) tries: i32,
    pub(crate) claims: i32,
    pub(crate) url: String,
    pub(crate) owner_id: UserId,
    pub(crate) credential_id: CredentialId,
    /// When it was taken.
    pub(crate) now: DateTime<Utc>,
}

/// Notes events for the endpoints that there were when they occurred and that want them. For one that is disabled they are
/// noted as skipped, so that they can be sent after all. Endpoints are held, so that none is disabled meanwhile: whoever does
/// that skips what is noted.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    news: &[News],
) -> Result<(), sqlx::Error> {
    let tenants: Vec<Uuid> = news.iter().map(|news| news.tenant.uuid()).collect();
    let messages: Vec<Uuid> = news.iter().map(|news| news.message.uuid()).collect();
    let kinds: Vec<String> = news.iter().map(|news| news.kind.clone()).collect();
    let runs: Vec<Option<Uuid>> = news.iter().map(|news| news.run.map(RunId::uuid)).collect();
    let bodies: Vec<String> = news.iter().map(|news| news.body.clone()).collect();
    let times: Vec<DateTime<Utc>> = news.iter().map(|news| news.at).collect();
    sqlx::query!(
        "with endpoint as materialized (
             select endpoint_id, tenant_id, event_types, enabled, created_at from engine.webhook_endpoint
             where tenant_id = any ($1) order by endpoint_id for share)
         insert into engine.webhook_delivery (endpoint_id, message_id, tenant_id, event_type, run_id, body, status,
             next_attempt_at, error, ended_at, occurred_at)
         select e.endpoint_id, n.message_id, n.tenant_id, n.kind, n.run_id, n.body,
                case when e.enabled then 'pending' else 'skipped' end, case when e.enabled then now() end,
                case when not e.enabled then 'the endpoint was disabled' end, case when not e.enabled then now() end, n.at
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[])
             as n (tenant_id, message_id, kind, run_id, body, at)
         join endpoint e on e.tenant_id = n.tenant_id
         where e.created_at <= n.at and (cardinality(e.event_types) = 0 or n.kind = any (e.event_types))
         on conflict (endpoint_id, message_id) do nothing",
        &tenants,
        &messages,
        &kinds,
        &runs as &[Option<Uuid>],
        &bodies,
        &times,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Takes up to `limit` deliveries that are due, of all endpoints in turn; `busy` says how many each has under way here.
pub(crate) async fn claim(
    tx: &mut SystemTx,
    busy: (&[Uuid], &[i64]),
    (per_endpoint, limit): (i64, i64),
    lease: Duration,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_file_as!(
        Due,
        "src/store/webhook_claim.sql",
        busy.0,
        busy.1,
        per_endpoint,
        limit,
        lease.as_secs_f64(),
    )
    .fetch_all(&mut **tx)
    .await
}

/// Writes down what an attempt came to. Says whether the delivery was still ours.
pub(crate) async fn note(
    tx: &mut TenantTx,
    due: &Due,
    attempt: &Attempt,
    after: After,
) -> Result<bool, sqlx::Error> {
    let (code, response, error) = match &attempt.sent {
        Sent::Answered { status, response, .. } => {
            (Some(i32::from(*status)), Some(response.as_str()), None)
        }
        Sent::Failed(error) | Sent::Untried(error) => (None, None, Some(error.as_str())),
    };
    let (status, delay) = match after {
        After::Delivered => ("delivered", None),
        After::Failed | After::Gone => ("failed", None),
        After::Again(delay) | After::Postponed(delay) => ("pending", Some(delay.as_secs_f64())),
    };
    let untried = matches!(after, After::Postponed(_));
    let tenant = tx.tenant();
    let ours = sqlx::query!(
        "update engine.webhook_delivery
         set status = $5, next_attempt_at = now() + make_interval(secs => $6), status_code = $7, response = $8, error = $9,
             attempts = attempts - $10::int, tries = tries - $10::int,
             ended_at = case when $5 <> 'pending' then now() end
         where tenant_id = $1 and endpoint_id = $2 and message_id = $3 and claims = $4 and status = 'pending'",
        tenant as _,
        due.endpoint_id as _,
        due.message_id as _,
        due.claims,
        status,
        delay,
        code,
        response,
        error,
        i32::from(untried),
    )
    .execute(&mut **tx)
    .await?
    .rows_affected()
        == 1;
    if ours && !untried {
        sqlx::query!(
            "insert into engine.webhook_attempt (endpoint_id, message_id, n, tenant_id, at, duration_ms, status_code, response, error)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing",
            due.endpoint_id as _,
            due.message_id as _,
            due.attempts,
            tenant as _,
            due.now,
            i32::try_from(attempt.took.as_millis()).unwrap_or(i32::MAX),
            code,
            response,
            error,
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(ours)
}

/// What an attempt says about its endpoint. Gives the reason when it is disabled for it.
pub(crate) async fn judge(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    after: After,
    patience: Duration,
) -> Result<Option<String>, sqlx::Error> {
    let tenant = tx.tenant();
    match after {
        After::Postponed(_) => return Ok(None),
        After::Delivered => {
            sqlx::query!(
                "update engine.webhook_endpoint set failing_since = null
                 where tenant_id = $1 and endpoint_id = $2 and failing_since is not null",
                tenant as _,
                endpoint as _,
            )
            .execute(&mut **tx)
            .await?;
            return Ok(None);
        }
        After::Again(_) | After::Failed | After::Gone => {}
    }
    let gone = after == After::Gone;
    let disabled = sqlx::query_scalar!(
        r#"update engine.webhook_endpoint
           set failing_since = coalesce(failing_since, now()),
               enabled = not ($3 or coalesce(failing_since, now()) + make_interval(secs => $4) <= now()),
               disabled_reason = case
                   when $3 then 'it answered 410 Gone'
                   when coalesce(failing_since, now()) + make_interval(secs => $4) <= now()
                   then 'every attempt has failed since '
                        || to_char(coalesce(failing_since, now()) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') end,
               version = case when $3 or coalesce(failing_since, now()) + make_interval(secs => $4) <= now()
                   then version + 1 else version end
           where tenant_id = $1 and endpoint_id = $2 and enabled
             and ($3 or failing_since is null or failing_since + make_interval(secs => $4) <= now())
           returning disabled_reason"#,
        tenant as _,
        endpoint as _,
        gone,
        patience.as_secs_f64(),
    )
    .fetch_optional(&mut **tx)
    .await?
    .flatten();
    Ok(disabled)
}

/// Nothing more is sent of what an endpoint has not been told yet.
pub(crate) async fn skip(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.webhook_delivery
         set status = 'skipped', next_attempt_at = null, ended_at = now(), error = 'the endpoint was disabled: ' || $3
         where tenant_id = $1 and endpoint_id = $2 and status = 'pending'",
        tenant as _,
        endpoint as _,
        reason,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
