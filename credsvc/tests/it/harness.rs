//! The service over a database of its own, and the people and services that call it.

use std::collections::BTreeMap;

use credsvc::{App, Config, LedgerTask, Tasks};
use dbutil::Db;
use serde_json::{Value, json};
use servicekit::{Env, Lifecycle, caller::SUBJECT_TOKEN};
use shared_models::{AgentId, RunId, Service, UserId};
use testkit::{Api, Person, TestDb, Trust};
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "correct-horse-battery-staple-7x9z";

pub(crate) struct TestApp {
    pub(crate) db: TestDb,
    pub(crate) store: Db,
    pub(crate) api: Api,
    pub(crate) openapi: Value,
    pub(crate) trust: Trust,
    pub(crate) life: Lifecycle,
    /// To do once what the service does by itself.
    pub(crate) app: App,
    keys: tempfile::TempDir,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.life.hard().cancel();
    }
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(vars: &[(&str, &str)]) -> Self {
        let (app, ledger) = Self::without_ledger(vars).await;
        app.life.spawn("ledger", ledger.run(app.life.soft()));
        app
    }

    /// Whose audit is not being written until somebody runs the task.
    pub(crate) async fn without_ledger(vars: &[(&str, &str)]) -> (Self, LedgerTask) {
        let db = TestDb::new("credsvc", &credsvc::MIGRATOR).await;
        let keys = tempfile::tempdir().unwrap();
        let (store, trust) = (db.db("credsvc").await, Trust::new());
        let (app, openapi, tasks) = open(&keys, &store, &trust, vars).await;
        let api = Api::router(credsvc::router(app.clone(), CancellationToken::new()).0);
        let life = Lifecycle::new();
        life.spawn("renewals", tasks.renewals.run(life.soft()));
        (Self { db, store, api, openapi, trust, life, app, keys }, tasks.ledger)
    }

    /// A second process over the same database, and what ends it at once.
    pub(crate) async fn replica(&self) -> (Api, Lifecycle) {
        let store = self.db.db("credsvc").await;
        let (app, _, tasks) = open(&self.keys, &store, &self.trust, &[]).await;
        let api = Api::router(credsvc::router(app, CancellationToken::new()).0);
        let life = Lifecycle::new();
        life.spawn("ledger", tasks.ledger.run(self.life.soft()));
        life.spawn("renewals", tasks.renewals.run(self.life.soft()));
        (api, life)
    }

    /// The root key's file.
    pub(crate) fn root_key(&self) -> String {
        self.keys.path().join("root.key").display().to_string()
    }

    /// The first value of a statement's first row, as text, for somebody who is not bound by the service's rules.
    pub(crate) async fn peek(&self, statement: &'static str) -> Option<String> {
        let mut admin = self.db.admin().await;
        let found: Option<Option<String>> =
            sqlx::query_scalar(statement).fetch_optional(&mut admin).await.unwrap();
        found.flatten()
    }

    pub(crate) fn person(&self, person: &Person) -> Api {
        self.api.acting(person, Service::Credsvc)
    }

    /// A service in its own name.
    pub(crate) fn service(&self, from: Service, person: &Person, run: Option<RunId>) -> Api {
        let token = self.trust.service_token(from, Service::Credsvc, person.tenant, "a test", run);
        self.api.token(&token)
    }

    /// The engine, working on some run of the person's tenant.
    pub(crate) fn engine(&self, person: &Person) -> Api {
        self.service(Service::Engine, person, Some(RunId::mint()))
    }

    /// A service that acts for a person.
    pub(crate) fn on_behalf(&self, from: Service, person: &Person) -> Api {
        self.service(from, person, None).header(SUBJECT_TOKEN, &person.token(from))
    }

    /// Stores a credential and gives its id.
    pub(crate) async fn stored(&self, person: &Person, body: &Value) -> String {
        let made = self.person(person).post(&of(person), body).await.expect(201);
        made["credential_id"].as_str().unwrap().to_owned()
    }

    /// A credential of the person's own.
    pub(crate) async fn own(&self, person: &Person) -> String {
        self.stored(person, &json!({ "credentials": { "token": SECRET } })).await
    }

    /// A credential of the tenant's, stored by an administrator.
    pub(crate) async fn shared(&self, admin: &Person) -> String {
        self.stored(admin, &json!({ "user_id": null, "credentials": { "token": SECRET } })).await
    }

    /// Lets an agent of `owner` use a credential, as the engine does when `owner` saves the agent.
    pub(crate) async fn granted(&self, owner: &Person, credential: &str, agent: AgentId) {
        let body = grant(credential, agent, owner.user);
        self.on_behalf(Service::Engine, owner).post("/internal/grants", &body).await.expect(201);
    }

    /// The names of the events in the outbox, oldest first.
    pub(crate) async fn emitted(&self) -> Vec<String> {
        let mut admin = self.db.admin().await;
        sqlx::query_scalar(
            "select envelope ->> 'type' from credsvc.outbox order by created_at, message_id",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap()
    }

    /// Runs a statement as somebody who is not bound by the service's rules.
    pub(crate) async fn tamper(&self, statement: &'static str) {
        let mut admin = self.db.admin().await;
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }

    /// `action outcome reason` of each audit entry about a credential, oldest first.
    pub(crate) async fn trail(&self, admin: &Person, credential: &str) -> Vec<String> {
        let path = format!("/v1/credential-audit?limit=100&credential={credential}");
        let page = self.person(admin).get(&path).await.expect(200);
        let line = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("action"), text("outcome"), text("reason"))
        };
        page["items"].as_array().unwrap().iter().rev().map(line).collect()
    }
}

async fn open(
    keys: &tempfile::TempDir,
    store: &Db,
    trust: &Trust,
    vars: &[(&str, &str)],
) -> (App, Value, Tasks) {
    let root_key = keys.path().join("root.key").display().to_string();
    // Local servers stand in for the outside; a test that waits for one that is silent does not wait long.
    let ours = [
        ("SWITCHYARD_ROOT_KEY_FILE", &*root_key),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
        ("SWITCHYARD_OAUTH_TIMEOUT_SECONDS", "2"),
    ];
    let vars = [&ours[..], vars].concat();
    let verifier = trust.verifier(Service::Credsvc);
    let (app, tasks) = App::open(&config(&vars), store.clone(), verifier).await.unwrap();
    (app, serde_json::to_value(credsvc::openapi()).unwrap(), tasks)
}

pub(crate) fn config(vars: &[(&str, &str)]) -> Config {
    let vars: BTreeMap<String, String> =
        vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::read(&mut Env::from_map(vars))
}

/// The collection of a person's tenant.
pub(crate) fn of(person: &Person) -> String {
    format!("/tenant/{}/credentials", person.tenant)
}

/// One credential of a person's tenant.
pub(crate) fn at(person: &Person, credential: &str) -> String {
    format!("{}/{credential}", of(person))
}

pub(crate) fn grant(credential: &str, agent: AgentId, owner: UserId) -> Value {
    json!({ "credential_id": credential, "grantee": { "kind": "agent", "id": agent }, "owner": owner })
}

pub(crate) fn ask(agent: AgentId, owner: UserId) -> Value {
    json!({
        "grantee": { "kind": "agent", "id": agent }, "owner": owner,
        "purpose": "tool weather", "host": "api.example.com",
    })
}

pub(crate) fn resolve_path(credential: &str) -> String {
    format!("/internal/credentials/{credential}/resolve")
}
