//! From configuration to a serving process.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::Router;
use dbutil::Db;
use pubsub::{Bus, Relay};
use servicekit::{
    Lifecycle, Probe, SigningKey, Verifier, peer,
    shell::{self, Shell},
};
use shared_models::Service;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{App, Config, app::Keys, codes, config::Upstreams, edge::Edge, routes, store};

/// Connects, checks that the schema is migrated and that our signing key is known, then serves both listeners until
/// `life` ends.
///
/// Runs besides requests: the outbox relay, and a sweep of the counters of clients that have been quiet.
pub async fn start(config: Config, listener: TcpListener, life: &Lifecycle) -> anyhow::Result<()> {
    let key = SigningKey::parse(Service::Gateway, &config.service.auth.service_key)?;
    let db =
        Db::connect("gateway", &config.service.db).await.context("connecting to the database")?;
    db.check_migrated(&crate::MIGRATOR).await?;
    check_registered(&db, &key).await?;
    let bus = Bus::connect(Service::Gateway, &config.service.nats).await?;
    let internal = TcpListener::bind(config.internal_listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.internal_listen))?;
    let http = peer::internal_http()?;
    let verifier = Verifier::from_url(Service::Gateway, own_jwks(&internal)?, http.clone());
    let (relay, bell) = Relay::new(db.clone(), bus.clone(), config.service.relay.clone());
    let keys = Keys::new(db.clone(), config.limits.key_cache);
    let app = App { db: db.clone(), relay: bell, keys, verifier };
    let edge = Edge::new(&config, &app, key, http.clone());

    let soft = life.soft();
    life.spawn("gateway relay", async move {
        relay.run(soft).await;
        Ok(())
    });
    life.spawn("gateway sweep", sweep(edge.clone(), life.soft()));
    let own = vec![database(&db), nats(&bus)];
    let all = own.iter().cloned().chain(upstreams(&config.upstreams, &http)).collect();
    servicekit::serve("gateway internal", internal, internal_router(app.clone(), own, life), life);
    let draining = life.soft();
    servicekit::serve("gateway public", listener, edge.router(app, all, draining), life);
    Ok(())
}

/// What the other services reach: like any service's own listener, it takes tokens only.
fn internal_router(app: App, probes: Vec<Probe>, life: &Lifecycle) -> Router {
    let shell = Shell {
        service: Service::Gateway,
        about: routes::ABOUT,
        probes,
        codes: codes::ALL,
        draining: life.soft(),
    };
    shell::shell(routes::public().merge(routes::internal()), app, shell).0
}

/// With an unknown key every token we sign would be refused everywhere; better to say so at once.
async fn check_registered(db: &Db, key: &SigningKey) -> anyhow::Result<()> {
    let mut tx = db.system("is our own key known?").await?;
    let known = store::signing_key::list_honoured(&mut tx).await?;
    tx.commit().await?;
    anyhow::ensure!(
        known.contains(key.public()),
        "the gateway's signing key is not registered; run `switchyard migrate` with the same keys first"
    );
    Ok(())
}

/// Our own key set, where everybody else finds it as well.
fn own_jwks(internal: &TcpListener) -> anyhow::Result<Url> {
    let mut address = internal.local_addr()?;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address = SocketAddr::new(loopback, address.port());
    }
    Ok(Url::parse(&format!("http://{address}/internal/jwks"))?)
}

fn database(db: &Db) -> Probe {
    let db = db.clone();
    Probe::new("database", move || {
        let db = db.clone();
        async move { db.ping().await.map_err(|error| error.to_string()) }
    })
}

fn nats(bus: &Bus) -> Probe {
    let bus = bus.clone();
    Probe::new("nats", move || {
        let bus = bus.clone();
        async move { bus.ping().await.map_err(|error| error.to_string()) }
    })
}

fn upstreams(upstreams: &Upstreams, http: &reqwest::Client) -> Vec<Probe> {
    let probe = |service: Service| {
        let (http, url) =
            (http.clone(), upstreams.base(service).and_then(|url| url.join("readyz").ok()));
        Probe::new(service.name(), move || {
            let (http, url) = (http.clone(), url.clone());
            async move {
                let url = url.ok_or("its address is no base for paths")?;
                match http.get(url).timeout(Duration::from_secs(2)).send().await {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(format!("it answers {}", answer.status())),
                    Err(error) => Err(error.without_url().to_string()),
                }
            }
        })
    };
    Upstreams::ALL.iter().map(|&service| probe(service)).collect()
}

async fn sweep(edge: Edge, soft: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = soft.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(60)) => edge.tidy(),
        }
    }
}
