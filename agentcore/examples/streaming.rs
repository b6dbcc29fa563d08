//! What an agent does, as it does it: `cargo run -p agentcore --example streaming`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, EventKind, RunOptions, run_stream_with, tool};
use futures::StreamExt;

/// Says what time it is.
#[tool(effect = read)]
async fn clock(city: String) -> String {
    format!("noon in {city}")
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("guide").model("sim:demo").tool(clock).build()?;

    // Without `detailed` only text and tool calls are shown.
    let mut events = run_stream_with(&agent, "Bern", RunOptions::new().detailed());
    while let Some(event) = events.next().await {
        let event = event?;
        match event.kind {
            EventKind::Text { text } => print!("{text}"),
            EventKind::ToolCall { tool_name, arguments, .. } => {
                println!("\n{}> {} calls {tool_name} {arguments}", event.seq, event.agent_name);
            }
            EventKind::ToolResult { content, .. } => println!("{}> {content}", event.seq),
            EventKind::Finished { result } => println!("\n[{} steps]", result.steps),
            _ => {}
        }
    }
    Ok(())
}
