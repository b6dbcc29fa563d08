//! `switchyard serve`: one service, as a container runs it.

use std::time::Duration;

use anyhow::Context as _;
use servicekit::{
    Env, Lifecycle,
    telemetry::{self, TelemetryConfig},
};
use shared_models::Service;
use tokio::net::TcpListener;

use crate::{config::Invalid, roles::Role};

/// How long open requests and tasks have after the first signal.
pub(crate) const GRACE: Duration = Duration::from_secs(25);

/// Runs a service until SIGTERM or SIGINT; a second signal stops it hard.
pub(crate) async fn serve(service: Service) -> anyhow::Result<()> {
    let mut env = Env::process();
    let telemetry_config = TelemetryConfig::read(&mut env, service.name());
    let role = Role::read(service, &mut env);
    env.finish().map_err(Invalid)?;
    let _telemetry = telemetry::install(&telemetry_config)?;

    let life = Lifecycle::new();
    life.stop_on_signals()?;
    let address = role.listen();
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    role.start(listener, &life).await.with_context(|| format!("cannot start {service}"))?;
    tracing::info!(%service, %address, version = env!("CARGO_PKG_VERSION"), "serving");
    life.wait(GRACE).await.map_err(anyhow::Error::msg)
}
