//! Probes: tools that find out whether a call has happened of which nobody knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually, eventually_within};

use crate::harness::{Node, TestApp};
use crate::scene;

/// An agent that pays, without ever learning how that ended, and whose probe looks at `url`. Gives the agent.
pub(crate) async fn payer(api: &Api, pay: &str, url: &str, more: &Value) -> String {
    let call = json!({ "name": "pay", "arguments": { "n": 7 } });
    let turns = json!([{ "tool_calls": [call] }, { "text": "told: {{last_tool_result}}" }]);
    let agent = scene::scripted(api, "a", &turns).await;
    let look = json!({ "name": "look", "kind": "http", "effect": "read", "timeout_ms": 60_000,
        "parameters": { "type": "object", "properties": { "order": { "type": "integer" }, "key": {} }, "required": ["order"] },
        "config": { "method": "POST", "url": url } });
    let look = api.post("/v1/tools", &look).await.expect(201)["tool_id"].clone();
    // Most of these payments are over when they break off.
    let mut probe = json!({ "tool_id": look, "settle_seconds": 0, "arguments": { "order": "$.args.n", "key": "$.idempotency_key" },
        "happened": "output.status == 'paid'", "did_not_happen": "output.status == 'open'" });
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    let pay = json!({ "name": "pay", "kind": "http", "effect": "unsafe", "timeout_ms": 8_000, "probe": probe,
        "parameters": { "type": "object", "properties": { "n": {} } }, "config": { "method": "POST", "url": pay } });
    let pay = api.post("/v1/tools", &pay).await.expect(201)["tool_id"].clone();
    for tool in [look, pay] {
        let path = format!("/v1/agents/{agent}/tools/{}", tool.as_str().unwrap());
        api.put(&path, &json!({})).await.expect(200);
    }
    agent
}

/// An engine that keeps its runs however slow the machine is: what is called is called exactly as often as is expected.
pub(crate) async fn steady() -> TestApp {
    let vars = [("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"), ("SWITCHYARD_WORKER_LEASE_MS", "600000")];
    TestApp::start_with(&vars).await
}

/// A server that takes a payment and breaks off.
pub(crate) async fn broken() -> Stub {
    Stub::start(|_| Answer::Reset).await
}

/// A probe's server that fails so often, then says this.
pub(crate) async fn after(failures: usize, said: Value) -> Stub {
    let seen = AtomicUsize::new(0);
    Stub::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        n if n < failures => Answer::Json(500, json!("not now")),
        _ => Answer::Json(200, said.clone()),
    })
    .await
}

async fn count(app: &TestApp, run: &str, kind: &str) -> usize {
    scene::kinds(&app.db, run).await.iter().filter(|found| *found == kind).count()
}

#[tokio::test]
async fn a_probe_that_knows_answers_a_doubt_and_nobody_is_asked() {
    for (status, said) in [("paid", "It happened."), ("open", "The call did not happen.")] {
        let app = steady().await;
        let api = app.person(&app.trust.owner());
        let (pay, look) = (broken().await, after(0, json!({ "status": status })).await);
        let agent = payer(&api, &pay.url(), &look.url(), &json!({})).await;

        let run = scene::start(&api, &agent).await;
        let ended = scene::until(&api, &run, "succeeded").await;

        assert!(ended["output"].as_str().unwrap().contains(said), "{ended}");
        assert_eq!((pay.requests().len(), look.requests().len()), (1, 1));
        let asked = look.requests()[0].json();
        assert_eq!(asked["order"], 7);
        let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
        let effect = &effects["items"][0];
        assert_eq!((&effect["state"], &effect["answered_by"]), (&json!("answered"), &Value::Null));
        assert_eq!(asked["key"], effect["idempotency_key"]);
        assert_eq!(of_doubt(&app, &run).await, ["tool_in_doubt", "probe_asked", "doubt_answered"]);
    }
}

#[tokio::test]
async fn a_probe_that_fails_is_asked_again_but_never_more_often_than_it_may_be_and_then_people_are()
{
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let (pay, look) = (broken().await, after(1, json!({ "status": "paid" })).await);
    let agent = payer(&api, &pay.url(), &look.url(), &json!({ "attempts": 2 })).await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(look.requests().len(), 2);

    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let look = after(usize::MAX, json!({})).await;
    let agent = payer(&api, &pay.url(), &look.url(), &json!({ "attempts": 2 })).await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;

    assert_eq!((&waiting["wait_reason"], look.requests().len()), (&json!("doubt"), 2));
    assert_eq!(count(&app, &run, "probe_silent").await, 1);
    answer(&api, &waiting, "happened").await;
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(look.requests().len(), 2);
}

async fn answer(api: &Api, waiting: &Value, outcome: &str) {
    let (run, call) = (&waiting["run_id"], &waiting["in_doubt"][0]["call_id"]);
    let path =
        format!("/v1/runs/{}/effects/{}/answer", run.as_str().unwrap(), call.as_str().unwrap());
    let answered = api.post(&path, &json!({ "outcome": outcome })).await;
    assert_eq!(answered.status, 202, "{}", answered.text);
}

