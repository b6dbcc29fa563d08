//! A conversation that goes on, and facts that outlive it: `cargo run -p agentcore --example memory`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::Arc;

use agentcore::memory::{InMemory, Memory};
use agentcore::{Agent, RunOptions, run_with};

const SCRIPT: &str = r#"```sim
[{ "tool_calls": [{ "name": "remember", "arguments": { "fact": "The user said: {{input}}" } }] },
 { "text": "I shall remember that." }]
```"#;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Kept for as long as the program runs; implement `Memory` to keep it longer.
    let memory = Arc::new(InMemory::new());
    let agent = Agent::builder("friend")
        .model("sim:script")
        .instructions(SCRIPT)
        .memory(memory.clone())
        .build()?;

    for said in ["I like tea.", "I live in Bern."] {
        let result = run_with(&agent, said, RunOptions::new().conversation("ada")).await?;
        println!("{} ({} messages so far)", result.output, result.messages.len());
    }

    println!("{:?}", memory.recall("Where do I live?", 1).await?);
    assert_eq!(memory.history("ada").await?.len(), 8);
    Ok(())
}
