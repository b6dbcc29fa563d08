//! Runs that go on from where another one stood: what they begin with, what is different, and what becomes of the other one.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, TestDb, eventually};

use crate::harness::TestApp;
use crate::scene;

/// An engine whose lease outlasts a busy machine: most of these tests are not about one that ends.
pub(crate) async fn app() -> TestApp {
    let lease = ("SWITCHYARD_WORKER_LEASE_MS", "30000");
    TestApp::start_with(&[("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"), lease]).await
}

/// An agent that looks, pays twice with the same words, and says what it was told; with the other side of it.
pub(crate) async fn reference(api: &Api) -> (String, Stub) {
    paying(api, "unsafe").await
}

/// The same, whatever a repeated payment does.
pub(crate) async fn paying(api: &Api, effect: &str) -> (String, Stub) {
    let server =
        Stub::start(|seen| Answer::Json(200, json!(format!("{} is fine", seen.path)))).await;
    let call = |name: &str, n: i32| json!({ "name": name, "arguments": { "n": n } });
    let turns = json!([
        { "tool_calls": [call("look", 1)] },
        { "tool_calls": [call("pay", 1), call("look", 1), call("pay", 2)] },
        { "tool_calls": [call("pay", 1)] },
        { "text": "told: {{last_tool_result}}" },
    ]);
    let agent = scene::scripted(api, "reference", &turns).await;
    scene::tool(api, &agent, "look", &format!("{}/look", server.url()), "read").await;
    scene::tool(api, &agent, "pay", &format!("{}/pay", server.url()), effect).await;
    (agent, server)
}

/// A run of it that has ended.
pub(crate) async fn ended(api: &Api, agent: &str) -> String {
    let run = scene::start(api, agent).await;
    scene::until(api, &run, "succeeded").await;
    run
}

pub(crate) async fn fork(api: &Api, run: &str, body: &Value) -> Value {
    api.post(&format!("/v1/runs/{run}/fork"), body).await.expect(201)
}

pub(crate) fn id(run: &Value) -> String {
    run["run_id"].as_str().unwrap().to_owned()
}

/// The run's records as `(seq, kind, data)`.
pub(crate) async fn journal(db: &TestDb, run: &str) -> Vec<(i64, String, Value)> {
    sqlx::query_as(
        "select seq, kind, data from engine.journal where run_id = $1::uuid order by seq",
    )
    .bind(scene::bare(run))
    .fetch_all(&mut db.admin().await)
    .await
    .unwrap()
}

/// Records that say who carried it out and when, and whether a tool was called or answered for: not what was said.
pub(crate) const ABOUT_THE_RUN: [&str; 10] = [
    "created",
    "forked",
    "started",
    "resumed",
    "waiting",
    "tool_intended",
    "tool_repeated",
    "tool_replayed",
    "model_retried",
    "finished",
];

/// What its records say of the conversation.
async fn said(db: &TestDb, run: &str) -> Vec<(String, Value)> {
    let mut said: Vec<(i64, String, Value)> = journal(db, run).await;
    said.retain(|(_, kind, _)| !ABOUT_THE_RUN.contains(&kind.as_str()));
    // Calls of one turn are answered in any order.
    let mut said: Vec<(String, Value)> =
        said.into_iter().map(|(_, kind, data)| (kind, data)).collect();
    said.sort_by_key(|(kind, data)| (kind.clone(), data.to_string()));
    // A model that is asked again by another worker is asked the same.
    said.dedup();
    said
}

fn count(records: &[(i64, String, Value)], kind: &str) -> usize {
    records.iter().filter(|(_, other, _)| other == kind).count()
}

