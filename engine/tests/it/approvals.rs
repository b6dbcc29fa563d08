//! Calls that people are asked about before they are made.

use serde_json::{Value, json};
use shared_models::{Role, Service};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

pub(crate) async fn shop() -> Stub {
    Stub::start(|_| Answer::Json(200, json!("done"))).await
}

/// Gives the agent a tool `refund` that posts `amount` and `to`, with this rule of its own.
pub(crate) async fn refund(api: &Api, agent: &str, url: &str, rule: Option<Value>) {
    let mut fields = json!({ "name": format!("refund_{}", &agent[agent.len() - 12..]), "kind": "http", "effect": "unsafe",
        "parameters": { "type": "object", "additionalProperties": false, "required": ["amount"],
            "properties": { "amount": { "type": "integer" }, "to": { "type": "string" } } },
        "config": { "method": "POST", "url": url } });
    if let Some(rule) = rule {
        fields["approval"] = rule;
    }
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({ "name": "refund" })).await.expect(200);
}

pub(crate) fn turns(amounts: &[i64]) -> Value {
    let call = |amount: &i64| json!({ "tool_calls": [{ "name": "refund", "arguments": { "amount": amount } }] });
    let mut turns: Vec<Value> = amounts.iter().map(call).collect();
    turns.push(json!({ "text": "told: {{last_tool_result}}" }));
    turns.into()
}

/// A shop, and an agent that asks it for refunds of these amounts by a tool with this rule.
pub(crate) async fn shopper(api: &Api, amounts: &[i64], rule: &Value) -> (Stub, String) {
    let server = shop().await;
    let agent = scene::scripted(api, "a", &turns(amounts)).await;
    refund(api, &agent, &server.url(), Some(rule.clone())).await;
    (server, agent)
}

/// The approvals of a run, newest first, once there are so many open ones.
pub(crate) async fn open(api: &Api, run: &str, n: usize) -> Vec<Value> {
    eventually(&format!("{n} open approvals"), async || {
        let list = api.get(&format!("/v1/approvals?status=open&run_id={run}")).await.expect(200);
        let items = list["items"].as_array().unwrap().clone();
        (items.len() == n).then_some(items)
    })
    .await
}

/// The one that the run waits for.
pub(crate) async fn asked(api: &Api, run: &str) -> Value {
    let asked = open(api, run, 1).await.remove(0);
    let waiting = scene::until(api, run, "waiting").await;
    assert_eq!(waiting["wait_reason"], "approval");
    asked
}

pub(crate) fn path(approval: &Value, verb: &str) -> String {
    format!("/v1/approvals/{}{verb}", approval["approval_id"].as_str().unwrap())
}

pub(crate) fn yes(approval: &Value) -> Value {
    json!({ "binding": approval["binding"] })
}

pub(crate) fn sent(server: &Stub) -> Vec<Value> {
    server.requests().iter().map(testkit::Stubbed::json).collect()
}

#[tokio::test]
async fn a_call_is_made_when_somebody_has_approved_of_it_and_not_before() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7], &json!({})).await;
    let run = scene::start(&api, &agent).await;

    let asked = asked(&api, &run).await;

    assert_eq!(asked["arguments"], json!({ "amount": 7 }));
    assert_eq!((&asked["tool_name"], &asked["may_vote"]), (&json!("refund"), &json!(true)));
    assert_eq!(sent(&server), Vec::<Value>::new());
    let done = api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
    assert_eq!(done["status"], "approved");
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: \"done\"");
    assert_eq!(sent(&server), [json!({ "amount": 7 })]);
    let again = api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(409);
    let said = (&json!("approval_closed"), &json!("it is approved already"));
    assert_eq!((&again["code"], &again["detail"]), said, "its run has ended since");
    let kinds = scene::kinds(&app.db, &run).await;
    let place = |kind: &str| kinds.iter().position(|other| other == kind).unwrap();
    assert!(place("approval_requested") < place("approval_decided"), "{kinds:?}");
    assert!(place("approval_decided") < place("tool_intended"), "{kinds:?}");
}

#[tokio::test]
async fn a_rejected_call_is_not_made_and_the_model_is_told_why() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7], &json!({ "votes": 3 })).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;

    let mut no = yes(&asked);
    no["reason"] = "ask the boss".into();
    let done = api.post(&path(&asked, "/reject"), &no).await.expect(200);

    assert_eq!((&done["status"], &done["reason"]), (&json!("rejected"), &json!("ask the boss")));
    let ended = scene::until(&api, &run, "succeeded").await;
    let output = ended["output"].as_str().unwrap();
    assert!(output.contains("was not approved") && output.contains("ask the boss"), "{output}");
    assert_eq!(server.requests().len(), 0);
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    assert_eq!(effects["items"], json!([]), "nothing was intended");
}

