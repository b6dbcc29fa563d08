//! Hooks of agents: endpoints that are told, rules that decide, and what becomes of a run that one stops.

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::approvals::{asked, path, refund, sent, shop, turns, yes};
use crate::harness::TestApp;
use crate::scene;

const POINTS: [&str; 7] = [
    "start",
    "finished",
    "error",
    "pre_llm_call",
    "post_llm_call",
    "pre_tool_call",
    "post_tool_call",
];

/// Hooks at these points that tell an endpoint.
fn told(url: &str, points: &[&str]) -> Vec<Value> {
    points.iter().map(|point| json!({ "point": point, "url": url, "timeout_ms": 1000 })).collect()
}

/// The points at which a server was told.
fn heard(server: &Stub) -> Vec<String> {
    let point = |seen: testkit::Stubbed| seen.json()["point"].as_str().unwrap_or("?").to_owned();
    server.requests().into_iter().filter(|seen| seen.path == "/hook").map(point).collect()
}

/// An agent that looks once, with these hooks.
async fn agent(api: &Api, name: &str, server: &Stub, arguments: &Value, hooks: &Value) -> String {
    let turns = json!([{ "tool_calls": [{ "name": format!("look-{name}"), "arguments": arguments }] },
        { "text": "told: {{last_tool_result}}" }]);
    let body = json!({ "name": name, "model": "sim:script", "instructions": scene::script(&turns), "hooks": hooks });
    let agent = scene::agent(api, &body).await;
    scene::tool(api, &agent, &format!("look-{name}"), &format!("{}/look", server.url()), "read")
        .await;
    agent
}

async fn run(api: &Api, name: &str) -> Value {
    api.post("/v1/runs", &json!({ "agent": name, "input": "go", "wait": 30 })).await.expect(200)
}

#[tokio::test]
async fn an_endpoint_is_told_of_every_point_once_and_in_order() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let hooks = told(&format!("{}/hook", server.url()), &POINTS);
    agent(&api, "a", &server, &json!({ "n": 1 }), &json!(hooks)).await;

    let ended = run(&api, "a").await;

    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("succeeded"), &json!("told: \"fine\""))
    );
    assert_eq!(
        heard(&server),
        [
            "start",
            "pre_llm_call",
            "post_llm_call",
            "pre_tool_call",
            "post_tool_call",
            "pre_llm_call",
            "post_llm_call",
            "finished"
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
    let seen = server.requests();
    let at = |point: &str| {
        let found = seen.iter().find(|seen| seen.json()["point"] == point).unwrap();
        assert!(!found.header("idempotency-key").is_empty());
        found.json()
    };
    assert_eq!(
        (&at("start")["agent"]["name"], &at("start")["run"]["run_id"]),
        (&json!("a"), &ended["run_id"])
    );
    assert_eq!(at("pre_llm_call")["messages"][1]["content"], "go");
    assert_eq!(at("post_llm_call")["response"]["tool_calls"][0]["name"], "look-a");
    assert_eq!(at("pre_tool_call")["arguments"], json!({ "n": 1 }));
    assert_eq!(at("post_tool_call")["result"]["content"], "\"fine\"");
    let kinds = scene::kinds(&app.db, ended["run_id"].as_str().unwrap()).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "hook_passed").count(), 8);
}

#[tokio::test]
async fn a_rule_stops_a_call_before_it_is_made_and_the_hook_for_errors_is_told() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("paid"))).await;
    let guard = json!({ "point": "pre_tool_call", "name": "limit", "message": "too much",
        "rule": "!tool_name.startsWith('look') || arguments.n <= 100" });
    let mut hooks = vec![guard];
    hooks.extend(told(&format!("{}/hook", server.url()), &["error", "finished"]));
    agent(&api, "small", &server, &json!({ "n": 100 }), &json!(hooks)).await;
    agent(&api, "large", &server, &json!({ "n": 101 }), &json!(hooks)).await;

    let large = run(&api, "large").await;
    assert_eq!(
        (&large["status"], &large["error"]["code"]),
        (&json!("failed"), &json!("hook_failed"))
    );
    assert_eq!(
        large["error"]["message"],
        "the hook `limit` at pre_tool_call stopped the run: too much"
    );
    assert!(server.requests().iter().all(|seen| seen.path == "/hook"), "nothing was called");
    assert_eq!(heard(&server), ["error"]);
    assert_eq!(server.requests()[0].json()["error"]["code"], "hook_failed");

    let small = run(&api, "small").await;
    assert_eq!(small["output"], "told: \"paid\"", "the next run is unaffected");
    assert_eq!(heard(&server), ["error", "finished"]);
}