#[tokio::test]
async fn a_dry_fork_at_any_record_ends_with_the_same_journal_and_calls_nothing() {
    let app = app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let (made, whole) = (server.requests().len(), said(&app.db, &run).await);
    assert_eq!(made, 5);
    let last = journal(&app.db, &run).await.len();

    for seq in 2..=last {
        // A token lasts for a minute.
        let api = app.person(&owner);
        let forked = fork(&api, &run, &json!({ "from": { "seq": seq } })).await;
        assert_eq!(
            (&forked["mode"], &forked["fork_of"], &forked["from_seq"]),
            (&json!("dry"), &json!(run), &json!(seq))
        );
        let ended = scene::until(&api, &id(&forked), "succeeded").await;
        assert_eq!(
            (&ended["mode"], &ended["output"]),
            (&json!("dry"), &json!("told: \"/pay is fine\""))
        );
        assert_eq!(said(&app.db, &id(&forked)).await, whole, "forked at {seq}");
        let records = journal(&app.db, &id(&forked)).await;
        assert_eq!(
            (records[0].1.as_str(), records[1].1.as_str(), records[2].1.as_str()),
            ("created", "input", "forked")
        );
        assert_eq!(count(&records, "tool_answered"), 5);
    }

    assert_eq!(server.requests().len(), made, "nothing was called");
    let effects: i64 =
        sqlx::query_scalar("select count(*) from engine.effect where run_id <> $1::uuid")
            .bind(scene::bare(&run))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap();
    assert_eq!(effects, 0, "and nothing was meant to be");
}

#[tokio::test]
async fn a_fork_keeps_no_second_copy_of_what_was_said_and_pays_for_its_own_replies_alone() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let price = json!({ "model": "sim:*", "input": 1, "cache_read": 1, "cache_write": 1, "output": 1_000_000, "reasoning": 1 });
    api.post("/v1/prices", &price).await.expect(201);
    let (agent, _server) = reference(&api).await;
    let run = ended(&api, &agent).await;

    let forked = id(&fork(&api, &run, &json!({ "from": { "step": 4 } })).await);

    let (ended, before) =
        (scene::until(&api, &forked, "succeeded").await, scene::get(&api, &run).await);
    let kept: i64 =
        sqlx::query_scalar("select count(*) from engine.content where root_run_id = $1::uuid")
            .bind(scene::bare(&forked))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap();
    assert_eq!(kept, 1, "its one reply");
    let messages = |page: Value| page["items"].as_array().unwrap().clone();
    let of =
        async |run: &str| messages(api.get(&format!("/v1/runs/{run}/messages")).await.expect(200));
    assert_eq!(of(&forked).await, of(&run).await);
    assert_eq!((&ended["steps"], &before["steps"]), (&json!(4), &json!(4)));
    let (own, whole) =
        (ended["cost_micro_usd"].as_i64().unwrap(), before["cost_micro_usd"].as_i64().unwrap());
    assert!(0 < own && own < whole, "{own} of {whole}");
    assert!(ended["usage"]["output_tokens"].as_i64() < before["usage"]["output_tokens"].as_i64());
    let again = id(&fork(&api, &forked, &json!({ "from": { "step": 4 } })).await);
    assert_eq!(
        scene::until(&api, &again, "succeeded").await["output"],
        ended["output"],
        "a fork of a fork"
    );
    assert_eq!(of(&again).await, of(&run).await);
}

#[tokio::test]
async fn an_edited_result_is_what_the_model_is_told_wherever_the_call_was_made() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let records = journal(&app.db, &run).await;
    let answers: Vec<&(i64, String, Value)> =
        records.iter().filter(|(_, kind, _)| kind == "tool_answered").collect();
    let (seq, last) = (answers[4].0, answers[4].2["call_id"].clone());
    let made = server.requests().len();
    let edits =
        json!({ "tool_results": [{ "call_id": last, "content": "refused", "error": true }] });

    // Before the fork, behind it, and in a live one.
    for body in [
        json!({ "from": { "seq": seq }, "edits": edits }),
        json!({ "from": { "step": 1 }, "edits": edits }),
        json!({ "from": { "seq": seq - 1 }, "edits": edits, "mode": "live" }),
    ] {
        let forked = fork(&api, &run, &body).await;
        let ended = scene::until(&api, &id(&forked), "succeeded").await;
        assert_eq!(
            (&ended["output"], &ended["mode"]),
            (&json!("told: refused"), &forked["mode"]),
            "{body}"
        );
    }
    assert_eq!(server.requests().len(), made);
    let first = answers[0].2["call_id"].clone();
    let live = json!({ "from": { "step": 1 }, "mode": "live", "edits": { "tool_results": [{ "call_id": first, "content": "x" }] } });
    let refused = api.post(&format!("/v1/runs/{run}/fork"), &live).await;
    assert_eq!(refused.expect(422)["errors"][0]["pointer"], "/edits/tool_results/0/call_id");
}