#[tokio::test]
async fn an_agents_policy_asks_about_the_calls_it_means_and_no_others() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shop().await;
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&turns(&[100, 101])),
        "approvals": [{ "when": "tool == \"refund\" && args.amount > 100" }] });
    let agent = scene::agent(&api, &body).await;
    refund(&api, &agent, &server.url(), None).await;
    let run = scene::start(&api, &agent).await;

    let asked = asked(&api, &run).await;

    assert_eq!(asked["arguments"], json!({ "amount": 101 }));
    assert_eq!(sent(&server), [json!({ "amount": 100 })]);
    api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn rules_that_cannot_be_followed_are_refused_by_name() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for (rule, field) in [
        (json!({ "when": "args.amount >" }), "/when"),
        (json!({ "when": "secret" }), "/when"),
        (json!({ "votes": 11 }), "/votes"),
        (json!({ "expires_seconds": 2_592_001 }), "/expires_seconds"),
        (json!({ "role": "viewer" }), "/role"),
    ] {
        let agent = json!({ "name": "a", "approvals": [rule] });
        let refused = api.post("/v1/agents", &agent).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{rule}");
        assert!(refused.text.contains(&format!("/approvals/0{field}")), "{}", refused.text);
        let tool = json!({ "name": "t", "kind": "http", "config": { "url": "https://example.com" }, "approval": rule });
        let refused = api.post("/v1/tools", &tool).await;
        assert!(refused.text.contains(&format!("/approval{field}")), "{}", refused.text);
    }
}

#[tokio::test]
async fn an_edit_is_checked_sent_instead_and_voids_what_was_said_before() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let other = app.person(&owner.colleague(Role::Admin));
    let (server, agent) = shopper(&api, &[7], &json!({ "votes": 2 })).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    let first = api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
    assert_eq!((&first["status"], &first["approvals"]), (&json!("open"), &json!(1)));

    let mut edit = yes(&asked);
    edit["arguments"] = json!({ "amount": "many" });
    let refused = other.post(&path(&asked, "/approve"), &edit).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert!(refused.text.contains("/arguments"), "{}", refused.text);
    edit["arguments"] = json!({ "amount": 5 });
    let edited = other.post(&path(&asked, "/approve"), &edit).await.expect(200);

    assert_eq!((&edited["status"], &edited["approvals"]), (&json!("open"), &json!(1)));
    assert_eq!(
        (&edited["arguments"], &edited["asked"]),
        (&json!({ "amount": 5 }), &json!({ "amount": 7 }))
    );
    assert_ne!(edited["binding"], asked["binding"]);
    let stale = api.post(&path(&asked, "/approve"), &yes(&asked)).await;
    assert_eq!(stale.refusal(), (409, "approval_changed"));
    let seen = api.get(&path(&asked, "")).await.expect(200);
    let void: Vec<&Value> =
        seen["votes"].as_array().unwrap().iter().map(|vote| &vote["void"]).collect();
    assert_eq!(void, [&json!(true), &json!(false)]);
    api.post(&path(&asked, "/approve"), &yes(&edited)).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(sent(&server), [json!({ "amount": 5 })]);
}

#[tokio::test]
async fn an_edit_that_another_rule_is_about_needs_what_that_rule_wants() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = shop().await;
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&turns(&[7])),
        "approvals": [{ "when": "args.amount > 0" }, { "when": "args.amount > 100", "votes": 2 }] });
    let agent = scene::agent(&api, &body).await;
    refund(&api, &agent, &server.url(), None).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    assert_eq!(asked["policy"]["votes"], 1);

    let mut edit = yes(&asked);
    edit["arguments"] = json!({ "amount": 1000 });
    let edited = api.post(&path(&asked, "/approve"), &edit).await.expect(200);

    assert_eq!((&edited["status"], &edited["policy"]["votes"]), (&json!("open"), &json!(2)));
    let second = app.person(&owner.colleague(Role::Owner));
    second.post(&path(&asked, "/approve"), &yes(&edited)).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(sent(&server), [json!({ "amount": 1000 })]);
}

