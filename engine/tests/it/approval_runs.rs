//! Runs that wait for people to approve of their calls.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::eventually;

use crate::approvals::{asked, expire, open, path, refund, sent, shop, shopper, turns, yes};
use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn several_calls_wait_at_once_and_each_goes_on_when_it_is_decided() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = shop().await;
    let call = |amount: i64| json!({ "name": "refund", "arguments": { "amount": amount } });
    let turns = json!([{ "tool_calls": [call(1), call(2), call(3)] }, { "text": "done" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    refund(&api, &agent, &server.url(), Some(json!({}))).await;
    let run = scene::start(&api, &agent).await;
    let asked = open(&api, &run, 3).await;
    let of = |amount: i64| asked.iter().find(|one| one["arguments"]["amount"] == amount).unwrap();

    let page = api.get(&format!("/v1/approvals?run_id={run}&limit=2")).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let rest = format!(
        "/v1/approvals?run_id={run}&limit=2&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    assert_eq!(api.get(&rest).await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/approvals?tool_name=other").await.expect(200)["items"], json!([]));
    assert_eq!(api.get("/v1/approvals?status=gone").await.status, 422);
    let blind = app.person(&owner.without_payloads()).get("/v1/approvals").await.expect(200);
    assert_eq!(
        (&blind["items"][0]["arguments"], &blind["items"][0]["redacted"]),
        (&Value::Null, &json!(true))
    );

    api.post(&path(of(2), "/approve"), &yes(of(2))).await.expect(200);
    eventually("the second call", async || (server.requests().len() == 1).then_some(())).await;
    api.post(&path(of(1), "/reject"), &yes(of(1))).await.expect(200);
    open(&api, &run, 1).await;
    api.post(&path(of(3), "/approve"), &yes(of(3))).await.expect(200);

    scene::until(&api, &run, "succeeded").await;
    let amounts: Vec<Value> = sent(&server).iter().map(|body| body["amount"].clone()).collect();
    assert_eq!(amounts, [json!(2), json!(3)]);
}

#[tokio::test]
async fn what_was_changed_behind_everybodys_back_is_not_executed() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7], &json!({})).await;
    let node = app.node().await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    node.kill();
    api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
    sqlx::query(
        "update engine.approval set arguments = '{\"amount\": 700}' where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let _node = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    let output = ended["output"].as_str().unwrap();
    assert!(output.contains("not what would be executed"), "{output}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_decision_reaches_a_run_whose_process_has_died_and_the_call_is_made_once() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7, 8], &json!({})).await;
    let run = scene::start(&api, &agent).await;

    for n in [0, 1] {
        let node = app.node().await;
        let asked = asked(&api, &run).await;
        node.kill();
        api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
        assert_eq!(server.requests().len(), n);
    }
    let _node = app.node().await;

    scene::until(&api, &run, "succeeded").await;
    assert_eq!(sent(&server), [json!({ "amount": 7 }), json!({ "amount": 8 })]);
}

#[tokio::test]
async fn what_a_run_has_asked_is_withdrawn_when_it_ends() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, agent) = shopper(&api, &[7], &json!({})).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;

    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    scene::until(&api, &run, "cancelled").await;

    assert_eq!(api.get(&path(&asked, "")).await.expect(200)["status"], "withdrawn");
    let late = api.post(&path(&asked, "/approve"), &yes(&asked)).await;
    assert_eq!(late.refusal(), (409, "approval_closed"));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn who_votes_while_a_run_ends_is_told_what_was_decided_before() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (_server, agent) = shopper(&api, &[7], &json!({})).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    let mut holder = app.db.admin().await;
    sqlx::raw_sql("begin").execute(&mut holder).await.unwrap();
    let pid = scene::pid(&mut holder).await;
    scene::lock(&mut holder, &run).await;

    let (path, yes) = (path(&asked, "/approve"), yes(&asked));
    let decides = async {
        scene::somebody_waits_for(&app.db, pid).await;
        // Somebody else was faster, and the run has ended since.
        let decided = "update engine.approval set status = 'rejected', decided_at = now();
            update engine.run set status = 'failed', wait_reason = null, finish_reason = 'error', finished_at = now();
            commit";
        sqlx::raw_sql(decided).execute(&mut holder).await.unwrap();
    };
    let (late, ()) = tokio::join!(api.post(&path, &yes), decides);

    assert_eq!(late.refusal(), (409, "approval_closed"));
    assert!(late.text.contains("rejected"), "{}", late.text);
}

