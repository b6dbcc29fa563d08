//! The engine over servers of its own, and more engine processes beside it that can be killed.

mod peers;

use std::collections::BTreeMap;

use engine::{Config, CrashPoints};
use serde_json::Value;
use servicekit::caller::SUBJECT_TOKEN;
use servicekit::{Env, Lifecycle};
use shared_models::Service;
use testkit::{Api, Person, TestDb, TestNats, Trust};
use tokio::runtime::Runtime;

use peers::Peers;

/// How long a process that says nothing keeps its runs.
const LEASE: &str = "SWITCHYARD_WORKER_LEASE_MS";
/// Of one that tests do not kill: long, or on a busy machine others would take its runs.
const LASTING: &str = "10000";
/// Of one that they do: short, so that its death is noticed within a test's patience.
const SHORT: &str = "2500";

/// Lets tools reach servers of the test.
const LOCAL: (&str, &str) = ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1");

pub(crate) struct TestApp {
    pub(crate) db: TestDb,
    pub(crate) nats: TestNats,
    pub(crate) router: axum::Router,
    /// The same as a client, without a token.
    pub(crate) api: Api,
    pub(crate) openapi: Value,
    pub(crate) trust: Trust,
    pub(crate) life: Lifecycle,
    /// The other services.
    pub(crate) peers: Peers,
    vars: BTreeMap<String, String>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.life.shutdown();
        self.life.hard().cancel();
    }
}

impl TestApp {
    /// One whose tools may reach this machine.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[LOCAL]).await
    }

    /// With these settings besides the usual ones.
    pub(crate) async fn start_with(vars: &[(&str, &str)]) -> Self {
        let db = TestDb::new("engine", &engine::MIGRATOR).await;
        let nats = TestNats::start().await;
        let trust = Trust::new();
        let peers = Peers::start(&trust).await;
        let mut all = settings(&db, &nats, &peers.url());
        all.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let life = Lifecycle::new();
        let engine = engine::open(&config(leased(&all, LASTING)), &life).await.unwrap();
        let (router, api) = (engine.router.clone(), Api::router(engine.router));
        let openapi = serde_json::to_value(engine::openapi()).unwrap();
        Self { db, nats, router, api, openapi, trust, life, peers, vars: all }
    }

    /// An engine that answers requests but takes no runs: those are for its nodes.
    pub(crate) async fn without_workers() -> Self {
        Self::start_with(&[LOCAL, ("SWITCHYARD_RUN_SLOTS", "0")]).await
    }

    pub(crate) fn person(&self, person: &Person) -> Api {
        self.api.acting(person, Service::Engine)
    }

    /// A service in its own name.
    pub(crate) fn service(&self, from: Service, person: &Person) -> Api {
        let token = self.trust.service_token(from, Service::Engine, person.tenant, "a test", None);
        self.api.token(&token)
    }

    /// A service that acts for a person.
    pub(crate) fn on_behalf(&self, from: Service, person: &Person) -> Api {
        self.service(from, person).header(SUBJECT_TOKEN, &person.token(from))
    }

    /// Another engine on the same database and bus that answers requests but takes no runs.
    pub(crate) async fn beside(&self) -> Api {
        let mut all = leased(&self.vars, LASTING);
        all.insert("SWITCHYARD_RUN_SLOTS".into(), "0".into());
        Api::router(engine::open(&config(all), &self.life).await.unwrap().router)
    }

    /// Another engine process on the same database and bus, which takes runs.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(&[]).await
    }

    pub(crate) async fn node_with(&self, vars: &[(&str, &str)]) -> Node {
        let mut all = self.vars.clone();
        all.remove("SWITCHYARD_RUN_SLOTS");
        all.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Node::begin(config(leased(&all, SHORT))).await
    }

    /// One whose runs stop where they are told to.
    pub(crate) async fn node_watched(&self, points: &CrashPoints) -> Node {
        let mut all = self.vars.clone();
        all.remove("SWITCHYARD_RUN_SLOTS");
        // On a busy machine a short lease would lapse, and runs would stop for another reason.
        all.insert(LEASE.into(), "120000".into());
        let mut config = config(all);
        config.runs.crash_points = points.clone();
        Node::begin(config).await
    }
}

/// An engine process: a runtime of its own, so that it can end between any two instructions.
pub(crate) struct Node {
    runtime: Option<Runtime>,
    life: Lifecycle,
}

impl Node {
    async fn begin(config: Config) -> Self {
        tokio::task::spawn_blocking(move || Self::start(&config)).await.unwrap()
    }

    fn start(config: &Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let life = Lifecycle::new();
        runtime.block_on(engine::open(config, &life)).unwrap();
        Self { runtime: Some(runtime), life }
    }

    /// Ends it as `kill -9` would: nothing is released, nothing is said.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// How many tasks it has.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.as_ref().unwrap().metrics().num_alive_tasks()
    }

    /// Stops it as an orchestrator would, and waits until it has let go of everything.
    pub(crate) async fn drain(mut self) {
        self.life.shutdown();
        self.life.wait(std::time::Duration::from_secs(10)).await.unwrap();
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// With this lease unless another one is said.
fn leased(vars: &BTreeMap<String, String>, lease: &str) -> BTreeMap<String, String> {
    let mut vars = vars.clone();
    vars.entry(LEASE.into()).or_insert_with(|| lease.into());
    vars
}

fn config(vars: BTreeMap<String, String>) -> Config {
    let mut env = Env::from_map(vars);
    let config = Config::read(&mut env);
    env.finish().unwrap();
    config
}

fn settings(db: &TestDb, nats: &TestNats, peers: &str) -> BTreeMap<String, String> {
    use secrecy::ExposeSecret as _;
    let (database, bus) = (db.config("engine"), nats.config(Service::Engine));
    let jwks = format!("{peers}/internal/jwks");
    [
        ("SWITCHYARD_DATABASE_URL", database.app_url.expose_secret().to_owned()),
        ("SWITCHYARD_DATABASE_SYSTEM_URL", database.system_url.expose_secret().to_owned()),
        ("SWITCHYARD_DATABASE_CONNECTIONS", "6".into()),
        ("SWITCHYARD_NATS_URL", bus.url.clone()),
        ("SWITCHYARD_NATS_PASSWORD", bus.password.expose_secret().to_owned()),
        ("SWITCHYARD_JWKS_URL", jwks),
        ("SWITCHYARD_SERVICE_KEY", Trust::seed(Service::Engine)),
        ("SWITCHYARD_CREDSVC_URL", peers.into()),
        ("SWITCHYARD_EVENTSVC_URL", peers.into()),
        ("SWITCHYARD_GATEWAY_INTERNAL_URL", peers.into()),
        ("SWITCHYARD_SWEEP_MS", "100".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
