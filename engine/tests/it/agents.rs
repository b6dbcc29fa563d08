//! Agents over HTTP: making, editing, seeing.

use serde_json::{Value, json};
use shared_models::{AgentId, CredentialId, Role, Service, TeamId};

use crate::harness::TestApp;
use crate::scene;

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

fn path(agent: &Value) -> String {
    format!("/v1/agents/{}", agent["agent_id"].as_str().unwrap())
}

#[tokio::test]
async fn an_agent_is_made_with_defaults_and_read_back() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);

    let reply = api.post("/v1/agents", &json!({ "name": "triage", "temperature": 0.7 })).await;

    assert_eq!(reply.header("etag"), Some("\"1\""));
    let made = reply.expect(201);
    let found = api.get(&path(&made)).await;
    assert_eq!(found.header("etag"), Some("\"1\""));
    assert_eq!(found.expect(200), made);
    assert_eq!(made["owner"], json!(owner.user));
    let id: AgentId = made["agent_id"].as_str().unwrap().parse().unwrap();
    let expected = json!({
        "agent_id": id, "owner": owner.user, "version": 1, "updated_by": owner.user,
        "created_at": made["created_at"], "updated_at": made["updated_at"],
        "name": "triage", "description": "", "model": "openai:gpt-4o", "fallback_model": null,
        "model_credential_id": null, "instructions": "", "max_steps": 10, "temperature": 0.7,
        "max_tokens": null, "scope": "user", "team_id": null, "agent_type": "custom",
        "status": "active", "tags": [],
        "use_custom_persona": false, "custom_persona_prompt": null, "output_schema": null,
        "limits": { "max_concurrent_runs": null, "deadline_seconds": null },
        "budget": { "max_cost_micro_usd": null, "max_tokens": null, "max_tool_calls": null,
            "max_active_seconds": null } });
    assert_eq!(made, expected);
}

#[tokio::test]
async fn what_an_agent_cannot_be_is_refused_field_by_field() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    let reply = api
        .post(
            "/v1/agents",
            &json!({ "name": "", "max_steps": 0, "temperature": 3, "model": "x:y" }),
        )
        .await;
    let unknown = api.post("/v1/agents", &json!({ "name": "a", "colour": "red" })).await;
    let wrong_type = api.post("/v1/agents", &json!({ "name": "a", "max_steps": "many" })).await;
    let kind = api.post("/v1/agents", &json!({ "name": "a", "agent_type": "wizard" })).await;

    let body = reply.expect(422);
    let pointers: Vec<&str> =
        body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/name", "/max_steps", "/temperature", "/model"]);
    assert!(body["errors"][3]["message"].as_str().unwrap().contains("gemini and sim"), "{body}");
    assert_eq!(unknown.refusal(), (422, "validation_failed"));
    assert_eq!(wrong_type.body["errors"][0]["pointer"], "/max_steps");
    assert_eq!(kind.body["errors"][0]["pointer"], "/agent_type");
}

#[tokio::test]
async fn a_name_is_unique_in_the_tenant_and_free_again_after_a_delete() {
    let app = TestApp::start().await;
    let (owner, rival) = (app.trust.owner(), app.trust.owner());
    let api = app.person(&owner);
    let triage = json!({ "name": "triage" });

    let made = api.post("/v1/agents", &triage).await.expect(201);
    let again = api.post("/v1/agents", &triage).await;
    app.person(&rival).post("/v1/agents", &triage).await.expect(201);
    let other = api.post("/v1/agents", &json!({ "name": "other" })).await.expect(201);
    let renamed = api.patch(&path(&other), &triage).await;

    assert_eq!(again.refusal(), (409, "agent_name_taken"));
    assert_eq!(renamed.refusal(), (409, "agent_name_taken"));
    assert_eq!(api.delete(&path(&made)).await.status, 204);
    assert_eq!(api.get(&path(&made)).await.refusal(), (404, "agent_not_found"));
    api.post("/v1/agents", &triage).await.expect(201);
}

