//! What runs in an engine process.

use std::sync::Arc;

use axum::Router;
use dbutil::Db;
use pubsub::{Bus, Ended, Relay, listen_batch};
use servicekit::peer::internal_http;
use servicekit::{Lifecycle, Minter, Peer, Probe, SigningKey, Verifier, egress::Egress, serve};
use shared_models::{Service, WorkerId};
use tokio::net::TcpListener;

use crate::app::{App, Parts};
use crate::bell::Bell;
use crate::budgets::Budgets;
use crate::callbacks::CallbackKey;
use crate::catalogue::Catalogue;
use crate::clients::{credsvc::Credsvc, eventsvc::Eventsvc, gateway::Gateway};
use crate::committer::Committer;
use crate::config::Config;
use crate::creator::{self, Creator};
use crate::lease::Lease;
use crate::listeners::credential_events::CredentialEventsListener;
use crate::listeners::run_events::RunEventsListener;
use crate::listeners::trigger_fired::TriggerFiredListener;
use crate::live::Stage;
use crate::models::Models;
use crate::reader::{self, Reader};
use crate::tools::mcp::McpPool;
use crate::webhooks::Webhooks;
use crate::{MIGRATOR, routes, workers};

/// An engine at work.
pub struct Engine {
    /// Its API; the caller serves it.
    pub router: Router,
}

/// Starts an engine and serves its API until `life` ends.
pub async fn start(config: Config, listener: TcpListener, life: &Lifecycle) -> anyhow::Result<()> {
    let engine = open(&config, life).await?;
    serve("engine http", listener, engine.router, life);
    Ok(())
}

/// Connects, refuses a schema that is behind, and starts everything that runs beside requests.
pub async fn open(config: &Config, life: &Lifecycle) -> anyhow::Result<Engine> {
    let (creator, orders) = Creator::new();
    let (reader, questions) = Reader::new();
    let app = build(config, (creator, reader), life).await?;
    life.spawn("creator", creator::run(app.clone(), orders, life.clone()));
    life.spawn("reader", reader::run(app.clone(), questions));
    life.spawn("worker", workers::claims::run(app.clone(), life.clone()));
    life.spawn("bell", workers::bell::run(app.clone()));
    life.spawn("sweeper", workers::sweeper::run(app.clone()));
    life.spawn("retention", workers::retention::run(app.clone()));
    life.spawn("budgets", workers::budgets::run(app.clone()));
    life.spawn("grants", workers::grants::run(app.clone()));
    life.spawn("heartbeat", workers::heartbeat::run(app.clone()));
    life.spawn("questions", workers::questions::run(app.clone()));
    let fired = Arc::new(TriggerFiredListener { app: app.clone() });
    life.spawn("trigger.fired", listen_batch(app.db.clone(), app.bus.clone(), fired, life.soft()));
    let told = Arc::new(RunEventsListener::new(app.clone()));
    life.spawn("run events", listen_batch(app.db.clone(), app.bus.clone(), told, life.soft()));
    let heard = Arc::new(CredentialEventsListener { app: app.clone() });
    life.spawn("credentials", listen_batch(app.db.clone(), app.bus.clone(), heard, life.soft()));
    life.spawn("reconnects", workers::reconnects::run(app.clone()));
    life.spawn("evaluations", workers::evaluations::run(app.clone()));
    life.spawn("webhooks", workers::webhooks::run(app.clone()));
    let probes = probes(&app);
    Ok(Engine { router: routes::router(app, probes) })
}

async fn build(
    config: &Config,
    (creator, reader): (Creator, Reader),
    life: &Lifecycle,
) -> anyhow::Result<App> {
    let service = &config.service;
    let db = Db::connect(Service::Engine.name(), &service.db).await?;
    db.check_migrated(&MIGRATOR).await?;
    let bus = Bus::connect(Service::Engine, &service.nats).await?;
    let (relay, relay_handle) = Relay::new(db.clone(), bus.clone(), service.relay.clone());
    let soft = life.soft();
    life.spawn("relay", async move {
        relay.run(soft).await;
        Ok(())
    });
    let http = internal_http()?;
    let minter = Minter::new(SigningKey::parse(Service::Engine, &service.auth.service_key)?);
    let peer =
        |url: &url::Url, callee| Peer::new(url.clone(), callee, minter.clone(), http.clone());
    let credsvc = Credsvc::new(peer(&config.credsvc_url, Service::Credsvc));
    let (ended, hearing) = Ended::subscribe(bus.clone()).await?;
    life.spawn("leases", hearing.run(life.soft()));
    let egress = Egress::new(config.egress.clone())?;
    let committer = Committer::start(&service.db, &config.runs, relay_handle.clone(), life)?;
    let worker = WorkerId::mint();
    Ok(Parts {
        verifier: Verifier::from_url(Service::Engine, service.auth.jwks_url.clone(), http.clone()),
        callback_key: CallbackKey::new(&service.auth.service_key),
        models: Arc::new(Models::new(config.models.clone(), egress.clone())?),
        prices: Arc::default(),
        budgets: Arc::new(Budgets::new(worker)),
        egress,
        mcp: Arc::new(McpPool::new(config.mcp_commands.clone())),
        webhooks: Arc::new(Webhooks::new(config.webhooks.clone(), credsvc.clone(), ended)),
        credsvc,
        eventsvc: Eventsvc::new(peer(&config.eventsvc_url, Service::Eventsvc)),
        gateway: Gateway::new(peer(&config.gateway_url, Service::Gateway)),
        runs: Arc::new(config.runs.clone()),
        committer,
        creator,
        reader,
        catalogue: Catalogue::default(),
        backlog: Arc::default(),
        db_config: service.db.clone(),
        bell: Bell::new(bus.clone()),
        stage: Stage::new(bus.clone()),
        worker,
        lease: Arc::new(Lease::new()),
        life: life.clone(),
        draining: life.soft(),
        grants_due: Arc::default(),
        relay: relay_handle,
        db,
        bus,
    }
    .into())
}

fn probes(app: &App) -> Vec<Probe> {
    let (db, bus, lease) = (app.db.clone(), app.bus.clone(), app.lease.clone());
    vec![
        Probe::new("database", move || {
            let db = db.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        }),
        Probe::new("nats", move || {
            let bus = bus.clone();
            async move { bus.ping().await.map_err(|error| error.to_string()) }
        }),
        Probe::new("lease", move || {
            let holds = lease.holds();
            async move { if holds { Ok(()) } else { Err("this worker's lease has ended".into()) } }
        }),
    ]
}
