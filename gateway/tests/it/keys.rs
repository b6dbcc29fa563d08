use serde_json::{Value, json};
use shared_models::Service;
use sqlx::AssertSqlSafe;
use testkit::{Api, eventually};

use crate::world::{World, text};

async fn make(api: &Api, body: Value) -> (String, String) {
    let made = api.post("/v1/api-keys", &body).await.expect(201);
    (text(&made["id"]), text(&made["secret"]))
}

async fn change(world: &World, set: &str, id: &str) {
    let id: shared_models::ApiKeyId = id.parse().unwrap();
    let mut admin = world.db.admin().await;
    sqlx::query(AssertSqlSafe(format!("update gateway.api_key set {set} where api_key_id = $1")))
        .bind(id)
        .execute(&mut admin)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_acts_as_the_person_who_made_it() {
    let world = World::start().await;

    let me = world.owner.get("/v1/me").await.expect(200);

    assert_eq!(me["user"]["id"], world.home.user_id.to_string());
    assert_eq!(me["user"]["email"], "admin@example.com");
    assert_eq!(me["tenant"]["id"], world.home.tenant_id.to_string());
    assert_eq!(me["tenant"]["slug"], "home");
    assert_eq!(me["role"], "owner");
    assert_eq!(me["teams"], json!([world.home.team_id]));
    assert_eq!(me["platform_admin"], true);
    world.owner.get("/v1/agents/mine").await.expect(201);
    let claims = world.claims(Service::Engine, "/v1/agents/mine").await;
    assert_eq!(claims.user, Some(world.home.user_id));
    assert_eq!(claims.tenant, world.home.tenant_id);
    assert_eq!(claims.teams, [world.home.team_id]);
    assert!(claims.payloads);
    assert!(claims.key.is_some());
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_only_as_a_hash() {
    let world = World::start().await;
    let once = world.owner.header("idempotency-key", "k1");
    let body = json!({ "name": "ci" });

    let made = once.post("/v1/api-keys", &body).await.expect(201);
    let again = once.post("/v1/api-keys", &body).await;
    let other = once.post("/v1/api-keys", &json!({ "name": "other" })).await;

    let secret = text(&made["secret"]);
    world.public.token(&secret).get("/v1/me").await.expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(
        (again.status, &again.body["id"], &again.body["secret"]),
        (201, &made["id"], &Value::Null)
    );
    assert_eq!(other.refusal(), (422, "idempotency_key_reused"));
    let listed = world.owner.get("/v1/api-keys").await;
    assert!(listed.text.contains(made["prefix"].as_str().unwrap()));
    assert!(!listed.text.contains(&secret));
    let dump = world.db.dump().await;
    assert!(!dump.contains(&secret) && !dump.contains(&world.key));
}

#[tokio::test]
async fn keys_that_are_no_longer_good_are_refused() {
    let world = World::start().await;
    let (expired, secret) = make(&world.owner, json!({ "name": "expired" })).await;
    change(
        &world,
        "created_at = now() - interval '2 days', expires_at = now() - interval '1 day'",
        &expired,
    )
    .await;
    let unauthenticated = (401, "unauthenticated");
    assert_eq!(world.public.token(&secret).get("/v1/me").await.refusal(), unauthenticated);

    let past = json!({ "name": "past", "expires_at": "2020-01-01T00:00:00Z" });
    let refused = world.owner.post("/v1/api-keys", &past).await;
    assert_eq!(
        (refused.refusal(), &refused.body["errors"][0]["pointer"]),
        ((422, "validation_failed"), &json!("/expires_at"))
    );

    let (id, secret) = make(&world.owner, json!({ "name": "revoked" })).await;
    let api = world.public.token(&secret);
    api.get("/v1/me").await.expect(200);
    world.owner.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
    assert_eq!(api.get("/v1/me").await.refusal(), unauthenticated);
    assert_eq!(api.get("/v1/agents").await.refusal(), unauthenticated);
    world.owner.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
}

#[tokio::test]
async fn a_key_revoked_at_another_replica_stops_working_within_seconds() {
    let world = World::with(|config| {
        config.limits.key_cache = std::time::Duration::from_millis(300);
    })
    .await;
    let (id, secret) = make(&world.owner, json!({ "name": "revoked elsewhere" })).await;
    let api = world.public.token(&secret);
    api.get("/v1/me").await.expect(200);

    change(&world, "revoked_at = now()", &id).await;

    eventually("the key to stop working", || async {
        (api.get("/v1/me").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_a_token_from_outside_is_none() {
    let world = World::start().await;
    let mut owner = world.trust.owner();
    (owner.tenant, owner.user) = (world.home.tenant_id, world.home.user_id);
    let unknown = format!("sy_{}", "0".repeat(64));

    for token in [
        owner.token(Service::Gateway).as_str(),
        owner.token(Service::Engine).as_str(),
        "",
        "sy_",
        &unknown,
    ] {
        for path in ["/v1/me", "/v1/agents", "/v1/triggers"] {
            let refused = world.public.token(token).get(path).await;
            assert_eq!(refused.refusal(), (401, "unauthenticated"), "{path} {token}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
    }
    let basic = world.public.header("authorization", "Basic c3k6c3k=");
    assert_eq!(basic.get("/v1/me").await.refusal(), (401, "unauthenticated"));
    assert_eq!(world.public.get("/v1/me").await.refusal(), (401, "unauthenticated"));
    assert_eq!(world.engine.requests().len(), 0);
}

#[tokio::test]
async fn a_key_goes_no_further_than_its_scopes_and_makes_no_key_that_does() {
    let world = World::start().await;
    let scopes = json!(["keys:write", "runs:read"]);
    let (_, secret) = make(&world.owner, json!({ "name": "narrow", "scopes": scopes })).await;
    let narrow = world.public.token(&secret);

    assert_eq!(narrow.get("/v1/members").await.refusal(), (403, "scope_missing"));
    narrow.get("/v1/runs").await.expect(201);
    let claims = world.claims(Service::Engine, "/v1/runs").await;
    assert_eq!(claims.scopes, ["runs:read", "keys:write"]);

    let wider = json!({ "name": "wider", "scopes": ["runs:read", "members:write"] });
    let refused = narrow.post("/v1/api-keys", &wider).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/scopes/1");
    let heir = narrow.post("/v1/api-keys", &json!({ "name": "heir" })).await.expect(201);
    assert_eq!(heir["scopes"], json!(["runs:read", "keys:write"]));
}

#[tokio::test]
async fn a_viewer_has_no_keys_to_make_and_nobody_sees_or_revokes_anothers() {
    let world = World::start().await;
    let (viewer, member) = (world.member("viewer").await, world.member("member").await);
    let (id, _) = make(&member.api, json!({ "name": "mine" })).await;
    let theirs = format!("/v1/api-keys?user_id={}", member.id);
    let other = world.member("member").await;

    assert_eq!(
        viewer.api.post("/v1/api-keys", &json!({ "name": "x" })).await.refusal(),
        (403, "scope_missing")
    );
    assert_eq!(other.api.get(&theirs).await.refusal(), (403, "not_allowed"));
    assert_eq!(other.api.delete(&format!("/v1/api-keys/{id}")).await.refusal(), (404, "not_found"));
    assert_eq!(
        world.rival().await.delete(&format!("/v1/api-keys/{id}")).await.refusal(),
        (404, "not_found")
    );
    let listed = world.owner.get(&theirs).await.expect(200);
    assert!(listed["items"].as_array().unwrap().iter().any(|key| key["id"] == id.as_str()));
    world.owner.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
}

#[tokio::test]
async fn a_key_is_of_one_tenant() {
    let world = World::start().await;
    let foreign = shared_models::TenantId::mint().to_string();
    let own = world.home.tenant_id.to_string();

    world.owner.header("x-tenant-id", &own).get("/v1/me").await.expect(200);
    for tenant in [foreign.as_str(), "nonsense"] {
        let refused = world.owner.header("x-tenant-id", tenant).get("/v1/me").await;
        assert_eq!(refused.refusal(), (404, "not_found"), "{tenant}");
    }
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted() {
    let world = World::start().await;
    let (id, secret) = make(&world.owner, json!({ "name": "used" })).await;

    world.public.token(&secret).get("/v1/me").await.expect(200);

    let listed = world.owner.get("/v1/api-keys").await.expect(200);
    let key =
        listed["items"].as_array().unwrap().iter().find(|key| key["id"] == id.as_str()).unwrap();
    assert!(key["last_used_at"].is_string(), "{key}");
}

#[tokio::test]
async fn any_key_tells_whose_it_is_and_no_token_tells_nothing() {
    let world = World::start().await;
    let (id, secret) = make(&world.owner, json!({ "name": "nothing", "scopes": [] })).await;

    let me = world.public.token(&secret).get("/v1/me").await.expect(200);

    assert_eq!((&me["api_key_id"], &me["scopes"]), (&json!(id), &json!([])));
    assert_eq!(me["user"]["id"], world.home.user_id.to_string());
    let mut person = world.trust.owner();
    (person.tenant, person.user) = (world.home.tenant_id, world.home.user_id);
    let tenant = world.home.tenant_id;
    let service =
        world.trust.service_token(Service::Engine, Service::Gateway, tenant, "test", None);
    let ask = |token: &str| world.internal.token(token);
    for wrong in [
        world.internal.get("/v1/me").await,
        ask(&person.expired_token(Service::Gateway)).get("/v1/me").await,
        ask(&person.token(Service::Engine)).get("/v1/me").await,
        ask(&person.forged_token(Service::Gateway)).get("/v1/me").await,
    ] {
        assert_eq!(wrong.refusal(), (401, "unauthenticated"));
    }
    assert_eq!(ask(&service).get("/v1/me").await.refusal(), (403, "not_allowed"));
}

#[tokio::test]
async fn an_administrator_makes_a_key_that_acts_as_a_member() {
    let world = World::start().await;
    let admin = world.member("admin").await;
    let body = json!({ "email": "ann@example.com", "role": "member" });
    let ann = text(&world.owner.post("/v1/members", &body).await.expect(201)["user_id"]);

    let made = admin.api.post("/v1/api-keys", &json!({ "name": "ann's", "user_id": ann })).await;

    let made = made.expect(201);
    let api = world.public.token(&text(&made["secret"]));
    let me = api.get("/v1/me").await.expect(200);
    assert_eq!((&me["user"]["id"], &me["role"]), (&json!(ann), &json!("member")));
    assert_eq!(me["api_key_id"], made["id"]);
    let scopes = me["scopes"].as_array().unwrap();
    assert!(scopes.contains(&json!("agents:write")) && !scopes.contains(&json!("members:write")));
    let audit = world.owner.get("/v1/audit?action=api_key.created").await.expect(200);
    let entry = &audit["items"][0];
    assert_eq!(
        (&entry["actor"], &entry["subject"], &entry["detail"]["user_id"]),
        (&json!(admin.id), &made["id"], &json!(ann))
    );
    // A later promotion is not a promotion of a key that somebody else made.
    let path = format!("/v1/members/{ann}");
    world.owner.patch(&path, &json!({ "role": "owner" })).await.expect(200);
    assert_eq!(api.get("/v1/audit").await.refusal(), (403, "scope_missing"));
}

#[tokio::test]
async fn a_key_for_another_gives_nothing_that_the_member_or_its_maker_has_not() {
    let world = World::start().await;
    let (admin, member) = (world.member("admin").await, world.member("member").await);
    let of = |user: &str, scopes: Value| json!({ "name": "x", "user_id": user, "scopes": scopes });
    let owner = world.home.user_id.to_string();
    let not_allowed = (403, "not_allowed");
    let invalid = (422, "validation_failed");

    let (admins, own) = (of(&admin.id, json!(["runs:read"])), of(&owner, json!(["runs:read"])));
    assert_eq!(member.api.post("/v1/api-keys", &admins).await.refusal(), not_allowed);
    assert_eq!(admin.api.post("/v1/api-keys", &own).await.refusal(), not_allowed);
    let more = of(&member.id, json!(["runs:read", "members:write"]));
    let refused = admin.api.post("/v1/api-keys", &more).await;
    assert_eq!(
        (refused.refusal(), &refused.body["errors"][0]["pointer"]),
        (invalid, &json!("/scopes/1"))
    );
    let narrow = json!({ "name": "narrow", "scopes": ["keys:write", "runs:read"] });
    let (_, narrow) = make(&admin.api, narrow).await;
    let narrow = world.public.token(&narrow);
    let wider = of(&member.id, json!(["runs:write"]));
    assert_eq!(narrow.post("/v1/api-keys", &wider).await.refusal(), invalid);
    let rest = narrow.post("/v1/api-keys", &of(&member.id, Value::Null)).await.expect(201);
    assert_eq!(rest["scopes"], json!(["runs:read", "keys:write"]));
    let stranger = shared_models::UserId::mint().to_string();
    let refused = world.owner.post("/v1/api-keys", &of(&stranger, Value::Null)).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/user_id");

    // The first owner runs the platform. A rival who makes them a member must not come to run it too.
    let rival = world.rival().await;
    let body = json!({ "email": "admin@example.com", "role": "admin" });
    rival.post("/v1/members", &body).await.expect(201);
    let platform = of(&owner, json!(["platform:admin"]));
    assert_eq!(rival.post("/v1/api-keys", &platform).await.refusal(), invalid);
    let made = rival.post("/v1/api-keys", &of(&owner, Value::Null)).await.expect(201);
    let as_them = world.public.token(&text(&made["secret"]));
    assert_eq!(as_them.get("/v1/me").await.expect(200)["platform_admin"], false);
    assert_eq!(as_them.get("/v1/tenants").await.refusal(), (403, "scope_missing"));

    let path = format!("/v1/members/{}", admin.id);
    world.owner.patch(&path, &json!({ "can_view_payloads": false })).await.expect(200);
    let hidden = admin.api.post("/v1/api-keys", &of(&member.id, Value::Null)).await;
    assert_eq!(hidden.refusal(), not_allowed);
}