#[tokio::test]
async fn the_input_the_instructions_the_model_and_the_version_may_each_be_another() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let text = |text: &str| scene::script(&json!([{ "text": text }]));
    let body = json!({ "name": "a", "model": "sim:script", "instructions": text("one") });
    let agent = scene::agent(&api, &body).await;
    let run = ended(&api, &agent).await;
    let patch = json!({ "instructions": text("two: {{input}}") });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);
    let output = async |edits: Value| {
        let forked = fork(&api, &run, &json!({ "edits": edits })).await;
        scene::until(&api, &id(&forked), "succeeded").await
    };

    assert_eq!(output(json!({})).await["output"], "one", "as it was");
    let second = output(json!({ "agent_version": 2 })).await;
    assert_eq!((&second["output"], &second["agent_version"]), (&json!("two: go"), &json!(2)));
    assert_eq!(output(json!({ "agent_version": 2, "input": "stay" })).await["output"], "two: stay");
    assert_eq!(output(json!({ "instructions": text("three") })).await["output"], "three");
    assert_eq!(output(json!({ "prompt": text("three") })).await["output"], "three");
    assert_eq!(
        output(json!({ "model": "sim:echo", "input": { "a": 1 } })).await["output"],
        r#"{"a":1}"#
    );
}

#[tokio::test]
async fn what_cannot_be_forked_so_is_refused_and_said_where() {
    let app = app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = ended(&api, &agent).await;
    let path = format!("/v1/runs/{run}/fork");

    for (body, pointer) in [
        (json!({ "from": { "seq": 2, "step": 1 } }), "/from/step"),
        (json!({ "from": { "seq": 1 } }), "/from/seq"),
        (json!({ "from": { "seq": 99 } }), "/from/seq"),
        (json!({ "from": { "step": 0 } }), "/from/step"),
        (json!({ "from": { "step": 2 } }), "/from/step"),
        (json!({ "mode": "live", "unmatched": "ask" }), "/unmatched"),
        (json!({ "deadline_seconds": 0 }), "/deadline_seconds"),
        (json!({ "edits": { "input": "" } }), "/edits/input"),
        (json!({ "edits": { "model": "" } }), "/edits/model"),
        (json!({ "edits": { "model": "a\u{0}b" } }), "/edits/model"),
        (json!({ "edits": { "instructions": "{{ unheard.of }}" } }), "/edits/instructions"),
        (json!({ "edits": { "instructions": "x".repeat(300_000) } }), "/edits/instructions"),
        (
            json!({ "edits": { "tool_results": [{ "call_id": "none", "content": "" }] } }),
            "/edits/tool_results/0/call_id",
        ),
        (
            json!({ "edits": { "tool_results": [{ "call_id": "c", "content": "x".repeat(70_000) }] } }),
            "/edits/tool_results/0/content",
        ),
    ] {
        let refused = api.post(&path, &body).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    for (body, refusal) in [
        (json!({ "edits": { "model": "nobody:knows" } }), (422, "model_unavailable")),
        (json!({ "edits": { "agent_version": 9 } }), (404, "agent_version_not_found")),
        (json!({ "mode": "wet" }), (422, "validation_failed")),
        (json!({ "edits": { "temperature": 1 } }), (422, "validation_failed")),
    ] {
        assert_eq!(api.post(&path, &body).await.refusal(), refusal, "{body}");
    }
    let colleague = app.person(&owner.colleague(Role::Member));
    assert_eq!(colleague.post(&path, &json!({})).await.refusal(), (404, "run_not_found"));
    let rival = app.person(&app.trust.owner());
    assert_eq!(rival.post(&path, &json!({})).await.refusal(), (404, "run_not_found"));
    api.patch(&format!("/v1/agents/{agent}"), &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "agent_not_active"));
}

