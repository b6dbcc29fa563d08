//! What becomes of triggers when their agent does.

use serde_json::{Value, json};
use shared_models::{
    AgentId, SwarmId, TriggerId,
    events::{agent::AgentDeleted, swarm::SwarmDeleted},
};
use testkit::eventually;

use crate::harness::World;

async fn trigger(world: &World, id: TriggerId) -> Value {
    world.mine().get(&format!("/v1/triggers/{id}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_triggers_of_a_deleted_agent_pause_and_say_why() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let other = AgentId::mint();
    world.show_agent(other, &world.owner, "user");
    let unconcerned = world.open_trigger(json!({ "agent_id": other })).await;

    let gone = AgentDeleted { agent_id: world.agent, name: "triage".into() };
    world.engine().await.tell(world.owner.tenant, &gone).await;

    let paused = eventually("the trigger to pause", async || {
        let trigger = trigger(&world, hook).await;
        (trigger["status"]["state"] == "paused").then_some(trigger)
    })
    .await;
    assert_eq!(paused["status"]["paused_why"], "its agent `triage` was deleted");
    assert_eq!(trigger(&world, unconcerned).await["status"]["state"], "listening");

    // Given another agent it goes on, and has nothing to explain.
    let patch = json!({ "agent_id": other, "paused": false });
    let path = format!("/v1/triggers/{hook}");
    let resumed = world.mine().patch(&path, &patch).await.expect(200);
    assert_eq!(resumed["status"]["state"], "listening");
    assert_eq!(resumed["status"]["paused_why"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_starts_a_swarm_and_pauses_when_the_swarm_is_deleted() {
    let world = World::start().await;
    let (swarm, unknown) = (SwarmId::mint(), SwarmId::mint());
    world.show_swarm(swarm, &world.owner);
    let at = |id: String| {
        json!({ "system": "webhook", "target": { "kind": "swarm", "id": id },
        "options": { "verify": { "scheme": "none" } } })
    };
    let refused = world.mine().post("/v1/triggers", &at(unknown.to_string())).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/target/id");
    let refused = world.mine().post("/v1/triggers", &at("agt_1".into())).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/target/id");

    let made = world.mine().post("/v1/triggers", &at(swarm.to_string())).await.expect(201);
    assert_eq!(made["target"], json!({ "kind": "swarm", "id": swarm }));
    let id: TriggerId = made["id"].as_str().unwrap().parse().unwrap();
    let gone = SwarmDeleted { swarm_id: swarm, name: "newsroom".into() };
    world.engine().await.tell(world.owner.tenant, &gone).await;

    let paused = eventually("the trigger to pause", async || {
        let trigger = trigger(&world, id).await;
        (trigger["status"]["state"] == "paused").then_some(trigger)
    })
    .await;
    assert_eq!(paused["status"]["paused_why"], "its swarm `newsroom` was deleted");
}
