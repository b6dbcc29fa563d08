//! `switchyard`: every role of the platform in one binary.
//!
//! `up` runs all of it on this machine, `serve` one service, `migrate` prepares databases and streams. Data goes to
//! stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 already running; 4 to 6
//! say what an evaluation or a run has come to, see `evaluate` and `runs`.

mod api;
mod audit;
mod config;
mod credentials;
mod demo;
mod documents;
mod evaluate;
mod first_tenant;
mod healthcheck;
mod init;
mod migrate;
mod operator;
mod roles;
mod runs;
mod secrets;
mod serve;
mod up;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use shared_models::Service;

/// Many small things are made on one thread and dropped on another; the system's allocator spends a tenth of a run on that.
/// Without huge pages: half of what they hold is never used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events become agent work: a self-hosted platform for durable LLM agents.
#[derive(Parser)]
#[command(name = "switchyard", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on this machine: private Postgres and NATS, every service, a demo agent.
    ///
    /// State is kept in `.switchyard/`. Ctrl-C stops what this started. DATABASE_URL and NATS_URL, when set, are used
    /// instead of starting servers.
    Up {
        /// Where state is kept.
        #[arg(long, default_value = ".switchyard")]
        home: PathBuf,
        /// The public address; another port is taken when this one is busy and was not asked for.
        #[arg(long, env = "SWITCHYARD_LISTEN")]
        listen: Option<std::net::SocketAddr>,
        /// Do not make the demo tenant's agent, tool, credential and trigger.
        #[arg(long)]
        no_demo: bool,
    },
    /// Run one service until it is told to stop; configured by the environment (see `switchyard config`).
    Serve {
        /// Which service.
        #[arg(value_parser = clap::value_parser!(Service))]
        service: Service,
    },
    /// Make logins and schemas, apply migrations, make streams and consumers, publish the services' keys.
    Migrate,
    /// Make the platform administrator, a first tenant and its API key, if there are none; prints what it made.
    Bootstrap {
        /// The administrator's e-mail address.
        #[arg(long, default_value = "admin@example.com")]
        email: String,
        /// The tenant's name.
        #[arg(long, default_value = "Home")]
        tenant: String,
        /// Keep the key in a file in this folder instead of printing it.
        #[arg(long)]
        home: Option<PathBuf>,
    },
    /// Make secrets and configuration for containers, in a folder for each; what is there stays.
    Init {
        /// The folder above them.
        dir: PathBuf,
        /// The database and its administrator, as containers reach them.
        #[arg(long, default_value = "postgres://postgres@postgres:5432/switchyard")]
        database: reqwest::Url,
    },
    /// Make the demo tenant's agent, tool, credential and trigger in a running platform; print commands to try.
    Demo(demo::command::Options),
    /// Run the demo's outside world, which its agent's tool calls.
    DemoReceiver {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:9000")]
        listen: std::net::SocketAddr,
    },
    /// Try an agent with its test cases; with `--wait` the exit code says whether all is as expected.
    Evaluate(evaluate::Options),
    /// Let a run go on from any of its steps with something changed; see how two runs differ.
    #[command(subcommand)]
    Runs(runs::Command),
    /// Ask an address once: 0 when it answers that all is well.
    Healthcheck {
        /// Such as `http://127.0.0.1:8080/readyz`.
        url: String,
    },
    /// Print new secrets for a deployment, as lines of an environment file.
    Secrets,
    /// Print nats-server's `authorization` block for the secrets in the environment.
    NatsConfig,
    /// Print the effective configuration with secrets masked, or every problem with it.
    Config {
        /// Of one service only.
        service: Option<Service>,
    },
    /// Rotate keys, verify that secrets open, destroy a tenant's keys; configured as `serve credsvc` is, or run in the
    /// folder where `up` runs.
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Look after the audit of credentials; configured as `serve credsvc` is, or run in the folder where `up` runs.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Write the OpenAPI documents and event schemas into a folder.
    #[command(hide = true)]
    Openapi {
        /// The folder.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let done = runtime.block_on(async {
        let done = match cli.command {
            Command::Evaluate(options) => return evaluate::run(options).await,
            Command::Runs(command) => return runs::run(command).await,
            Command::Up { home, listen, no_demo } => up::up(&home, listen, !no_demo).await,
            Command::Serve { service } => serve::serve(service).await,
            Command::Migrate => migrate::from_env().await,
            Command::Bootstrap { email, tenant, home } => {
                migrate::bootstrap(email, tenant, home.as_deref()).await
            }
            Command::Init { dir, database } => init::init(&dir, &database),
            Command::Demo(options) => demo::command::run(options).await,
            Command::DemoReceiver { listen } => demo::receiver::run(listen).await,
            Command::Healthcheck { url } => healthcheck::once(&url).await,
            Command::Secrets => secrets::print_new(),
            Command::NatsConfig => secrets::print_nats_config(),
            Command::Config { service } => config::print(service),
            Command::Credentials(command) => credentials::run(command).await,
            Command::Audit(audit::Command::Verify) => audit::verify().await,
            Command::Openapi { dir } => documents::write(&dir),
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "switchyard: {error:#}");
    if error.is::<config::Invalid>() || error.is::<api::Usage>() {
        return ExitCode::from(2);
    }
    let running = error.downcast_ref::<localdeps::Error>();
    if matches!(running, Some(localdeps::Error::AlreadyRunning(_))) {
        ExitCode::from(3)
    } else {
        ExitCode::FAILURE
    }
}
