//! Access tokens against a provider that is strict, slow and unwell: one renewal per expiry, whoever asks, and a
//! connection is only lost when it is really lost.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use serde_json::json;
use servicekit::Lifecycle;
use shared_models::{RunId, Service};
use sqlx::Connection as _;
use testkit::{Api, Reply, eventually, idp::Mood};

use crate::{
    connect::Connected,
    harness::{ask, of, resolve_path},
    revocations::{in_the_way, waiting},
    secrecy::Captured,
};

const ENDED: &str = "update credsvc.credential set token_expires_at = now()";
const DUE: &str = "update credsvc.credential set refresh_due_at = now()";

/// Three processes, and 200 leases at once through all of them.
struct Replicas<'a> {
    this: &'a Connected,
    doors: [Api; 3],
    id: &'a str,
    _lives: [Lifecycle; 2],
}

impl<'a> Replicas<'a> {
    async fn of(this: &'a Connected, id: &'a str) -> Self {
        let (second, a) = this.app.replica().await;
        let (third, b) = this.app.replica().await;
        let (tenant, run) = (this.owner.tenant, Some(RunId::mint()));
        let (engine, credsvc) = (Service::Engine, Service::Credsvc);
        let token = this.app.trust.service_token(engine, credsvc, tenant, "a test", run);
        let doors = [&this.app.api, &second, &third].map(|api| api.token(&token));
        Self { this, doors, id, _lives: [a, b] }
    }

    async fn lease(&self) -> Vec<Reply> {
        let (path, body) = (resolve_path(self.id), ask(self.this.agent, self.this.owner.user));
        join_all((0..200).map(|n| self.doors[n % 3].post(&path, &body))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_replicas_under_two_hundred_leases_renew_once_per_expiry_whatever_goes_wrong() {
    let (this, id) = Connected::with_account().await;
    let replicas = Replicas::of(&this, &id).await;
    this.idp.grant_grace();

    for (round, (what, moods)) in [
        ("nothing", vec![]),
        ("slowness", vec![Mood::Slow(Duration::from_millis(100))]),
        ("a 500", vec![Mood::Says(500, json!({ "error": "invalid_grant" }))]),
        (
            "a 200 with an error",
            vec![Mood::Says(200, json!({ "error": "temporarily_unavailable" }))],
        ),
        ("a lost answer, with grace", vec![Mood::Loses]),
        ("silence", vec![Mood::Silent]),
        ("a clock that is an hour wrong", vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        if what.starts_with("a clock") {
            this.idp.set_clock_wrong_by(3600);
        }
        this.app.tamper(ENDED).await;
        this.idp.will(moods);
        let leases = replicas.lease().await.into_iter().map(|reply| reply.expect(200));
        let tokens: BTreeSet<String> =
            leases.map(|lease| lease["credentials"]["access_token"].to_string()).collect();

        assert_eq!(this.idp.refreshes(), round + 1, "{what}");
        assert_eq!(tokens.len(), 1, "{what}: {tokens:?}");
        assert_eq!(this.view(&id).await["health"], "ok", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_replicas_say_at_once_that_a_lost_answer_without_grace_needs_a_reconnect() {
    let (this, id) = Connected::with_account().await;
    let replicas = Replicas::of(&this, &id).await;
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Loses]);
    let before = this.idp.asked();

    let refusals: BTreeSet<(u16, String)> = replicas
        .lease()
        .await
        .iter()
        .map(|reply| (reply.status, reply.code().to_owned()))
        .collect();

    assert_eq!(refusals, [(409, "credential_needs_reconnect".to_owned())].into());
    assert_eq!(this.idp.asked() - before, 2, "once lost, once to see that it is used up");
    let told = this.app.emitted().await;
    assert_eq!(told, ["credential.created", "credential.health_changed"], "it is told once");
}

#[tokio::test]
async fn a_provider_that_is_unwell_keeps_its_connections() {
    let (this, id) = Connected::with_account().await;

    for (what, moods) in [
        ("a 500", vec![Mood::Says(500, json!({ "error": "invalid_grant" }))]),
        ("a 503 page", vec![Mood::Says(503, json!("<html>")), Mood::Says(502, json!({}))]),
        (
            "a 200 with an error",
            vec![Mood::Says(200, json!({ "error": "temporarily_unavailable" }))],
        ),
        ("a 200 with nothing", vec![Mood::Says(200, json!({}))]),
        ("a limit", vec![Mood::Says(429, json!({ "error": "slow_down" }))]),
        ("slowness", vec![Mood::Slow(Duration::from_millis(300))]),
    ] {
        this.app.tamper(ENDED).await;
        this.idp.will(moods);

        let lease = this.lease(&id).await;

        assert_eq!(lease.status, 200, "{what}: {}", lease.text);
        assert_eq!(lease.body["credentials"]["access_token"], this.idp.newest(), "{what}");
    }
    assert_eq!(this.view(&id).await["health"], "ok");
}

#[tokio::test]
async fn a_provider_that_stays_unwell_is_said_to_be_and_left_alone_for_a_while() {
    let (this, id) = Connected::with_account().await;
    let before = this.idp.asked();
    this.app.tamper(ENDED).await;
    this.idp.will((0..3).map(|_| Mood::Says(500, json!({}))));

    let first = this.lease(&id).await;
    let asked = this.idp.asked() - before;
    this.app
        .tamper("update credsvc.credential set refresh_due_at = now() + interval '1 hour'")
        .await;
    let second = this.lease(&id).await;
    this.app.tamper(DUE).await;
    let third = this.lease(&id).await;

    assert_eq!(first.refusal(), (503, "provider_unavailable"));
    assert!(first.header("retry-after").is_some());
    assert_eq!(second.refusal(), (503, "provider_unavailable"));
    assert_eq!((asked, this.idp.asked() - before), (3, 4));
    third.expect(200);
}

#[tokio::test]
async fn a_token_with_some_life_left_is_given_out_while_its_provider_is_down() {
    let (this, id) = Connected::with_account().await;
    let old = this.idp.newest();
    this.app
        .tamper("update credsvc.credential set token_expires_at = now() + interval '20 seconds'")
        .await;
    this.idp.will((0..3).map(|_| Mood::Says(500, json!({}))));

    let lease = this.lease(&id).await.expect(200);

    assert_eq!(lease["credentials"]["access_token"], old);
}

#[tokio::test]
async fn a_lost_answer_is_recovered_within_the_providers_grace() {
    let (this, id) = Connected::with_account().await;
    this.idp.grant_grace();
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Loses]);

    let lease = this.lease(&id).await.expect(200);

    assert_eq!(lease["credentials"]["access_token"], this.idp.newest());
    assert_eq!(this.idp.refreshes(), 1);
    this.app.tamper(ENDED).await;
    this.lease(&id).await.expect(200);
}

#[tokio::test]
async fn a_lost_answer_without_grace_needs_a_reconnect_at_once() {
    let (this, id) = Connected::with_account().await;
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Loses]);

    let lease = this.lease(&id).await;

    assert_eq!(lease.refusal(), (409, "credential_needs_reconnect"));
    let shown = this.view(&id).await;
    assert_eq!(
        (&shown["health"], &shown["health_reason"]),
        (&json!("needs_reconnect"), &json!("invalid_grant"))
    );
    let asked = this.idp.asked();
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_needs_reconnect"));
    assert_eq!(this.idp.asked(), asked);
    assert_eq!(this.app.emitted().await, ["credential.created", "credential.health_changed"]);
}

#[tokio::test]
async fn a_silent_provider_costs_its_timeout_and_not_the_connection() {
    let (this, id) = Connected::with_account().await;
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Silent]);

    this.lease(&id).await.expect(200);

    assert_eq!(this.idp.refreshes(), 1);
}

