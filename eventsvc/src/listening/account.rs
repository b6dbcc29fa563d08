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
    /// that shows it: at Slack the bot's of the app that delivers, at GitHub one of who owns the account or, of an
    /// organization, is an owner of it, made by the app that delivers.
    pub account: String,
}

/// What was proven, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Proof {
    pub account: String,
    pub proven_at: DateTime<Utc>,
    /// Of which of the provider's apps the proof is, where anybody's app could show the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

impl AppSource {
    /// Names what is wrong with it.
    pub(crate) fn errors(&self) -> Option<FieldError> {
        let fits = (1..=LONGEST_ACCOUNT).contains(&self.account.len()) && plain(&self.account);
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
    let (opened, app) = match system {
        System::Hubspot => {
            let details = get(ask, &ask.providers.hubspot, "account-info/v3/details").await?;
            (id(&details["portalId"]), None)
        }
        System::Stripe => (id(&get(ask, &ask.providers.stripe, "v1/account").await?["id"]), None),
        System::Slack => slack(ask).await?,
        System::Github => (Some(installation(ask, claimed.unwrap_or_default()).await?), None),
        other => return Err(LookError::Never(format!("{other} has no accounts"))),
    };
    let opened = opened
        .ok_or_else(|| LookError::Later("the provider does not say whose it is".into(), None))?;
    match claimed {
        Some(claimed) if claimed != opened => Err(not_that_one(claimed)),
        _ => Ok(Proof { account: opened, proven_at: ask.now, app }),
    }
}

/// The team that a bot is in, and the app that it belongs to: who may install any app in a workspace has a bot there, but only
/// the bot of the app that delivers was given what that app may hear.
async fn slack(ask: &Ask) -> Result<(Option<String>, Option<String>), LookError> {
    let test = slack_method(ask, "auth.test", &[]).await?;
    let Some(bot) = id(&test["bot_id"]) else {
        return Err(LookError::Credential("it is a person's token, not a bot's".into()));
    };
    let info = slack_method(ask, "bots.info", &[("bot", &bot)]).await?;
    let app = id(&info["bot"]["app_id"]).ok_or_else(|| {
        LookError::Credential("Slack does not say which app the bot belongs to".into())
    })?;
    Ok((id(&test["team_id"]), Some(app)))
}

async fn slack_method(ask: &Ask, name: &str, query: &[(&str, &str)]) -> Result<Value, LookError> {
    let mut url = address(&ask.providers.slack, name)?;
    let method = if query.is_empty() { Method::POST } else { Method::GET };
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let answer = ask.api(method, url, None).await?.unwrap_or_default();
    // Slack answers 200 to a token that it refuses.
    if answer["ok"] == true {
        return Ok(answer);
    }
    let why = answer["error"].as_str().unwrap_or("no reason given");
    Err(match (why, answer["needed"].as_str()) {
        ("missing_scope", Some(needed)) => {
            LookError::Credential(format!("it lacks the scope `{needed}`"))
        }
        ("ratelimited" | "internal_error" | "service_unavailable" | "fatal_error", _) => {
            LookError::Later(format!("Slack says {why}"), None)
        }
        _ => LookError::Credential(why.to_owned()),
    })
}

/// An installation of the app that the token was made by, whose account the person has to say of: their own, or an
/// organization that they are an owner of. Who only sees one of its repositories sees the installation as well, but not all
/// that the app is told of it.
async fn installation(ask: &Ask, claimed: &str) -> Result<String, LookError> {
    let found = installed(ask, claimed).await?.ok_or_else(|| not_that_one(claimed))?;
    let account = &found["account"];
    let login = account["login"].as_str().filter(|login| plain(login)).unwrap_or_default();
    let owned = match found["target_type"].as_str().or_else(|| account["type"].as_str()) {
        Some("Organization") if !login.is_empty() => owns_organization(ask, login).await?,
        Some("User") => {
            let me = get(ask, &ask.providers.github, "user").await?;
            id(&me["id"]).is_some() && id(&me["id"]) == id(&account["id"])
        }
        _ => false,
    };
    if owned {
        return Ok(claimed.to_owned());
    }
    let why =
        format!("who it belongs to is no owner of `{login}`, where the installation {claimed} is");
    Err(LookError::Credential(why))
}

/// A person's token opens several installations of an app.
async fn installed(ask: &Ask, claimed: &str) -> Result<Option<Value>, LookError> {
    for page in 1..=MOST_PAGES {
        let path = format!("user/installations?per_page=100&page={page}");
        let mut answer = get(ask, &ask.providers.github, &path).await?;
        let Some(all) = answer["installations"].as_array_mut() else { break };
        if let Some(place) = all.iter().position(|one| id(&one["id"]).as_deref() == Some(claimed)) {
            return Ok(Some(all.swap_remove(place)));
        }
        if all.is_empty() {
            break;
        }
    }
    Ok(None)
}

/// Whether the person is an owner of an organization, which the app has to be allowed to see.
async fn owns_organization(ask: &Ask, login: &str) -> Result<bool, LookError> {
    let url = address(&ask.providers.github, &format!("user/memberships/orgs/{login}"))?;
    match ask.api(Method::GET, url, None).await {
        // Nobody's member.
        Ok(None) => Ok(false),
        Ok(Some(told)) => Ok(told["role"] == "admin" && told["state"] == "active"),
        Err(LookError::Credential(_)) => Err(LookError::Credential(format!(
            "GitHub does not say who owns `{login}`: the app needs the permission to read members"
        ))),
        Err(error) => Err(error),
    }
}

fn plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
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
    /// One of Slack's is shown with an app; what was shown before that was asked is shown anew at the next look.
    fn is_whole(&self, proof: &Proof) -> bool {
        self.system != System::Slack || proof.app.is_some()
    }

    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let before: Option<Proof> = position.and_then(|at| serde_json::from_value(at.clone()).ok());
        let proof = match before {
            Some(proof) if !due(Some(&proof), ask.now) && self.is_whole(&proof) => proof,
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
