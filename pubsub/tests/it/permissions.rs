//! What a service's NATS user may not do.

use std::sync::{Arc, Mutex};

use async_nats::{ConnectOptions, Event as Happening};
use shared_models::Service;
use testkit::{TestNats, eventually};

pub(crate) async fn admin(url: &str) -> async_nats::Client {
    ConnectOptions::with_user_and_password("admin".into(), "test".into())
        .connect(url)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_service_can_neither_send_nor_read_what_is_not_its_own() {
    let nats = TestNats::start().await;
    let refused = Arc::new(Mutex::new(String::new()));
    let heard = refused.clone();
    let client = ConnectOptions::with_user_and_password("credsvc".into(), "test".into())
        .custom_inbox_prefix("_INBOX_credsvc")
        .event_callback(move |happening| {
            if let Happening::ServerError(error) = happening {
                heard.lock().unwrap().push_str(&error.to_string().to_lowercase());
            }
            std::future::ready(())
        })
        .connect(nats.config(Service::Credsvc).url)
        .await
        .unwrap();

    let sends = [
        "triggers.x",
        "runs.x",
        "live.x",
        "work.ring",
        "$JS.API.STREAM.MSG.GET.TRIGGERS",
        "$JS.API.STREAM.DELETE.CREDS",
        "$JS.API.CONSUMER.CREATE.TRIGGERS",
        "$JS.API.CONSUMER.MSG.NEXT.TRIGGERS.engine_trigger_fired",
        "$JS.ACK.TRIGGERS.engine_trigger_fired.1.1.1.1.1",
    ];
    for subject in sends {
        client.publish(subject, "{}".into()).await.unwrap();
    }
    let reads = ["triggers.>", "creds.>", "live.>", "_INBOX_engine.>", ">"];
    let mut subscriptions = Vec::new();
    for subject in reads {
        subscriptions.push(client.subscribe(subject).await.unwrap());
    }
    client.flush().await.unwrap();

    for (kind, subject) in sends
        .iter()
        .map(|subject| ("publish", subject))
        .chain(reads.iter().map(|subject| ("subscription", subject)))
    {
        let said = format!("permissions violation for {kind} to \"{}\"", subject.to_lowercase());
        eventually(&said, || async { refused.lock().unwrap().contains(&said).then_some(()) }).await;
    }
}

#[tokio::test]
async fn each_service_can_send_its_own_events_and_a_wrong_password_cannot_enter() {
    let nats = TestNats::start().await;

    for service in Service::ALL {
        let bus = nats.bus(*service).await;
        bus.ping().await.unwrap();
        let spec =
            pubsub::topology::STREAMS.iter().find(|spec| spec.publisher == *service).unwrap();
        let subject = format!("{}.x", spec.stream);
        let ack = bus.jetstream().publish(subject, "{}".into()).await.unwrap().await.unwrap();
        assert_eq!(ack.stream, spec.stream.name());
    }
    let mut wrong = nats.config(Service::Engine);
    wrong.password = "wrong".into();
    assert!(pubsub::Bus::connect(Service::Engine, &wrong).await.is_err());
}
