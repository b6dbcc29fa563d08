//! One question to a token endpoint, through the egress client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use servicekit::egress::{Call, Egress, EgressError, HostPattern, Injection};
use url::Url;

use super::{
    answer::{self, Refusal, Tokens},
    provider::{ClientAuth, RevokeBy},
};

/// A token endpoint, and who we are to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) auth: ClientAuth,
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
}

/// Why there are no tokens.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The provider said no.
    Refused(Refusal),
    /// It may have said yes, but the answer was lost: what was shown may be used up.
    Lost(String),
}

/// A form: names and values, of which some are secret.
pub(crate) type Form<'a> = Vec<(&'a str, SecretString)>;

/// Sends a form and reads the answer.
pub(crate) async fn ask(
    egress: &Egress,
    endpoint: &Endpoint,
    form: Form<'_>,
    timeout: Duration,
) -> Result<Tokens, Failed> {
    let answer = send(egress, endpoint, &endpoint.url, form, timeout).await.map_err(sorted)?;
    answer::read(answer.status, &answer.headers, answer.body).map_err(Failed::Refused)
}

/// Takes a token back; says whether the provider said so too.
pub(crate) async fn revoke(
    egress: &Egress,
    endpoint: &Endpoint,
    at: &Url,
    (by, token): (RevokeBy, &SecretString),
    timeout: Duration,
) -> bool {
    let answer = match by {
        RevokeBy::Form => {
            let form = vec![("token", token.clone())];
            send(egress, endpoint, at, form, timeout).await
        }
        RevokeBy::Delete => delete(egress, endpoint, at, token, timeout).await,
    };
    answer.is_ok_and(|answer| answer.status.is_success() && !answer::refuses(&answer.body))
}

/// Deletes one token. Others of the same account's, and so other credentials, stay.
async fn delete(
    egress: &Egress,
    endpoint: &Endpoint,
    at: &Url,
    token: &SecretString,
    timeout: Duration,
) -> Result<servicekit::egress::Answer, EgressError> {
    // A URL does not keep braces as they are.
    let url = at.as_str().replace("%7Bclient_id%7D", &encoded(&endpoint.client_id));
    let url: Url = url.parse().map_err(|_| EgressError::Denied("no such address".into()))?;
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json.clone());
    headers.insert(header::CONTENT_TYPE, json);
    let host = HostPattern::parse(&host_of(&url));
    let call = Call {
        method: Method::DELETE,
        headers,
        body: Bytes::from(json!({ "access_token": token.expose_secret() }).to_string()),
        injection: Some(Injection::Basic {
            username: endpoint.client_id.clone(),
            password: endpoint.client_secret.clone(),
        }),
        allowed_hosts: host.into_iter().collect(),
        timeout,
        max_response_bytes: 64 * 1024,
        url,
    };
    egress.send(call).await
}

async fn send(
    egress: &Egress,
    endpoint: &Endpoint,
    url: &Url,
    mut form: Form<'_>,
    timeout: Duration,
) -> Result<servicekit::egress::Answer, EgressError> {
    let mut injection = None;
    match endpoint.auth {
        ClientAuth::Body => {
            form.push(("client_id", endpoint.client_id.as_str().into()));
            form.push(("client_secret", endpoint.client_secret.clone()));
        }
        // Both halves are form-encoded first (RFC 6749, section 2.3.1).
        ClientAuth::Basic => {
            injection = Some(Injection::Basic {
                username: encoded(&endpoint.client_id),
                password: encoded(endpoint.client_secret.expose_secret()).into(),
            });
        }
    }
    let body = written(&form);
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, kind);
    let host = HostPattern::parse(&host_of(url));
    let call = Call {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
        injection,
        // A redirect to elsewhere would carry the form there.
        allowed_hosts: host.into_iter().collect(),
        timeout,
        max_response_bytes: 64 * 1024,
    };
    egress.send(call).await
}

fn written(form: &Form<'_>) -> Bytes {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in form {
        body.append_pair(name, value.expose_secret());
    }
    Bytes::from(body.finish())
}

/// Host and port of a URL, as lists of hosts are written.
pub(crate) fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The text of an egress error names hosts and causes, never a secret; only its kind is kept all the same.
fn sorted(error: EgressError) -> Failed {
    match error {
        EgressError::Denied(_) | EgressError::Misdirected(_) => {
            Failed::Refused(Refusal::Client("endpoint_not_allowed".into()))
        }
        EgressError::Unreachable(_) => Failed::Refused(Refusal::Passing("unreachable".into())),
        EgressError::Unknown(_) => Failed::Lost("no_answer".into()),
    }
}
