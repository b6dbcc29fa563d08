//! Each service as a process of its own, configured by its environment as a container would be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use localdeps::{Home, Nats, Postgres};
use nix::sys::signal::Signal;
use shared_models::Service;
use testkit::{Api, eventually_within, free_port, start_nats};

use crate::Process;

/// All services, with the servers they stand on.
pub struct Fleet {
    // Fields drop in order: services, servers, folders.
    processes: BTreeMap<String, Process>,
    /// The message bus.
    pub nats: Nats,
    /// The database.
    pub postgres: Postgres,
    dir: tempfile::TempDir,
    home: Home,
    secrets: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
    extra: BTreeMap<String, String>,
    /// The first tenant's id.
    pub tenant: String,
    /// Its first API key.
    pub key: String,
}

impl Fleet {
    /// Starts everything: secrets, servers, `migrate`, `bootstrap`, and one process per service.
    pub async fn start(extra: &[(&str, &str)]) -> Self {
        let (home, dir) = (Home::temporary().unwrap(), tempfile::tempdir().unwrap());
        let none = BTreeMap::new();
        let secrets = pairs(&ok(dir.path(), "secrets", &["secrets"], &none));
        let users = ok(dir.path(), "nats-config", &["nats-config"], &secrets);
        let postgres = Postgres::start(home.postgres()).await.unwrap();
        let nats = start_nats(home.nats(users)).await;
        let mut fleet = Self {
            processes: BTreeMap::new(),
            nats,
            postgres,
            dir,
            home,
            secrets,
            ports: ports(),
            extra: extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            tenant: String::new(),
            key: String::new(),
        };
        fleet.prepare();
        for &service in Service::ALL {
            fleet.launch(service.name(), service);
        }
        fleet.ready().await;
        fleet
    }

    fn prepare(&mut self) {
        let mut vars = self.secrets.clone();
        vars.insert("SWITCHYARD_DATABASE_ADMIN_URL".into(), self.postgres.admin_url());
        vars.insert("SWITCHYARD_NATS_URL".into(), self.nats.url());
        ok(self.dir.path(), "migrate", &["migrate"], &vars);
        let made = pairs(&ok(self.dir.path(), "bootstrap", &["bootstrap"], &vars));
        self.tenant.clone_from(&made["SWITCHYARD_TENANT"]);
        self.key.clone_from(&made["SWITCHYARD_API_KEY"]);
    }

    /// Starts a process under a name; more than one of a service needs names and ports of their own.
    pub fn launch(&mut self, name: &str, service: Service) {
        let vars = self.environment(name, service);
        let process = Process::start(self.dir.path(), name, &["serve", service.name()], &vars);
        self.processes.insert(name.to_owned(), process);
    }

    /// Starts another replica of a service that is not behind the gateway, on a port of its own.
    pub fn launch_replica(&mut self, name: &str, service: Service) {
        self.ports.insert(name.to_owned(), free_port());
        self.launch(name, service);
    }

