//! One call of an HTTP tool, sorted by what may have happened.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use servicekit::egress::{Answer, Call, EgressError};
use shared_models::Effect;
use tokio::time::Instant;

use super::{HttpConfig, credential, render};
use crate::{
    app::App,
    callbacks,
    clients::credsvc::{Secret, Wants},
    error::Error,
    snapshot::SnapshotTool,
    store::callback,
    toolbox::{CallCx, NotNow, Outcome, Unready, Waiting},
};

/// How much of an error's body a model needs.
const LONGEST_REFUSAL: usize = 4096;
/// Between two questions to a vault that is away.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Makes the request. `sent` is asked right before bytes leave; when it says not now, nothing is sent.
pub(crate) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    arguments: Value,
    sent: impl AsyncFnOnce() -> Result<(), NotNow>,
) -> Outcome {
    let until = Instant::now() + Duration::from_millis(tool.timeout_ms.into());
    let config: HttpConfig = match serde_json::from_value(tool.config.clone()) {
        Ok(config) => config,
        Err(error) => {
            return Outcome::Refused(format!("the tool's configuration is broken: {error}"));
        }
    };
    let prepared =
        tokio::time::timeout_at(until, prepare(app, cx, tool, &config, &arguments)).await;
    let mut call = match prepared {
        Ok(Ok(call)) => call,
        Ok(Err(why)) => return why.into(),
        Err(_) => return Outcome::Refused("the credential could not be fetched in time".into()),
    };
    if sent().await.is_err() {
        return Outcome::Refused("not sent: this worker no longer owns the run".into());
    }
    call.timeout = until.saturating_duration_since(Instant::now());
    if call.timeout.is_zero() {
        return Outcome::Refused("not sent: no time was left for it".into());
    }
    let outcome = match app.egress.send(call).await {
        Ok(answer) if config.callback.is_some() && answer.status == StatusCode::ACCEPTED => {
            Outcome::Waits(Waiting::Callback)
        }
        Ok(answer) => sort(&config, &answer),
        Err(EgressError::Denied(why) | EgressError::Unreachable(why)) => Outcome::Refused(why),
        Err(EgressError::Misdirected(why)) => Outcome::Failed(why),
        Err(EgressError::Unknown(why)) => Outcome::Unknown(why),
    };
    if config.callback.is_none() { outcome } else { called_back(app, cx, outcome).await }
}

/// What the other side has said already, when it was quicker than we are: it took an attempt at the call, whatever became of
/// this one. Otherwise it is let answer only while one may have been taken.
async fn called_back(app: &App, cx: &CallCx, outcome: Outcome) -> Outcome {
    let open = matches!(outcome, Outcome::Waits(_) | Outcome::Unknown(_));
    let look = async {
        let mut tx = app.db.begin(cx.tenant).await?;
        if !open {
            // Not what is answered already, which is what is found then.
            callback::close(&mut tx, cx.run, &cx.call_id).await?;
        }
        let found = callback::find(&mut tx, cx.run, &cx.call_id).await?;
        tx.commit().await?;
        Ok::<_, sqlx::Error>(found.filter(|said| said.answered))
    };
    match look.await {
        Ok(Some(said)) => {
            let text = said.result.unwrap_or_default();
            if said.failed { Outcome::Failed(text) } else { Outcome::Done(text) }
        }
        Ok(None) => outcome,
        Err(error) => {
            tracing::warn!(%error, "a callback cannot be looked up; its signal tells");
            outcome
        }
    }
}

/// The token by which the other side answers later, and that it may.
async fn token(app: &App, cx: &CallCx, config: &HttpConfig) -> Result<Option<HeaderValue>, Error> {
    let Some(callback) = config.callback else { return Ok(None) };
    let token = app.callback_key.token(cx.run, &cx.call_id)?;
    let mut header = HeaderValue::from_str(token.expose_secret()).map_err(anyhow::Error::from)?;
    header.set_sensitive(true);
    let hash = callbacks::hash(token.expose_secret());
    let mut tx = app.db.begin(cx.tenant).await?;
    callback::open(&mut tx, (cx.run, &cx.call_id), &hash, callback.expires_seconds).await?;
    tx.commit().await?;
    Ok(Some(header))
}

/// Everything that can go wrong before the world is touched.
async fn prepare(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    config: &HttpConfig,
    arguments: &Value,
) -> Result<Call, Unready> {
    let arguments = arguments.as_object().ok_or("the arguments are not an object")?;
    let mut rendered = render::render(config, arguments)?;
    if tool.effect == Effect::Keyed {
        let name = HeaderName::from_bytes(config.idempotency_header.as_bytes());
        let value = HeaderValue::from_str(&cx.idempotency_key);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err("the key fits no header".into());
        };
        rendered.headers.insert(name, value);
    }
    if let Some(token) = token(app, cx, config).await? {
        rendered.headers.insert("switchyard-callback-token", token);
    }
    let attached = tool.credential_id.zip(config.credential.as_ref());
    // A credential goes where it was meant to go when it was attached, whatever the tool says since.
    let hosts = if attached.is_some() { tool.credential_hosts.clone() } else { config.hosts() };
    let mut call = Call {
        method: config.method.wire(),
        url: rendered.url,
        headers: rendered.headers,
        body: rendered.body,
        injection: None,
        allowed_hosts: HttpConfig::host_patterns(&hosts),
        timeout: Duration::ZERO,
        max_response_bytes: config.max_response_bytes,
    };
    app.egress.check(&call).map_err(|error| error.to_string())?;
    if let Some((credential_id, place)) = attached {
        let purpose = format!("tool:{}", tool.name);
        let host = call.url.host_str().map(str::to_owned);
        let patience = Duration::from_millis(tool.timeout_ms.into()) / 2;
        let secret = secret(app, &cx.wants(credential_id), &purpose, host, patience).await?;
        call.injection = Some(credential::injection(place, &secret)?);
    }
    Ok(call)
}

/// Fetches the secret. A vault that is being restarted is asked again for a while: nothing has been sent, and a model that
/// is told of a failure goes on without the call.
pub(crate) async fn secret(
    app: &App,
    wants: &Wants,
    purpose: &str,
    host: Option<String>,
    patience: Duration,
) -> Result<Secret, Error> {
    let until = Instant::now() + patience;
    loop {
        match app.credsvc.resolve(wants, purpose, host.clone()).await {
            Err(Error::Peer(error)) if error.passing() && Instant::now() + ASK_AGAIN < until => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

fn sort(config: &HttpConfig, answer: &Answer) -> Outcome {
    let status = answer.status;
    let worked = if config.success.is_empty() {
        status.is_success()
    } else {
        config.success.contains(&status.as_u16())
    };
    if worked {
        return Outcome::Done(text(answer, config.max_response_bytes));
    }
    let told = format!("HTTP {status}: {}", text(answer, LONGEST_REFUSAL));
    match status {
        // A gateway gave up on the one behind it, which may have done it all the same.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Outcome::Unknown(told),
        _ => Outcome::Failed(told),
    }
}

/// The body as the model reads it. Postgres stores it too, and takes no NUL.
fn text(answer: &Answer, limit: usize) -> String {
    let mut text = String::from_utf8_lossy(&answer.body).replace('\0', "\u{fffd}");
    // What is not text grows as it is spelled out.
    let cut = text.len() > limit || answer.truncated;
    text.truncate(text.floor_char_boundary(limit));
    if text.is_empty() {
        text = format!("(empty answer, HTTP {})", answer.status);
    }
    if cut {
        text.push_str("\n(cut here: the answer was longer)");
    }
    text
}
