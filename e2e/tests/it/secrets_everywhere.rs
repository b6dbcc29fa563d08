//! A search for every kind of secret, after each has been used, through everything that is written down or shown.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use e2e::{Connector, Fleet, follow, script, sign};
use serde_json::{Value, json};
use testkit::{Answer, Api, Idp, Stub, eventually_within, idp::CLIENT_SECRET};

const STATIC: &str = "sk-static-8f14e45fceea167a5a36dedd4bea2543";
const HONEY: &str = "sk-honey-c9f0f895fb98ab9159f51fd0297e236d";
/// A name, and no secret: a search that does not find it where it should be proves nothing.
const MARKED: &str = "marked-45c48cce2e2d7fbd";

/// What was used, by kind.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// The kinds of those that are in a text: as they are, or as a database or a token would spell them. The mask may show
    /// the last four characters.
    fn within(&self, text: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(_, secret)| {
            let part = &secret[..secret.len() - 4];
            // Only whole groups of three bytes are spelled the same wherever the secret ends.
            let groups = &part[..part.len() / 3 * 3];
            let forms = [
                part.to_owned(),
                hex(part),
                STANDARD_NO_PAD.encode(groups),
                URL_SAFE_NO_PAD.encode(groups),
            ];
            forms.iter().any(|form| text.contains(form))
        });
        found.map(|(kind, _)| kind.as_str()).collect()
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Makes an agent that sends a credential's field to the outside, and runs it; gives the run.
async fn sends(api: &Api, name: &str, outside: &Stub, credential: &str, field: &str) -> String {
    let tool_name = format!("send_{name}");
    let tool = json!({
        "name": tool_name, "description": MARKED, "kind": "http", "effect": "read", "timeout_ms": 5000,
        "parameters": { "type": "object", "properties": {} },
        "config": { "method": "GET", "url": format!("{}/{name}", outside.url()),
            "credential": { "in": "header", "name": "x-key", "field": field } },
    });
    let tool = id(&api.post("/v1/tools", &tool).await.expect(201), "tool_id");
    let call = json!({ "name": tool_name, "arguments": {} });
    let turns = json!([{ "tool_calls": [call] }, { "text": "It said {{last_tool_result}}" }]);
    let agent = json!({ "name": format!("{MARKED}-{name}"), "model": "sim:script", "instructions": script(&turns) });
    let agent = id(&api.post("/v1/agents", &agent).await.expect(201), "agent_id");
    let link = json!({ "credential_id": credential });
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &link).await.expect(200);
    run(api, &agent).await
}

async fn run(api: &Api, agent: &str) -> String {
    let start = json!({ "agent_id": agent, "input": "go" });
    let run = id(&api.post("/v1/runs", &start).await.body, "run_id");
    eventually_within(Duration::from_secs(60), "the run to succeed", async || {
        let seen = api.get(&format!("/v1/runs/{run}")).await.body;
        (seen["status"] == "succeeded").then_some(())
    })
    .await;
    run
}

fn id(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {body}")).to_owned()
}

