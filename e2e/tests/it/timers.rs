//! A timer starts runs.

use std::time::Duration;

use e2e::Laptop;
use serde_json::{Value, json};
use testkit::eventually_within;

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_starts_runs_by_itself_until_it_is_paused() {
    let laptop = Laptop::start(&[]).await;
    let api = laptop.api();
    let agents = api.get("/v1/agents").await.expect(200);
    let agent = agents["items"][0]["agent_id"].clone();
    let options = json!({ "interval_seconds": 1, "payload": { "note": "at {{slot_at}}" } });
    let trigger = json!({ "system": "timer", "agent_id": agent, "options": options });

    let made = api.post("/v1/triggers", &trigger).await.expect(201);

    let id = made["id"].as_str().unwrap();
    eventually_within(Duration::from_secs(30), "two succeeded runs", async || {
        let runs = api.get("/v1/runs?status=succeeded").await.expect(200);
        let own = |run: &&Value| run["trigger_id"] == id;
        (runs["items"].as_array().unwrap().iter().filter(own).count() >= 2).then_some(())
    })
    .await;
    let path = format!("/v1/triggers/{id}");
    let paused = api.patch(&path, &json!({ "paused": true })).await.expect(200);
    assert_eq!(paused["status"]["timer"]["missed"], 0);
    let deliveries =
        api.get(&format!("/v1/deliveries?trigger_id={id}&limit=100")).await.expect(200);
    let slots: Vec<&Value> =
        deliveries["items"].as_array().unwrap().iter().map(|one| &one["dedupe_key"]).collect();
    assert!(slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
}
