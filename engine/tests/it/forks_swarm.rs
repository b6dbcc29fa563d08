//! Forks of runs of swarms: what they begin with, at whichever step of whichever member, and what they repeat.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, TestDb, eventually};

use crate::forks::{self, fork, id};
use crate::harness::TestApp;
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::swarm;

/// The other side of all tools: no two of its answers are the same.
pub(crate) async fn counter() -> Stub {
    let answered = AtomicUsize::new(0);
    Stub::start(move |_| Answer::Json(200, json!(1 + answered.fetch_add(1, Ordering::SeqCst))))
        .await
}

/// A tool for these members.
pub(crate) async fn shared_tool(api: &Api, server: &Stub, effect: &str, members: &[&Value]) {
    let fields = json!({ "name": "look", "kind": "http", "effect": effect, "timeout_ms": 20_000,
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": server.url() } });
    let made = api.post("/v1/tools", &fields).await.expect(201);
    for member in members {
        let (agent, tool) =
            (member["agent_id"].as_str().unwrap(), made["tool_id"].as_str().unwrap());
        api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await.expect(200);
    }
}

pub(crate) fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn look() -> Value {
    call("look", &json!({ "n": 1 }))
}

pub(crate) fn told() -> Value {
    json!({ "text": "told: {{last_tool_result}}" })
}

/// A team that does all there is to do: its lead looks for itself and delegates to a member that fails, to a desk whose members
/// hand over, and to one with two members that work at the same time. All of them make the same call, and one makes it twice.
async fn newsroom(api: &Api, server: &Stub) -> String {
    let look_and_tell = json!([{ "tool_calls": [look()] }, told()]);
    let transfer = call("transfer_to_till", &json!({}));
    let turns = json!([{ "tool_calls": [look()] }, { "tool_calls": [transfer] }]);
    let mut front = scripted(api, "front", turns).await;
    front["handoffs"] = json!(["till"]);
    let till = scripted(api, "till", look_and_tell.clone()).await;
    let research = scripted(api, "research", json!([{ "text": "notes" }])).await;
    let twice = json!([{ "tool_calls": [look(), look()] }, { "tool_calls": [look()] }, told()]);
    let facts = scripted(api, "facts", twice).await;
    let style = scripted(api, "style", look_and_tell).await;
    let broken = scripted(api, "broken", json!([{ "fail": { "status": 400 } }])).await;
    let task = json!({ "task": "ants" });
    let all = ["delegate_to_broken", "delegate_to_desk", "delegate_to_press"]
        .map(|name| call(name, &task));
    let turns = json!([{ "tool_calls": [look(), all[0], all[1], all[2]] }, told()]);
    let lead = scripted(api, "lead", turns).await;
    shared_tool(api, server, "unsafe", &[&lead, &front, &till, &facts, &style]).await;
    let desk = json!({ "name": "desk", "mode": "handoff", "members": [front, till] });
    let press = json!({ "name": "press", "flow": "research >> (facts | style)", "separator": " + ",
        "members": [research, facts, style] });
    let within = |id: String| json!({ "kind": "swarm", "swarm_id": id });
    let (desk, press) = (swarm(api, &desk).await, swarm(api, &press).await);
    let newsroom = json!({ "name": "newsroom", "mode": "team",
        "members": [lead, broken, within(desk), within(press)] });
    swarm(api, &newsroom).await
}

/// A run of it that has ended, and how.
async fn ended(api: &Api, swarm: &str) -> (String, Value) {
    let run = start(api, swarm).await;
    let ended = scene::until(api, &run, "succeeded").await;
    (run, ended)
}

/// The run's records as `(seq, path, kind, data)`.
pub(crate) async fn journal(db: &TestDb, run: &str) -> Vec<(i64, String, String, Value)> {
    sqlx::query_as(
        "select seq, path, kind, data from engine.journal where run_id = $1::uuid order by seq",
    )
    .bind(scene::bare(run))
    .fetch_all(&mut db.admin().await)
    .await
    .unwrap()
}

/// What they say of the conversations. Members that work at the same time say it in any order.
async fn said(db: &TestDb, run: &str) -> Vec<(String, String, String)> {
    let mut said = journal(db, run).await;
    said.retain(|(_, _, kind, _)| !forks::ABOUT_THE_RUN.contains(&kind.as_str()));
    let mut said: Vec<(String, String, String)> =
        said.into_iter().map(|(_, path, kind, data)| (path, kind, data.to_string())).collect();
    said.sort();
    // A model that is asked again by another worker is asked the same.
    said.dedup_by(|one, other| one == other && one.1 == "model_called");
    said
}

async fn effects(db: &TestDb, run: &str) -> i64 {
    sqlx::query_scalar("select count(*) from engine.effect where run_id = $1::uuid")
        .bind(scene::bare(run))
        .fetch_one(&mut db.admin().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_dry_fork_of_a_swarms_run_at_any_record_ends_with_the_same_journal_and_calls_nothing() {
    let app = forks::app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = counter().await;
    let newsroom = newsroom(&api, &server).await;
    let (run, first) = ended(&api, &newsroom).await;
    let (made, whole) = (server.requests().len(), said(&app.db, &run).await);
    assert_eq!(made, 7, "each member's, and that of one three times");
    let records = journal(&app.db, &run).await;
    for (path, kind) in [
        ("lead/broken", "model_failed"),
        ("lead/desk/till", "handed_over"),
        ("lead/press/facts", "tool_answered"),
        ("lead/press/style", "tool_answered"),
    ] {
        assert!(
            records.iter().any(|(_, at, what, _)| at == path && what == kind),
            "{kind} at {path}"
        );
    }

    let mut forked = Vec::new();
    for seq in 2..=records.len() {
        // A token lasts for a minute.
        let api = app.person(&owner);
        let made = fork(&api, &run, &json!({ "from": { "seq": seq } })).await;
        assert_eq!(
            (&made["mode"], &made["swarm_id"], &made["from_seq"]),
            (&json!("dry"), &json!(newsroom), &json!(seq))
        );
        forked.push((seq, id(&made)));
    }
    for (seq, forked) in forked {
        let api = app.person(&owner);
        let ended = scene::until(&api, &forked, "succeeded").await;
        assert_eq!(
            (&ended["output"], &ended["steps"], &ended["swarm_version"]),
            (&first["output"], &first["steps"], &json!(1)),
            "forked at {seq}"
        );
        assert_eq!(said(&app.db, &forked).await, whole, "forked at {seq}");
        assert_eq!(effects(&app.db, &forked).await, 0, "nothing was meant to be called");
    }
    assert_eq!(server.requests().len(), made, "and nothing was");
}

#[tokio::test]
async fn a_live_fork_at_a_members_step_makes_its_calls_and_those_of_whoever_had_not_come_so_far() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = counter().await;
    let newsroom = newsroom(&api, &server).await;
    let (run, first) = ended(&api, &newsroom).await;
    let records = journal(&app.db, &run).await;
    let asked = |path: &str, step: i64| {
        let is = |(_, at, kind, data): &&(i64, String, String, Value)| {
            at == path && kind == "model_called" && data["step"] == step
        };
        records.iter().find(is).unwrap().0
    };
    let answered = |upto: i64| {
        let is = |(seq, _, kind, _): &&(i64, String, String, Value)| {
            *seq <= upto && kind == "tool_answered"
        };
        records.iter().filter(is).count()
    };

    for (path, step) in [("lead/press/facts", 2), ("lead/desk/till", 1), ("lead", 2)] {
        let before = server.requests().len();
        let at: Vec<&str> = path.split('/').collect();
        // Those at work at that moment may have made a call, or not.
        let body = json!({ "from": { "path": at, "step": step }, "mode": "live", "repeat_open_calls": true });

        let forked = fork(&api, &run, &body).await;

        let upto = asked(path, step) - 1;
        assert_eq!((&forked["from_seq"], &forked["mode"]), (&json!(upto), &json!("live")));
        let ended = scene::until(&api, &id(&forked), "succeeded").await;
        assert_eq!(ended["steps"], first["steps"]);
        let made = server.requests().len() - before;
        assert_eq!(made, 7 - answered(upto), "{path} at {step}: what was answered stands");
        assert_eq!(effects(&app.db, &id(&forked)).await, made as i64);
        if path == "lead" {
            assert_eq!((made, &ended["output"]), (0, &first["output"]));
        }
    }
}

#[tokio::test]
async fn a_fork_of_a_swarms_run_keeps_no_second_copy_and_can_be_forked_again() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = counter().await;
    let newsroom = newsroom(&api, &server).await;
    let (run, first) = ended(&api, &newsroom).await;
    let made = server.requests().len();
    let last = json!({ "from": { "path": ["lead"], "step": 2 } });

    let forked = id(&fork(&api, &run, &last).await);
    let ended = scene::until(&api, &forked, "succeeded").await;
    let again = id(&fork(&api, &forked, &last).await);

    let twice = scene::until(&api, &again, "succeeded").await;
    assert_eq!((&ended["output"], &twice["output"]), (&first["output"], &first["output"]));
    let kept: i64 =
        sqlx::query_scalar("select count(*) from engine.content where root_run_id = $1::uuid")
            .bind(scene::bare(&forked))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap();
    assert_eq!(kept, 1, "its one reply, which is also the output");
    assert_eq!(said(&app.db, &again).await, said(&app.db, &run).await);
    assert_eq!(server.requests().len(), made);
    let (own, whole) = (&ended["usage"]["output_tokens"], &first["usage"]["output_tokens"]);
    assert!(own.as_i64() < whole.as_i64(), "{own} of {whole}");
    let tree = api.get(&format!("/v1/runs/{again}/tree")).await.expect(200);
    assert_eq!((tree["members"].as_array().unwrap().len(), &tree["mode"]), (7, &json!("dry")));
}

#[tokio::test]
async fn a_dry_run_of_a_swarm_whose_process_dies_asks_people_for_its_members_in_the_next_one() {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = counter().await;
    let look_and_tell = json!([{ "tool_calls": [look()] }, told()]);
    let a = scripted(&api, "a", look_and_tell.clone()).await;
    let b = scripted(&api, "b", look_and_tell).await;
    shared_tool(&api, &server, "idempotent", &[&a, &b]).await;
    let s = json!({ "name": "s", "flow": "(a | b)", "separator": " & ", "members": [a, b] });
    let s = swarm(&api, &s).await;
    let node = app.node().await;
    let (run, _) = ended(&api, &s).await;
    let made = server.requests().len();
    let other = json!([{ "tool_calls": [call("look", &json!({ "n": 2 }))] }, told()]);
    let members = ["a", "b"].map(|name| json!({ "path": [name], "prompt": scene::script(&other) }));
    let forked = id(&fork(&api, &run, &json!({ "edits": { "members": members } })).await);
    scene::until(&api, &forked, "waiting").await;

    node.kill();
    let _other = app.node().await;
    // A token lasts for a minute.
    let api = app.person(&owner);

    let path = format!("/v1/runs/{forked}/input");
    let open = eventually("both questions", async || {
        let open = api.get(&path).await.expect(200);
        (open["items"].as_array().unwrap().len() == 2).then_some(open)
    })
    .await;
    for question in open["items"].as_array().unwrap() {
        let text = question["question"].as_str().unwrap();
        assert!(text.contains("`look`") && text.contains(r#"{"n":2}"#), "{text}");
    }
    let given = json!({ "decision": "result", "result": "given" });
    let answer = json!({ "path": ["a"], "answer": given });
    assert_eq!(api.post(&path, &answer).await.status, 202);
    let answer = json!({ "path": ["b"], "answer": { "decision": "live" } });
    assert_eq!(api.post(&path, &answer).await.status, 202);
    let ended = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(ended["output"], "told: given & told: 3");
    assert_eq!(server.requests().len(), made + 1, "the one that was let through");
}