#[tokio::test]
async fn a_provider_whose_clock_is_an_hour_wrong_is_understood() {
    let (this, id) = Connected::with_account().await;
    this.idp.set_clock_wrong_by(3600);
    this.app.tamper(ENDED).await;

    this.lease(&id).await.expect(200);

    let left = "select round(extract(epoch from token_expires_at - now()) / 60)::text from credsvc.credential";
    assert_eq!(this.app.peek(left).await.as_deref(), Some("60"));
}

#[tokio::test]
async fn a_renewal_is_due_at_four_fifths_of_a_tokens_life_and_at_least_daily() {
    let (this, id) = Connected::with_account().await;
    let due = "select round(extract(epoch from refresh_due_at - now()) / 60)::text from credsvc.credential";
    assert_eq!(this.app.peek(due).await.as_deref(), Some("48"));
    this.idp.set_expires_in(30 * 24 * 3600);
    this.app.tamper(ENDED).await;

    this.lease(&id).await.expect(200);

    assert_eq!(this.app.peek(due).await.as_deref(), Some("1440"));
}

#[tokio::test]
async fn a_renewal_that_is_due_is_done_without_anybody_asking() {
    let (this, id) = Connected::with_account().await;
    this.app.app.tend().await.unwrap();
    assert_eq!(this.idp.refreshes(), 0);
    this.app.tamper(DUE).await;

    this.app.app.tend().await.unwrap();
    this.app.app.tend().await.unwrap();

    assert_eq!(this.idp.refreshes(), 1);
    this.idp.forget_everybody();
    this.app.tamper(DUE).await;
    this.app.app.tend().await.unwrap();
    assert_eq!(this.view(&id).await["health"], "needs_reconnect");
    let broken = format!("{}?health=needs_reconnect", of(&this.owner));
    let broken = this.app.person(&this.owner).get(&broken).await.expect(200);
    assert_eq!(broken["items"][0]["credential_id"], id);
}

