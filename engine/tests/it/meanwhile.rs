//! What others do between two steps of ours: each test holds somebody up in the middle and has another one come by.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Reply, Stub, eventually, eventually_within};

use crate::budget_trees::LEASE;
use crate::budgets::{price, set};
use crate::fork_races::{go_on, stand_still};
use crate::harness::TestApp;
use crate::scene;
use crate::webhooks::endpoint;

/// Has rows of a table stand still that are written just now.
fn while_it(does: &str, table: &str) -> String {
    format!(
        "create function engine.in_the_middle() returns trigger language plpgsql as
             $$ begin perform engine.stand_still(); return coalesce(new, old); end $$;
         create trigger in_the_middle {does} on {table} for each row execute function engine.in_the_middle()"
    )
}

/// Waits until somebody waits for a lock in a statement of which this is a part.
async fn until_it_waits(app: &TestApp, part: &str) {
    let mut admin = app.db.admin().await;
    let waits = "select count(*) > 0 from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and strpos(query, $1) > 0
                   and pid <> pg_backend_pid()";
    eventually_within(Duration::from_secs(60), &format!("somebody to wait: {part}"), async || {
        let waits = sqlx::query_scalar::<_, bool>(waits).bind(part).fetch_one(&mut admin).await;
        waits.unwrap().then_some(())
    })
    .await;
}

async fn chat(api: &Api) -> Reply {
    let said = json!({ "model": "sim:echo", "messages": [{ "role": "user", "content": "Hello" }] });
    api.post("/v1/chat/completions", &said).await
}

#[tokio::test]
async fn a_budget_that_is_set_while_others_are_being_read_binds_the_next_call() {
    let app = TestApp::start_with(&[LEASE]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    set(&api, json!({ "level": "tenant", "period": "day", "max_tokens": 1_000_000 })).await;
    let reads = "create policy stand_still on engine.budget as restrictive for select to engine_system
        using (strpos(current_query(), 'b.level, b.subject_id, l.quantity') = 0 or engine.stand_still())";
    let admin = stand_still(&app, reads).await;

    let (before, ()) = tokio::join!(chat(&api), async {
        until_it_waits(&app, "b.level, b.subject_id, l.quantity").await;
        set(&api, json!({ "level": "tenant", "period": "total", "max_tokens": 1 })).await;
        go_on(admin).await;
    });
    let after = chat(&api).await;

    before.expect(200);
    assert_eq!(after.refusal(), (429, "budget_exhausted"));
}

#[tokio::test]
async fn a_price_that_is_set_while_the_book_is_being_read_is_the_next_calls() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    price(&api).await;
    // Whoever reads first.
    let reads = "create sequence engine.turn; grant usage on sequence engine.turn to engine_app;
        create policy stand_still on engine.price as restrictive for select to engine_app
        using (nextval('engine.turn') > 1 or engine.stand_still())";
    let admin = stand_still(&app, reads).await;

    let (before, ()) = tokio::join!(chat(&api), async {
        until_it_waits(&app, "from engine.price").await;
        let dear = json!({ "model": "sim:echo", "input": 9_000_000, "cache_read": 0, "cache_write": 0,
            "output": 9_000_000, "reasoning": 0 });
        api.post("/v1/prices", &dear).await.expect(201);
        go_on(admin).await;
    });
    let after = chat(&api).await;

    // A word is heard and said each time: for 1 and 2 first, for 9 each then.
    assert_eq!((before.status, after.status), (200, 200));
    let total = &api.get("/v1/usage").await.expect(200)["total"];
    assert_eq!(total["cost_micro_usd"], 3 + 18, "{total}");
}

