//! One request at a hook.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, Uri, header};
use serde_json::Value;
use servicekit::{Problem, codes};
use shared_models::{DeliveryId, EventId};
use uuid::Uuid;

use super::{Draft, Outcome, Status, decide, dedupe_key};
use crate::{
    app::App,
    error::{Error, TOO_SLOW},
    hooks::Hook,
    kept, payload,
    stats::Counted,
    verify::{self, VerifyError},
};

/// A body that takes longer than this to arrive is given up.
const SLOWEST_BODY: Duration = Duration::from_secs(30);
const LONGEST_CHALLENGE: usize = 1024;

/// What a hook answers when nothing is wrong.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Stored, whatever came of it.
    Accepted { delivery_id: DeliveryId, event_ids: Vec<EventId>, outcome: Status },
    /// Seen before.
    Duplicate,
    /// A handshake in the payload.
    Challenge(String),
    /// A handshake in the query.
    Echo(String),
}

/// Takes one delivery in.
pub(crate) async fn receive(
    app: &App,
    id: Uuid,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let hook = app.hooks.find(id).await?.ok_or_else(|| Problem::not_found("such hook"))?;
    // No token says it here.
    tracing::Span::current().record("tenant.id", tracing::field::display(hook.tenant_id));
    let body = read(headers, body, hook.options.max_body_bytes as usize).await?;
    if let Some(word) = query_challenge(&hook, uri) {
        return Ok(Answer::Echo(word));
    }
    let now = app.clock.now();
    let verified = match prove(app, &hook, headers, &body).await {
        Ok(verified) => verified,
        Err(error @ Error::BadSignature(_)) => {
            for trigger in &hook.triggers {
                app.stats.count(hook.tenant_id, trigger.trigger_id, Counted::Refused, now);
            }
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let payload = payload::parse(content_type(headers), &body)?;
    if let Some(word) = payload_challenge(&hook, &payload) {
        return Ok(Answer::Challenge(word));
    }
    let (options, of_scheme) = (&hook.options, verified.dedupe_key.as_deref());
    let dedupe = options.dedupe.as_ref();
    let draft = Draft {
        dedupe: dedupe_key(dedupe, of_scheme, headers, (&body, &payload), now),
        verified_by: options.verify.scheme.as_str(),
        content_type: content_type(headers).map(ToOwned::to_owned),
        headers: kept::headers(headers, options.verify.header.as_deref()),
        occurred_at: verified.at.unwrap_or(now),
        body,
        payload,
        now,
    };
    let received = decide(hook.origin(), &hook.triggers, draft).await;
    let (delivery_id, event_ids, outcome) =
        (received.delivery_id, received.event_ids(), received.verdict().status());
    match app.committer.submit(received).await {
        Outcome::Stored => Ok(Answer::Accepted { delivery_id, event_ids, outcome }),
        Outcome::Duplicate => Ok(Answer::Duplicate),
        Outcome::Unstorable(why) => Err(Error::Unstorable(why).into()),
        Outcome::Busy => Err(Error::Busy.into()),
    }
}

/// Reads the raw body, giving up as soon as it is known to be too large.
async fn read(headers: &HeaderMap, body: Body, cap: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            &codes::PAYLOAD_TOO_LARGE,
            format!("this hook takes bodies of up to {cap} bytes"),
        )
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            &codes::UNSUPPORTED_MEDIA_TYPE,
            "send the body without compression",
        ));
    }
    let said =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if said.is_some_and(|length: u64| length > cap as u64) {
        return Err(too_large());
    }
    let gather = async {
        let mut chunks = body.into_data_stream();
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|_| Problem::new(&codes::MALFORMED_REQUEST, "the body was cut off"))?;
            if whole.len() + chunk.len() > cap {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(SLOWEST_BODY, gather)
        .await
        .map_err(|_| Problem::new(&TOO_SLOW, "the body did not arrive within 30 s"))?
}

/// Checks the proof. A secret from the cache may be one that was replaced a moment ago, so a mismatch is checked
/// again against a fresh one, once in a while.
async fn prove(
    app: &App,
    hook: &Hook,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<verify::Verified, Error> {
    let check = |secret: &verify::Secret| {
        verify::verify(&hook.options.verify, headers, body, app.clock.now(), secret)
    };
    if !hook.options.needs_secret() {
        return check(&verify::Secret::default()).map_err(Error::BadSignature);
    }
    let secret = app.secrets.of(hook).await?;
    let mut found = check(&secret);
    if found == Err(VerifyError::Mismatch)
        && let Some(fresh) = app.secrets.fresher(hook).await
    {
        found = check(&fresh);
    }
    found.map_err(|error| match error {
        VerifyError::BadSecret => Error::CredentialUnavailable,
        wrong => Error::BadSignature(wrong),
    })
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
