//! A model in trouble: asked again, then replaced. `cargo run -p agentcore --example retries`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use agentcore::{Agent, EventKind, RetryPolicy, StatusChange, run_stream};
use futures::StreamExt;

// The simulated model is scripted to be overloaded, always.
const SCRIPT: &str = r#"```sim
[{ "text": "never", "fail": { "status": 503 } }]
```"#;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("patient")
        .model("sim:script")
        .instructions(SCRIPT)
        .fallback_model("sim:echo")
        .retries(RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() })
        .build()?;

    let mut events = run_stream(&agent, "Anybody there?");
    let mut retries = 0;
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Status(StatusChange::Retrying { attempt, error }) => {
                println!("attempt {attempt}: {error}");
                retries += 1;
            }
            EventKind::Status(StatusChange::FallingBack { model, .. }) => {
                println!("falling back on {model}");
            }
            EventKind::Finished { result } => println!("{}", result.output),
            _ => {}
        }
    }
    assert_eq!(retries, 3);
    Ok(())
}
