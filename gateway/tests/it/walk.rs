use std::collections::BTreeMap;

use serde_json::json;
use shared_models::Service;
use testkit::{Person, Walk};

use crate::world::World;

/// The owner as a person with tokens, as other services and this one's internal listener know them.
fn owner(world: &World) -> Person {
    let mut owner = world.trust.owner();
    (owner.tenant, owner.user) = (world.home.tenant_id, world.home.user_id);
    owner.teams = vec![world.home.team_id];
    owner
}

#[tokio::test]
async fn every_route_refuses_who_should_not_be_there() {
    let world = World::start().await;
    let keys = world.owner.get("/v1/api-keys").await.expect(200);
    let key = keys["items"][0]["id"].as_str().unwrap().to_owned();
    let user = world.home.user_id.to_string();

    Walk {
        openapi: serde_json::to_value(gateway::openapi()).unwrap(),
        api: world.internal.clone(),
        service: Service::Gateway,
        owner: owner(&world),
        params: BTreeMap::from([
            ("user_id", user.clone()),
            ("team_id", world.home.team_id.to_string()),
            ("key_id", key),
        ]),
        bodies: BTreeMap::from([
            ("POST /v1/members", json!({ "email": "x@example.com", "role": "viewer" })),
            ("PATCH /v1/members/{user_id}", json!({ "can_view_payloads": true })),
            ("POST /v1/teams", json!({ "name": "x" })),
            ("PATCH /v1/teams/{team_id}", json!({ "name": "x" })),
            ("POST /v1/teams/{team_id}/members", json!({ "user_id": user })),
            ("POST /v1/api-keys", json!({ "name": "x" })),
            ("POST /v1/tenants", json!({ "name": "x", "owner_email": "x@example.com" })),
            ("PATCH /v1/tenant", json!({ "name": "x" })),
        ]),
        // Who am I takes any token, and only a token; see `keys`.
        open: &["GET /internal/jwks", "GET /v1/me"],
        shared: BTreeMap::from([
            ("GET /v1/members/{user_id}", 200),
            ("GET /v1/teams/{team_id}", 200),
            ("GET /v1/teams/{team_id}/members", 200),
        ]),
    }
    .run()
    .await;
}

#[tokio::test]
async fn the_public_address_takes_no_token_on_any_route_and_has_no_internal_one() {
    let world = World::start().await;
    let token = owner(&world).token(Service::Gateway);
    let document = serde_json::to_value(gateway::openapi()).unwrap();

    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path
            .replace("{user_id}", &world.home.user_id.to_string())
            .replace("{team_id}", &world.home.team_id.to_string())
            .replace("{key_id}", "key_00000000000000000000000000000000");
        for method in item.as_object().unwrap().keys() {
            let method = http::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let expected = if path.starts_with("/internal") { 404 } else { 401 };
            for api in [world.public.clone(), world.public.token(&token)] {
                let reply = api.send(method.clone(), &filled, Some(&json!({}))).await;
                assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text);
            }
        }
    }
}
