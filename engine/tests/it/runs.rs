//! Runs over REST.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_run_calls_its_tool_and_ends_with_what_it_was_told() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("42"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    let body = json!({ "agent": "a", "input": "go", "wait": 30 });
    let run = api.post("/v1/runs", &body).await.expect(200);

    assert_eq!((&run["status"], &run["output"]), (&json!("succeeded"), &json!("told: \"42\"")));
    assert_eq!((&run["finish_reason"], &run["steps"]), (&json!("stop"), &json!(2)));
    assert!(run["usage"]["output_tokens"].as_u64().unwrap() > 0, "{run}");
    let id = run["run_id"].as_str().unwrap();
    let kinds = scene::kinds(&app.db, id).await;
    assert_eq!(
        kinds,
        [
            "created",
            "input",
            "started",
            "model_called",
            "model_replied",
            "tool_intended",
            "tool_answered",
            "model_called",
            "model_replied",
            "finished"
        ]
    );
    let effects = api.get(&format!("/v1/runs/{id}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "done");
    let messages = api.get(&format!("/v1/runs/{id}/messages")).await.expect(200);
    let roles: Vec<&str> =
        messages["items"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_life_of_a_run_is_told_to_the_other_services() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;

    api.post("/v1/runs", &json!({ "agent": "a", "input": "x", "wait": 30 })).await.expect(200);

    let mut admin = app.db.admin().await;
    let told: Vec<(String, bool)> = sqlx::query_as(
        "select envelope ->> 'type', abs(extract(epoch from (envelope ->> 'occurred_at')::timestamptz - now())) < 60
         from engine.outbox order by created_at",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let told: Vec<(&str, bool)> = told.iter().map(|(kind, now)| (kind.as_str(), *now)).collect();
    assert_eq!(told, [("run.created", true), ("run.started", true), ("run.finished", true)]);
}

#[tokio::test]
async fn a_model_in_trouble_is_asked_again_and_the_journal_says_so() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "text": "here", "fail": { "status": 503, "times": 1 } }]);
    scene::scripted(&api, "a", &turns).await;

    let run =
        api.post("/v1/runs", &json!({ "agent": "a", "input": "x", "wait": 30 })).await.expect(200);

    assert_eq!((&run["status"], &run["output"]), (&json!("succeeded"), &json!("here")));
    let kinds = scene::kinds(&app.db, run["run_id"].as_str().unwrap()).await;
    let retried = ["model_called", "model_retried", "model_called", "model_replied", "finished"];
    assert_eq!(kinds[3..], retried);
}

#[tokio::test]
async fn a_model_that_refuses_ends_the_run_with_its_reason() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::scripted(&api, "a", &json!([{ "fail": { "status": 400 } }])).await;

    let run =
        api.post("/v1/runs", &json!({ "agent": "a", "input": "x", "wait": 30 })).await.expect(200);

    assert_eq!(
        (&run["status"], &run["error"]["code"]),
        (&json!("failed"), &json!("model_rejected"))
    );
}

#[tokio::test]
async fn an_unknown_tool_and_wrong_arguments_are_told_to_the_model() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::scripted(&api, "a", &scene::calls(&["nothing"])).await;

    let run =
        api.post("/v1/runs", &json!({ "agent": "a", "input": "x", "wait": 30 })).await.expect(200);

    assert_eq!(run["status"], "succeeded");
    assert_eq!(run["output"], "told: there is no tool `nothing`; there are: none");
}

