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
    healthcheck, migrate, operator,
    roles::Role,
    secrets::{self, Secrets},
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

    let secrets = Secrets::keep_at(&home.dir().join("secrets.env"))?;
    guide::say("starting Postgres and NATS");
    let soft = life.soft();
    let mut servers = tokio::select! {
        started = Servers::start(&home, &secrets) => started?,
        () = soft.cancelled() => return Ok(()),
    };

    // A Ctrl-C ends this at any point; whatever was started by then is stopped in order: services, then servers.
    let ended = tokio::select! {
        biased;
        () = soft.cancelled() => Ok(()),
        ended = run(&home, &lock, &secrets, &mut servers, (listen, with_demo), &life) => ended,
    };
    guide::say("stopping");
    life.shutdown();
    let failure = life.wait(Duration::from_secs(10)).await;
    servers.stop().await;
    drop(lock);
    ended.and(failure.map_err(anyhow::Error::msg))
}

async fn run(
    home: &Home,
    lock: &Lock,
    secrets: &Secrets,
    servers: &mut Servers,
    (listen, with_demo): (Option<SocketAddr>, bool),
    life: &Lifecycle,
) -> anyhow::Result<()> {
    guide::say("preparing databases and streams");
    migrate::migrate(&servers.places, secrets).await?;
    let request = BootstrapRequest { email: "admin@example.com".into(), tenant: "Home".into() };
    let tenant = FirstTenant::ensure(home.dir(), &servers.places, secrets, request).await?;

    guide::say("starting services");
    let receiver = Receiver::start(home.dir(), life).await?;
    let mut ports = Ports::choose(listen).await?;
    let url = format!("http://{}", ports.public);
    for &service in Service::ALL {
        let vars = stage::environment(service, &ports, servers, secrets, home, &receiver)?;
        if service == Service::Credsvc {
            operator::leave(home.dir(), &vars)?;
        }
        let mut env = Env::from_map(vars);
        let role = Role::read(service, &mut env);
        env.finish().map_err(Invalid)?;
        let listener = ports.listener(service)?;
        role.start(listener, life).await.with_context(|| format!("cannot start {service}"))?;
    }
    healthcheck::until_ready(&url, &life.soft()).await?;

    let demo = if with_demo {
        let made = Demo::ensure(home.dir(), &url, &tenant, &receiver.url()).await;
        Some(made.context("cannot make the demo")?)
    } else {
        None
    };
    let text = guide::env_file(&url, &tenant, demo.as_ref());
    secrets::write_private(&home.dir().join("env"), &text)?;
    lock.publish(&url)?;
    guide::print_up(&url, home.dir(), &tenant, demo.as_ref());
    servers.watch(life).await;
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
