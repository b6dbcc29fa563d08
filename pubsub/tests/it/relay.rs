//! From a committed row to an effect.

use std::sync::{Arc, Mutex};

use dbutil::TenantTx;
use pubsub::{
    Listener, RawEvent, Refusal,
    topology::{Consumer, EVENTSVC_RUN_LIFECYCLE},
};
use shared_models::{
    AgentId, MicroUsd, RunId, RunMode, RunStatus, TenantId, Usage,
    events::{
        Envelope, Event,
        run::{RunCreated, RunFinished, RunRef},
        trigger::TriggerFired,
    },
};
use testkit::{TestNats, eventually};

use crate::world::{
    HEARER, SENDER, Taker, World, fired, patient_relay, quick, quick_relay, row, until_acknowledged,
};

#[tokio::test]
async fn an_event_has_its_effect_once_however_often_it_is_sent() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let (sender, hearer) = (nats.bus(SENDER).await, nats.bus(HEARER).await);
    let relay = world.relay(sender.clone(), patient_relay());
    let taker = Taker::obliging();
    world.listen(hearer.clone(), &taker, 6);
    let (tenant, event) = (TenantId::mint(), fired(TenantId::mint()));

    let mut tx = world.sender.begin(tenant).await.unwrap();
    let first = pubsub::emit_as(&mut tx, event.event_id.uuid(), 1, &event).await.unwrap();
    let again = pubsub::emit_as(&mut tx, event.event_id.uuid(), 1, &event).await.unwrap();
    tx.commit().await.unwrap();
    relay.ring();
    world.until_effect(first).await;
    // The broker has forgotten the id by now, say: it is a new message to it.
    let envelope: String = sqlx::query_scalar("select envelope::text from eventsvc.outbox")
        .fetch_one(&mut world.database.admin().await)
        .await
        .unwrap();
    let subject = TriggerFired::subject(tenant);
    sender.jetstream().publish(subject, envelope.into()).await.unwrap().await.unwrap();
    until_acknowledged(&hearer, 2).await;

    assert_eq!(first, again);
    assert_eq!(world.effects(first).await, 1);
    assert_eq!(taker.calls(), 1);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_announced_that_was_rolled_back() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let taker = Taker::obliging();
    world.listen(nats.bus(HEARER).await, &taker, 6);
    let tenant = TenantId::mint();

    let mut tx = world.sender.begin(tenant).await.unwrap();
    let abandoned = pubsub::emit(&mut tx, &fired(tenant)).await.unwrap();
    drop(tx);
    let kept = world.emit(tenant).await;
    relay.ring();
    world.until_effect(kept).await;

    assert_eq!(world.effects(abandoned).await, 0);
}

#[tokio::test]
async fn rows_handed_over_in_memory_are_published_and_marked_without_a_poll() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);
    // The relay looks at the table once when it starts.
    let early = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(early).await;

    let rows: Vec<_> = (0..300).map(|_| row(TenantId::mint())).collect();
    let mut tx = world.sender.system("test: a grouped write").await.unwrap();
    pubsub::insert_rows(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    relay.take(rows);

    let marked = "select count(*) from eventsvc.outbox where published_at is not null
                  and stream = 'TRIGGERS' and stream_seq is not null";
    world.until_count("the marks", marked, 301).await;
    world.until_count("the effects", "select count(*) from engine.effect", 301).await;
}

#[tokio::test]
async fn several_relays_share_an_outbox() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let ids = world.emit_many(60).await;
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);

    for _ in 0..3 {
        world.relay(nats.bus(SENDER).await, quick_relay());
    }

    let done = "select count(*) from engine.effect";
    world.until_count("the effects", done, ids.len() as i64).await;
    let distinct = "select count(distinct stream_seq) from eventsvc.outbox";
    world.until_count("a place in the stream for each", distinct, ids.len() as i64).await;
}

#[tokio::test]
async fn an_event_too_large_for_the_broker_does_not_hold_up_the_others() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let tenant = TenantId::mint();
    let mut huge = fired(tenant);
    huge.payload = Some("x".repeat(3 * 1024 * 1024).into());

    let mut tx = world.sender.begin(tenant).await.unwrap();
    let refused = pubsub::emit(&mut tx, &huge).await.unwrap();
    tx.commit().await.unwrap();
    let good = world.emit(tenant).await;
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);
    world.relay(nats.bus(SENDER).await, quick_relay());
    world.until_effect(good).await;

    assert_eq!(world.effects(refused).await, 0);
    let kept = "select count(*) from eventsvc.outbox where published_at is null";
    // Whoever hears the good one may be faster than its mark.
    world.until_count("the good one to be marked", kept, 1).await;
}

#[tokio::test]
async fn old_events_are_forgotten_once_they_are_heard_and_unpublished_ones_are_not() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let hearer = nats.bus(HEARER).await;
    world.emit_many(3).await;
    world.relay(nats.bus(SENDER).await, quick_relay());
    world.listen(hearer.clone(), &Taker::obliging(), 6);
    until_acknowledged(&hearer, 3).await;

    let age = "update eventsvc.outbox set created_at = now() - interval '2 days',
               published_at = case when message_id = (select min(message_id::text)::uuid from eventsvc.outbox)
                                   then null else now() - interval '25 hours' end";
    sqlx::query(age).execute(&mut world.database.admin().await).await.unwrap();

    let left =
        "select count(*) from eventsvc.outbox where published_at > now() - interval '1 hour'";
    world.until_count("the unpublished row to be published", left, 1).await;
    world.until_count("the others to go", "select count(*) from eventsvc.outbox", 1).await;
}

