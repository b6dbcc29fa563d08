//! Runs of agents whose output must be JSON of a kind.

use serde_json::json;

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn an_output_that_does_not_fit_is_sent_back_once_and_then_fails_the_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let schema = json!({ "type": "object", "required": ["n"] });
    let agent = json!({ "name": "a", "model": "sim:echo", "output_schema": schema });
    scene::agent(&api, &agent).await;
    let ask = async |input: &str| {
        api.post("/v1/runs", &json!({ "agent": "a", "input": input, "wait": 30 })).await.expect(200)
    };

    let fits = ask(r#"{"n": 1}"#).await;
    assert_eq!((&fits["status"], &fits["steps"]), (&json!("succeeded"), &json!(1)), "{fits}");
    assert_eq!(fits["parsed"], json!({ "n": 1 }));
    let listed = api.get("/v1/runs").await.expect(200);
    assert_eq!(listed["items"][0]["parsed"], json!({ "n": 1 }));

    let nice = ask("nice").await;
    assert_eq!((&nice["status"], &nice["steps"]), (&json!("failed"), &json!(2)), "{nice}");
    let error = nice["error"].to_string();
    assert!(error.contains("output_invalid") && error.contains("not JSON"), "{nice}");
    let kinds = scene::kinds(&app.db, nice["run_id"].as_str().unwrap()).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "model_replied").count(), 2);
}
