//! Agents tried with their test cases.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, eventually_within};

use crate::cases::case;
use crate::harness::TestApp;
use crate::probes::steady;
use crate::scene;

pub(crate) async fn evaluate(api: &Api, agent: &str, body: &Value) -> String {
    let made = api.post(&format!("/v1/agents/{agent}/evaluate"), body).await.expect(201);
    assert_eq!(made["status"], "running");
    made["evaluation_id"].as_str().unwrap().to_owned()
}

/// The report, once the evaluation has ended.
async fn report(api: &Api, id: &str) -> Value {
    let limit = std::time::Duration::from_secs(60);
    eventually_within(limit, "the evaluation to end", async || {
        let report = api.get(&format!("/v1/evaluations/{id}")).await.expect(200);
        (report["status"] != "running").then_some(report)
    })
    .await
}

pub(crate) async fn tried(api: &Api, agent: &str, body: &Value) -> Value {
    let id = evaluate(api, agent, body).await;
    report(api, &id).await
}

/// An agent with a tool `look`, and a run of it kept as a case.
async fn kept(api: &Api, url: &str) -> (String, String) {
    let agent = scene::scripted(api, "a", &scene::calls(&["look"])).await;
    scene::tool(api, &agent, "look", url, "unsafe").await;
    let run = scene::start(api, &agent).await;
    scene::until(api, &run, "succeeded").await;
    let kept =
        api.post(&format!("/v1/runs/{run}/keep"), &json!({ "name": "kept" })).await.expect(201);
    (agent, kept["case_id"].as_str().unwrap().to_owned())
}

async fn edit(api: &Api, agent: &str, turns: &Value) {
    let patch = json!({ "instructions": scene::script(turns) });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);
}