#[tokio::test]
async fn an_answer_that_says_neither_or_both_or_has_another_shape_leaves_it_to_people() {
    for (said, more) in [
        (json!({ "status": "pending" }), json!({})),
        (json!({ "state": 1 }), json!({})),
        (json!(["paid"]), json!({})),
        (json!({ "status": "paid" }), json!({ "did_not_happen": "true" })),
        // The argument is not there, so the probe's tool refuses.
        (json!({ "status": "paid" }), json!({ "arguments": { "order": "$.args.none" } })),
    ] {
        let app = steady().await;
        let api = app.person(&app.trust.owner());
        let (pay, look) = (broken().await, after(0, said.clone()).await);
        let agent = payer(&api, &pay.url(), &look.url(), &more).await;

        let run = scene::start(&api, &agent).await;
        let waiting = scene::until(&api, &run, "waiting").await;

        assert_eq!(waiting["wait_reason"], "doubt", "{said}");
        assert_eq!(count(&app, &run, "probe_silent").await, 1, "{said}");
        assert!(look.requests().len() <= 1, "{said}");
        assert_eq!(pay.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_person_who_is_asked_may_have_the_probe_look_again() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let seen = AtomicUsize::new(0);
    let look = Stub::start(move |_| {
        let status = if seen.fetch_add(1, Ordering::SeqCst) == 0 { "pending" } else { "paid" };
        Answer::Json(200, json!({ "status": status }))
    })
    .await;
    let pay = broken().await;
    let agent = payer(&api, &pay.url(), &look.url(), &json!({})).await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert_eq!(look.requests().len(), 1);

    answer(&api, &waiting, "check_for_me").await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("It happened."), "{ended}");
    assert_eq!((pay.requests().len(), look.requests().len()), (1, 2));
    assert_eq!(count(&app, &run, "probe_wanted").await, 1);
}

/// The records of a run about its call in doubt.
pub(crate) async fn of_doubt(app: &TestApp, run: &str) -> Vec<String> {
    let mut kinds = scene::kinds(&app.db, run).await;
    kinds.retain(|kind| kind.contains("doubt") || kind.contains("probe") || kind == "waiting");
    kinds
}

#[tokio::test]
async fn a_call_that_has_not_happened_yet_is_looked_at_again_before_it_counts_as_one_that_will_not()
{
    let case = async |then: &'static str, said: &str| {
        let app = steady().await;
        let api = app.person(&app.trust.owner());
        let seen = AtomicUsize::new(0);
        let look = Stub::start(move |_| {
            let status = if seen.fetch_add(1, Ordering::SeqCst) == 0 { "open" } else { then };
            Answer::Json(200, json!({ "status": status }))
        })
        .await;
        let pay = broken().await;
        let agent = payer(&api, &pay.url(), &look.url(), &json!({ "settle_seconds": 6 })).await;

        let run = scene::start(&api, &agent).await;
        let limit = Duration::from_secs(60);
        let ended = eventually_within(limit, "the run to end", async || {
            let run = scene::get(&api, &run).await;
            (run["status"] == "succeeded").then_some(run)
        })
        .await;

        assert!(ended["output"].as_str().unwrap().contains(said), "{ended}");
        assert_eq!((pay.requests().len(), look.requests().len()), (1, 2));
        let first = ["tool_in_doubt", "probe_asked", "probe_too_early", "waiting"];
        assert_eq!(of_doubt(&app, &run).await[..4], first);
        assert_eq!(of_doubt(&app, &run).await[4..], ["probe_asked", "doubt_answered"]);
    };

    tokio::join!(case("paid", "It happened."), case("open", "The call did not happen."));
}

#[tokio::test]
async fn somebody_who_knows_need_not_wait_for_a_probe_that_was_asked_too_early() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let (pay, look) = (broken().await, after(0, json!({ "status": "open" })).await);
    let agent = payer(&api, &pay.url(), &look.url(), &json!({ "settle_seconds": 86_400 })).await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert_eq!(waiting["wait_reason"], "timer");

    answer(&api, &waiting, "check_for_me").await;
    eventually("the probe to be asked too early again", async || {
        (count(&app, &run, "probe_too_early").await == 2).then_some(())
    })
    .await;
    answer(&api, &waiting, "happened").await;

    scene::until(&api, &run, "succeeded").await;
    assert_eq!((pay.requests().len(), look.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_probe_for_which_there_is_no_room_in_a_budget_is_not_asked() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let (pay, look) = (broken().await, after(0, json!({ "status": "paid" })).await);
    let agent = payer(&api, &pay.url(), &look.url(), &json!({})).await;
    let body = json!({ "agent_id": agent, "input": "go", "budget": { "max_tool_calls": 1 } });
    let run = api.post("/v1/runs", &body).await.expect(201)["run_id"].clone();
    let run = run.as_str().unwrap();

    let waiting = scene::until(&api, run, "waiting").await;

    assert_eq!((&waiting["wait_reason"], look.requests().len()), (&json!("doubt"), 0));
    assert_eq!(count(&app, run, "probe_silent").await, 1);
    answer(&api, &waiting, "happened").await;
    scene::until(&api, run, "succeeded").await;
    assert_eq!(pay.requests().len(), 1);
}

#[tokio::test]
async fn who_wants_a_check_of_a_tool_without_a_probe_is_told_that_there_is_none() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let pay = broken().await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &pay.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    let call = waiting["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");

    let refused = api.post(&path, &json!({ "outcome": "check_for_me" })).await;

    assert_eq!(refused.refusal(), (409, "effect_has_no_probe"));
    answer(&api, &waiting, "happened").await;
    scene::until(&api, &run, "succeeded").await;
}

