//! An agent whose process dies at every moment there is: after each commit of its run's journal, and before and after
//! everything the run does to the world. The run uses every kind of effect, an approval, an answer that comes later, a moment
//! it waits for and another run.

use serde_json::json;

use crate::crash_world::{Tool, World, call, give};

/// Calls of one run, one after the other, with what a repeat of each does.
const TOOLS: &[Tool] = &[
    ("look", "GET", "read"),
    ("put", "PUT", "idempotent"),
    ("charge", "POST", "keyed"),
    ("refund", "POST", "unsafe"),
    ("pay", "POST", "unsafe"),
    ("work", "POST", "unsafe"),
];

#[tokio::test]
async fn a_run_comes_to_the_same_end_whenever_its_process_dies_and_does_nothing_unsafe_twice() {
    let mut world = World::begin(TOOLS).await;
    let calls: Vec<&str> = TOOLS.iter().map(|(name, ..)| *name).collect();
    let more = [
        call("nap", json!({ "seconds": 1_800 })),
        call("delegate", json!({ "task": "{{input}}" })),
        json!({ "text": "done: {{last_tool_result}}" }),
    ];
    let agent = world.worker("parent", &calls, &more).await;
    let nap = json!({ "name": "nap", "kind": "builtin", "config": { "builtin": "wait" } });
    give(&world.api(), &agent, nap).await;
    world.delegate(&agent).await;
    world.start_with(json!({ "agent_id": agent }));

    let moments = world.prove(|_| true).await;

    for name in calls {
        for when in ["before", "about to send", "after"] {
            let moment = format!("run: {when} {name} #1");
            assert!(moments.contains(&moment), "there is no moment {moment}");
        }
    }
}
