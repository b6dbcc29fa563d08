//! Agents one after the other and at the same time: `cargo run -p agentcore --example workflow`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, Swarm, run_blocking};

/// The simulated model says what stands in the instructions; a real one would follow them.
fn agent(name: &str, says: &str) -> Result<Agent, agentcore::BuildError> {
    let script = format!("```sim\n[{{ \"text\": \"{says}\" }}]\n```");
    Agent::builder(name).model("sim:script").instructions(script).build()
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let swarm = Swarm::builder()
        .agents([
            agent("researcher", "Ants carry fifty times their weight.")?,
            agent("facts", "Checked: {{input}}")?,
            agent("style", "Shorter: Ants are strong.")?,
            agent("editor", "Both say:\\n{{input}}")?,
        ])
        .flow("researcher >> (facts | style) >> editor")
        .build()?;

    let result = run_blocking(&swarm, "Write about ants")?;

    println!("{}\n({} steps, {} tokens)", result.output, result.steps, result.total_tokens());
    Ok(())
}
