//! A tool is a function with a doc comment; here it is called in a stream. `cargo run -p agentcore --example tool`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, EventKind, run_stream, tool};
use futures::StreamExt;

/// Counts words.
///
/// # Arguments
/// * `text` - What to count.
#[tool(effect = read)]
fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("counter").model("sim:demo").tool(count_words).build()?;

    let mut events = run_stream(&agent, "How many words are these?");
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Text { text } => print!("{text}"),
            EventKind::ToolCall { tool_name, arguments, .. } => println!("\n[{tool_name} {arguments}]"),
            EventKind::Finished { result } => println!("\n[{} steps]", result.steps),
            _ => {}
        }
    }
    Ok(())
}
