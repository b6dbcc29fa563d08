//! Who may do what on NATS: `up`, compose and Kubernetes all render the same block.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared_models::Service;

use super::{CONSUMERS, CREDENTIAL_LIFE, STREAMS};

/// The user that creates streams and consumers; no service knows its password.
pub const ADMIN: &str = "admin";

/// Seconds that a client has to say who it is; nats-server's own two are few for a machine that has much to do.
const TIMEOUT: u64 = 10;

/// The `authorization` block of nats-server's configuration: the administrator and a user per service, as far as
/// `passwords` (by user name) has one. A user without a password is left out and cannot connect.
pub fn server_config(passwords: &BTreeMap<String, String>) -> String {
    let mut users: Vec<Value> = Vec::new();
    if let Some(password) = passwords.get(ADMIN) {
        users.push(json!({
            "user": ADMIN, "password": password,
            "permissions": { "publish": ">", "subscribe": ">" },
        }));
    }
    for service in Service::ALL {
        if let Some(password) = passwords.get(service.name()) {
            users.push(json!({
                "user": service.name(), "password": password,
                "permissions": {
                    "publish": { "allow": may_publish(*service) },
                    "subscribe": { "allow": may_subscribe(*service) },
                },
            }));
        }
    }
    // nats-server reads JSON values inside its own format.
    let users: Vec<String> = users.iter().map(|user| format!("    {user}\n")).collect();
    format!("authorization {{\n  timeout: {TIMEOUT}\n  users = [\n{}  ]\n}}\n", users.concat())
}

fn may_publish(service: Service) -> Vec<String> {
    let mut subjects = vec!["$JS.API.INFO".to_owned()];
    for spec in STREAMS.iter().filter(|spec| spec.publisher == service) {
        subjects.push(format!("{}.>", spec.stream));
        subjects.push(format!("$JS.API.STREAM.INFO.{}", spec.stream.name()));
        // How far its hearers are: what they acknowledged and lost is sent again.
        for heard in CONSUMERS.iter().filter(|consumer| consumer.stream == spec.stream) {
            let stream = spec.stream.name();
            subjects.push(format!("$JS.API.CONSUMER.INFO.{stream}.{}", heard.durable));
        }
    }
    for own in CONSUMERS.iter().filter(|consumer| consumer.service == service) {
        let (stream, durable) = (own.stream.name(), own.durable);
        // How far behind it is.
        subjects.push(format!("$JS.API.STREAM.INFO.{stream}"));
        subjects.push(format!("$JS.API.CONSUMER.INFO.{stream}.{durable}"));
        subjects.push(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"));
        subjects.push(format!("$JS.ACK.{stream}.{durable}.>"));
    }
    subjects.extend(core_subjects(service));
    subjects
}

fn may_subscribe(service: Service) -> Vec<String> {
    let mut subjects = vec![format!("_INBOX_{service}.>")];
    // Who keeps secrets for a while hears when they end.
    if matches!(service, Service::Engine | Service::Eventsvc) {
        subjects.push(CREDENTIAL_LIFE.to_owned());
    }
    subjects.extend(core_subjects(service));
    subjects
}

/// Doorbell and live deltas stay among the engine's replicas.
fn core_subjects(service: Service) -> Vec<String> {
    match service {
        Service::Engine => vec!["work.ring".to_owned(), "live.>".to_owned()],
        Service::Gateway | Service::Credsvc | Service::Eventsvc => Vec::new(),
    }
}
