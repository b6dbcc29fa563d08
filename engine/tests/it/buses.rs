//! NATS comes and goes; runs go on.

use serde_json::json;

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn runs_start_end_and_are_followed_while_nats_is_away() {
    let mut app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "tool_calls": [{ "name": "x" }], "delay_ms": 200 }, { "text": "done" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    app.nats.server().kill().await;

    let run = scene::start(&api, &agent).await;
    let events = scene::records(&scene::stream(&api, &run, 0).await);

    assert_eq!(events.last().unwrap().1, "finished");
    assert_eq!(scene::get(&api, &run).await["output"], "done");
}
