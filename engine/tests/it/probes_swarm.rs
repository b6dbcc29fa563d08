//! Probes of tools that members of swarms call.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::probes::{after, broken, killed, of_doubt, payer, steady};
use crate::scene;
use crate::swarm_runs::{paths, start};
use crate::swarms::{echo, member, swarm};

/// Somebody who pays, and somebody who does something else meanwhile. Gives the swarm.
async fn office(api: &Api, pay: &str, look: &str) -> String {
    let payer = payer(api, pay, look, &json!({})).await;
    let other = echo(api, "other").await;
    let members = [member(&payer, "payer"), member(&other, "other")];
    let fields = json!({ "name": "office", "flow": "(payer | other)", "separator": " + ",
        "members": members });
    swarm(api, &fields).await
}

/// Where the probe was asked.
async fn asked_at(app: &TestApp, run: &str) -> Vec<String> {
    let asked = paths(app, run).await.into_iter().filter(|(_, kind)| kind == "probe_asked");
    asked.map(|(path, _)| path).collect()
}

fn answer_of(run: &str, doubt: &Value) -> String {
    format!("/v1/runs/{run}/effects/{}/answer", doubt["call_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_member_of_a_swarm_has_its_doubts_probed_and_checked_again_as_an_agent_alone_has() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let seen = AtomicUsize::new(0);
    let look = Stub::start(move |_| {
        let status = if seen.fetch_add(1, Ordering::SeqCst) == 0 { "pending" } else { "paid" };
        Answer::Json(200, json!({ "status": status }))
    })
    .await;
    let pay = broken().await;
    let office = office(&api, &pay.url(), &look.url()).await;
    let run = start(&api, &office).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert_eq!((&waiting["wait_reason"], look.requests().len()), (&json!("doubt"), 1));
    assert_eq!(look.requests()[0].json()["order"], 7);

    let doubt = &waiting["in_doubt"][0];
    assert_eq!(doubt["path"], json!(["payer"]));
    let nowhere = json!({ "outcome": "check_for_me" });
    let refused = api.post(&answer_of(&run, doubt), &nowhere).await;
    assert_eq!(refused.refusal(), (404, "effect_not_found"), "nobody at that path has made it");
    let check = json!({ "outcome": "check_for_me", "path": doubt["path"] });
    assert_eq!(api.post(&answer_of(&run, doubt), &check).await.status, 202);

    let ended = scene::until(&api, &run, "succeeded").await;
    let output = ended["output"].as_str().unwrap();
    assert!(output.contains("It happened.") && output.ends_with(" + go"), "{ended}");
    assert_eq!((pay.requests().len(), look.requests().len()), (1, 2));
    assert_eq!(asked_at(&app, &run).await, ["payer", "payer"]);
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    let effect = &effects["items"][0];
    assert_eq!((&effect["state"], &effect["path"]), (&json!("answered"), &json!(["payer"])));
    assert_eq!(look.requests()[1].json()["key"], effect["idempotency_key"]);
}

#[tokio::test]
async fn a_doubt_that_a_crash_has_left_with_a_member_is_probed_and_nobody_is_asked() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let pay = Stub::start(|_| Answer::Never).await;
    let look = after(0, json!({ "status": "open" })).await;
    let office = office(&api, &pay.url(), &look.url()).await;
    let first = app.node().await;
    let run = start(&api, &office).await;
    let second = killed((&app, &api), first, &run, &pay).await;

    let kinds = of_doubt(&app, &run).await;
    assert_eq!(kinds.last().unwrap(), "doubt_answered", "{kinds:?}");
    assert!(!asked_at(&app, &run).await.is_empty(), "{kinds:?}");
    second.drain().await;
}
