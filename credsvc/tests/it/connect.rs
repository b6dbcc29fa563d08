//! Connecting an account, from the link to the first secret that an agent gets.

use serde_json::{Value, json};
use shared_models::{AgentId, Role};
use sqlx::Connection as _;
use testkit::{
    Api, Idp, Person, Reply,
    idp::{CLIENT_ID, CLIENT_SECRET, Mood},
};
use url::Url;

use crate::{
    harness::{TestApp, ask, at, resolve_path},
    revocations::{in_the_way, waiting},
};

/// A tenant with a client registered at a local provider.
pub(crate) struct Connected {
    pub(crate) app: TestApp,
    pub(crate) idp: Idp,
    pub(crate) owner: Person,
    pub(crate) client: String,
    pub(crate) agent: AgentId,
}

impl Connected {
    pub(crate) async fn ready() -> Self {
        Self::ready_with(&[]).await
    }

    pub(crate) async fn ready_with(vars: &[(&str, &str)]) -> Self {
        let (app, idp) = (TestApp::start_with(vars).await, Idp::start().await);
        let owner = app.trust.owner();
        let client = register(&app, &owner, &idp).await;
        Self { app, idp, owner, client, agent: AgentId::mint() }
    }

    /// With an account that is connected, and an agent that may use it.
    pub(crate) async fn with_account() -> (Self, String) {
        let this = Self::ready().await;
        let id = this.connect(json!({})).await;
        this.app.granted(&this.owner, &id, this.agent).await;
        (this, id)
    }

    /// The link of a new session.
    pub(crate) async fn link(&self, more: Value) -> (String, String) {
        let mut body = json!({ "oauth_client_id": self.client });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let api = self.app.person(&self.owner);
        let made = api.post("/v1/connect_sessions", &body).await.expect(201);
        let url: Url = made["url"].as_str().unwrap().parse().unwrap();
        (made["connect_session_id"].as_str().unwrap().into(), url.path().to_owned())
    }

    /// Opens a link in a browser: where it leads, and the browser.
    pub(crate) async fn open(&self, link: &str) -> (Url, Api) {
        let reply = self.app.api.get(link).await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        let cookie = reply.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        let browser = self.app.api.header("cookie", cookie);
        (reply.header("location").unwrap().parse().unwrap(), browser)
    }

    /// Somebody connects their account.
    pub(crate) async fn connect(&self, more: Value) -> String {
        let (session, link) = self.link(more).await;
        let (way, browser) = self.open(&link).await;
        let code = self.idp.approve(&way);
        let reply = back(&browser, &way, &code).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let path = format!("/v1/connect_sessions/{session}");
        let seen = self.app.person(&self.owner).get(&path).await.expect(200);
        assert_eq!(seen["status"], "connected");
        seen["credential_id"].as_str().unwrap().to_owned()
    }

    /// The agent asks for the secret.
    pub(crate) async fn lease(&self, id: &str) -> Reply {
        let body = ask(self.agent, self.owner.user);
        self.app.engine(&self.owner).post(&resolve_path(id), &body).await
    }

    pub(crate) async fn view(&self, id: &str) -> Value {
        let path = format!("{}?user_id={}", at(&self.owner, id), self.owner.user);
        self.app.person(&self.owner).get(&path).await.expect(200)
    }
}

async fn register(app: &TestApp, owner: &Person, idp: &Idp) -> String {
    let body = json!({
        "name": "local", "provider": "generic", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "settings": idp.settings(),
    });
    let made = app.person(owner).post("/v1/oauth-clients", &body).await.expect(201);
    assert_eq!(made["redirect_url"], "http://127.0.0.1:8080/v1/oauth/callback");
    made["oauth_client_id"].as_str().unwrap().to_owned()
}

/// Back from the provider.
pub(crate) async fn back(browser: &Api, way: &Url, code: &str) -> Reply {
    let state = way.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    browser.get(&format!("/v1/oauth/callback?code={code}&state={state}")).await
}

#[tokio::test]
async fn an_account_is_connected_by_a_link_and_its_agent_gets_the_access_token_alone() {
    let (this, id) = Connected::with_account().await;

    let leased = this.lease(&id).await.expect(200);

    assert_eq!(leased["credentials"], json!({ "access_token": this.idp.newest() }));
    assert_eq!(leased["type"], "oauth2");
    let shown = this.view(&id).await;
    assert_eq!(shown["health"], "ok");
    assert_eq!(shown["connection"]["scopes"], json!(["read", "write"]));
    assert_eq!(this.app.emitted().await, ["credential.created"]);
    let trail = this.app.trail(&this.owner, &id).await;
    assert_eq!(trail, ["connect ok -", "grant ok -", "resolve ok -", "read ok -"]);
}

