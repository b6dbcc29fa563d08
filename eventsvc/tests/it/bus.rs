//! The way onto the bus while things break.

use eventsvc::Limits;
use serde_json::json;
use shared_models::events::{Event as _, run::RunCreated};
use testkit::eventually;

use crate::{
    harness::{World, run_of},
    losses::PATIENCE,
};

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_taken_while_nats_is_away_and_published_when_it_is_back() {
    let mut world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    world.send(hook, &json!({ "n": 0 })).await.expect(202);
    world.nats.server().kill().await;

    for n in 1..4 {
        world.send(hook, &json!({ "n": n })).await.expect(202);
    }
    world.nats.server().restart().await.unwrap();

    let mut heard: Vec<_> = world
        .engine()
        .await
        .take(4)
        .await
        .into_iter()
        .map(|event| event.data.payload.unwrap()["n"].as_i64().unwrap())
        .collect();
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_crash_left_unpublished_is_found_and_published() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let first = engine.take(1).await.remove(0);
    eventually("the mark of publication", async || {
        let marked = world
            .count("select count(*) from eventsvc.outbox where published_at is not null")
            .await;
        (marked == 1).then_some(())
    })
    .await;
    // Another row, as a process leaves it that dies right after its commit.
    sqlx::query(
        "insert into eventsvc.outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
         select gen_random_uuid(), tenant_id, event_id, 2, subject, envelope from eventsvc.outbox",
    )
    .execute(&mut world.db.admin().await)
    .await
    .unwrap();

    let second = engine.take(1).await.remove(0);

    assert_eq!(second.data.event_id, first.data.event_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_firing_that_was_taken_and_led_to_nothing_is_published_again() {
    // It is due as soon as it is acknowledged; what the time in between does is tested in `hearing`.
    let world = World::with(Limits { unheard_minutes: 0, ..Limits::default() }).await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let age = async || {
        eventually("the mark of publication", async || {
            let marked = sqlx::query(
                "update eventsvc.outbox set published_at = published_at - interval '5 minutes'
                 where published_at is not null",
            )
            .execute(&mut world.db.admin().await)
            .await
            .unwrap();
            (marked.rows_affected() > 0).then_some(())
        })
        .await;
        sqlx::query("update eventsvc.firing set fired_at = fired_at - interval '5 minutes'")
            .execute(&mut world.db.admin().await)
            .await
            .unwrap();
    };
    age().await;

    assert_eq!(eventsvc::republish_unheard(&world.app).await.unwrap(), 0, "it merely waits");
    engine.take(1).await;
    assert_eq!(
        eventsvc::republish_unheard(&world.app).await.unwrap(),
        1,
        "it was taken and is not heard of"
    );

    engine.take(1).await;
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["timeline"][5]["step"], "republished");
    assert_eq!(eventsvc::republish_unheard(&world.app).await.unwrap(), 0, "once per wait");

    // Published five minutes after it fired: two minutes later it is too early, five minutes later it is not.
    for (minutes, expected) in [(2, 0), (4, 1)] {
        eventually("the mark of publication", async || {
            let marked = sqlx::query(
                "update eventsvc.outbox set published_at = published_at - make_interval(mins => $1)
                 where published_at is not null",
            )
            .bind(minutes)
            .execute(&mut world.db.admin().await)
            .await
            .unwrap();
            (marked.rows_affected() > 0).then_some(())
        })
        .await;
        sqlx::query("update eventsvc.firing set fired_at = fired_at - make_interval(mins => $1)")
            .bind(minutes)
            .execute(&mut world.db.admin().await)
            .await
            .unwrap();
        let again = eventsvc::republish_unheard(&world.app).await.unwrap();
        assert_eq!(again, expected, "each wait is as long as all before it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_deliveries_are_forgotten_with_what_they_fired() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let kept = world.send(hook, &json!({ "n": 2 })).await.expect(202);
    sqlx::query("update eventsvc.delivery set received_at = now() - interval '31 days' where body = '{\"n\":1}'")
        .execute(&mut world.db.admin().await)
        .await
        .unwrap();
    sqlx::query("update eventsvc.firing set arrived_at = now()")
        .execute(&mut world.db.admin().await)
        .await
        .unwrap();

    assert_eq!(eventsvc::forget_old(&world.app).await.unwrap(), 1);

    assert_eq!(world.delivery(&kept).await["status"], "fired");
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 1);
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_delivery_that_is_fired_again_while_old_ones_are_forgotten_stays() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let old = world.send(hook, &json!({})).await.expect(202);
    let mut admin = world.db.admin().await;
    let aged = "update eventsvc.delivery set received_at = now() - interval '31 days';
        update eventsvc.firing set arrived_at = now()";
    let again =
        "begin; update eventsvc.firing set attempt = 2, fired_at = now(), arrived_at = null";
    for sql in [aged, again] {
        sqlx::raw_sql(sql).execute(&mut admin).await.unwrap();
    }

    let forgotten = tokio::time::timeout(PATIENCE, eventsvc::forget_old(&world.app)).await;
    assert_eq!(forgotten.expect("it waits for nobody").unwrap(), 0);
    sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    assert_eq!(eventsvc::forget_old(&world.app).await.unwrap(), 0, "the engine has yet to take it");

    assert_eq!(world.delivery(&old).await["firings"][0]["attempt"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_held_or_that_the_engine_has_yet_to_take_keeps_its_payload() {
    let world = World::start().await;
    let (hook, paused) =
        (world.open_trigger(json!({})).await, world.open_trigger(json!({ "paused": true })).await);
    let waiting = world.send(hook, &json!({})).await.expect(202);
    let held = world.send(paused, &json!({})).await.expect(202);
    let given_up = world.send(hook, &json!({})).await.expect(202);
    let bare = |delivery: &serde_json::Value| {
        delivery["delivery_id"].as_str().unwrap().split_once('_').unwrap().1.to_owned()
    };
    let mut admin = world.db.admin().await;
    sqlx::raw_sql(
        "update eventsvc.delivery set received_at = now() - interval '40 days';
         update eventsvc.firing set fired_at = fired_at - interval '40 days'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    sqlx::query("update eventsvc.firing set fired_at = now() - interval '61 days' where delivery_id = $1::uuid")
        .bind(bare(&given_up))
        .execute(&mut admin)
        .await
        .unwrap();

    assert_eq!(eventsvc::forget_old(&world.app).await.unwrap(), 1);

    for (delivery, status) in [(waiting, "fired"), (held, "held")] {
        let delivery = world.delivery(&delivery).await;
        assert_eq!((&delivery["status"], &delivery["payload"]), (&json!(status), &json!({})));
    }
    let path = format!("/v1/deliveries/{}", given_up["delivery_id"].as_str().unwrap());
    assert_eq!(world.mine().get(&path).await.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_hours_backlog_nothing_is_published_again_while_it_waits_or_is_worked_off() {
    const COPIES: usize = 2_000;
    let world = World::with(Limits { unheard_minutes: 60, ..Limits::default() }).await;
    let hook = world.open_trigger(json!({})).await;
    world.send(hook, &json!({})).await.expect(202);
    let mut rows = Vec::with_capacity(COPIES);
    for _ in 0..COPIES {
        let event = shared_models::EventId::mint().uuid();
        rows.push((event, pubsub::message_id(event, 1).uuid()));
    }
    let (events, messages): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let copy = "with f as (
            insert into eventsvc.firing (event_id, tenant_id, delivery_id, trigger_id, attempt, status, fired_at)
            select e, tenant_id, gen_random_uuid(), trigger_id, attempt, status, fired_at
            from eventsvc.firing, unnest($1::uuid[]) e
        )
        insert into eventsvc.outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
        select m, tenant_id, e, attempt, subject, envelope || jsonb_build_object('id', 'msg_' || replace(m::text, '-', ''))
        from eventsvc.outbox, unnest($1::uuid[], $2::uuid[]) as n (e, m)";
    let mut admin = world.db.admin().await;
    sqlx::query(copy).bind(&events).bind(&messages).execute(&mut admin).await.unwrap();
    let published = "select count(*) from eventsvc.outbox where published_at is not null";
    eventually("the backlog in the stream", async || {
        (world.count(published).await == COPIES as i64 + 1).then_some(())
    })
    .await;
    sqlx::raw_sql(
        "update eventsvc.outbox set published_at = published_at - interval '61 minutes';
         update eventsvc.firing set fired_at = fired_at - interval '61 minutes'",
    )
    .execute(&mut admin)
    .await
    .unwrap();

    assert_eq!(eventsvc::republish_unheard(&world.app).await.unwrap(), 0, "it waits");
    let engine = world.engine().await;
    for _ in 0..4 {
        // Taken, but nothing is told of the runs yet: the engine is busy.
        engine.take(COPIES / 4).await;
        assert_eq!(eventsvc::republish_unheard(&world.app).await.unwrap(), 0, "it was just taken");
    }
    engine.take(1).await;

    assert_eq!(eventsvc::republish_unheard(&world.app).await.unwrap(), 0);
    assert_eq!(world.count(published).await, COPIES as i64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_is_listed_and_replayed_by_administrators() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let accepted = world.send(hook, &json!({})).await.expect(202);
    let engine = world.engine().await;
    let run = run_of(&engine.take(1).await.remove(0).data);
    let mut admin = world.db.admin().await;
    let (message, tenant) = (shared_models::MessageId::mint(), world.owner.tenant);
    let envelope = json!({
        "id": message, "type": "run.created", "version": 1, "tenant": tenant,
        "occurred_at": "2026-01-01T00:00:00.000Z", "traceparent": null, "data": RunCreated { run },
    });
    sqlx::query(
        "insert into eventsvc.parked (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ('eventsvc_run_lifecycle', $1, $2, $3, $4, 'broken', 6)",
    )
    .bind(message.uuid())
    .bind(tenant.uuid())
    .bind(RunCreated::subject(tenant))
    .bind(envelope)
    .execute(&mut admin)
    .await
    .unwrap();
    let path = format!("/v1/events/parked/eventsvc_run_lifecycle/{message}/replay");
    let member = world.api(&world.owner.colleague(shared_models::Role::Member));
    assert_eq!(member.get("/v1/events/parked").await.refusal(), (403, "scope_missing"));
    assert_eq!(member.post(&path, &json!({})).await.refusal(), (403, "scope_missing"));

    let listed = world.mine().get("/v1/events/parked").await.expect(200);
    let replayed = world.mine().post(&path, &json!({})).await;

    let item = &listed["items"][0];
    assert_eq!((&item["message_id"], &item["type"]), (&json!(message), &json!("run.created")));
    assert_eq!(replayed.status, 202);
    eventually("the timeline to go on", async || {
        let delivery = world.delivery(&accepted).await;
        (delivery["timeline"][5]["step"] == "run_created").then_some(())
    })
    .await;
    eventually("nothing to be parked", async || {
        let left = world.mine().get("/v1/events/parked").await.expect(200);
        (left["items"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(world.mine().post(&path, &json!({})).await.refusal(), (404, "not_found"));
}