#[tokio::test]
async fn every_edit_is_a_version_that_says_who_and_when() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let admin = owner.colleague(Role::Admin);
    let made = app.person(&owner).post("/v1/agents", &json!({ "name": "a" })).await.expect(201);

    let patch =
        json!({ "instructions": "Be brief.", "tags": ["x"], "limits": { "deadline_seconds": 60 } });
    let reply = app.person(&admin).patch(&path(&made), &patch).await;
    assert_eq!(reply.header("etag"), Some("\"2\""));
    let second = reply.expect(200);
    let same = app.person(&owner).patch(&path(&made), &patch).await.expect(200);
    app.person(&owner).patch(&path(&made), &json!({ "tags": null })).await.expect(200);

    assert_eq!((&second["version"], &second["updated_by"]), (&json!(2), &json!(admin.user)));
    assert_eq!(same["version"], 2, "an edit that changes nothing is none");
    let api = app.person(&owner);
    let versions = format!("{}/versions", path(&made));
    let first_page = api.get(&format!("{versions}?limit=2")).await.expect(200);
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|v| v["version"].as_i64().unwrap()).collect()
    };
    assert_eq!(numbers(&first_page), [3, 2]);
    let cursor = first_page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("{versions}?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!((numbers(&rest), &rest["next_cursor"]), (vec![1], &Value::Null));
    let old = api.get(&format!("{versions}/2")).await.expect(200);
    assert_eq!((&old["changed_by"], &old["tags"]), (&json!(admin.user), &json!(["x"])));
    let now = api.get(&path(&made)).await.expect(200);
    assert_eq!((&now["tags"], &now["instructions"]), (&json!([]), &json!("Be brief.")));
    assert_eq!(api.get(&format!("{versions}/9")).await.refusal(), (404, "agent_version_not_found"));
}

#[tokio::test]
async fn if_match_keeps_an_edit_from_overwriting_anothers() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let made = api.post("/v1/agents", &json!({ "name": "a" })).await.expect(201);

    let first =
        api.header("if-match", "\"1\"").patch(&path(&made), &json!({ "max_steps": 2 })).await;
    let late =
        api.header("if-match", "\"1\"").patch(&path(&made), &json!({ "max_steps": 3 })).await;
    let late_delete = api.header("if-match", "\"1\"").delete(&path(&made)).await;

    first.expect(200);
    assert_eq!(late.refusal(), (412, "precondition_failed"));
    assert_eq!(late_delete.refusal(), (412, "precondition_failed"));
    assert_eq!(api.get(&path(&made)).await.body["max_steps"], 2);
}

#[tokio::test]
async fn a_repeated_post_makes_one_agent() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner()).header("idempotency-key", "k1");

    let first = api.post("/v1/agents", &json!({ "name": "a", "temperature": 0.7 })).await;
    let again = api.post("/v1/agents", &json!({ "name": "a", "temperature": 0.7 })).await;
    let other = api.post("/v1/agents", &json!({ "name": "b" })).await;

    assert_eq!(first.clone().expect(201), again.expect(201));
    assert_eq!(other.refusal(), (422, "idempotency_key_reused"));
}