#[tokio::test]
async fn a_state_is_good_once_in_the_browser_that_opened_the_link() {
    let this = Connected::ready().await;
    let (_, link) = this.link(json!({})).await;
    let (way, browser) = this.open(&link).await;
    let code = this.idp.approve(&way);
    let gone = (404, "connect_session_not_found");

    let other = back(&this.app.api, &way, &code).await;
    let (_, stranger) = this.open(&this.link(json!({})).await.1).await;
    let strangers = back(&stranger, &way, &code).await;
    let forged = browser.get(&format!("/v1/oauth/callback?code={code}&state=x")).await;
    let right = back(&browser, &way, &code).await;
    let again = back(&browser, &way, &code).await;
    let reopened = this.app.api.get(&link).await;

    assert_eq!((other.refusal(), strangers.refusal(), forged.refusal()), (gone, gone, gone));
    assert_eq!(right.status, 200);
    assert_eq!((again.refusal(), reopened.refusal()), (gone, gone));
    assert_eq!(this.idp.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_come_back_with_one_state_at_once_one_gets_the_account() {
    let this = Connected::ready().await;
    let (way, browser) = this.open(&this.link(json!({})).await.1).await;
    let code = this.idp.approve(&way);

    let all = (0..20).map(|_| back(&browser, &way, &code));
    let mut statuses: Vec<u16> =
        futures::future::join_all(all).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();

    assert_eq!((statuses[0], &statuses[1..]), (200, &[404; 19][..]));
    assert_eq!(this.idp.asked(), 1);
    assert_eq!(this.app.emitted().await, ["credential.created"]);
}

#[tokio::test]
async fn a_session_that_is_over_opens_nothing_and_takes_nobody_back() {
    let this = Connected::ready().await;
    let (opened, unopened) = (this.link(json!({})).await.1, this.link(json!({})).await.1);
    let (way, browser) = this.open(&opened).await;
    let code = this.idp.approve(&way);
    this.app.tamper("update credsvc.connect_session set expires_at = now()").await;
    let gone = (404, "connect_session_not_found");

    assert_eq!(this.app.api.get(&unopened).await.refusal(), gone);
    assert_eq!(back(&browser, &way, &code).await.refusal(), gone);
    assert_eq!(this.idp.asked(), 0);
}

#[tokio::test]
async fn a_link_that_is_opened_again_makes_the_older_state_worthless() {
    let this = Connected::ready().await;
    let (_, link) = this.link(json!({})).await;
    let (older, first) = this.open(&link).await;
    let (newer, second) = this.open(&link).await;

    let late = back(&first, &older, &this.idp.approve(&older)).await;
    let right = back(&second, &newer, &this.idp.approve(&newer)).await;

    assert_eq!(late.refusal(), (404, "connect_session_not_found"));
    assert_eq!(right.status, 200, "{}", right.text);
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_to_the_session_and_the_page() {
    let this = Connected::ready().await;
    let return_url = "https://app.example/done?a=b";
    let (session, link) = this.link(json!({ "return_url": return_url })).await;
    let (way, browser) = this.open(&link).await;
    let state = way.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();

    let reply = browser.get(&format!("/v1/oauth/callback?error=access_denied&state={state}")).await;

    assert_eq!(reply.status, 303, "{}", reply.text);
    assert_eq!(reply.header("location"), Some("https://app.example/done?a=b&status=failed"));
    let path = format!("/v1/connect_sessions/{session}");
    let seen = this.app.person(&this.owner).get(&path).await.expect(200);
    assert_eq!((&seen["status"], &seen["reason"]), (&json!("failed"), &json!("not_connected")));
    assert_eq!(this.idp.asked(), 0);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_believed() {
    let this = Connected::ready().await;
    let (way, browser) = this.open(&this.link(json!({})).await.1).await;
    let code = this.idp.approve(&way);
    let state = way.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();

    let path = format!("/v1/oauth/callback?code={code}&state={state}&iss=https://evil.example");
    let reply = browser.get(&path).await;

    assert_eq!((reply.status, this.idp.asked()), (400, 0));
}

#[tokio::test]
async fn a_connection_that_broke_is_connected_again_under_the_same_id() {
    let (this, id) = Connected::with_account().await;
    this.idp.forget_everybody();
    this.app.tamper("update credsvc.credential set token_expires_at = now()").await;
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_needs_reconnect"));

    let again = this.connect(json!({ "credential_id": id })).await;

    assert_eq!(again, id);
    assert_eq!(this.lease(&id).await.expect(200)["credentials"]["access_token"], this.idp.newest());
    assert_eq!(this.view(&id).await["health"], "ok");
    assert_eq!(
        this.app.emitted().await,
        [
            "credential.created",
            "credential.health_changed",
            "credential.updated",
            "credential.health_changed"
        ]
    );
}

#[tokio::test]
async fn revoking_ends_leases_at_once_and_tells_the_provider() {
    let (this, id) = Connected::with_account().await;
    this.lease(&id).await.expect(200);

    let path = format!("/v1/credentials/{id}/revoke");
    let revoked = this.app.person(&this.owner).post(&path, &json!({})).await.expect(200);

    assert_eq!(revoked["provider"], "revoked");
    assert_eq!(this.idp.revoked(), 1);
    assert_eq!(this.lease(&id).await.refusal(), (409, "credential_revoked"));
    assert_eq!(this.view(&id).await["health"], "revoked");
}

#[tokio::test]
async fn sessions_and_clients_that_make_no_sense_are_refused_by_field() {
    let this = Connected::ready().await;
    let (api, rival) = (this.app.person(&this.owner), this.app.trust.owner());
    let member = this.app.person(&this.owner.colleague(Role::Member));
    let session = |more: Value| {
        let mut body = json!({ "oauth_client_id": this.client });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };

    for (body, pointer) in [
        (json!({}), "/oauth_client_id"),
        (session(json!({ "type": "github_api" })), "/type"),
        (session(json!({ "scopes": ["a b"] })), "/scopes"),
        (session(json!({ "return_url": "javascript:alert(1)" })), "/return_url"),
        (session(json!({ "expires_in": 5 })), "/expires_in"),
        (session(json!({ "allowed_hosts": ["http://x"] })), "/allowed_hosts/0"),
    ] {
        let reply = api.post("/v1/connect_sessions", &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{body}: {}", reply.text);
        assert_eq!(reply.body["errors"][0]["pointer"], pointer, "{body}");
    }
    let shared = member.post("/v1/connect_sessions", &session(json!({ "user_id": null }))).await;
    assert_eq!(shared.refusal(), (403, "not_allowed"));
    let foreign = this.app.person(&rival).post("/v1/connect_sessions", &session(json!({}))).await;
    assert_eq!(foreign.refusal(), (404, "oauth_client_not_found"));
    let client = |provider: &str, settings: Value| json!({ "name": "n", "provider": provider, "client_id": "i", "client_secret": "s", "settings": settings });
    for (body, pointer) in [
        (client("myspace", json!({})), "/provider"),
        (client("generic", json!({})), "/settings/authorize_url"),
        (client("google", json!({ "token_url": "ftp://x/" })), "/settings/token_url"),
        (client("google", json!({ "colour": "red" })), "/settings"),
    ] {
        let reply = api.post("/v1/oauth-clients", &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{body}: {}", reply.text);
        assert_eq!(reply.body["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn the_platforms_client_is_for_every_tenant_and_only_its_administrators() {
    let this = Connected::ready().await;
    let mut body = json!({
        "name": "everybodys", "provider": "generic", "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET, "settings": this.idp.settings(), "platform": true,
    });
    let admin = this.owner.platform_admin();
    let other = this.app.trust.owner();

    let plain = this.app.person(&this.owner).post("/v1/oauth-clients", &body).await;
    let made = this.app.person(&admin).post("/v1/oauth-clients", &body).await.expect(201);
    let id = made["oauth_client_id"].as_str().unwrap();
    let (api, path) = (this.app.person(&other), format!("/v1/oauth-clients/{id}"));
    body["name"] = json!("mine");

    assert_eq!(plain.refusal(), (403, "scope_missing"));
    let seen = api.get("/v1/oauth-clients").await;
    assert_eq!(seen.body["items"][0]["name"], "everybodys");
    assert!(!seen.text.contains(CLIENT_SECRET), "{}", seen.text);
    assert_eq!(api.delete(&path).await.refusal(), (404, "oauth_client_not_found"));
    let session = json!({ "oauth_client_id": id });
    api.post("/v1/connect_sessions", &session).await.expect(201);
    // A code that the provider does not know any more: the client itself is let in.
    this.idp.will([Mood::Says(400, json!({ "error": "invalid_grant" }))]);
    assert_eq!(this.app.person(&this.owner).delete(&path).await.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn an_account_that_broke_while_it_was_connected_again_is_well_and_told_to_be() {
    let (this, id) = Connected::with_account().await;
    let (_, link) = this.link(json!({ "credential_id": id })).await;
    let (way, browser) = this.open(&link).await;
    let code = this.idp.approve(&way);
    let lock = "select from credsvc.tenant_key for no key update";
    let (key, pid) = in_the_way(&this.app, lock).await;

    let broke = async {
        waiting(&this.app, 1, pid).await;
        this.app.tamper("update credsvc.credential set health = 'needs_reconnect'").await;
        key.close().await.unwrap();
    };
    let (reply, ()) = tokio::join!(back(&browser, &way, &code), broke);

    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(this.view(&id).await["health"], "ok");
    let mut told = this.app.emitted().await;
    told.sort_unstable();
    assert_eq!(told, ["credential.created", "credential.health_changed", "credential.updated"]);
}
