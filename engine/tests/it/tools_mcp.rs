//! MCP servers: their tools become the tenant's, and are called through the guarded way out.

use std::time::Duration;

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, eventually_within};

use crate::harness::TestApp;
use crate::mcp_stub::{McpStub, said, tool};
use crate::scene;

const SECRET: &str = "s3cret-Value/with+odd=chars";

fn tools() -> Value {
    json!([
        tool("look", json!({ "readOnlyHint": true })),
        tool("set", json!({ "idempotentHint": true })),
        tool("pay", json!({}))
    ])
}

async fn server(api: &Api, fields: &Value) -> String {
    let mut body = json!({ "name": "stub" });
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    let made = api.post("/v1/mcp-servers", &body).await.expect(201);
    format!("/v1/mcp-servers/{}", made["server_id"].as_str().unwrap())
}

async fn refresh(api: &Api, server: &str) -> Value {
    api.post(&format!("{server}/refresh"), &json!({})).await.expect(200)
}

async fn found(api: &Api, name: &str) -> Value {
    let listed = api.get(&format!("/v1/tools?name={name}")).await.expect(200);
    listed["items"][0].clone()
}

/// An agent that calls the tool once, with the credential if there is one.
async fn agent(api: &Api, tool: &str, link: &Value) -> String {
    let agent = scene::scripted(api, &format!("uses {tool}"), &scene::calls(&[tool])).await;
    let id = found(api, tool).await["tool_id"].as_str().unwrap().to_owned();
    api.put(&format!("/v1/agents/{agent}/tools/{id}"), link).await.expect(200);
    agent
}

async fn told(api: &Api, agent: &str) -> String {
    let run = scene::start(api, agent).await;
    let ended = scene::until(api, &run, "succeeded").await;
    ended["output"].as_str().unwrap().strip_prefix("told: ").unwrap().to_owned()
}

#[tokio::test]
async fn a_servers_tools_are_listed_called_and_refreshed_when_they_change() {
    for protocol in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let app = TestApp::start().await;
        let api = app.person(&app.trust.owner());
        let stub = McpStub::start(protocol, tools(), |name, arguments| {
            said(&format!("{name} with {arguments}"))
        })
        .await;
        let server = server(&api, &json!({ "url": stub.url(), "exclude": ["se*"] })).await;
        assert!(stub.stub.requests().is_empty(), "nothing is asked before it is needed");

        let refreshed = refresh(&api, &server).await;

        assert_eq!(
            refreshed["created"],
            json!(["mcp__stub__look", "mcp__stub__pay"]),
            "{protocol}"
        );
        let seen = api.get(&server).await.expect(200);
        assert_eq!(
            (&seen["protocol"], &seen["server_info"]["name"]),
            (&json!(protocol), &json!("stub"))
        );
        let agent = agent(&api, "mcp__stub__look", &json!({})).await;
        assert_eq!(told(&api, &agent).await, r#"look with {"n":1}"#);
        assert_eq!(told(&api, &agent).await, r#"look with {"n":1}"#);
        // One greeting for the refresh, one for both calls.
        assert_eq!(stub.sessions(), 2, "{protocol}");
        assert_eq!(stub.asked("tools/call")[0].header("mcp-protocol-version"), protocol);

        stub.stream();
        stub.list(json!([tool("look", json!({})), tool("new", json!({}))]));
        // It says so before it answers; if that is heard too late, the next call brings it.
        eventually_within(Duration::from_secs(20), "the new tool to be known", async || {
            assert_eq!(told(&api, &agent).await, r#"look with {"n":1}"#);
            found(&api, "mcp__stub__new").await.is_object().then_some(())
        })
        .await;
        assert_eq!(found(&api, "mcp__stub__pay").await, Value::Null);
    }
}

#[tokio::test]
async fn an_agent_is_given_all_tools_of_a_server_at_once_and_loses_them_at_once() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let stub = McpStub::start("2025-06-18", tools(), |_, _| said("ok")).await;
    let server = server(&api, &json!({ "url": stub.url() })).await;
    refresh(&api, &server).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["mcp__stub__look"])).await;
    let all = format!("/v1/agents/{agent}/mcp-servers/{}", server.rsplit('/').next().unwrap());
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|link| link["name"].as_str().unwrap().to_owned()).collect()
    };

    let given = api.put(&all, &json!({ "priority": 3 })).await.expect(200);
    let again = api.put(&all, &json!({})).await.expect(200);

    assert!(
        names(&given).len() > 1 && names(&given).contains(&"mcp__stub__look".to_owned()),
        "{given}"
    );
    assert_eq!((names(&given), &given["items"][0]["priority"]), (names(&again), &json!(3)));
    let path = format!("/v1/agents/{agent}");
    assert_eq!(api.get(&path).await.expect(200)["version"], 2, "one version for all of them");
    assert_eq!(told(&api, &agent).await, "ok");
    assert_eq!(api.delete(&all).await.status, 204);
    assert_eq!(names(&api.get(&format!("{path}/tools")).await.expect(200)), Vec::<String>::new());
    let nowhere = format!("{path}/mcp-servers/{}", shared_models::McpServerId::mint());
    assert_eq!(api.put(&nowhere, &json!({})).await.refusal(), (404, "mcp_server_not_found"));
    // A tool of the same name is in the way.
    let other = json!({ "name": "other", "kind": "builtin", "config": { "builtin": "time" } });
    let other = api.post("/v1/tools", &other).await.expect(201);
    let link = format!("{path}/tools/{}", other["tool_id"].as_str().unwrap());
    api.put(&link, &json!({ "name": "mcp__stub__look" })).await.expect(200);
    assert_eq!(api.put(&all, &json!({})).await.refusal(), (409, "duplicate_tool_name"));
}

