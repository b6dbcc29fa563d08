//! A whole eventsvc over a fresh database and a private NATS, with stand-ins for the vault and the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::AckKind;
use axum::Router;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use eventsvc::{
    App, Apps, Config, Limits, Providers,
    intake::{Pace, System},
    verify::{Scheme, Secret, Verify},
};
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use pubsub::{Bus, topology};
use serde_json::{Value, json};
use servicekit::{AuthConfig, Lifecycle, ServiceConfig, egress::EgressPolicy};
use sha2::Sha256;
use shared_models::{
    AgentId, CredentialId, MessageId, RunId, RunMode, Service, SwarmId, TenantId, TriggerId,
    events::{Envelope, Event, run::RunRef, trigger::TriggerFired},
};
use testkit::{
    Api, Github, Gmail, GoogleKeys, Hubspot, Person, Reply, Slack, Stub, TestDb, TestNats, Trust,
    eventually, imap_ca,
};

use crate::peers::{accounts_stub, engine_stub, vault_stub};

/// Where the world believes the platform to be.
pub(crate) const PUBLIC_URL: &str = "https://hooks.example.com";

/// The account that Google pushes as.
pub(crate) const PUSH_ACCOUNT: &str = "push@project.iam.gserviceaccount.com";

/// How long fired triggers are waited for: so long, and a little more for each.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_EACH: Duration = Duration::from_millis(200);
/// How many are acknowledged at the same time.
const ACKS: usize = 64;

/// What the platform's apps sign with.
pub(crate) const APP_SECRET: &str = "app-secret";

fn apps() -> Apps {
    let systems = [System::Hubspot, System::Slack, System::Github, System::Stripe];
    let secret = || Secret { secret: APP_SECRET.into(), ..Secret::default() };
    Apps {
        secrets: systems.into_iter().map(|system| (system, secret())).collect(),
        slack_app: Some(testkit::SLACK_APP.into()),
    }
}

/// How often one address may come.
pub(crate) const PACE: Pace = Pace { per_second: 1, burst: 3 };

/// What the vault's stand-in holds.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    pub credentials: BTreeMap<String, Value>,
    pub names: BTreeSet<String>,
    pub grants: BTreeSet<(String, String)>,
    pub down: bool,
}

/// Which agents there are, and who may see them.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    pub known: BTreeMap<String, (Value, BTreeSet<String>)>,
    /// What every run did to the world.
    pub effects: Vec<Value>,
    /// Whether it did more than that.
    pub more: bool,
    pub down: bool,
}

pub(crate) struct World {
    pub life: Lifecycle,
    pub app: App,
    pub router: Router,
    pub openapi: Value,
    pub owner: Person,
    pub agent: AgentId,
    pub vault: Arc<Mutex<Vault>>,
    pub agents: Arc<Mutex<Agents>>,
    pub credsvc: Stub,
    pub db: TestDb,
    pub nats: TestNats,
    pub google: GoogleKeys,
    pub gmail: Gmail,
    pub github: Github,
    pub hubspot: Hubspot,
    _slack: Slack,
    /// Stripe's interface, as far as it says whose a token is.
    _accounts: Stub,
    _engine: Stub,
}

impl Drop for World {
    fn drop(&mut self) {
        self.life.shutdown();
    }
}

