//! A lead that has others work at the same time: `cargo run -p agentcore --example team`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, Mode, ParallelGroup, Swarm, run_blocking};

/// What the simulated model does; a real one would decide by itself what to delegate to whom.
const DELEGATES: &str = r#"```sim
[
  { "tool_calls": [
    { "name": "delegate_to_analyst", "arguments": { "task": "Count the ants." } },
    { "name": "delegate_to_reviewers", "arguments": { "task": "Look at the plan." } }
  ] },
  { "text": "All have reported; the last one says: {{last_tool_result}}" }
]
```"#;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
    let lead = Agent::builder("lead").model("sim:script").instructions(DELEGATES).build()?;
    let reviewers = ParallelGroup::new("reviewers", [agent("strict")?, agent("kind")?]);
    let swarm = Swarm::builder()
        .agents([lead, agent("analyst")?])
        .agent(reviewers.separator(" / "))
        .mode(Mode::Team)
        .build()?;

    let result = run_blocking(&swarm, "How is the colony?")?;

    println!("{} ({} steps)", result.output, result.steps);
    Ok(())
}
