//! From configuration to running parts.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use dbutil::Db;
use pubsub::{Bus, Ended, Relay};
use servicekit::{
    Lifecycle, Minter, Peer, Probe, SigningKey, Verifier,
    egress::Egress,
    peer::internal_http,
    shell::{self, Shell},
};
use shared_models::Service;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use utoipa::openapi::OpenApi;

use crate::{
    App, Config, MIGRATOR,
    clients::{credsvc::Credsvc, engine::Engine, google::Google},
    clock::Clock,
    error::CODES,
    flow,
    hooks::Hooks,
    intake::{Committer, Guard, Patience, committer},
    listeners::{
        agent_deleted::AgentDeletedListener, bus_events::BusEvents, run_lifecycle::RunLifecycle,
        swarm_deleted::SwarmDeletedListener,
    },
    listening, routes,
    secrets::Secrets,
    stats::Stats,
    timer, workers,
};

const ABOUT: &str = "Triggers, webhook intake and the ledger of deliveries.";

/// Connects, refuses a schema that is behind, starts everything that runs beside requests, and serves.
pub async fn start(config: Config, listener: TcpListener, life: &Lifecycle) -> anyhow::Result<()> {
    let jwks = config.service.auth.jwks_url.clone();
    let verifier = Verifier::from_url(Service::Eventsvc, jwks, internal_http()?);
    let app = open(&config, verifier, life).await?;
    run(&app, life);
    let (router, _) = router(app, life);
    servicekit::serve("eventsvc http", listener, router, life);
    Ok(())
}

/// Connects, and starts what requests cannot do without: the committer and the relay.
pub async fn open(config: &Config, verifier: Verifier, life: &Lifecycle) -> anyhow::Result<App> {
    let service = &config.service;
    let db = Db::connect("eventsvc", &service.db).await.context("connecting to the database")?;
    db.check_migrated(&MIGRATOR).await?;
    let bus = Bus::connect(Service::Eventsvc, &service.nats).await?;
    let (relay, relay_handle) = Relay::new(db.clone(), bus.clone(), service.relay.clone());
    let soft = life.soft();
    life.spawn("eventsvc relay", async move {
        relay.run(soft).await;
        Ok(())
    });
    let (clock, stats) = (Clock::default(), Stats::default());
    let limits = committer::Limits {
        deliveries: config.limits.queue,
        bytes: config.limits.queue_mib * 1024 * 1024,
    };
    let options = db.app_pool().connect_options();
    let (committer, task) =
        Committer::new(&options, limits, relay_handle.clone(), clock.clone(), stats.clone());
    life.spawn("eventsvc committer", task.run(life.soft()));
    let minter = Minter::new(SigningKey::parse(Service::Eventsvc, &service.auth.service_key)?);
    let http = internal_http()?;
    let peer =
        |url: &url::Url, callee| Peer::new(url.clone(), callee, minter.clone(), http.clone());
    let (ended, hearing) = Ended::subscribe(bus.clone()).await?;
    life.spawn("eventsvc leases", hearing.run(life.soft()));
    let egress = Egress::new(config.egress.clone())?;
    let credsvc = Credsvc(peer(&config.credsvc_url, Service::Credsvc));
    Ok(App {
        hooks: Hooks::new(db.clone()),
        secrets: Secrets::new(credsvc.clone(), ended),
        engine: Engine(peer(&config.engine_url, Service::Engine)),
        google: Google::new(&egress, config.google_keys_url.clone())?,
        patience: Patience::default(),
        apps: Arc::new(config.apps.clone()),
        imap: listening::ImapTrust::new(config.imap_ca.as_deref())?,
        guard: Guard::new(&config.trusted_proxies, config.pace),
        public_url: config.public_url.clone(),
        credsvc,
        verifier,
        committer,
        relay: relay_handle,
        stats,
        clock,
        hearing: Arc::default(),
        limits: config.limits,
        bell: Arc::new(Notify::new()),
        listeners: Arc::default(),
        egress: reachable(egress, &config.providers)?,
        providers: config.providers.clone(),
        gmail_push: config.gmail_push.clone(),
        flow: Arc::default(),
        timers: Arc::new(Notify::new()),
        db,
        bus,
    })
}

/// The way out, also to providers that the operator put somewhere private.
fn reachable(egress: Egress, providers: &listening::Providers) -> anyhow::Result<Egress> {
    let mut egress = egress;
    for url in providers.all() {
        egress = egress.also_allowing(url)?;
    }
    Ok(egress)
}

/// Everything else that runs beside requests.
pub fn run(app: &App, life: &Lifecycle) {
    life.spawn("eventsvc chores", workers::chores(app.clone(), life.soft()));
    life.spawn("eventsvc timers", timer::scheduler::run(app.clone(), life.soft()));
    life.spawn("eventsvc listening", listening::run(app.clone(), life.soft()));
    life.spawn("eventsvc flow", flow::run(app.clone(), life.soft()));
    life.spawn("eventsvc hearing", workers::hearing(app.clone(), life.soft()));
    life.spawn("eventsvc forgetting", workers::forgetting(app.clone(), life.soft()));
    life.spawn("eventsvc counting", workers::counting(app.clone(), life.soft()));
    let (flow, patience, stats) = (app.flow.clone(), app.patience.clone(), app.stats.clone());
    let heard = Arc::new(RunLifecycle { db: app.db.clone(), flow, patience, stats });
    let runs = pubsub::listen_batch(app.db.clone(), app.bus.clone(), heard, life.soft());
    life.spawn("eventsvc run lifecycle", runs);
    let told = Arc::new(BusEvents { app: app.clone() });
    let bus = pubsub::listen_batch(app.db.clone(), app.bus.clone(), told, life.soft());
    life.spawn("eventsvc bus triggers", bus);
    let gone = Arc::new(AgentDeletedListener { hooks: app.hooks.clone() });
    let agents = pubsub::listen(app.db.clone(), app.bus.clone(), gone, life.soft());
    life.spawn("eventsvc agent deleted", agents);
    let gone = Arc::new(SwarmDeletedListener { hooks: app.hooks.clone() });
    let swarms = pubsub::listen(app.db.clone(), app.bus.clone(), gone, life.soft());
    life.spawn("eventsvc swarm deleted", swarms);
}

/// The routes, with health, metrics and self-description, and the OpenAPI document.
pub fn router(app: App, life: &Lifecycle) -> (Router, OpenApi) {
    let shell = Shell {
        service: Service::Eventsvc,
        about: ABOUT,
        probes: probes(&app),
        codes: CODES,
        draining: life.soft(),
    };
    servicekit::shell(routes::routes(), app, shell)
}

fn probes(app: &App) -> Vec<Probe> {
    let (db, bus) = (app.db.clone(), app.bus.clone());
    vec![
        Probe::new("database", move || {
            let db = db.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        }),
        Probe::new("nats", move || {
            let bus = bus.clone();
            async move { bus.ping().await.map_err(|error| error.to_string()) }
        }),
    ]
}

/// The OpenAPI document alone.
pub fn openapi() -> OpenApi {
    let mut openapi = routes::routes().split_for_parts().1;
    shell::describe(&mut openapi, Service::Eventsvc, ABOUT);
    openapi
}
