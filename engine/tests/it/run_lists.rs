//! The list of runs: narrowed to what somebody wants to see, and what runs come of.

use serde_json::{Value, json};

use crate::cases::case;
use crate::evaluations::tried;
use crate::firings::{fired, publish};
use crate::forks::{self, fork, id};
use crate::harness::TestApp;
use crate::scene;
use crate::tools_agent::{delegates, employ};

#[tokio::test]
async fn runs_say_what_they_come_of_and_lists_are_narrowed_to_it() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let below = scene::agent(&api, &json!({ "name": "below", "model": "sim:echo" })).await;
    let agent = scene::scripted(&api, "above", &delegates(&["ask"])).await;
    employ(&api, &agent, "ask", &below).await;
    let request = forks::ended(&api, &agent).await;
    let forked = id(&fork(&api, &request, &json!({})).await);
    let retry = api.post(&format!("/v1/runs/{request}/retry"), &json!({})).await.expect(201);
    case(&api, &below, &json!({ "name": "n", "input": "go" })).await;
    tried(&api, &below, &json!({})).await;
    publish(&app, &fired(&owner, &below, Some(json!({})))).await;
    let list = async |query: &str| {
        let page = api.get(&format!("/v1/runs?limit=100&{query}")).await.expect(200);
        page["items"].as_array().unwrap().clone()
    };
    testkit::eventually("the trigger's run", async || {
        (list("origin=trigger").await.len() == 1).then_some(())
    })
    .await;
    for run in [&forked, &id(&retry)] {
        scene::until(&api, run, "succeeded").await;
    }
    let ids = |runs: &[Value]| runs.iter().map(id).collect::<Vec<_>>();

    for (origin, count) in
        [("request", 1), ("trigger", 1), ("run", 2), ("retry", 1), ("fork", 1), ("evaluation", 1)]
    {
        let runs = list(&format!("origin={origin}")).await;
        assert_eq!(runs.len(), count, "{origin}: {runs:#?}");
        for run in &runs {
            assert_eq!(run["origin"], origin);
            assert_eq!(scene::get(&api, &id(run)).await["origin"], origin, "and by itself");
        }
    }
    assert_eq!(list("").await.len(), 7);
    assert_eq!(list("origin=request,trigger,run,retry").await.len(), 5);
    assert_eq!(list("origin=request,%20fork").await.len(), 2);
    assert_eq!(ids(&list("mode=dry").await), [forked.as_str()]);
    assert_eq!(list("mode=live").await.len(), 6);
    assert_eq!(list("mode=live&origin=fork").await.len(), 0);
    let first = api.get("/v1/runs?mode=live&limit=4").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = list(&format!("mode=live&cursor={cursor}")).await;
    assert_eq!(rest.len(), 2, "pages are of what is left");
}

#[tokio::test]
async fn a_filter_that_there_is_not_is_refused_and_not_passed_over() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    for bad in ["mode=wet", "origin=nowhere", "origin=", "origin=fork,", "state=failed"] {
        let refused = api.get(&format!("/v1/runs?{bad}")).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{bad}");
    }
    let refused = api.get("/v1/runs?origin=fork,nowhere").await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/origin");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("evaluation"), "{refused}");
}

#[tokio::test]
async fn a_dry_fork_is_in_the_usage_once_with_what_its_own_model_took() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let price = json!({ "model": "sim:*", "input": 1, "cache_read": 1, "cache_write": 1, "output": 1_000_000, "reasoning": 1 });
    api.post("/v1/prices", &price).await.expect(201);
    let (agent, _server) = forks::reference(&api).await;
    let run = forks::ended(&api, &agent).await;
    let used = async || {
        let usage = api.get("/v1/usage").await.expect(200);
        let of = |field: &str| usage["total"][field].as_i64().unwrap();
        (of("calls"), of("cost_micro_usd"))
    };
    let before = used().await;
    let whole = scene::get(&api, &run).await["cost_micro_usd"].as_i64().unwrap();
    assert_eq!(before, (4, whole));

    let forked = id(&fork(&api, &run, &json!({ "from": { "step": 4 } })).await);
    let own = scene::until(&api, &forked, "succeeded").await["cost_micro_usd"].as_i64().unwrap();

    assert!(0 < own && own < whole, "{own} of {whole}");
    assert_eq!(used().await, (5, whole + own), "its one reply, and nothing of what it has copied");
}
