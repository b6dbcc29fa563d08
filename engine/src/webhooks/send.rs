//! One attempt.

use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use servicekit::PeerError;

use super::{Sent, sign};
use crate::app::App;
use crate::committer::printable;
use crate::error::Error;
use crate::store::webhook_delivery::Due;

/// How much of an answer is kept.
const KEPT: usize = 1024;

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) sent: Sent,
    pub(crate) took: Duration,
}

/// Sends a delivery once.
pub(crate) async fn attempt(app: &App, due: &Due) -> Attempt {
    let begun = Instant::now();
    let sent = match request(app, due).await {
        Ok(request) => exchange(request, app.webhooks.config.timeout).await,
        Err(sent) => sent,
    };
    Attempt { sent, took: begun.elapsed() }
}

async fn request(app: &App, due: &Due) -> Result<reqwest::RequestBuilder, Sent> {
    let keys =
        app.webhooks.secrets.of(due.tenant_id, due.endpoint_id, due.owner_id, due.credential_id);
    let keys = keys.await.map_err(|error| match &*error {
        Error::Peer(error @ PeerError::Problem(..)) if !error.passing() => unsigned(error),
        Error::Peer(error) => Sent::Untried(format!("its signing secret cannot be read: {error}")),
        error => unsigned(error),
    })?;
    // When it was taken, by the database's clock.
    let (id, timestamp) = (due.message_id.to_string(), due.now.timestamp());
    let signature = sign::signatures(keys.valid(due.now), (&id, timestamp, &due.body));
    let signature = signature.map_err(|error| unsigned(&error))?;
    let url = due.url.parse().map_err(|error: url::ParseError| Sent::Failed(error.to_string()))?;
    let client = app.egress.client_for(&url).map_err(|error| Sent::Failed(error.to_string()))?;
    Ok(client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .body(due.body.clone()))
}

fn unsigned(error: &dyn std::fmt::Display) -> Sent {
    Sent::Failed(format!("it cannot be signed: {error}"))
}

/// The client follows no redirects: where an endpoint is, its tenant says.
async fn exchange(request: reqwest::RequestBuilder, timeout: Duration) -> Sent {
    let failed = |error: reqwest::Error| Sent::Failed(printable(&chain(&error.without_url())));
    let mut response = match request.timeout(timeout).send().await {
        Ok(response) => response,
        Err(error) => return failed(error),
    };
    let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
    let mut body = Vec::new();
    // The status is the answer; words that do not come are no failure.
    while body.len() < KEPT {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk);
    }
    body.truncate(KEPT);
    Sent::Answered { status, response: printable(&String::from_utf8_lossy(&body)), retry_after }
}

/// In seconds; a date is not what senders of webhooks are told.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The error with what caused it, as the innermost says the most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
