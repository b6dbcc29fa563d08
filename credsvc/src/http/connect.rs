//! The two pages of connecting an account that are open to everybody: the link, and the way back from the provider.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use serde::Deserialize;
use servicekit::{Params, Path, Problem};
use shared_models::{CredentialId, ProblemBody, TenantId};

use crate::{
    App, Error,
    finish::{self, Way},
    oauth::{connect, provider::Provider},
    origin::Origin,
    store::{self, connect_session::ConnectSession},
};

const CONNECTED: &str = "<!doctype html><meta charset=\"utf-8\"><title>Connected</title><p>The account is connected. \
    You can close this window.";
const FAILED: &str = "<!doctype html><meta charset=\"utf-8\"><title>Not connected</title><p>The account was not \
    connected. Ask for another link and try again.";

/// What a provider sends back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Back {
    /// What we sent along.
    state: Option<String>,
    /// What tokens are got with.
    code: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// What the provider calls itself (RFC 9207).
    iss: Option<String>,
}

/// Go to the provider.
///
/// For whoever has the link of a connect session. Remembers the browser: only it can come back.
#[utoipa::path(get, path = "/v1/connect/{link}", tag = "connections", params(("link" = String, Path)),
    security(()), responses((status = 303), (status = "default", body = ProblemBody)))]
pub(crate) async fn open_connect_link(
    State(app): State<App>,
    Path(link): Path<String>,
) -> Result<Response, Problem> {
    let session = find(&app, &link).await?;
    if session.link_hash != connect::hash(&link) {
        return Err(Error::NoSession.into());
    }
    let key = app.keys.active(session.tenant_id).await?;
    let (secret, browser) =
        (connect::secret().map_err(Error::from)?, connect::secret().map_err(Error::from)?);
    let state = connect::state(session.id, &key, &secret);
    let mut tx = app.db.begin(session.tenant_id).await?;
    let config = store::provider_config::find(&mut tx, session.provider_config_id).await?;
    let config = config.ok_or(Error::NoSession)?;
    let (kept, by) = (connect::hash(&state), connect::hash(&browser));
    if !store::connect_session::open(&mut tx, session.id, &kept, &by).await? {
        return Err(Error::NoSession.into());
    }
    tx.commit().await?;
    let provider = Provider::of(&config.provider, &config.settings).map_err(Error::from)?;
    let redirect = app.callback_url().map_err(Error::from)?;
    let verifier = connect::verifier(&key, &state);
    let way = connect::way(&provider, &config.client_id, &session, &redirect, &state, &verifier)
        .ok_or(Error::NoSession)?;
    let cookie = cookie(&app, &session, &browser, 3600);
    Ok((
        StatusCode::SEE_OTHER,
        private(),
        [(header::SET_COOKIE, cookie), (header::LOCATION, way.into())],
    )
        .into_response())
}

/// Come back from the provider.
///
/// Gets tokens for the code and keeps them as a credential. Good once for each state, in the browser that opened the
/// link.
#[utoipa::path(get, path = "/v1/oauth/callback", tag = "connections", params(Back), security(()),
    responses((status = 200, content_type = "text/html"), (status = 303),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn finish_connect(
    State(app): State<App>,
    origin: Origin,
    headers: HeaderMap,
    Params(back): Params<Back>,
) -> Result<Response, Problem> {
    let state = back.state.as_deref().ok_or(Error::NoSession)?;
    let session = find(&app, state).await?;
    let browser = browser(&headers, &session).ok_or(Error::NoSession)?;
    let kept = connect::hash(state);
    if session.state_hash.as_ref() != Some(&kept)
        || session.browser_hash != Some(connect::hash(&browser))
    {
        return Err(Error::NoSession.into());
    }
    let mut tx = app.db.begin(session.tenant_id).await?;
    if !store::connect_session::take(&mut tx, session.id, &kept).await? {
        return Err(Error::NoSession.into());
    }
    tx.commit().await?;
    let way = Way { code: back.code, error: back.error, issuer: back.iss, state: state.to_owned() };
    let ended = finish::finish(&app, &origin, &session, way).await;
    Ok(answer(&app, &session, ended))
}

async fn find(app: &App, text: &str) -> Result<ConnectSession, Error> {
    let id = connect::session_of(text).ok_or(Error::NoSession)?;
    let mut tx = app.db.system("find the connect session of a link or a state").await?;
    let found = store::connect_session::find_any(&mut tx, id).await?;
    found.filter(|session| session.live).ok_or(Error::NoSession)
}

fn browser(headers: &HeaderMap, session: &ConnectSession) -> Option<String> {
    let name = connect::cookie_name(session.id);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then(|| value.to_owned())
    })
}

fn cookie(app: &App, session: &ConnectSession, value: &str, seconds: u32) -> String {
    let name = connect::cookie_name(session.id);
    let secure = if app.public_url.scheme() == "https" { "; Secure" } else { "" };
    let path = connect::CALLBACK;
    format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// What is in these answers is for one browser, once.
fn private() -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

fn answer(app: &App, session: &ConnectSession, ended: Result<CredentialId, Error>) -> Response {
    let clear = [(header::SET_COOKIE, cookie(app, session, "", 0))];
    let (status, credential) = match &ended {
        Ok(credential) => ("connected", Some(credential.to_string())),
        Err(_) => ("failed", None),
    };
    let to = session
        .return_url
        .as_deref()
        .and_then(|url| connect::back(url, status, credential.as_deref()));
    if let Some(to) = to {
        let location = [(header::LOCATION, String::from(to))];
        return (StatusCode::SEE_OTHER, private(), clear, location).into_response();
    }
    match ended {
        Ok(_) => (private(), clear, Html(CONNECTED)).into_response(),
        Err(error) => {
            log(session.tenant_id, &error);
            (StatusCode::BAD_REQUEST, private(), clear, Html(FAILED)).into_response()
        }
    }
}

fn log(tenant: TenantId, error: &Error) {
    tracing::info!(%tenant, %error, "an account was not connected");
}
