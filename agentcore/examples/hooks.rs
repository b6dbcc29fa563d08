//! Looking into a run, and stopping it: `cargo run -p agentcore --example hooks`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, EventBus, HookData, HookPoint, run_blocking, tool};
use serde_json::{Value, json};

/// Deletes everything.
#[tool]
fn delete_all() -> &'static str {
    "gone"
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A bus carries an application's own events; its handlers cannot stop anything.
    let bus = EventBus::new();
    bus.on("asked", async |data: Value| {
        println!("the model is asked with {} messages", data["messages"]);
        Ok(())
    });
    let agent = Agent::builder("careful")
        .model("sim:demo")
        .tool(delete_all)
        .hook(HookPoint::PreLlmCall, move |data: HookData| {
            let bus = bus.clone();
            let messages = data.messages().map_or(0, <[_]>::len);
            async move {
                bus.emit("asked", json!({ "messages": messages })).await;
                Ok(())
            }
        })
        .hook(HookPoint::PreToolCall, async |data: HookData| match data.tool_name() {
            Some("delete_all") => Err("nothing is deleted here".into()),
            _ => Ok(()),
        })
        .build()?;

    let Err(stopped) = run_blocking(&agent, "Clean up") else {
        return Err("it should have failed".into());
    };

    println!("{stopped}");
    assert!(stopped.to_string().ends_with("nothing is deleted here"));
    Ok(())
}
