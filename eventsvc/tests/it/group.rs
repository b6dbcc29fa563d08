//! Groups of deliveries: one bad row stands alone, and a broken connection stores nothing twice.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use eventsvc::intake::{DedupeKey, NewFiring, Outcome, Received, System, Verdict, Window};
use serde_json::{Value, json};
use shared_models::{DeliveryId, EventId, SourceId, TenantId, TriggerId};
use testkit::eventually;

use crate::harness::World;

fn row(headers: Value) -> Received {
    let now = std::time::SystemTime::now().into();
    Received {
        delivery_id: DeliveryId::mint(),
        tenant_id: TenantId::mint(),
        source_id: SourceId::mint(),
        system: System::Webhook,
        dedupe: None,
        verified_by: "none",
        content_type: None,
        headers,
        body: "{}".into(),
        occurred_at: now,
        received_at: now,
        firings: vec![NewFiring {
            event_id: EventId::mint(),
            trigger_id: TriggerId::mint(),
            verdict: Verdict::Skipped,
            outbox: None,
        }],
    }
}

/// How many of the committer's statements wait for a lock.
async fn waiting(world: &World) -> i64 {
    world
        .count(
            "select count(*) from pg_stat_activity
             where application_name = 'eventsvc-committer' and datname = current_database() and wait_event_type = 'Lock'",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_in_a_group_fails_alone() {
    let world = World::start().await;
    let mut admin = world.db.admin().await;
    sqlx::raw_sql("begin; lock table eventsvc.delivery in access exclusive mode")
        .execute(&mut admin)
        .await
        .unwrap();
    let committer = world.app.committer();
    let bad = [3, 17, 18];
    let rows =
        (0..40).map(|n| if bad.contains(&n) { row(json!({ "a": "\0" })) } else { row(json!({})) });

    let submits = futures::future::join_all(rows.map(|row| committer.submit(row)));
    let release = async {
        eventually("the first group to wait", async || (waiting(&world).await == 1).then_some(()))
            .await;
        sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(submits, release);

    for (n, outcome) in outcomes.iter().enumerate() {
        let expected = bad.contains(&n);
        assert_eq!(matches!(outcome, Outcome::Unstorable(_)), expected, "{n}: {outcome:?}");
        assert_eq!(*outcome == Outcome::Stored, !expected, "{n}: {outcome:?}");
    }
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 37);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_database_is_not_blamed_on_a_delivery() {
    let world = World::start().await;
    let committer = world.app.committer();
    let mut admin = world.db.admin().await;
    let away = "alter table eventsvc.delivery rename to away";
    sqlx::raw_sql(away).execute(&mut admin).await.unwrap();

    assert_eq!(committer.submit(row(json!({}))).await, Outcome::Busy);

    let back = "alter table eventsvc.away rename to delivery";
    sqlx::raw_sql(back).execute(&mut admin).await.unwrap();
    assert_eq!(committer.submit(row(json!({}))).await, Outcome::Stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_the_delivery_is_stored_once() {
    let world = World::start().await;
    let committer = world.app.committer();
    assert_eq!(committer.submit(row(json!({}))).await, Outcome::Stored);
    let mut admin = world.db.admin().await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'eventsvc-committer' and datname = current_database()",
    )
    .execute(&mut admin)
    .await
    .unwrap();

    let outcome =
        tokio::time::timeout(Duration::from_secs(45), committer.submit(row(json!({})))).await;

    assert_eq!(outcome, Ok(Outcome::Stored));
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_many_tenants_are_stored_together() {
    let world = World::start().await;
    let committer = world.app.committer();

    let rows = (0..100).map(|_| committer.submit(row(json!({}))));
    let outcomes = futures::future::join_all(rows).await;

    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
    assert_eq!(world.count("select count(distinct tenant_id) from eventsvc.delivery").await, 100);
}

/// The same body as all others of its kind, in a stretch of a minute each.
fn told(one: &Received, minute: i64, seconds: i64) -> Received {
    let at = DateTime::from_timestamp(1_800_000_000 + minute * 60 + seconds, 0).unwrap();
    let (key, length) = (|minute: i64| format!("body:x:{minute}"), TimeDelta::minutes(1));
    Received {
        tenant_id: one.tenant_id,
        source_id: one.source_id,
        received_at: at,
        dedupe: Some(DedupeKey {
            key: key(minute),
            provider_id: None,
            window: Some(Window {
                before: (key(minute - 1), at - length),
                after: (key(minute + 1), at + length),
            }),
            about: None,
            nearby: None,
        }),
        ..row(json!({}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_body_around_the_end_of_a_stretch_of_time_is_told_also_within_a_group() {
    let world = World::start().await;
    let (committer, source) = (world.app.committer(), row(json!({})));
    let mut admin = world.db.admin().await;
    let held = "begin; lock table eventsvc.delivery in access exclusive mode";
    sqlx::raw_sql(held).execute(&mut admin).await.unwrap();
    let first = committer.submit(row(json!({})));

    // While the first is on its way the others become a group: one body at the end of a minute and after it, and once more
    // when that is long ago.
    let group = async {
        eventually("the first to wait", async || (waiting(&world).await == 1).then_some(())).await;
        let rows = [(0, 59), (1, 0), (2, 30)];
        let rows = rows.map(|(minute, seconds)| committer.submit(told(&source, minute, seconds)));
        let release = async { sqlx::raw_sql("commit").execute(&mut admin).await.unwrap() };
        tokio::join!(futures::future::join_all(rows), release).0
    };
    let (_, outcomes) = tokio::join!(first, group);

    let [stored, again] = [Outcome::Stored, Outcome::Duplicate];
    assert_eq!(outcomes, [stored.clone(), again.clone(), stored]);
    // Who was slower than what came after it is told as well.
    let other = row(json!({}));
    assert_eq!(committer.submit(told(&other, 5, 0)).await, Outcome::Stored);
    assert_eq!(committer.submit(told(&other, 4, 59)).await, again);
}
