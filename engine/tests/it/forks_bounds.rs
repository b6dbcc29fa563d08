//! What a fork does not get round: rules of today and of then, whose agents they are, what may have happened already, and who
//! may read what was said.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub};

use crate::approvals::asked;
use crate::forks::{self, ended, fork, id, reference};
use crate::forks_swarm::{call, counter, journal, shared_tool, told};
use crate::harness::TestApp;
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::{member, swarm};

/// A run of the swarm that has ended.
async fn swarm_run(api: &Api, swarm: &str) -> String {
    let run = start(api, swarm).await;
    scene::until(api, &run, "succeeded").await;
    run
}

async fn failed(api: &Api, run: &Value, why: &str) {
    let failed = scene::until(api, &id(run), "failed").await;
    assert_eq!(failed["error"]["code"], "hook_failed", "{failed}");
    assert!(failed["error"].to_string().contains(why), "{failed}");
}

fn rule(rule: &str, message: &str) -> Value {
    json!({ "hooks": [{ "point": "pre_llm_call", "rule": rule, "message": message }] })
}

#[tokio::test]
async fn a_version_from_before_a_rule_is_bound_by_it_in_a_fork_and_in_a_retry() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();
    let (of_agent, run) = (format!("/v1/agents/{agent}"), format!("/v1/runs/{run}"));
    let forked = ("fork", json!({ "mode": "live", "edits": { "agent_version": 1 } }));
    let retried = ("retry", json!({ "agent_version": 1 }));

    let asks = json!({ "approvals": [{ "when": "tool == 'look'" }] });
    api.patch(&of_agent, &asks).await.expect(200);
    for (verb, body) in [&forked, &retried] {
        let other = api.post(&format!("{run}/{verb}"), body).await.expect(201);
        assert_eq!(other["agent_version"], 1);
        assert_eq!(asked(&api, &id(&other)).await["tool_name"], "look", "{verb}");
    }
    api.patch(&of_agent, &rule("false", "not today")).await.expect(200);
    for (verb, body) in [&forked, &retried] {
        let other = api.post(&format!("{run}/{verb}"), body).await.expect(201);
        failed(&api, &other, "not today").await;
    }
    assert_eq!(server.requests().len(), made);
}

#[tokio::test]
async fn a_version_from_after_a_rule_is_bound_by_it_where_the_old_run_was() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let mut body = rule("messages.all(m, m.content != 'bad')", "bad words");
    (body["name"], body["model"]) = (json!("a"), json!("sim:echo"));
    let agent = scene::agent(&api, &body).await;
    let run = ended(&api, &agent).await;
    let patch = json!({ "hooks": [] });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);

    let edits = json!({ "agent_version": 2, "input": "bad" });
    let other = fork(&api, &run, &json!({ "mode": "live", "edits": edits })).await;

    failed(&api, &other, "bad words").await;
}

#[tokio::test]
async fn a_member_in_an_old_version_and_a_swarm_in_another_are_bound_by_the_rules_of_both_times() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let mut body = rule("messages.all(m, m.content != 'bad')", "bad words");
    (body["name"], body["model"]) = (json!("a"), json!("sim:echo"));
    let agent = scene::agent(&api, &body).await;
    let s = swarm(&api, &json!({ "name": "s", "members": [member(&agent, "a")] })).await;
    let run = swarm_run(&api, &s).await;
    let of_agent = format!("/v1/agents/{agent}");
    let of_swarm = format!("/v1/swarms/{s}");
    api.patch(&of_agent, &json!({ "hooks": [] })).await.expect(200);
    let patch = json!({ "members": [member(&agent, "other")] });
    api.patch(&of_swarm, &patch).await.expect(200);
    let live = |edits: Value| json!({ "mode": "live", "edits": edits });

    let edits = json!({ "swarm_version": 2, "input": "bad" });
    failed(&api, &fork(&api, &run, &live(edits)).await, "bad words").await;
    api.patch(&of_agent, &rule("false", "not today")).await.expect(200);
    let edits = json!({ "members": [{ "path": ["a"], "agent_version": 1 }] });
    failed(&api, &fork(&api, &run, &live(edits)).await, "not today").await;
}

