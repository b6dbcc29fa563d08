//! An agent with a tool, streamed, on the simulated model: `cargo run -p agentcore --example tool`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, Effect, FnTool, RunEvent, run_stream};
use futures::StreamExt;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = json!({
        "type": "object",
        "required": ["text"],
        "properties": { "text": { "type": "string", "description": "What to count." } },
    });
    let count = FnTool::new("count_words", "Counts words.", schema, async |arguments: Value| {
        let text = arguments["text"].as_str().unwrap_or_default();
        Ok(format!("{} words", text.split_whitespace().count()))
    });
    let agent =
        Agent::builder("counter").model("sim:demo").tool(count.effect(Effect::Read)).build()?;

    let mut events = run_stream(&agent, "How many words are these?");
    while let Some(event) = events.next().await {
        match event? {
            RunEvent::Text { text, .. } => print!("{text}"),
            RunEvent::ToolCall { tool_name, .. } => println!("\n[calls {tool_name}]"),
            RunEvent::ToolResult { content, .. } => println!("[it says: {content}]"),
            RunEvent::Finished(result) => println!("\n[{} steps]", result.steps),
            RunEvent::Reasoning { .. } | RunEvent::Retrying { .. } => {}
        }
    }
    Ok(())
}