impl World {
    /// With everything running.
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let trust = Trust::new();
        let (db, nats) =
            tokio::join!(TestDb::new("eventsvc", &eventsvc::MIGRATOR), TestNats::start());
        let (vault, agents) = (Arc::<Mutex<Vault>>::default(), Arc::<Mutex<Agents>>::default());
        let credsvc = vault_stub(vault.clone()).await;
        let engine = engine_stub(agents.clone()).await;
        let google = GoogleKeys::start().await;
        let github = Github::start().await;
        let hubspot = Hubspot::start().await;
        let (slack, accounts) = (Slack::start().await, accounts_stub().await);
        let gmail = Gmail::start("ann@example.com").await;
        let config = Config {
            service: ServiceConfig {
                service: Service::Eventsvc,
                listen: ([127, 0, 0, 1], 0).into(),
                db: db.config("eventsvc"),
                nats: nats.config(Service::Eventsvc),
                relay: pubsub::RelayConfig::default(),
                auth: AuthConfig {
                    jwks_url: "http://unused.invalid".parse().unwrap(),
                    service_key: Trust::seed(Service::Eventsvc).into(),
                },
            },
            credsvc_url: credsvc.url().parse().unwrap(),
            engine_url: engine.url().parse().unwrap(),
            public_url: Some(PUBLIC_URL.parse().unwrap()),
            trusted_proxies: Vec::new(),
            pace: Some(PACE),
            egress: EgressPolicy::parse("127.0.0.1").unwrap(),
            providers: Providers {
                gmail: gmail.url().parse().unwrap(),
                github: github.url().parse().unwrap(),
                hubspot: hubspot.url().parse().unwrap(),
                slack: slack.url().parse().unwrap(),
                stripe: accounts.url().parse().unwrap(),
            },
            apps: apps(),
            imap_ca: Some(imap_ca().into()),
            gmail_push: Some(Verify {
                scheme: Scheme::GoogleOidc,
                audience: Some("switchyard".into()),
                service_account: Some(PUSH_ACCOUNT.into()),
                ..Verify::default()
            }),
            google_keys_url: google.url().parse().unwrap(),
            // Tests that need it done do it themselves, and count what they did.
            limits: Limits { housekeeping_seconds: 24 * 60 * 60, ..limits },
        };
        let life = Lifecycle::new();
        let app = eventsvc::open(&config, trust.verifier(Service::Eventsvc), &life).await.unwrap();
        eventsvc::run(&app, &life);
        let (router, openapi) = eventsvc::router(app.clone(), &life);
        let (owner, agent) = (trust.owner(), AgentId::mint());
        let world = Self {
            life,
            app,
            router,
            openapi: serde_json::to_value(openapi).unwrap(),
            owner: owner.clone(),
            agent,
            vault,
            agents,
            credsvc,
            db,
            nats,
            google,
            gmail,
            github,
            hubspot,
            _slack: slack,
            _accounts: accounts,
            _engine: engine,
        };
        world.show_agent(agent, &owner, "user");
        world
    }

    /// Lets a person see an agent.
    pub(crate) fn show_agent(&self, agent: AgentId, person: &Person, scope: &str) {
        let mut agents = self.agents.lock().unwrap();
        let team = (scope == "team").then(|| person.teams[0]);
        let shown = json!({ "agent_id": agent, "name": "a", "owner": person.user, "scope": scope,
            "team_id": team, "status": "active" });
        let known = agents.known.entry(agent.to_string()).or_insert((shown, BTreeSet::new()));
        known.1.insert(person.user.to_string());
    }

    /// Lets a person see a swarm.
    pub(crate) fn show_swarm(&self, swarm: SwarmId, person: &Person) {
        let shown = json!({ "swarm_id": swarm, "name": "s", "owner": person.user, "scope": "user",
            "team_id": null, "status": "active" });
        let may_see = BTreeSet::from([person.user.to_string()]);
        self.agents.lock().unwrap().known.insert(swarm.to_string(), (shown, may_see));
    }

    /// The API as somebody.
    pub(crate) fn api(&self, person: &Person) -> Api {
        Api::router(self.router.clone()).acting(person, Service::Eventsvc)
    }

    /// The API as the owner.
    pub(crate) fn mine(&self) -> Api {
        self.api(&self.owner)
    }

    /// A webhook trigger of the owner's, and its signing secret.
    pub(crate) async fn trigger(&self, more: Value) -> (TriggerId, String) {
        let mut body = json!({ "system": "webhook", "agent_id": self.agent });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.mine().post("/v1/triggers", &body).await.expect(201);
        let secret = made["signing_secret"].as_str().unwrap_or_default();
        (made["id"].as_str().unwrap().parse().unwrap(), secret.to_owned())
    }

    /// A trigger that anybody may fire.
    pub(crate) async fn open_trigger(&self, more: Value) -> TriggerId {
        let mut more = more;
        more["options"]["verify"] = json!({ "scheme": "none" });
        self.trigger(more).await.0
    }

    /// Delivers signed as Standard Webhooks.
    pub(crate) async fn deliver(
        &self,
        hook: TriggerId,
        secret: &str,
        id: &str,
        body: &str,
    ) -> Reply {
        let api = signed(Api::router(self.router.clone()), secret, id, body);
        let api = api.header("content-type", "application/json");
        api.raw(Method::POST, &format!("/v1/hooks/{hook}"), body.into()).await
    }

    /// Delivers JSON without a proof.
    pub(crate) async fn send(&self, hook: impl std::fmt::Display, body: &Value) -> Reply {
        Api::router(self.router.clone()).post(&format!("/v1/hooks/{hook}"), body).await
    }

    /// A delivery as the owner sees it.
    pub(crate) async fn delivery(&self, accepted: &Value) -> Value {
        let id = accepted["delivery_id"].as_str().unwrap();
        self.mine().get(&format!("/v1/deliveries/{id}")).await.expect(200)
    }

    /// A credential in the vault.
    pub(crate) fn credential(&self, fields: Value) -> String {
        let id = CredentialId::mint().to_string();
        self.vault.lock().unwrap().credentials.insert(id.clone(), fields);
        id
    }

    /// The credential of a trigger.
    pub(crate) async fn credential_of(&self, id: TriggerId) -> Value {
        self.mine().get(&format!("/triggers/{id}")).await.expect(200)["credential_id"].take()
    }

    /// A number the database knows.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.db.admin().await).await.unwrap()
    }

    pub(crate) async fn engine(&self) -> FakeEngine {
        FakeEngine { bus: self.nats.bus(Service::Engine).await }
    }

    /// Waits for a trigger's status to be as wanted.
    pub(crate) async fn status_of(
        &self,
        id: TriggerId,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(what, async || {
            let status =
                self.mine().get(&format!("/triggers/{id}")).await.expect(200)["status"].take();
            wanted(&status).then_some(status)
        })
        .await
    }
}

