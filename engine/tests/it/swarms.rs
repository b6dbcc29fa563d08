//! Swarms as people write them down: what is kept, what is refused, and who stands above whom.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Api, eventually};

use crate::harness::TestApp;
use crate::scene;

pub(crate) async fn echo(api: &Api, name: &str) -> String {
    scene::agent(api, &json!({ "name": name, "model": "sim:echo" })).await
}

pub(crate) fn member(agent: &str, name: &str) -> Value {
    json!({ "kind": "agent", "agent_id": agent, "name": name })
}

pub(crate) async fn swarm(api: &Api, fields: &Value) -> String {
    let made = api.post("/v1/swarms", fields).await.expect(201);
    made["swarm_id"].as_str().unwrap().to_owned()
}

fn path(swarm: &str) -> String {
    format!("/v1/swarms/{swarm}")
}

#[tokio::test]
async fn a_swarm_is_made_found_changed_and_taken_away() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = echo(&api, "writer").await;
    let unnamed = json!({ "kind": "agent", "agent_id": agent });
    let fields = json!({ "name": "desk", "title": "The desk", "members": [unnamed] });

    let made = api.post("/v1/swarms", &fields).await.expect(201);
    let desk = made["swarm_id"].as_str().unwrap();
    assert_eq!(made["members"][0]["name"], "writer", "named after its agent");
    assert_eq!((&made["mode"], &made["max_handoffs"]), (&json!("workflow"), &json!(10)));
    assert_eq!(api.post("/v1/swarms", &fields).await.refusal(), (409, "swarm_name_taken"));
    let found = api.get("/v1/swarms?q=DESK&mode=workflow&status=active").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/swarms?name=none").await.expect(200)["items"], json!([]));

    let stale = api.header("if-match", "\"7\"");
    let patch = json!({ "title": "Another", "max_steps": 3 });
    assert_eq!(stale.patch(&path(desk), &patch).await.refusal(), (412, "precondition_failed"));
    let changed = api.patch(&path(desk), &patch).await.expect(200);
    assert_eq!((&changed["version"], &changed["title"]), (&json!(2), &json!("Another")));
    let diff = api.get(&format!("{}/versions/2/diff", path(desk))).await.expect(200);
    let pointers: Vec<&str> = diff["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/max_steps", "/title"]);
    let back = api.post(&format!("{}/versions/1/restore", path(desk)), &json!({})).await;
    assert_eq!(back.expect(200)["title"], "The desk");
    let versions = api.get(&format!("{}/versions", path(desk))).await.expect(200);
    let of = |n: usize| versions["items"][n]["change"].clone();
    assert_eq!((of(0), of(1), of(2)), (json!("restored"), json!("edited"), json!("created")));

    let stranger = app.person(&owner.colleague(Role::Member));
    assert_eq!(stranger.get(&path(desk)).await.refusal(), (404, "swarm_not_found"));
    assert_eq!(api.delete(&path(desk)).await.status, 204);
    assert_eq!(api.get(&path(desk)).await.status, 404);
    let told: i64 = sqlx::query_scalar(
        "select count(*) from engine.outbox where subject like '%swarm.deleted%'",
    )
    .fetch_one(&mut app.db.admin().await)
    .await
    .unwrap();
    assert_eq!(told, 1, "its triggers hear of it");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_where_it_is_wrong() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (a, b) = (echo(&api, "a").await, echo(&api, "b").await);
    let theirs = echo(&app.person(&owner.colleague(Role::Member)), "theirs").await;
    let both = json!([member(&a, "a"), member(&b, "b")]);
    let with = |more: Value| {
        let mut fields = json!({ "name": "s", "members": both });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let gone = shared_models::AgentId::mint().to_string();
    let colleague = app.person(&owner.colleague(Role::Member));

    for (by, fields, pointer) in [
        (&api, with(json!({ "flow": "a >> c" })), "/flow"),
        (&api, with(json!({ "flow": "a >> (b | a" })), "/flow"),
        (&api, with(json!({ "flow": "a\u{0}" })), "/flow"),
        (&api, with(json!({ "mode": "team", "flow": "a" })), "/flow"),
        (&api, with(json!({ "members": [] })), "/members"),
        (&api, with(json!({ "members": [member(&a, "x"), member(&b, "x")] })), "/members/1/name"),
        (&api, with(json!({ "members": [member(&a, "x>y")] })), "/members/0/name"),
        (&api, with(json!({ "members": [member(&gone, "x")] })), "/members/0/agent_id"),
        (&colleague, with(json!({ "members": [member(&theirs, "x")] })), "/members/0/agent_id"),
        (&api, with(json!({ "max_steps": 0 })), "/max_steps"),
        (&api, with(json!({ "defaults": { "model": "martian:x" } })), "/defaults/model"),
        (
            &api,
            with(json!({ "defaults": { "tools": [shared_models::ToolId::mint().to_string()] } })),
            "/defaults/tools/0",
        ),
        (
            &api,
            with(json!({ "parent_swarm_id": shared_models::SwarmId::mint().to_string() })),
            "/parent_swarm_id",
        ),
    ] {
        let refused = by.post("/v1/swarms", &fields).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{fields}: {refused}");
    }
    let refused = api.post("/v1/swarms", &with(json!({ "flow": "a >> c" }))).await.expect(422);
    assert!(
        refused["errors"][0]["message"].as_str().unwrap().starts_with("column 6:"),
        "{refused}"
    );
    assert_eq!(api.post("/v1/swarms", &with(json!({ "members": "x" }))).await.status, 422);
}

