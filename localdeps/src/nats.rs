//! A private NATS server with JetStream.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::child::{Program, Running, end_leftover};
use crate::error::Doing;
use crate::home::{create_private, give};
use crate::{Error, ServerUser, find, lock};

const READY_WITHIN: Duration = Duration::from_secs(30);
/// Payloads above 256 KiB travel by reference, so this is far from any message of ours.
const MAX_PAYLOAD: u32 = 2 * 1024 * 1024;

/// How to start it; `Home::nats` fills this in.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    pub store_dir: PathBuf,
    pub log_file: PathBuf,
    /// Configuration text with the accounts or users and what each may do. It may hold passwords.
    pub authorization: String,
    /// `None`: a free one.
    pub port: Option<u16>,
    pub user: Option<ServerUser>,
}

/// A running NATS server. Dropping it stops it.
#[derive(Debug)]
pub struct Nats {
    options: NatsOptions,
    port: u16,
    running: Running,
    /// Invariant: one process works on a store; whoever holds this may stop what is left there.
    _held: File,
}

impl Nats {
    /// Starts the server and returns when it answers.
    pub async fn start(options: NatsOptions) -> Result<Nats, Error> {
        let held = lock::hold(&options.store_dir.with_extension("lock"))?;
        create_private(&options.store_dir, 0o700, options.user.as_ref())?;
        stop_leftover(&options).await;
        let (running, port) = launch(&options).await?;
        Ok(Nats { options, port, running, _held: held })
    }

    /// `nats://127.0.0.1:<port>`, without a user.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
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

    /// Lets it finish writing and stops it. Its port and data are kept for `restart`.
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
        let options = NatsOptions { port: Some(self.port), ..self.options.clone() };
        (self.running, self.port) = launch(&options).await?;
        Ok(())
    }
}

async fn launch(options: &NatsOptions) -> Result<(Running, u16), Error> {
    let user = options.user.as_ref();
    let ports_dir = ports_dir(options);
    let _ = std::fs::remove_dir_all(&ports_dir);
    create_private(&ports_dir, 0o700, user)?;
    let config = config_file(options);
    write_private(&config, &render(options, &ports_dir), user)?;

    let mut running = Running::start(&Program {
        name: "nats-server",
        path: find::nats_server()?,
        args: vec![String::from("-c"), config.display().to_string()],
        signals: "TERM KILL",
        work_dir: &options.store_dir,
        log_file: &options.log_file,
        user,
    })?;

    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(port) = read_port(&ports_dir)
            && answers(port).await
        {
            return Ok((running, port));
        }
        if !running.is_running() {
            return Err(Error::failed("nats-server", "ended while starting", &options.log_file));
        }
        if Instant::now() > deadline {
            return Err(Error::failed("nats-server", "does not answer", &options.log_file));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Port -1 lets the server choose, which no other process can get in between.
fn render(options: &NatsOptions, ports_dir: &Path) -> String {
    let port = options.port.map_or(-1, i32::from);
    format!(
        "host: \"127.0.0.1\"\nport: {port}\nports_file_dir: \"{}\"\n\
         max_payload: {MAX_PAYLOAD}\njetstream {{ store_dir: \"{}\" }}\n{}\n",
        ports_dir.display(),
        options.store_dir.display(),
        options.authorization
    )
}

/// The server writes `<name>_<pid>.ports` once it listens: `{"nats":["nats://127.0.0.1:4222"]}`.
fn ports_file(ports_dir: &Path) -> Option<PathBuf> {
    Some(std::fs::read_dir(ports_dir).ok()?.flatten().next()?.path())
}

fn read_port(ports_dir: &Path) -> Option<u16> {
    let text = std::fs::read(ports_file(ports_dir)?).ok()?;
    let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
    ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}

/// Two servers must never work on one store; the name of the ports file tells whom to end.
async fn stop_leftover(options: &NatsOptions) {
    let Some(file) = ports_file(&ports_dir(options)) else { return };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if let Some(Ok(pid)) = stem.rsplit_once('_').map(|(_, pid)| pid.parse()) {
        let signals = [Signal::SIGTERM, Signal::SIGKILL];
        end_leftover(Pid::from_raw(pid), &config_file(options), signals).await;
    }
}

fn ports_dir(options: &NatsOptions) -> PathBuf {
    options.store_dir.join("ports")
}

fn config_file(options: &NatsOptions) -> PathBuf {
    options.store_dir.join("nats.conf")
}

/// The greeting comes before any login, and tells whether JetStream is up.
async fn answers(port: u16) -> bool {
    let greeting = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        std::io::Result::Ok(line)
    };
    match tokio::time::timeout(Duration::from_secs(1), greeting).await {
        Ok(Ok(line)) => line.starts_with("INFO ") && line.contains("\"jetstream\":true"),
        _ => false,
    }
}

/// Written beside and renamed, so that it is never readable by others nor half there.
pub(crate) fn write_private(
    path: &Path,
    text: &str,
    owner: Option<&ServerUser>,
) -> Result<(), Error> {
    let draft = path.with_added_extension("new");
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)
        .doing("create", &draft)?;
    file.write_all(text.as_bytes()).doing("write", &draft)?;
    give(&draft, owner)?;
    std::fs::rename(&draft, path).doing("write", path)
}