#[tokio::test]
async fn a_process_that_dies_while_the_probe_is_asked_leaves_it_to_be_asked_again_within_its_limit()
{
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    // The first two are never answered: a process dies over each.
    let seen = AtomicUsize::new(0);
    let look = Stub::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::Never,
        _ => Answer::Json(200, json!({ "status": "paid" })),
    })
    .await;
    let pay = broken().await;
    let agent = payer(&api, &pay.url(), &look.url(), &json!({ "attempts": 10 })).await;
    let limit = Duration::from_secs(60);
    let mut node = app.node().await;
    let run = scene::start(&api, &agent).await;
    for asked in 1..=2 {
        eventually_within(limit, "the probe to be asked", async || {
            (look.requests().len() >= asked).then_some(())
        })
        .await;
        node.kill();
        node = app.node().await;
    }

    let ended = eventually_within(limit, "the run to end", async || {
        let run = scene::get(&api, &run).await;
        (run["status"] == "succeeded").then_some(run)
    })
    .await;

    assert!(ended["output"].as_str().unwrap().contains("It happened."), "{ended}");
    assert_eq!(pay.requests().len(), 1);
    // Written down before it is asked. A process that is slow may lose the run besides.
    let asked = count(&app, &run, "probe_asked").await;
    assert!((3..=10).contains(&asked) && look.requests().len() <= asked, "{asked}");
    node.drain().await;
}

/// Kills the process that drives the run when it has sent the payment. Gives the one by which the run has ended then, told that
/// it did not happen.
pub(crate) async fn killed(
    (app, api): (&TestApp, &Api),
    first: Node,
    run: &str,
    pay: &Stub,
) -> Node {
    eventually("the payment to be sent", async || (pay.requests().len() == 1).then_some(())).await;
    first.kill();
    let second = app.node().await;
    let limit = Duration::from_secs(60);
    let ended = eventually_within(limit, "the run to end", async || {
        let run = scene::get(api, run).await;
        (run["status"] == "succeeded").then_some(run)
    })
    .await;
    assert!(ended["output"].as_str().unwrap().contains("did not happen"), "{ended}");
    assert_eq!(pay.requests().len(), 1);
    second
}

#[tokio::test]
async fn a_doubt_that_a_crash_has_left_is_probed_too() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let pay = Stub::start(|_| Answer::Never).await;
    let look = after(0, json!({ "status": "open" })).await;
    let agent = payer(&api, &pay.url(), &look.url(), &json!({})).await;
    let first = app.node().await;
    let run = scene::start(&api, &agent).await;
    killed((&app, &api), first, &run, &pay).await.drain().await;
}

#[tokio::test]
async fn what_cannot_be_a_probe_is_refused() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let tool = |name: &str, effect: &str| {
        json!({ "name": name, "kind": "http", "effect": effect,
        "config": { "method": "POST", "url": "https://example.com" } })
    };
    let id = async |body: Value| api.post("/v1/tools", &body).await.expect(201)["tool_id"].clone();
    let (read, other) = (id(tool("read", "read")).await, id(tool("other", "unsafe")).await);
    let probe =
        |tool: &Value| json!({ "tool_id": tool, "happened": "true", "did_not_happen": "false" });
    let mut broken = probe(&read);
    broken["happened"] = json!("outcome");

    for (effect, probe, pointer) in [
        ("unsafe", probe(&other), "/probe/tool_id"),
        ("unsafe", probe(&json!(shared_models::ToolId::mint())), "/probe/tool_id"),
        ("read", probe(&read), "/probe"),
        ("unsafe", broken, "/probe/happened"),
    ] {
        let mut body = tool("pay", effect);
        body["probe"] = probe;
        let refused = api.post("/v1/tools", &body).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{}", refused.text);
        let problem: Value = serde_json::from_str(&refused.text).unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let mut body = tool("pay", "keyed");
    body["probe"] = probe(&read);
    assert_eq!(api.post("/v1/tools", &body).await.expect(201)["probe"]["attempts"], 3);
}