pub(crate) fn states(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().unwrap();
    results.iter().map(|result| result["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_kept_run_is_tried_again_without_its_tools_being_called() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("seen once"))).await;
    let (agent, case) = kept(&api, &server.url()).await;
    let expectations = json!([{ "kind": "tool_called", "tool": "look" },
        { "kind": "output_matches", "pattern": "told: .*seen once" }]);
    let path = format!("/v1/agents/{agent}/cases/{case}");
    api.patch(&path, &json!({ "expectations": expectations })).await.expect(200);

    let report = tried(&api, &agent, &json!({})).await;

    let id = report["evaluation_id"].as_str().unwrap();
    let late = api.post(&format!("/v1/evaluations/{id}/cancel"), &json!({})).await;
    assert_eq!(late.refusal(), (409, "evaluation_ended"));
    let counts = json!({ "total": 1, "open": 0, "passed": 1, "failed": 0, "error": 0 });
    assert_eq!((&report["status"], &report["counts"]), (&json!("finished"), &counts), "{report:#}");
    assert_eq!(server.requests().len(), 1, "the run that was kept");
    let result = &report["results"][0];
    assert_eq!((&result["case_id"], &result["run_status"]), (&json!(case), &json!("succeeded")));
    let run = scene::get(&api, result["run_id"].as_str().unwrap()).await;
    assert_eq!(run["evaluation_id"], report["evaluation_id"]);
    let runs = api.get(&format!("/v1/runs?evaluation_id={id}")).await.expect(200);
    assert_eq!(runs["items"].as_array().unwrap().len(), 1);
    let listed = api.get(&format!("/v1/agents/{agent}/evaluations")).await.expect(200);
    assert_eq!(listed["items"][0]["evaluation_id"], report["evaluation_id"]);
}

#[tokio::test]
async fn a_version_that_calls_otherwise_fails_and_what_is_not_recorded_is_not_called() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("seen"))).await;
    let (agent, _) = kept(&api, &server.url()).await;
    let turns = json!([{ "tool_calls": [{ "name": "look", "arguments": { "n": 2 } }] },
        { "text": "{{last_tool_result}}" }]);
    edit(&api, &agent, &turns).await;

    let (new, old) = (json!({}), json!({ "version": 1 }));
    let (new, old) = (tried(&api, &agent, &new).await, tried(&api, &agent, &old).await);

    assert_eq!((states(&new), states(&old)), (vec!["failed"], vec!["passed"]), "{new:#}");
    let expected = &new["results"][0]["expectations"][0];
    assert_eq!(
        (&expected["passed"], &expected["expectation"]["arguments"]["n"]),
        (&json!(false), &json!(1))
    );
    assert!(expected["detail"].as_str().unwrap().contains(r#"{"n":2}"#), "{expected}");
    let run = scene::get(&api, new["results"][0]["run_id"].as_str().unwrap()).await;
    assert!(run["output"].as_str().unwrap().contains("no answer of `look`"), "{run}");
    assert_eq!(server.requests().len(), 1);
    let live = json!({ "version": 1, "mode": "live" });
    assert_eq!(states(&tried(&api, &agent, &live).await), ["passed"]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_case_that_says_live_calls_its_tools_unless_the_evaluation_says_recorded() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("seen"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let expectations = json!([{ "kind": "output_matches", "pattern": "^told: \"seen\"$" }]);
    let body = json!({ "name": "n", "input": "go", "tools": "live", "expectations": expectations });
    case(&api, &agent, &body).await;

    let live = tried(&api, &agent, &json!({})).await;
    let recorded = tried(&api, &agent, &json!({ "mode": "recorded" })).await;

    assert_eq!((states(&live), states(&recorded)), (vec!["passed"], vec!["failed"]));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn every_expectation_is_reported_by_itself() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": r#"{"n":1}"# }])).await;
    let table = [
        (json!({ "kind": "tool_called", "tool": "look" }), false),
        (json!({ "kind": "tool_not_called", "tool": "look" }), true),
        (json!({ "kind": "output_schema", "schema": { "required": ["n"] } }), true),
        (json!({ "kind": "output_schema", "schema": { "required": ["m"] } }), false),
        (json!({ "kind": "output_matches", "pattern": "^\\{" }), true),
        (json!({ "kind": "output_path", "path": "$.n", "equals": 1 }), true),
        (json!({ "kind": "output_path", "path": "$.n", "equals": 2 }), false),
        (json!({ "kind": "cost_below", "micro_usd": 1 }), true),
        (json!({ "kind": "duration_below", "ms": 600_000 }), true),
    ];
    let expectations: Vec<&Value> = table.iter().map(|(expectation, _)| expectation).collect();
    case(&api, &agent, &json!({ "name": "n", "input": "go", "expectations": expectations })).await;

    let report = tried(&api, &agent, &json!({})).await;

    assert_eq!(states(&report), ["failed"]);
    for (n, (expectation, passed)) in table.iter().enumerate() {
        let seen = &report["results"][0]["expectations"][n];
        assert_eq!(
            (&seen["passed"], &seen["expectation"]),
            (&json!(passed), expectation),
            "{seen}"
        );
    }
}

/// A rubric that makes the simulated model say this.
fn judged(said: &str) -> Value {
    let rubric = format!("Is it {{{{ polite }}}}?\n```sim\n{}\n```", json!([{ "text": said }]));
    json!({ "kind": "judged", "model": "sim:script", "rubric": rubric })
}

#[tokio::test]
async fn a_model_judges_and_its_reason_is_shown() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "out" }])).await;
    let yes = judged(r#"{"verdict":"pass","reason":"as kind as can be"}"#);
    let no = judged(r#"{"verdict":"fail","reason":"rude"}"#);
    let unmet = json!({ "kind": "output_matches", "pattern": "other" });
    case(&api, &agent, &json!({ "name": "kind", "input": "go", "expectations": [yes] })).await;
    case(&api, &agent, &json!({ "name": "rude", "input": "go", "expectations": [yes, no] })).await;
    case(&api, &agent, &json!({ "name": "other", "input": "go", "expectations": [unmet, yes] }))
        .await;

    let report = tried(&api, &agent, &json!({})).await;

    assert_eq!(states(&report), ["passed", "failed", "failed"], "{report:#}");
    let rude = &report["results"][1]["expectations"];
    assert_eq!(
        (&rude[0]["passed"], &rude[0]["detail"]),
        (&json!(true), &json!("as kind as can be"))
    );
    assert_eq!((&rude[1]["passed"], &rude[1]["detail"]), (&json!(false), &json!("rude")));
    let other = &report["results"][2]["expectations"];
    assert_eq!((&other[0]["passed"], &other[1]["passed"]), (&json!(false), &json!(true)));
    let judge = rude[1]["judge_run_id"].as_str().unwrap();
    let asked = api.get(&format!("/v1/runs/{judge}/messages")).await.expect(200);
    let asked = asked["items"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&asked).unwrap()["output"], "out");
    assert_eq!(scene::get(&api, judge).await["evaluation_id"], report["evaluation_id"]);
}