#[tokio::test]
async fn only_those_vote_whom_the_rules_let_and_each_once() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (admin, named) = (owner.colleague(Role::Admin), owner.colleague(Role::Member));
    let server = shop().await;
    let agent = scene::scripted(&api, "a", &turns(&[7])).await;
    let rule = json!({ "votes": 2, "role": "admin", "users": [named.user], "not_initiator": true });
    refund(&api, &agent, &server.url(), Some(rule)).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    assert_eq!(asked["may_vote"], false, "the owner started the run");
    let approve = path(&asked, "/approve");

    assert_eq!(api.post(&approve, &yes(&asked)).await.refusal(), (403, "not_a_voter"));
    assert_eq!(
        api.post(&path(&asked, "/reject"), &yes(&asked)).await.refusal(),
        (403, "not_a_voter")
    );
    let stranger = app.person(&owner.colleague(Role::Member));
    assert_eq!(stranger.post(&approve, &yes(&asked)).await.refusal(), (404, "approval_not_found"));
    let elsewhere = app.person(&app.trust.owner());
    assert_eq!(elsewhere.post(&approve, &yes(&asked)).await.refusal(), (404, "approval_not_found"));
    let service = app.service(Service::Eventsvc, &owner).post(&approve, &yes(&asked)).await;
    assert_eq!(service.status, 403, "{}", service.text);
    let blind = app.person(&admin.without_payloads());
    assert_eq!(blind.post(&approve, &yes(&asked)).await.refusal(), (403, "not_a_voter"));
    let viewer = app.person(&owner.colleague(Role::Viewer));
    assert_eq!(viewer.post(&approve, &yes(&asked)).await.status, 403);

    let (admin, named) = (app.person(&admin), app.person(&named));
    let inbox = named.get("/v1/approvals?status=open").await.expect(200);
    assert_eq!(
        inbox["items"][0]["approval_id"], asked["approval_id"],
        "named, though they do not see the run"
    );
    let first = named.post(&approve, &yes(&asked)).await.expect(200);
    assert_eq!((&first["status"], &first["approvals"]), (&json!("open"), &json!(1)));
    assert_eq!(named.post(&approve, &yes(&asked)).await.refusal(), (409, "approval_voted"));
    assert_eq!(server.requests().len(), 0);
    admin.post(&approve, &yes(&asked)).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_nobody_decides_in_time_is_refused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7], &json!({})).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    let time = |of: &str| -> chrono::DateTime<chrono::Utc> {
        asked[of].as_str().unwrap().parse().unwrap()
    };
    assert_eq!((time("expires_at") - time("created_at")).num_hours(), 72);

    expire(&app, &asked).await;

    let late = api.post(&path(&asked, "/approve"), &yes(&asked)).await;
    assert_eq!(late.refusal(), (409, "approval_closed"));
    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("nobody decided"), "{ended}");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(api.get(&path(&asked, "")).await.expect(200)["status"], "expired");
}

/// Lets its time be over.
pub(crate) async fn expire(app: &TestApp, approval: &Value) {
    sqlx::query("update engine.approval set expires_at = now() - interval '1 second' where approval_id = $1::uuid")
        .bind(scene::bare(approval["approval_id"].as_str().unwrap()))
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_decision_for_the_run_holds_for_later_calls_of_the_tool() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shop().await;
    for (verb, made) in [("/approve", 2), ("/reject", 0)] {
        let agent = scene::scripted(&api, verb.trim_start_matches('/'), &turns(&[7, 8])).await;
        refund(&api, &agent, &server.url(), Some(json!({}))).await;
        let before = server.requests().len();
        let run = scene::start(&api, &agent).await;
        let asked = asked(&api, &run).await;
        let mut vote = yes(&asked);
        vote["for_run"] = true.into();

        api.post(&path(&asked, verb), &vote).await.expect(200);

        scene::until(&api, &run, "succeeded").await;
        assert_eq!(server.requests().len() - before, made, "{verb}");
        let query = "select data->'by' from engine.journal where run_id = $1::uuid and kind = 'approval_decided'";
        let by: Vec<Value> = sqlx::query_scalar(query)
            .bind(scene::bare(&run))
            .fetch_all(&mut app.db.admin().await)
            .await
            .unwrap();
        assert_eq!(by.len(), 2);
        assert!(by.iter().all(|by| by.as_array().unwrap().len() == 1), "{by:?}");
        let all = api.get(&format!("/v1/approvals?run_id={run}")).await.expect(200);
        assert_eq!(all["items"].as_array().unwrap().len(), 1, "nobody was asked again");
        let another = scene::start(&api, &agent).await;
        self::asked(&api, &another).await;
        api.post(&format!("/v1/runs/{another}/cancel"), &json!({})).await.expect(202);
    }
}

#[tokio::test]
async fn a_yes_for_the_run_does_not_hold_for_a_call_that_needs_more() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = shop().await;
    let script = scene::script(&turns(&[1, 2, 100_000, 200_000, 3]));
    let body = json!({ "name": "a", "model": "sim:script", "instructions": script,
        "approvals": [{ "when": "args.amount > 0" }, { "when": "args.amount > 100", "votes": 2, "role": "admin" }] });
    let agent = scene::agent(&api, &body).await;
    refund(&api, &agent, &server.url(), None).await;
    let run = scene::start(&api, &agent).await;
    let small = asked(&api, &run).await;
    let mut vote = yes(&small);
    vote["for_run"] = true.into();
    api.post(&path(&small, "/approve"), &vote).await.expect(200);

    let large = asked(&api, &run).await;

    assert_eq!(
        (&large["arguments"]["amount"], &large["policy"]["votes"]),
        (&json!(100_000), &json!(2))
    );
    assert_eq!(sent(&server), [json!({ "amount": 1 }), json!({ "amount": 2 })]);
    let mut vote = yes(&large);
    vote["for_run"] = true.into();
    api.post(&path(&large, "/approve"), &vote).await.expect(200);
    assert_eq!(server.requests().len(), 2, "one is not enough");
    let admin = app.person(&owner.colleague(Role::Admin));
    admin.post(&path(&large, "/approve"), &vote).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 5, "what took more holds for what needs less");
}
