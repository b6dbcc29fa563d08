use serde_json::json;
use shared_models::Service;
use testkit::{Api, eventually};

use crate::world::{World, text};

async fn etag(api: &Api, path: &str) -> String {
    api.get(path).await.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn a_member_is_added_by_address_and_belongs_to_the_default_team() {
    let world = World::start().await;
    let once = world.owner.header("idempotency-key", "a");
    let body =
        json!({ "email": " Ann@Example.com ", "role": "member", "can_view_payloads": false });

    let made = once.post("/v1/members", &body).await.expect(201);

    assert_eq!((&made["email"], &made["name"]), (&json!("ann@example.com"), &json!("ann")));
    assert_eq!(made["teams"], json!([world.home.team_id]));
    assert_eq!(once.post("/v1/members", &body).await.expect(201), made);
    assert_eq!(world.owner.post("/v1/members", &body).await.refusal(), (409, "member_exists"));
    let path = format!("/v1/members/{}", text(&made["user_id"]));
    assert_eq!(world.owner.get(&path).await.expect(200), made);
    let found = world.owner.get("/v1/members?q=ANN&role=member").await.expect(200);
    assert_eq!(found["items"], json!([made]));
    let none = world.owner.get("/v1/members?q=ANN&role=viewer").await.expect(200);
    assert_eq!(none["items"], json!([]));
    let (_, ann) = world.key_for(&text(&made["user_id"])).await;
    ann.get("/v1/runs/x").await.expect(201);
    assert!(!world.claims(Service::Engine, "/v1/runs/x").await.payloads);
}

#[tokio::test]
async fn one_person_may_belong_to_two_tenants() {
    let world = World::start().await;
    let rival = world.rival().await;
    let body = json!({ "email": "both@example.com", "role": "viewer" });

    let (here, there) =
        (world.owner.post("/v1/members", &body).await, rival.post("/v1/members", &body).await);

    assert_eq!(here.expect(201)["user_id"], there.expect(201)["user_id"]);
}

#[tokio::test]
async fn refused_fields_are_all_named() {
    let world = World::start().await;

    let refused = world
        .owner
        .post("/v1/members", &json!({ "email": "ann", "role": "member", "name": " " }))
        .await;
    let pointers: Vec<_> =
        refused.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(
        (refused.refusal(), pointers),
        ((422, "validation_failed"), vec![json!("/email"), json!("/name")])
    );

    for body in [
        json!({ "email": "a@b.c", "role": "king" }),
        json!({ "email": "a@b.c", "role": "member", "x": 1 }),
    ] {
        assert_eq!(
            world.owner.post("/v1/members", &body).await.refusal(),
            (422, "validation_failed"),
            "{body}"
        );
    }
    let cut = world.owner.header("content-type", "application/json");
    let refused = cut.raw(http::Method::POST, "/v1/members", b"{\"email\": ".to_vec()).await;
    assert_eq!(refused.refusal(), (400, "malformed_json"));
    assert!(
        refused.body["detail"].as_str().unwrap().contains("line 1, column"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn the_last_owner_can_neither_leave_nor_be_demoted() {
    let world = World::start().await;
    let me = format!("/v1/members/{}", world.home.user_id);

    let demoted = world.owner.patch(&me, &json!({ "role": "admin" })).await;
    assert_eq!(demoted.refusal(), (409, "last_owner"));
    assert_eq!(world.owner.delete(&me).await.refusal(), (409, "last_owner"));

    let second = world.member("owner").await;
    let theirs = format!("/v1/members/{}", second.id);
    let (one, other) = tokio::join!(
        async { world.owner.patch(&theirs, &json!({ "role": "member" })).await.status },
        async { second.api.patch(&me, &json!({ "role": "member" })).await.status },
    );
    let mut statuses = [one, other];
    statuses.sort_unstable();
    assert!(statuses[0] == 200 && statuses[1] >= 403, "{statuses:?}");
    let mut admin = world.db.admin().await;
    let owners: i64 = sqlx::query_scalar(
        "select count(*) from gateway.membership where tenant_id = $1 and role = 'owner'",
    )
    .bind(world.home.tenant_id)
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn only_owners_make_change_and_remove_owners() {
    let world = World::start().await;
    let admin = world.member("admin").await;
    let owner = format!("/v1/members/{}", world.home.user_id);
    let themselves = format!("/v1/members/{}", admin.id);
    let not_allowed = (403, "not_allowed");

    assert_eq!(
        admin.api.patch(&owner, &json!({ "can_view_payloads": false })).await.refusal(),
        not_allowed
    );
    assert_eq!(admin.api.delete(&owner).await.refusal(), not_allowed);
    assert_eq!(
        admin.api.patch(&themselves, &json!({ "role": "owner" })).await.refusal(),
        not_allowed
    );
    let body = json!({ "email": "new@example.com", "role": "owner" });
    assert_eq!(admin.api.post("/v1/members", &body).await.refusal(), not_allowed);
    admin.api.patch(&themselves, &json!({ "role": "member" })).await.expect(200);
    assert_eq!(
        admin.api.patch(&themselves, &json!({ "role": "admin" })).await.refusal(),
        (403, "scope_missing")
    );
}

#[tokio::test]
async fn an_edit_against_an_old_version_is_refused() {
    let world = World::start().await;
    let member = world.member("member").await;
    let path = format!("/v1/members/{}", member.id);
    let tag = etag(&world.owner, &path).await;
    let edit = world.owner.header("if-match", &tag);

    let changed = edit.patch(&path, &json!({ "can_view_payloads": false })).await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    assert_eq!(changed.expect(200)["can_view_payloads"], false);
    let late = edit.patch(&path, &json!({ "can_view_payloads": true })).await;

    assert_eq!(late.refusal(), (412, "precondition_failed"));
    assert_eq!(
        world.owner.patch(&path, &json!({ "role": null })).await.refusal(),
        (422, "validation_failed")
    );
    assert_eq!(
        world.owner.patch(&path, &json!({ "email": "x@y.z" })).await.refusal(),
        (422, "validation_failed")
    );
}

#[tokio::test]
async fn whoever_leaves_takes_nothing_along_and_finds_nothing_when_coming_back() {
    let world = World::start().await;
    let member = world.member("member").await;
    let before = member.api.get("/v1/me").await.expect(200);
    let path = format!("/v1/members/{}", member.id);

    world.owner.delete(&path).await.expect(204);

    assert_eq!(member.api.get("/v1/me").await.refusal(), (401, "unauthenticated"));
    assert_eq!(world.owner.get(&path).await.refusal(), (404, "not_found"));
    let told: Vec<serde_json::Value> = sqlx::query_scalar(
        "select envelope -> 'data' from gateway.outbox where subject like '%.member.removed.v1'",
    )
    .fetch_all(&mut world.db.admin().await)
    .await
    .unwrap();
    let expected = json!({ "user_id": member.id, "removed_by": world.home.user_id });
    assert_eq!(told, [expected], "credsvc revokes what was theirs");
    let body = json!({ "email": before["user"]["email"], "role": "member" });
    assert_eq!(
        world.owner.post("/v1/members", &body).await.expect(201)["user_id"],
        before["user"]["id"]
    );
    assert_eq!(
        world.public.token(&member.key).get("/v1/me").await.refusal(),
        (401, "unauthenticated")
    );
}

#[tokio::test]
async fn a_changed_role_counts_at_once() {
    let world = World::start().await;
    let member = world.member("member").await;
    member.api.post("/v1/agents", &json!({})).await.expect(201);
    assert!(
        world.claims(Service::Engine, "/v1/agents").await.scopes.contains(&"agents:write".into())
    );

    world
        .owner
        .patch(&format!("/v1/members/{}", member.id), &json!({ "role": "viewer" }))
        .await
        .expect(200);

    member.api.post("/v1/agents", &json!({})).await.expect(201);
    assert!(
        !world.claims(Service::Engine, "/v1/agents").await.scopes.contains(&"agents:write".into())
    );
}

#[tokio::test]
async fn a_role_that_changes_while_a_key_is_looked_up_counts_at_once_too() {
    let world = World::start().await;
    let member = world.member("member").await;
    // Its first use is noted after it was read, and waits behind this; what changes the role does not.
    let mut admin = world.db.admin().await;
    let held = "begin; lock table gateway.api_key in share mode";
    sqlx::raw_sql(held).execute(&mut admin).await.unwrap();

    let changed = async {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        eventually("the key to be read", async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut admin).await.unwrap();
            (waiting > 0).then_some(())
        })
        .await;
        let path = format!("/v1/members/{}", member.id);
        world.owner.patch(&path, &json!({ "role": "viewer" })).await.expect(200);
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    tokio::join!(member.api.get("/v1/me"), changed);

    assert_eq!(member.api.get("/v1/me").await.expect(200)["role"], "viewer");
}

#[tokio::test]
async fn the_list_of_members_is_paged() {
    let world = World::start().await;
    for _ in 0..4 {
        world.member("viewer").await;
    }

    let mut seen = Vec::new();
    let mut path = "/v1/members?limit=2".to_owned();
    loop {
        let page = world.owner.get(&path).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|member| text(&member["user_id"])));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/members?limit=2&cursor={cursor}");
    }

    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (5, 5));
    assert_eq!(world.owner.get("/v1/members?cursor=x").await.refusal(), (422, "validation_failed"));
}

#[tokio::test]
async fn services_ask_what_somebody_is_right_now() {
    let world = World::start().await;
    let member = world.member("viewer").await;
    let ask = |service, tenant| {
        let token = world.trust.service_token(service, Service::Gateway, tenant, "test", None);
        world.internal.token(&token)
    };
    let path = format!("/internal/members/{}", member.id);

    let found = ask(Service::Engine, world.home.tenant_id).get(&path).await.expect(200);
    assert_eq!(
        found,
        json!({ "role": "viewer", "payloads": true, "teams": [world.home.team_id], "status": "active" })
    );
    let elsewhere = ask(Service::Engine, shared_models::TenantId::mint()).get(&path).await;
    assert_eq!(elsewhere.refusal(), (404, "not_found"));
    let keys = world.internal.get("/internal/jwks").await.expect(200);
    assert_eq!(keys["keys"].as_array().unwrap().len(), Service::ALL.len());
}
