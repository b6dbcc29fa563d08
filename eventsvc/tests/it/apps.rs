//! The platform's own apps at providers: one address for everybody, and each account's events to whoever has shown that the
//! account is theirs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared_models::TriggerId;
use testkit::{
    Api, GITHUB_INSTALLATION, GITHUB_MEMBER_TOKEN, GITHUB_OWN_INSTALLATION, GITHUB_TOKEN,
    HUBSPOT_PORTAL, HUBSPOT_TOKEN, Reply, SLACK_APP, Trust, slack_signature,
};

use crate::{
    harness::{APP_SECRET, World},
    hubspot::deliver,
    listening::{look, payloads, rest, run, until},
    mail::now,
};

fn mac(text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).unwrap();
    hex::encode(mac.chain_update(text).finalize().into_bytes())
}

/// A trigger that the platform's app delivers to, with this token.
async fn of_app(world: &World, system: &str, account: &str, token: &str) -> TriggerId {
    let credential = world.credential(json!({ "access_token": token }));
    let body = json!({ "system": system, "credential_id": credential,
        "options": { "app": { "account": account } } });
    world.trigger(body).await.0
}

async fn proven(world: &World, id: TriggerId) {
    until(world, id, "the account to be proven", |l| !l["cursor"].is_null()).await;
}

async fn post(world: &World, system: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let api = Api::router(world.router.clone()).header("content-type", "application/json");
    let api = headers.iter().fold(api, |api, (name, value)| api.header(name, value));
    api.raw(Method::POST, &format!("/v1/hooks/{system}"), body.into()).await
}

async fn slack(world: &World, body: &Value) -> Reply {
    let body = body.to_string();
    let signed = slack_signature(APP_SECRET, &body, now());
    post(world, "slack", &signed.each_ref().map(|(name, value)| (*name, value.as_str())), &body)
        .await
}