#[tokio::test]
async fn two_forks_at_once_are_two_runs_and_a_repeated_request_is_none() {
    let app = app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();
    let path = format!("/v1/runs/{run}/fork");
    let once = api.header("idempotency-key", "once");
    let body = json!({ "from": { "step": 2 } });

    let (one, two) = tokio::join!(fork(&api, &run, &body), fork(&api, &run, &body));
    let kept = once.post(&path, &body).await.expect(201);
    let again = once.post(&path, &body).await.expect(201);

    assert_ne!(one["run_id"], two["run_id"]);
    assert_eq!(kept["run_id"], again["run_id"]);
    for forked in [&one, &two, &kept] {
        scene::until(&api, &id(forked), "succeeded").await;
    }
    assert_eq!(server.requests().len(), made);
    let links = api.get(&format!("/v1/runs/{run}/links")).await.expect(200);
    let mut forks: Vec<&Value> = links["forks"].as_array().unwrap().iter().collect();
    forks.sort_by_key(|id| id.as_str());
    let mut expected = [&one["run_id"], &two["run_id"], &kept["run_id"]];
    expected.sort_by_key(|id| id.as_str());
    assert_eq!(forks, expected);
    let links = api.get(&format!("/v1/runs/{}/links", id(&one))).await.expect(200);
    assert_eq!((&links["fork_of"], &links["retry_of"]), (&json!(run), &Value::Null));
    assert!(links["from_seq"].as_i64().unwrap() > 2);
    let refused = api.post(&format!("/v1/runs/{}/retry", id(&one)), &json!({})).await;
    assert_eq!(refused.refusal(), (409, "run_not_retryable"), "it would no longer be dry");
}

#[tokio::test]
async fn a_fork_outlives_the_time_its_source_would_have_been_forgotten() {
    let app = TestApp::start_with(&[("SWITCHYARD_PRUNE_MS", "50")]).await;
    let api = app.person(&app.trust.owner());
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let (run, other) = (ended(&api, &agent).await, ended(&api, &agent).await);
    let forked = id(&fork(&api, &run, &json!({})).await);
    scene::until(&api, &forked, "succeeded").await;
    let age = async |run: &str, days: i32| {
        sqlx::query(
            "update engine.run set finished_at = now() - make_interval(days => $2),
                 forked_at = forked_at - make_interval(days => $2) where run_id = $1::uuid",
        )
        .bind(scene::bare(run))
        .bind(days)
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
    };
    let forgotten = async |run: &str| {
        eventually("the content to be forgotten", async || {
            scene::get(&api, run).await["content_pruned_at"].is_string().then_some(())
        })
        .await;
    };

    // The oldest first: when the other one is gone, this one has been looked at.
    age(&run, 50).await;
    age(&other, 40).await;
    forgotten(&other).await;

    let messages = api.get(&format!("/v1/runs/{forked}/messages")).await.expect(200);
    assert_eq!(messages["items"][0]["content"], "go");
    assert_eq!(scene::get(&api, &run).await["content_pruned_at"], Value::Null);
    let again = id(&fork(&api, &forked, &json!({})).await);
    assert_eq!(scene::until(&api, &again, "succeeded").await["output"], "go");
    age(&again, 60).await;
    age(&forked, 55).await;
    forgotten(&again).await;
    forgotten(&forked).await;
    age(&run, 50).await;
    forgotten(&run).await;
    for gone in [&run, &forked] {
        let refused = api.post(&format!("/v1/runs/{gone}/fork"), &json!({})).await;
        assert_eq!(refused.refusal(), (410, "run_pruned"));
    }
}
