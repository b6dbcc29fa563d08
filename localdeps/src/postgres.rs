//! A private Postgres.

mod data;
mod settings;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::child::{Program, Running};
use crate::error::Doing;
use crate::home::create_private;
use crate::{Error, ServerUser, lock};

/// Long enough for the recovery of a large database after a crash.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// A port may be taken between choosing and using it; what a killed server left may need a moment.
const ATTEMPTS: u32 = 5;
const SUPERUSER: &str = "postgres";

/// How to start it; `Home::postgres` fills this in.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub data_dir: PathBuf,
    pub socket_dir: PathBuf,
    pub log_file: PathBuf,
    /// `false` for tests: a crash of the machine may lose everything, and nothing waits for disks.
    pub durable: bool,
    /// Taken when free; otherwise, and when `None`, any free one.
    pub port: Option<u16>,
    pub max_connections: u32,
    pub user: Option<ServerUser>,
}

/// A running Postgres. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    password: String,
    port: u16,
    running: Running,
    /// Invariant: one process works on a data folder; whoever holds this may stop what is left there.
    _held: File,
}

impl Postgres {
    /// Starts the server, on the first start after creating its data, and returns when it answers.
    ///
    /// Recovers by itself from whatever a killed predecessor left: half-created data, a server that
    /// still runs, a stale process id file.
    pub async fn start(options: PostgresOptions) -> Result<Postgres, Error> {
        let held = lock::hold(&options.data_dir.with_extension("lock"))?;
        create_private(&options.socket_dir, 0o700, options.user.as_ref())?;
        let password = data::password(&options)?;
        let bin_dir = data::ensure(&options).await?;
        data::stop_leftover(&options.data_dir).await;

        let mut attempt = 1;
        loop {
            let port = choose_port(options.port.filter(|_| attempt == 1))?;
            let mut running = launch(&options, &bin_dir, port)?;
            match wait_until_ready(&options, &mut running).await {
                Ok(()) => return Ok(Postgres { options, password, port, running, _held: held }),
                Err(_) if attempt < ATTEMPTS && !running.is_running() => attempt += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The superuser's address, over TCP. For migrations and tests, never for services.
    pub fn admin_url(&self) -> String {
        self.url(SUPERUSER, &self.password, "postgres")
    }

    /// A login's address over TCP.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A login's address over the unix socket, which is faster; both sqlx and psql understand it.
    pub fn socket_url(&self, user: &str, password: &str, database: &str) -> String {
        let host = self.options.socket_dir.display().to_string().replace('/', "%2F");
        format!("postgres://{user}:{password}@{host}:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    /// Cuts every connection, writes everything down and stops.
    pub async fn stop(&mut self) {
        self.running.stop().await;
    }

    /// `kill -9`, as a crash would.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Starts it again with the same data on the same port; stops it first when it runs.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.running.stop().await;
        let bin_dir = data::ensure(&self.options).await?;
        let mut attempt = 1;
        loop {
            self.running = launch(&self.options, &bin_dir, self.port)?;
            match wait_until_ready(&self.options, &mut self.running).await {
                Err(_) if attempt < ATTEMPTS && !self.running.is_running() => attempt += 1,
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

fn launch(options: &PostgresOptions, bin_dir: &Path, port: u16) -> Result<Running, Error> {
    Running::start(&Program {
        name: "postgres",
        path: bin_dir.join("postgres"),
        args: settings::arguments(options, port),
        // Fast, then immediate shutdown; both leave data that the next start recovers.
        signals: "INT QUIT KILL",
        work_dir: options.data_dir.parent().unwrap_or(Path::new("/")),
        log_file: &options.log_file,
        user: options.user.as_ref(),
    })
}

async fn wait_until_ready(options: &PostgresOptions, running: &mut Running) -> Result<(), Error> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if data::is_ready(&options.data_dir, running.pid()) {
            return Ok(());
        }
        if !running.is_running() {
            return Err(Error::failed("postgres", "ended while starting", &options.log_file));
        }
        if Instant::now() > deadline {
            return Err(Error::failed("postgres", "does not answer", &options.log_file));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn choose_port(wanted: Option<u16>) -> Result<u16, Error> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    let listener = wanted.and_then(|port| bind(port).ok()).map_or_else(|| bind(0), Ok);
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.doing("find a free port on", Path::new("127.0.0.1"))?.port())
}
