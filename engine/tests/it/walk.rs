//! Every route with bad credentials.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared_models::Service;
use testkit::{Answer, Stub, Walk};

use crate::harness::TestApp;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_refuses_who_may_not_call_it() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = Stub::start(|_| Answer::Reset).await;
    let tool = json!({ "name": "call", "kind": "http", "config": { "method": "POST", "url": server.url() } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let agent = json!({ "name": "a", "model": "sim:demo" });
    let agent = api.post("/v1/agents", &agent).await.expect(201);
    let (agent_id, tool_id) = (text(&agent["agent_id"]), text(&tool["tool_id"]));
    api.put(&format!("/v1/agents/{agent_id}/tools/{tool_id}"), &json!({})).await.expect(200);
    let run = json!({ "agent_id": agent_id, "input": "go", "wait": 30 });
    let run = api.post("/v1/runs", &run).await.expect(200);
    assert_eq!(run["wait_reason"], "doubt", "{run}");
    let run_id = text(&run["run_id"]);
    let talk = api.post("/v1/conversations", &json!({ "agent_id": agent_id })).await.expect(201);
    let mcp = json!({ "name": "walked", "url": "https://mcp.example.com/mcp" });
    let mcp = api.post("/v1/mcp-servers", &mcp).await.expect(201);
    let effects = api.get(&format!("/v1/runs/{run_id}/effects")).await.expect(200);
    let call_id = text(&effects["items"][0]["call_id"]);

    let price = json!({ "model": "house:*", "input": 1, "cache_read": 1, "cache_write": 1, "output": 1, "reasoning": 1 });
    let price_id = text(&api.post("/v1/prices", &price).await.expect(201)["price_id"]);
    let model = api.post("/v1/model-settings", &json!({ "name": "house:fast" })).await.expect(201);

    let member = json!({ "kind": "agent", "agent_id": agent_id, "name": "a" });
    let swarm = json!({ "name": "walked", "members": [member] });
    let swarm = api.post("/v1/swarms", &swarm).await.expect(201);
    let careful = crate::scene::scripted(&api, "careful", &crate::approvals::turns(&[7])).await;
    crate::approvals::refund(&api, &careful, &server.url(), Some(json!({}))).await;
    let asked = crate::scene::start(&api, &careful).await;
    let asked = crate::approvals::asked(&api, &asked).await;
    let endpoint = crate::webhooks::endpoint(&api, "https://example.com", &[]).await;

    let cases = format!("/v1/agents/{agent_id}/cases");
    let case = json!({ "name": "walked", "input": "go" });
    let case_id = text(&api.post(&cases, &case).await.expect(201)["case_id"]);
    let evaluate = format!("/v1/agents/{agent_id}/evaluate");
    let evaluation = api.post(&evaluate, &json!({ "mode": "recorded" })).await.expect(201);

    let limit = json!({ "level": "user", "user_id": owner.user, "max_tokens": 1_000_000_000 });
    let budget_id = crate::budgets::set(&api, limit).await;

    let parked = shared_models::MessageId::mint();
    sqlx::query(
        "insert into engine.webhook_delivery (endpoint_id, message_id, tenant_id, event_type, body, status, occurred_at)
         select endpoint_id, $1, tenant_id, 'run.created', '{}', 'failed', now() from engine.webhook_endpoint",
    )
    .bind(parked.uuid())
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    sqlx::query(
        "insert into engine.parked (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ('engine_trigger_fired', $1, $2, 's', '{}', 'broken', 6)",
    )
    .bind(parked.uuid())
    .bind(owner.tenant.uuid())
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let walk = Walk {
        openapi: app.openapi.clone(),
        api: app.api.clone(),
        service: Service::Engine,
        params: BTreeMap::from([
            ("agent_id", agent_id.clone()),
            ("tool_id", tool_id),
            ("swarm_id", text(&swarm["swarm_id"])),
            ("server_id", text(&mcp["server_id"])),
            ("version", "1".into()),
            ("run_id", run_id),
            ("artifact_id", format!("art_{}", "0".repeat(64))),
            ("conversation_id", text(&talk["conversation_id"])),
            ("call_id", call_id),
            ("consumer", "engine_trigger_fired".into()),
            ("message_id", parked.to_string()),
            ("token", "cbk_x".into()),
            ("approval_id", text(&asked["approval_id"])),
            ("endpoint_id", text(&endpoint["endpoint_id"])),
            ("model_id", text(&model["model_id"])),
            ("model", "agent:a".into()),
            ("price_id", price_id),
            ("budget_id", budget_id),
            ("case_id", case_id),
            ("evaluation_id", text(&evaluation["evaluation_id"])),
        ]),
        bodies: BTreeMap::from([
            ("POST /v1/agents", json!({ "name": "b" })),
            ("POST /v1/tools", crate::tools::weather()),
            ("POST /v1/swarms", json!({ "name": "another", "members": [member] })),
            (
                "POST /v1/tools/import",
                json!({ "name": "pets", "document": { "openapi": "3.1.0" } }),
            ),
            (
                "POST /v1/mcp-servers",
                json!({ "name": "another", "url": "https://mcp.example.com/mcp" }),
            ),
            ("PUT /v1/agents/{agent_id}/mcp-servers/{server_id}", json!({})),
            ("PUT /v1/mcp-servers/{server_id}/trust", json!({ "trusted": true })),
            ("POST /v1/runs/{run_id}/input", json!({ "answer": "yes" })),
            ("POST /v1/conversations", json!({ "agent_id": agent_id })),
            ("POST /v1/runs", json!({ "agent_id": agent_id, "input": "go" })),
            ("POST /v1/model-settings", json!({ "name": "house:slow" })),
            ("POST /v1/agents/{agent_id}/cases", json!({ "name": "another", "input": "go" })),
            ("POST /v1/runs/{run_id}/keep", json!({ "name": "kept" })),
            (
                "POST /v1/chat/completions",
                json!({ "model": "sim:echo",
                "messages": [{ "role": "user", "content": "hi" }] }),
            ),
            ("POST /v1/embeddings", json!({ "model": "sim:embed", "input": "hi" })),
            ("POST /v1/prices", price),
            ("POST /v1/budgets", json!({ "level": "tenant", "max_tokens": 1 })),
            ("POST /v1/runs/{run_id}/budget", json!({ "max_tokens": 1 })),
            ("POST /v1/approvals/{approval_id}/approve", crate::approvals::yes(&asked)),
            ("POST /v1/approvals/{approval_id}/reject", crate::approvals::yes(&asked)),
            ("POST /v1/callbacks/{token}", json!({ "result": 1 })),
            ("POST /v1/runs/resume", json!({ "since": "2100-01-01T00:00:00Z" })),
            ("POST /v1/runs/cancel", json!({ "since": "2100-01-01T00:00:00Z" })),
            ("POST /v1/webhook-endpoints", json!({ "url": "https://example.com" })),
            (
                "POST /v1/webhook-endpoints/{endpoint_id}/resend",
                json!({ "since": "2026-01-01T00:00:00Z" }),
            ),
            ("POST /v1/runs/{run_id}/effects/{call_id}/answer", json!({ "outcome": "happened" })),
        ]),
        // The token is what its holder shows.
        open: &["POST /v1/callbacks/{token}"],
        // Everybody in the tenant sees a tool; only its owner edits it.
        shared: BTreeMap::from([
            ("GET /v1/tools/{tool_id}", 200),
            ("GET /v1/model-settings/{model_id}", 200),
            ("PATCH /v1/tools/{tool_id}", 403),
            ("DELETE /v1/tools/{tool_id}", 403),
            ("GET /v1/mcp-servers/{server_id}", 200),
            ("PATCH /v1/mcp-servers/{server_id}", 403),
            ("DELETE /v1/mcp-servers/{server_id}", 403),
            ("PUT /v1/mcp-servers/{server_id}/trust", 403),
            ("POST /v1/mcp-servers/{server_id}/refresh", 403),
        ]),
        owner,
    };
    walk.run().await;
}
