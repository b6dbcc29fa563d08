//! Two runs of swarms beside each other.

use serde_json::{Value, json};
use testkit::Api;

use crate::forks::{self, fork, id};
use crate::forks_swarm::{call, counter, shared_tool, told};
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::swarm;

async fn diff(api: &Api, run: &str, with: &str) -> Value {
    api.get(&format!("/v1/runs/{run}/diff?with={with}")).await.expect(200)
}

/// Of each element of a list what is different, and where.
fn changes(diff: &Value, list: &str, name: &str) -> Vec<String> {
    let path = |item: &Value| {
        let names = item["path"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        names.collect::<Vec<_>>().join("/")
    };
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let items = diff[list].as_array().unwrap().iter();
    items
        .map(|item| format!("{} {} {}", path(item), text(item, name), text(item, "change")))
        .collect()
}

#[tokio::test]
async fn runs_of_a_swarm_are_laid_beside_each_other_member_by_member() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = counter().await;
    let look = |n: i32| call("look", &json!({ "n": n }));
    let twice = json!([{ "tool_calls": [look(1), look(2)] }, told()]);
    let a = scripted(&api, "a", json!([{ "tool_calls": [look(1)] }, told()])).await;
    let b = scripted(&api, "b", twice).await;
    let c = scripted(&api, "c", json!([{ "text": "c of {{input}}" }])).await;
    let d = scripted(&api, "d", json!([{ "text": "d of {{input}}" }])).await;
    shared_tool(&api, &server, "unsafe", &[&a, &b]).await;
    let fields = json!({ "name": "s", "flow": "(a | b) >> c", "members": [a, b, c, d] });
    let swarm = swarm(&api, &fields).await;
    let run = start(&api, &swarm).await;
    scene::until(&api, &run, "succeeded").await;
    let flow = json!({ "flow": "(a | b) >> d" });
    api.patch(&format!("/v1/swarms/{swarm}"), &flow).await.expect(200);
    let same = id(&fork(&api, &run, &json!({})).await);
    let once = scene::script(&json!([{ "tool_calls": [look(2)] }, { "text": "short" }]));
    let edits = json!({ "swarm_version": 2, "members": [{ "path": ["b"], "prompt": once }] });
    let other = id(&fork(&api, &run, &json!({ "edits": edits })).await);
    for forked in [&same, &other] {
        scene::until(&api, forked, "succeeded").await;
    }

    let alike = diff(&api, &run, &same).await;
    assert_eq!(changes(&alike, "members", ""), ["a  same", "b  same", "c  same"]);
    assert_eq!(
        changes(&alike, "tools", "tool_name"),
        ["a look same", "b look same", "b look same"],
        "each conversation by itself"
    );
    let said = changes(&alike, "messages", "role");
    assert_eq!(said.len(), 4 + 5 + 2, "of each member: {said:?}");
    assert!(said.iter().all(|one| one.ends_with(" same")), "{said:?}");
    assert_eq!(
        (&alike["same_instructions"], &alike["agent"]["b"]["version"]),
        (&json!(true), &json!(1))
    );

    let differs = diff(&api, &run, &other).await;
    assert_eq!(
        changes(&differs, "members", ""),
        ["a  same", "b  changed", "c  removed", "d  added"]
    );
    assert_eq!(
        changes(&differs, "tools", "tool_name"),
        ["a look same", "b look removed", "b look same"]
    );
    let said = changes(&differs, "messages", "role");
    assert_eq!(said[..4], ["a user same", "a assistant same", "a tool same", "a assistant same"]);
    assert_eq!(
        said[said.len() - 4..],
        ["c user removed", "c assistant removed", "d user added", "d assistant added"]
    );
    let member = &differs["members"][1];
    assert_eq!((&member["a"]["steps"], &member["b"]["steps"]), (&json!(2), &json!(2)));
    assert_eq!(member["b"]["finish_reason"], "stop");
    assert_eq!(differs["members"][3]["b"]["agent"]["name"], "d");
    assert_eq!(
        (&differs["same_instructions"], &differs["agent"]["b"]["version"]),
        (&json!(false), &json!(2))
    );
}

#[tokio::test]
async fn what_was_handed_over_is_shown_of_whoever_said_it_and_not_again() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = counter().await;
    let look = call("look", &json!({ "n": 1 }));
    let transfer = call("transfer_to_till", &json!({}));
    let turns = json!([{ "tool_calls": [look] }, { "tool_calls": [transfer] }]);
    let mut front = scripted(&api, "front", turns).await;
    front["handoffs"] = json!(["till"]);
    let till = scripted(&api, "till", json!([{ "tool_calls": [look] }, told()])).await;
    shared_tool(&api, &server, "unsafe", &[&front, &till]).await;
    let s = json!({ "name": "s", "mode": "handoff", "members": [front, till] });
    let run = start(&api, &swarm(&api, &s).await).await;
    scene::until(&api, &run, "succeeded").await;
    let forked = id(&fork(&api, &run, &json!({})).await);
    scene::until(&api, &forked, "succeeded").await;

    let diff = diff(&api, &run, &forked).await;

    assert_eq!(
        changes(&diff, "tools", "tool_name"),
        ["front look same", "front transfer_to_till same", "till look same"]
    );
    assert_eq!(
        changes(&diff, "messages", "role"),
        [
            "front user same",
            "front assistant same",
            "front tool same",
            "front assistant same",
            "front tool same",
            "till user same",
            "till assistant same",
            "till tool same",
            "till assistant same"
        ]
    );
    // As the member's conversation counts them, which begins with all of that.
    assert_eq!(diff["messages"][5]["a"]["n"], 5);
}
