//! Live events over the public address: cut, resumed, watched late.

use e2e::{Fleet, Scene, follow, follow_from};
use serde_json::json;
use testkit::{Answer, Stub};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_anywhere_and_resumed_gives_the_exact_sequence_and_so_does_a_late_viewer() {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let fleet = Fleet::start(&[("SWITCHYARD_EGRESS_ALLOW", &allow)]).await;
    let call = json!({ "name": Scene::tool_name("stream"), "arguments": { "text": "go" } });
    let step = |n: u32| json!({ "tool_calls": [{ "name": call["name"], "arguments": { "text": n.to_string() } }], "delay_ms": 150 });
    let turns =
        json!([step(1), step(2), step(3), step(4), { "text": "all of it", "delay_ms": 150 }]);
    let url = format!("{}/act", outside.url());
    let scene =
        Scene::make(&fleet.api(), &fleet.tenant, "stream", "read", &url, "secret-secret-6", &turns)
            .await;

    let run = scene.run("go").await;
    let (address, key) = (fleet.url(), fleet.key.clone());
    let (whole, pieces) =
        tokio::join!(follow(&address, &key, &run), in_pieces(&address, &key, &run));
    let late = follow(&address, &key, &run).await;

    assert!(whole.len() > 10, "{whole:?}");
    assert_eq!(whole, pieces);
    assert_eq!(whole, late);
    let last = whole.last().map(|event| event.id);
    let (nothing, status) = follow_from(&address, &key, &run, last, usize::MAX).await;
    assert_eq!((nothing, status), (vec![], 204));
}

/// Reads a few events at a time, each time over a new connection from where the last one was cut.
async fn in_pieces(url: &str, key: &str, run: &str) -> Vec<e2e::Event> {
    let mut all: Vec<e2e::Event> = Vec::new();
    for most in [1, 2, 3, 1, 4, 2, 1, 5].into_iter().cycle() {
        let last = all.last().map(|event| event.id);
        let (events, status) = follow_from(url, key, run, last, most).await;
        all.extend(events);
        if status == 204 {
            return all;
        }
    }
    unreachable!("the lengths repeat for ever")
}
