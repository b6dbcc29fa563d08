//! How listeners reach the outside: through the guarded client, with the source's credential.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use secrecy::SecretString;
use serde_json::Value;
use servicekit::egress::{Answer, Call, Egress, EgressError, HostPattern, Injection};
use url::Url;

use super::{ImapTrust, LookError, Providers};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;
/// A provider that asks for more patience than this is asked again all the same.
const LONGEST_WAIT: u64 = 60 * 60;

/// Who asks, with what, and when.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub egress: Egress,
    pub providers: Providers,
    /// Which mail servers are believed to be who they say.
    pub imap: ImapTrust,
    /// The credential's fields; empty without one.
    pub fields: BTreeMap<String, SecretString>,
    /// Now, by the database.
    pub now: DateTime<Utc>,
    /// Whether the provider said that there is something.
    pub rung: bool,
    /// When it is enough: what goes page by page begins no other one then, so that it is over in time.
    pub until: Instant,
}

impl Ask {
    /// Whether there is time to ask for another page.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.until
    }

    /// One request to any host.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<&Value>,
        injection: Option<Injection>,
    ) -> Result<Answer, LookError> {
        self.send_for(LARGEST, method, url, headers, body, injection).await
    }

    /// The same, where an answer may be of another size.
    pub(crate) async fn send_for(
        &self,
        largest: usize,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<&Value>,
        injection: Option<Injection>,
    ) -> Result<Answer, LookError> {
        let mut headers = headers;
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // A secret goes to the host it was given for, and to no other that this one may name.
        let allowed = match &injection {
            Some(_) => url.host_str().and_then(HostPattern::parse).into_iter().collect(),
            None => vec![HostPattern::any()],
        };
        let call = Call {
            method,
            url,
            headers,
            body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
            injection,
            allowed_hosts: allowed,
            timeout: TIMEOUT,
            max_response_bytes: largest,
        };
        let answer = self.egress.send(call).await.map_err(|error| match error {
            EgressError::Denied(why) | EgressError::Misdirected(why) => LookError::Never(why),
            EgressError::Unreachable(why) | EgressError::Unknown(why) => {
                LookError::Later(why, None)
            }
        })?;
        if answer.truncated {
            let why = format!("the answer is larger than {} MiB", largest / (1024 * 1024));
            return Err(LookError::Never(why));
        }
        Ok(answer)
    }

    /// One request to a provider with the credential's access token; the answer is JSON. A 404 is none.
    pub(crate) async fn api(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Option<Value>, LookError> {
        let token =
            ["access_token", "token", "secret"].iter().find_map(|name| self.fields.get(*name));
        let token =
            token.ok_or_else(|| LookError::Credential("it has no field `access_token`".into()))?;
        let injection = Some(Injection::Bearer(token.clone()));
        let answer = self.send(method, url, HeaderMap::new(), body, injection).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        check(&answer)?;
        if answer.body.is_empty() {
            return Ok(Some(Value::Null));
        }
        let value = serde_json::from_slice(&answer.body);
        value
            .map(Some)
            .map_err(|error| LookError::Later(format!("the answer is no JSON: {error}"), None))
    }
}

/// Sorts an answer that is no success.
pub(crate) fn check(answer: &Answer) -> Result<(), LookError> {
    let status = answer.status;
    let said = || format!("the provider answered HTTP {}", status.as_u16());
    let limited = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN
            && (names_a_limit(&answer.body) || shows_a_limit(&answer.headers));
    match status {
        _ if status.is_success() => Ok(()),
        _ if limited => Err(LookError::Later(said(), Some(patience(&answer.headers)))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(LookError::Credential(said())),
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(LookError::Later(said(), retry_after(&answer.headers)))
        }
        _ => Err(LookError::Never(said())),
    }
}

/// Google answers 403 also to who asks too often, and says so in the reason.
fn names_a_limit(body: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = value.pointer("/error/errors").and_then(Value::as_array);
    let mut reasons = errors.into_iter().flatten().filter_map(|error| error["reason"].as_str());
    reasons.any(|reason| matches!(reason, "rateLimitExceeded" | "userRateLimitExceeded"))
}

/// So does GitHub, which says in headers for how long, or that nothing is left.
fn shows_a_limit(headers: &HeaderMap) -> bool {
    let left = headers.get("x-ratelimit-remaining").and_then(|left| left.to_str().ok());
    headers.contains_key(header::RETRY_AFTER) || left.is_some_and(|left| left.trim() == "0")
}

fn patience(headers: &HeaderMap) -> Duration {
    retry_after(headers).unwrap_or(Duration::from_secs(60))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

/// A header that a person named, with its value.
pub(crate) fn header_of(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: StatusCode, headers: &[(&'static str, &'static str)]) -> LookError {
        let pairs = headers.iter();
        let pairs = pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = pairs.collect();
        let answer = Answer { status, headers, body: Vec::new(), truncated: false };
        check(&answer).unwrap_err()
    }

    #[test]
    fn who_asks_too_often_is_asked_for_patience_and_not_for_another_credential() {
        let later = |seconds| {
            let said = "the provider answered HTTP 403".to_owned();
            LookError::Later(said, Some(Duration::from_secs(seconds)))
        };
        let forbidden = StatusCode::FORBIDDEN;

        assert_eq!(refused(forbidden, &[("retry-after", "7")]), later(7));
        assert_eq!(refused(forbidden, &[("x-ratelimit-remaining", "0")]), later(60));
        let left = refused(forbidden, &[("x-ratelimit-remaining", "10")]);
        assert!(matches!(left, LookError::Credential(_)), "{left:?}");
    }
}
