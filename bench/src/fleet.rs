//! The platform as it is deployed: each service a process, durable Postgres over its Unix socket, NATS with its users.

mod api;
mod settled;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use localdeps::{Home, Nats, Postgres};
use nix::sys::signal::Signal;
use secrecy::SecretString;
use servicekit::SigningKey;
use shared_models::Service;
use sqlx::{Connection as _, PgConnection};

pub(crate) use api::{Agent, Api, Hook, text};
pub(crate) use settled::Settled;

use crate::{
    bench::Bench,
    proc::Processes,
    process::{Process, Program},
};

/// Settings that differ from the defaults, so that limits meant for one client do not decide the figures.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("SWITCHYARD_RATE_PER_SECOND", "1000000"),
    ("SWITCHYARD_RATE_BURST", "1000000"),
    ("SWITCHYARD_TENANT_RUNS", "4096"),
    ("SWITCHYARD_RUN_SLOTS", "2048"),
];

const DATABASE: &str = "postgres";

/// All services, with the servers they stand on.
pub(crate) struct Fleet {
    // Fields drop in order: services, servers, folders.
    services: BTreeMap<Service, Process>,
    pub(crate) nats: Nats,
    pub(crate) postgres: Postgres,
    pub(crate) secrets: BTreeMap<String, String>,
    ports: BTreeMap<&'static str, u16>,
    pub(crate) api: Api,
    pub(crate) tenant: String,
    switchyard: PathBuf,
    dir: PathBuf,
    _home: Home,
}

impl Fleet {
    /// Starts everything and waits until it is ready. The bench's mock is the model and where tools go.
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let (switchyard, dir, mock) = (&*bench.switchyard, &*bench.dir, bench.mock_at);
        let home = Home::temporary()?;
        let run = async |arguments: &[&str], vars: &BTreeMap<String, String>| {
            let arguments = arguments.iter().map(ToString::to_string).collect();
            Program { path: switchyard, arguments, vars: vars.clone(), dir }.output().await
        };
        let secrets = pairs(&run(&["secrets"], &BTreeMap::new()).await?);
        let users = run(&["nats-config"], &secrets).await?;
        let mut postgres = Postgres::start(home.postgres()).await?;
        note(&mut postgres, bench.statements).await?;
        let nats = Nats::start(home.nats(users)).await?;

