//! `switchyard up`: the whole platform on one machine, in one process beside its private Postgres and NATS.
//!
//! The services still talk to each other over HTTP and NATS and log in with their own passwords, so nothing works here
//! that would not work apart.

mod stage;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use gateway::bootstrap::BootstrapRequest;
use localdeps::{Home, Lock};
use servicekit::{
    Env, Lifecycle,
    telemetry::{self, TelemetryConfig},
};
use shared_models::Service;

use self::stage::{Ports, Servers};
use crate::{
    config::Invalid,
    demo::{Demo, guide, receiver::Receiver},
    first_tenant::FirstTenant,
    healthcheck, migrate,
    roles::Role,
    secrets::{self, Secrets},
    serve,
};

/// Starts everything, waits until it is ready, prints how to use it, and runs until Ctrl-C.
pub(crate) async fn up(
    home: &Path,
    listen: Option<SocketAddr>,
    with_demo: bool,
) -> anyhow::Result<()> {
    let home = Home::at(home)?;
    let lock = Lock::take(home.dir())?;
    let _telemetry = telemetry::install(&telemetry_config()?)?;
    let life = Lifecycle::new();
    life.stop_on_signals()?;

    // A Ctrl-C while starting must stop what has been started so far.
    let ended = tokio::select! {
        ended = run(&home, &lock, listen, with_demo, &life) => ended,
        () = stopped_early(&life) => Ok(()),
    };
    life.shutdown();
    let failure = life.wait(Duration::from_secs(10)).await;
    drop(lock);
    ended.and(failure.map_err(anyhow::Error::msg))
}

/// `run` ends by itself once it is serving; before that a soft stop has to interrupt it.
async fn stopped_early(life: &Lifecycle) {
    life.soft().cancelled().await;
    tokio::time::sleep(Duration::from_secs(15)).await;
}

async fn run(
    home: &Home,
    lock: &Lock,
    listen: Option<SocketAddr>,
    with_demo: bool,
    life: &Lifecycle,
) -> anyhow::Result<()> {
    let secrets = Secrets::keep_at(&home.dir().join("secrets.env"))?;
    guide::say("starting Postgres and NATS");
    let mut servers = Servers::start(home, &secrets).await?;
    guide::say("preparing databases and streams");
    migrate::migrate(&servers.places, &secrets).await?;
    let request = BootstrapRequest { email: "admin@example.com".into(), tenant: "Home".into() };
    let tenant = FirstTenant::ensure(home.dir(), &servers.places, &secrets, request).await?;

    guide::say("starting services");
    let receiver = Receiver::start(home.dir(), life).await?;
    let mut ports = Ports::choose(listen).await?;
    let address = ports.public;
    for &service in Service::ALL {
        let vars = stage::environment(service, &ports, &servers, &secrets, home, &receiver)?;
        let mut env = Env::from_map(vars);
        let role = Role::read(service, &mut env);
        env.finish().map_err(Invalid)?;
        let listener = ports.listener(service)?;
        role.start(listener, life).await.with_context(|| format!("cannot start {service}"))?;
    }
    let url = format!("http://{address}");
    healthcheck::until_ready(&url, &life.soft()).await?;

    let notes = receiver.url();
    let demo = match with_demo {
        true => Some(
            Demo::ensure(home.dir(), &url, &tenant, &notes).await.context("cannot make the demo")?,
        ),
        false => None,
    };
    secrets::write_private(
        &home.dir().join("env"),
        &guide::env_file(&url, &tenant, demo.as_ref()),
    )?;
    lock.publish(&url)?;
    guide::print_up(&url, home.dir(), &tenant, demo.as_ref());

    servers.watch(life).await;
    guide::say("stopping");
    life.wait(Duration::from_secs(10)).await.map_err(anyhow::Error::msg)?;
    servers.stop().await;
    Ok(())
}

/// Text for people, and only what they should look at, unless they ask for more.
fn telemetry_config() -> anyhow::Result<TelemetryConfig> {
    let mut env = Env::process();
    let asked: (Option<String>, Option<String>) =
        (env.optional("SWITCHYARD_LOG"), env.optional("SWITCHYARD_LOG_FORMAT"));
    let mut config = TelemetryConfig::read(&mut env, "switchyard");
    env.finish().map_err(Invalid)?;
    if asked.0.is_none() {
        config.filter = "warn".into();
    }
    config.json = asked.1.as_deref() == Some("json");
    Ok(config)
}