#[tokio::test]
async fn a_private_agent_is_its_owners_and_a_team_agent_is_the_teams() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let member = owner.colleague(Role::Member);
    let mate = member.teammate(Role::Member);
    let (stranger, admin) = (owner.colleague(Role::Member), owner.colleague(Role::Admin));
    let api = app.person(&member);
    let private = api.post("/v1/agents", &json!({ "name": "private" })).await.expect(201);
    let shared =
        api.post("/v1/agents", &json!({ "name": "shared", "scope": "team" })).await.expect(201);
    assert_eq!(shared["team_id"], json!(member.teams[0]), "one's first team, unless said");

    for (person, sees_private, sees_shared) in
        [(&member, 200, 200), (&mate, 404, 200), (&stranger, 404, 404), (&admin, 200, 200)]
    {
        let api = app.person(person);
        assert_eq!(api.get(&path(&private)).await.status, sees_private);
        assert_eq!(api.get(&path(&shared)).await.status, sees_shared);
        for below in ["/versions", "/versions/1", "/tools", "/describe"] {
            assert_eq!(
                api.get(&format!("{}{below}", path(&private))).await.status,
                sees_private,
                "{below}"
            );
        }
        let listed = api.get("/v1/agents").await.expect(200);
        assert_eq!(names(&listed).contains(&"private"), sees_private == 200);
        assert_eq!(names(&listed).contains(&"shared"), sees_shared == 200);
    }

    // The team works on it; whom it is for, and whether it is there, is the owner's to say.
    let api = app.person(&mate);
    api.patch(&path(&shared), &json!({ "instructions": "Hi." })).await.expect(200);
    assert_eq!(
        api.patch(&path(&shared), &json!({ "scope": "user" })).await.refusal(),
        (403, "not_owner")
    );
    assert_eq!(api.delete(&path(&shared)).await.refusal(), (403, "not_owner"));
    let back =
        app.person(&member).patch(&path(&shared), &json!({ "scope": "user" })).await.expect(200);
    assert_eq!(back["team_id"], Value::Null);
    assert_eq!(api.get(&path(&shared)).await.status, 404);
    let elsewhere = json!({ "name": "x", "scope": "team", "team_id": TeamId::mint() });
    assert_eq!(app.person(&member).post("/v1/agents", &elsewhere).await.status, 422);
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for (name, status, description) in
        [("one", "active", "Writes Poems"), ("two", "paused", ""), ("three", "active", "")]
    {
        let body = json!({ "name": name, "status": status, "description": description });
        api.post("/v1/agents", &body).await.expect(201);
    }
    let list = async |query: &str| api.get(&format!("/v1/agents{query}")).await.expect(200);

    assert_eq!(names(&list("").await), ["three", "two", "one"]);
    assert_eq!(names(&list("?status=active").await), ["three", "one"]);
    assert_eq!(names(&list("?q=poem").await), ["one"]);
    assert_eq!(names(&list("?q=TW").await), ["two"]);
    assert_eq!(names(&list("?name=two&scope=user").await), ["two"]);
    assert_eq!(names(&list("?scope=team").await), Vec::<&str>::new());
    let first = list("?limit=2").await;
    assert_eq!(names(&first), ["three", "two"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(names(&list(&format!("?limit=2&cursor={cursor}")).await), ["one"]);
    for bad in ["?status=asleep", "?limit=x", "?cursor=x", "?colour=red", "?q=%00"] {
        assert_eq!(
            api.get(&format!("/v1/agents{bad}")).await.refusal(),
            (422, "validation_failed"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_model_credential_is_granted_with_the_persons_own_token() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (mine, not_mine) = (app.peers.credential(json!({ "api_key": "k" })), CredentialId::mint());

    let with = json!({ "name": "a", "model_credential_id": mine });
    let made = api.post("/v1/agents", &with).await.expect(201);
    let refused =
        api.post("/v1/agents", &json!({ "name": "b", "model_credential_id": not_mine })).await;
    let patched = api.patch(&path(&made), &json!({ "model_credential_id": not_mine })).await;

    assert_eq!(refused.refusal(), (422, "credential_refused"));
    assert_eq!(patched.refusal(), (422, "credential_refused"));
    let grant = &app.peers.requests("/internal/grants")[0];
    assert_eq!(
        grant.json(),
        json!({ "credential_id": mine, "owner": owner.user,
            "grantee": { "kind": "agent", "id": made["agent_id"] } })
    );
    assert!(!grant.header("x-subject-token").is_empty());
    let listed = api.get("/v1/agents").await.expect(200);
    assert_eq!(names(&listed), ["a"]);
}

#[tokio::test]
async fn a_copy_has_the_same_tools_and_the_credentials_its_maker_may_use() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let credential = app.peers.credential(json!({ "token": "t" }));
    let agent = api
        .post(
            "/v1/agents",
            &json!({ "name": "a", "scope": "team", "model_credential_id": credential }),
        )
        .await
        .expect(201);
    let tool = api.post("/v1/tools", &crate::tools::weather()).await.expect(201);
    let link = format!("{}/tools/{}", path(&agent), tool["tool_id"].as_str().unwrap());
    api.put(&link, &json!({ "credential_id": credential, "priority": 3, "name": "sky" }))
        .await
        .expect(200);

    let copy = api.post(&format!("{}/duplicate", path(&agent)), &json!({})).await.expect(201);
    app.peers.forget(credential);
    let poorer = api
        .post(&format!("{}/duplicate", path(&agent)), &json!({ "name": "poor" }))
        .await
        .expect(201);

    assert_eq!(
        (&copy["name"], &copy["scope"], &copy["version"]),
        (&json!("a copy"), &json!("user"), &json!(1))
    );
    assert_eq!(
        (&copy["model_credential_id"], &copy["credentials_left_out"]),
        (&json!(credential), &json!([]))
    );
    let tools = api.get(&format!("{}/tools", path(&copy))).await.expect(200);
    assert_eq!(
        (
            &tools["items"][0]["name"],
            &tools["items"][0]["priority"],
            &tools["items"][0]["credential_id"]
        ),
        (&json!("sky"), &json!(3), &json!(credential))
    );
    assert_eq!(
        (&poorer["name"], &poorer["credentials_left_out"]),
        (&json!("poor"), &json!([credential]))
    );
    let tools = api.get(&format!("{}/tools", path(&poorer))).await.expect(200);
    assert_eq!(tools["items"][0]["credential_id"], Value::Null);
}

#[tokio::test]
async fn an_agent_describes_itself_as_the_model_will_see_it() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = api
        .post("/v1/agents", &json!({ "name": "a", "model": "sim:echo", "instructions": "Hi." }))
        .await
        .expect(201);
    let tool = api.post("/v1/tools", &crate::tools::weather()).await.expect(201);
    let link = format!("{}/tools/{}", path(&agent), tool["tool_id"].as_str().unwrap());
    api.put(&link, &json!({})).await.expect(200);

    let described = api.get(&format!("{}/describe", path(&agent))).await.expect(200);

    let function = json!({ "name": "weather", "description": "The weather in a city.",
        "parameters": crate::tools::weather()["parameters"] });
    assert_eq!(
        described,
        json!({ "agent_id": agent["agent_id"], "version": 2, "name": "a", "model": "sim:echo",
            "description": "", "fallback_model": null, "temperature": 1.0, "max_tokens": null,
            "output_schema": null, "instructions": "Hi.", "variables": {}, "max_steps": 10,
            "tools": [{ "name": "weather",
            "description": "The weather in a city.", "effect": "read",
            "schema": { "type": "function", "function": function } }] })
    );
}

#[tokio::test]
async fn another_service_learns_of_an_agent_what_its_person_may_see() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let stranger = owner.colleague(Role::Member);
    let made = app.person(&owner).post("/v1/agents", &json!({ "name": "a" })).await.expect(201);
    let path = format!("/internal/agents/{}", made["agent_id"].as_str().unwrap());

    let alone = app.service(Service::Eventsvc, &owner).get(&path).await.expect(200);
    let for_owner = app.on_behalf(Service::Eventsvc, &owner).get(&path).await.expect(200);
    let for_stranger = app.on_behalf(Service::Eventsvc, &stranger).get(&path).await;
    let elsewhere = app.service(Service::Eventsvc, &app.trust.owner()).get(&path).await;

    assert_eq!(
        alone,
        json!({ "agent_id": made["agent_id"], "name": "a", "owner": owner.user, "scope": "user",
            "team_id": null, "status": "active" })
    );
    assert_eq!(for_owner, alone);
    assert_eq!(for_stranger.refusal(), (404, "agent_not_found"));
    assert_eq!(elsewhere.refusal(), (404, "agent_not_found"));
    assert_eq!(app.person(&owner).get(&path).await.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn the_grants_of_a_deleted_agent_end_with_its_last_run() {
    let app = TestApp::start_with(&[("SWITCHYARD_SWEEP_MS", "20")]).await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "text": "late", "delay_ms": 60_000 }]);
    let (idle, busy) =
        (scene::scripted(&api, "idle", &turns).await, scene::scripted(&api, "busy", &turns).await);
    let run = scene::start(&api, &busy).await;
    scene::until(&api, &run, "running").await;
    let ended = |agent: &str| app.peers.requests(&format!("/internal/grants/agent/{agent}")).len();

    for agent in [&busy, &idle] {
        assert_eq!(api.delete(&format!("/v1/agents/{agent}")).await.status, 204);
    }

    testkit::eventually("the idle one's end", async || (ended(&idle) == 1).then_some(())).await;
    assert_eq!(ended(&busy), 0, "a run under way still needs its credentials");
    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    testkit::eventually("the busy one's end", async || (ended(&busy) == 1).then_some(())).await;
}
