//! OpenAI's own clients, unchanged, against `switchyard up`.
//!
//! They are fetched from their registries into a throwaway folder. Without them the test fails: it has shown nothing.

use std::{path::Path, process::Command, time::Duration};

use e2e::Laptop;
use serde_json::json;
use testkit::eventually_within;

const PYTHON: &str = include_str!("openai/client.py");
const NODE: &str = include_str!("openai/client.mjs");

/// Runs a command to its end; gives what it said.
fn run(dir: &Path, laptop: &Laptop, command: &[&str]) -> String {
    let env = laptop.env();
    let ran = Command::new(command[0])
        .args(&command[1..])
        .current_dir(dir)
        .env("OPENAI_BASE_URL", format!("{}/v1", env["SWITCHYARD_URL"]))
        .env("OPENAI_API_KEY", &env["SWITCHYARD_API_KEY"])
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command:?} failed:\n{said}\n{wrong}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_for_python_and_node_work_unchanged() {
    let laptop = Laptop::start(&[]).await;
    let api = laptop.api();
    for (name, turns) in [
        ("greeter", json!([{ "text": "You said {{input}}" }])),
        ("slow", json!([{ "text": "late", "delay_ms": 60_000 }])),
    ] {
        let agent =
            json!({ "name": name, "model": "sim:script", "instructions": e2e::script(&turns) });
        api.post("/v1/agents", &agent).await.expect(201);
    }
    api.post("/v1/agents", &json!({ "name": "echo", "model": "sim:echo" })).await.expect(201);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("client.py"), PYTHON).unwrap();
    std::fs::write(dir.path().join("client.mjs"), NODE).unwrap();

    run(dir.path(), &laptop, &["python3", "-m", "venv", "venv"]);
    run(dir.path(), &laptop, &["venv/bin/pip", "install", "--quiet", "openai"]);
    let said = run(dir.path(), &laptop, &["venv/bin/python", "client.py"]);
    run(dir.path(), &laptop, &["npm", "install", "--silent", "--no-audit", "--no-fund", "openai"]);
    run(dir.path(), &laptop, &["node", "client.mjs"]);

    // Whoever hung up has ended the run that they asked to be ended.
    let given_up = said.trim();
    eventually_within(Duration::from_secs(20), "the run to be cancelled", async || {
        let run = api.get(&format!("/v1/runs/{given_up}")).await.expect(200);
        (run["status"] == "cancelled").then_some(())
    })
    .await;
}