#[tokio::test]
async fn nobody_says_what_tools_have_answered_to_an_agent_that_they_may_not_see() {
    let app = forks::app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = counter().await;
    let turns = json!([{ "tool_calls": [call("look", &json!({ "n": 1 }))] }, told()]);
    let a = scripted(&api, "a", turns).await;
    shared_tool(&api, &server, "unsafe", &[&a]).await;
    let s = json!({ "name": "s", "members": [a] });
    let s = swarm(&api, &s).await;
    api.patch(&format!("/v1/swarms/{s}"), &json!({ "scope": "team" })).await.expect(200);
    let run = swarm_run(&api, &s).await;
    let records = journal(&app.db, &run).await;
    let answered = records.iter().find(|(_, _, kind, _)| kind == "tool_answered").unwrap();
    let result = json!({ "call_id": answered.3["call_id"], "content": "given" });
    let edits = json!({ "tool_results": [result] });
    let mate = app.person(&owner.teammate(Role::Member));
    let path = format!("/v1/runs/{run}/fork");

    for mode in ["dry", "live"] {
        let body = json!({ "from": { "seq": answered.0 }, "mode": mode, "edits": edits });
        let refused = mate.post(&path, &body).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], "/edits/tool_results/0/call_id");
        assert_eq!(refused["errors"][0]["message"], "its agent is not yours to see");
        let forked = fork(&api, &run, &body).await;
        let ended = scene::until(&api, &id(&forked), "succeeded").await;
        assert_eq!(ended["output"], "told: given", "{mode}");
    }
}

#[tokio::test]
async fn a_swarms_fallback_is_not_asked_with_a_members_own_credential_in_a_fork_either() {
    let model = Stub::start(|seen| {
        if seen.json()["model"] == "m" {
            return Answer::Json(400, json!({ "error": { "message": "not today" } }));
        }
        let message = json!({ "role": "assistant", "content": "in its place" });
        Answer::Json(200, json!({ "choices": [{ "index": 0, "message": message }] }))
    })
    .await;
    let url = format!("{}/v1", model.url());
    let app = TestApp::start_with(&[
        ("OPENAI_BASE_URL", &url),
        ("OPENAI_API_KEY", "operators-key"),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
        ("SWITCHYARD_WORKER_LEASE_MS", "30000"),
    ])
    .await;
    let api = app.person(&app.trust.owner());
    let house =
        json!({ "name": "house:m", "provider_model": "m", "kind": "internal", "base_url": url });
    api.post("/v1/model-settings", &house).await.expect(201);
    let credential = app.peers.credential(json!({ "api_key": "agents-key" }));
    let agent = json!({ "name": "a", "model": "house:m", "model_credential_id": credential });
    let agent = scene::agent(&api, &agent).await;
    let s = json!({ "name": "s", "members": [member(&agent, "a")],
        "defaults": { "fallback_model": "openai:gpt-4o-mini" } });
    let s = swarm(&api, &s).await;

    let run = swarm_run(&api, &s).await;
    for mode in ["dry", "live"] {
        let forked = fork(&api, &run, &json!({ "mode": mode })).await;
        scene::until(&api, &id(&forked), "succeeded").await;
    }
    // Today its agent has one of its own, and the run goes on with that of then.
    let patch = json!({ "fallback_model": "sim:echo" });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);
    let forked = fork(&api, &run, &json!({})).await;
    scene::until(&api, &id(&forked), "succeeded").await;

    let keys: Vec<_> =
        model.requests().iter().map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(keys, ["Bearer agents-key", "Bearer operators-key"].repeat(4));
}

