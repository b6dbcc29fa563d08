//! Firing by the clock: several at once, crashes, downtime, edits at the wrong moment.

use chrono::{DateTime, Duration, Utc};
use eventsvc::{Limits, Scheduler};
use serde_json::{Value, json};
use shared_models::TriggerId;
use sqlx::AssertSqlSafe;
use testkit::eventually;

use crate::{
    harness::World,
    timers::{in_seconds, timer},
};

/// One whose scheduler looks often, since these tests change rows behind its back.
async fn world() -> World {
    World::with(Limits { timer_poll_ms: 20, ..Limits::default() }).await
}

async fn run(world: &World, sql: impl Into<String>) {
    let sql = AssertSqlSafe(sql.into());
    sqlx::raw_sql(sql).execute(&mut world.db.admin().await).await.unwrap();
}

/// As if nothing could have fired for this long.
async fn down(world: &World, id: TriggerId, how_long: &str) {
    let back = "- interval";
    run(
        world,
        format!(
            "update eventsvc.timer set anchor_at = anchor_at {back} '{how_long}',
                 next_slot_at = next_slot_at {back} '{how_long}', next_due_at = next_due_at {back} '{how_long}'
             where trigger_id = '{}'",
            id.uuid()
        ),
    )
    .await;
}

/// The slots that were fired, oldest first.
async fn slots(world: &World) -> Vec<DateTime<Utc>> {
    let sql = "select occurred_at from eventsvc.delivery order by occurred_at";
    sqlx::query_scalar(sql).fetch_all(&mut world.db.admin().await).await.unwrap()
}

async fn status(world: &World, id: TriggerId) -> Value {
    world.mine().get(&format!("/triggers/{id}")).await.expect(200)["status"].take()
}

