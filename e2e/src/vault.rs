//! credsvc alone, as processes over servers of its own: for what is done to keys while everything is served.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use localdeps::{Home, Nats, Postgres};
use serde_json::{Value, json};
use servicekit::{caller::SUBJECT_TOKEN, verifier::KeySet};
use shared_models::{AgentId, RunId, Service};
use sqlx::PgPool;
use testkit::{Answer, Api, Person, Stub, Trust, eventually_within};

use crate::Process;

/// Its processes, the servers, and the keys that people and services sign with.
pub struct VaultStage {
    // Fields drop in order: services, servers, folders.
    processes: BTreeMap<u16, Process>,
    /// A client of each: one that is made anew for a request reads all certificates again.
    doors: BTreeMap<u16, Api>,
    /// The database.
    pub postgres: Postgres,
    _nats: Nats,
    _keys: Stub,
    dir: tempfile::TempDir,
    home: Home,
    vars: BTreeMap<String, String>,
    /// Who people and services are.
    pub trust: Trust,
}

impl VaultStage {
    /// Starts one credsvc under root key version 1.
    pub async fn start() -> Self {
        let (home, dir) = (Home::temporary().unwrap(), tempfile::tempdir().unwrap());
        let none = BTreeMap::new();
        let secrets = pairs(&ok(dir.path(), &["secrets"], &none));
        let users = ok(dir.path(), &["nats-config"], &secrets);
        let postgres = Postgres::start(home.postgres()).await.unwrap();
        let nats = testkit::start_nats(home.nats(users)).await;
        let mut vars = secrets.clone();
        vars.insert("SWITCHYARD_DATABASE_ADMIN_URL".into(), postgres.admin_url());
        vars.insert("SWITCHYARD_NATS_URL".into(), nats.url());
        ok(dir.path(), &["migrate"], &vars);
        let trust = Trust::new();
        let known = serde_json::to_value(KeySet { keys: trust.public() }).unwrap();
        let keys = Stub::start(move |_| Answer::Json(200, known.clone())).await;
        let vars = environment(&secrets, &postgres, &nats, &keys.url());
        let mut this = Self {
            processes: BTreeMap::new(),
            doors: BTreeMap::new(),
            postgres,
            _nats: nats,
            _keys: keys,
            dir,
            home,
            vars,
            trust,
        };
        this.new_root_key(1);
        this.set_root_keys(&[1]);
        this
    }

    /// Makes the file of a root key.
    pub fn new_root_key(&self, version: u32) {
        let path = self.root_key(version).display().to_string();
        ok(self.dir.path(), &["credentials", "new-root-key", &path], &BTreeMap::new());
    }

    /// What processes that start from now on know, the newest first.
    pub fn set_root_keys(&mut self, versions: &[u32]) {
        let entry = |version: &u32| format!("{version}=file:{}", self.root_key(*version).display());
        let list: Vec<String> = versions.iter().map(entry).collect();
        self.vars.insert("SWITCHYARD_ROOT_KEYS".into(), list.join(","));
    }

    fn root_key(&self, version: u32) -> PathBuf {
        self.dir.path().join(format!("root-{version}.key"))
    }

