//! A swarm whose process dies at every moment there is. Two of its members work at the same time, each with effects of every
//! kind of its own: one asks for approval, the other has another run work for it. Whichever of them comes to the moment, the
//! other is wherever it just is.

use serde_json::json;

use crate::crash_world::{Tool, World, call};
use crate::swarms::{member, swarm};

const TOOLS: &[Tool] = &[
    ("look", "GET", "read"),
    ("charge", "POST", "keyed"),
    ("refund", "POST", "unsafe"),
    ("pay", "POST", "unsafe"),
    ("put", "PUT", "idempotent"),
];

#[tokio::test]
async fn a_swarm_comes_to_the_same_end_whenever_its_process_dies_and_does_nothing_unsafe_twice() {
    let mut world = World::begin(TOOLS).await;
    let cashier = ["look", "charge", "refund"];
    let clerk = ["pay", "put"];
    let done = |who: &str| json!({ "text": format!("{who} is done") });
    let first = world.worker("cashier", &cashier, &[done("cashier")]).await;
    let delegated = [call("delegate", json!({ "task": "{{input}}" })), done("clerk")];
    let second = world.worker("clerk", &clerk, &delegated).await;
    world.delegate(&second).await;
    let third = world.worker("closer", &[], &[done("{{input}}: closer")]).await;
    let fields = json!({ "name": "office", "flow": "(cashier | clerk) >> closer", "separator": ", ",
        "members": [member(&first, "cashier"), member(&second, "clerk"), member(&third, "closer")] });
    let office = swarm(&world.api(), &fields).await;
    world.start_with(json!({ "swarm_id": office }));

    // Nothing happens between an intent that is written down and the moment before its call; and how an agent's own run
    // dies, as that of the other one is, is seen with agents alone.
    let worth = |moment: &str| !moment.contains(": before ") && !moment.starts_with("child: ");
    let moments = world.prove(worth).await;

    let calls = cashier.iter().map(|name| ("cashier", *name));
    for (who, name) in calls.chain(clerk.map(|name| ("clerk", name))) {
        for when in ["about to send", "after"] {
            let moment = format!("run/{who}: {when} {name} #1");
            assert!(moments.contains(&moment), "there is no moment {moment}");
        }
    }
}
