use serde_json::json;

use crate::world::{World, text};

#[tokio::test]
async fn a_team_has_members_and_they_carry_it_in_their_tokens() {
    let world = World::start().await;
    let member = world.member("member").await;
    let body = json!({ "name": "Night shift" });
    let team = text(&world.owner.post("/v1/teams", &body).await.expect(201)["id"]);
    let members = format!("/v1/teams/{team}/members");

    assert_eq!(world.owner.post("/v1/teams", &body).await.refusal(), (409, "team_name_taken"));
    let joined = json!({ "user_id": member.id });
    world.owner.post(&members, &joined).await.expect(201);
    world.owner.post(&members, &joined).await.expect(201);

    let listed = world.owner.get(&members).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    member.api.get("/v1/runs/x").await.expect(201);
    let claims = world.claims(shared_models::Service::Engine, "/v1/runs/x").await;
    assert_eq!(claims.teams, [world.home.team_id, team.parse().unwrap()]);

    world.owner.delete(&format!("{members}/{}", member.id)).await.expect(204);
    let again = world.owner.delete(&format!("{members}/{}", member.id)).await;
    assert_eq!(again.refusal(), (404, "not_found"));
    let me = member.api.get("/v1/me").await.expect(200);
    assert_eq!(me["teams"], json!([world.home.team_id]));
}

#[tokio::test]
async fn everybody_stays_in_the_default_team() {
    let world = World::start().await;
    let path = format!("/v1/teams/{}/members/{}", world.home.team_id, world.home.user_id);

    assert_eq!(world.owner.delete(&path).await.refusal(), (409, "conflict"));
}

#[tokio::test]
async fn a_team_is_renamed_against_its_version() {
    let world = World::start().await;
    let path = format!("/v1/teams/{}", world.home.team_id);
    let edit = world.owner.header("if-match", "\"1\"");

    let renamed = edit.patch(&path, &json!({ "name": "All of us" })).await.expect(200);

    assert_eq!((&renamed["name"], &renamed["default"]), (&json!("All of us"), &json!(true)));
    assert_eq!(
        edit.patch(&path, &json!({ "name": "x" })).await.refusal(),
        (412, "precondition_failed")
    );
    assert_eq!(world.owner.get(&path).await.expect(200), renamed);
}

#[tokio::test]
async fn another_tenants_team_and_people_are_not_there() {
    let world = World::start().await;
    let rival = world.rival().await;
    let members = format!("/v1/teams/{}/members", world.home.team_id);
    let theirs = text(&rival.get("/v1/me").await.expect(200)["user"]["id"]);

    assert_eq!(rival.get(&members).await.refusal(), (404, "not_found"));
    let stranger = world.owner.post(&members, &json!({ "user_id": theirs })).await;
    assert_eq!(stranger.refusal(), (422, "validation_failed"));
    let foreign = rival.get("/v1/teams").await.expect(200)["items"][0]["id"].clone();
    let body = json!({ "email": "x@example.com", "role": "member", "team_ids": [foreign] });
    assert_eq!(world.owner.post("/v1/members", &body).await.refusal(), (422, "validation_failed"));
}
