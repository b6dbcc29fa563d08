#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod anthropic;
mod broken;
mod embeddings;
mod examples;
mod fake;
mod gemini;
mod hooks;
mod hostile;
mod openai;
mod openai_broken;
mod provider;
mod runs;
mod seed_agents;
mod seed_swarms;
mod swarm_control;
mod swarm_streams;
mod swarms;
mod tool_macro;
