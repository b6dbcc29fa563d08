//! The last trigger of a source leaves, or an edit changes it, while somebody else commits there.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use shared_models::TriggerId;
use sqlx::AssertSqlSafe;
use testkit::{Answer, Stub, eventually};

use crate::{
    harness::World,
    listening::{look, until},
};

/// Waits until so many wait for a lock.
pub(crate) async fn waiting(world: &World, count: i64) {
    eventually("those who wait for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
             and application_name = 'eventsvc' and wait_event_type = 'Lock'";
        (world.count(waiting).await >= count).then_some(())
    })
    .await;
}

/// Deletes the only trigger of a source while a transaction holds the source's lease and does this before it commits.
async fn deleted_during(world: &World, stub: &Stub, then: &str) {
    let options = json!({ "url": stub.url(), "interval_seconds": 3600 });
    let id = world.trigger(json!({ "system": "poll", "options": options })).await.0;
    let listener = format!("/v1/triggers/{id}/listener");
    eventually("the first look", async || {
        let listener = world.mine().get(&listener).await.expect(200);
        (!listener["cursor"].is_null() && listener["state"] == "waiting").then_some(())
    })
    .await;
    let mut admin = world.db.admin().await;
    let held = format!("begin; select from eventsvc.source_lease for update; {then}");
    sqlx::raw_sql("delete from eventsvc.source_cursor").execute(&mut admin).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(held)).execute(&mut admin).await.unwrap();

    let (api, path) = (world.mine(), format!("/triggers/{id}"));
    let release = async {
        waiting(world, 1).await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (deleted, ()) = tokio::join!(api.delete(&path), release);
    assert_eq!(deleted.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_ends_while_the_last_trigger_leaves_leaves_no_cursor() {
    let world = World::start().await;
    let stub = Stub::start(|_| Answer::Json(200, json!([]))).await;

    let look = "insert into eventsvc.source_cursor (source_id, tenant_id, position)
        select source_id, tenant_id, '{}' from eventsvc.source_lease";
    deleted_during(&world, &stub, look).await;

    assert_eq!(world.count("select count(*) from eventsvc.source_lease").await, 0);
    assert_eq!(world.count("select count(*) from eventsvc.source_cursor").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_comes_while_the_last_one_leaves_is_listened_for() {
    let world = World::start().await;
    let stub = Stub::start(|_| Answer::Json(200, json!([]))).await;
    let newcomer = "create temporary table newcomer as select * from eventsvc.trigger;
        update newcomer set trigger_id = gen_random_uuid();
        insert into eventsvc.trigger select * from newcomer";

    deleted_during(&world, &stub, newcomer).await;

    assert_eq!(world.count("select count(*) from eventsvc.source_lease").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_joins_while_another_is_edited_keeps_the_source_it_joined() {
    let world = World::start().await;
    let stub = Stub::start(|_| Answer::Json(200, json!([]))).await;
    let options = json!({ "url": stub.url(), "interval_seconds": 3600 });
    let id = world.trigger(json!({ "system": "poll", "options": options })).await.0;
    let before = world.mine().get(&format!("/v1/triggers/{id}")).await.expect(200);
    let mut admin = world.db.admin().await;
    let joining = "begin; update eventsvc.source set updated_at = now();
        create temporary table newcomer as select * from eventsvc.trigger;
        update newcomer set trigger_id = gen_random_uuid();
        insert into eventsvc.trigger select * from newcomer";
    sqlx::raw_sql(joining).execute(&mut admin).await.unwrap();

    let (api, path) = (world.mine(), format!("/v1/triggers/{id}"));
    let patch = json!({ "options": { "interval_seconds": 60 } });
    let release = async {
        waiting(&world, 1).await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (patched, ()) = tokio::join!(api.patch(&path, &patch), release);

    assert_ne!(patched.expect(200)["source_id"], before["source_id"]);
    let as_it_was =
        "select count(*) from eventsvc.source s join eventsvc.trigger t using (source_id)
        where t.options = s.options";
    assert_eq!(world.count(as_it_was).await, 2);
}

/// A source at which each look finds one thing more, after its first look.
async fn growing(world: &World) -> (Stub, TriggerId) {
    let looks = AtomicI64::new(0);
    let stub = Stub::start(move |_| {
        let seen = looks.fetch_add(1, Ordering::Relaxed);
        Answer::Json(200, (0..=seen).map(|id| json!({ "id": id })).collect())
    })
    .await;
    let options = json!({ "url": stub.url(), "interval_seconds": 3600 });
    let id = world.trigger(json!({ "system": "poll", "options": options })).await.0;
    until(world, id, "it to rest", |l| !l["cursor"].is_null() && l["state"] == "waiting").await;
    (stub, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_found_with_a_credential_that_an_edit_replaced_meanwhile_is_not_stored() {
    let world = World::start().await;
    let (_stub, id) = growing(&world).await;
    let mut admin = world.db.admin().await;
    let edit = "begin; select from eventsvc.source for update;
        update eventsvc.source set credential_id = gen_random_uuid()";
    sqlx::raw_sql(edit).execute(&mut admin).await.unwrap();

    look(&world, id).await;
    waiting(&world, 1).await;
    sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();

    // The next look is refused the new credential.
    until(&world, id, "the next look", |l| l["failures"].as_i64() > Some(0)).await;
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_found_before_its_source_was_left_is_not_for_who_comes_back() {
    let world = World::start().await;
    let (_stub, id) = growing(&world).await;
    let mut admin = world.db.admin().await;
    sqlx::raw_sql("begin; select from eventsvc.source for update")
        .execute(&mut admin)
        .await
        .unwrap();
    look(&world, id).await;
    waiting(&world, 1).await;

    // The last trigger leaves, one comes back, and the same replica looks for it before the look is over.
    let back = "create temporary table back as select * from eventsvc.source_lease;
        delete from eventsvc.source_lease;
        delete from eventsvc.source_cursor;
        update back set looking_since = null, due_at = now();
        insert into eventsvc.source_lease select * from back;
        commit";
    sqlx::raw_sql(back).execute(&mut admin).await.unwrap();

    until(&world, id, "a look", |l| !l["cursor"].is_null() && l["state"] == "waiting").await;
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_is_deleted_while_an_edit_moves_it_leaves_the_source_it_moved_to() {
    let world = World::start().await;
    let (_stub, id) = growing(&world).await;
    let mut admin = world.db.admin().await;
    let moving = "begin; create temporary table place as select * from eventsvc.source;
        update place set source_id = gen_random_uuid(), options_key = 'another';
        insert into eventsvc.source select * from place;
        insert into eventsvc.source_lease (source_id, tenant_id, due_at)
            select source_id, tenant_id, now() + interval '1 day' from place;
        delete from eventsvc.source_lease where source_id not in (select source_id from place);
        update eventsvc.trigger set source_id = (select source_id from place), version = version + 1";
    sqlx::raw_sql(moving).execute(&mut admin).await.unwrap();

    let (api, path) = (world.mine(), format!("/triggers/{id}"));
    let release = async {
        waiting(&world, 1).await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (deleted, ()) = tokio::join!(api.delete(&path), release);

    assert_eq!(deleted.status, 204);
    assert_eq!(world.count("select count(*) from eventsvc.source_lease").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_a_new_trigger_that_come_to_the_same_source_at_once_both_find_it() {
    let world = World::start().await;
    let stub = Stub::start(|_| Answer::Json(200, json!([]))).await;
    let options =
        |path: &str| json!({ "url": format!("{}/{path}", stub.url()), "interval_seconds": 3600 });
    let id = world.trigger(json!({ "system": "poll", "options": options("a") })).await.0;
    let mut admin = world.db.admin().await;
    let held = "begin; lock table eventsvc.trigger in share row exclusive mode";
    sqlx::raw_sql(held).execute(&mut admin).await.unwrap();

    // The new one has its source, and waits before it is stored.
    let new = world.trigger(json!({ "system": "poll", "options": options("b") }));
    let (api, path) = (world.mine(), format!("/v1/triggers/{id}"));
    let patch = json!({ "options": options("b") });
    let edit = async {
        waiting(&world, 1).await;
        let release = async {
            waiting(&world, 2).await;
            sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
        };
        tokio::join!(api.patch(&path, &patch), release).0
    };
    let ((new, _), edited) = tokio::join!(new, edit);

    let new = world.mine().get(&format!("/v1/triggers/{new}")).await.expect(200);
    assert_eq!(edited.expect(200)["source_id"], new["source_id"]);
}
