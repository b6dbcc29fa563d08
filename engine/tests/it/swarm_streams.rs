//! What viewers of a swarm's run see live, and when they come late.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::events::LONG;
use crate::harness::TestApp;
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::swarm;

/// The words that were shown as they came, by who said them.
fn words(stream: &str) -> BTreeMap<String, String> {
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    for block in stream.split("\n\n").filter(|block| block.contains("event: delta")) {
        let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let delta: Value = serde_json::from_str(data).unwrap();
        *words.entry(delta["path"].to_string()).or_default() += delta["text"].as_str().unwrap();
    }
    words
}

#[tokio::test]
async fn members_that_speak_at_the_same_time_are_heard_each_at_its_path() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let slowly = || json!([{ "text": LONG, "delay_ms": 4000 }]);
    let (a, b) = (scripted(&api, "a", slowly()).await, scripted(&api, "b", slowly()).await);
    let inner = json!({ "name": "inner", "flow": "(a | b)", "separator": " ", "members": [a, b] });
    let inner = swarm(&api, &inner).await;
    let c = scripted(&api, "c", json!([{ "text": "done" }])).await;
    let outer = json!({ "name": "outer", "flow": "inner >> c",
        "members": [{ "kind": "swarm", "swarm_id": inner, "name": "inner" }, c] });
    let run = start(&api, &swarm(&api, &outer).await).await;

    let live = scene::stream(&api, &run, 0).await;

    let words = words(&live);
    for path in [r#"["inner","a"]"#, r#"["inner","b"]"#] {
        assert_eq!(words[path], LONG, "{path}");
    }
    let replay = scene::stream(&api, &run, 0).await;
    assert_eq!(scene::records(&live), scene::records(&replay));
    assert!(!replay.contains("event: delta"), "the records say it all");
    let replied = |path: Value| {
        let is = |(_, kind, data): &(i64, String, Value)| {
            kind == "model_replied" && data["path"] == path
        };
        scene::records(&replay).iter().any(is)
    };
    assert!(
        replied(json!(["inner", "a"])) && replied(json!(["inner", "b"])) && replied(json!(["c"]))
    );
}
