//! Trying a credential: the provider's cheapest identity endpoint is really called, a database really logged in to.
//!
//! What is said of a test is kept and shown, so every text of the credential is cut out of it.

mod aws;
mod postgres;
mod redis;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Method, header};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use servicekit::egress::{Answer, Call, Egress, EgressError, HostPattern, Redactor};
use shared_models::wire_time;
use tokio::time::Instant;
use url::Url;

use crate::{
    Error,
    fields::Fields,
    outgoing::{self, Target},
    types::{CredentialType, TestSpec, fill},
};

/// For a whole test.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_MESSAGE: usize = 300;

/// What came of a test.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Tested {
    /// When.
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) at: DateTime<Utc>,
    /// `passed` or `failed`.
    pub(crate) outcome: Outcome,
    /// How long it took.
    pub(crate) latency_ms: u64,
    /// What was said.
    pub(crate) message: String,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The other side took it.
    Passed,
    /// It did not, or was not reached.
    Failed,
}

/// Tries a credential of this type. `hosts` are those it may be sent to; `at` is the database's time.
pub(crate) async fn run(
    egress: &Egress,
    kind: &CredentialType,
    fields: &Fields,
    hosts: &[String],
    at: DateTime<Utc>,
) -> Result<Tested, Error> {
    let test = kind.test.as_ref();
    let test = test.ok_or_else(|| Error::NotTestable("its type has no test".into()))?;
    let begun = Instant::now();
    let tried = tokio::time::timeout(TIMEOUT, try_it(egress, kind, test, fields, hosts)).await;
    let said = match tried {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => return Err(error),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (outcome, message) = match said {
        Ok(message) => (Outcome::Passed, message),
        Err(message) => (Outcome::Failed, message),
    };
    Ok(Tested { at, outcome, latency_ms, message: clean(&message, fields) })
}

/// What passed, or what failed.
type Said = Result<String, String>;

async fn try_it(
    egress: &Egress,
    kind: &CredentialType,
    test: &TestSpec,
    fields: &Fields,
    hosts: &[String],
) -> Result<Said, Error> {
    match test {
        TestSpec::Http { .. } => http(egress, kind, test, fields, hosts).await,
        TestSpec::Postgres {} => Ok(postgres::ping(egress, fields, hosts).await),
        TestSpec::Redis {} => Ok(redis::ping(egress, fields, hosts).await),
        TestSpec::Aws {} => aws::who_am_i(egress, fields, hosts).await,
        // Whoever asked has got a token first.
        TestSpec::Token {} => Ok(match fields.text("access_token") {
            Some(_) => Ok("an access token was got".into()),
            None => Err("there is no access token".into()),
        }),
    }
}

async fn http(
    egress: &Egress,
    kind: &CredentialType,
    test: &TestSpec,
    fields: &Fields,
    hosts: &[String],
) -> Result<Said, Error> {
    let TestSpec::Http { method, path, form, ok } = test else { return Ok(Err(String::new())) };
    let not = |error: Error| match error {
        Error::NotCallable(why) => Error::NotTestable(why),
        error => error,
    };
    let Target { base, injection, headers } = outgoing::target(kind, fields).map_err(not)?;
    let path = fill(path, fields).map_err(|error| Error::NotTestable(error.to_string()))?;
    let url = outgoing::join(&base, path.expose_secret()).map_err(not)?;
    let mut headers = headers;
    let body = if form.is_empty() {
        Bytes::new()
    } else {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        filled_form(form, fields)?
    };
    let method: Method = method.as_deref().unwrap_or("GET").parse().unwrap_or(Method::GET);
    let allowed_hosts = allowed(&url, hosts)?;
    let call = Call {
        method,
        url,
        headers,
        body,
        injection,
        allowed_hosts,
        timeout: TIMEOUT,
        max_response_bytes: 64 * 1024,
    };
    Ok(match egress.send(call).await {
        Ok(answer) => judge(&answer, ok.as_deref()),
        Err(error) => Err(told(error)),
    })
}

fn filled_form(
    form: &std::collections::BTreeMap<String, String>,
    fields: &Fields,
) -> Result<Bytes, Error> {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in form {
        let value = fill(value, fields).map_err(|error| Error::NotTestable(error.to_string()))?;
        body.append_pair(name, value.expose_secret());
    }
    Ok(Bytes::from(body.finish()))
}

fn judge(answer: &Answer, ok: Option<&str>) -> Said {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status.as_u16();
    let agrees = ok.is_none_or(|pointer| body.pointer(pointer) == Some(&Value::Bool(true)));
    if answer.status.is_success() && agrees {
        return Ok(format!("HTTP {status}"));
    }
    match reason(&body) {
        Some(reason) => Err(format!("HTTP {status}: {reason}")),
        None => Err(format!("HTTP {status}")),
    }
}

/// What the provider says of its refusal, where providers say it.
fn reason(body: &Value) -> Option<String> {
    const PLACES: &[&str] =
        &["/error/message", "/message", "/error_description", "/description", "/error", "/detail"];
    let said = PLACES.iter().find_map(|place| body.pointer(place)?.as_str());
    said.map(str::to_owned)
}

/// The host of a URL, if the credential may be sent there.
fn allowed(url: &Url, hosts: &[String]) -> Result<Vec<HostPattern>, Error> {
    check_host(url, hosts)?;
    Ok(HostPattern::parse(&crate::oauth::client::host_of(url)).into_iter().collect())
}

/// Refuses a host that the credential is not bound to.
pub(crate) fn check_host(url: &Url, hosts: &[String]) -> Result<(), Error> {
    let patterns = hosts.iter().filter_map(|host| HostPattern::parse(host));
    if hosts.is_empty() || patterns.into_iter().any(|pattern| pattern.matches_url(url)) {
        return Ok(());
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Err(Error::HostNotAllowed { host, allowed: hosts.join(", ") })
}

fn told(error: EgressError) -> String {
    error.to_string()
}

fn clean(message: &str, fields: &Fields) -> String {
    let texts = fields.texts();
    let redactor = Redactor::new(&texts.iter().collect::<Vec<_>>());
    let text = redactor.text(message).replace('\0', "");
    text.chars().take(LONGEST_MESSAGE).collect()
}

/// The address of a server that is no HTTP server, if the policy and the credential's hosts allow it.
async fn address(
    egress: &Egress,
    fields: &Fields,
    hosts: &[String],
    usual_port: u16,
) -> Result<std::net::SocketAddr, String> {
    let host = fields.text("host").ok_or("the credential has no host")?;
    let host = host.expose_secret();
    let port = fields.text("port").and_then(|port| port.expose_secret().parse().ok());
    let port = port.unwrap_or(usual_port);
    let url: Url =
        format!("http://{host}:{port}/").parse().map_err(|_| "the host is not one".to_owned())?;
    check_host(&url, hosts).map_err(|error| error.to_string())?;
    egress.resolve(host, port).await.map_err(told)
}