async fn store(api: &Api, tenant: &str, secret: &str, more: &Value) -> String {
    let mut body = json!({ "name": format!("{MARKED}-{}", &secret[..8]), "credentials": { "api_key": secret } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = api.post(&format!("/tenant/{tenant}/credentials"), &body).await.expect(201);
    id(&made, "credential_id")
}

/// Everything that people are shown, beside the answers in which a secret is shown once.
async fn shown(fleet: &Fleet, credentials: &[&str], runs: &[String]) -> String {
    let (api, tenant) = (fleet.api(), &fleet.tenant);
    let mut paths: Vec<String> = [
        "/v1/agents",
        "/v1/tools",
        "/v1/runs",
        "/v1/deliveries",
        "/v1/triggers",
        "/v1/oauth-clients",
        "/v1/credential-audit?limit=100",
        "/v1/webhook-endpoints",
        "/v1/credential-types",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/tenant/{tenant}/credentials"));
    for credential in credentials {
        paths.push(format!("/tenant/{tenant}/credentials/{credential}"));
        paths.push(format!("/v1/credentials/{credential}/leases"));
    }
    for run in runs {
        paths.push(format!("/v1/runs/{run}"));
        paths.push(format!("/v1/runs/{run}/messages"));
    }
    let mut text = String::new();
    for path in paths {
        let reply = api.get(&path).await;
        // A person's own credential is shown to who names that person; either answer is searched.
        assert!(reply.status == 200 || path.contains("/credentials/"), "{path}: {}", reply.text);
        text.push_str(&reply.text);
    }
    for run in runs {
        let _ = write!(text, "{:?}", follow(&fleet.url(), &fleet.key, run).await);
    }
    text
}

/// Everything in the database, by Postgres's own dump program.
fn dump(fleet: &Fleet) -> String {
    let bin = localdeps::find::postgres_bin_dir().unwrap();
    let dumped = std::process::Command::new(bin.join("pg_dump"))
        .arg(format!("--dbname={}", fleet.postgres.admin_url()))
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    String::from_utf8_lossy(&dumped.stdout).into_owned()
}

/// Every file of a folder, one behind the other.
fn files(folder: &Path, text: &mut String) {
    // What is gone meanwhile holds nothing.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, text);
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_kind_is_in_logs_traces_tables_messages_journals_or_answers_to_people() {
    let collector = Stub::start(|_| Answer::Raw(200, vec![], vec![])).await;
    // Rude enough to send back what it was sent.
    let outside =
        Stub::start(|request| Answer::Json(200, json!({ "echo": request.header("x-key") }))).await;
    let idp = Idp::start().await;
    // Each lease renews the token first.
    idp.set_expires_in(5);
    let endpoint = collector.url();
    let fleet = Fleet::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
        ("SWITCHYARD_LOG", "debug"),
    ])
    .await;
    let (api, tenant) = (fleet.api(), fleet.tenant.clone());
    let connector = Connector::register(&api, &fleet.url(), &idp).await;
    let asked = connector.link(&json!({})).await;
    let link = asked.0.rsplit('/').next().unwrap().to_owned();
    let account = connector.follow(asked).await;
    let fixed = store(&api, &tenant, STATIC, &json!({})).await;
    let bait = store(&api, &tenant, HONEY, &json!({ "honey": true })).await;
    let hook = json!({ "url": format!("{}/told", outside.url()), "event_types": ["run.finished"] });
    let hook = api.post("/v1/webhook-endpoints", &hook).await.expect(201);

    let runs = [
        sends(&api, "account", &outside, &account, "access_token").await,
        sends(&api, "fixed", &outside, &fixed, "api_key").await,
        sends(&api, "bait", &outside, &bait, "api_key").await,
    ];
    let agent = json!({ "name": format!("{MARKED}-hooked"), "model": "sim:echo" });
    let agent = id(&api.post("/v1/agents", &agent).await.expect(201), "agent_id");
    let trigger = json!({ "system": "webhook", "options": {} });
    let trigger = api.post(&format!("/agent/{agent}/trigger"), &trigger).await.expect(201);
    let signing = id(&trigger, "signing_secret");
    let fired =
        sign(&signing, "msg_1", "{}").send(&Api::at(fleet.url()), &id(&trigger, "hook_url")).await;
    fired.expect(202);
    eventually_within(Duration::from_secs(60), "the endpoint to be told of all", async || {
        // One may come twice.
        let told = outside.requests().into_iter().filter(|request| request.path == "/told");
        let ids = told.map(|request| request.header("webhook-id").to_owned());
        (ids.collect::<BTreeSet<_>>().len() == 4).then_some(())
    })
    .await;

    let mut used = vec![
        ("static".to_owned(), STATIC.to_owned()),
        ("honey".to_owned(), HONEY.to_owned()),
        ("OAuth client".to_owned(), CLIENT_SECRET.to_owned()),
        ("connect link".to_owned(), link),
        ("trigger's signing".to_owned(), signing),
        ("endpoint's signing".to_owned(), id(&hook, "secret")),
        ("root key".to_owned(), fleet.secret("SWITCHYARD_ROOT_KEY").to_owned()),
    ];
    used.extend(idp.secrets().into_iter().map(|token| ("code or token".to_owned(), token)));
    let secrets = Secrets(used);
    let sent: Vec<String> =
        outside.requests().iter().map(|request| request.header("x-key").to_owned()).collect();
    assert!(sent.contains(&STATIC.to_owned()) && sent.contains(&HONEY.to_owned()), "{sent:?}");
    assert!(sent.iter().any(|key| idp.secrets().contains(key)), "{sent:?}");
    assert!(idp.refreshes() > 0, "no token was renewed");
    assert!(!secrets.within(&sent.join(" ")).is_empty(), "the search finds nothing");

    let traces = eventually_within(Duration::from_secs(30), "credsvc's spans", async || {
        let exported = collector.requests().into_iter().flat_map(|request| request.body);
        let exported = String::from_utf8_lossy(&exported.collect::<Vec<u8>>()).into_owned();
        exported.contains("credsvc").then_some(exported)
    })
    .await;
    // The server writes in its own time.
    let messages = eventually_within(Duration::from_secs(30), "the bus to write", async || {
        let mut messages = String::new();
        files(&fleet.nats_store(), &mut messages);
        messages.contains("credential.honey_used").then_some(messages)
    })
    .await;
    let places: [(&str, String, &str); 5] = [
        ("logs", fleet.logs(), "the run"),
        ("traces", traces, "credsvc"),
        ("tables and journals", dump(&fleet), MARKED),
        ("messages", messages, "credential.honey_used"),
        ("answers to people", shown(&fleet, &[&account, &fixed, &bait], &runs).await, MARKED),
    ];
    for (place, text, known) in places {
        assert!(text.contains(known), "the search of {place} proves nothing");
        assert_eq!(secrets.within(&text), Vec::<&str>::new(), "found in {place}");
    }
}
