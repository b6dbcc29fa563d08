//! Forks of runs of swarms with something changed: of one member, of what a tool has answered to it, of the swarm.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::Api;

use crate::forks::{self, fork, id};
use crate::forks_swarm::{call, counter, journal, shared_tool, told};
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::swarm;

fn says(text: &str) -> Value {
    json!([{ "text": text }])
}

/// `a`, then `b`; `c` stands beside.
async fn line(api: &Api) -> String {
    let (a, b, c) = (
        scripted(api, "a", says("a of {{input}}")).await,
        scripted(api, "b", says("b of {{input}}")).await,
        scripted(api, "c", says("c of {{input}}")).await,
    );
    swarm(api, &json!({ "name": "line", "flow": "a >> b", "members": [a, b, c] })).await
}

/// Two that look at the same time, each with a call of the same id.
async fn pair(api: &Api, server: &testkit::Stub) -> String {
    let turns = json!([{ "tool_calls": [call("look", &json!({ "n": 1 }))] }, told()]);
    let (a, b) = (scripted(api, "a", turns.clone()).await, scripted(api, "b", turns).await);
    shared_tool(api, server, "unsafe", &[&a, &b]).await;
    let pair = json!({ "name": "pair", "flow": "(a | b)", "separator": " & ", "members": [a, b] });
    swarm(api, &pair).await
}

async fn ended(api: &Api, swarm: &str) -> String {
    let run = start(api, swarm).await;
    scene::until(api, &run, "succeeded").await;
    run
}

/// How a fork of the run ends.
async fn forked(api: &Api, run: &str, body: &Value) -> Value {
    scene::until(api, &id(&fork(api, run, body).await), "succeeded").await
}

#[tokio::test]
async fn each_member_may_have_another_prompt_model_or_version() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let run = ended(&api, &line(&api).await).await;
    let found = api.get("/v1/agents?name=b").await.expect(200);
    let b = found["items"][0]["agent_id"].as_str().unwrap();
    let patch = json!({ "instructions": scene::script(&says("new of {{input}}")) });
    api.patch(&format!("/v1/agents/{b}"), &patch).await.expect(200);
    let output = async |member: Value| {
        let body =
            json!({ "from": { "path": ["b"], "step": 1 }, "edits": { "members": [member] } });
        forked(&api, &run, &body).await["output"].clone()
    };

    let same = forked(&api, &run, &json!({})).await;
    assert_eq!(same["output"], "b of a of go", "as it was");
    let prompt = scene::script(&says("other of {{input}}"));
    assert_eq!(output(json!({ "path": ["b"], "prompt": prompt })).await, "other of a of go");
    assert_eq!(
        output(json!({ "path": ["b#2"], "instructions": prompt })).await,
        "other of a of go"
    );
    assert_eq!(output(json!({ "path": ["b"], "model": "sim:echo" })).await, "a of go");
    assert_eq!(output(json!({ "path": ["b"], "agent_version": 2 })).await, "new of a of go");
    assert_eq!(
        output(json!({ "path": ["a"], "prompt": prompt })).await,
        "b of a of go",
        "it has spoken"
    );
    let body =
        json!({ "edits": { "input": "stay", "members": [{ "path": ["a"], "prompt": prompt }] } });
    let other = fork(&api, &run, &body).await;
    let whole = scene::until(&api, &id(&other), "succeeded").await;
    assert_eq!(whole["output"], "b of other of stay");
    let records = journal(&app.db, &id(&other)).await;
    let named = records.iter().find(|(_, _, kind, _)| kind == "forked").unwrap();
    assert_eq!(named.3["edits"], json!(["input", "members/a/instructions"]));
}

