//! Two runs beside each other.

use serde_json::{Value, json};
use shared_models::Role;

use crate::forks::{self, ended, fork, id, reference};
use crate::scene;

fn changes(diff: &Value, list: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = if list == "tools" { "tool_name" } else { "role" };
    let items = diff[list].as_array().unwrap();
    items.iter().map(|item| (text(&item["change"]), text(&item[name]))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn a_fork_is_shown_beside_its_source_with_what_differs_and_what_it_took() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, _server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let same = id(&fork(&api, &run, &json!({ "from": { "step": 3 } })).await);
    scene::until(&api, &same, "succeeded").await;
    let call = |name: &str, n: i32| json!({ "name": name, "arguments": { "n": n } });
    let turns = json!([
        { "tool_calls": [call("look", 1)] },
        { "tool_calls": [call("pay", 1), call("pay", 9)] },
        { "text": "x".repeat(5000) },
    ]);
    let edits = json!({ "instructions": scene::script(&turns) });
    let other = fork(&api, &run, &json!({ "edits": edits, "unmatched": "refuse" })).await;
    let other = id(&other);
    let shorter = scene::until(&api, &other, "succeeded").await;

    let diff =
        async |with: &str| api.get(&format!("/v1/runs/{run}/diff?with={with}")).await.expect(200);

    let alike = diff(&same).await;
    assert!(
        alike["messages"].as_array().unwrap().iter().all(|one| one["change"] == "same"),
        "{alike}"
    );
    assert!(
        alike["tools"].as_array().unwrap().iter().all(|one| one["change"] == "same"),
        "{alike}"
    );
    assert_eq!((alike["tools"].as_array().unwrap().len(), &alike["same"]), (5, &json!(true)));
    assert_eq!(
        (&alike["usage"]["a"], &alike["cost_micro_usd"]["a"]),
        (&alike["usage"]["b"], &alike["cost_micro_usd"]["b"])
    );
    assert_eq!(
        (&alike["mode"], &alike["same_instructions"]),
        (&json!({ "a": "live", "b": "dry" }), &json!(true))
    );

    let diff = diff(&other).await;
    assert_eq!(
        changes(&diff, "tools"),
        pairs(&[
            ("same", "look"),
            ("same", "pay"),
            ("removed", "look"),
            ("arguments", "pay"),
            ("removed", "pay")
        ])
    );
    let said = changes(&diff, "messages");
    assert_eq!(said[..3], pairs(&[("same", "user"), ("same", "assistant"), ("same", "tool")]));
    assert!(
        said.contains(&("changed".into(), "assistant".into()))
            && said.contains(&("removed".into(), "tool".into())),
        "{said:?}"
    );
    let last =
        diff["messages"].as_array().unwrap().iter().rev().find(|one| one["b"].is_object()).unwrap();
    assert_eq!((&last["b"]["bytes"], &last["b"]["cut"]), (&json!(5000), &json!(true)));
    assert_eq!(last["b"]["text"].as_str().unwrap().len(), 4096);
    assert_eq!(
        (&diff["steps"], &diff["same_instructions"], &diff["same"]),
        (&json!({ "a": 4, "b": 3 }), &json!(false), &json!(false))
    );
    assert_eq!(diff["usage"]["b"], shorter["usage"]);
    assert!(diff["seconds"]["a"].as_f64().unwrap() >= 0.0);
    assert_eq!((&diff["more_messages"], &diff["redacted"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn a_result_that_differs_is_told_from_a_call_that_does() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, _server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let first =
        api.get(&format!("/v1/runs/{run}/effects")).await.expect(200)["items"][0]["call_id"]
            .clone();
    let edits =
        json!({ "tool_results": [{ "call_id": first, "content": "broken", "error": true }] });
    let forked = id(&fork(&api, &run, &json!({ "edits": edits })).await);
    scene::until(&api, &forked, "succeeded").await;

    let diff = api.get(&format!("/v1/runs/{run}/diff?with={forked}")).await.expect(200);

    let tools = diff["tools"].as_array().unwrap();
    assert_eq!(tools[0]["change"], "result", "{diff}");
    assert_eq!(
        (&tools[0]["b"]["result"]["text"], &tools[0]["b"]["error"]),
        (&json!("broken"), &json!(true))
    );
    assert!(tools[1..].iter().all(|one| one["change"] == "same"), "{diff}");
}

#[tokio::test]
async fn both_runs_must_be_seen_and_content_only_by_those_who_may() {
    let app = forks::app().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = ended(&api, &agent).await;
    let member = owner.colleague(Role::Member);
    let theirs = app.person(&member);
    let own = scene::agent(&theirs, &json!({ "name": "b", "model": "sim:echo" })).await;
    let own = ended(&theirs, &own).await;
    let rival = app.person(&app.trust.owner());
    let path = format!("/v1/runs/{run}/diff");

    for (who, path) in [
        (&theirs, format!("{path}?with={own}")),
        (&theirs, format!("/v1/runs/{own}/diff?with={run}")),
        (&rival, format!("{path}?with={run}")),
        (&api, format!("{path}?with={}", shared_models::RunId::mint())),
    ] {
        assert_eq!(who.get(&path).await.refusal(), (404, "run_not_found"), "{path}");
    }
    assert_eq!(api.get(&path).await.expect(422)["errors"][0]["pointer"], "/with");
    assert_eq!(api.get(&format!("{path}?with=x")).await.status, 422);
    let blind = app.person(&owner.clone().without_payloads());
    let diff = blind.get(&format!("{path}?with={run}")).await.expect(200);
    assert_eq!(
        (&diff["redacted"], &diff["messages"][0]["a"]["text"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(diff["messages"][0]["a"]["bytes"], 2);
    assert!(!diff.to_string().contains("\"go\""), "{diff}");
}
