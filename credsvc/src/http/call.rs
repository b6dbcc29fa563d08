//! `/v1/proxy/{credential_id}/…`: one call with a credential, which nobody gets to see.

use axum::{
    body::Body,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderName, Method, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use servicekit::{
    Caller, Problem, codes,
    egress::{Call, EgressError, HostPattern, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES},
    scope::CredentialsWrite,
};
use shared_models::{CredentialId, ProblemBody};

use super::test_credential::usable;
use crate::{
    App, Error,
    audit::{Action, Entry},
    oauth::client::host_of,
    origin::Origin,
    outgoing::{self, Target},
    probe::check_host,
};

/// For the whole call.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// What of the caller's headers goes along; anything else is between the caller and us.
const PASSED: &[HeaderName] = &[
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::RANGE,
];
/// What of the answer's headers comes back.
const RETURNED: &[HeaderName] = &[
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
];

macro_rules! calls {
    ($($name:ident $verb:ident;)+) => {
        $(
            /// Make a call with a credential.
            ///
            /// The call goes to the API of the credential's type, or to its own `base_url`, with the secret put on it on
            /// the way out and cut out of what comes back. Its owner, or an administrator when it is the tenant's; each
            /// call is in the audit. The answer is the API's own. Either body has at most 1 MiB: a longer one is refused on
            /// the way out, and cut on the way back (`X-Switchyard-Truncated`).
            #[utoipa::path($verb, path = "/v1/proxy/{credential_id}/{path}", tag = "connections",
                params(("credential_id" = CredentialId, Path), ("path" = String, Path)),
                security(("token" = ["credentials:write"])),
                responses((status = 200, description = "What the API answered."),
                    (status = "default", body = ProblemBody)))]
            pub(crate) async fn $name(
                state: State<App>,
                caller: Caller<CredentialsWrite>,
                origin: Origin,
                request: Asked,
            ) -> Result<Response, Problem> {
                call(state, caller, origin, request).await
            }
        )+
    };
}

calls! {
    call_get get;
    call_post post;
    call_put put;
    call_patch patch;
    call_delete delete;
}

/// A path of several segments, which OpenAPI cannot say.
pub(crate) async fn call_deep(
    state: State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    request: Asked,
) -> Result<Response, Problem> {
    call(state, caller, origin, request).await
}

/// What shall be sent, as it came: the path is not decoded.
pub(crate) struct Asked {
    credential: CredentialId,
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let uri = request.uri().clone();
        let rest = uri.path().strip_prefix("/v1/proxy/").and_then(|rest| rest.split_once('/'));
        let (credential, path) = rest.ok_or_else(|| Problem::not_found("such path"))?;
        let credential = credential
            .parse()
            .map_err(|_| Problem::not_found(format!("credential {credential}")))?;
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let large = |why: String| Problem::new(&codes::PAYLOAD_TOO_LARGE, why);
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| large("the body is too large, or broke off".into()))?;
        if body.len() > MAX_REQUEST_BYTES {
            return Err(large(format!("a body has at most {MAX_REQUEST_BYTES} bytes")));
        }
        let (path, query) = (path.to_owned(), uri.query().map(str::to_owned));
        Ok(Self { credential, method, path, query, headers, body })
    }
}

async fn call(
    State(app): State<App>,
    caller: Caller<CredentialsWrite>,
    origin: Origin,
    asked: Asked,
) -> Result<Response, Problem> {
    let entry = Entry::new(&caller, &origin, Action::Call).about(asked.credential);
    let call = match prepare(&app, &caller, asked).await {
        Ok(call) => call,
        Err(error) => return Err(app.ledger.refused(caller.tenant, entry, error).await.into()),
    };
    let purpose = format!("{} {}", call.method, call.url.path());
    let purpose: String = purpose.chars().take(500).collect();
    let entry = entry.because(Some(&purpose), Some(&host_of(&call.url)));
    // Written down before the secret leaves: a call that cannot be audited is not made.
    app.ledger.record(caller.tenant, entry.clone()).await?;
    match app.egress.send(call).await {
        Ok(answer) => Ok(returned(answer)),
        Err(error) => Err(app.ledger.refused(caller.tenant, entry, failed(error)).await.into()),
    }
}

async fn prepare(
    app: &App,
    caller: &Caller<CredentialsWrite>,
    asked: Asked,
) -> Result<Call, Error> {
    let (credential, _) = usable(app, caller, asked.credential).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let kind = app.types.find(&mut tx, &credential.kind).await?;
    drop(tx);
    let kind = kind.ok_or_else(|| Error::NoType(credential.kind.clone()))?;
    let fields = app.keys.unseal(&credential).await?;
    let Target { base, injection, headers: mut sent } =
        outgoing::target(&kind.definition, &fields)?;
    if injection.is_none() {
        return Err(Error::NotCallable("its secret goes into no header and no query".into()));
    }
    let mut url = outgoing::join(&base, &asked.path)?;
    url.set_query(asked.query.as_deref());
    check_host(&url, &credential.allowed_hosts)?;
    for name in PASSED {
        if let Some(value) = asked.headers.get(name) {
            sent.insert(name, value.clone());
        }
    }
    let allowed_hosts = HostPattern::parse(&host_of(&url)).into_iter().collect();
    Ok(Call {
        method: asked.method,
        url,
        headers: sent,
        body: asked.body,
        injection,
        allowed_hosts,
        timeout: TIMEOUT,
        max_response_bytes: MAX_RESPONSE_BYTES,
    })
}

fn returned(answer: servicekit::egress::Answer) -> Response {
    let mut response = (answer.status, Body::from(answer.body)).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for name in RETURNED {
        for value in answer.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    // What comes from elsewhere must not act as a page of ours.
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let sandbox = header::HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    if answer.truncated {
        let name = HeaderName::from_static("x-switchyard-truncated");
        headers.insert(name, header::HeaderValue::from_static("true"));
    }
    response
}

fn failed(error: EgressError) -> Error {
    match error {
        EgressError::Denied(why) | EgressError::Misdirected(why) => Error::OutgoingRefused(why),
        EgressError::Unreachable(why) | EgressError::Unknown(why) => Error::OutgoingFailed(why),
    }
}
