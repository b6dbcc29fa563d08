//! A broker whose store goes back in time.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use localdeps::{Home, Nats};
use pubsub::{Bus, NatsConfig, RelayConfig, topology};
use shared_models::{MessageId, Service, TenantId};
use testkit::{TestNats, eventually};

use crate::world::{HEARER, SENDER, Taker, World, patient_relay, quick_relay, until_acknowledged};

/// A server whose store can be copied and put back.
struct Restorable {
    nats: Nats,
    store: PathBuf,
    _home: Home,
}

impl Restorable {
    async fn start() -> Self {
        let home = Home::temporary().unwrap();
        let users = ["admin", SENDER.name(), HEARER.name()];
        let passwords: BTreeMap<String, String> =
            users.iter().map(|user| ((*user).to_owned(), "test".to_owned())).collect();
        let options = home.nats(topology::server_config(&passwords));
        let store = options.store_dir.clone();
        let nats = testkit::start_nats(options).await;
        let admin = crate::permissions::admin(&nats.url()).await;
        topology::ensure(&async_nats::jetstream::new(admin), 1).await.unwrap();
        Self { nats, store, _home: home }
    }

    async fn bus(&self, service: Service) -> Bus {
        let url = self.nats.url();
        let config = NatsConfig { url, user: service.name().into(), password: "test".into() };
        Bus::connect(service, &config).await.unwrap()
    }

    fn copy(&self) -> PathBuf {
        self.store.with_extension("copy")
    }

    async fn save(&mut self) {
        self.nats.stop().await;
        run(Command::new("cp").arg("-a").arg(&self.store).arg(self.copy()));
        self.nats.restart().await.unwrap();
    }

    async fn restore(&mut self) {
        self.nats.kill().await;
        run(Command::new("rm").arg("-rf").arg(&self.store));
        run(Command::new("mv").arg(self.copy()).arg(&self.store));
        self.nats.restart().await.unwrap();
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success());
}

/// Two events before the copy is made and three after it, all published; nobody has heard the last three when the store
/// is put back.
async fn lose_three(
    world: &mut World,
    nats: &mut Restorable,
    config: RelayConfig,
) -> Vec<MessageId> {
    let sender = nats.bus(SENDER).await;
    world.relay(sender.clone(), config);
    world.emit_many(2).await;
    let published = "select count(*) from eventsvc.outbox where published_at is not null";
    world.until_count("two published", published, 2).await;
    nats.save().await;
    eventually("the connection", || async { sender.ping().await.ok() }).await;
    let lost = world.emit_many(3).await;
    world.until_count("five published", published, 5).await;
    nats.restore().await;
    lost
}

async fn all_have_one_effect(world: &World, lost: &[MessageId]) {
    for id in lost {
        world.until_effect(*id).await;
    }
    let sent = world.count("select count(*) from eventsvc.outbox").await;
    world
        .until_count("every effect", "select count(distinct message_id) from engine.effect", sent)
        .await;
    assert_eq!(world.total_effects().await, sent);
}

#[tokio::test]
async fn what_a_rolled_back_store_lost_is_published_again() {
    let (mut world, mut nats) = (World::new().await, Restorable::start().await);
    let lost = lose_three(&mut world, &mut nats, quick_relay()).await;

    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);

    all_have_one_effect(&world, &lost).await;
}

#[tokio::test]
async fn a_new_event_in_the_place_of_a_lost_one_gives_the_loss_away() {
    let (mut world, mut nats) = (World::new().await, Restorable::start().await);
    // No periodic check but the one at the start: there is only the sequence that the new event is given.
    let config = RelayConfig { check: Duration::from_secs(3_600), ..quick_relay() };
    let lost = lose_three(&mut world, &mut nats, config).await;

    world.emit(TenantId::mint()).await;
    world.listen(nats.bus(HEARER).await, &Taker::obliging(), 6);

    all_have_one_effect(&world, &lost).await;
}

#[tokio::test]
async fn an_event_whose_effect_was_lost_is_published_again_on_request() {
    let (mut world, nats) = (World::new().await, TestNats::start().await);
    let relay = world.relay(nats.bus(SENDER).await, patient_relay());
    let hearer = nats.bus(HEARER).await;
    let taker = Taker::obliging();
    world.listen(hearer.clone(), &taker, 6);
    let id = world.emit(TenantId::mint()).await;
    relay.ring();
    world.until_effect(id).await;
    let marked = "select count(*) from eventsvc.outbox where published_at is not null";
    world.until_count("the mark", marked, 1).await;

    // The hearer's database is restored from an old copy, say; the broker still remembers the message's id.
    sqlx::raw_sql("delete from engine.effect; delete from engine.inbox")
        .execute(&mut world.database.admin().await)
        .await
        .unwrap();
    let again = pubsub::republish(&world.sender, &[id]).await.unwrap();
    relay.ring();
    world.until_effect(id).await;
    until_acknowledged(&hearer, 2).await;

    assert_eq!((again, world.effects(id).await, taker.calls()), (1, 1, 2));
}
