//! NATS or Postgres away, and back.

use shared_models::TenantId;
use testkit::{TestNats, eventually};

use crate::world::{HEARER, SENDER, Taker, World, quick_relay};

#[tokio::test]
async fn events_wait_in_the_outbox_while_nats_is_dead_and_arrive_when_it_is_back() {
    let (mut world, mut nats) = (World::new().await, TestNats::start().await);
    let sender = nats.bus(SENDER).await;
    let relay = world.relay(sender.clone(), quick_relay());
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 2);
    let before = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(before).await;

    nats.server().kill().await;
    let during = world.emit_many(20).await;
    relay.ring();
    eventually("the loss to be noticed", || async { (!sender.is_connected()).then_some(()) }).await;
    let waiting = "select count(*) from eventsvc.outbox where published_at is null";
    assert_eq!(world.count(waiting).await, 20);
    nats.server().restart().await.unwrap();

    for id in during {
        world.until_effect(id).await;
    }
    assert_eq!(world.total_effects().await, 21);
    world.until_count("all marked", waiting, 0).await;
    assert_eq!(world.count("select count(*) from engine.parked").await, 0);
}

#[tokio::test]
async fn a_listener_outlives_a_database_that_refuses_it_and_blames_no_event() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, quick_relay());
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 1);
    let before = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(before).await;

    let mut admin = world.database.admin().await;
    cut_off(&mut admin, &world).await;
    let during = world.emit(TenantId::mint()).await;
    relay.ring();
    let published = "select count(*) from eventsvc.outbox where published_at is not null";
    world.until_count("the event on its way", published, 2).await;
    // Each broken connection of the pool fails one event; none of them is the event's fault.
    world.until_effect(during).await;

    assert_eq!(world.effects(during).await, 1);
    assert_eq!(world.count("select count(*) from engine.parked").await, 0);
}

/// Ends every connection of the engine's logins, as a fail-over would.
async fn cut_off(admin: &mut sqlx::PgConnection, world: &World) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and usename in ('engine_app', 'engine_system')",
    )
    .execute(admin)
    .await
    .unwrap();
    assert_eq!(world.total_effects().await, 1);
}
