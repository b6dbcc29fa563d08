//! What the platform does itself, inside of runs.

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::scene;

/// An agent with one builtin, which it calls once with these arguments.
async fn agent(api: &Api, name: &str, config: &Value, arguments: &Value) -> String {
    let turns = json!([{ "tool_calls": [{ "name": name, "arguments": arguments }] },
        { "text": "told: {{last_tool_result}}" }]);
    let agent = scene::scripted(api, name, &turns).await;
    give(api, &agent, name, config).await;
    agent
}

async fn give(api: &Api, agent: &str, name: &str, config: &Value) {
    let made =
        api.post("/v1/tools", &json!({ "name": name, "kind": "builtin", "config": config })).await;
    let path =
        format!("/v1/agents/{agent}/tools/{}", made.expect(201)["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

async fn told(api: &Api, agent: &str) -> String {
    let run = scene::start(api, agent).await;
    let ended = scene::until(api, &run, "succeeded").await;
    ended["output"].as_str().unwrap().strip_prefix("told: ").unwrap().to_owned()
}

#[tokio::test]
async fn time_and_arithmetic_are_told() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let zone = json!({ "timezone": "Asia/Tokyo", "at": "2026-01-01T00:00:00Z" });
    let clock = agent(&api, "clock", &json!({ "builtin": "time" }), &zone).await;
    let sum = json!({ "expression": "0.1 + 0.2" });
    let sums = agent(&api, "sums", &json!({ "builtin": "calculator" }), &sum).await;

    assert!(told(&api, &clock).await.contains("2026-01-01T09:00:00+09:00"));
    assert_eq!(told(&api, &sums).await, "0.3");
}

#[tokio::test]
async fn a_page_is_read_as_text_from_where_the_operator_allows() {
    let page = || {
        let html = b"<title>T</title><script>x</script><p>Hello <b>you</b>".to_vec();
        Answer::Raw(200, vec![("content-type".into(), "text/html; charset=utf-8".into())], html)
    };
    let server = Stub::start(move |_| page()).await;
    let config = json!({ "builtin": "fetch_page" });
    let url = json!({ "url": server.url() });
    let open = TestApp::start().await;
    let api = open.person(&open.trust.owner());
    let reader = agent(&api, "read", &config, &url).await;
    assert_eq!(told(&api, &reader).await, "T\n\nHello you");

    let closed = TestApp::start_with(&[]).await;
    let api = closed.person(&closed.trust.owner());
    let reader = agent(&api, "read", &config, &url).await;
    assert!(told(&api, &reader).await.contains("not a public address"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_agent_remembers_from_run_to_run_and_forgets_when_told() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let call = |name: &str, arguments: Value| json!({ "tool_calls": [{ "name": name, "arguments": arguments }] });
    let last = json!({ "text": "told: {{last_tool_result}}" });
    let keep = json!([
        call("keep", json!({ "key": "colour", "value": "Blue" })),
        call("recall", json!({ "search": "BLU" })),
        last
    ]);
    let agent = scene::scripted(&api, "a", &keep).await;
    give(&api, &agent, "keep", &json!({ "builtin": "memory_write" })).await;
    give(&api, &agent, "recall", &json!({ "builtin": "memory_read" })).await;
    assert_eq!(told(&api, &agent).await, r#"{"facts":[{"key":"colour","value":"Blue"}]}"#);

    let play = async |turns: Value| {
        let body = json!({ "instructions": scene::script(&turns) });
        api.patch(&format!("/v1/agents/{agent}"), &body).await.expect(200);
        told(&api, &agent).await
    };
    assert_eq!(
        play(json!([call("recall", json!({})), last])).await,
        r#"{"facts":[{"key":"colour","value":"Blue"}]}"#
    );
    let forget = json!([call("keep", json!({ "key": "colour" })), call("recall", json!({})), last]);
    assert_eq!(play(forget).await, "nothing is remembered");

    let other = scene::scripted(&api, "b", &json!([call("theirs", json!({})), last])).await;
    give(&api, &other, "theirs", &json!({ "builtin": "memory_read", "about": "end_user" })).await;
    assert_eq!(told(&api, &other).await, "this run has no end user");
}

#[tokio::test]
async fn a_mail_is_sent_by_a_server_the_operator_allows() {
    let mail = crate::smtp_stub::SmtpStub::start().await;
    let smtp = json!({ "host": "127.0.0.1", "port": mail.port(), "security": "none", "from": "Ada <ada@example.com>",
        "allowed_recipients": ["@example.com"] });
    let config = json!({ "builtin": "send_email", "smtp": smtp });
    let letter = json!({ "to": ["bob@example.com"], "subject": "Hi", "body": "Hello, Bob." });
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let writer = agent(&api, "write", &config, &letter).await;

    assert_eq!(told(&api, &writer).await, "sent");
    let seen = mail.seen();
    assert!(seen.contains("RCPT TO:<bob@example.com>") && seen.contains("Hello, Bob."), "{seen}");

    let stranger = json!({ "to": ["eve@evil.org"], "subject": "Hi", "body": "b" });
    let writer = agent(&api, "stray", &config, &stranger).await;
    assert!(told(&api, &writer).await.contains("not among the allowed recipients"));
    let closed = TestApp::start_with(&[]).await;
    let api = closed.person(&closed.trust.owner());
    let writer = agent(&api, "write", &config, &letter).await;
    assert!(told(&api, &writer).await.contains("not a public address"));
    assert_eq!(mail.seen(), seen);
}

#[tokio::test]
async fn a_builtin_that_cannot_be_so_is_refused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let refused = async |config: Value| {
        let made = api
            .post("/v1/tools", &json!({ "name": "t", "kind": "builtin", "config": config }))
            .await;
        made.expect(422)["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };

    assert_eq!(refused(json!({ "builtin": "launch" })).await, "/config/builtin");
    assert_eq!(refused(json!({ "builtin": "send_email" })).await, "/config/smtp");
    assert_eq!(
        refused(json!({ "builtin": "fetch_page", "allowed_hosts": ["*"] })).await,
        "/config/allowed_hosts/0"
    );
    assert_eq!(
        refused(json!({ "builtin": "ask_human", "answer": { "type": 1 } })).await,
        "/config/answer"
    );
    let made =
        json!({ "name": "post", "kind": "builtin", "config": { "builtin": "slack_post_message" } });
    let made = api.post("/v1/tools", &made).await.expect(201);
    assert_eq!(
        (&made["effect_in_force"], &made["parameters"]["required"]),
        (&json!("unsafe"), &json!(["channel", "text"]))
    );
}
