//! A private NATS server per test, with the streams, consumers and permissions of production.

use std::collections::BTreeMap;

use async_nats::jetstream;
use localdeps::{Home, Nats};
use pubsub::{Bus, NatsConfig, topology};
use secrecy::SecretString;
use shared_models::Service;

/// A running server; stops when dropped.
pub struct TestNats {
    // Fields drop in order: the server before the folder it writes to.
    nats: Nats,
    _home: Home,
}

const PASSWORD: &str = "test";

impl TestNats {
    /// Starts a server with every stream and consumer in place.
    pub async fn start() -> Self {
        let home = Home::temporary().expect("a temporary folder");
        let users = Service::ALL.iter().map(|service| service.name()).chain(["admin"]);
        let passwords: BTreeMap<String, String> =
            users.map(|user| (user.to_owned(), PASSWORD.to_owned())).collect();
        let options = home.nats(topology::server_config(&passwords));
        let nats = crate::start_nats(options).await;
        let this = Self { nats, _home: home };
        this.ensure().await;
        this
    }

    /// Makes the streams and consumers again, as `switchyard migrate` does.
    pub async fn ensure(&self) {
        topology::ensure(&self.admin().await, 1).await.expect("streams and consumers");
    }

    async fn admin(&self) -> jetstream::Context {
        let admin =
            async_nats::ConnectOptions::with_user_and_password("admin".into(), PASSWORD.into())
                .connect(self.nats.url())
                .await
                .expect("the administrator connects");
        jetstream::new(admin)
    }

    /// How many messages a service has not heard, or heard and not answered for.
    pub async fn open_messages(&self, service: Service) -> u64 {
        let admin = self.admin().await;
        let mut open = 0;
        for consumer in topology::CONSUMERS.iter().filter(|consumer| consumer.service == service) {
            let stream = admin.get_stream(consumer.stream.name()).await.expect("the stream");
            let info = stream.consumer_info(consumer.durable).await.expect("the consumer");
            open += info.num_pending + info.num_ack_pending as u64;
        }
        open
    }

    /// How a service connects.
    pub fn config(&self, service: Service) -> NatsConfig {
        NatsConfig {
            url: self.nats.url(),
            user: service.name().into(),
            password: SecretString::from(PASSWORD),
        }
    }

    /// A service's connection.
    pub async fn bus(&self, service: Service) -> Bus {
        Bus::connect(service, &self.config(service)).await.expect("the service connects")
    }

    /// The server itself, to stop, kill or restart it.
    pub fn server(&mut self) -> &mut Nats {
        &mut self.nats
    }
}