/// Adds the headers of Standard Webhooks, signed now.
pub(crate) fn signed(api: Api, secret: &str, id: &str, body: &str) -> Api {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let time = now.as_secs().to_string();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    api.header("webhook-id", id)
        .header("webhook-timestamp", &time)
        .header("webhook-signature", &signature)
}

/// What the engine would do on the bus.
pub(crate) struct FakeEngine {
    bus: Bus,
}

impl FakeEngine {
    /// Takes the fired triggers that come in time, until there are `wanted`. What the stream sends again is taken once.
    pub(crate) async fn take(&self, wanted: usize) -> Vec<Envelope<TriggerFired>> {
        let mut taken = BTreeMap::new();
        let consumer = self.bus.consumer(&topology::ENGINE_TRIGGER_FIRED).await.unwrap();
        let gather = async {
            while taken.len() < wanted {
                let batch = consumer.fetch().max_messages(wanted - taken.len());
                let batch = batch.messages().await.unwrap().filter_map(async |next| next.ok());
                let acked = batch.map(async |message| {
                    message.double_ack_with(AckKind::Ack).await.unwrap();
                    let place = message.info().unwrap().stream_sequence;
                    (place, serde_json::from_slice(&message.payload).unwrap())
                });
                taken.extend(acked.buffer_unordered(ACKS).collect::<Vec<_>>().await);
            }
        };
        let patience = PATIENCE + PATIENCE_EACH * u32::try_from(wanted).unwrap();
        let done = tokio::time::timeout(patience, gather).await;
        assert!(done.is_ok(), "waited in vain for {wanted} fired triggers");
        taken.into_values().collect()
    }

    /// Publishes an event of a run.
    pub(crate) async fn tell<E: Event + Clone>(&self, tenant: TenantId, event: &E) {
        self.tell_of(tenant, event, std::time::SystemTime::now().into()).await;
    }

    /// Publishes one that happened at this moment.
    pub(crate) async fn tell_of<E: Event + Clone>(
        &self,
        tenant: TenantId,
        event: &E,
        occurred_at: DateTime<Utc>,
    ) {
        let envelope = Envelope {
            id: MessageId::mint(),
            kind: E::NAME.to_owned(),
            version: E::VERSION,
            tenant,
            occurred_at,
            traceparent: None,
            data: event.clone(),
        };
        let payload = serde_json::to_vec(&envelope).unwrap();
        let sent = self.bus.jetstream().publish(E::subject(tenant), payload.into()).await;
        sent.unwrap().await.unwrap();
    }
}

/// The run that a firing makes.
pub(crate) fn run_of(fired: &TriggerFired) -> RunRef {
    let run = RunId::mint();
    RunRef {
        run_id: run,
        agent_id: fired.agent_id.unwrap(),
        root_run_id: run,
        trigger_id: Some(fired.trigger_id),
        event_id: Some(fired.event_id),
        attempt: fired.attempt,
        mode: RunMode::Live,
        evaluation_id: None,
    }
}
