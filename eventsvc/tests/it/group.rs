//! Groups of deliveries: one bad row stands alone, and a broken connection stores nothing twice.

use std::time::Duration;

use eventsvc::intake::{NewFiring, Outcome, Received, System, Verdict};
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