#[tokio::test]
async fn a_result_is_given_for_the_call_of_the_member_that_is_named() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = counter().await;
    let run = ended(&api, &pair(&api, &server).await).await;
    let records = journal(&app.db, &run).await;
    let of = |path: &str, what: &str| {
        records.iter().find(|(_, at, kind, _)| at == path && kind == what).unwrap()
    };
    let call_id = of("b", "tool_answered").3["call_id"].clone();
    assert_eq!(call_id, of("a", "tool_answered").3["call_id"], "each numbers its calls itself");
    let result = json!({ "call_id": call_id, "content": "given" });
    let mut theirs = result.clone();
    theirs["path"] = json!(["b"]);

    let vague = json!({ "edits": { "tool_results": [result] } });
    let refused = api.post(&format!("/v1/runs/{run}/fork"), &vague).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/edits/tool_results/0/call_id");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("`path`"), "{refused}");
    // Before the fork, behind it, and in a live one whose call nobody has answered.
    for from in [
        json!({ "from": { "seq": of("b", "tool_answered").0 } }),
        json!({ "from": { "step": 1 } }),
        json!({ "from": { "seq": of("b", "model_replied").0 }, "mode": "live", "repeat_open_calls": true }),
    ] {
        let mut body = from;
        body["edits"] = json!({ "tool_results": [theirs] });
        let output = forked(&api, &run, &body).await["output"].as_str().unwrap().to_owned();
        assert!(
            output.ends_with("& told: given") && !output.starts_with("told: given"),
            "{output}"
        );
    }
    let live = json!({ "mode": "live", "edits": { "tool_results": [theirs] } });
    let refused = api.post(&format!("/v1/runs/{run}/fork"), &live).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/edits/tool_results/0/call_id");
}

#[tokio::test]
async fn a_run_goes_on_in_another_version_of_its_swarm_if_that_would_have_come_so_far() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let swarm = line(&api).await;
    let run = ended(&api, &swarm).await;
    let patch = json!({ "flow": "a >> c >> b" });
    api.patch(&format!("/v1/swarms/{swarm}"), &patch).await.expect(200);
    let edits = json!({ "swarm_version": 2 });
    let path = format!("/v1/runs/{run}/fork");

    let from = json!({ "path": ["b"], "step": 1 });
    let other = fork(&api, &run, &json!({ "from": from, "edits": edits })).await;
    let ended = scene::until(&api, &id(&other), "succeeded").await;
    assert_eq!(
        (&ended["output"], &ended["swarm_version"]),
        (&json!("b of c of a of go"), &json!(2))
    );
    let asked =
        |(_, path, kind, _): &(i64, String, String, Value)| path == "a" && kind == "model_called";
    let records = journal(&app.db, &id(&other)).await;
    assert_eq!(
        records.iter().filter(|record| asked(record)).count(),
        1,
        "what stands is not asked again"
    );
    assert_eq!(forked(&api, &run, &json!({})).await["output"], "b of a of go", "as it was");

    let last = journal(&app.db, &run).await.last().unwrap().0;
    let body = json!({ "from": { "seq": last }, "edits": edits });
    let refused = api.post(&path, &body).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/edits/swarm_version");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("`b`"), "{refused}");
    let unknown = json!({ "edits": { "swarm_version": 9 } });
    assert_eq!(api.post(&path, &unknown).await.refusal(), (404, "swarm_version_not_found"));
}

#[tokio::test]
async fn a_swarm_that_has_failed_goes_on_from_there_with_another_prompt_for_whoever_failed() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let a = scripted(&api, "a", says("a")).await;
    let fails = json!([{ "fail": { "status": 400 } }]);
    let b = scripted(&api, "b", fails).await;
    let c = scripted(&api, "c", says("c of {{input}}")).await;
    let s = json!({ "name": "s", "flow": "a >> b >> c", "members": [a, b, c] });
    let run = start(&api, &swarm(&api, &s).await).await;
    scene::until(&api, &run, "failed").await;
    let last = journal(&app.db, &run).await.last().unwrap().0;

    let member = json!({ "path": ["b"], "prompt": scene::script(&says("b of {{input}}")) });
    let body = json!({ "from": { "seq": last }, "edits": { "members": [member] } });
    let other = fork(&api, &run, &body).await;

    let ended = scene::until(&api, &id(&other), "succeeded").await;
    assert_eq!(ended["output"], "c of b of a");
    let records = journal(&app.db, &id(&other)).await;
    assert!(records.iter().all(|(_, _, kind, _)| kind != "model_failed"), "that does not stand");
    let same = fork(&api, &run, &json!({ "from": { "seq": last } })).await;
    let failed = scene::until(&api, &id(&same), "failed").await;
    assert!(failed["error"]["message"].as_str().unwrap().starts_with("`b` failed"), "{failed}");
}