#[tokio::test]
async fn a_judge_that_gives_no_verdict_or_is_no_model_leaves_the_case_untried_not_failed() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "out" }])).await;
    let vague = judged("perhaps");
    let nobody = json!({ "kind": "judged", "model": "nobody:knows", "rubric": "r" });
    case(&api, &agent, &json!({ "name": "vague", "input": "go", "expectations": [vague] })).await;
    let body = json!({ "name": "nobody", "input": "go", "expectations": [judged("x"), nobody] });
    case(&api, &agent, &body).await;

    let report = tried(&api, &agent, &json!({})).await;

    assert_eq!(states(&report), ["error", "error"], "{report:#}");
    let error = |n: usize| report["results"][n]["error"].as_str().unwrap();
    assert!(error(0).contains("the judge has not judged"), "{}", error(0));
    assert!(error(1).contains("`nobody:knows` cannot be asked"), "{}", error(1));
    assert_eq!(report["results"][1]["expectations"][1]["passed"], Value::Null);
    let id = report["evaluation_id"].as_str().unwrap();
    let runs = api.get(&format!("/v1/runs?evaluation_id={id}")).await.expect(200);
    assert_eq!(runs["items"].as_array().unwrap().len(), 3, "none is asked if not all can be");
}

#[tokio::test]
async fn a_run_that_fails_has_failed_its_case_and_one_that_cannot_begin_is_untried() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let call = json!({ "tool_calls": [{ "name": "none", "arguments": {} }] });
    let agent = scene::scripted(&api, "a", &json!([call, call, call, call])).await;
    case(&api, &agent, &json!({ "name": "loops", "input": "go" })).await;

    let report = tried(&api, &agent, &json!({})).await;

    assert_eq!(states(&report), ["failed"], "{report:#}");
    assert!(
        report["results"][0]["error"].as_str().unwrap().contains("ended as failed"),
        "{report:#}"
    );
    let patch = json!({ "instructions": "Be {{ variables.tone }}." });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);
    let report = tried(&api, &agent, &json!({})).await;
    assert_eq!(states(&report), ["error"]);
    assert!(
        report["results"][0]["error"].as_str().unwrap().contains("variables.tone"),
        "{report:#}"
    );
}

#[tokio::test]
async fn no_more_cases_are_under_way_at_once_than_was_asked_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x", "delay_ms": 50 }])).await;
    for n in 0..4 {
        case(&api, &agent, &json!({ "name": format!("case {n}"), "input": "go" })).await;
    }

    let report = tried(&api, &agent, &json!({ "concurrency": 1 })).await;

    assert_eq!(states(&report), ["passed"; 4]);
    let mut times = Vec::new();
    for result in report["results"].as_array().unwrap() {
        let run = scene::get(&api, result["run_id"].as_str().unwrap()).await;
        times.push((
            run["started_at"].as_str().unwrap().to_owned(),
            run["finished_at"].as_str().unwrap().to_owned(),
        ));
    }
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap();
    for pair in times.windows(2) {
        assert!(time(&pair[1].0) >= time(&pair[0].1), "{times:?}");
    }
}

