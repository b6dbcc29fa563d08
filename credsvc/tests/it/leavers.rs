//! Whoever leaves a tenant: what was theirs, and what they had only begun, is nobody's any more.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use credsvc::start;
use pubsub::OutboxRow;
use serde_json::{Value, json};
use servicekit::Lifecycle;
use shared_models::{MessageId, Role, Service, UserId, events::tenant::MemberRemoved};
use sqlx::Connection as _;
use testkit::{Answer, Person, Stub, TestNats, eventually, idp::Mood};
use tokio::net::TcpListener;

use crate::{
    connect::{Connected, back},
    harness::{TestApp, config},
    revocations::{in_the_way, takes_back_at, waiting},
};

/// A process over the same database that hears what is told on the bus.
struct Heard {
    nats: TestNats,
    life: Lifecycle,
    _gateway: Stub,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.life.hard().cancel();
    }
}

impl Heard {
    async fn by(app: &TestApp) -> Self {
        let (nats, keys) = (TestNats::start().await, json!({ "keys": app.trust.public() }));
        let gateway = Stub::start(move |_| Answer::Json(200, keys.clone())).await;
        let mut config = config(&[
            ("SWITCHYARD_ROOT_KEY_FILE", &app.root_key()),
            ("SWITCHYARD_JWKS_URL", &format!("{}/internal/jwks", gateway.url())),
            ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
        ]);
        config.service.db = app.db.config("credsvc");
        config.service.nats = nats.config(Service::Credsvc);
        let (listener, life) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Lifecycle::new());
        start(config, listener, &life).await.unwrap();
        Self { nats, life, _gateway: gateway }
    }

    /// The gateway says that somebody has left.
    async fn left(&self, who: &Person, at: DateTime<Utc>, removed_by: Option<UserId>) {
        let event = MemberRemoved { user_id: who.user, removed_by };
        let row = OutboxRow::new(who.tenant, (MessageId::mint().uuid(), 0), at, &event).unwrap();
        let bus = self.nats.bus(Service::Gateway).await;
        bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap().await.unwrap();
    }
}

async fn now(app: &TestApp) -> DateTime<Utc> {
    let mut admin = app.db.admin().await;
    sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut admin).await.unwrap()
}

async fn session(this: &Connected, id: &str) -> Value {
    let path = format!("/v1/connect_sessions/{id}");
    let mut seen = this.app.person(&this.owner).get(&path).await.expect(200);
    json!([seen["status"].take(), seen["reason"].take()])
}

