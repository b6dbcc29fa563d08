//! A hearer that is away for an hour, and what may be published again meanwhile: nothing but what is lost.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use dbutil::tenants_setting;
use pubsub::{Bus, OutboxRow, RelayConfig, republish_lost};
use shared_models::TenantId;
use sqlx::AssertSqlSafe;
use testkit::{TestNats, eventually, eventually_within};

use crate::world::{HEARER, SENDER, Taker, World, quick_relay, row};

const BACKLOG: usize = 2_000;
const PUBLISHED: &str = "select count(*) from eventsvc.outbox where published_at is not null";
const HOUR: &str = "update eventsvc.outbox set published_at = published_at - interval '61 minutes',
                                               created_at = created_at - interval '61 minutes'";

impl World {
    /// Publishes a backlog nobody takes.
    async fn backlog(&mut self, bus: &Bus, config: RelayConfig) {
        let relay = self.relay(bus.clone(), config);
        let tenant = TenantId::mint();
        let rows: Vec<OutboxRow> = (0..BACKLOG).map(|_| row(tenant)).collect();
        let begin = format!("begin; set local app.tenants = '{}'", tenants_setting(&[tenant]));
        let mut tx = self.sender.app_pool().begin_with(AssertSqlSafe(begin)).await.unwrap();
        pubsub::insert_rows(&mut tx, &rows).await.unwrap();
        tx.commit().await.unwrap();
        relay.ring();
        self.until_count("the backlog in the stream", PUBLISHED, BACKLOG as i64).await;
    }

    async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.database.admin().await).await.unwrap();
    }
}

async fn stream(nats: &TestNats) -> Stream {
    let admin = crate::permissions::admin(&nats.config(SENDER).url).await;
    jetstream::new(admin).get_stream("TRIGGERS").await.unwrap()
}

/// How many messages were ever published.
async fn published(nats: &TestNats) -> u64 {
    stream(nats).await.cached_info().state.last_sequence
}

#[tokio::test]
async fn a_backlog_of_an_hour_is_worked_off_and_nothing_of_it_is_published_again() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let sender = nats.bus(SENDER).await;
    // Looks for losses and for what may be forgotten all the time.
    let config = RelayConfig { tidy: Duration::from_millis(50), ..quick_relay() };
    world.backlog(&sender, RelayConfig { keep: Duration::from_secs(60), ..config }).await;
    world.run(HOUR).await;

    for _ in 0..5 {
        assert_eq!(republish_lost(&world.sender, &sender).await.unwrap(), 0);
    }
    assert_eq!(world.count(PUBLISHED).await, BACKLOG as i64, "what waits is kept beyond its time");

    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);
    let limit = Duration::from_secs(60);
    eventually_within(limit, "the backlog to be worked off", async || {
        assert_eq!(republish_lost(&world.sender, &sender).await.unwrap(), 0);
        (world.total_effects().await == BACKLOG as i64).then_some(())
    })
    .await;

    assert_eq!(published(&nats).await, BACKLOG as u64);
    world.until_count("what was heard to be forgotten", PUBLISHED, 0).await;
}

#[tokio::test]
async fn what_the_stream_lets_go_before_it_is_heard_is_published_again_and_only_that() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let sender = nats.bus(SENDER).await;
    let hour = Duration::from_secs(3_600);
    world.backlog(&sender, RelayConfig { check: hour, ..quick_relay() }).await;

    // As if their week were up.
    stream(&nats).await.purge().sequence(101).await.unwrap();
    let lost = republish_lost(&world.sender, &sender).await.unwrap();
    let again = eventually("the lost to be published again", async || {
        let sent = published(&nats).await;
        (sent == (BACKLOG + 100) as u64).then_some(sent)
    })
    .await;
    world.until_count("all to be published", PUBLISHED, BACKLOG as i64).await;

    // The relay looks too, once as it starts, and may have been first.
    assert!(lost == 100 || lost == 0, "{lost}");
    assert_eq!(again, BACKLOG as u64 + 100);
    assert_eq!(republish_lost(&world.sender, &sender).await.unwrap(), 0);
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);
    let limit = Duration::from_secs(60);
    eventually_within(limit, "every effect", async || {
        (world.total_effects().await == BACKLOG as i64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_plumbing_remembers_is_forgotten_when_it_is_old_and_not_before() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    world
        .run(
            "insert into eventsvc.inbox (consumer, message_id, tenant_id, received_at)
             select 'c', gen_random_uuid(), gen_random_uuid(), now() - make_interval(days => d)
             from generate_series(0, 40) d, generate_series(1, 200);
             insert into eventsvc.listener_failure (consumer, message_id, tenant_id, failures, last_reason, failed_at)
             select consumer, message_id, tenant_id, 1, '', received_at from eventsvc.inbox;
             insert into eventsvc.parked
                 (consumer, message_id, tenant_id, subject, envelope, reason, deliveries, parked_at, replay_requested_at)
             select 'c', gen_random_uuid(), gen_random_uuid(), '', '{}', '', 1, now() - make_interval(days => d),
                    case when d = 95 then now() end
             from generate_series(80, 99) d;
             insert into eventsvc.idempotency (tenant_id, principal, route, key, body_hash, status, answer, created_at)
             select gen_random_uuid(), '', '', '', '', 200, '{}', now() - make_interval(hours => h)
             from generate_series(0, 40) h, generate_series(1, 200)",
        )
        .await;

    let quick = RelayConfig { tidy: Duration::from_millis(50), ..quick_relay() };
    world.relay(nats.bus(SENDER).await, quick);

    for (what, sql, left) in [
        ("the inbox", "select count(*) from eventsvc.inbox", 30 * 200),
        ("failures", "select count(*) from eventsvc.listener_failure", 30 * 200),
        ("answers", "select count(*) from eventsvc.idempotency", 24 * 200),
        // Ten younger ones, and the one somebody wants to try again.
        ("parked events", "select count(*) from eventsvc.parked", 11),
    ] {
        world.until_count(what, sql, left).await;
    }
}