#[derive(Default)]
struct Timeline(Mutex<Vec<String>>);

impl Listener for Timeline {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &EVENTSVC_RUN_LIFECYCLE;

    async fn handle(&self, _: &mut TenantTx, event: &Envelope<RawEvent>) -> Result<(), Refusal> {
        let line = match RawEvent::read::<RunFinished>(event) {
            Ok(Some(finished)) => format!("{} {}", event.kind, finished.status),
            Ok(None) => event.kind.clone(),
            Err(error) => return Err(Refusal::Never(error.into())),
        };
        self.0.lock().unwrap().push(line);
        Ok(())
    }
}

#[tokio::test]
async fn one_consumer_hears_every_type_of_event_its_filter_covers() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    std::mem::swap(&mut world.sender, &mut world.hearer);
    let relay = world.relay(nats.bus(HEARER).await, patient_relay());
    let timeline = Arc::new(Timeline::default());
    world.listen(nats.bus(SENDER).await, &timeline, 6);
    let (tenant, run_id) = (TenantId::mint(), RunId::mint());
    let agent_id = AgentId::mint();
    let run = RunRef {
        run_id,
        agent_id,
        root_run_id: run_id,
        trigger_id: None,
        event_id: None,
        attempt: 0,
        mode: RunMode::Live,
        evaluation_id: None,
    };

    let mut tx = world.sender.begin(tenant).await.unwrap();
    pubsub::emit(&mut tx, &RunCreated { run }).await.unwrap();
    let finished = RunFinished {
        run,
        status: RunStatus::Succeeded,
        error: None,
        error_code: None,
        usage: Usage::default(),
        cost: Some(MicroUsd(0)),
    };
    pubsub::emit(&mut tx, &finished).await.unwrap();
    tx.commit().await.unwrap();
    relay.ring();

    let heard = eventually("both events", || async {
        let mut heard = timeline.0.lock().unwrap().clone();
        heard.sort();
        (heard.len() == 2).then_some(heard)
    })
    .await;
    assert_eq!(heard, ["run.created", "run.finished succeeded"]);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let stopped = world.token.clone();
    let taker = Taker::new(move |_, _| {
        stopped.cancel();
        Ok(())
    });
    let hearer = nats.bus(HEARER).await;
    world.listen(hearer.clone(), &taker, 6);

    let id = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(id).await;
    world.stop().await;

    let floor = pubsub::consumer_ack_floor(&hearer, &pubsub::topology::ENGINE_TRIGGER_FIRED).await;
    assert_eq!(floor.unwrap(), 1);
}

#[tokio::test]
async fn a_consumer_that_does_not_exist_says_what_to_run() {
    let (world, nats) = (World::new().await, TestNats::start().await);
    let admin = crate::permissions::admin(&nats.config(HEARER).url).await;
    let consumer = pubsub::topology::ENGINE_TRIGGER_FIRED;
    async_nats_delete(&admin, consumer.stream.name(), consumer.durable).await;

    let (db, bus) = (world.hearer.clone(), nats.bus(HEARER).await);
    let ended =
        pubsub::listen_with(db, bus, Taker::obliging(), quick(6), world.token.clone()).await;

    let said = ended.unwrap_err().to_string();
    assert_eq!(
        said,
        "consumer `engine_trigger_fired` of stream TRIGGERS does not exist; run `switchyard migrate` first"
    );
}

async fn async_nats_delete(admin: &async_nats::Client, stream: &str, durable: &str) {
    async_nats::jetstream::new(admin.clone())
        .delete_consumer_from_stream(durable, stream)
        .await
        .unwrap();
}

#[tokio::test]
async fn stored_answers_are_forgotten_after_a_day() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    sqlx::query(
        "insert into eventsvc.idempotency
             (tenant_id, principal, route, key, body_hash, status, answer, created_at)
         select gen_random_uuid(), 'usr', 'POST /x', age::text, '', 201, '{}', now() - age
         from unnest(array['23 hours', '25 hours']::interval[]) as age",
    )
    .execute(&mut world.database.admin().await)
    .await
    .unwrap();

    world.relay(nats.bus(SENDER).await, quick_relay());

    world.until_count("one to be left", "select count(*) from eventsvc.idempotency", 1).await;
    let left = "select count(*) from eventsvc.idempotency where key = '23:00:00'";
    assert_eq!(world.count(left).await, 1);
}

#[tokio::test]
async fn a_listener_works_within_the_trace_of_what_it_hears() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let seen = Arc::new(Mutex::new(None));
    let noted = seen.clone();
    let taker = Taker::new(move |_, _| {
        *noted.lock().unwrap() = pubsub::heard();
        Ok(())
    });
    world.listen(nats.bus(HEARER).await, &taker, 6);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let tenant = TenantId::mint();

    let row = row(tenant);
    let envelope = row.envelope.replacen('{', &format!(r#"{{"traceparent":"{trace}","#), 1);
    let bus = nats.bus(SENDER).await;
    bus.jetstream().publish(row.subject, envelope.into()).await.unwrap().await.unwrap();
    world.until_effect(row.message_id).await;

    assert_eq!(seen.lock().unwrap().as_deref(), Some(trace));
    assert_eq!(pubsub::heard(), None);
}