async fn until_revoked(this: &Connected, id: &str) {
    eventually("the credential to be revoked", async || {
        (this.view(id).await["health"] == "revoked").then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_link_of_theirs_leads_anywhere_any_more_and_the_audit_says_who_had_them_leave() {
    let (this, id) = Connected::with_account().await;
    let heard = Heard::by(&this.app).await;
    let (unopened, link) = this.link(json!({})).await;
    let (opened, again) = this.link(json!({ "credential_id": id })).await;
    let (way, browser) = this.open(&again).await;
    let code = this.idp.approve(&way);
    let (admin, asked) = (this.owner.colleague(Role::Admin), this.idp.asked());

    heard.left(&this.owner, now(&this.app).await, Some(admin.user)).await;
    until_revoked(&this, &id).await;

    let gone = (404, "connect_session_not_found");
    assert_eq!(this.app.api.get(&link).await.refusal(), gone);
    assert_eq!(back(&browser, &way, &code).await.refusal(), gone);
    assert_eq!(this.idp.asked(), asked, "no token was got");
    for ended in [&unopened, &opened] {
        assert_eq!(session(&this, ended).await, json!(["failed", "owner_left"]));
    }
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_revoked"));
    let path = "/v1/credential-audit?action=disconnect";
    let audit = this.app.person(&admin).get(path).await.expect(200);
    let first = audit["items"].as_array().unwrap().last().unwrap();
    assert_eq!(first["on_behalf_of"], json!(admin.user), "{audit}");
}

#[tokio::test]
async fn what_is_begun_after_coming_back_stays_however_late_it_is_heard_that_they_had_left() {
    let (this, id) = Connected::with_account().await;
    let heard = Heard::by(&this.app).await;
    let old = this.app.own(&this.owner).await;
    let (late, link) = this.link(json!({})).await;
    let left_at = now(&this.app).await;
    let new = this.app.own(&this.owner).await;
    let connected = this.connect(json!({})).await;
    this.connect(json!({ "credential_id": id })).await;
    // Begun before, and finished since.
    let (way, browser) = this.open(&link).await;
    assert_eq!(back(&browser, &way, &this.idp.approve(&way)).await.status, 200);
    let path = format!("/v1/connect_sessions/{late}");
    let late = this.app.person(&this.owner).get(&path).await.expect(200)["credential_id"].take();
    let (unopened, _) = this.link(json!({})).await;

    heard.left(&this.owner, left_at, None).await;
    until_revoked(&this, &old).await;

    for (credential, health) in
        [(id.as_str(), "ok"), (&new, "ok"), (&connected, "ok"), (late.as_str().unwrap(), "revoked")]
    {
        assert_eq!(this.view(credential).await["health"], health);
    }
    assert_eq!(session(&this, &unopened).await, json!(["pending", null]));
}

#[tokio::test]
async fn their_providers_are_told_until_they_have_heard() {
    let (this, id) = Connected::with_account().await;
    let asked = AtomicUsize::new(0);
    let stub = Stub::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Json(503, json!({})),
        _ => Answer::Json(200, json!({})),
    });
    let stub = stub.await;
    takes_back_at(&this, &stub, json!({ "revoke_url": "/revoke" })).await;
    let heard = Heard::by(&this.app).await;

    heard.left(&this.owner, now(&this.app).await, None).await;
    until_revoked(&this, &id).await;
    eventually("the provider to be told", async || {
        this.app.app.tend().await.unwrap();
        (stub.hits("/revoke") > 0).then_some(())
    })
    .await;
    // The pause after the first time is over.
    this.app.tamper("update credsvc.credential set tell_due_at = now()").await;
    eventually("the provider to have heard", async || {
        this.app.app.tend().await.unwrap();
        let due = "select tell_due_at::text from credsvc.credential";
        this.app.peek(due).await.is_none().then_some(())
    })
    .await;

    assert!(stub.hits("/revoke") > 1, "it had not heard the first time");
    let token = format!("token={}", this.idp.newest_refresh());
    let told = stub.requests();
    assert!(told.iter().all(|asked| asked.body.starts_with(token.as_bytes())), "{told:?}");
    let trail = this.app.trail(&this.owner, &id).await;
    let noted = trail.iter().filter(|line| *line == "disconnect ok -").count();
    assert_eq!(noted, 2, "that they left, and that the provider has heard: {trail:?}");
}

#[tokio::test]
async fn an_account_that_was_being_connected_as_they_left_is_nobodys() {
    // Long enough for any machine: what the provider says is not to be lost.
    let this = Connected::ready_with(&[("SWITCHYARD_OAUTH_TIMEOUT_SECONDS", "60")]).await;
    let heard = Heard::by(&this.app).await;
    let (_, link) = this.link(json!({})).await;
    let (way, browser) = this.open(&link).await;
    let code = this.idp.approve(&way);
    this.idp.will([Mood::Slow(Duration::from_secs(1))]);

    let left = async {
        eventually("the provider to be asked", async || (this.idp.asked() > 0).then_some(())).await;
        heard.left(&this.owner, now(&this.app).await, None).await;
    };
    tokio::join!(back(&browser, &way, &code), left);

    // Whichever came first: nothing of it is given out, and its tokens are taken back.
    eventually("its tokens to be taken back", async || {
        this.app.app.tend().await.unwrap();
        (this.idp.taken_back() == [this.idp.newest_refresh()]).then_some(())
    })
    .await;
    let left = "select string_agg(health, ' ') from credsvc.credential where health <> 'revoked'";
    assert_eq!(this.app.peek(left).await, None);
}

#[tokio::test]
async fn an_account_that_is_stored_as_it_is_heard_that_they_left_is_revoked_at_once() {
    let this = Connected::ready().await;
    let heard = Heard::by(&this.app).await;
    let (_, link) = this.link(json!({})).await;
    let (way, browser) = this.open(&link).await;
    let code = this.idp.approve(&way);
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, keys) = in_the_way(&this.app, lock).await;

    let left = async {
        // The session is held, and its credential about to be stored.
        waiting(&this.app, 1, keys).await;
        heard.left(&this.owner, now(&this.app).await, None).await;
        waiting(&this.app, 2, keys).await;
        key.close().await.unwrap();
    };
    let (reply, ()) = tokio::join!(back(&browser, &way, &code), left);

    assert_eq!(reply.status, 200, "{}", reply.text);
    eventually("it to be revoked", async || {
        let health = "select health from credsvc.credential";
        (this.app.peek(health).await.as_deref() == Some("revoked")).then_some(())
    })
    .await;
}
