//! The runner for hot consumers: the listener commits a whole batch by itself.

use std::sync::{Arc, Mutex};

use anyhow::anyhow;
use dbutil::Db;
use pubsub::{
    BatchListener, DependencyDown, Refusal, parked,
    topology::{Consumer, ENGINE_TRIGGER_FIRED},
};
use shared_models::{
    MessageId, TenantId,
    events::{Envelope, Event, trigger::TriggerFired},
};
use testkit::TestNats;

use crate::world::{HEARER, SENDER, World, patient_relay, quick, row};

struct Grouped {
    db: Db,
    /// This one can never work, until the test relents.
    hopeless: Mutex<Option<MessageId>>,
    /// A batch with this one panics.
    poison: MessageId,
    outages: Mutex<usize>,
    largest: Mutex<usize>,
}

impl Grouped {
    fn is_out(&self) -> bool {
        let mut outages = self.outages.lock().unwrap();
        let out = *outages > 0;
        *outages = outages.saturating_sub(1);
        out
    }

    async fn take(&self, batch: &[Envelope<TriggerFired>]) -> Result<(), sqlx::Error> {
        let mut tx = self.db.system("test: a grouped write").await?;
        sqlx::query(
            "with fresh as (
                 insert into inbox (consumer, message_id, tenant_id)
                 select $1, * from unnest($2::uuid[], $3::uuid[])
                 on conflict (consumer, message_id) do nothing returning message_id)
             insert into engine.effect select message_id from fresh",
        )
        .bind(ENGINE_TRIGGER_FIRED.durable)
        .bind(batch.iter().map(|event| event.id.uuid()).collect::<Vec<_>>())
        .bind(batch.iter().map(|event| event.tenant.uuid()).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

impl BatchListener for Grouped {
    type Event = TriggerFired;
    const CONSUMER: &'static Consumer = &ENGINE_TRIGGER_FIRED;

    async fn handle_batch(&self, batch: Vec<Envelope<TriggerFired>>) -> Vec<Result<(), Refusal>> {
        if self.is_out() {
            let down = |_| Err(Refusal::Later(anyhow!(DependencyDown("credsvc"))));
            return batch.iter().map(down).collect();
        }
        assert!(batch.iter().all(|event| event.id != self.poison), "poison");
        let hopeless = *self.hopeless.lock().unwrap();
        let good: Vec<_> =
            batch.iter().filter(|event| Some(event.id) != hopeless).cloned().collect();
        self.take(&good).await.unwrap();
        let mut largest = self.largest.lock().unwrap();
        *largest = (*largest).max(batch.len());
        let answer = |event: &Envelope<TriggerFired>| {
            if Some(event.id) == hopeless {
                return Err(Refusal::Never(anyhow!("hopeless")));
            }
            Ok(())
        };
        batch.iter().map(answer).collect()
    }
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    sqlx::raw_sql("grant all on engine.effect to engine_system")
        .execute(&mut world.database.admin().await)
        .await
        .unwrap();
    let sender = nats.bus(SENDER).await;
    let relay = world.relay(sender.clone(), patient_relay());
    let tenant = TenantId::mint();
    let mut rows: Vec<_> = (0..297).map(|_| row(TenantId::mint())).collect();
    rows.extend((0..3).map(|_| row(tenant)));
    let (hopeless, poison) = (rows[298].message_id, rows[100].message_id);

    let mut tx = world.sender.system("test: a grouped write").await.unwrap();
    pubsub::insert_rows(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    // One comes twice, in a way the broker does not notice.
    let twice = rows[299].envelope.clone();
    let subject = TriggerFired::subject(tenant);
    sender.jetstream().publish(subject, twice.into()).await.unwrap().await.unwrap();
    relay.take(rows);
    world
        .until_count(
            "all published",
            "select count(*) from eventsvc.outbox where published_at is not null",
            300,
        )
        .await;
    let grouped = Arc::new(Grouped {
        db: world.hearer.clone(),
        hopeless: Mutex::new(Some(hopeless)),
        poison,
        outages: Mutex::new(3),
        largest: Mutex::new(0),
    });
    let (db, bus, token) = (world.hearer.clone(), nats.bus(HEARER).await, world.token.clone());
    let listener = grouped.clone();
    world.tasks.spawn(async move {
        pubsub::listen_batch_with(db, bus, listener, quick(2), token).await.unwrap();
    });

    world.until_count("the effects", "select count(*) from engine.effect", 298).await;
    world.until_count("the two bad ones", "select count(*) from engine.parked", 2).await;
    assert!(*grouped.largest.lock().unwrap() > 1);

    *grouped.hopeless.lock().unwrap() = None;
    let mut tx = world.hearer.begin(tenant).await.unwrap();
    assert!(parked::replay(&mut tx, ENGINE_TRIGGER_FIRED.durable, hopeless).await.unwrap());
    tx.commit().await.unwrap();
    world.until_effect(hopeless).await;
    world.until_count("the parked row to go", "select count(*) from engine.parked", 1).await;
    assert_eq!(world.total_effects().await, 299);
    world.stop().await;
}
