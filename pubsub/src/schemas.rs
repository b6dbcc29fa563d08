//! The published description of every event, for `openapi/events.json`.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use shared_models::events::{
    Event,
    agent::AgentDeleted,
    approval::{ApprovalDecided, ApprovalExpired, ApprovalRequested},
    budget::{BudgetExhausted, BudgetWarned},
    credential::{
        CredentialCreated, CredentialDeleted, CredentialHealthChanged, CredentialHoneyUsed,
        CredentialUpdated,
    },
    run::{RunCreated, RunFinished, RunPaused, RunRefused, RunResumed, RunStarted, RunWaiting},
    swarm::SwarmDeleted,
    tenant::{MemberRemoved, TenantCreated},
    trigger::TriggerFired,
};

use crate::topology::{CONSUMERS, STREAMS, covers};

/// Every event: name, version, stream, subject, sender, hearers and JSON Schema; and the envelope around them.
pub fn event_schemas() -> Value {
    json!({
        "envelope": envelope(),
        "events": [
            describe::<TriggerFired>(),
            describe::<RunCreated>(),
            describe::<RunStarted>(),
            describe::<RunWaiting>(),
            describe::<RunPaused>(),
            describe::<RunResumed>(),
            describe::<RunFinished>(),
            describe::<RunRefused>(),
            describe::<ApprovalRequested>(),
            describe::<ApprovalDecided>(),
            describe::<ApprovalExpired>(),
            describe::<BudgetWarned>(),
            describe::<BudgetExhausted>(),
            describe::<AgentDeleted>(),
            describe::<SwarmDeleted>(),
            describe::<CredentialCreated>(),
            describe::<CredentialUpdated>(),
            describe::<CredentialDeleted>(),
            describe::<CredentialHealthChanged>(),
            describe::<CredentialHoneyUsed>(),
            describe::<MemberRemoved>(),
            describe::<TenantCreated>(),
        ],
    })
}

fn describe<E: Event + JsonSchema>() -> Value {
    let subject = E::filter();
    let hearers: Vec<Value> = CONSUMERS
        .iter()
        .filter(|consumer| consumer.stream == E::STREAM && covers(consumer.filter, &subject))
        .map(|consumer| json!({ "service": consumer.service, "consumer": consumer.durable }))
        .collect();
    let sender = STREAMS.iter().find(|spec| spec.stream == E::STREAM);
    json!({
        "type": E::NAME,
        "version": E::VERSION,
        "stream": E::STREAM.name(),
        "subject": subject,
        "sent_by": sender.map(|spec| spec.publisher),
        "heard_by": hearers,
        "schema": generator().into_root_schema_for::<E>(),
    })
}

fn envelope() -> Value {
    json!({
        "type": "object",
        "required": ["id", "type", "version", "tenant", "occurred_at", "data"],
        "properties": {
            "id": { "type": "string", "description": "One publication; the key of deduplication." },
            "type": { "type": "string", "description": "The event's name." },
            "version": { "type": "integer", "description": "The event's version." },
            "tenant": { "type": "string", "description": "Whose it is." },
            "occurred_at": { "type": "string", "format": "date-time" },
            "traceparent": { "type": "string", "description": "W3C trace context of what caused it." },
            "data": { "description": "The event itself." },
        },
    })
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_says_who_hears_it() {
        let schemas = event_schemas();

        let events = schemas["events"].as_array().unwrap();
        let fired = &events[0];
        assert_eq!(fired["type"], "trigger.fired");
        assert_eq!(fired["sent_by"], "eventsvc");
        assert_eq!(
            fired["heard_by"],
            json!([{ "service": "engine", "consumer": "engine_trigger_fired" }])
        );
        assert!(fired["schema"]["properties"]["trigger_id"].is_object());
        let hearers = events[1]["heard_by"].as_array().unwrap();
        assert!(hearers.iter().any(|hearer| hearer["service"] == "eventsvc"));
        assert_eq!(events.last().unwrap()["heard_by"], json!([]));
    }
}
