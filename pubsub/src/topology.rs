//! Streams, durable consumers and who may do what on NATS, in one place.
//!
//! Created and altered by `switchyard migrate` only ([`ensure`]); services look them up.

mod permissions;

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use shared_models::{Service, events::Stream};

pub use permissions::{ADMIN, server_config};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 60);
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);

/// A stream and the one service that publishes into it.
#[derive(Clone, Copy, Debug)]
pub struct StreamSpec {
    /// Which.
    pub stream: Stream,
    /// Whose events it keeps.
    pub publisher: Service,
    /// How long it keeps them.
    pub max_age: Duration,
}

/// A durable consumer: a cursor of one service in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name. Renaming it replays the stream.
    pub durable: &'static str,
    /// In which stream.
    pub stream: Stream,
    /// Which subjects of it.
    pub filter: &'static str,
    /// Whose it is.
    pub service: Service,
    /// How many events are handled at once, at most, per process.
    pub concurrency: usize,
}

/// Whatever happens to credentials.
pub(crate) const CREDENTIAL_LIFE: &str = "creds.*.credential.*.v1";

/// Every stream. A service publishes into exactly one.
pub const STREAMS: &[StreamSpec] = &[
    StreamSpec { stream: Stream::Triggers, publisher: Service::Eventsvc, max_age: week() },
    StreamSpec { stream: Stream::Runs, publisher: Service::Engine, max_age: week() },
    StreamSpec { stream: Stream::Creds, publisher: Service::Credsvc, max_age: week() },
    StreamSpec { stream: Stream::Identity, publisher: Service::Gateway, max_age: week() },
];

/// Fired triggers, which the engine turns into runs.
pub const ENGINE_TRIGGER_FIRED: Consumer = Consumer {
    durable: "engine_trigger_fired",
    stream: Stream::Triggers,
    filter: "triggers.*.trigger.fired.v1",
    service: Service::Engine,
    concurrency: 256,
};

/// The life of runs, for the timeline of deliveries and as the proof that a firing arrived.
pub const EVENTSVC_RUN_LIFECYCLE: Consumer = Consumer {
    durable: "eventsvc_run_lifecycle",
    stream: Stream::Runs,
    filter: "runs.>",
    service: Service::Eventsvc,
    concurrency: 256,
};

/// The life of runs and agents, for triggers that fire on it.
pub const EVENTSVC_BUS_TRIGGERS: Consumer = Consumer {
    durable: "eventsvc_bus_triggers",
    stream: Stream::Runs,
    filter: "runs.>",
    service: Service::Eventsvc,
    concurrency: 256,
};

/// The life of runs, for those whom tenants want told.
pub const ENGINE_WEBHOOKS: Consumer = Consumer {
    durable: "engine_webhooks",
    stream: Stream::Runs,
    filter: "runs.*.*.*.v1",
    service: Service::Engine,
    concurrency: 2_048,
};

/// The life of credentials, for the runs that wait until one is connected again.
pub const ENGINE_CREDENTIALS: Consumer = Consumer {
    durable: "engine_credentials",
    stream: Stream::Creds,
    filter: CREDENTIAL_LIFE,
    service: Service::Engine,
    concurrency: 64,
};

/// Deleted agents, whose triggers pause.
pub const EVENTSVC_AGENT_DELETED: Consumer = Consumer {
    durable: "eventsvc_agent_deleted",
    stream: Stream::Runs,
    filter: "runs.*.agent.deleted.v1",
    service: Service::Eventsvc,
    concurrency: 1,
};

/// Deleted swarms, whose triggers pause.
pub const EVENTSVC_SWARM_DELETED: Consumer = Consumer {
    durable: "eventsvc_swarm_deleted",
    stream: Stream::Runs,
    filter: "runs.*.swarm.deleted.v1",
    service: Service::Eventsvc,
    concurrency: 1,
};

/// Members that have left, whose credentials are revoked.
pub const CREDSVC_MEMBER_REMOVED: Consumer = Consumer {
    durable: "credsvc_member_removed",
    stream: Stream::Identity,
    filter: "identity.*.member.removed.v1",
    service: Service::Credsvc,
    concurrency: 1,
};

