//! Connecting an account: a link, the way to the provider, and back with a code.
//!
//! The link is good for whoever has it, until it ends or is used. Opening it binds a state to the browser it was opened
//! in; the state is good once, in that browser. Of link, state and browser only hashes are kept, and PKCE's verifier is
//! not kept at all: it follows from the state and the tenant's key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use shared_models::ConnectSessionId;
use url::Url;
use uuid::Uuid;

use super::provider::Provider;
use crate::{
    store::connect_session::ConnectSession,
    vault::{TenantKey, VaultError},
};

/// How long a link is good unless its session says so.
pub(crate) const USUAL_LIFE: u32 = 15 * 60;
/// The longest that a link may be good.
pub(crate) const LONGEST_LIFE: u32 = 24 * 60 * 60;
/// Where providers send people back to.
pub(crate) const CALLBACK: &str = "/v1/oauth/callback";

/// Fresh text that nobody can guess.
pub(crate) fn secret() -> Result<String, VaultError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| VaultError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of such a text.
pub(crate) fn hash(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// A link's last segment.
pub(crate) fn link(id: ConnectSessionId, secret: &str) -> String {
    format!("{}.{secret}", id.uuid().simple())
}

/// A state; names the version of the tenant's key that its verifier follows from.
pub(crate) fn state(id: ConnectSessionId, key: &TenantKey, secret: &str) -> String {
    format!("{}.{}.{secret}", id.uuid().simple(), key.version())
}

/// Whose link or state it says to be.
pub(crate) fn session_of(text: &str) -> Option<ConnectSessionId> {
    let (id, _) = text.split_once('.')?;
    (text.len() <= 200).then_some(())?;
    Some(Uuid::try_parse(id).ok()?.into())
}

/// Which version of the tenant's key a state names.
pub(crate) fn key_of(state: &str) -> Option<i32> {
    state.split('.').nth(1)?.parse().ok()
}

/// PKCE's verifier for a state (RFC 7636: 43 characters).
pub(crate) fn verifier(key: &TenantKey, state: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.fingerprint(format!("pkce\0{state}").as_bytes()))
}

/// The cookie that says which browser opened a session's link.
pub(crate) fn cookie_name(id: ConnectSessionId) -> String {
    format!("sy_connect_{}", id.uuid().simple())
}

/// The way to the provider.
pub(crate) fn way(
    provider: &Provider,
    client_id: &str,
    session: &ConnectSession,
    redirect: &Url,
    state: &str,
    verifier: &str,
) -> Option<Url> {
    let mut url = provider.authorize_url.clone()?;
    let scopes: Vec<String> =
        provider.default_scopes.iter().chain(&session.scopes).cloned().collect();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect.as_str())
            .append_pair("state", state);
        if !scopes.is_empty() {
            query.append_pair("scope", &provider.joined(&scopes));
        }
        if provider.uses_pkce() {
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
            query
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", "S256");
        }
        query.extend_pairs(&provider.authorize_params);
    }
    Some(url)
}

/// Where a person goes in the end, told how it went.
pub(crate) fn back(return_url: &str, status: &str, credential: Option<&str>) -> Option<Url> {
    let mut url: Url = return_url.parse().ok()?;
    url.query_pairs_mut().append_pair("status", status);
    if let Some(credential) = credential {
        url.query_pairs_mut().append_pair("credential_id", credential);
    }
    Some(url)
}
