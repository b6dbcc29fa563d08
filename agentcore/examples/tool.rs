//! A tool is a function with a doc comment: `cargo run -p agentcore --example tool`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, run_blocking, tool};

/// Counts the words of a text.
///
/// # Arguments
/// * `text` - What to count.
#[tool(effect = read)]
fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("counter").model("sim:demo").tool(count_words).build()?;

    let result = run_blocking(&agent, "How many words are these?")?;

    println!("{}", result.output);
    assert!(result.output.ends_with("answered: 5"));
    Ok(())
}
