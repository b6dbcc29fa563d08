//! `switchyard runs`, as somebody at a terminal, and a build, call it.

use e2e::{Laptop, Process, script};
use serde_json::{Value, json};
use testkit::{Api, eventually_within};

/// Runs it with these arguments; gives its exit code, its output, and what it complained of.
fn runs(laptop: &Laptop, name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["runs"][..], arguments].concat();
    let (status, output) = Process::run(laptop.dir(), name, &arguments, &laptop.env());
    let complaint = std::fs::read_to_string(laptop.dir().join(format!("{name}.log"))).unwrap();
    (status.code(), output, complaint)
}

/// An agent that reckons once and says what came of it; a run of it that has ended.
async fn reckoned(api: &Api) -> String {
    let tool =
        json!({ "name": "reckon", "kind": "builtin", "config": { "builtin": "calculator" } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let agent =
        json!({ "name": "reckoner", "model": "sim:script", "instructions": turns("6*7", "it is") });
    let agent = api.post("/v1/agents", &agent).await.expect(201);
    let (agent, tool) = (agent["agent_id"].as_str().unwrap(), tool["tool_id"].as_str().unwrap());
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &json!({})).await.expect(200);
    let run = json!({ "agent_id": agent, "input": "go" });
    let run = api.post("/v1/runs", &run).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    eventually_within(std::time::Duration::from_secs(60), "the run to end", async || {
        let found = api.get(&format!("/v1/runs/{run}")).await.expect(200);
        (found["status"] == "succeeded").then_some(())
    })
    .await;
    run
}

fn turns(expression: &str, says: &str) -> String {
    let call = json!({ "name": "reckon", "arguments": { "expression": expression } });
    script(
        &json!([{ "tool_calls": [call] }, { "text": format!("{says} {{{{last_tool_result}}}}") }]),
    )
}

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_forked_and_compared_from_a_terminal_and_the_exit_codes_tell() {
    let laptop = Laptop::start(&[]).await;
    let run = reckoned(&laptop.api()).await;
    let prompts = [
        ("same.md", turns("6*7", "it is")),
        ("words.md", turns("6*7", "that makes")),
        ("other.md", turns("6*8", "it is")),
        ("fails.md", script(&json!([{ "fail": { "status": 400 } }]))),
        ("slow.md", script(&json!([{ "delay_ms": 3_600_000, "text": "late" }]))),
    ];
    for (file, text) in &prompts {
        std::fs::write(laptop.dir().join(file), text).unwrap();
    }
    let prompt = |file: &str| format!("prompt=@{file}");
    let fork = |name: &str, more: &[&str]| runs(&laptop, name, &[&["fork", &run], more].concat());

    // Made, and not waited for.
    let (exit, output, complaint) = fork("made", &["--at", "3", "--edit", "model=sim:script"]);
    assert_eq!(exit, Some(0), "{complaint}");
    let said = format!("is a dry fork of {run}, whose records stand up to 3\n");
    assert!(output.starts_with("run_") && output.ends_with(&said), "{output}");

    // Each end has its code.
    let (exit, output, complaint) =
        fork("same", &["--edit", &prompt("same.md"), "--wait", "--json"]);
    assert_eq!(exit, Some(0), "{complaint}");
    let same = json(&output);
    assert_eq!((&same["fork_of"], &same["mode"]), (&json!(run), &json!("dry")));
    assert_eq!((&same["status"], &same["output"]), (&json!("succeeded"), &json!("it is 42")));
    let (exit, output, _) =
        fork("words", &["--step", "2", "--edit", &prompt("words.md"), "--wait"]);
    assert_eq!(exit, Some(0), "{output}");
    assert!(output.ends_with("is succeeded\nthat makes 42\n"), "{output}");
    let words = output.split_once(' ').unwrap().0.to_owned();
    let (exit, output, _) =
        fork("live", &["--live", "--edit", &prompt("other.md"), "--wait", "-o", "json"]);
    assert_eq!((exit, &json(&output)["output"]), (Some(0), &json!("it is 48")));
    let (exit, output, _) = fork("fails", &["--edit", &prompt("fails.md"), "--wait"]);
    assert_eq!(exit, Some(4), "{output}");
    assert!(output.contains("is failed\nmodel_"), "{output}");
    let (exit, output, _) = fork("asks", &["--edit", &prompt("other.md"), "--wait"]);
    assert_eq!(exit, Some(5), "{output}");
    assert!(output.contains("is waiting for input\n"), "{output}");
    let (exit, output, _) =
        fork("refuses", &["--edit", &prompt("other.md"), "--unmatched", "refuse", "--wait"]);
    assert_eq!(exit, Some(0), "{output}");
    let slow = ["--edit", &prompt("slow.md"), "--wait", "--timeout", "0", "--json"];
    let (exit, output, complaint) = fork("slow", &slow);
    assert_eq!((exit, &json(&output)["fork_of"]), (Some(6), &json!(run)), "{complaint}");
    assert!(complaint.contains("has not ended in 0 s"), "{complaint}");
    let slow = json(&output)["run_id"].as_str().unwrap().to_owned();
    laptop.api().post(&format!("/v1/runs/{slow}/cancel"), &json!({})).await.expect(202);

    // Beside each other.
    let same = same["run_id"].as_str().unwrap();
    let (exit, output, complaint) = runs(&laptop, "alike", &["diff", &run, same, "--json"]);
    assert_eq!((exit, &json(&output)["same"]), (Some(0), &json!(true)), "{complaint}");
    let (exit, output, complaint) = runs(&laptop, "unlike", &["diff", &run, &words]);
    assert_eq!(exit, Some(4), "{complaint}");
    assert!(output.contains("said: 3 the same, 1 changed\n"), "{output}");
    assert!(output.contains("~ assistant\n    - it is 42\n    + that makes 42\n"), "{output}");
    assert!(output.contains("called: 1 the same\n"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forked_or_compared_is_said_as_the_platform_says_it() {
    let laptop = Laptop::start(&[]).await;
    let run = reckoned(&laptop.api()).await;
    let nobody = shared_models::RunId::mint().to_string();

    for (name, arguments, code, why) in [
        ("unknown", vec!["fork", &nobody], 1, "404 run_not_found"),
        ("beyond", vec!["fork", &run, "--at", "999"], 1, "422 validation_failed"),
        ("model", vec!["fork", &run, "--edit", "model=nobody:knows"], 1, "422 model_unavailable"),
        ("file", vec!["fork", &run, "--edit", "input=@nowhere"], 1, "cannot read nowhere"),
        ("key", vec!["fork", &run, "--api-key", "sk_wrong"], 1, "401 "),
        ("gone", vec!["diff", &run, &run, "--url", "http://127.0.0.1:1"], 1, "does not answer"),
        ("with", vec!["diff", &run, &nobody], 1, "404 run_not_found"),
        ("field", vec!["fork", &run, "--edit", "temperature=1"], 2, "cannot be edited"),
        ("twice", vec!["fork", &run, "--edit", "input=a", "--edit", "input=b"], 2, "edited twice"),
        ("points", vec!["fork", &run, "--at", "3", "--step", "1"], 2, "cannot be used with"),
        ("modes", vec!["fork", &run, "--live", "--unmatched", "ask"], 2, "cannot be used with"),
        ("again", vec!["fork", &run, "--repeat-open-calls"], 2, "--live"),
        ("id", vec!["diff", &run, "agt_1"], 2, "run_"),
        ("one", vec!["diff", &run], 2, "<B>"),
    ] {
        let (exit, output, complaint) = runs(&laptop, name, &arguments);
        assert_eq!((exit, output.as_str()), (Some(code), ""), "{name}: {complaint}");
        assert!(complaint.contains(why), "{name}: {complaint}");
    }
}