#[tokio::test]
async fn an_event_that_is_noted_while_its_endpoint_is_disabled_does_not_stay_due() {
    let server = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let app = TestApp::start_with(&[("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1")]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;
    let path = format!("/v1/webhook-endpoints/{}", endpoint["endpoint_id"].as_str().unwrap());
    let admin = stand_still(&app, &while_it("before insert", "engine.webhook_delivery")).await;
    api.post("/v1/runs", &json!({ "agent": "a", "input": "hi", "wait": 30 })).await.expect(200);
    until_it_waits(&app, "insert into engine.webhook_delivery").await;

    let disabled = json!({ "enabled": false });
    let (disabled, ()) = tokio::join!(api.patch(&path, &disabled), async {
        until_it_waits(
            &app,
            "from engine.webhook_endpoint where tenant_id = $1 and endpoint_id = $2 for update",
        )
        .await;
        go_on(admin).await;
    });

    assert_eq!(disabled.expect(200)["enabled"], false);
    // It may have been sent in between.
    eventually("the event to be skipped or sent", async || {
        let told = api.get(&format!("{path}/deliveries")).await.expect(200)["items"][0].clone();
        matches!(told["status"].as_str(), Some("skipped" | "delivered")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_being_remembered_about_a_conversation_goes_with_it() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let keep = json!({ "name": "keep", "arguments": { "key": "likes", "value": "tea" } });
    let turns = json!([{ "tool_calls": [keep] }, { "text": "noted" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    let tool = json!({ "name": "keep", "kind": "builtin",
        "config": { "builtin": "memory_write", "about": "conversation" } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let begun = api.post("/v1/conversations", &json!({ "agent_id": agent })).await.expect(201);
    let id = begun["conversation_id"].as_str().unwrap();
    let admin = stand_still(&app, &while_it("before insert", "engine.agent_memory")).await;
    api.post("/v1/runs", &json!({ "conversation_id": id, "input": "go" })).await.expect(201);
    until_it_waits(&app, "insert into engine.agent_memory").await;

    let path = format!("/v1/conversations/{id}");
    let (deleted, ()) = tokio::join!(api.delete(&path), async {
        until_it_waits(&app, "select messages from engine.conversation").await;
        go_on(admin).await;
    });

    assert_eq!(deleted.status, 204);
    let kept = "select count(*) from engine.agent_memory";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut app.db.admin().await).await.unwrap();
    assert_eq!(kept, 0);
}

/// Imports a tool for each of these operations, and takes away those that are no more.
async fn import(api: &Api, operations: &[&str]) -> Reply {
    let operation = |name: &&str| (format!("/{name}"), json!({ "get": { "operationId": name } }));
    let paths: serde_json::Map<String, Value> = operations.iter().map(operation).collect();
    let document = json!({ "openapi": "3.1.0", "info": { "title": "x", "version": "1" },
        "servers": [{ "url": "https://example.com" }], "paths": paths });
    let asked = json!({ "name": "x", "document": document, "prune": true });
    api.post("/v1/tools/import", &asked).await
}

/// An agent with a tool that was imported.
async fn with_a_tool(api: &Api) -> (String, String) {
    let made = import(api, &["look"]).await.expect(200);
    let tool = made["operations"][0]["tool_id"].as_str().unwrap().to_owned();
    let agent = scene::agent(api, &json!({ "name": "a", "model": "sim:echo" })).await;
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await.expect(200);
    (agent, tool)
}

#[tokio::test]
async fn who_changes_how_an_agent_has_a_tool_waits_for_whoever_takes_the_tool_away() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (agent, tool) = with_a_tool(&api).await;
    let admin = stand_still(&app, &while_it("after delete", "engine.agent_tool")).await;

    let (pruned, changed) = tokio::join!(import(&api, &["other"]), async {
        until_it_waits(&app, "delete from engine.agent_tool").await;
        let (path, last) = (format!("/v1/agents/{agent}/tools/{tool}"), json!({ "priority": 5 }));
        let (changed, ()) = tokio::join!(api.put(&path, &last), async {
            until_a_tool_is_waited_for(&app).await;
            go_on(admin).await;
        });
        changed
    });

    assert_eq!(pruned.expect(200)["counts"], json!({ "created": 1, "deleted": 1 }));
    assert_eq!(changed.refusal(), (404, "tool_not_found"));
}

/// Waits until somebody waits for whoever has changed a tool, or what an agent has of one.
async fn until_a_tool_is_waited_for(app: &TestApp) {
    let mut admin = app.db.admin().await;
    let waits = "select count(*) > 0 from pg_stat_activity
                 where datname = current_database() and wait_event = 'transactionid'
                   and (strpos(query, 'engine.agent_tool') > 0 or strpos(query, 'engine.tool') > 0)";
    eventually("somebody to wait for a tool", async || {
        let waits = sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut admin).await;
        waits.unwrap().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tool_that_comes_back_with_an_earlier_version_is_taken_away_after_that() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (agent, tool) = with_a_tool(&api).await;
    let admin = stand_still(&app, &while_it("after delete", "engine.agent_tool")).await;

    let restore = format!("/v1/agents/{agent}/versions/2/restore");
    let nothing = json!({});
    let (restored, pruned) = tokio::join!(api.post(&restore, &nothing), async {
        until_it_waits(&app, "delete from engine.agent_tool").await;
        let (pruned, ()) = tokio::join!(import(&api, &["other"]), async {
            until_a_tool_is_waited_for(&app).await;
            go_on(admin).await;
        });
        pruned
    });

    assert_eq!(restored.expect(200)["tools_left_out"], json!([]));
    assert_eq!(pruned.expect(200)["counts"], json!({ "created": 1, "deleted": 1 }));
    let left = api.get(&format!("/v1/agents/{agent}/tools")).await.expect(200);
    assert_eq!(left["items"], json!([]), "{tool}");
}

#[tokio::test]
async fn a_copy_of_an_agent_has_no_tool_that_was_taken_away_while_it_was_made() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (agent, tool) = with_a_tool(&api).await;
    let admin = stand_still(&app, &while_it("before insert", "engine.agent")).await;

    let copy = format!("/v1/agents/{agent}/duplicate");
    let nothing = json!({});
    let (copied, pruned) = tokio::join!(api.post(&copy, &nothing), async {
        until_it_waits(&app, "insert into engine.agent ").await;
        let (pruned, ()) = tokio::join!(import(&api, &["other"]), async {
            until_a_tool_is_waited_for(&app).await;
            go_on(admin).await;
        });
        pruned
    });

    let copied = copied.expect(201);
    assert_eq!(pruned.expect(200)["counts"], json!({ "created": 1, "deleted": 1 }));
    let copy = copied["agent_id"].as_str().unwrap();
    let left = api.get(&format!("/v1/agents/{copy}/tools")).await.expect(200);
    assert_eq!(left["items"], json!([]), "{tool}");
}
