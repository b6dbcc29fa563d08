//! Apps of the platform's own: a provider posts what happens in all accounts that have installed one to a single address,
//! signed with the app's secret, and names the account in each thing it says. What an account's triggers get is what they
//! would get at hooks of their own.
//!
//! Invariant: what is said of an account reaches only sources whose owner has shown a token that opens that account, and at
//! Slack only of the app that says it.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::header;
use serde_json::Value;
use servicekit::Problem;
use shared_models::SourceId;

use super::{
    Answer, Arrived, Draft, System, body, decide,
    meaning::{self, Meaning, Part},
    receive::{draft, one},
};
use crate::{
    app::App,
    error::Error,
    options::{BODY_CAP, BODY_DEFAULT, Scheme, Verify},
    payload,
    store::account::{self, OfAccount},
    verify::{self, Secret, Signed, VerifyError},
};

/// The secrets of the platform's apps, by system.
#[derive(Clone, Debug, Default)]
pub struct Apps {
    /// Of each system that has one; the others have no address.
    pub secrets: BTreeMap<System, Secret>,
    /// The id of the app at Slack, which signs with its secret there: not all that it says names it.
    pub slack_app: Option<String>,
}

/// Takes in what an app is told. What nobody listens to is counted and acknowledged: it would only come again.
pub(crate) async fn receive(
    app: &App,
    system: System,
    arrived: &Arrived,
    body: Body,
) -> Result<Answer, Problem> {
    let (Some(secret), Some(scheme)) = (app.apps.secrets.get(&system), system.schemes().first())
    else {
        return Err(Problem::not_found("such hook"));
    };
    let headers = &arrived.headers;
    // GitHub's pushes are larger than what the others say.
    let cap = if system == System::Github { BODY_CAP } else { BODY_DEFAULT };
    let body = body::read(headers, body, cap as usize).await?;
    let now = app.clock.now();
    verify(app, *scheme, arrived, &body, secret).map_err(|error| match error {
        VerifyError::BadSecret | VerifyError::NoAddress => Error::CredentialUnavailable,
        wrong => Error::BadSignature(wrong),
    })?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let payload = payload::parse(content_type, &body)?;
    let whole = |dedupe, occurred_at| Part { payload: payload.clone(), dedupe, occurred_at };
    let (parts, alone) = match meaning::of(*scheme, headers, &payload) {
        Some(Meaning::Challenge(word)) => return Ok(Answer::Challenge(word)),
        Some(Meaning::Ping) => return Ok(Answer::Pong),
        Some(Meaning::Many(parts)) => (parts, false),
        Some(Meaning::One(dedupe, at)) => (vec![whole(dedupe, at)], true),
        None => (vec![whole(None, None)], true),
    };
    let listening = listening(app, system, &parts).await?;
    let mut waiting = Vec::new();
    for part in parts {
        let sources = wanting(&app.apps, system, &part.payload, &listening);
        if sources.is_empty() {
            count(system, "unknown");
            continue;
        }
        for source in sources {
            // Gone since it was looked up: nobody is left who would want it.
            let Some(hook) = app.hooks.find(source.uuid()).await? else { continue };
            let common = draft(&hook, headers, now);
            let draft = Draft {
                dedupe: part.dedupe.clone(),
                content_type: if alone { content_type } else { Some("application/json") }
                    .map(ToOwned::to_owned),
                body: if alone { body.clone() } else { part.payload.to_string().into() },
                payload: part.payload.clone(),
                occurred_at: part.occurred_at.unwrap_or(now),
                ..common
            };
            waiting.push(one(app, decide(hook.origin(), &hook.triggers, draft).await));
        }
    }
    // When one cannot be stored the whole is wanted again; those that were are then repetitions.
    for answer in futures::future::join_all(waiting).await {
        let known = matches!(answer?, Answer::Duplicate);
        count(system, if known { "duplicate" } else { "taken" });
    }
    Ok(Answer::Noted)
}

fn verify(
    app: &App,
    scheme: Scheme,
    arrived: &Arrived,
    body: &[u8],
    secret: &Secret,
) -> Result<(), VerifyError> {
    let options = Verify { scheme, ..Verify::default() };
    let base = app.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/'));
    let path = arrived.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let url = base.map(|base| format!("{base}{path}"));
    let (method, headers) = (arrived.method.as_str(), &arrived.headers);
    let signed = Signed { method, url: url.as_deref(), headers, body };
    verify::verify(&options, &signed, app.clock.now(), secret).map(drop)
}

/// Who gets what is said of a payload's account.
fn wanting(apps: &Apps, system: System, payload: &Value, listening: &[OfAccount]) -> Vec<SourceId> {
    let Some(account) = account_of(system, payload) else { return Vec::new() };
    // Of shortcuts, Slack does not say whose they are: the signature does, for who knows which app signs like this.
    let sender = sender(system, payload).or_else(|| apps.slack_app.clone());
    // Another app's bot in the same workspace shows nothing of what this one may hear. What was shown before that was asked is
    // believed until it is shown anew.
    let shown =
        |one: &&OfAccount| system != System::Slack || one.app.is_none() || one.app == sender;
    let all = listening.iter().filter(|one| one.account == account);
    all.filter(shown).map(|one| one.source).collect()
}

