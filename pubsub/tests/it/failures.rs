//! An event's own failures, and those that are not its own.

use anyhow::anyhow;
use dbutil::PageQuery;
use pubsub::{DependencyDown, Refusal, parked, topology::ENGINE_TRIGGER_FIRED};
use shared_models::{
    MessageId, TenantId,
    events::{Event, trigger::TriggerFired},
};
use testkit::{TestNats, eventually};

use crate::world::{HEARER, SENDER, Taker, World, patient_relay};

const CONSUMER: &str = ENGINE_TRIGGER_FIRED.durable;

async fn parked_of(world: &World, tenant: TenantId) -> Vec<parked::ParkedEvent> {
    let mut tx = world.hearer.begin(tenant).await.unwrap();
    parked::list(&mut tx, &PageQuery::default()).await.unwrap().items
}

async fn until_parked(world: &World, tenant: TenantId) -> parked::ParkedEvent {
    eventually("the event to be parked", || async { parked_of(world, tenant).await.pop() }).await
}

#[tokio::test]
async fn an_event_that_keeps_failing_is_parked_and_can_be_replayed() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let taker = Taker::new(|_, _| Err(Refusal::Later(anyhow!("no room").context("making a run"))));
    world.listen(nats.bus(HEARER).await, &taker, 3);
    let (tenant, rival) = (TenantId::mint(), TenantId::mint());

    let id = world.emit(tenant).await;
    relay.ring();
    let event = until_parked(&world, tenant).await;

    assert_eq!((event.message_id, event.deliveries), (id, 3));
    assert_eq!(event.reason, "making a run: no room");
    assert_eq!(event.kind.as_deref(), Some("trigger.fired"));
    let shown = serde_json::to_value(&event).unwrap();
    assert_eq!(shown["parked_at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
    assert_eq!(world.total_effects().await, 0);
    assert_eq!(world.count("select count(*) from engine.listener_failure").await, 0);
    assert!(parked_of(&world, rival).await.is_empty());

    replay(&world, tenant, id).await;
    eventually("another failure", || async {
        let event = parked_of(&world, tenant).await.pop()?;
        (event.deliveries == 4 && event.replay_requested_at.is_none()).then_some(())
    })
    .await;
    taker.relent();
    replay(&world, tenant, id).await;
    world.until_effect(id).await;

    assert!(parked_of(&world, tenant).await.is_empty());
    assert_eq!(world.effects(id).await, 1);
}

async fn replay(world: &World, tenant: TenantId, id: MessageId) {
    let mut tx = world.hearer.begin(tenant).await.unwrap();
    assert!(parked::replay(&mut tx, CONSUMER, id).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_event_that_can_never_work_is_parked_at_once_and_can_be_dropped() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let taker = Taker::new(|_, _| Err(Refusal::Never(anyhow!("no such agent"))));
    world.listen(nats.bus(HEARER).await, &taker, 6);
    let (tenant, rival) = (TenantId::mint(), TenantId::mint());

    let id = world.emit(tenant).await;
    relay.ring();
    let event = until_parked(&world, tenant).await;
    let mut other = world.hearer.begin(rival).await.unwrap();
    let stolen = parked::drop(&mut other, CONSUMER, id).await.unwrap();
    let mut tx = world.hearer.begin(tenant).await.unwrap();
    let dropped = parked::drop(&mut tx, CONSUMER, id).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!((event.reason.as_str(), taker.calls()), ("no such agent", 1));
    assert_eq!((stolen, dropped), (false, true));
    assert!(parked_of(&world, tenant).await.is_empty());
}

#[tokio::test]
async fn a_nul_anywhere_does_not_keep_an_event_from_being_parked() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let sender = nats.bus(SENDER).await;
    let relay = world.relay(sender.clone(), patient_relay());
    let taker = Taker::new(|_, event| match event.data.system.as_str() {
        "web\0hook" => Err(Refusal::Later(anyhow!("no \0 agent"))),
        _ => Ok(()),
    });
    world.listen(nats.bus(HEARER).await, &taker, 2);
    let tenant = TenantId::mint();

    let envelope = crate::world::row(tenant).envelope.replace("webhook", "web\\u0000hook");
    let subject = TriggerFired::subject(tenant);
    sender.jetstream().publish(subject, envelope.into()).await.unwrap().await.unwrap();
    let event = until_parked(&world, tenant).await;
    let good = world.emit(tenant).await;
    relay.ring();
    world.until_effect(good).await;

    assert_eq!((event.reason.as_str(), event.deliveries), ("no \u{fffd} agent", 2));
}

#[tokio::test]
async fn a_failure_that_passes_leaves_one_effect() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let taker = Taker::new(|calls, _| match calls {
        0 => Err(Refusal::Later(anyhow!("not yet"))),
        1 => panic!("a bug"),
        _ => Ok(()),
    });
    world.listen(nats.bus(HEARER).await, &taker, 3);

    let id = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(id).await;

    assert_eq!((world.effects(id).await, taker.calls()), (1, 3));
}

#[tokio::test]
async fn a_broken_dependency_does_not_count_towards_parking() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let taker = Taker::new(|calls, _| match calls {
        0..8 => Err(Refusal::Later(anyhow!(DependencyDown("credsvc")))),
        _ => Ok(()),
    });
    world.listen(nats.bus(HEARER).await, &taker, 2);

    let ids = [world.emit(TenantId::mint()).await, world.emit(TenantId::mint()).await];
    relay.ring();
    for id in ids {
        world.until_effect(id).await;
    }

    assert!(taker.calls() >= 10);
    assert_eq!(world.count("select count(*) from engine.parked").await, 0);
    assert_eq!(world.count("select count(*) from engine.listener_failure").await, 0);
}

#[tokio::test]
async fn what_nobody_can_read_is_parked_and_the_rest_goes_on() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let sender = nats.bus(SENDER).await;
    let relay = world.relay(sender.clone(), patient_relay());
    let taker = Taker::obliging();
    world.listen(nats.bus(HEARER).await, &taker, 6);
    let (tenant, rival) = (TenantId::mint(), TenantId::mint());

    let subject = TriggerFired::subject(tenant);
    for unreadable in ["\0 not JSON", r#"{"id":"msg_1"}"#] {
        let sent = sender.jetstream().publish(subject.clone(), unreadable.into()).await.unwrap();
        sent.await.unwrap();
    }
    // Claims to be of another tenant than its subject says.
    let forged = crate::world::row(rival).envelope;
    sender.jetstream().publish(subject, forged.into()).await.unwrap().await.unwrap();
    let good = world.emit(tenant).await;
    relay.ring();
    world.until_effect(good).await;

    world.until_count("all three", "select count(*) from engine.parked", 3).await;
    assert_eq!(taker.calls(), 1);
    assert!(parked_of(&world, rival).await[0].reason.starts_with("it came on triggers."));
}
