//! How a service is let in by a transit engine: by a token in a file that somebody keeps new, or by logging in. A stand-in, for
//! what a real one does not do when it is told to; `openbao.rs` has a real one.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use credsvc::App;
use futures::future::join_all;
use serde_json::{Value, json};
use shared_models::{AgentId, Service};
use testkit::{Answer, Person, Reply, Stub, Stubbed, eventually};

use crate::{
    harness::{TestApp, ask, config, resolve_path},
    vaults::{Kept, transit_for},
};

/// Seconds that a token is good for.
const LIFE: usize = 100_000;

/// A stand-in that lets in who shows the newest token, and gives a new one to who logs in with what it expects.
pub(crate) struct Porter {
    pub(crate) stub: Stub,
    token: Arc<Mutex<String>>,
    /// The seconds that tokens say they have left.
    left: Arc<AtomicUsize>,
    /// How the next logins are answered, right or wrong.
    unwell: Arc<Mutex<VecDeque<u16>>>,
}

impl Porter {
    pub(crate) async fn start(login: &'static str, shown: Value) -> Self {
        let (kept, logins) = (Kept::default(), AtomicUsize::new(0));
        let token = Arc::new(Mutex::new("s.first".to_owned()));
        let left = Arc::new(AtomicUsize::new(LIFE));
        let (newest, seconds) = (token.clone(), left.clone());
        let unwell: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let statuses = unwell.clone();
        let stub = Stub::start(move |request: &Stubbed| {
            let mut token = newest.lock().unwrap();
            if request.path == login {
                if let Some(status) = statuses.lock().unwrap().pop_front() {
                    // Rude enough to send back what it was sent.
                    let sent = String::from_utf8_lossy(&request.body);
                    let errors = json!([format!("come back later, {sent}")]);
                    return Answer::Json(status, json!({ "errors": errors }));
                }
                if request.json() != shown {
                    return Answer::Json(400, json!({ "errors": ["invalid role or secret ID"] }));
                }
                *token = format!("s.login{}", logins.fetch_add(1, Ordering::SeqCst) + 1);
                let auth =
                    json!({ "client_token": *token, "lease_duration": LIFE, "renewable": false });
                return Answer::Json(200, json!({ "auth": auth }));
            }
            if request.path == "/v1/auth/token/lookup-self"
                && request.header("x-vault-token") == *token
            {
                let ttl = seconds.load(Ordering::SeqCst);
                let data = json!({ "ttl": ttl, "creation_ttl": LIFE, "renewable": false });
                return Answer::Json(200, json!({ "data": data }));
            }
            transit_for(&token, &kept, request)
        });
        Self { stub: stub.await, token, left, unwell }
    }

    /// From now on this token is good, and no other.
    pub(crate) fn wants(&self, token: &str) {
        token.clone_into(&mut self.token.lock().unwrap());
    }

    /// The next logins are answered like this.
    pub(crate) fn will(&self, statuses: impl IntoIterator<Item = u16>) {
        self.unwell.lock().unwrap().extend(statuses);
    }

    fn hits(&self, path: &str) -> usize {
        self.stub.hits(path)
    }

    /// The token that was shown last to open something.
    fn shown(&self) -> String {
        let requests = self.stub.requests();
        let last = requests.iter().rev().find(|request| request.path.contains("/decrypt/"));
        last.unwrap().header("x-vault-token").to_owned()
    }
}

/// Somebody with a credential, and an agent that may use it.
pub(crate) struct Holder {
    me: Person,
    agent: AgentId,
    id: String,
}

impl Holder {
    pub(crate) async fn of(app: &TestApp) -> Self {
        let (me, agent) = (app.trust.owner(), AgentId::mint());
        let id = app.own(&me).await;
        app.granted(&me, &id, agent).await;
        Self { me, agent, id }
    }

    pub(crate) async fn lease(&self, app: &TestApp) -> Reply {
        let asked = ask(self.agent, self.me.user);
        app.engine(&self.me).post(&resolve_path(&self.id), &asked).await
    }
}

/// With the root key in Vault, which is asked for a tenant's key each time.
pub(crate) fn vars<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", url),
        ("SWITCHYARD_KEY_CACHE_SECONDS", "0"),
    ];
    [&usual, more].concat()
}

async fn open_again(app: &TestApp, vars: &[(&str, &str)]) -> Result<(), String> {
    let verifier = app.trust.verifier(Service::Credsvc);
    let opened = App::open(&config(vars), app.store.clone(), verifier).await;
    opened.map(drop).map_err(|error| error.to_string())
}