/// The sources of all tenants for the accounts that are named.
async fn listening(
    app: &App,
    system: System,
    parts: &[Part],
) -> Result<Vec<OfAccount>, sqlx::Error> {
    let accounts: BTreeSet<String> =
        parts.iter().filter_map(|part| account_of(system, &part.payload)).collect();
    let accounts: Vec<String> = accounts.into_iter().collect();
    let mut tx = app.db.system("which tenants listen to a provider's account").await?;
    let found = account::of_app(&mut tx, system.as_str(), &accounts).await?;
    tx.commit().await?;
    Ok(found)
}

/// The provider's app that says it, where it says so. A button that was pressed comes as JSON in a form.
fn sender(system: System, payload: &Value) -> Option<String> {
    let said = |payload: &Value| payload.get("api_app_id")?.as_str().map(ToOwned::to_owned);
    if system != System::Slack {
        return None;
    }
    said(payload).or_else(|| {
        let form: Value = serde_json::from_str(payload.get("payload")?.as_str()?).ok()?;
        said(&form)
    })
}

/// Whose it is, as the provider says.
fn account_of(system: System, payload: &Value) -> Option<String> {
    let at = |pointer: &str| match payload.pointer(pointer)? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    };
    match system {
        System::Hubspot => at("/portalId"),
        System::Github => at("/installation/id"),
        System::Stripe => at("/account"),
        // A button that was pressed comes as JSON in a form.
        System::Slack => at("/team_id").or_else(|| at("/team/id")).or_else(|| {
            let form: Value = serde_json::from_str(&at("/payload")?).ok()?;
            form.pointer("/team/id")?.as_str().map(ToOwned::to_owned)
        }),
        _ => None,
    }
}

fn count(system: System, outcome: &'static str) {
    metrics::counter!("eventsvc_app_items_total", "system" => system.as_str(), "outcome" => outcome)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_provider_names_the_account_in_its_own_place() {
        let button = json!({ "payload": r#"{"type":"block_actions","team":{"id":"T2"}}"# });
        let table = [
            (System::Hubspot, json!({ "portalId": 62515 }), Some("62515")),
            (System::Slack, json!({ "team_id": "T1" }), Some("T1")),
            (System::Slack, button, Some("T2")),
            (System::Slack, json!({ "type": "shortcut", "team": { "id": "T1" } }), Some("T1")),
            (System::Github, json!({ "installation": { "id": 7 } }), Some("7")),
            (System::Stripe, json!({ "account": "acct_1" }), Some("acct_1")),
            (System::Stripe, json!({ "id": "evt_1" }), None),
            (System::Webhook, json!({ "account": "acct_1" }), None),
        ];
        for (system, payload, expected) in table {
            assert_eq!(account_of(system, &payload).as_deref(), expected, "{system} {payload}");
        }
    }

    #[test]
    fn what_an_app_of_slacks_says_goes_to_who_has_shown_a_bot_of_that_app() {
        let shown = |app: Option<&str>| OfAccount {
            account: "T1".into(),
            source: SourceId::mint(),
            app: app.map(ToOwned::to_owned),
        };
        let all = [shown(Some("A1")), shown(Some("A2")), shown(None)];
        let button = json!({ "payload": r#"{"api_app_id":"A2","team":{"id":"T1"}}"# });
        let event = json!({ "team_id": "T1", "api_app_id": "A1" });
        let shortcut = json!({ "payload": r#"{"type":"message_action","team":{"id":"T1"}}"# });
        let told = |app: Option<&str>, payload: &Value| {
            let apps = Apps { slack_app: app.map(ToOwned::to_owned), ..Apps::default() };
            wanting(&apps, System::Slack, payload, &all)
        };
        // The last was shown before it was asked by whose bot.
        let [first, second, before] = all.each_ref().map(|one| one.source);

        assert_eq!(told(None, &event), [first, before]);
        assert_eq!(told(None, &button), [second, before]);
        assert_eq!(told(Some("A1"), &button), [second, before]);
        assert_eq!(told(Some("A1"), &shortcut), [first, before]);
        assert_eq!(told(None, &shortcut), [before]);
        assert_eq!(told(Some("A1"), &json!({ "team_id": "T2", "api_app_id": "A1" })), []);
        // Elsewhere the account is shown by who may read all of it.
        let stripe = wanting(&Apps::default(), System::Stripe, &json!({ "account": "T1" }), &all);
        assert_eq!(stripe.len(), 3);
    }

    proptest! {
        #[test]
        fn no_payload_breaks_the_reader(
            text in "[\\[{\"a-z_:0-9,}\\] ]{0,80}",
            system in prop::sample::select(System::ALL),
        ) {
            let payload = serde_json::from_str(&text).unwrap_or(json!({ "payload": text }));
            let _ = (account_of(system, &payload), sender(system, &payload));
        }
    }
}