        let mut vars = secrets.clone();
        vars.insert("SWITCHYARD_DATABASE_ADMIN_URL".into(), postgres.admin_url());
        vars.insert("SWITCHYARD_NATS_URL".into(), nats.url());
        run(&["migrate"], &vars).await?;
        let made = pairs(&run(&["bootstrap"], &vars).await?);
        let get = |name: &str| made.get(name).cloned().context("`bootstrap` made no key");
        let ports = ports()?;
        let url = format!("http://127.0.0.1:{}", ports[Service::Gateway.name()]);
        let mut fleet = Self {
            services: BTreeMap::new(),
            api: Api::new(url, get("SWITCHYARD_API_KEY")?)?,
            tenant: get("SWITCHYARD_TENANT")?,
            nats,
            postgres,
            secrets,
            ports,
            switchyard: switchyard.to_owned(),
            dir: dir.to_owned(),
            _home: home,
        };
        for &service in Service::ALL {
            fleet.start_service(service, mock)?;
        }
        fleet.ready().await?;
        Ok(fleet)
    }

    /// Where a service listens; the gateway's is the public address.
    pub(crate) fn door(&self, service: Service) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[service.name()]))
    }

    /// The API key, for requests through the gateway.
    pub(crate) fn key(&self) -> &str {
        self.api.key()
    }

    /// Everything that takes processor time for us.
    pub(crate) fn processes(&self) -> Processes {
        let mut processes = self.own_processes();
        processes.add_family("postgres", self.postgres.pid());
        processes.add("nats", self.nats.pid());
        processes.add("client", std::process::id());
        processes
    }

    /// Our services.
    pub(crate) fn own_processes(&self) -> Processes {
        let mut processes = Processes::default();
        for (service, process) in &self.services {
            processes.add(service.name(), process.pid());
        }
        processes
    }

    /// A service's signing key, to speak to another as that service.
    pub(crate) fn signing_key(&self, service: Service) -> anyhow::Result<SigningKey> {
        let seed = SecretString::from(self.secret(&format!("{service}_service_key"))?.to_owned());
        SigningKey::parse(service, &seed).map_err(Into::into)
    }

    /// The administrator's address of the database, over the socket.
    pub(crate) fn database(&self) -> anyhow::Result<String> {
        let admin: url::Url = self.postgres.admin_url().parse()?;
        let password = admin.password().unwrap_or_default();
        Ok(self.postgres.socket_url(admin.username(), password, DATABASE))
    }

    /// A connection that looks on.
    pub(crate) async fn onlooker(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.database()?).await?)
    }

    /// What the database spent its time on, dearest first.
    pub(crate) async fn statements(&self) -> anyhow::Result<String> {
        let rows: Vec<(String, i64, f64, f64)> = sqlx::query_as(
            "select left(regexp_replace(query, '\\s+', ' ', 'g'), 110), calls, total_exec_time + total_plan_time,
                    (total_exec_time + total_plan_time) / greatest(calls, 1)
             from pg_stat_statements order by 3 desc limit 25",
        )
        .fetch_all(&mut self.onlooker().await?)
        .await?;
        let line = |(query, calls, total, mean): &(String, i64, f64, f64)| {
            format!("{total:>10.0} ms {calls:>9} × {mean:>8.3} ms  {query}")
        };
        Ok(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// A secret by the name of its variable, in any case.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<&str> {
        let name = name.to_uppercase();
        let found = self.secrets.get(&name).map(String::as_str);
        found.with_context(|| format!("there is no secret {name}"))
    }

    /// Stops one service, as a deployment would.
    pub(crate) async fn stop_service(&mut self, service: Service) -> anyhow::Result<()> {
        match self.services.remove(&service) {
            Some(mut process) => process.stop(Signal::SIGTERM).await,
            None => Ok(()),
        }
    }

    /// Starts it again; it may not be ready yet.
    pub(crate) fn start_service(
        &mut self,
        service: Service,
        mock: SocketAddr,
    ) -> anyhow::Result<()> {
        self.start_as(service, self.environment(service, mock)?)
    }

    fn start_as(&mut self, service: Service, vars: BTreeMap<String, String>) -> anyhow::Result<()> {
        let program = Program {
            path: &self.switchyard,
            arguments: vec!["serve".into(), service.name().into()],
            vars,
            dir: &self.dir,
        };
        let process = program.start(service.name())?;
        self.services.insert(service, process);
        Ok(())
    }

    /// Stops one service and starts it with these settings besides the usual ones; waits until all are ready.
    pub(crate) async fn restart_with(
        &mut self,
        service: Service,
        mock: SocketAddr,
        more: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        self.stop_service(service).await?;
        let mut vars = self.environment(service, mock)?;
        vars.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.start_as(service, vars)?;
        self.ready().await
    }

    /// Stops the services, and then the servers.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for process in self.services.values_mut() {
            process.stop(Signal::SIGTERM).await?;
        }
        self.nats.stop().await;
        self.postgres.stop().await;
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.api.is_ready().await {
            if Instant::now() > deadline {
                let logs: Vec<String> = self.services.values().map(Process::log_end).collect();
                bail!(
                    "the services are not ready; see {}: {}",
                    self.dir.display(),
                    logs.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn environment(
        &self,
        service: Service,
        mock: SocketAddr,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let database = |login: &str| {
            let password = self.secret(&format!("{service}_db_{login}_password"))?;
            anyhow::Ok(self.postgres.socket_url(&format!("{service}_{login}"), password, DATABASE))
        };
        let at = |peer: &str| format!("http://127.0.0.1:{}", self.ports[peer]);
        let own = [
            ("SWITCHYARD_LISTEN", format!("127.0.0.1:{}", self.ports[service.name()])),
            ("SWITCHYARD_INTERNAL_LISTEN", format!("127.0.0.1:{}", self.ports["internal"])),
            ("SWITCHYARD_DATABASE_URL", database("app")?),
            ("SWITCHYARD_DATABASE_SYSTEM_URL", database("system")?),
            ("SWITCHYARD_NATS_URL", self.nats.url()),
            ("SWITCHYARD_NATS_PASSWORD", self.secret(&format!("{service}_nats_password"))?.into()),
            ("SWITCHYARD_SERVICE_KEY", self.secret(&format!("{service}_service_key"))?.into()),
            ("SWITCHYARD_JWKS_URL", format!("{}/internal/jwks", at("internal"))),
            ("SWITCHYARD_GATEWAY_INTERNAL_URL", at("internal")),
            ("SWITCHYARD_CREDSVC_URL", at("credsvc")),
            ("SWITCHYARD_EVENTSVC_URL", at("eventsvc")),
            ("SWITCHYARD_ENGINE_URL", at("engine")),
            ("SWITCHYARD_EGRESS_ALLOW", mock.to_string()),
            ("OPENAI_BASE_URL", format!("http://{mock}/v1")),
            ("OPENAI_API_KEY", "sk-bench".into()),
        ];
        let mut vars: BTreeMap<String, String> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        vars.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if service == Service::Credsvc {
            vars.insert("SWITCHYARD_ROOT_KEY".into(), self.secret("switchyard_root_key")?.into());
        }
        Ok(vars)
    }
}

/// Postgres remembers when each transaction was committed, the only clock that says how long after one commit another
/// was; and what statements take, when somebody wants to know.
async fn note(postgres: &mut Postgres, statements: bool) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(&postgres.admin_url()).await?;
    sqlx::query("alter system set track_commit_timestamp = on").execute(&mut admin).await?;
    if statements {
        let preload = "alter system set shared_preload_libraries = 'pg_stat_statements'";
        sqlx::query(preload).execute(&mut admin).await?;
        sqlx::query("create extension pg_stat_statements").execute(&mut admin).await?;
    }
    admin.close().await?;
    Ok(postgres.restart().await?)
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ports() -> anyhow::Result<BTreeMap<&'static str, u16>> {
    let names = Service::ALL.iter().map(|service| service.name()).chain(["internal"]);
    // All are held open until all are chosen, so that no two are the same.
    let held: Vec<_> = names
        .map(|name| Ok((name, std::net::TcpListener::bind("127.0.0.1:0")?)))
        .collect::<std::io::Result<_>>()?;
    held.iter().map(|(name, held)| Ok((*name, held.local_addr()?.port()))).collect()
}