/// Copies a timer, with its next slot at a time in the future or past.
async fn copies(world: &World, of: TriggerId, count: usize, slot: &str) {
    let of = of.uuid();
    run(
        world,
        format!(
            "create temporary table copy as select gen_random_uuid() as t, gen_random_uuid() as s
                 from generate_series(1, {count});
             insert into eventsvc.source (source_id, tenant_id, system, options, options_key)
                 select s, tenant_id, system, options, s::text from copy, eventsvc.trigger where trigger_id = '{of}';
             insert into eventsvc.trigger (trigger_id, tenant_id, source_id, system, target_kind, target_id, options,
                     owner_id, scope)
                 select t, tenant_id, s, system, target_kind, target_id, options, owner_id, scope
                 from copy, eventsvc.trigger where trigger_id = '{of}';
             insert into eventsvc.timer (trigger_id, tenant_id, anchor_at, next_slot_at, next_due_at)
                 select t, tenant_id, {slot}, {slot}, {slot} from copy, eventsvc.trigger where trigger_id = '{of}'"
        ),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_schedulers_fire_each_slot_once() {
    let world = world().await;
    let id = timer(&world, json!({ "interval_seconds": 3600 })).await;

    copies(&world, id, 3000, "date_trunc('second', now())").await;
    let race = (0..3).map(|_| async {
        let mut scheduler = Scheduler::new(&world.app);
        while world.count("select count(*) from eventsvc.timer where next_due_at <= now()").await
            > 0
        {
            scheduler.fire_due(&world.app).await.unwrap();
        }
    });
    futures::future::join_all(race).await;

    for (what, sql) in [
        ("deliveries", "select count(*) from eventsvc.delivery"),
        ("sources", "select count(distinct (source_id, dedupe_key)) from eventsvc.delivery"),
        ("firings", "select count(*) from eventsvc.firing where status = 'fired' and attempt = 1"),
        ("events", "select count(distinct event_id) from eventsvc.outbox"),
        (
            "advances",
            "select count(*) from eventsvc.timer where last_slot_at is not null
                 and next_slot_at = last_slot_at + interval '1 hour' and next_due_at = next_slot_at",
        ),
    ] {
        assert_eq!(world.count(sql).await, 3000, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_before_its_commit_has_fired_nothing_and_the_slot_fires_once() {
    let world = world().await;
    let mut admin = world.db.admin().await;
    sqlx::raw_sql("begin; lock table eventsvc.firing in access exclusive mode")
        .execute(&mut admin)
        .await
        .unwrap();
    let id = timer(&world, json!({ "at": in_seconds(5) })).await;
    eventually("a scheduler to be within its transaction", async || {
        let killed = "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where application_name = 'eventsvc-timers' and datname = current_database() and wait_event_type = 'Lock'";
        (world.count(killed).await > 0).then_some(())
    })
    .await;

    sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();

    world.status_of(id, "it to be fired", |status| status["state"] == "completed").await;
    assert_eq!(slots(&world).await.len(), 1);
    assert_eq!(world.engine().await.take(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_downtime_the_policy_decides() {
    let world = world().await;
    for (misfire, grace, wanted, missed) in [
        ("fire_once", 60, &[3][..], 2),
        ("fire_all", 60, &[1, 2, 3], 0),
        ("skip", 60, &[], 3),
        ("skip", 7200, &[3], 2),
    ] {
        run(&world, "truncate eventsvc.delivery cascade").await;
        let options =
            json!({ "interval_seconds": 3600, "misfire": misfire, "grace_seconds": grace });
        let id = timer(&world, options).await;
        // Slots were due 2.5, 1.5 and 0.5 hours ago.
        down(&world, id, "3 hours 30 minutes").await;

        let after = world
            .status_of(id, "the downtime to be dealt with", |status| {
                let next = status["timer"]["next_slot_at"].as_str().unwrap();
                next.parse::<DateTime<Utc>>().unwrap() > crate::timers::now()
            })
            .await;

        assert_eq!(after["timer"]["missed"], missed, "{misfire}");
        let sql = format!(
            "select (extract(epoch from d.occurred_at - m.anchor_at) / 3600)::int8
             from eventsvc.delivery d, eventsvc.timer m where m.trigger_id = '{}' order by 1",
            id.uuid()
        );
        let fired: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut world.db.admin().await)
            .await
            .unwrap();
        assert_eq!(fired, wanted, "{misfire}");
        world.mine().delete(&format!("/triggers/{id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_the_slot_and_its_end_applies_the_policy() {
    let world = world().await;
    let id = timer(&world, json!({ "interval_seconds": 600 })).await;
    let path = format!("/v1/triggers/{id}");

    let paused = world.mine().patch(&path, &json!({ "paused": true })).await.expect(200);
    assert_eq!(paused["status"]["state"], "paused");
    assert_eq!(paused["status"]["timer"]["next_due_at"], Value::Null);
    assert_ne!(paused["status"]["timer"]["next_slot_at"], Value::Null);
    down(&world, id, "1 hour").await;
    Scheduler::new(&world.app).fire_due(&world.app).await.unwrap();
    assert_eq!(slots(&world).await.len(), 0);
    world.mine().patch(&path, &json!({ "paused": false })).await.expect(200);

    let fired = world.engine().await.take(1).await.remove(0).data;
    let late = fired.received_at - fired.occurred_at;
    assert!(late < Duration::seconds(600), "the latest slot fires, once: {late}");
    let after = status(&world, id).await;
    assert_eq!((&after["state"], &after["timer"]["missed"]), (&json!("scheduled"), &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_behind_the_clocks_back_does_not_fire_either() {
    let world = world().await;
    let id = timer(&world, json!({ "interval_seconds": 600 })).await;

    run(&world, "update eventsvc.trigger set paused = true").await;
    down(&world, id, "11 minutes").await;

    let held = world
        .status_of(id, "it to be held", |status| status["timer"]["next_due_at"] == Value::Null)
        .await;
    assert_ne!(held["timer"]["next_slot_at"], Value::Null);
    assert_eq!(slots(&world).await.len(), 0);
    let resume = json!({ "paused": false });
    world.mine().patch(&format!("/v1/triggers/{id}"), &resume).await.expect(200);
    assert_eq!(world.engine().await.take(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_timer_that_is_due_neither_stalls_it_nor_fires_the_old_slot() {
    let world = world().await;
    let id = timer(&world, json!({ "interval_seconds": 600 })).await;
    let mut admin = world.db.admin().await;
    // Somebody has the row: no scheduler can fire it, and the edit has to wait.
    sqlx::raw_sql("begin; update eventsvc.timer set next_slot_at = now(), next_due_at = now()")
        .execute(&mut admin)
        .await
        .unwrap();

    let edit = json!({ "options": { "interval_seconds": 7200 } });
    let api = world.mine();
    let path = format!("/v1/triggers/{id}");
    let edited = api.patch(&path, &edit);
    let release = async {
        eventually("the edit to wait", async || {
            let waiting = "select count(*) from pg_stat_activity where datname = current_database()
                 and application_name = 'eventsvc' and wait_event_type = 'Lock'";
            (world.count(waiting).await > 0).then_some(())
        })
        .await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (edited, ()) = tokio::join!(edited, release);

    let edited = edited.expect(200);
    let timer = &edited["status"]["timer"];
    assert_eq!(timer["next_due_at"], timer["next_slot_at"]);
    let next: DateTime<Utc> = timer["next_slot_at"].as_str().unwrap().parse().unwrap();
    let ahead = next - crate::timers::now();
    assert!(ahead > Duration::seconds(7100) && ahead <= Duration::seconds(7200), "{ahead}");
    // Between the commit and the edit the old slot may have fired, which is then in the ledger, once.
    assert!(slots(&world).await.len() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_clock_decides_what_is_due() {
    let world = world().await;
    let id = timer(&world, json!({ "at": in_seconds(3600) })).await;
    assert!(Scheduler::new(&world.app).fire_due(&world.app).await.unwrap().is_some());
    assert_eq!(slots(&world).await.len(), 0);

    run(
        &world,
        "do $$ begin
             execute format('alter database %I set switchyard.clock_ahead = ''59 minutes 59 seconds''', current_database());
         end $$",
    )
    .await;
    let mut scheduler = Scheduler::new(&world.app);
    eventually("the last second to pass", async || {
        scheduler.fire_due(&world.app).await.unwrap();
        (slots(&world).await.len() == 1).then_some(())
    })
    .await;

    let after = status(&world, id).await;
    assert_eq!(after["state"], "completed");
    assert_eq!(after["timer"]["missed"], 0, "by that clock it was in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_timer_that_cannot_be_stored_does_not_stop_the_others() {
    let world = world().await;
    let id = timer(&world, json!({ "interval_seconds": 3600 })).await;

    run(&world, "alter table eventsvc.delivery add constraint no_seven check (body <> '7'::bytea)")
        .await;
    let bad = timer(&world, json!({ "interval_seconds": 3600, "payload": 7 })).await;
    copies(&world, id, 20, "now()").await;
    down(&world, bad, "1 hour 1 second").await;

    let stopped =
        world.status_of(bad, "it to be given up", |status| status["state"] == "completed").await;
    assert!(stopped["reason"].as_str().unwrap().contains("save it again"));
    eventually("the others", async || (slots(&world).await.len() == 20).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_for_what_is_due_uses_the_index_among_many() {
    let world = World::start().await;
    let id = timer(&world, json!({ "interval_seconds": 3600 })).await;
    copies(&world, id, 20_000, "now() + random() * interval '30 days'").await;
    run(&world, "analyze eventsvc.timer").await;

    for (name, sql, limit) in [
        ("claim", include_str!("../../src/store/timer_claim.sql"), "500"),
        ("earliest", include_str!("../../src/store/timer_earliest.sql"), ""),
    ] {
        let explain = AssertSqlSafe(format!("explain {}", sql.replace("$1", limit)));
        let mut tx = world.app.db().system("a test").await.unwrap();
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("timer_due_idx") && !plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}
