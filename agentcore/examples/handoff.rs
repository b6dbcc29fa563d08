//! An agent that hands the conversation over to another: `cargo run -p agentcore --example handoff`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, EventKind, Mode, RunOptions, Swarm, run_stream_with};
use futures::StreamExt;

/// What the simulated model does; a real one would decide by itself whether to call the tool.
const HANDS_OVER: &str = r#"```sim
[{ "text": "A bill, I see. ", "tool_calls": [{ "name": "transfer_to_billing" }] }]
```"#;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let billing = Agent::builder("billing").model("sim:demo").build()?;
    let support = Agent::builder("support").model("sim:demo").build()?;
    let triage = Agent::builder("triage")
        .model("sim:script")
        .instructions(HANDS_OVER)
        .handoffs([&billing, &support])
        .build()?;
    let swarm = Swarm::builder().agents([triage, billing, support]).mode(Mode::Handoff).build()?;

    let mut events = run_stream_with(&swarm, "Why so much?", RunOptions::new().detailed());
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Text { text } => print!("{text}"),
            EventKind::Handoff { from, to } => println!("\n[{from} hands over to {to}]"),
            EventKind::Finished { result } => println!("\n[{} steps]", result.steps),
            _ => {}
        }
    }
    Ok(())
}
