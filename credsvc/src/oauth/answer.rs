//! What a token endpoint says, in all the ways in which providers say it. Nothing of an answer but a short code is ever
//! kept or shown besides the tokens themselves.

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header::DATE};
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::fields::wipe;

/// Nobody needs a token for longer; a provider that says more means "for ever".
const LONGEST: f64 = 365.0 * 24.0 * 3600.0;

/// What was got.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access: SecretString,
    /// None: the old one stays good.
    pub(crate) refresh: Option<SecretString>,
    /// Seconds that the access token lives; none when that was not said.
    pub(crate) lives: Option<f64>,
    /// None: those that were asked for.
    pub(crate) scopes: Option<Vec<String>>,
    /// Whose account it is, for people.
    pub(crate) account: Option<String>,
}

/// Why nothing was got, in a short code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What was shown is not good any more: somebody has to connect again.
    Dead(String),
    /// Our client is refused, or asks wrongly.
    Client(String),
    /// The provider is not well; later it may be.
    Passing(String),
}

/// Reads an answer.
pub(crate) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    mut body: Vec<u8>,
) -> Result<Tokens, Refusal> {
    let mut parsed = parse(&body);
    body.zeroize();
    let told = match &parsed {
        Some(Value::Object(fields)) => judge(status, fields, date(headers)),
        _ if status.is_success() => Err(Refusal::Passing("unreadable_answer".into())),
        _ => Err(by_status(status)),
    };
    if let Some(parsed) = &mut parsed {
        wipe(parsed);
    }
    told
}

/// Whether an answer to something else than a question for tokens is a refusal, although its status says that all is well.
pub(crate) fn refuses(body: &[u8]) -> bool {
    let Some(Value::Object(fields)) = parse(body) else { return false };
    let refused = fields.get("ok") == Some(&Value::Bool(false));
    refused || fields.get("error").is_some_and(|error| !error.is_null())
}

/// JSON, or a form, as some providers answer unless they are asked in the right way.
fn parse(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let form: Map<String, Value> = url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    (form.contains_key("access_token") || form.contains_key("error")).then_some(Value::Object(form))
}

fn judge(
    status: StatusCode,
    fields: &Map<String, Value>,
    date: Option<DateTime<Utc>>,
) -> Result<Tokens, Refusal> {
    if let Some(code) = error(fields) {
        return Err(sorted(status, code));
    }
    if !status.is_success() {
        return Err(by_status(status));
    }
    // Slack hands out a person's token beside the bot's.
    let persons = fields.get("authed_user").and_then(Value::as_object);
    let holder =
        [Some(fields), persons].into_iter().flatten().find(|f| text(f, "access_token").is_some());
    let missing = || Refusal::Passing("no_access_token".into());
    let holder = holder.ok_or_else(missing)?;
    Ok(Tokens {
        access: text(holder, "access_token").ok_or_else(missing)?.into(),
        refresh: text(holder, "refresh_token").map(SecretString::from),
        lives: lives(holder, date),
        scopes: text(holder, "scope").map(|scopes| {
            let parts = scopes.split([' ', ',']).filter(|scope| !scope.is_empty());
            parts.map(str::to_owned).collect()
        }),
        account: account(fields),
    })
}

/// The error's code, wherever it is; 200 or not.
fn error(fields: &Map<String, Value>) -> Option<String> {
    let said = match fields.get("error") {
        Some(Value::String(code)) => Some(code.as_str()),
        Some(Value::Object(inner)) => {
            ["code", "type", "status"].iter().find_map(|key| inner.get(*key)?.as_str())
        }
        _ => None,
    };
    let refused = fields.get("ok") == Some(&Value::Bool(false));
    // HubSpot's own form.
    let status = text(fields, "status").filter(|_| !fields.contains_key("access_token"));
    let code = said.or(status).or(refused.then_some("refused"))?;
    let clean: String = code
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        .take(64)
        .collect();
    Some(if clean.is_empty() { "refused".into() } else { clean.to_ascii_lowercase() })
}

fn sorted(status: StatusCode, code: String) -> Refusal {
    const DEAD: &[&str] = &[
        "invalid_grant",
        "bad_refresh_token",
        "invalid_refresh_token",
        "expired_refresh_token",
        "token_revoked",
        "token_expired",
        "invalid_auth",
        "account_inactive",
        "authorization_not_found",
        "bad_verification_code",
        "invalid_code",
        "bad_auth_code",
        "interaction_required",
        "consent_required",
        "access_denied",
    ];
    const CLIENT: &[&str] = &[
        "invalid_client",
        "invalid_client_id",
        "unauthorized_client",
        "incorrect_client_credentials",
        "bad_client_secret",
        "redirect_uri_mismatch",
        "bad_redirect_uri",
        "invalid_scope",
        "invalid_request",
        "unsupported_grant_type",
    ];
    // A server that is not well says all kinds of things.
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Refusal::Passing(code)
    } else if DEAD.contains(&code.as_str()) {
        Refusal::Dead(code)
    } else if CLIENT.contains(&code.as_str()) {
        Refusal::Client(code)
    } else {
        Refusal::Passing(code)
    }
}

fn by_status(status: StatusCode) -> Refusal {
    let code = format!("http_{}", status.as_u16());
    match status.as_u16() {
        401 | 403 => Refusal::Client(code),
        _ => Refusal::Passing(code),
    }
}

/// Relative if that is said, and otherwise by the provider's own clock, which may be anywhere: without its `Date` an
/// absolute time says nothing.
fn lives(fields: &Map<String, Value>, date: Option<DateTime<Utc>>) -> Option<f64> {
    let number = |name: &str| match fields.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let relative = ["expires_in", "expires_in_sec", "expires"].iter().find_map(|n| number(n));
    let absolute = ["expires_at", "expires_on", "exp"].iter().find_map(|name| {
        let at = number(name)?;
        let seconds = if at > 1e11 { at / 1000.0 } else { at };
        Some(seconds - date?.timestamp() as f64)
    });
    let seconds = relative.or(absolute).filter(|seconds| seconds.is_finite())?;
    (seconds <= LONGEST).then_some(seconds.max(1.0))
}

fn account(fields: &Map<String, Value>) -> Option<String> {
    let team = fields.get("team").and_then(|team| team["name"].as_str());
    let found =
        team.or_else(|| ["hub_domain", "account_name"].iter().find_map(|n| text(fields, n)));
    found.map(|name| name.replace('\0', "").chars().take(200).collect())
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
