//! One request at a hook.

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, Uri, header};
use serde_json::Value;
use servicekit::Problem;
use shared_models::{DeliveryId, EventId};
use uuid::Uuid;

use super::{
    DedupeKey, Draft, Outcome, Received, Status, System, body, decide, dedupe_key, expressed,
    meaning::{self, Meaning, Part},
    prove,
    respond::{self, Response, Wanted},
};
use crate::{
    app::App, error::Error, filter::Seen, hooks::Hook, kept, payload, stats::Counted, store::lease,
    verify::Signed,
};

const LONGEST_CHALLENGE: usize = 1024;

/// A request, but for its body.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// Who is at the other end of the connection.
    pub peer: Option<IpAddr>,
}

/// What a hook answers when nothing is wrong.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Stored, whatever came of it.
    Accepted { delivery_id: DeliveryId, event_ids: Vec<EventId>, outcome: Status },
    /// Stored, and the run has ended.
    Ended { delivery_id: DeliveryId, event_id: EventId, response: Response },
    /// Each of several, and how many were seen before.
    Batch { accepted: Vec<DeliveryId>, duplicates: usize, event_ids: Vec<EventId> },
    /// Seen before.
    Duplicate,
    /// A handshake in the payload.
    Challenge(String),
    /// A handshake in the query.
    Echo(String),
    /// A sign of life.
    Pong,
    /// A hint, which was passed on to who listens.
    Noted,
}

