//! A root key in a real OpenBao.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use credsvc::rotation::Keyring;
use serde_json::{Value, json};
use shared_models::AgentId;
use testkit::{Api, Person, Reply, eventually};

use crate::{
    bao::Bao,
    harness::{SECRET, TestApp, ask, config, resolve_path},
};

/// A service under a root key of the server's, which asks it for a tenant's key each time, and what it keeps.
struct Under {
    app: TestApp,
    me: Person,
    agent: AgentId,
    id: String,
}

fn vars<'a>(bao: &'a Bao, token: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", &bao.url),
        ("SWITCHYARD_VAULT_TOKEN", token),
        ("SWITCHYARD_KEY_CACHE_SECONDS", "0"),
    ]
}

impl Under {
    async fn start(vars: &[(&str, &str)]) -> Self {
        let app = TestApp::start_with(vars).await;
        let (me, agent) = (app.trust.owner(), AgentId::mint());
        let id = app.own(&me).await;
        app.granted(&me, &id, agent).await;
        Self { app, me, agent, id }
    }

    async fn lease(&self) -> Reply {
        let body = ask(self.agent, self.me.user);
        self.app.engine(&self.me).post(&resolve_path(&self.id), &body).await
    }

    async fn opens(&self) {
        assert_eq!(self.lease().await.expect(200)["credentials"]["token"], SECRET);
    }

    /// The lease is refused for want of the root key, and readiness says why.
    async fn is_away(&self, why: &str) {
        let refused = self.lease().await;
        assert_eq!(refused.refusal(), (503, "root_key_unavailable"), "{}", refused.text);
        assert!(refused.text.contains(why), "{}", refused.text);
        assert!(refused.header("retry-after").is_some());
    }

    async fn is_not_ready(&self, why: &str) {
        let ready = self.app.api.get("/readyz").await;
        assert_eq!(ready.status, 503, "{}", ready.text);
        assert!(ready.text.contains(why), "{}", ready.text);
    }
}

/// What the server itself gave for the key of the newest tenant.
async fn newest_text(app: &TestApp) -> String {
    let newest = "select wrapped from credsvc.tenant_key order by created_at desc limit 1";
    let text = app.peek(newest).await.unwrap();
    let theirs = text.strip_prefix("sy:v1:").unwrap_or_else(|| panic!("{text}"));
    String::from_utf8(URL_SAFE_NO_PAD.decode(theirs).unwrap()).unwrap()
}

const SWAP: &str = "update credsvc.tenant_key a set wrapped = b.wrapped from credsvc.tenant_key b
    where a.tenant_id <> b.tenant_id";

#[tokio::test]
async fn a_root_key_in_openbao_seals_and_opens_through_every_change_of_it() {
    let bao = Bao::start().await;
    let token = bao.token(&bao.root).await;
    let under = Under::start(&vars(&bao, &token)).await;

    under.opens().await;
    under.app.api.get("/readyz").await.expect(200);
    assert!(newest_text(&under.app).await.starts_with("vault:v1:"));
    // Its own rotation is none of our business: what is older still opens.
    bao.of_key("rotate", &json!({})).await;
    let second = under.app.trust.owner();
    under.app.own(&second).await;
    assert!(newest_text(&under.app).await.starts_with("vault:v2:"));
    under.opens().await;
    // Another tenant's row does not open there: what it is bound to says whose it is.
    under.app.tamper(SWAP).await;
    let swapped = under.lease().await;
    assert_eq!(swapped.refusal(), (500, "credential_unreadable"), "{}", swapped.text);
    under.app.tamper(SWAP).await;
    under.opens().await;

    bao.of_key("config", &json!({ "min_decryption_version": 2 })).await;
    under.is_away("disallowed by policy (too old)").await;
    bao.of_key("config", &json!({ "min_decryption_version": 1 })).await;
    under.opens().await;
}

#[tokio::test]
async fn an_openbao_that_is_sealed_limited_or_gone_is_said_to_be_and_used_again_afterwards() {
    let mut bao = Bao::start().await;
    let token = bao.token(&bao.root).await;
    let under = Under::start(&vars(&bao, &token)).await;

    bao.seal().await;
    under.is_away("HTTP 503 Vault is sealed").await;
    under.is_not_ready("it is sealed").await;
    bao.unseal().await;
    under.opens().await;
    let quota = json!({ "path": "transit/", "rate": 1, "interval": "1h" });
    bao.root.put("/v1/sys/quotas/rate-limit/few", &quota).await.expect(204);
    under.opens().await;
    under.is_away("rate limit quota exceeded").await;
    bao.root.delete("/v1/sys/quotas/rate-limit/few").await.expect(204);
    under.opens().await;
    bao.kill();
    under.is_away("the transit engine").await;
    under.is_not_ready("the transit engine").await;
}

#[tokio::test]
async fn a_token_of_openbao_is_renewed_before_it_ends_and_missed_when_it_is_taken_away() {
    let bao = Bao::start().await;
    let token = bao.token(&bao.root).await;
    let left = async || bao.look_up(&token).await.expect(200)["data"]["ttl"].as_u64().unwrap();
    let own = bao.anybody().header("x-vault-token", &token);
    own.post("/v1/auth/token/renew-self", &json!({ "increment": "600s" })).await.expect(200);
    assert!(left().await <= 600);
    let under = Under::start(&vars(&bao, &token)).await;

    under.app.app.tend_keys().await;
    assert!(left().await > 600, "it was not renewed");

    bao.root.post("/v1/auth/token/revoke", &json!({ "token": token })).await.expect(204);
    assert_eq!(bao.look_up(&token).await.status, 403);
    under.is_away("HTTP 403 permission denied").await;
    let wrong = credsvc::App::open(
        &config(&vars(&bao, &token)),
        under.app.store.clone(),
        under.app.trust.verifier(shared_models::Service::Credsvc),
    )
    .await;
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("HTTP 403 permission denied"), "{error}");
}

