//! Whose events an app-level delivery may become. A provider's app posts everything to one address and names the account:
//! whoever says that an account is theirs proves it with a token that opens it, and again every few hours.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use url::Url;
use utoipa::ToSchema;

use super::{Ask, Listener, Look, LookError};
use crate::trigger::System;

/// How often an account is proven anew, in seconds. One that was not for a day is no longer believed.
const PROVE: i64 = 6 * 60 * 60;
const LOOK: Duration = Duration::from_secs(60 * 60);
const MOST_PAGES: u32 = 10;
const LONGEST_ACCOUNT: usize = 100;

/// A trigger whose deliveries come to the platform's own address, `/v1/hooks/{system}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "account": "62515" }))]
pub(crate) struct AppSource {
    /// Whose: HubSpot's portal, Slack's team, GitHub's installation, Stripe's account. The credential has an `access_token`
    /// that opens it.
    pub account: String,
}

/// What was proven, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Proof {
    pub account: String,
    pub proven_at: DateTime<Utc>,
}

impl AppSource {
    /// Names what is wrong with it.
    pub(crate) fn errors(&self) -> Option<FieldError> {
        let mut letters = self.account.chars();
        let plain = letters.all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let fits = (1..=LONGEST_ACCOUNT).contains(&self.account.len()) && plain;
        let why = "name the account by its id: up to 100 letters and digits";
        (!fits).then(|| FieldError::new("/options/app/account", why))
    }
}

/// Whether a proof is due anew.
pub(super) fn due(proof: Option<&Proof>, now: DateTime<Utc>) -> bool {
    proof.is_none_or(|proof| (now - proof.proven_at).num_seconds() >= PROVE)
}

/// Asks the provider which account the credential opens. `claimed` is the one it should be; without, any will do.
pub(super) async fn prove(
    ask: &Ask,
    system: System,
    claimed: Option<&str>,
) -> Result<Proof, LookError> {
    let opened = match system {
        System::Hubspot => {
            id(&get(ask, &ask.providers.hubspot, "account-info/v3/details").await?["portalId"])
        }
        System::Stripe => id(&get(ask, &ask.providers.stripe, "v1/account").await?["id"]),
        System::Slack => slack(ask).await?,
        System::Github => return installation(ask, claimed.unwrap_or_default()).await,
        other => return Err(LookError::Never(format!("{other} has no accounts"))),
    };
    let opened = opened
        .ok_or_else(|| LookError::Later("the provider does not say whose it is".into(), None))?;
    match claimed {
        Some(claimed) if claimed != opened => Err(not_that_one(claimed)),
        _ => Ok(Proof { account: opened, proven_at: ask.now }),
    }
}

async fn slack(ask: &Ask) -> Result<Option<String>, LookError> {
    let url = address(&ask.providers.slack, "auth.test")?;
    let answer = ask.api(Method::POST, url, None).await?.unwrap_or_default();
    // Slack answers 200 to a token that it refuses.
    if answer["ok"] != true {
        let why = answer["error"].as_str().unwrap_or("no reason given").to_owned();
        return Err(LookError::Credential(why));
    }
    // A bot is there because its app was installed; a token of their own any member may have.
    if id(&answer["bot_id"]).is_none() {
        return Err(LookError::Credential("it is a person's token, not a bot's".into()));
    }
    Ok(id(&answer["team_id"]))
}

/// A person's token opens several installations of an app.
async fn installation(ask: &Ask, claimed: &str) -> Result<Proof, LookError> {
    for page in 1..=MOST_PAGES {
        let path = format!("user/installations?per_page=100&page={page}");
        let answer = get(ask, &ask.providers.github, &path).await?;
        let all = answer["installations"].as_array().map(Vec::as_slice).unwrap_or_default();
        if all.iter().any(|one| id(&one["id"]).as_deref() == Some(claimed)) {
            return Ok(Proof { account: claimed.to_owned(), proven_at: ask.now });
        }
        if all.is_empty() {
            break;
        }
    }
    Err(not_that_one(claimed))
}

fn not_that_one(claimed: &str) -> LookError {
    LookError::Credential(format!("it does not open the account {claimed}"))
}

async fn get(ask: &Ask, base: &Url, path: &str) -> Result<Value, LookError> {
    let answer = ask.api(Method::GET, address(base, path)?, None).await?;
    answer.ok_or_else(|| LookError::Never(format!("the provider knows no `{path}`")))
}

pub(super) fn address(base: &Url, path: &str) -> Result<Url, LookError> {
    let url = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&url).map_err(|error| LookError::Never(error.to_string()))
}

fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Only proves whose account it is; the provider delivers.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub system: System,
    pub app: AppSource,
}

impl Account {
    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let before: Option<Proof> = position.and_then(|at| serde_json::from_value(at.clone()).ok());
        let proof = match before {
            Some(proof) if !due(Some(&proof), ask.now) => proof,
            _ => prove(ask, self.system, Some(&self.app.account)).await?,
        };
        let renew_at = Some(proof.proven_at + chrono::Duration::seconds(PROVE));
        let position = serde_json::to_value(&proof).unwrap_or_default();
        Ok(Look { position, again: LOOK, renew_at, ..Look::default() })
    }
}

impl Listener for Account {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}