/// Takes one delivery in.
pub(crate) async fn receive(
    app: &App,
    id: Uuid,
    arrived: &Arrived,
    body: Body,
) -> Result<Answer, Problem> {
    let headers = &arrived.headers;
    let hook = app.hooks.find(id).await?.ok_or_else(|| Problem::not_found("such hook"))?;
    if hook.options.app.is_some() {
        return Err(Problem::not_found("such hook: the provider delivers to its app's address"));
    }
    // No token says it here.
    tracing::Span::current().record("tenant.id", tracing::field::display(hook.tenant_id));
    app.guard.check(&hook, arrived.peer, headers)?;
    let body = body::read(headers, body, hook.options.max_body_bytes as usize).await?;
    if let Some(word) = query_challenge(&hook, &arrived.uri) {
        return Ok(Answer::Echo(word));
    }
    let now = app.clock.now();
    let url = public_url(app, &hook, &arrived.uri);
    let method = arrived.method.as_str();
    let signed = Signed { method, url: url.as_deref(), headers, body: &body };
    let verified = match prove::prove(app, &hook, &signed).await {
        Ok(verified) => verified,
        Err(error @ Error::BadSignature(_)) => {
            for trigger in &hook.triggers {
                app.stats.count(hook.tenant_id, trigger.trigger_id, Counted::Refused, now);
            }
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    if hook.system == System::Gmail {
        return ring(app, &hook).await;
    }
    let payload = payload::parse(content_type(headers), &body)?;
    let (meant, at) = match meaning::of(hook.options.verify.scheme, headers, &payload) {
        Some(Meaning::Challenge(word)) => return Ok(Answer::Challenge(word)),
        Some(Meaning::Ping) => return Ok(Answer::Pong),
        Some(Meaning::Many(parts)) => return many(app, &hook, headers, parts, now).await,
        Some(Meaning::One(dedupe, at)) => (dedupe, at),
        None => match payload_challenge(&hook, &payload) {
            Some(word) => return Ok(Answer::Challenge(word)),
            None => (verified.dedupe_key.clone().map(DedupeKey::of), verified.at),
        },
    };
    let dedupe = key(&hook, meant, headers, (&body, &payload), now).await?;
    let occurred_at = at.or(verified.at).unwrap_or(now);
    let draft = Draft {
        dedupe,
        content_type: content_type(headers).map(ToOwned::to_owned),
        occurred_at,
        body,
        payload,
        ..draft(&hook, headers, now)
    };
    let received = decide(hook.origin(), &hook.triggers, draft).await;
    let wanted = wanted(&hook, &received);
    match (one(app, received).await?, wanted) {
        (Answer::Accepted { delivery_id, event_ids, outcome }, Some(wanted)) => {
            Ok(match respond::wait(app, wanted).await {
                Some(response) => {
                    Answer::Ended { delivery_id, event_id: wanted.event_id, response }
                }
                None => Answer::Accepted { delivery_id, event_ids, outcome },
            })
        }
        (answer, _) => Ok(answer),
    }
}

/// What a push says is only a hint: the mailbox is looked at, and what is found there is what is delivered.
async fn ring(app: &App, hook: &Hook) -> Result<Answer, Problem> {
    let mut tx = app.db.begin(hook.tenant_id).await?;
    lease::ring(&mut tx, hook.source_id).await?;
    tx.commit().await?;
    app.listeners.notify_waiters();
    Ok(Answer::Noted)
}

/// What the sender waits for: the first trigger that fired and answers with its result.
fn wanted(hook: &Hook, received: &Received) -> Option<Wanted> {
    hook.triggers.iter().zip(&received.firings).find_map(|(trigger, firing)| {
        let within = trigger.respond.filter(|_| firing.outbox.is_some())?;
        Some(Wanted { tenant: received.tenant_id, event_id: firing.event_id, within })
    })
}

pub(super) async fn one(app: &App, received: Received) -> Result<Answer, Problem> {
    let (delivery_id, event_ids, outcome) =
        (received.delivery_id, received.event_ids(), received.verdict().status());
    match app.committer.submit(received).await {
        Outcome::Stored => {
            if outcome == Status::Queued {
                app.flow.queued();
            }
            Ok(Answer::Accepted { delivery_id, event_ids, outcome })
        }
        Outcome::Duplicate => Ok(Answer::Duplicate),
        Outcome::Unstorable(why) => Err(Error::Unstorable(why).into()),
        Outcome::Busy => Err(Error::Busy.into()),
    }
}

/// Stores each part by itself, all of them in one group as far as it goes. When one cannot be stored right now the whole is
/// wanted again; those that were are then repetitions.
async fn many(
    app: &App,
    hook: &Hook,
    headers: &HeaderMap,
    parts: Vec<Part>,
    now: DateTime<Utc>,
) -> Result<Answer, Problem> {
    let mut waiting = Vec::with_capacity(parts.len());
    for part in parts {
        let draft = Draft {
            dedupe: part.dedupe,
            content_type: Some("application/json".into()),
            occurred_at: part.occurred_at.unwrap_or(now),
            body: part.payload.to_string().into(),
            payload: part.payload,
            ..draft(hook, headers, now)
        };
        waiting.push(one(app, decide(hook.origin(), &hook.triggers, draft).await));
    }
    let (mut accepted, mut duplicates, mut events) = (Vec::new(), 0, Vec::new());
    for answer in futures::future::join_all(waiting).await {
        match answer? {
            Answer::Accepted { delivery_id, event_ids, .. } => {
                accepted.push(delivery_id);
                events.extend(event_ids);
            }
            _ => duplicates += 1,
        }
    }
    Ok(Answer::Batch { accepted, duplicates, event_ids: events })
}

/// What all drafts of a request have in common.
pub(super) fn draft(hook: &Hook, headers: &HeaderMap, now: DateTime<Utc>) -> Draft {
    let verify = &hook.options.verify;
    Draft {
        dedupe: None,
        verified_by: verify.scheme.as_str(),
        content_type: None,
        headers: kept::headers(headers, verify.header.as_deref()),
        body: Bytes::new(),
        payload: Value::Null,
        occurred_at: now,
        now,
    }
}

/// How a repetition is told: as the options say, or else as its sender means it.
async fn key(
    hook: &Hook,
    meant: Option<DedupeKey>,
    headers: &HeaderMap,
    (body, payload): (&Bytes, &Value),
    now: DateTime<Utc>,
) -> Result<Option<DedupeKey>, Error> {
    let Some(options) = &hook.options.dedupe else { return Ok(meant) };
    if options.expression.is_none() {
        return Ok(dedupe_key(options, headers, (body, payload), now));
    }
    let Some(expression) = &hook.repetition else { return Ok(None) };
    let seen = Seen {
        tenant: hook.tenant_id,
        payload: Arc::new(payload.clone()),
        size: body.len(),
        headers: Arc::new(kept::headers(headers, hook.options.verify.header.as_deref())),
        system: hook.system.as_str(),
    };
    expressed(expression, &seen).await
}

/// The address the sender used, as configured: of the trigger, or of the platform with the path of the request.
fn public_url(app: &App, hook: &Hook, uri: &Uri) -> Option<String> {
    let verify = &hook.options.verify;
    if !verify.signs_address() {
        return None;
    }
    if let Some(url) = &verify.public_url {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Some(format!("{url}{query}"));
    }
    let base = app.public_url.as_ref()?.as_str().trim_end_matches('/');
    Some(format!("{base}{}", uri.path_and_query()?))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

fn query_challenge(hook: &Hook, uri: &Uri) -> Option<String> {
    let wanted = hook.options.challenge.as_ref()?.query.as_deref()?;
    let pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    let found = pairs.into_iter().find(|(name, _)| name == wanted)?;
    Some(found.1.into_owned()).filter(|word| word.len() <= LONGEST_CHALLENGE)
}

fn payload_challenge(hook: &Hook, payload: &Value) -> Option<String> {
    let pointer = hook.options.challenge.as_ref()?.json_pointer.as_deref()?;
    payload.pointer(pointer)?.as_str().map(ToOwned::to_owned)
}