pub(crate) fn write(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, path).unwrap();
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_when_it_changes_and_when_the_old_one_is_refused() {
    let porter = Porter::start("", Value::Null).await;
    let (url, dir) = (porter.stub.url(), tempfile::tempdir().unwrap());
    let path = dir.path().join("token");
    write(&path, "s.first\n");
    let vars = vars(&url, &[("SWITCHYARD_VAULT_TOKEN_FILE", path.to_str().unwrap())]);
    let app = TestApp::start_with(&vars).await;
    let holder = Holder::of(&app).await;
    holder.lease(&app).await.expect(200);

    // The old one is good for nothing any more: nobody waits for the next turn.
    porter.wants("s.second");
    write(&path, "s.second\n");
    holder.lease(&app).await.expect(200);
    assert_eq!(porter.shown(), "s.second");
    // It is taken in without being refused first.
    porter.wants("s.third");
    write(&path, "s.third");
    app.app.tend_keys().await;
    let refused = porter.stub.requests().len();
    holder.lease(&app).await.expect(200);
    assert_eq!((porter.shown(), porter.stub.requests().len()), ("s.third".into(), refused + 1));

    // While it is away the token that there was is still good.
    std::fs::remove_file(&path).unwrap();
    app.app.tend_keys().await;
    holder.lease(&app).await.expect(200);
    app.api.get("/readyz").await.expect(200);
    porter.wants("s.fourth");
    let refused = holder.lease(&app).await;
    assert_eq!(refused.refusal(), (503, "root_key_unavailable"));
    let why = "SWITCHYARD_VAULT_TOKEN_FILE: No such file";
    assert!(refused.text.contains(why), "{}", refused.text);
    let unready = app.api.get("/readyz").await;
    assert!(unready.status == 503 && unready.text.contains(why), "{}", unready.text);
    assert!(!refused.text.contains(path.to_str().unwrap()), "{}", refused.text);
    write(&path, "s.fourth");
    holder.lease(&app).await.expect(200);
}

