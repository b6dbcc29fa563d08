//! A tool call carries the secret; nothing else ever shows it.

use e2e::{Laptop, Scene, follow};
use serde_json::json;
use testkit::{Answer, Stub};

const SECRET: &str = "sk-very-secret-0123456789-abcdefghij";

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_reaches_the_tool_in_its_header_and_is_found_nowhere_else() {
    // The outside server is rude enough to send the secret back.
    let outside =
        Stub::start(|request| Answer::Json(200, json!({ "echo": request.header("x-key") }))).await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let mut laptop =
        Laptop::start(&[("SWITCHYARD_EGRESS_ALLOW", &allow), ("SWITCHYARD_LOG", "debug")]).await;
    let (api, env) = (laptop.api(), laptop.env());
    let turns = json!([
        { "tool_calls": [{ "name": Scene::tool_name("keyed"), "arguments": { "text": "{{input}}" } }] },
        { "text": "It said {{last_tool_result}}" },
    ]);
    let url = format!("{}/act", outside.url());
    let scene =
        Scene::make(&api, &env["SWITCHYARD_TENANT"], "keyed", "unsafe", &url, SECRET, &turns).await;

    let fired = scene.fire("msg_1", &json!({ "subject": "hello" })).await.expect(202);
    let run = scene.run_of(fired["delivery_id"].as_str().unwrap()).await;
    let done = scene.until(&run, &["succeeded", "failed"]).await;
    let events = follow(&env["SWITCHYARD_URL"], &env["SWITCHYARD_API_KEY"], &run).await;

    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(outside.hits("/act"), 1);
    assert_eq!(outside.requests()[0].header("x-key"), SECRET);
    assert!(!events.is_empty());
    let messages = api.get(&format!("/v1/runs/{run}/messages")).await;
    assert!(messages.text.contains("[redacted]"), "{}", messages.text);

    let credentials = api.get(&format!("/tenant/{}/credentials", env["SWITCHYARD_TENANT"])).await;
    let audit = api.get("/v1/credential-audit").await;
    assert_eq!((credentials.status, audit.status), (200, 200));
    let deliveries = api.get("/v1/deliveries").await;
    let places = [
        ("events", format!("{events:?}")),
        ("the run", done.to_string()),
        ("messages", messages.text),
        ("credentials", credentials.text),
        ("audit", audit.text),
        ("deliveries", deliveries.text),
        ("logs", laptop.process().log()),
        ("output", laptop.process().output()),
        ("the database", dump(&mut laptop)),
        ("the bus", nats_store(&laptop)),
    ];
    for (place, text) in places {
        assert!(
            !text.is_empty() || place == "output",
            "{place} is empty: the search proves nothing"
        );
        assert!(!text.contains(SECRET), "the secret is in {place}");
    }
}

/// Everything in the database, by Postgres's own dump program.
fn dump(laptop: &mut Laptop) -> String {
    let bin = localdeps::find::postgres_bin_dir().unwrap();
    let state = std::fs::canonicalize(laptop.dir().join(".switchyard/state")).unwrap();
    let (port, password) = admin(&state);
    let dumped = std::process::Command::new(bin.join("pg_dump"))
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "switchyard"])
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    String::from_utf8_lossy(&dumped.stdout).into_owned()
}

/// The private server's port and superuser password, from the files it keeps.
fn admin(state: &std::path::Path) -> (String, String) {
    let pid_file = std::fs::read_to_string(state.join("postgres/postmaster.pid")).unwrap();
    let port = pid_file.lines().nth(3).unwrap().to_owned();
    (port, std::fs::read_to_string(state.join("postgres.password")).unwrap())
}

/// Everything the bus has stored.
fn nats_store(laptop: &Laptop) -> String {
    let state = std::fs::canonicalize(laptop.dir().join(".switchyard/state")).unwrap();
    let mut text = String::new();
    let mut folders = vec![state.join("nats")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
            }
        }
    }
    text
}
