//! Hears other processes' rings.

use futures::StreamExt as _;
use shared_models::RunId;

use crate::app::App;

/// Passes rings on until the last run has ended: those that are still under way while the process stops may be cancelled.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut rings = app.bell.subscribe().await?;
    loop {
        let ring = tokio::select! {
            ring = rings.next() => ring,
            () = app.drained() => return Ok(()),
        };
        let Some(ring) = ring else { anyhow::bail!("the subscription to the bell ended") };
        app.bell.ring_here();
        let run =
            std::str::from_utf8(&ring.payload).ok().and_then(|text| text.parse::<RunId>().ok());
        if let Some(run) = run {
            app.stage.nudge(run);
        }
    }
}