/// Every durable consumer.
pub const CONSUMERS: &[&Consumer] = &[
    &ENGINE_TRIGGER_FIRED,
    &ENGINE_WEBHOOKS,
    &ENGINE_CREDENTIALS,
    &EVENTSVC_RUN_LIFECYCLE,
    &EVENTSVC_BUS_TRIGGERS,
    &EVENTSVC_AGENT_DELETED,
    &EVENTSVC_SWARM_DELETED,
    &CREDSVC_MEMBER_REMOVED,
];

/// Creates what is missing and alters what differs. `admin` is a connection as [`ADMIN`]; `replicas` is 1, or 3 on a
/// cluster.
pub async fn ensure(admin: &jetstream::Context, replicas: usize) -> anyhow::Result<()> {
    for spec in STREAMS {
        let name = spec.stream.name();
        admin
            .create_or_update_stream(stream_config(spec, replicas))
            .await
            .with_context(|| format!("making stream {name}"))?;
    }
    for consumer in CONSUMERS {
        admin
            .create_consumer_on_stream(consumer_config(consumer), consumer.stream.name())
            .await
            .with_context(|| format!("making consumer {}", consumer.durable))?;
    }
    Ok(())
}

/// The stream a service publishes into.
pub(crate) fn stream_of(service: Service) -> &'static StreamSpec {
    const { assert!(STREAMS.len() == Service::ALL.len()) };
    STREAMS.iter().find(|spec| spec.publisher == service).unwrap_or(&STREAMS[0])
}

/// Whether a filter covers a subject; both may hold wildcards, and `*` in the subject stands for any one token.
pub(crate) fn covers(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

fn stream_config(spec: &StreamSpec, replicas: usize) -> Config {
    Config {
        name: spec.stream.name().to_owned(),
        subjects: vec![format!("{}.>", spec.stream)],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        max_age: spec.max_age,
        duplicate_window: DUPLICATE_WINDOW,
        allow_rollup: false,
        num_replicas: replicas,
        ..Config::default()
    }
}

fn consumer_config(consumer: &Consumer) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.durable.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Unlimited: the runner parks what fails by itself, and a broken dependency must not use deliveries up.
        max_deliver: -1,
        filter_subject: consumer.filter.to_owned(),
        max_ack_pending: 4_096,
        ..pull::Config::default()
    }
}

const fn week() -> Duration {
    Duration::from_secs(7 * DAY.as_secs())
}

#[cfg(test)]
mod tests {
    use shared_models::events::{
        Event,
        agent::AgentDeleted,
        credential::{CredentialDeleted, CredentialHealthChanged, CredentialUpdated},
        swarm::SwarmDeleted,
        tenant::MemberRemoved,
        trigger::TriggerFired,
    };

    use super::*;

    #[test]
    fn the_engine_hears_exactly_fired_triggers() {
        assert_eq!(ENGINE_TRIGGER_FIRED.filter, TriggerFired::filter());
    }

    #[test]
    fn the_engine_hears_what_ends_a_wait_for_a_credential() {
        let filters = [
            CredentialHealthChanged::filter(),
            CredentialUpdated::filter(),
            CredentialDeleted::filter(),
        ];
        for filter in filters {
            assert!(covers(ENGINE_CREDENTIALS.filter, &filter), "{filter}");
        }
    }

    #[test]
    fn eventsvc_hears_of_deleted_agents_and_swarms() {
        assert_eq!(EVENTSVC_AGENT_DELETED.filter, AgentDeleted::filter());
        assert_eq!(EVENTSVC_SWARM_DELETED.filter, SwarmDeleted::filter());
    }

    #[test]
    fn credsvc_hears_of_members_that_have_left() {
        assert_eq!(CREDSVC_MEMBER_REMOVED.filter, MemberRemoved::filter());
    }

    #[test]
    fn every_service_publishes_into_a_stream_of_its_own() {
        for service in Service::ALL {
            assert_eq!(stream_of(*service).publisher, *service);
        }
    }

    #[test]
    fn a_filter_covers_what_nats_would_deliver() {
        assert!(covers("runs.>", "runs.*.run.created.v1"));
        assert!(covers("runs.*.run.created.v1", "runs.*.run.created.v1"));
        assert!(!covers("runs.>", "runs"));
        assert!(!covers("runs.*", "runs.*.run.created.v1"));
        assert!(!covers("runs.*.run.started.v1", "runs.*.run.created.v1"));
    }
}