#[tokio::test]
async fn a_dry_run_of_a_swarm_starts_no_run_and_shows_members_rules_each_result_once() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let writer = scene::scripted(&api, "writer", &says("a poem")).await;
    let turns = json!([{ "tool_calls": [call("write", &json!({ "task": "ants" }))] }, told()]);
    let a = scripted(&api, "a", turns).await;
    let agent = a["agent_id"].as_str().unwrap();
    let tool = json!({ "name": "write", "kind": "agent", "config": { "agent_id": writer } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let assign = format!("/v1/agents/{agent}/tools/{}", tool["tool_id"].as_str().unwrap());
    api.put(&assign, &json!({})).await.expect(200);
    let rule = |rule: &str| json!({ "hooks": [{ "point": "post_tool_call", "rule": rule, "message": "no" }] });
    let rules = rule("result.content != 'prose'");
    api.patch(&format!("/v1/agents/{agent}"), &rules).await.expect(200);
    let b = scripted(&api, "b", says("b of {{input}}")).await;
    let s = swarm(&api, &json!({ "name": "s", "flow": "a >> b", "members": [a, b] })).await;
    let run = ended(&api, &s).await;
    let records = journal(&app.db, &run).await;
    let answered = records.iter().find(|(_, _, kind, _)| kind == "tool_answered").unwrap();

    for from in [json!({ "step": 1 }), json!({ "path": ["b"], "step": 1 })] {
        let other = fork(&api, &run, &json!({ "from": from })).await;
        let ended = scene::until(&api, &id(&other), "succeeded").await;
        assert_eq!(ended["output"], "b of told: a poem");
        let tree = api.get(&format!("/v1/runs/{}/tree", id(&other))).await.expect(200);
        assert_eq!(tree["children"], json!([]));
        let shown = journal(&app.db, &id(&other)).await;
        let shown = shown.iter().filter(|(_, path, kind, _)| path == "a" && kind == "hook_passed");
        assert_eq!(shown.count(), 1, "from {from}");
    }
    let edits =
        json!({ "tool_results": [{ "call_id": answered.3["call_id"], "content": "prose" }] });
    let other = fork(&api, &run, &json!({ "from": { "seq": answered.0 }, "edits": edits })).await;
    let failed = scene::until(&api, &id(&other), "failed").await;
    assert_eq!(failed["error"]["code"], "hook_failed", "{failed}");
}

#[tokio::test]
async fn what_of_a_swarms_run_cannot_be_forked_so_is_refused_and_said_where() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let run = ended(&api, &line(&api).await).await;
    let agents = scene::agent(&api, &json!({ "name": "alone", "model": "sim:echo" })).await;
    let alone = forks::ended(&api, &agents).await;
    let member = |edits: Value| json!({ "edits": { "members": [edits] } });
    let b = json!({ "path": ["b"], "model": "sim:echo" });

    for (run, body, pointer) in [
        (&run, json!({ "from": { "step": 2 } }), "/from/path"),
        (&run, json!({ "from": { "path": ["b"] } }), "/from/path"),
        (&run, json!({ "from": { "path": ["nobody"], "step": 1 } }), "/from/path"),
        (&run, json!({ "from": { "path": ["c"], "step": 1 } }), "/from/path"),
        (&run, json!({ "from": { "path": ["b"], "step": 2 } }), "/from/step"),
        (&run, json!({ "from": { "seq": 99 } }), "/from/seq"),
        (&run, json!({ "edits": { "model": "sim:echo" } }), "/edits/model"),
        (&run, json!({ "edits": { "prompt": "x" } }), "/edits/instructions"),
        (&run, json!({ "edits": { "agent_version": 1 } }), "/edits/agent_version"),
        (&run, member(json!({ "path": ["nobody"] })), "/edits/members/0/path"),
        (&run, member(json!({ "path": [] })), "/edits/members/0/path"),
        (&run, member(json!({ "path": ["b"], "model": "" })), "/edits/members/0/model"),
        (&run, member(json!({ "path": ["b"], "model": "a\u{0}b" })), "/edits/members/0/model"),
        (
            &run,
            member(json!({ "path": ["b"], "prompt": "{{ unheard.of }}" })),
            "/edits/members/0/instructions",
        ),
        (&run, json!({ "edits": { "members": [b, b] } }), "/edits/members/1/path"),
        (&alone, json!({ "from": { "path": ["b"], "step": 1 } }), "/from/path"),
        (&alone, member(b.clone()), "/edits/members"),
        (&alone, json!({ "edits": { "swarm_version": 1 } }), "/edits/swarm_version"),
    ] {
        let refused = api.post(&format!("/v1/runs/{run}/fork"), &body).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}: {refused}");
    }
    for (edits, refusal) in [
        (json!({ "path": ["b"], "agent_version": 9 }), (404, "agent_version_not_found")),
        (json!({ "path": ["b"], "model": "nobody:knows" }), (422, "model_unavailable")),
        (json!({ "path": ["b"], "temperature": 1 }), (422, "validation_failed")),
    ] {
        let refused = api.post(&format!("/v1/runs/{run}/fork"), &member(edits)).await;
        assert_eq!(refused.refusal(), refusal);
    }
}