#[tokio::test]
async fn a_member_of_a_swarm_waits_while_the_others_go_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shop().await;
    let careful = scene::scripted(&api, "careful", &turns(&[7])).await;
    refund(&api, &careful, &server.url(), Some(json!({}))).await;
    let quick = scene::agent(&api, &json!({ "name": "quick", "model": "sim:echo" })).await;
    let member =
        |agent: &str, name: &str| json!({ "kind": "agent", "agent_id": agent, "name": name });
    let swarm = json!({ "name": "s", "flow": "(careful | quick)", "separator": " ",
        "members": [member(&careful, "careful"), member(&quick, "quick")] });
    let swarm = api.post("/v1/swarms", &swarm).await.expect(201);
    let body = json!({ "swarm_id": swarm["swarm_id"], "input": "go" });
    let made = api.post("/v1/runs", &body).await.expect(201);
    let run = made["run_id"].as_str().unwrap();

    let asked = asked(&api, run).await;

    assert_eq!(asked["path"], json!(["careful"]));
    api.post(&path(&asked, "/approve"), &yes(&asked)).await.expect(200);
    assert_eq!(scene::until(&api, run, "succeeded").await["output"], "told: \"done\" go");
}

#[tokio::test]
async fn endpoints_are_told_of_what_is_asked_and_decided_but_not_of_what_would_be_sent() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shop().await;
    let hooks = shop().await;
    let kinds = ["approval.requested", "approval.decided", "approval.expired"];
    crate::webhooks::endpoint(&api, &hooks.url(), &kinds).await;
    let agent = scene::scripted(&api, "a", &turns(&[987_654, 2])).await;
    refund(&api, &agent, &server.url(), Some(json!({}))).await;
    let run = scene::start(&api, &agent).await;
    let first = asked(&api, &run).await;
    api.post(&path(&first, "/approve"), &yes(&first)).await.expect(200);
    eventually("the first call", async || (server.requests().len() == 1).then_some(())).await;
    let second = asked(&api, &run).await;
    expire(&app, &second).await;
    scene::until(&api, &run, "succeeded").await;

    // One may come twice.
    let seen = eventually("four messages", async || {
        let kind = |body: &Value, at: &str| body.pointer(at).unwrap().as_str().unwrap().to_owned();
        let each = sent(&hooks).into_iter();
        let told: BTreeSet<(String, String)> =
            each.map(|body| (kind(&body, "/type"), kind(&body, "/data/approval_id"))).collect();
        (told.len() >= 4).then_some(told)
    })
    .await;

    let id = |approval: &Value| approval["approval_id"].as_str().unwrap().to_owned();
    let wanted = [
        ("approval.requested", &first),
        ("approval.decided", &first),
        ("approval.requested", &second),
        ("approval.expired", &second),
    ];
    let wanted: BTreeSet<_> = wanted.map(|(kind, approval)| (kind.to_owned(), id(approval))).into();
    assert_eq!(seen, wanted);
    assert!(
        !hooks.requests().iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("987654"))
    );
}

#[tokio::test]
async fn what_would_have_been_sent_is_forgotten_with_the_run_and_who_decided_much_later() {
    let vars = [("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"), ("SWITCHYARD_PRUNE_MS", "50")];
    let app = TestApp::start_with(&vars).await;
    let api = app.person(&app.trust.owner());
    let (_server, agent) = shopper(&api, &[7], &json!({})).await;
    let run = scene::start(&api, &agent).await;
    let asked = asked(&api, &run).await;
    let mut vote = yes(&asked);
    vote["comment"] = "fine with me".into();
    api.post(&path(&asked, "/approve"), &vote).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    let age = async |days: i32| {
        let aged = "update engine.run set finished_at = now() - make_interval(days => $2) where run_id = $1::uuid";
        let mut admin = app.db.admin().await;
        sqlx::query(aged).bind(scene::bare(&run)).bind(days).execute(&mut admin).await.unwrap();
    };

    age(31).await;

    let seen = eventually("the arguments to be forgotten", async || {
        let seen = api.get(&path(&asked, "")).await.expect(200);
        (seen["arguments"] == Value::Null).then_some(seen)
    })
    .await;
    assert_eq!((&seen["status"], &seen["binding"]), (&json!("approved"), &asked["binding"]));
    assert_eq!(
        (&seen["votes"][0]["kind"], &seen["votes"][0]["comment"]),
        (&json!("approve"), &Value::Null)
    );
    age(401).await;
    eventually("all of it to be forgotten", async || {
        (api.get(&path(&asked, "")).await.status == 404).then_some(())
    })
    .await;
}