#[tokio::test]
async fn a_token_of_openbao_that_an_agent_writes_into_a_file_is_taken_from_there_each_time() {
    let bao = Bao::start().await;
    let (first, dir) = (bao.token(&bao.root).await, tempfile::tempdir().unwrap());
    let path = dir.path().join("token");
    std::fs::write(&path, &first).unwrap();
    let vars = [
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", &*bao.url),
        ("SWITCHYARD_VAULT_TOKEN_FILE", path.to_str().unwrap()),
        ("SWITCHYARD_KEY_CACHE_SECONDS", "0"),
    ];
    let under = Under::start(&vars).await;
    under.opens().await;

    bao.root.post("/v1/auth/token/revoke", &json!({ "token": first })).await.expect(204);
    under.is_away("HTTP 403 permission denied").await;
    std::fs::write(&path, bao.token(&bao.root).await).unwrap();

    under.opens().await;
    under.app.api.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_service_logs_in_to_openbao_by_its_role_and_again_when_its_token_is_taken_away() {
    let bao = Bao::start().await;
    bao.root.post("/v1/sys/auth/approle", &json!({ "type": "approle" })).await.expect(204);
    let role = json!({ "token_policies": ["switchyard"], "token_ttl": "1h" });
    bao.root.post("/v1/auth/approle/role/credsvc", &role).await.expect(204);
    let role_id = bao.root.get("/v1/auth/approle/role/credsvc/role-id").await.expect(200);
    let made = bao.root.post("/v1/auth/approle/role/credsvc/secret-id", &json!({})).await;
    let (made, dir) = (made.expect(200), tempfile::tempdir().unwrap());
    let path = dir.path().join("secret-id");
    std::fs::write(&path, made["data"]["secret_id"].as_str().unwrap()).unwrap();
    let vars = [
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", &*bao.url),
        ("SWITCHYARD_VAULT_AUTH", "approle"),
        ("SWITCHYARD_VAULT_ROLE_ID", role_id["data"]["role_id"].as_str().unwrap()),
        ("SWITCHYARD_VAULT_SECRET_ID_FILE", path.to_str().unwrap()),
        ("SWITCHYARD_KEY_CACHE_SECONDS", "0"),
    ];
    let under = Under::start(&vars).await;
    under.opens().await;
    under.app.app.tend_keys().await;
    under.app.api.get("/readyz").await.expect(200);

    // Every token that was given to who logged in ends at once.
    let prefix = "/v1/sys/leases/revoke-prefix/auth/approle/login";
    bao.root.put(prefix, &json!({})).await.expect(204);
    let logins = "/v1/sys/leases/lookup/auth/approle/login?list=true";
    eventually("every login to have ended", async || {
        (bao.root.get(logins).await.status == 404).then_some(())
    })
    .await;
    under.opens().await;
    bao.root.get(logins).await.expect(200);

    std::fs::write(&path, "not-it").unwrap();
    let wrong = credsvc::App::open(
        &config(&vars),
        under.app.store.clone(),
        under.app.trust.verifier(shared_models::Service::Credsvc),
    )
    .await;
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("logging in at auth/approle: HTTP 400 invalid"), "{error}");
}

#[tokio::test]
async fn keys_are_moved_from_a_file_to_a_namespace_of_openbao_while_secrets_stay_readable() {
    let bao = Bao::start().await;
    bao.root.post("/v1/sys/namespaces/blue", &json!({})).await.expect(200);
    let blue = bao.root.header("x-vault-namespace", "blue");
    bao.engine(&blue).await;
    let token = bao.token(&blue).await;
    let under = Under::start(&[]).await;
    let both = format!("2=vault:switchyard,1=file:{}", under.app.root_key());
    let open = async |roots: &str, namespace: &str| {
        let vars = [
            ("SWITCHYARD_ROOT_KEYS", roots),
            ("SWITCHYARD_VAULT_ADDR", &*bao.url),
            ("SWITCHYARD_VAULT_TOKEN", &*token),
            ("SWITCHYARD_VAULT_NAMESPACE", namespace),
        ];
        Keyring::open(&config(&vars), under.app.store.clone()).await
    };

    let rotated = open(&both, "blue").await.unwrap().rotate_root().await.unwrap();

    assert_eq!(rotated.rewrapped, 1);
    let found = open("2=vault:switchyard", "blue").await.unwrap().verify().await.unwrap();
    assert_eq!((found.opened, found.broken.len()), (1, 0));
    let elsewhere = open("2=vault:switchyard", "green").await.unwrap_err().to_string();
    assert!(elsewhere.contains("HTTP 40"), "{elsewhere}");
    let plain: Value = blue.get("/v1/transit/keys/switchyard").await.expect(200);
    assert_eq!(plain["data"]["exportable"], false, "the root key never leaves");
    // The server knows the wrapped key only by what it was given to wrap.
    let shown: Api = bao.anybody().header("x-vault-namespace", "blue");
    assert_eq!(shown.get("/v1/transit/keys/switchyard").await.status, 403);
}
