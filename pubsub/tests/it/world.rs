//! `eventsvc` sends, `engine` hears: two schemas, a NATS server of the test's own, and effects that can be counted.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::DateTime;
use dbutil::{Db, TenantTx};
use pubsub::{
    Bus, ListenOptions, Listener, OutboxRow, Refusal, Relay, RelayConfig, RelayHandle,
    topology::{Consumer, ENGINE_TRIGGER_FIRED},
};
use shared_models::{
    DeliveryId, EventId, MessageId, Service, TenantId, TriggerId, UserId,
    events::{
        Envelope,
        trigger::{Target, TargetKind, TriggerFired},
    },
};
use sqlx::migrate::Migrator;
use testkit::{TestDb, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

static NOTHING_MORE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

pub(crate) struct World {
    pub(crate) database: TestDb,
    pub(crate) sender: Db,
    pub(crate) hearer: Db,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) token: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database =
            TestDb::with(&[("eventsvc", &NOTHING_MORE), ("engine", &NOTHING_MORE)]).await;
        let mut admin = database.admin().await;
        sqlx::raw_sql(
            "create table engine.effect (message_id uuid not null);
             grant all on engine.effect to engine_app",
        )
        .execute(&mut admin)
        .await
        .unwrap();
        let (sender, hearer) = (database.db("eventsvc").await, database.db("engine").await);
        let (tasks, token) = (JoinSet::new(), CancellationToken::new());
        Self { database, sender, hearer, tasks, token }
    }

    pub(crate) fn relay(&mut self, bus: Bus, config: RelayConfig) -> RelayHandle {
        let (relay, handle) = Relay::new(self.sender.clone(), bus, config);
        self.tasks.spawn(relay.run(self.token.clone()));
        handle
    }

    pub(crate) fn listen<L: Listener>(&mut self, bus: Bus, listener: &Arc<L>, failures: i32) {
        let (db, token, listener) = (self.hearer.clone(), self.token.clone(), listener.clone());
        self.tasks.spawn(async move {
            pubsub::listen_with(db, bus, listener, quick(failures), token).await.unwrap();
        });
    }

    pub(crate) async fn emit(&self, tenant: TenantId) -> MessageId {
        let mut tx = self.sender.begin(tenant).await.unwrap();
        let id = pubsub::emit(&mut tx, &fired(tenant)).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub(crate) async fn emit_many(&self, count: usize) -> Vec<MessageId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.emit(TenantId::mint()).await);
        }
        ids
    }

    /// How often the event had its effect.
    pub(crate) async fn effects(&self, id: MessageId) -> i64 {
        sqlx::query_scalar("select count(*) from engine.effect where message_id = $1")
            .bind(id)
            .fetch_one(&mut self.database.admin().await)
            .await
            .unwrap()
    }

    pub(crate) async fn total_effects(&self) -> i64 {
        self.count("select count(*) from engine.effect").await
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.database.admin().await).await.unwrap()
    }

    pub(crate) async fn until_effect(&self, id: MessageId) {
        eventually("the effect", || async { (self.effects(id).await > 0).then_some(()) }).await;
    }

    pub(crate) async fn until_count(&self, what: &str, query: &'static str, wanted: i64) {
        eventually(what, || async { (self.count(query).await == wanted).then_some(()) }).await;
    }

    pub(crate) async fn stop(&mut self) {
        self.token.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.token = CancellationToken::new();
    }
}

/// Until the broker has nothing left that the engine did not acknowledge.
pub(crate) async fn until_acknowledged(bus: &Bus, sequence: u64) {
    eventually("the acknowledgement", || async {
        let floor = pubsub::consumer_ack_floor(bus, &ENGINE_TRIGGER_FIRED).await.ok()?;
        (floor >= sequence).then_some(())
    })
    .await;
}

pub(crate) fn quick_relay() -> RelayConfig {
    let millis = Duration::from_millis;
    RelayConfig {
        poll: millis(50),
        check: millis(100),
        tidy: millis(100),
        max_backoff: millis(200),
        ..RelayConfig::default()
    }
}

/// Nothing happens by the clock: only what the handle asks for.
pub(crate) fn patient_relay() -> RelayConfig {
    let hour = Duration::from_secs(3_600);
    RelayConfig { poll: hour, check: hour, ..RelayConfig::default() }
}

pub(crate) fn quick(max_failures: i32) -> ListenOptions {
    let millis = Duration::from_millis;
    ListenOptions {
        max_failures,
        backoff: vec![millis(10)],
        first_pause: millis(10),
        longest_pause: millis(40),
        replay_poll: millis(30),
        ..ListenOptions::default()
    }
}

pub(crate) fn fired(tenant: TenantId) -> TriggerFired {
    TriggerFired {
        trigger_id: TriggerId::mint(),
        tenant_id: tenant,
        agent_id: None,
        system: "webhook".into(),
        timestamp: DateTime::UNIX_EPOCH,
        payload: None,
        payload_in: None,
        event_id: EventId::mint(),
        target: Target { kind: TargetKind::Agent, id: None },
        dedupe_key: None,
        delivery_id: DeliveryId::mint(),
        occurred_at: DateTime::UNIX_EPOCH,
        received_at: DateTime::UNIX_EPOCH,
        attempt: 1,
        owner: UserId::mint(),
    }
}

pub(crate) fn row(tenant: TenantId) -> OutboxRow {
    let event = fired(tenant);
    OutboxRow::new(tenant, (event.event_id.uuid(), 1), DateTime::UNIX_EPOCH, &event).unwrap()
}

type Answer = dyn Fn(usize, &Envelope<TriggerFired>) -> Result<(), Refusal> + Send + Sync;

/// Has one effect per event, then answers as the test says; it is told how many calls there were before.
pub(crate) struct Taker {
    answer: Mutex<Arc<Answer>>,
    calls: Mutex<usize>,
}

impl Taker {
    pub(crate) fn new(
        answer: impl Fn(usize, &Envelope<TriggerFired>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Arc::new(answer)), calls: Mutex::new(0) })
    }

    pub(crate) fn obliging() -> Arc<Self> {
        Self::new(|_, _| Ok(()))
    }

    pub(crate) fn relent(&self) {
        *self.answer.lock().unwrap() = Arc::new(|_, _| Ok(()));
    }

    pub(crate) fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }

    fn decide(&self, event: &Envelope<TriggerFired>) -> Result<(), Refusal> {
        let answer = self.answer.lock().unwrap().clone();
        let before = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls - 1
        };
        answer(before, event)
    }
}

impl Listener for Taker {
    type Event = TriggerFired;
    const CONSUMER: &'static Consumer = &ENGINE_TRIGGER_FIRED;

    async fn handle(
        &self,
        tx: &mut TenantTx,
        event: &Envelope<TriggerFired>,
    ) -> Result<(), Refusal> {
        sqlx::query("insert into engine.effect values ($1)")
            .bind(event.id)
            .execute(&mut **tx)
            .await?;
        self.decide(event)
    }
}

pub(crate) const SENDER: Service = Service::Eventsvc;
pub(crate) const HEARER: Service = Service::Engine;
