//! One call over all its hops.

use std::error::Error as _;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE,
        LOCATION, USER_AGENT,
    },
};
use reqwest::Response;
use url::Url;

use super::{Answer, Call, Egress, EgressError, redact::Redactor, resolver::Forbidden};

const MOST_REDIRECTS: usize = 5;
/// What may follow a redirect to another origin. Anything else could be a secret that somebody wrote into a header.
const HARMLESS: [HeaderName; 4] = [ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, USER_AGENT];

/// The next request to send, and what is known of those before it.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    /// The secret still goes along.
    inject: bool,
    /// An earlier hop answered "done, look there": whatever happens now, it may have happened.
    accepted: bool,
}

pub(super) async fn send(egress: &Egress, call: Call) -> Result<Answer, EgressError> {
    let redactor = call.injection.as_ref().map(super::Injection::redactor).unwrap_or_default();
    let timeout = call.timeout;
    let hops = follow(egress, call, &redactor);
    match tokio::time::timeout(timeout, hops).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(redacted(error, &redactor)),
        Err(_) => Err(EgressError::Unknown(format!("no answer within {timeout:?}"))),
    }
}

async fn follow(egress: &Egress, call: Call, redactor: &Redactor) -> Result<Answer, EgressError> {
    egress.check(&call)?;
    let mut hop = Hop {
        method: call.method.clone(),
        url: call.url.clone(),
        headers: call.headers.clone(),
        body: call.body.clone(),
        inject: true,
        accepted: false,
    };
    // Compressed answers could hide an echoed secret from the redactor.
    hop.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for _ in 0..=MOST_REDIRECTS {
        let accepted = hop.accepted;
        let response = match ask(egress, &call, &hop).await {
            Err(error) => return Err(if accepted { maybe(error) } else { error }),
            Ok(response) => response,
        };
        let status = response.status();
        let Some(location) = location(&response) else {
            if accepted && !status.is_success() {
                let detail = format!("it was accepted, but what it led to answered {status}");
                return Err(EgressError::Unknown(detail));
            }
            return read(response, call.max_response_bytes, redactor).await;
        };
        hop = redirected(hop, status, &location, redactor)?;
        if let Err(error) = egress.check_url(&hop.url, &call.allowed_hosts) {
            return Err(refused(&hop, status, &error.to_string()));
        }
    }
    Err(refused(&hop, StatusCode::LOOP_DETECTED, &format!("more than {MOST_REDIRECTS} redirects")))
}

async fn ask(egress: &Egress, call: &Call, hop: &Hop) -> Result<Response, EgressError> {
    let (mut url, mut headers) = (hop.url.clone(), hop.headers.clone());
    if let Some(injection) = call.injection.as_ref().filter(|_| hop.inject) {
        injection
            .apply(&mut url, &mut headers)
            .map_err(|error| EgressError::Denied(error.to_string()))?;
    }
    let request = egress.client(&url).request(hop.method.clone(), url).headers(headers);
    let request = if hop.body.is_empty() { request } else { request.body(hop.body.clone()) };
    request.send().await.map_err(sorted)
}

fn location(response: &Response) -> Option<String> {
    let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| followed)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// The next hop as RFC 9110 has it: after 303, and after 301 and 302 in answer to a POST, the rest is a GET.
fn redirected(
    hop: Hop,
    status: StatusCode,
    location: &str,
    redactor: &Redactor,
) -> Result<Hop, EgressError> {
    let reads = matches!(hop.method, Method::GET | Method::HEAD);
    let becomes_get = match status {
        StatusCode::SEE_OTHER => !reads,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => hop.method == Method::POST,
        _ => false,
    };
    let mut next = Hop { accepted: hop.accepted || becomes_get, ..hop };
    let target = next.url.join(location).ok();
    let Some(mut url) = target else {
        return Err(refused(&next, status, "the redirect leads nowhere"));
    };
    url.set_fragment(None);
    if becomes_get {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LANGUAGE);
    }
    if !same_origin(&next.url, &url) {
        if redactor.finds(location) {
            return Err(refused(
                &next,
                status,
                "the redirect would carry the credential to another host",
            ));
        }
        next.inject = false;
        next.headers = kept(&next.headers);
    }
    next.url = url;
    Ok(next)
}

/// The same host and port; or the same host, from http to https as servers insist.
fn same_origin(from: &Url, to: &Url) -> bool {
    let upgraded = from.scheme() == "http"
        && to.scheme() == "https"
        && from.port_or_known_default() == Some(80)
        && to.port_or_known_default() == Some(443);
    from.origin() == to.origin() || (upgraded && from.host() == to.host())
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let kept =
        headers.iter().filter(|(name, _)| HARMLESS.contains(name) || *name == ACCEPT_ENCODING);
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn refused(hop: &Hop, status: StatusCode, why: &str) -> EgressError {
    let detail = format!("redirect ({}) not followed: {why}", status.as_u16());
    if hop.accepted { EgressError::Unknown(detail) } else { EgressError::Misdirected(detail) }
}

async fn read(
    mut response: Response,
    limit: usize,
    redactor: &Redactor,
) -> Result<Answer, EgressError> {
    let status = response.status();
    let encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value != "identity");
    let mut headers = HeaderMap::new();
    for (name, value) in response.headers() {
        let clean = redactor.bytes(value.as_bytes().to_vec());
        // Names are chosen by the server as well.
        if let (Ok(value), false) = (HeaderValue::from_bytes(&clean), redactor.finds(name.as_str()))
        {
            headers.append(name.clone(), value);
        }
    }
    let (mut body, mut truncated) = (Vec::new(), false);
    while !truncated {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = limit - body.len();
                truncated = chunk.len() > room;
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            }
            Ok(None) => break,
            // The status of an error says enough; that of a success does not, as there was more to say.
            Err(_) if !status.is_success() => truncated = true,
            Err(error) => {
                return Err(EgressError::Unknown(format!(
                    "the answer broke off: {}",
                    chain(error)
                )));
            }
        }
    }
    if encoded {
        body = b"(an encoded body, although none was asked for: not shown)".to_vec();
    }
    let body = if truncated { redactor.cut_bytes(body) } else { redactor.bytes(body) };
    Ok(Answer { status, headers, body, truncated })
}

fn sorted(error: reqwest::Error) -> EgressError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
            return EgressError::Denied(forbidden.to_string());
        }
        source = cause.source();
    }
    if error.is_builder() {
        EgressError::Denied(chain(error))
    } else if error.is_connect() {
        EgressError::Unreachable(chain(error))
    } else {
        EgressError::Unknown(chain(error))
    }
}

/// The whole chain in one line, without the URL, which may hold a secret.
fn chain(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error.without_url()))
}

fn maybe(error: EgressError) -> EgressError {
    EgressError::Unknown(format!("it was accepted, but what it led to was not reached: {error}"))
}

fn redacted(error: EgressError, redactor: &Redactor) -> EgressError {
    match error {
        EgressError::Denied(text) => EgressError::Denied(redactor.text(&text)),
        EgressError::Unreachable(text) => EgressError::Unreachable(redactor.text(&text)),
        EgressError::Misdirected(text) => EgressError::Misdirected(redactor.text(&text)),
        EgressError::Unknown(text) => EgressError::Unknown(redactor.text(&text)),
    }
}
