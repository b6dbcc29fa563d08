//! Leases end in every process that keeps secrets.

use pubsub::{Bus, Ended, OutboxRow};
use shared_models::{
    CredentialId, MessageId, Service, TenantId, events::credential::CredentialHealthChanged,
};
use testkit::{TestNats, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Tasks = JoinSet<anyhow::Result<()>>;

async fn ear(nats: &TestNats, service: Service, tasks: &mut Tasks) -> Ended {
    let (ended, hearing) = Ended::subscribe(nats.bus(service).await).await.unwrap();
    tasks.spawn(hearing.run(CancellationToken::new()));
    ended
}

/// As credsvc's relay does.
async fn revoked(bus: &Bus, credential_id: CredentialId) {
    let health = "revoked".into();
    let event = CredentialHealthChanged { credential_id, user_id: None, health, reason: None };
    let at = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
    let id = (MessageId::mint().uuid(), 0);
    let row = OutboxRow::new(TenantId::mint(), id, at, &event).unwrap();
    bus.jetstream().publish(row.subject, row.envelope.into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn what_was_asked_for_before_its_credential_ended_holds_no_longer_in_any_process() {
    let (nats, mut tasks) = (TestNats::start().await, Tasks::new());
    let ears = [
        ear(&nats, Service::Engine, &mut tasks).await,
        ear(&nats, Service::Engine, &mut tasks).await,
        ear(&nats, Service::Eventsvc, &mut tasks).await,
    ];
    let (ends, stays) = (CredentialId::mint(), CredentialId::mint());
    let asked = ears.each_ref().map(Ended::asked);
    for (ear, asked) in ears.iter().zip(&asked) {
        assert!(ear.is_heard() && ear.holds(ends, asked));
    }

    revoked(&nats.bus(Service::Credsvc).await, ends).await;

    for (ear, asked) in ears.iter().zip(&asked) {
        eventually("the end to be heard", async || (!ear.holds(ends, asked)).then_some(())).await;
        assert!(ear.holds(stays, asked), "another credential's lease goes on");
        assert!(ear.holds(ends, &ear.asked()), "what is asked for afterwards is new");
    }
}

#[tokio::test]
async fn nothing_that_was_kept_outlives_a_lost_connection() {
    let (mut nats, mut tasks) = (TestNats::start().await, Tasks::new());
    let ear = ear(&nats, Service::Eventsvc, &mut tasks).await;
    let (credential, asked) = (CredentialId::mint(), ear.asked());
    assert!(ear.holds(credential, &asked));

    nats.server().kill().await;
    eventually("the loss to be noticed", async || (!ear.is_heard()).then_some(())).await;
    assert!(!ear.holds(credential, &asked));
    nats.server().restart().await.unwrap();
    eventually("the connection to be back", async || ear.is_heard().then_some(())).await;

    // Somebody may have taken it back meanwhile.
    assert!(!ear.holds(credential, &asked));
    let anew = eventually("a lease that holds", async || {
        let asked = ear.asked();
        ear.holds(credential, &asked).then_some(asked)
    })
    .await;
    revoked(&nats.bus(Service::Credsvc).await, credential).await;
    eventually("the end to be heard", async || (!ear.holds(credential, &anew)).then_some(())).await;
}
