//! A model that goes round in circles is stopped: `cargo run -p agentcore --example loops`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, FailureCode, run_blocking, tool};

/// Looks for something.
#[tool(effect = read)]
fn look(at: String) -> String {
    format!("nothing at {at}")
}

// The simulated model is scripted to say its last turn again and again.
const SCRIPT: &str = r#"```sim
[{ "tool_calls": [{ "name": "look", "arguments": { "at": "the door" } }], "repeat": true }]
```"#;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent =
        Agent::builder("lost").model("sim:script").instructions(SCRIPT).tool(look).build()?;

    let Err(stopped) = run_blocking(&agent, "Find the key") else {
        return Err("it should have failed".into());
    };

    println!("{stopped}");
    assert_eq!(stopped.failure().map(|failure| failure.code), Some(FailureCode::LoopDetected));
    assert_eq!(stopped.result().map(|result| result.steps), Some(3));
    Ok(())
}
