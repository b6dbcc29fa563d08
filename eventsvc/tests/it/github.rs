//! What GitHub could not deliver, found in its record.

use serde_json::json;
use shared_models::TriggerId;
use testkit::{GITHUB_HOOK, GITHUB_TOKEN};

use crate::{
    harness::World,
    listening::{listener, look, rest, until},
    providers::github,
};

const SOON: &str = "2100-01-01T00:00:00Z";

/// A trigger whose listener has looked once.
async fn reconciled(world: &World) -> TriggerId {
    let credential = world.credential(json!({ "secret": "key", "token": GITHUB_TOKEN }));
    let options = json!({ "reconcile": { "hook": GITHUB_HOOK, "interval_seconds": 3600 } });
    let body = json!({ "system": "github", "options": options, "credential_id": credential,
        "filter": "headers['x-github-event'] == 'push'" });
    let (hook, _) = world.trigger(body).await;
    rest(world, hook).await;
    hook
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_could_not_deliver_is_fetched_from_its_record_once() {
    let world = World::start().await;
    world.github.tried("g0", 503, "2020-01-01T00:00:00Z", &json!({ "id": "g0" }));
    let hook = reconciled(&world).await;

    // One came, one was lost, one was tried while we were away and came after all.
    for (guid, status) in [("g1", 202), ("g2", 503), ("g3", 0)] {
        world.github.tried(guid, status, SOON, &json!({ "id": guid }));
    }
    github(&world, hook, "push", "g1", r#"{"id":"g1"}"#).await.expect(202);
    github(&world, hook, "push", "g3", r#"{"id":"g3"}"#).await.expect(202);
    for _ in 0..2 {
        let before = listener(&world, hook).await["last_looked_at"].clone();
        look(&world, hook).await;
        until(&world, hook, "a look", |l| l["last_looked_at"] != before).await;
    }

    let after = rest(&world, hook).await;
    assert_eq!((&after["found"], &after["recovered"]), (&json!(1), &json!(1)));
    assert_eq!(world.github.fetched(), 2, "each that failed was fetched once");
    let fired = world.engine().await.take(3).await;
    let mut ids: Vec<_> = fired.iter().map(|e| e.data.dedupe_key.clone().unwrap()).collect();
    ids.sort();
    assert_eq!(ids, ["g1", "g2", "g3"]);
    assert_eq!(
        world
            .count("select count(*) from eventsvc.delivery where verified_by = 'reconciled'")
            .await,
        1
    );
    let patch = json!({ "options": { "reconcile": null } });
    world.mine().patch(&format!("/v1/triggers/{hook}"), &patch).await.expect(200);
    let gone = world.mine().get(&format!("/v1/triggers/{hook}/listener")).await;
    assert_eq!(gone.refusal(), (409, "no_listener"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_record_is_read_to_where_the_last_reading_began_whatever_comes_between() {
    let world = World::start().await;
    let hook = reconciled(&world).await;
    // More pages than one look may fetch from, and the oldest of it is what was lost first.
    for n in 0..130 {
        let status = if n % 2 == 0 { 503 } else { 202 };
        world.github.tried(&format!("g{n}"), status, SOON, &json!({ "n": n }));
    }

    world.github.fail_with(&[200, 200, 200, 502]);
    look(&world, hook).await;
    let failing = until(&world, hook, "an error", |l| l["failures"] == 1).await;
    assert_eq!(failing["last_error"], "the provider answered HTTP 502");
    look(&world, hook).await;

    until(&world, hook, "all of it", |l| l["recovered"] == 65).await;
    let after = rest(&world, hook).await;
    assert_eq!((&after["failures"], &after["cursor"]["walk"]), (&json!(0), &json!(null)));
    assert_eq!(world.github.fetched(), 66, "nothing twice, but for what failed");
    assert_eq!(world.engine().await.take(65).await.len(), 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_is_in_nobodys_way_and_a_large_push_can() {
    let world = World::start().await;
    let hook = reconciled(&world).await;
    let large = "x".repeat(5 * 1024 * 1024);
    world.github.tried("g1", 503, SOON, &json!({ "large": large }));
    world.github.tried("g2", 503, SOON, &json!({}));
    world.github.tried("g3", 503, SOON, &json!({}));

    world.github.fail_with(&[200, 404]);
    look(&world, hook).await;
    let after = until(&world, hook, "the others", |l| l["recovered"] == 2).await;

    let note = "1 delivery cannot be fetched: the provider answered HTTP 404; 2 events recovered";
    assert_eq!((&after["note"], &after["failures"]), (&json!(note), &json!(0)));
    let before = rest(&world, hook).await["last_looked_at"].clone();
    look(&world, hook).await;
    until(&world, hook, "a look", |l| l["last_looked_at"] != before).await;
    assert_eq!(world.github.fetched(), 3, "and is not asked for again");
}
