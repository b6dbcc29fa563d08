//! What the services of one machine stand on: servers, ports, and an environment for each of them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use localdeps::{Home, Nats, Postgres};
use servicekit::{Env, Lifecycle};
use shared_models::Service;
use sqlx::Connection as _;
use tokio::net::TcpListener;

use crate::{demo::receiver::Receiver, migrate::Places, secrets::Secrets};

const DATABASE: &str = "switchyard";

/// The database and the bus: our own child processes, or somebody else's servers.
pub(super) struct Servers {
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    pub(super) places: Places,
}

impl Servers {
    /// Starts what `DATABASE_URL` and `NATS_URL` do not name.
    pub(super) async fn start(home: &Home, secrets: &Secrets) -> anyhow::Result<Self> {
        let mut env = Env::process();
        let (database, bus): (Option<String>, Option<String>) =
            (env.optional("DATABASE_URL"), env.optional("NATS_URL"));
        let (postgres, nats) = tokio::try_join!(
            async {
                if database.is_none() {
                    Postgres::start(home.postgres()).await.map(Some)
                } else {
                    Ok(None)
                }
            },
            async {
                let users = pubsub::topology::server_config(&secrets.nats());
                if bus.is_none() { Nats::start(home.nats(users)).await.map(Some) } else { Ok(None) }
            },
        )?;
        let admin_url = match (&postgres, database) {
            (Some(postgres), _) => own_database(&postgres.admin_url()).await?,
            (None, url) => url.unwrap_or_default(),
        };
        // The socket is faster than TCP, and reachable only by who may enter its folder.
        let base =
            postgres.as_ref().map(|postgres| postgres.socket_url("nobody", "none", DATABASE));
        let nats_url = nats.as_ref().map(Nats::url).or(bus).unwrap_or_default();
        let places = Places {
            database_admin_url: admin_url.into(),
            database_base_url: base,
            nats_url,
            stream_replicas: 1,
        };
        Ok(Self { postgres, nats, places })
    }

    /// Waits for the soft stop; a server that dies on its own is started again.
    pub(super) async fn watch(&mut self, life: &Lifecycle) {
        let soft = life.soft();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
            if let Some(postgres) = &mut self.postgres
                && !postgres.is_running()
            {
                tracing::error!("Postgres ended; starting it again");
                report(postgres.restart().await);
            }
            if let Some(nats) = &mut self.nats
                && !nats.is_running()
            {
                tracing::error!("NATS ended; starting it again");
                report(nats.restart().await);
            }
        }
    }

    /// Stops what was started here.
    pub(super) async fn stop(&mut self) {
        if let Some(nats) = &mut self.nats {
            nats.stop().await;
        }
        if let Some(postgres) = &mut self.postgres {
            postgres.stop().await;
        }
    }
}

fn report(restarted: Result<(), localdeps::Error>) {
    if let Err(error) = restarted {
        tracing::error!(%error, "it does not start; trying again");
    }
}

/// Makes our database beside the administrative one, and gives its address.
async fn own_database(admin_url: &str) -> anyhow::Result<String> {
    let mut admin = sqlx::PgConnection::connect(admin_url).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut admin)
            .await?;
    if !exists {
        sqlx::query("create database switchyard").execute(&mut admin).await?;
    }
    let mut url = reqwest::Url::parse(admin_url)?;
    url.set_path(DATABASE);
    Ok(url.to_string())
}

/// Where each service listens. The listeners are held from the start, so that nobody else gets the port.
pub(super) struct Ports {
    pub(super) public: SocketAddr,
    internal: SocketAddr,
    listeners: BTreeMap<Service, (SocketAddr, Option<TcpListener>)>,
}

impl Ports {
    /// The public address asked for, else port 8080, else any; everything else on any free port of 127.0.0.1.
    pub(super) async fn choose(asked: Option<SocketAddr>) -> anyhow::Result<Self> {
        let usual = SocketAddr::from(([127, 0, 0, 1], Service::Gateway.default_port()));
        let public = match asked {
            Some(address) => TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address}"))?,
            None => match TcpListener::bind(usual).await {
                Ok(listener) => listener,
                Err(_) => free().await?,
            },
        };
        let address = public.local_addr()?;
        let mut listeners = BTreeMap::from([(Service::Gateway, (address, Some(public)))]);
        for &service in Service::ALL.iter().filter(|&&service| service != Service::Gateway) {
            let listener = free().await?;
            listeners.insert(service, (listener.local_addr()?, Some(listener)));
        }
        // The gateway opens this one itself, so it is given back at once.
        let internal = free().await?.local_addr()?;
        Ok(Self { public: address, internal, listeners })
    }

    /// A service's listener; each can be had once.
    pub(super) fn listener(&mut self, service: Service) -> anyhow::Result<TcpListener> {
        let slot = self.listeners.get_mut(&service).and_then(|(_, listener)| listener.take());
        slot.with_context(|| format!("{service} was started twice"))
    }

    fn url(&self, service: Service) -> String {
        self.listeners
            .get(&service)
            .map(|(address, _)| format!("http://{address}"))
            .unwrap_or_default()
    }
}

async fn free() -> std::io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await
}

/// A service's environment: what the person set, and over it what this start decides.
pub(super) fn environment(
    service: Service,
    ports: &Ports,
    servers: &Servers,
    secrets: &Secrets,
    home: &Home,
    receiver: &Receiver,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut vars = Env::process().into_map();
    let places = &servers.places;
    let allowed =
        vars.get("SWITCHYARD_EGRESS_ALLOW").map(|rules| format!("{rules},")).unwrap_or_default();
    let ours = [
        ("SWITCHYARD_LISTEN", ports.public.to_string()),
        ("SWITCHYARD_INTERNAL_LISTEN", ports.internal.to_string()),
        ("SWITCHYARD_NATS_URL", places.nats_url.clone()),
        ("SWITCHYARD_NATS_USER", service.name().to_owned()),
        ("SWITCHYARD_JWKS_URL", format!("http://{}/internal/jwks", ports.internal)),
        ("SWITCHYARD_GATEWAY_INTERNAL_URL", format!("http://{}", ports.internal)),
        ("SWITCHYARD_CREDSVC_URL", ports.url(Service::Credsvc)),
        ("SWITCHYARD_EVENTSVC_URL", ports.url(Service::Eventsvc)),
        ("SWITCHYARD_ENGINE_URL", ports.url(Service::Engine)),
        ("SWITCHYARD_EGRESS_ALLOW", format!("{allowed}{}", receiver.address())),
    ];
    let ours = ours.into_iter().chain(places.secrets_of(secrets, service)?);
    vars.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    if service == Service::Credsvc {
        // Where providers send people back to: this machine, unless somebody put it behind something.
        let public = format!("http://{}", ports.public);
        vars.entry("SWITCHYARD_PUBLIC_URL".into()).or_insert(public);
    }
    if !vars.contains_key("SWITCHYARD_ROOT_KEY") && !vars.contains_key("SWITCHYARD_ROOT_KEYS") {
        let file = home.dir().join("root.key").display().to_string();
        vars.entry("SWITCHYARD_ROOT_KEY_FILE".into()).or_insert(file);
    }
    Ok(vars)
}
