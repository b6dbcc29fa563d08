//! `switchyard evaluate`, as a build calls it.

use std::collections::BTreeMap;

use e2e::{Laptop, Process};
use serde_json::{Value, json};

/// Runs it with these arguments; gives its exit code and output.
fn evaluate(laptop: &Laptop, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let vars: BTreeMap<String, String> = laptop.env();
    let arguments = [&["evaluate"][..], arguments].concat();
    let (status, output) = Process::run(laptop.dir(), name, &arguments, &vars);
    (status.code(), output)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_an_evaluation_has_come_to() {
    let laptop = Laptop::start(&[]).await;
    let api = laptop.api();
    let script = json!([{ "text": "sesame" }]);
    let agent = json!({ "name": "tried", "model": "sim:script", "instructions": format!("```sim\n{script}\n```") });
    let agent = api.post("/v1/agents", &agent).await.expect(201);
    let cases = format!("/v1/agents/{}/cases", agent["agent_id"].as_str().unwrap());
    let case = |name: &str, expectation: Value| json!({ "name": name, "input": "open", "expectations": [expectation] });
    for body in [
        case("met", json!({ "kind": "output_matches", "pattern": "^sesame$" })),
        case("unmet", json!({ "kind": "tool_called", "tool": "look" })),
        case("untried", json!({ "kind": "judged", "model": "nobody:knows", "rubric": "r" })),
    ] {
        api.post(&cases, &body).await.expect(201);
    }

    for (name, code) in [("met", 0), ("unmet", 4), ("untried", 5)] {
        let (exit, output) =
            evaluate(&laptop, name, &["tried", "--case", name, "--wait", "-o", "json"]);
        assert_eq!(exit, Some(code), "{name}: {output}");
        let report: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(report["results"][0]["case_name"], name);
    }
    let (exit, output) =
        evaluate(&laptop, "text", &["tried", "--version", "1", "--case", "unmet", "--wait"]);
    assert_eq!(exit, Some(4), "{output}");
    assert!(output.contains("tool_called: it was never called"), "{output}");
    assert!(output.contains("tried 1: 0 passed, 1 failed, 0 could not be tried"), "{output}");
    let (exit, output) = evaluate(&laptop, "late", &["tried", "--wait", "--timeout", "0"]);
    assert_eq!((exit, output.as_str()), (Some(6), ""));
    let (exit, output) = evaluate(&laptop, "asked", &["tried", "-o", "json"]);
    assert_eq!(exit, Some(0), "{output}");
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap()["status"], "running");
    for (name, arguments) in [
        ("nobody", vec!["nobody"]),
        ("no case", vec!["tried", "--case", "none"]),
        ("no version", vec!["tried", "--version", "9"]),
    ] {
        assert_eq!(evaluate(&laptop, name, &arguments).0, Some(1), "{name}");
    }
    assert_eq!(evaluate(&laptop, "usage", &[]).0, Some(2));
}
