//! What an agent and its tools know in common: `cargo run -p agentcore --example context`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, Context, InstructionsCx, RunOptions, ToolCx, run_with, tool};

/// Puts something into the basket.
#[tool]
fn buy(what: String, cx: &ToolCx) -> String {
    let mut basket: Vec<String> = cx.context().get_as("basket").unwrap_or_default();
    basket.push(what);
    cx.context().set("basket", basket.clone());
    format!("the basket holds {}", basket.join(", "))
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("shop")
        .model("sim:demo")
        .instructions_with(|cx: &InstructionsCx| {
            let customer: Option<String> = cx.context.get_as("customer");
            format!("You serve {}.", customer.unwrap_or_else(|| "somebody".into()))
        })
        .tool(buy)
        .build()?;
    let context = Context::new();
    context.set("customer", "Ada");

    for wish in ["tea", "bread"] {
        // A run works on a fork, which is merged when it has succeeded.
        let result = run_with(&agent, wish, RunOptions::new().context(context.clone())).await?;
        println!("{}", result.output);
    }

    assert_eq!(context.get_as::<Vec<String>>("basket").map(|basket| basket.len()), Some(2));
    Ok(())
}