#[tokio::test]
async fn an_evaluation_goes_on_in_another_process_when_its_own_is_killed_and_runs_no_case_twice() {
    // This process answers requests; it looks at evaluations once, before there is one.
    let vars = [
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
        ("SWITCHYARD_RUN_SLOTS", "0"),
        ("SWITCHYARD_SWEEP_MS", "3600000"),
    ];
    let app = TestApp::start_with(&vars).await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x", "delay_ms": 300 }])).await;
    let yes = judged(r#"{"verdict":"pass","reason":"fine"}"#);
    for n in 0..4 {
        let body = json!({ "name": format!("case {n}"), "input": "go", "expectations": [yes] });
        case(&api, &agent, &body).await;
    }
    let often = [("SWITCHYARD_SWEEP_MS", "100")];
    let first = app.node_with(&often).await;
    let id = evaluate(&api, &agent, &json!({ "concurrency": 2 })).await;
    let limit = std::time::Duration::from_secs(60);
    eventually_within(limit, "a case to be done with", async || {
        let report = api.get(&format!("/v1/evaluations/{id}")).await.expect(200);
        (report["counts"]["passed"].as_i64() > Some(0)).then_some(())
    })
    .await;

    first.kill();
    let second = app.node_with(&often).await;
    let report = report(&api, &id).await;

    assert_eq!(states(&report), ["passed"; 4], "{report:#}");
    let runs = api.get(&format!("/v1/runs?evaluation_id={id}")).await.expect(200);
    assert_eq!(runs["items"].as_array().unwrap().len(), 8, "a run and a judge for each case");
    second.drain().await;
}

#[tokio::test]
async fn a_cancelled_evaluation_begins_nothing_more_and_stops_what_is_under_way() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x", "delay_ms": 600_000 }])).await;
    for n in 0..2 {
        case(&api, &agent, &json!({ "name": format!("case {n}"), "input": "go" })).await;
    }
    let id = evaluate(&api, &agent, &json!({ "concurrency": 1 })).await;
    let path = format!("/v1/evaluations/{id}");
    let run = testkit::eventually("the first case to be under way", async || {
        let report = api.get(&path).await.expect(200);
        report["results"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await;

    let cancelled = api.post(&format!("{path}/cancel"), &json!({})).await.expect(200);

    assert_eq!(
        (&cancelled["status"], &cancelled["counts"]["open"]),
        (&json!("cancelled"), &json!(2))
    );
    scene::until(&api, &run, "cancelled").await;
    let again = api.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    assert_eq!(again["status"], "cancelled", "what a cancel has left undone can be done again");
    let report = api.get(&path).await.expect(200);
    assert_eq!(report["results"][1]["run_id"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_at_once() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let path = format!("/v1/agents/{agent}/evaluate");
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (422, "validation_failed"), "no cases");
    case(&api, &agent, &json!({ "name": "n", "input": "go" })).await;

    for body in [
        json!({ "concurrency": 17 }),
        json!({ "concurrency": 0 }),
        json!({ "deadline_seconds": 0 }),
        json!({ "cases": [] }),
        json!({ "cases": [shared_models::CaseId::mint()] }),
        json!({ "mode": "wild" }),
    ] {
        assert_eq!(api.post(&path, &body).await.refusal(), (422, "validation_failed"), "{body}");
    }
    let missing = api.post(&path, &json!({ "version": 2 })).await;
    assert_eq!(missing.refusal(), (404, "agent_version_not_found"));
    api.patch(&format!("/v1/agents/{agent}"), &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "agent_not_active"));
}

#[tokio::test]
async fn an_evaluation_is_for_who_sees_its_agent_and_its_words_for_who_may_see_content() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::scripted(&api, "a", &json!([{ "text": "sesame" }])).await;
    let unmet = json!({ "kind": "output_matches", "pattern": "^open" });
    case(&api, &agent, &json!({ "name": "n", "input": "go", "expectations": [unmet] })).await;
    let seen = tried(&api, &agent, &json!({})).await;
    assert!(seen.to_string().contains("sesame"), "{seen:#}");
    let path = format!("/v1/evaluations/{}", seen["evaluation_id"].as_str().unwrap());

    let blind = app.person(&owner.without_payloads()).get(&path).await;
    let stranger = app.person(&owner.colleague(Role::Member));

    assert!(!blind.text.contains("sesame") && !blind.text.contains("^open"), "{}", blind.text);
    let blind = blind.expect(200);
    assert_eq!(
        (&blind["redacted"], &blind["results"][0]["state"]),
        (&json!(true), &json!("failed"))
    );
    assert_eq!(stranger.get(&path).await.refusal(), (404, "evaluation_not_found"));
    let list = stranger.get(&format!("/v1/agents/{agent}/evaluations")).await;
    assert_eq!(list.refusal(), (404, "agent_not_found"));
}