#[tokio::test]
async fn health_follows_expiry_and_tells_of_it() {
    let this = Connected::ready().await;
    let body = json!({ "credentials": { "token": "t" }, "expires_at": "2020-01-01T00:00:00Z" });
    let id = this.app.stored(&this.owner, &body).await;

    let mut seen = Vec::new();
    for change in [
        "update credsvc.credential set expires_at = now()",
        "update credsvc.credential set expires_at = now() + interval '3 days'",
        "update credsvc.credential set expires_at = now() + interval '30 days'",
    ] {
        this.app.tamper(change).await;
        this.app.app.tend().await.unwrap();
        this.app.app.tend().await.unwrap();
        seen.push(this.view(&id).await["health"].clone());
    }

    assert_eq!(seen, [json!("expired"), json!("expiring"), json!("ok")]);
    let told = this.app.emitted().await;
    assert_eq!(told.iter().filter(|name| name.ends_with("health_changed")).count(), 3);
}

#[tokio::test]
async fn a_late_failure_of_who_lost_the_lease_counts_nothing() {
    let (this, id) = Connected::with_account().await;
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Silent, Mood::Says(400, json!({ "error": "invalid_grant" }))]);
    let before = this.idp.asked();

    let taken_over = async {
        eventually("the provider to be asked", async || (this.idp.asked() > before).then_some(()))
            .await;
        let over = "update credsvc.credential set refresh_fence = refresh_fence + 1, refresh_lease_until = null";
        this.app.tamper(over).await;
    };
    let (lease, ()) = tokio::join!(this.lease(&id), taken_over);

    assert_eq!(lease.refusal(), (503, "unavailable"));
    assert_eq!(this.view(&id).await["health"], "ok");
    this.lease(&id).await.expect(200);
}

#[tokio::test]
async fn a_client_of_its_own_gets_tokens_when_they_are_needed_and_never_shows_its_secret() {
    let this = Connected::ready().await;
    let secret = testkit::idp::CLIENT_SECRET;
    let body = json!({
        "type": "oauth2_client_credentials",
        "credentials": {
            "token_url": format!("{}/token", this.idp.url()),
            "client_id": testkit::idp::CLIENT_ID, "client_secret": secret,
        },
    });
    let id = this.app.stored(&this.owner, &body).await;
    this.app.granted(&this.owner, &id, this.agent).await;

    let first = this.lease(&id).await.expect(200);
    let again = this.lease(&id).await.expect(200);
    let api = this.app.person(&this.owner);
    let wrong = json!({ "credentials": { "client_secret": "another-secret-0123456789" } });
    let path = format!("{}/{id}", of(&this.owner));
    api.patch(&path, &wrong).await.expect(200);
    let refused = this.lease(&id).await;
    assert_eq!(this.view(&id).await["health_reason"], "invalid_client");
    let right = json!({ "credentials": { "client_secret": secret } });
    let right = api.patch(&path, &right).await.expect(200);
    assert_eq!((&right["health"], &right["health_reason"]), (&json!("ok"), &json!(null)));

    assert_eq!(first["credentials"], json!({ "access_token": this.idp.newest() }));
    assert_eq!(first["credentials"], again["credentials"]);
    assert_eq!(refused.refusal(), (409, "credential_needs_reconnect"));
    this.lease(&id).await.expect(200);
}

#[tokio::test]
async fn no_token_is_in_any_table_or_log_in_plaintext() {
    let (logs, _capturing) = Captured::all();
    let (this, id) = Connected::with_account().await;
    this.app.tamper(ENDED).await;
    this.idp.will([Mood::Loses]);
    this.lease(&id).await;
    let dump = "select string_agg(t, ' ') from (
        select c::text as t from credsvc.credential c union all select s::text from credsvc.connect_session s
        union all select p::text from credsvc.provider_config p union all select a::text from credsvc.audit a
        union all select o::text from credsvc.outbox o union all select i::text from credsvc.idempotency i) as rows";

    let dump = this.app.peek(dump).await.unwrap();

    let logs = logs.text();
    assert!(dump.contains("oauth2"), "the dump is of nothing");
    assert!(logs.contains("credsvc"), "nothing was logged");
    for secret in this.idp.secrets().iter().map(String::as_str).chain([testkit::idp::CLIENT_SECRET])
    {
        assert!(!dump.contains(secret) && !logs.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_token_that_comes_back_to_a_connection_that_was_given_up_heals_it_and_tells_so() {
    let (this, id) = Connected::with_account().await;
    this.app.tamper(DUE).await;
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, pid) = in_the_way(&this.app, lock).await;

    let given_up = async {
        // The token is here, and not yet stored.
        waiting(&this.app, 1, pid).await;
        let by_another =
            "update credsvc.credential set health = 'needs_reconnect', refresh_due_at = null";
        this.app.tamper(by_another).await;
        key.close().await.unwrap();
    };
    let (tended, ()) = tokio::join!(this.app.app.tend(), given_up);

    tended.unwrap();
    assert_eq!(this.view(&id).await["health"], "ok");
    assert_eq!(this.app.emitted().await, ["credential.created", "credential.health_changed"]);
}