    /// A process.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).expect("a process of that name")
    }

    /// `kill -9` of one service.
    pub fn kill(&mut self, name: &str) {
        self.process(name).kill();
    }

    /// Starts a killed service again, and waits until all are ready.
    pub async fn restart(&mut self, service: Service) {
        self.launch(service.name(), service);
        self.ready().await;
    }

    /// Waits until the gateway, and all it asks, say they are ready.
    pub async fn ready(&mut self) {
        let api = Api::at(self.url());
        let dir = self.dir.path().to_owned();
        eventually_within(Duration::from_secs(60), "all services to be ready", async || {
            if !listens(self.ports["gateway"]).await {
                return None;
            }
            let reply = api.get("/readyz").await;
            (reply.status == 200).then_some(())
        })
        .await;
        assert!(dir.exists());
    }

    /// Waits until a process answers at all, whatever it may still miss.
    pub async fn alive(&mut self, name: &str) {
        let api = Api::at(format!("http://127.0.0.1:{}", self.ports[name]));
        let (port, process) = (self.ports[name], self.processes.get_mut(name).unwrap());
        eventually_within(Duration::from_secs(60), "a process to answer", async || {
            assert!(process.running(), "{name} ended by itself: {}", tail(&process.log()));
            if !listens(port).await {
                return None;
            }
            (api.get("/livez").await.status == 200).then_some(())
        })
        .await;
    }

    /// The processes that have ended.
    pub fn ended(&mut self) -> Vec<String> {
        let ended = self.processes.iter_mut().filter_map(|(name, process)| {
            (!process.running())
                .then(|| format!("{name} ended by itself: {}", tail(&process.log())))
        });
        ended.collect()
    }

    /// Where NATS keeps its streams.
    pub fn nats_store(&self) -> PathBuf {
        self.state().join("nats")
    }

    /// Where the servers keep what they store and log.
    pub fn state(&self) -> &Path {
        self.home.state()
    }

    /// The folder with the services' logs.
    pub fn logs_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The public address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports["gateway"])
    }

    /// The public address, with the first API key.
    pub fn api(&self) -> Api {
        Api::at(self.url()).token(&self.key)
    }

    /// A secret of the deployment, by the name of its variable.
    pub fn secret(&self, name: &str) -> &str {
        &self.secrets[name]
    }

    /// Everything secret that the deployment was made with, by the name of its variable.
    pub fn secrets(&self) -> &BTreeMap<String, String> {
        &self.secrets
    }

    /// Tells every service to stop and waits until all have: they send what they still hold, spans too.
    pub fn stop(&mut self) {
        for process in self.processes.values() {
            process.signal(Signal::SIGTERM);
        }
        for process in self.processes.values_mut() {
            process.wait(Duration::from_secs(60));
        }
    }

    /// Everything all services have logged.
    pub fn logs(&self) -> String {
        self.processes.values().map(Process::log).collect()
    }

    fn environment(&self, name: &str, service: Service) -> BTreeMap<String, String> {
        let secret = |name: String| self.secrets[&name.to_uppercase()].clone();
        let database = |login: &str| {
            let password = secret(format!("{service}_db_{login}_password"));
            self.postgres.url(&format!("{service}_{login}"), &password, "postgres")
        };
        let at = |peer: &str| format!("http://127.0.0.1:{}", self.ports[peer]);
        let mut vars = BTreeMap::from([
            ("SWITCHYARD_LISTEN", format!("127.0.0.1:{}", self.ports[name])),
            ("SWITCHYARD_INTERNAL_LISTEN", format!("127.0.0.1:{}", self.ports["internal"])),
            ("SWITCHYARD_DATABASE_URL", database("app")),
            ("SWITCHYARD_DATABASE_SYSTEM_URL", database("system")),
            ("SWITCHYARD_NATS_URL", self.nats.url()),
            ("SWITCHYARD_NATS_PASSWORD", secret(format!("{service}_nats_password"))),
            ("SWITCHYARD_SERVICE_KEY", secret(format!("{service}_service_key"))),
            ("SWITCHYARD_JWKS_URL", format!("{}/internal/jwks", at("internal"))),
            ("SWITCHYARD_GATEWAY_INTERNAL_URL", at("internal")),
            ("SWITCHYARD_CREDSVC_URL", at("credsvc")),
            ("SWITCHYARD_EVENTSVC_URL", at("eventsvc")),
            ("SWITCHYARD_ENGINE_URL", at("engine")),
        ]);
        if service == Service::Credsvc {
            vars.insert("SWITCHYARD_ROOT_KEY", secret("switchyard_root_key".into()));
        }
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value));
        vars.chain(self.extra.clone()).collect()
    }
}

fn ok(dir: &Path, name: &str, arguments: &[&str], vars: &BTreeMap<String, String>) -> String {
    let (status, output) = Process::run(dir, name, arguments, vars);
    let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
    assert!(status.success(), "`switchyard {name}` ended with {status}: {log}");
    output
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ports() -> BTreeMap<String, u16> {
    let names = Service::ALL.iter().map(|service| service.name()).chain(["internal"]);
    let mut chosen = BTreeSet::new();
    while chosen.len() <= Service::ALL.len() {
        chosen.insert(free_port());
    }
    names.map(str::to_owned).zip(chosen).collect()
}

/// The end of a log.
fn tail(log: &str) -> String {
    let mut last: Vec<&str> = log.lines().rev().take(5).collect();
    last.reverse();
    last.join("\n")
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
