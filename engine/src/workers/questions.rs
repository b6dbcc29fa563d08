//! Hears which runs are watched, and shows the block so far to viewers who join late.

use futures::StreamExt as _;
use shared_models::RunId;

use crate::app::App;

/// Answers until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut questions = app.stage.questions().await?;
    loop {
        let question = tokio::select! {
            question = questions.next() => question,
            () = app.draining.cancelled() => return Ok(()),
        };
        let Some(question) = question else { anyhow::bail!("the subscription to questions ended") };
        let run =
            std::str::from_utf8(&question.payload).ok().and_then(|text| text.parse::<RunId>().ok());
        if let Some(run) = run {
            app.stage.watch(run).await;
        }
    }
}