#[tokio::test]
async fn a_session_that_the_server_has_ended_is_begun_again() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let stub = McpStub::start("2025-06-18", tools(), |_, _| said("ok")).await;
    let server = server(&api, &json!({ "url": stub.url() })).await;
    refresh(&api, &server).await;
    let agent = agent(&api, "mcp__stub__pay", &json!({})).await;
    assert_eq!(told(&api, &agent).await, "ok");

    stub.expire();

    assert_eq!(told(&api, &agent).await, "ok");
    assert_eq!(stub.sessions(), 3);
}

#[tokio::test]
async fn only_an_administrators_trust_makes_hints_count() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (admin, member) = (app.person(&owner), app.person(&owner.colleague(Role::Member)));
    let stub = McpStub::start("2025-11-25", tools(), |_, _| said("ok")).await;
    let server = server(&member, &json!({ "url": stub.url() })).await;
    refresh(&member, &server).await;
    let effects = async || {
        let of = async |name: &str| found(&admin, name).await["effect_in_force"].clone();
        [of("mcp__stub__look").await, of("mcp__stub__set").await, of("mcp__stub__pay").await]
    };
    assert_eq!(effects().await, ["unsafe", "unsafe", "unsafe"]);

    let trust = json!({ "trusted": true });
    let refused = member.put(&format!("{server}/trust"), &trust).await;
    assert_eq!(refused.refusal(), (403, "not_owner"));
    admin.put(&format!("{server}/trust"), &trust).await.expect(200);
    refresh(&member, &server).await;
    assert_eq!(effects().await, ["read", "idempotent", "unsafe"]);
    let look = found(&member, "mcp__stub__pay").await;
    let path = format!("/v1/tools/{}", look["tool_id"].as_str().unwrap());
    let patched = member.patch(&path, &json!({ "effect": "read" })).await;
    assert_eq!(patched.refusal(), (409, "tool_managed"));

    member
        .patch(&server, &json!({ "url": format!("{}/other", stub.stub.url()) }))
        .await
        .expect(200);
    assert_eq!(effects().await, ["unsafe", "unsafe", "unsafe"]);
    assert_eq!(member.get(&server).await.body["trusted"], false);
}

