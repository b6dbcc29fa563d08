//! The smallest agent, on the simulated model: `cargo run -p agentcore --example hello`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, run_blocking};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("parrot").model("sim:echo").build()?;

    let result = run_blocking(&agent, "Hello, world")?;

    println!("{} ({} tokens)", result.output, result.total_tokens());
    assert_eq!(result.output, "Hello, world");
    Ok(())
}