#[tokio::test]
async fn a_file_without_a_token_stops_the_start_of_a_service_with_secrets() {
    let porter = Porter::start("", Value::Null).await;
    let (url, dir) = (porter.stub.url(), tempfile::tempdir().unwrap());
    let path = dir.path().join("token");
    let vars = vars(&url, &[("SWITCHYARD_VAULT_TOKEN_FILE", path.to_str().unwrap())]);
    write(&path, "s.first");
    let app = TestApp::start_with(&vars).await;
    Holder::of(&app).await;

    for (text, expected) in [
        ("\n", "is empty"),
        ("s.first s.second", "holds more than that"),
        ("s.wrong", "HTTP 403 permission denied"),
    ] {
        write(&path, text);
        let error = open_again(&app, &vars).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s.first"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(open_again(&app, &vars).await.unwrap_err().contains("No such file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pod_logs_in_with_its_own_token_once_for_all_who_wait_and_again_before_it_ends() {
    const LOGIN: &str = "/v1/auth/kubernetes/login";
    let porter = Porter::start(LOGIN, json!({ "role": "credsvc", "jwt": "e.y.J" })).await;
    let (url, dir) = (porter.stub.url(), tempfile::tempdir().unwrap());
    let jwt = dir.path().join("jwt");
    write(&jwt, "e.y.J\n");
    let vars = vars(
        &url,
        &[
            ("SWITCHYARD_VAULT_AUTH", "kubernetes"),
            ("SWITCHYARD_VAULT_ROLE", "credsvc"),
            ("SWITCHYARD_VAULT_JWT_FILE", jwt.to_str().unwrap()),
        ],
    );
    let app = TestApp::start_with(&vars).await;
    let mut holders = Vec::new();
    for _ in 0..8 {
        holders.push(Holder::of(&app).await);
    }
    assert_eq!(porter.hits(LOGIN), 1);

    // The token is taken away: each tenant's key is asked for, and one logs in.
    porter.wants("somebody else's");
    let leases = join_all(holders.iter().map(|holder| holder.lease(&app))).await;
    assert!(leases.iter().all(|lease| lease.status == 200));
    assert_eq!(porter.hits(LOGIN), 2);
    // A right that is missing is not had by logging in again and again.
    porter.wants("somebody else's");
    let refused = holders[0].lease(&app).await;
    assert_eq!(refused.refusal(), (503, "root_key_unavailable"));
    assert!(refused.text.contains("HTTP 403 permission denied"), "{}", refused.text);
    assert_eq!(porter.hits(LOGIN), 2);
    porter.wants("s.login2");

    // Little is left of it, and it cannot be renewed.
    app.app.tend_keys().await;
    assert_eq!(porter.hits(LOGIN), 2);
    porter.left.store(LIFE / 5, Ordering::SeqCst);
    let second = TestApp::start_with(&vars).await;
    second.app.tend_keys().await;
    second.app.tend_keys().await;
    assert_eq!(porter.hits(LOGIN), 4, "as it began, and when little was left");
    Holder::of(&second).await.lease(&second).await.expect(200);
    assert_eq!(porter.shown(), "s.login4");
}

#[tokio::test]
async fn a_login_that_is_refused_is_said_to_be_by_readiness_and_as_a_service_with_secrets_starts() {
    const LOGIN: &str = "/v1/auth/other/login";
    let porter = Porter::start(LOGIN, json!({ "role_id": "r", "secret_id": "right" })).await;
    let url = porter.stub.url();
    let with = |secret| {
        let more = [
            ("SWITCHYARD_VAULT_AUTH", "approle"),
            ("SWITCHYARD_VAULT_AUTH_MOUNT", "other"),
            ("SWITCHYARD_VAULT_ROLE_ID", "r"),
            ("SWITCHYARD_VAULT_SECRET_ID", secret),
        ];
        vars(&url, &more)
    };
    let expected = "logging in at auth/other: HTTP 400 invalid role or secret ID";

    let unready = TestApp::start_with(&with("wrong")).await;
    let ready = unready.api.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains(expected), "{}", ready.text);
    let app = TestApp::start_with(&with("right")).await;
    Holder::of(&app).await.lease(&app).await.expect(200);
    let error = open_again(&app, &with("wrong")).await.unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn a_login_that_goes_wrong_once_shuts_nobody_out_for_longer() {
    const LOGIN: &str = "/v1/auth/approle/login";
    for nobody_asks in [false, true] {
        let porter = Porter::start(LOGIN, json!({ "role_id": "r", "secret_id": "right" })).await;
        let url = porter.stub.url();
        let more = [
            ("SWITCHYARD_VAULT_AUTH", "approle"),
            ("SWITCHYARD_VAULT_ROLE_ID", "r"),
            ("SWITCHYARD_VAULT_SECRET_ID", "right"),
        ];
        let app = TestApp::start_with(&vars(&url, &more)).await;
        // Who only says that there is too much to do is asked again.
        porter.will([429]);
        let holder = Holder::of(&app).await;
        holder.lease(&app).await.expect(200);
        assert_eq!(porter.hits(LOGIN), 2);

        porter.wants("somebody else's");
        porter.will([503]);
        let refused = holder.lease(&app).await;
        let unready = app.api.get("/readyz").await;

        assert_eq!(refused.refusal(), (503, "root_key_unavailable"));
        let why = "logging in at auth/approle: HTTP 503 come back later";
        assert!(refused.text.contains(why), "{}", refused.text);
        assert!(unready.status == 503 && unready.text.contains(why), "{}", unready.text);
        eventually("to be let in again", async || {
            if nobody_asks {
                app.app.tend_keys().await;
                return (app.api.get("/readyz").await.status == 200).then_some(());
            }
            (holder.lease(&app).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(porter.hits(LOGIN), 4, "nobody tries again during the pause");
        app.api.get("/readyz").await.expect(200);
        holder.lease(&app).await.expect(200);
    }
}

#[tokio::test]
async fn an_engine_that_answers_nonsense_is_said_to_be_away() {
    let porter = Porter::start("", Value::Null).await;
    let url = porter.stub.url();
    let app = TestApp::start_with(&vars(&url, &[("SWITCHYARD_VAULT_TOKEN", "s.first")])).await;
    let holder = Holder::of(&app).await;
    let stub = Stub::start(|_| Answer::Json(200, json!(["nonsense"]))).await;
    let elsewhere = stub.url();

    for more in [
        vec![("SWITCHYARD_VAULT_TOKEN", "s.first")],
        vec![
            ("SWITCHYARD_VAULT_AUTH", "approle"),
            ("SWITCHYARD_VAULT_ROLE_ID", "r"),
            ("SWITCHYARD_VAULT_SECRET_ID", "s"),
        ],
    ] {
        let error = open_again(&app, &vars(&elsewhere, &more)).await.unwrap_err();
        assert!(error.contains("the transit engine:"), "{error}");
    }
    holder.lease(&app).await.expect(200);
}