#[tokio::test]
async fn what_a_server_answers_is_told_to_the_model() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let names = ["structured", "image", "failed", "refused", "huge", "nothing"];
    let listed: Vec<Value> = names.iter().map(|name| tool(name, json!({}))).collect();
    let stub = McpStub::start("2025-06-18", json!(listed), |name, _| {
        Answer::Json(
            200,
            match name {
                "structured" => json!({ "content": [], "structuredContent": { "n": 7 } }),
                "image" => json!({ "content": [{ "type": "text", "text": "see" },
                { "type": "image", "data": "AAAA", "mimeType": "image/png" }] }),
                "failed" => {
                    json!({ "isError": true, "content": [{ "type": "text", "text": "no funds" }] })
                }
                "huge" => json!({ "content": [{ "type": "text", "text": "x".repeat(500_000) }] }),
                "refused" => return Answer::Json(500, json!("down")),
                _ => json!({ "content": [] }),
            },
        )
    })
    .await;
    let server = server(&api, &json!({ "url": stub.url() })).await;
    refresh(&api, &server).await;

    let told = async |name: &str| {
        let agent = agent(&api, &format!("mcp__stub__{name}"), &json!({})).await;
        told(&api, &agent).await
    };

    assert_eq!(told("structured").await, r#"{"n":7}"#);
    assert_eq!(told("image").await, "see\n(an image: image/png, 4 characters of base64)");
    assert_eq!(told("failed").await, "no funds");
    assert!(told("refused").await.contains("HTTP 500"));
    let huge = told("huge").await;
    assert!(huge.len() < 6_000 && huge.starts_with("The result has "), "{}", huge.len());
    assert_eq!(told("nothing").await, "(empty answer)");
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_leaves_an_unsafe_call_in_doubt() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for (name, answer) in [("reset", Answer::Reset), ("hangs", Answer::Never)] {
        let stub = McpStub::start("2025-11-25", tools(), move |_, _| answer.clone()).await;
        let fields = json!({ "name": name, "url": stub.url(), "timeout_ms": 4_000 });
        let server = server(&api, &fields).await;
        refresh(&api, &server).await;
        let agent = agent(&api, &format!("mcp__{name}__pay"), &json!({})).await;

        let run = scene::start(&api, &agent).await;

        let waiting = scene::until(&api, &run, "waiting").await;
        assert_eq!(waiting["wait_reason"], "doubt", "{name}");
        assert_eq!(stub.asked("tools/call").len(), 1, "{name}");
    }
}

#[tokio::test]
async fn an_agents_credential_goes_along_and_never_comes_back() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let stub =
        McpStub::start("2025-11-25", tools(), |_, _| said(&format!("your key is {SECRET}"))).await;
    stub.stream();
    let credential = app.peers.credential(json!({ "token": SECRET }));
    let server =
        server(&api, &json!({ "url": stub.url(), "credential": { "in": "bearer" } })).await;
    let asker = scene::scripted(&api, "asker", &json!([])).await;
    let asked = json!({ "agent_id": asker, "credential_id": credential });
    api.post(&format!("{server}/refresh"), &asked).await.expect(200);
    assert_eq!(stub.asked("tools/list")[0].header("authorization"), format!("Bearer {SECRET}"));

    let agent = agent(&api, "mcp__stub__pay", &json!({ "credential_id": credential })).await;

    assert_eq!(told(&api, &agent).await, "your key is [redacted]");
    assert_eq!(stub.asked("tools/call")[0].header("authorization"), format!("Bearer {SECRET}"));
    assert!(!app.db.dump().await.contains(SECRET), "the secret is in the database");
}

#[tokio::test]
async fn a_server_inside_or_a_program_is_refused_unless_the_operator_allows_it() {
    let app = TestApp::start_with(&[]).await;
    let api = app.person(&app.trust.owner());
    let stub = McpStub::start("2025-11-25", tools(), |_, _| said("ok")).await;
    let inside = server(&api, &json!({ "url": stub.url() })).await;

    let refused = api.post(&format!("{inside}/refresh"), &json!({})).await;
    let program =
        api.post("/v1/mcp-servers", &json!({ "name": "p", "command": ["sh", "-c", "true"] })).await;

    assert_eq!(refused.refusal(), (422, "mcp_server_unreachable"));
    assert!(refused.body["detail"].as_str().unwrap().contains("not a public address"));
    assert!(stub.stub.requests().is_empty());
    assert_eq!(program.expect(422)["errors"][0]["pointer"], "/command/0");
}

#[tokio::test]
async fn a_program_that_the_operator_allows_is_a_server() {
    let app = TestApp::start_with(&[("SWITCHYARD_MCP_COMMANDS", "sh")]).await;
    let api = app.person(&app.trust.owner());
    // Answers by the line: not knowing, greeting, nothing to a notification, listing, calling.
    let script = r#"
        while read -r line; do
            id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
            case "$line" in
                *server/discover*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"no\"}}" ;;
                *'"initialize"'*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"sh\",\"version\":\"1\"}}}" ;;
                *tools/list*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"tools\":[{\"name\":\"env\",\"inputSchema\":{\"type\":\"object\"}}]}}" ;;
                *tools/call*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$SWITCHYARD_DATABASE_URL-\"}]}}" ;;
            esac
        done"#;
    let server = server(&api, &json!({ "command": ["sh", "-c", script] })).await;

    assert_eq!(refresh(&api, &server).await["created"], json!(["mcp__stub__env"]));
    let agent = agent(&api, "mcp__stub__env", &json!({})).await;
    assert_eq!(told(&api, &agent).await, "-", "a program gets nothing of our environment");
}