    /// Starts a process that serves, and waits until it is ready.
    pub async fn serve(&mut self) -> u16 {
        let port = testkit::free_port();
        let mut vars = self.vars.clone();
        vars.insert("SWITCHYARD_LISTEN".into(), format!("127.0.0.1:{port}"));
        let name = format!("credsvc-{port}");
        let mut process = Process::start(self.dir.path(), &name, &["serve", "credsvc"], &vars);
        let api = Api::at(format!("http://127.0.0.1:{port}"));
        eventually_within(Duration::from_secs(60), "credsvc to be ready", async || {
            assert!(process.running(), "it ended by itself: {}", process.log());
            let listens = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            (listens && api.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        self.processes.insert(port, process);
        self.doors.insert(port, api);
        port
    }

    /// Stops a process as an orchestrator would: what it was asked is answered first.
    pub fn stop(&mut self, port: u16) {
        // Dropped, it is told to stop and waited for.
        self.processes.remove(&port);
    }

    /// Runs a command of the binary to its end.
    pub fn command(&self, arguments: &[&str]) -> String {
        ok(self.dir.path(), arguments, &self.vars)
    }

    /// Begins a command of the binary.
    pub fn begin(&self, arguments: &[&str]) -> Process {
        Process::start(self.dir.path(), "command", arguments, &self.vars)
    }

    /// The database, as somebody who is not bound by its rules.
    pub async fn admin(&self) -> PgPool {
        PgPool::connect(&self.postgres.admin_url()).await.unwrap()
    }

    /// A person's address of a process.
    pub fn person(&self, port: u16, person: &Person) -> Api {
        self.doors[&port].token(&person.token(Service::Credsvc))
    }

    /// Stores a credential and grants it to an agent of its owner's.
    pub async fn store(
        &self,
        port: u16,
        owner: &Person,
        agent: AgentId,
        name: &str,
        secret: &str,
    ) -> String {
        let body = json!({ "name": name, "credentials": { "token": secret } });
        let path = format!("/tenant/{}/credentials", owner.tenant);
        let made = self.person(port, owner).post(&path, &body).await.expect(201);
        let id = made["credential_id"].as_str().unwrap().to_owned();
        let grant = json!({ "credential_id": id, "owner": owner.user,
            "grantee": { "kind": "agent", "id": agent } });
        let engine = self.doors[&port]
            .token(&self.engine(owner, None))
            .header(SUBJECT_TOKEN, &owner.token(Service::Engine));
        engine.post("/internal/grants", &grant).await.expect(201);
        id
    }

    /// Leases a secret as the engine does.
    pub async fn lease(&self, port: u16, owner: &Person, agent: AgentId, id: &str) -> (u16, Value) {
        let body = json!({ "grantee": { "kind": "agent", "id": agent }, "owner": owner.user,
            "purpose": "tool:x", "host": "api.example.com" });
        let engine = self.doors[&port].token(&self.engine(owner, Some(RunId::mint())));
        let reply = engine.post(&format!("/internal/credentials/{id}/resolve"), &body).await;
        (reply.status, reply.body)
    }

    fn engine(&self, owner: &Person, run: Option<RunId>) -> String {
        self.trust.service_token(Service::Engine, Service::Credsvc, owner.tenant, "tool:x", run)
    }

    /// Every file of the servers and of the processes, but the root keys, that holds these bytes.
    pub fn files_with(&self, needle: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.state().to_owned(), self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && holds(&path, needle) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// A file that is gone meanwhile holds nothing.
fn holds(path: &Path, needle: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle))
}

fn environment(
    secrets: &BTreeMap<String, String>,
    postgres: &Postgres,
    nats: &Nats,
    keys: &str,
) -> BTreeMap<String, String> {
    let database = |login: &str| {
        let password = &secrets[&format!("CREDSVC_DB_{}_PASSWORD", login.to_uppercase())];
        postgres.url(&format!("credsvc_{login}"), password, "postgres")
    };
    let vars = [
        ("SWITCHYARD_DATABASE_URL", database("app")),
        ("SWITCHYARD_DATABASE_SYSTEM_URL", database("system")),
        ("SWITCHYARD_NATS_URL", nats.url()),
        ("SWITCHYARD_NATS_PASSWORD", secrets["CREDSVC_NATS_PASSWORD"].clone()),
        ("SWITCHYARD_SERVICE_KEY", Trust::seed(Service::Credsvc)),
        ("SWITCHYARD_JWKS_URL", format!("{keys}/internal/jwks")),
        ("SWITCHYARD_LOG", "debug".to_owned()),
    ];
    vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn ok(dir: &Path, arguments: &[&str], vars: &BTreeMap<String, String>) -> String {
    // Each has a file of its own for its words.
    let name = format!("{}-{:08x}", arguments.join("-").replace('/', "_"), rand::random::<u32>());
    let mut process = Process::start(dir, &name, arguments, vars);
    let status = process.wait(Duration::from_secs(600));
    assert!(status.success(), "`switchyard {arguments:?}` ended with {status}: {}", process.log());
    process.output()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