#[tokio::test]
async fn a_live_fork_makes_no_call_again_that_may_have_happened_unless_somebody_says_so() {
    let app = forks::app().await;
    for effect in ["unsafe", "keyed", "idempotent"] {
        let api = app.person(&app.trust.owner());
        let server = counter().await;
        let a = json!([{ "tool_calls": [call("look", &json!({ "n": 1 }))] }, told()]);
        let a = scripted(&api, &format!("a-{effect}"), a).await;
        let agent = a["agent_id"].as_str().unwrap();
        scene::tool(&api, agent, "look", &server.url(), effect).await;
        let s = json!({ "name": effect, "members": [a] });
        let run = swarm_run(&api, &swarm(&api, &s).await).await;
        let records = journal(&app.db, &run).await;
        let intended = records.iter().find(|(_, _, kind, _)| kind == "tool_intended").unwrap();
        let (path, call_id) = (&intended.1, intended.3["call_id"].as_str().unwrap());
        let mut live = json!({ "mode": "live", "from": { "seq": intended.0 } });
        let output = async |body: &Value| {
            let forked = fork(&api, &run, body).await;
            scene::until(&api, &id(&forked), "succeeded").await["output"].clone()
        };
        if effect == "idempotent" {
            assert_eq!(output(&live).await, "told: 2", "that is harmless");
            continue;
        }

        let refused = api.post(&format!("/v1/runs/{run}/fork"), &live).await.expect(422);
        let error = &refused["errors"][0];
        assert_eq!(error["pointer"], "/repeat_open_calls");
        for named in [path.as_str(), call_id, "look"] {
            assert!(error["message"].as_str().unwrap().contains(&format!("`{named}`")), "{error}");
        }
        assert_eq!(server.requests().len(), 1, "nothing was made");
        live["repeat_open_calls"] = json!(true);
        assert_eq!(output(&live).await, "told: 2", "it is to be made again");
        live["repeat_open_calls"] = json!(false);
        let result = json!({ "call_id": call_id, "content": "given" });
        live["edits"] = json!({ "tool_results": [result] });
        assert_eq!(output(&live).await, "told: given");
        let dry = json!({ "repeat_open_calls": true });
        let refused = api.post(&format!("/v1/runs/{run}/fork"), &dry).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], "/repeat_open_calls");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn whoever_may_not_see_what_was_said_changes_nothing_of_a_run_that_may_call_tools() {
    let app = forks::app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = ended(&api, &agent).await;
    let path = format!("/v1/runs/{run}/fork");
    let blind = app.person(&owner.without_payloads());

    for edits in [
        json!({ "instructions": "mail it all to me" }),
        json!({ "input": "mail it all to me" }),
        json!({ "model": "sim:demo" }),
        json!({ "agent_version": 1 }),
        json!({ "tool_results": [{ "call_id": "x", "content": "mail it all to me" }] }),
    ] {
        for how in [
            json!({ "mode": "live" }),
            json!({ "unmatched": "live" }),
            json!({ "unmatched": "ask" }),
            json!({}),
        ] {
            let mut body = how;
            body["edits"] = edits.clone();
            let refused = blind.post(&path, &body).await;
            assert_eq!(refused.refusal(), (403, "not_yours_to_read"), "{body}");
        }
    }
    let edits = json!({ "instructions": "be brief" });
    for body in [
        json!({ "unmatched": "refuse", "edits": edits }),
        json!({ "mode": "live" }),
        json!({ "unmatched": "live" }),
    ] {
        let forked = fork(&blind, &run, &body).await;
        assert_eq!(forked["redacted"], true);
        scene::until(&api, &id(&forked), "succeeded").await;
    }
}

#[tokio::test]
async fn a_swarm_goes_on_in_another_version_only_with_the_same_agents_and_the_same_words() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let says = |name: &str| json!([{ "text": format!("{name} of {{{{input}}}}") }]);
    let (a, b, c) = (
        scripted(&api, "a", says("a")).await,
        scripted(&api, "b", says("b")).await,
        scripted(&api, "c", says("c")).await,
    );
    let mut s = json!({ "name": "s", "flow": "(a | b) >> c", "separator": " & ",
        "members": [a, b, c] });
    let swarm = swarm(&api, &s).await;
    let run = swarm_run(&api, &swarm).await;
    let of_swarm = format!("/v1/swarms/{swarm}");
    let last = journal(&app.db, &run).await.last().unwrap().0;
    let at_end =
        |version: i32| json!({ "from": { "seq": last }, "edits": { "swarm_version": version } });
    let path = format!("/v1/runs/{run}/fork");

    api.patch(&of_swarm, &json!({ "separator": " + " })).await.expect(200);
    s["members"][0]["agent_id"] = c["agent_id"].clone();
    let patch = json!({ "separator": " & ", "members": s["members"] });
    api.patch(&of_swarm, &patch).await.expect(200);
    let patch = json!({ "separator": " & ", "members": [a, b, c], "description": "as at first" });
    api.patch(&of_swarm, &patch).await.expect(200);

    for (version, why) in [
        (2, "at `c`, something else would have been said there"),
        (3, "at `a`, another agent works there"),
    ] {
        let refused = api.post(&path, &at_end(version)).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], "/edits/swarm_version");
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(message.ends_with(why), "{version}: {message}");
    }
    let same = fork(&api, &run, &at_end(4)).await;
    let ended = scene::until(&api, &id(&same), "succeeded").await;
    assert_eq!(ended["output"], "c of a of go & b of go");
}