#[tokio::test]
async fn a_hook_that_fails_says_no_hangs_or_cannot_be_decided_stops_the_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|seen| match seen.path.as_str() {
        "/no" => Answer::Json(200, json!({ "allow": false, "reason": "not today" })),
        "/broken" => Answer::Json(500, json!({})),
        "/hang" => Answer::Never,
        _ => Answer::Json(200, json!("fine")),
    })
    .await;
    let at = |path: &str| format!("{}{path}", server.url());
    let cases = [
        (json!({ "point": "start", "url": at("/no") }), "not today"),
        (json!({ "point": "pre_llm_call", "url": at("/broken") }), "it answered 500"),
        (
            json!({ "point": "post_llm_call", "url": at("/hang"), "timeout_ms": 200 }),
            "at post_llm_call",
        ),
        (json!({ "point": "start", "url": "http://10.0.0.1/hook" }), "not a public address"),
        (json!({ "point": "post_tool_call", "rule": "result.missing == 1" }), "cannot be decided"),
        (json!({ "point": "finished", "rule": "false" }), "its rule does not hold"),
    ];

    for (place, (hook, why)) in cases.into_iter().enumerate() {
        let name = format!("a{place}");
        agent(&api, &name, &server, &json!({}), &json!([hook])).await;
        let ended = run(&api, &name).await;
        assert_eq!(
            (&ended["status"], &ended["error"]["code"]),
            (&json!("failed"), &json!("hook_failed")),
            "{ended}"
        );
        assert!(ended["error"]["message"].as_str().unwrap().contains(why), "{why}: {ended}");
    }
    agent(&api, "fine", &server, &json!({}), &json!([])).await;
    assert_eq!(run(&api, "fine").await["status"], "succeeded");
}

#[tokio::test]
async fn whoever_takes_a_run_over_does_not_ask_a_hook_again_that_let_it_go_on() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let hooks = told(&format!("{}/hook", server.url()), &["start", "pre_llm_call", "finished"]);
    let turns = json!([{ "text": "done", "delay_ms": 2_500 }]);
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&turns), "hooks": hooks });
    let agent = scene::agent(&api, &body).await;
    let first = app.node().await;
    let run = scene::start(&api, &agent).await;
    eventually("the model to be asked", async || {
        let kinds = scene::kinds(&app.db, &run).await;
        kinds.contains(&"model_called".to_owned()).then_some(())
    })
    .await;

    first.kill();
    let _second = app.node().await;
    let ended = scene::until(&api, &run, "succeeded").await;

    assert_eq!(ended["output"], "done");
    assert_eq!(heard(&server), ["start", "pre_llm_call", "finished"]);
    assert!(scene::kinds(&app.db, &run).await.contains(&"resumed".to_owned()));
}

#[tokio::test]
async fn hooks_are_part_of_an_agents_versions_and_what_cannot_be_so_is_refused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let path = format!("/v1/agents/{agent}");
    let hooks = json!([{ "point": "start", "rule": "false" }]);

    let edited = api.patch(&path, &json!({ "hooks": hooks })).await.expect(200);
    assert_eq!((&edited["version"], &edited["hooks"][0]["timeout_ms"]), (&json!(2), &json!(5000)));
    let versions = format!("{path}/versions/1");
    assert!(api.get(&versions).await.expect(200).to_string().find("\"hooks\"").is_none());
    assert_eq!(run(&api, "a").await["error"]["code"], "hook_failed");

    let refused =
        api.patch(&path, &json!({ "hooks": [{ "point": "start", "rule": "nobody" }] })).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/hooks/0/rule");
}

#[tokio::test]
async fn what_people_send_instead_is_shown_to_the_hooks_too() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shop().await;
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&turns(&[7])),
        "hooks": [{ "point": "pre_tool_call", "rule": "arguments.amount <= 500", "message": "too much" }] });
    let agent = scene::agent(&api, &body).await;
    refund(&api, &agent, &server.url(), Some(json!({}))).await;
    let send_instead = async |amount: i64| {
        let run = scene::start(&api, &agent).await;
        let asked = asked(&api, &run).await;
        let mut edit = yes(&asked);
        edit["arguments"] = json!({ "amount": amount });
        api.post(&path(&asked, "/approve"), &edit).await.expect(200);
        run
    };

    let run = send_instead(100_000).await;
    let ended = scene::until(&api, &run, "failed").await;
    assert_eq!(ended["error"]["code"], "hook_failed");
    assert!(ended["error"]["message"].as_str().unwrap().contains("too much"), "{ended}");
    assert_eq!(server.requests().len(), 0);

    let run = send_instead(500).await;
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(sent(&server), [json!({ "amount": 500 })]);
}