#[tokio::test]
async fn whoever_may_run_a_swarm_may_fork_its_runs_as_they_are_and_change_only_agents_that_they_see()
 {
    let app = forks::app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let swarm = line(&api).await;
    let share = json!({ "scope": "team" });
    api.patch(&format!("/v1/swarms/{swarm}"), &share).await.expect(200);
    let run = ended(&api, &swarm).await;
    let path = format!("/v1/runs/{run}/fork");
    let mate = app.person(&owner.teammate(Role::Member));
    let stranger = app.person(&owner.colleague(Role::Member));
    let rival = app.person(&app.trust.owner());
    let member = json!({ "edits": { "members": [{ "path": ["b"], "model": "sim:echo" }] } });

    assert_eq!(forked(&mate, &run, &json!({})).await["output"], "b of a of go");
    let refused = mate.post(&path, &member).await.expect(422);
    assert_eq!(refused["errors"][0]["message"], "its agent is not yours to see");
    for nobody in [&stranger, &rival] {
        assert_eq!(nobody.post(&path, &json!({})).await.refusal(), (404, "run_not_found"));
    }
    let found = api.get("/v1/agents?name=b").await.expect(200);
    let b = format!("/v1/agents/{}", found["items"][0]["agent_id"].as_str().unwrap());
    api.patch(&b, &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "swarm_not_runnable"));
    api.patch(&format!("/v1/swarms/{swarm}"), &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "swarm_not_active"));
}

#[tokio::test]
async fn no_result_is_given_to_a_member_that_was_taken_from_its_work_before_others_went_on() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let asks = call("ask", &json!({ "question": "Well?" }));
    let fails = json!([{ "tool_calls": [asks] }, { "fail": { "status": 400 } }]);
    let (a, b) = (
        scripted(&api, "a", fails).await,
        scripted(&api, "b", json!([{ "tool_calls": [asks] }, told()])).await,
    );
    let ask = json!({ "name": "ask", "kind": "builtin", "config": { "builtin": "ask_human" } });
    let ask = api.post("/v1/tools", &ask).await.expect(201)["tool_id"].clone();
    let pair = json!({ "name": "pair", "flow": "(a | b)", "members": [a, b], "defaults": { "tools": [ask] } });
    let pair = swarm(&api, &pair).await;
    let delegates = call("delegate_to_pair", &json!({ "task": "ants" }));
    let lead = scripted(&api, "lead", json!([{ "tool_calls": [delegates] }, told()])).await;
    let team = json!({ "name": "team", "mode": "team",
        "members": [lead, { "kind": "swarm", "swarm_id": pair }] });
    let run = start(&api, &swarm(&api, &team).await).await;
    let path = format!("/v1/runs/{run}/input");
    testkit::eventually("both questions", async || {
        let open = api.get(&path).await.expect(200);
        (open["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let answer = json!({ "path": ["lead", "pair", "a"], "answer": "so so" });
    assert_eq!(api.post(&path, &answer).await.status, 202);
    let first = scene::until(&api, &run, "succeeded").await;
    let records = journal(&app.db, &run).await;
    let asked =
        records.iter().find(|(_, at, kind, _)| at == "lead/pair/b" && kind == "tool_waiting");
    let call_id = asked.unwrap().3["call_id"].clone();
    let last = records.last().unwrap().0;
    let result = |path: Value| {
        let result = json!({ "call_id": call_id, "path": path, "content": "well" });
        json!({ "from": { "seq": last }, "edits": { "tool_results": [result] } })
    };

    let same = forked(&api, &run, &json!({ "from": { "seq": last } })).await;
    assert_eq!(same["output"], first["output"]);
    for (path, why) in [
        (json!(["lead", "pair", "b"]), "the member no longer waits for an answer to it"),
        (json!(["lead"]), "a member answers that call, and no tool"),
    ] {
        let refused = api.post(&format!("/v1/runs/{run}/fork"), &result(path)).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], "/edits/tool_results/0/call_id");
        assert_eq!(refused["errors"][0]["message"], why);
    }
}