/// An event in a team, told by the platform's app.
fn said(id: &str, team: &str) -> Value {
    json!({ "type": "event_callback", "event_id": id, "team_id": team, "api_app_id": SLACK_APP,
        "event": {} })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_batch_goes_to_whoever_has_shown_that_the_portal_is_theirs() {
    let world = World::start().await;
    let portal = HUBSPOT_PORTAL.to_string();
    let first = of_app(&world, "hubspot", &portal, HUBSPOT_TOKEN).await;
    let second = of_app(&world, "hubspot", &portal, HUBSPOT_TOKEN).await;
    let pretender = of_app(&world, "hubspot", "99", HUBSPOT_TOKEN).await;
    proven(&world, first).await;
    proven(&world, second).await;
    let refused = until(&world, pretender, "a refusal", |l| l["failures"] == 1).await;
    assert_eq!(refused["last_error"], "the credential is refused: it does not open the account 99");

    let mine = world.hubspot.create(1, now() * 1000);
    let again = world.hubspot.create(2, now() * 1000);
    let mut theirs = world.hubspot.create(3, now() * 1000);
    theirs["portalId"] = 99.into();
    let batch = [mine.clone(), theirs, again.clone(), mine.clone()];
    for _ in 0..2 {
        let told = deliver(&world, "hubspot", &batch).await.remove(0);
        assert_eq!(told.expect(200), json!({ "status": "noted" }));
    }

    let mut fired = world.engine().await.take(4).await;
    fired.sort_by_key(|event| (event.data.trigger_id, event.data.occurred_at));
    let triggers: Vec<TriggerId> = fired.iter().map(|event| event.data.trigger_id).collect();
    assert_eq!(triggers, [first, first, second, second]);
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 4);
    let read = world.mine().get(&format!("/v1/triggers/{first}")).await.expect(200);
    assert_eq!(
        (&read["hook_url"], &read["signing_secret"]),
        (&json!("/v1/hooks/hubspot"), &Value::Null)
    );
    let own = deliver(&world, &first.to_string(), &[mine]).await.remove(0);
    assert_eq!(own.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_shown_anew_is_delivered_to_nobody() {
    let world = World::start().await;
    let id = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, id).await;
    let event = |id: &str| said(id, "T1");
    slack(&world, &event("Ev1")).await.expect(200);
    assert_eq!(payloads(&world).await, [event("Ev1")]);
    rest(&world, id).await;

    run(
        &world,
        "update eventsvc.source_cursor set position = jsonb_set(position, '{proven_at}',
             to_jsonb(now() - interval '25 hours'))",
    )
    .await;
    slack(&world, &event("Ev2")).await.expect(200);

    assert_eq!(payloads(&world).await, [event("Ev1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_finds_the_team_in_events_and_buttons_and_gets_its_challenge_back() {
    let world = World::start().await;
    let id = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, id).await;
    let event = said("Ev1", "T1");

    let challenge = json!({ "type": "url_verification", "challenge": "abc" });
    assert_eq!(slack(&world, &challenge).await.expect(200), json!({ "challenge": "abc" }));
    slack(&world, &event).await.expect(200);
    slack(&world, &event).await.expect(200);
    slack(&world, &said("Ev2", "T2")).await.expect(200);
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair(
            "payload",
            r#"{"type":"block_actions","trigger_id":"1","api_app_id":"A1","team":{"id":"T1"}}"#,
        )
        .finish();
    let headers = slack_signature(APP_SECRET, &form, now());
    let api = Api::router(world.router.clone())
        .header("content-type", "application/x-www-form-urlencoded");
    let api = headers.iter().fold(api, |api, (name, value)| api.header(name, value));
    api.raw(Method::POST, "/v1/hooks/slack", form.into()).await.expect(200);

    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 2);
    let fired = world.engine().await.take(2).await;
    assert!(fired.iter().all(|event| event.data.trigger_id == id));
    let forged = post(&world, "slack", &[], &event.to_string()).await;
    assert_eq!(forged.refusal(), (401, "bad_signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn github_and_stripe_name_the_installation_and_the_account() {
    let world = World::start().await;
    let installation = GITHUB_INSTALLATION.to_string();
    let github = of_app(&world, "github", &installation, GITHUB_TOKEN).await;
    let stripe = of_app(&world, "stripe", "acct_1", "stripe-acct_1").await;
    proven(&world, github).await;
    proven(&world, stripe).await;

    let push = json!({ "ref": "main", "installation": { "id": GITHUB_INSTALLATION } }).to_string();
    let signature = format!("sha256={}", mac(&push));
    let headers = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "push"),
        ("x-github-delivery", "g1"),
    ];
    post(&world, "github", &headers, &push).await.expect(200);
    let paid = json!({ "id": "evt_1", "account": "acct_1", "created": now() }).to_string();
    let signature = format!("t={},v1={}", now(), mac(&format!("{}.{paid}", now())));
    post(&world, "stripe", &[("stripe-signature", &signature)], &paid).await.expect(200);

    let fired = world.engine().await.take(2).await;
    let mut systems: Vec<&str> = fired.iter().map(|event| event.data.system.as_str()).collect();
    systems.sort_unstable();
    assert_eq!(systems, ["github", "stripe"]);
    let keys: Vec<_> = fired.iter().filter_map(|event| event.data.dedupe_key.clone()).collect();
    assert!(keys.contains(&"g1".to_owned()) && keys.contains(&"evt_1".to_owned()), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_one_account_both_get_what_happens_there() {
    let world = World::start().await;
    let other = Trust::new().owner();
    let id = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, id).await;
    // The same trigger once more, of another tenant.
    let (tenant, user) = (other.tenant.uuid(), other.user.uuid());
    run(
        &world,
        &format!(
            "create temporary table copy as select gen_random_uuid() as t, gen_random_uuid() as s;
             insert into eventsvc.source (source_id, tenant_id, system, credential_id, options, options_key)
                 select copy.s, '{tenant}', system, credential_id, options, options_key from copy, eventsvc.source;
             insert into eventsvc.source_cursor (source_id, tenant_id, position)
                 select copy.s, '{tenant}', position from copy, eventsvc.source_cursor;
             insert into eventsvc.trigger (trigger_id, tenant_id, source_id, system, target_kind, target_id, options,
                     owner_id, scope)
                 select copy.t, '{tenant}', copy.s, system, target_kind, target_id, options, '{user}', scope
                 from copy, eventsvc.trigger"
        ),
    )
    .await;

    slack(&world, &said("Ev1", "T1")).await.expect(200);

    let fired = world.engine().await.take(2).await;
    let mut tenants: Vec<_> = fired.iter().map(|event| event.tenant).collect();
    tenants.sort();
    let mut expected = vec![world.owner.tenant, other.tenant];
    expected.sort();
    assert_eq!(tenants, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_with_an_app_is_refused_by_name() {
    let world = World::start().await;
    let refusal = async |system: &str, options: Value| {
        let body = json!({ "system": system, "agent_id": world.agent, "options": options,
            "credential_id": world.credential(json!({ "access_token": "t" })) });
        let refused = world.mine().post("/v1/triggers", &body).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{}", refused.text);
        refused.body["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };

    let app = json!({ "account": "1" });
    assert_eq!(refusal("webhook", json!({ "app": app })).await, "/options/app");
    assert_eq!(
        refusal("slack", json!({ "app": { "account": "a b" } })).await,
        "/options/app/account"
    );
    let rate = json!({ "app": app, "rate": { "limit": 1 } });
    assert_eq!(refusal("slack", rate).await, "/options/rate");
    let hook = json!({ "app": app, "reconcile": { "hook": "orgs/o/hooks/1" } });
    assert_eq!(refusal("github", hook).await, "/options/reconcile/hook");
    let none = json!({ "system": "slack", "agent_id": world.agent, "options": { "app": app } });
    let none = world.mine().post("/v1/triggers", &none).await;
    assert_eq!(none.body["errors"][0]["pointer"], "/credential_id");
    let unknown = post(&world, "timer", &[], "{}").await;
    assert_eq!(unknown.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_shown_by_a_bot_of_the_app_that_delivers_and_by_nobody_else() {
    let world = World::start().await;
    for (token, why) in [
        ("person-T1", "it is a person's token, not a bot's"),
        ("blind-T1", "it lacks the scope `users:read`"),
        ("bot-T2", "it does not open the account T1"),
        ("none", "invalid_auth"),
    ] {
        let id = of_app(&world, "slack", "T1", token).await;
        let refused = until(&world, id, "a refusal", |l| l["failures"] == 1).await;
        assert_eq!(refused["last_error"], format!("the credential is refused: {why}"));
    }
    // Anybody's app may have a bot there; it hears what it is told itself, and nothing of ours.
    let other = of_app(&world, "slack", "T1", "other-T1").await;
    let ours = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, other).await;
    proven(&world, ours).await;

    slack(&world, &said("Ev1", "T1")).await.expect(200);

    let fired = world.engine().await.take(1).await.remove(0);
    assert_eq!(fired.data.trigger_id, ours);
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_shown_by_who_owns_its_account_and_not_by_who_sees_a_repository() {
    let world = World::start().await;
    let (organization, own) =
        (GITHUB_INSTALLATION.to_string(), GITHUB_OWN_INSTALLATION.to_string());
    for (account, login) in [(&organization, "octo-org"), (&own, "octocat")] {
        let member = of_app(&world, "github", account, GITHUB_MEMBER_TOKEN).await;
        let refused = until(&world, member, "a refusal", |l| l["failures"] == 1).await;
        let why = format!(
            "the credential is refused: who it belongs to is no owner of `{login}`, where the installation {account} is"
        );
        assert_eq!(refused["last_error"], why);
        let owner = of_app(&world, "github", account, GITHUB_TOKEN).await;
        proven(&world, owner).await;
    }
    let nowhere = of_app(&world, "github", "1", GITHUB_TOKEN).await;
    let refused = until(&world, nowhere, "a refusal", |l| l["failures"] == 1).await;
    assert_eq!(refused["last_error"], "the credential is refused: it does not open the account 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_shown_while_its_system_is_paused_so_that_what_comes_is_held() {
    let world = World::start().await;
    let pause = format!(
        "insert into eventsvc.system_pause (tenant_id, system, why, paused_by)
             values ('{}', 'slack', 'they have an outage', 'user:ann')",
        world.owner.tenant.uuid()
    );
    run(&world, &pause).await;
    let id = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, id).await;

    slack(&world, &said("Ev1", "T1")).await.expect(200);

    let held = "select count(*) from eventsvc.firing where status = 'held'";
    assert_eq!(world.count(held).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortcut_that_does_not_say_whose_it_is_goes_to_who_has_shown_a_bot_of_the_app_that_signs()
 {
    let world = World::start().await;
    let other = of_app(&world, "slack", "T1", "other-T1").await;
    let ours = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, other).await;
    proven(&world, ours).await;
    let shortcut = json!({ "type": "shortcut", "trigger_id": "1", "callback_id": "ask",
        "team": { "id": "T1", "domain": "acme" } });

    slack(&world, &shortcut).await.expect(200);

    let fired = world.engine().await.take(1).await.remove(0);
    assert_eq!(fired.data.trigger_id, ours);
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_was_shown_before_apps_were_asked_for_is_believed_until_it_is_shown_anew()
{
    let world = World::start().await;
    let id = of_app(&world, "slack", "T1", "bot-T1").await;
    proven(&world, id).await;
    rest(&world, id).await;
    let shown = async |hours: u32| {
        let sql = format!(
            "update eventsvc.source_cursor set position = position - 'app' || jsonb_build_object(
                 'proven_at', now() - interval '{hours} hours')"
        );
        run(&world, &sql).await;
    };

    shown(5).await;
    slack(&world, &said("Ev1", "T1")).await.expect(200);
    shown(7).await;
    slack(&world, &said("Ev2", "T1")).await.expect(200);
    assert_eq!(payloads(&world).await, [said("Ev1", "T1")]);

    shown(1).await;
    look(&world, id).await;
    until(&world, id, "it to be shown anew", |l| l["cursor"]["app"] == SLACK_APP).await;
}