#[tokio::test]
async fn what_a_run_says_may_hold_any_character() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;

    let input = "nul \u{0} quote \" snowman ☃ emoji 🎈";
    let run = api
        .post("/v1/runs", &json!({ "agent": "a", "input": input, "wait": 30 }))
        .await
        .expect(200);

    assert_eq!(run["output"], input.replace('\0', "\u{fffd}"));
    let path = format!("/v1/runs/{}/messages", run["run_id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200)["items"][1]["content"], input);
}

#[tokio::test]
async fn a_run_is_seen_by_its_owner_its_team_and_administrators_and_by_nobody_else() {
    let app = TestApp::start().await;
    let owner = app.trust.owner().colleague(Role::Member);
    let api = app.person(&owner);
    scene::agent(&api, &json!({ "name": "mine", "model": "sim:echo" })).await;
    let shared = json!({ "name": "ours", "model": "sim:echo", "scope": "team" });
    scene::agent(&api, &shared).await;
    let run = async |name: &str| {
        let body = json!({ "agent": name, "input": "x" });
        api.post("/v1/runs", &body).await.expect(201)["run_id"].as_str().unwrap().to_owned()
    };
    let (mine, ours) = (run("mine").await, run("ours").await);

    let mut stranger = app.trust.owner();
    stranger.tenant = owner.tenant;
    let table = [
        (owner.clone(), true, true),
        (stranger, true, true),
        (owner.teammate(Role::Member), false, true),
        (owner.colleague(Role::Member), false, false),
        (app.trust.owner(), false, false),
    ];
    for (person, sees_mine, sees_ours) in table {
        for (run, sees) in [(&mine, sees_mine), (&ours, sees_ours)] {
            let api = app.person(&person);
            for path in ["", "/messages", "/effects"] {
                let reply = api.get(&format!("/v1/runs/{run}{path}")).await;
                assert_eq!(reply.status, if sees { 200 } else { 404 }, "{path} {}", reply.text);
            }
        }
        let listed = app.person(&person).get("/v1/runs").await.expect(200);
        let count = listed["items"].as_array().unwrap().len();
        assert_eq!(count, usize::from(sees_mine) + usize::from(sees_ours));
    }
}

#[tokio::test]
async fn somebody_who_may_not_see_content_sees_that_there_is_some() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = api
        .post("/v1/runs", &json!({ "agent": "a", "input": "sesame", "wait": 30 }))
        .await
        .expect(200);
    let id = run["run_id"].as_str().unwrap();

    let blind = app.person(&owner.without_payloads());

    for path in ["", "/messages", "/effects", "/events"] {
        let reply = blind.get(&format!("/v1/runs/{id}{path}")).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.text.contains("sesame"), "{path}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_a_run_says_why() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = json!({ "name": "a", "model": "sim:echo", "status": "paused" });
    scene::agent(&api, &agent).await;

    let refused = async |body: Value| {
        let reply = api.post("/v1/runs", &body).await;
        (reply.status, reply.code().to_owned())
    };
    let refusal = |status: u16, code: &str| (status, code.to_owned());

    assert_eq!(
        refused(json!({ "agent": "a", "input": "x" })).await,
        refusal(409, "agent_not_active")
    );
    assert_eq!(
        refused(json!({ "agent": "b", "input": "x" })).await,
        refusal(404, "agent_not_found")
    );
    assert_eq!(refused(json!({ "input": "x" })).await, refusal(422, "validation_failed"));
    assert_eq!(
        refused(json!({ "agent": "a", "input": "" })).await,
        refusal(422, "validation_failed")
    );
    let unknown = json!({ "agent": "a", "input": "x", "inptu": 1 });
    assert_eq!(refused(unknown).await, refusal(422, "validation_failed"));
}

#[tokio::test]
async fn the_same_idempotency_key_starts_one_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner()).header("idempotency-key", "once");
    scene::agent(&app.person(&app.trust.owner()), &json!({ "name": "x" })).await;
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let body = json!({ "agent": "a", "input": "x" });

    let first = api.post("/v1/runs", &body).await.expect(201);
    let again = api.post("/v1/runs", &body).await;

    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(201)["run_id"], first["run_id"]);
    let other = api.post("/v1/runs", &json!({ "agent": "a", "input": "y" })).await;
    assert_eq!(other.refusal(), (422, "idempotency_key_reused"));
}
