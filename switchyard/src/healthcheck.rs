//! `switchyard healthcheck`: asks an address once, for containers that have no other program to ask with.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

/// A container is asked every few seconds, and has to have answered by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints what the address answers; anything but a 2xx is a failure.
pub(crate) async fn once(url: &str) -> anyhow::Result<()> {
    let http = servicekit::peer::internal_http()?;
    let answer = http
        .get(url)
        .timeout(PATIENCE)
        .send()
        .await
        .with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let text = answer.text().await?;
    writeln!(std::io::stdout(), "{text}")?;
    if !status.is_success() {
        bail!("{url} answers {status}");
    }
    Ok(())
}

/// Asks the gateway's `/readyz`, which asks everybody else's, until it says yes.
pub(crate) async fn until_ready(url: &str, stop: &CancellationToken) -> anyhow::Result<()> {
    let http = servicekit::peer::internal_http()?;
    let started = Instant::now();
    loop {
        let answer = http.get(format!("{url}/readyz")).send().await;
        let text = match answer {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if stop.is_cancelled() {
            bail!("stopped before everything was ready");
        }
        if started.elapsed() > Duration::from_secs(60) {
            bail!("not ready after a minute: {text}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
