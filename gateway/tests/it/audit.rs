use serde_json::json;

use crate::world::{World, text};

#[tokio::test]
async fn every_change_is_listed_with_who_did_it_and_from_where() {
    let world = World::start().await;
    let member = world.member("member").await;
    let path = format!("/v1/members/{}", member.id);
    world
        .owner
        .header("x-request-id", "req-1")
        .patch(&path, &json!({ "role": "viewer" }))
        .await
        .expect(200);
    world.owner.delete(&path).await.expect(204);

    let listed = world.owner.get(&format!("/v1/audit?subject={}", member.id)).await.expect(200);

    let actions: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|e| text(&e["action"])).collect();
    assert_eq!(actions, ["member.removed", "member.updated", "member.added"]);
    let updated = &listed["items"][1];
    assert_eq!(updated["actor"], world.home.user_id.to_string());
    assert_eq!(updated["detail"]["before"]["role"], "member");
    assert_eq!(updated["detail"]["after"]["role"], "viewer");
    assert_eq!(
        (&updated["remote"], &updated["request_id"]),
        (&json!("127.0.0.1"), &json!("req-1"))
    );
}

#[tokio::test]
async fn the_list_is_filtered_and_paged_and_for_administrators_of_the_tenant_only() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.owner.post("/v1/teams", &json!({ "name": name })).await.expect(201);
    }

    let first = world.owner.get("/v1/audit?action=team.created&limit=2").await.expect(200);
    let cursor = text(&first["next_cursor"]);
    let second = world
        .owner
        .get(&format!("/v1/audit?action=team.created&limit=2&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(
        (first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()),
        (2, 1)
    );
    assert!(second["next_cursor"].is_null());
    let later = world.owner.get("/v1/audit?since=2999-01-01T00:00:00Z").await.expect(200);
    assert_eq!(later["items"], json!([]));
    let actor = world.owner.get("/v1/audit?actor=platform").await.expect(200);
    assert_eq!(actor["items"][0]["action"], "tenant.created");

    assert_eq!(
        world.member("member").await.api.get("/v1/audit").await.refusal(),
        (403, "scope_missing")
    );
    let rival = world.rival().await.get("/v1/audit?action=team.created").await.expect(200);
    assert_eq!(rival["items"], json!([]));
    assert_eq!(world.owner.get("/v1/audit?colour=red").await.refusal(), (422, "validation_failed"));
}
