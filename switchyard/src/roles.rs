//! The services as roles of this binary: how each is configured, migrated, started and described.

use servicekit::{Env, Lifecycle};
use shared_models::Service;
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;

/// A service with its configuration read.
pub(crate) enum Role {
    Gateway(Box<gateway::Config>),
    Credsvc(Box<credsvc::Config>),
    Eventsvc(Box<eventsvc::Config>),
    Engine(Box<engine::Config>),
}

impl Role {
    /// Reads a service's configuration; problems stay in `env`.
    pub(crate) fn read(service: Service, env: &mut Env) -> Self {
        match service {
            Service::Gateway => Self::Gateway(Box::new(gateway::Config::read(env))),
            Service::Credsvc => Self::Credsvc(Box::new(credsvc::Config::read(env))),
            Service::Eventsvc => Self::Eventsvc(Box::new(eventsvc::Config::read(env))),
            Service::Engine => Self::Engine(Box::new(engine::Config::read(env))),
        }
    }

    /// Where it wants to listen.
    pub(crate) fn listen(&self) -> std::net::SocketAddr {
        match self {
            Self::Gateway(config) => config.service.listen,
            Self::Credsvc(config) => config.service.listen,
            Self::Eventsvc(config) => config.service.listen,
            Self::Engine(config) => config.service.listen,
        }
    }

    /// Starts it; returns when it listens.
    pub(crate) async fn start(self, listener: TcpListener, life: &Lifecycle) -> anyhow::Result<()> {
        match self {
            Self::Gateway(config) => gateway::start(*config, listener, life).await,
            Self::Credsvc(config) => credsvc::start(*config, listener, life).await,
            Self::Eventsvc(config) => eventsvc::start(*config, listener, life).await,
            Self::Engine(config) => engine::start(*config, listener, life).await,
        }
    }
}

/// A service's own migrations.
pub(crate) fn migrator(service: Service) -> &'static Migrator {
    match service {
        Service::Gateway => &gateway::MIGRATOR,
        Service::Credsvc => &credsvc::MIGRATOR,
        Service::Eventsvc => &eventsvc::MIGRATOR,
        Service::Engine => &engine::MIGRATOR,
    }
}

/// A service's OpenAPI document.
pub(crate) fn openapi(service: Service) -> utoipa::openapi::OpenApi {
    match service {
        Service::Gateway => gateway::openapi(),
        Service::Credsvc => credsvc::openapi(),
        Service::Eventsvc => eventsvc::openapi(),
        Service::Engine => engine::openapi(),
    }
}