#[tokio::test]
async fn no_swarm_stands_above_itself_even_if_two_people_try_at_once() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = echo(&api, "a").await;
    let fields = |name: &str| json!({ "name": name, "members": [member(&agent, "a")] });
    let (one, other) = (swarm(&api, &fields("one")).await, swarm(&api, &fields("other")).await);
    let below = |above: &str| json!({ "parent_swarm_id": above });

    let itself = api.patch(&path(&one), &below(&one)).await;
    assert_eq!(itself.refusal(), (409, "swarm_cycle"));
    for _ in 0..10 {
        let (above, under) = (below(&other), below(&one));
        let (first, second) = (path(&one), path(&other));
        let (up, down) = tokio::join!(api.patch(&first, &above), api.patch(&second, &under));
        let mut statuses = [up.status, down.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        for swarm in [&one, &other] {
            api.patch(&path(swarm), &json!({ "parent_swarm_id": null })).await.expect(200);
        }
    }
    // As a member is below, too.
    api.patch(&path(&one), &below(&other)).await.expect(200);
    let inside = json!({ "members": [{ "kind": "swarm", "swarm_id": other }] });
    assert_eq!(api.patch(&path(&one), &inside).await.refusal(), (409, "swarm_cycle"));
}

#[tokio::test]
async fn agents_made_with_a_swarm_go_with_it_when_asked() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let other = echo(&api, "other").await;
    let new = json!({ "kind": "new_agent", "agent": { "name": "own", "model": "sim:echo" } });
    let fields = json!({ "name": "s", "members": [new, member(&other, "other")] });
    let made = api.post("/v1/swarms", &fields).await.expect(201);
    let member = &made["members"][0];
    assert_eq!((&member["kind"], &member["name"]), (&json!("agent"), &json!("own")));
    let own = format!("/v1/agents/{}", member["agent_id"].as_str().unwrap());
    assert_eq!(api.get(&own).await.status, 200);
    let id = made["swarm_id"].as_str().unwrap();
    let around = json!({ "name": "around", "members": [{ "kind": "swarm", "swarm_id": id }] });
    let around = swarm(&api, &around).await;

    let deleted = api.delete(&format!("{}?cascade=owned", path(id))).await;
    assert_eq!(deleted.refusal(), (409, "swarm_in_use"));
    assert_eq!(api.delete(&path(&around)).await.status, 204);
    assert_eq!(api.delete(&format!("{}?cascade=all", path(id))).await.status, 422);
    assert_eq!(api.delete(&format!("{}?cascade=owned", path(id))).await.status, 204);

    assert_eq!(api.get(&own).await.status, 404);
    assert_eq!(api.get(&format!("/v1/agents/{other}")).await.status, 200);
}

#[tokio::test]
async fn agents_inherit_what_they_have_not_from_the_swarm_and_those_above() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let plain = scene::agent(&api, &json!({ "name": "plain" })).await;
    let said = json!([{ "text": "as told above" }]);
    let above = json!({ "name": "above", "members": [member(&plain, "x")],
        "defaults": { "instructions": scene::script(&said), "model": "sim:echo" } });
    let above = swarm(&api, &above).await;
    let fields = json!({ "name": "below", "members": [member(&plain, "x")],
        "parent_swarm_id": above, "defaults": { "model": "sim:script" } });
    let below = swarm(&api, &fields).await;

    let run = json!({ "swarm_id": below, "input": "go", "wait": 20 });
    let run = api.post("/v1/runs", &run).await.expect(200);

    assert_eq!((&run["status"], &run["output"]), (&json!("succeeded"), &json!("as told above")));
    let listed = api.get(&format!("/v1/swarms?parent_swarm_id={above}")).await.expect(200);
    assert_eq!(listed["items"][0]["swarm_id"], below);
}

#[tokio::test]
async fn a_swarm_whose_member_is_gone_or_does_not_run_starts_no_runs() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (a, b) = (echo(&api, "a").await, echo(&api, "b").await);
    let id =
        swarm(&api, &json!({ "name": "s", "members": [member(&a, "a"), member(&b, "b")] })).await;
    let start = json!({ "swarm": "s", "input": "hello", "wait": 20 });
    assert_eq!(api.post("/v1/runs", &start).await.expect(200)["output"], "hello");

    api.patch(&format!("/v1/agents/{b}"), &json!({ "status": "paused" })).await.expect(200);
    let refused = api.post("/v1/runs", &start).await;
    assert_eq!(refused.refusal(), (409, "swarm_not_runnable"));
    assert!(refused.text.contains("`b` is paused"), "{}", refused.text);
    api.delete(&format!("/v1/agents/{b}")).await;
    let refused = api.post("/v1/runs", &start).await;
    assert!(refused.text.contains("`b` is gone"), "{}", refused.text);
    api.patch(&path(&id), &json!({ "members": [member(&a, "a")], "status": "inactive" }))
        .await
        .expect(200);
    assert_eq!(api.post("/v1/runs", &start).await.refusal(), (409, "swarm_not_active"));
    api.patch(&path(&id), &json!({ "status": null })).await.expect(200);
    api.post("/v1/runs", &start).await.expect(200);

    let stranger = app.person(&owner.colleague(Role::Member));
    assert_eq!(stranger.post("/v1/runs", &start).await.refusal(), (404, "swarm_not_found"));
    for wrong in [
        json!({ "swarm": "s", "agent": "a", "input": "x" }),
        json!({ "swarm": "s", "swarm_id": id, "input": "x" }),
        json!({ "swarm": "s\u{0}", "input": "x" }),
    ] {
        assert_eq!(api.post("/v1/runs", &wrong).await.status, 422, "{wrong}");
    }
    eventually("the list of its runs", async || {
        let runs = api.get(&format!("/v1/runs?swarm_id={id}")).await.expect(200);
        (runs["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
}
