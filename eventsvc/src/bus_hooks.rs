//! `nats`: triggers that fire on what happens on the platform itself, such as the end of a run.
//!
//! A trigger hears its own tenant only, and of runs only those at the top of their tree: what a run does through other runs
//! is part of it. What came of a firing carries the triggers behind it, so that none starts itself again (see [`Chain`]).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::FieldError;
use shared_models::{AgentId, RunMode, TriggerId};
use utoipa::ToSchema;

/// What can be heard.
pub(crate) const SUBJECTS: [&str; 9] = [
    "run.created",
    "run.started",
    "run.waiting",
    "run.paused",
    "run.resumed",
    "run.finished",
    "run.refused",
    "agent.deleted",
    "swarm.deleted",
];
/// So many triggers may lead to each other.
const LONGEST_CHAIN: usize = 8;
const MOST_AGENTS: usize = 50;

/// The options of a `nats` trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "subjects": ["run.finished"], "agent_ids": ["agt_01jbdq7x0mfyt8v6k1w3z5a9ce"] }))]
pub(crate) struct NatsOptions {
    /// Of what: `run.created`, `run.started`, `run.waiting`, `run.paused`, `run.resumed`, `run.finished`, `run.refused`,
    /// `agent.deleted`, `swarm.deleted`.
    pub subjects: Vec<String>,
    /// Only what happens to these agents. Only administrators hear of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_ids: Vec<AgentId>,
}

impl NatsOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let options: Self = crate::options::read(value)?;
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            errors.push(FieldError::new(format!("/options/{field}"), why));
        };
        if options.subjects.is_empty() {
            refuse("subjects", "name at least one");
        }
        for (place, subject) in options.subjects.iter().enumerate() {
            if !SUBJECTS.contains(&subject.as_str()) {
                let why = format!("is none of {}", SUBJECTS.join(", "));
                refuse(&format!("subjects/{place}"), &why);
            }
        }
        if options.agent_ids.len() > MOST_AGENTS {
            refuse("agent_ids", "at most 50");
        }
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    /// Whether this event is one of those. What a dry run has come to has not happened, and what
    /// an evaluation's run has come to is for who evaluates.
    pub(crate) fn hears(&self, subject: &str, data: &Value) -> bool {
        if data.get("mode").is_some_and(|mode| mode == RunMode::Dry.as_str())
            || data.get("evaluation_id").is_some_and(|id| !id.is_null())
        {
            return false;
        }
        let agent = || data.get("agent_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        self.subjects.iter().any(|wanted| wanted == subject)
            && (self.agent_ids.is_empty() || agent().is_some_and(|id| self.agent_ids.contains(&id)))
    }
}

/// The triggers that led to something, earliest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(Vec<TriggerId>);

impl Chain {
    /// A firing of this trigger, on top of what had led to it. What cannot be read counts as nothing.
    pub(crate) fn of(trigger: TriggerId, before: Option<&Value>) -> Self {
        let before = before.and_then(Value::as_array).into_iter().flatten();
        let ids = before.filter_map(|id| id.as_str()?.parse().ok());
        Self(ids.chain([trigger]).collect())
    }

    /// As it is kept with a delivery.
    pub(crate) fn to_json(&self) -> Value {
        json!(self.0)
    }

    /// Why this trigger may not fire on top of it, if it may not.
    pub(crate) fn closes_with(&self, trigger: TriggerId) -> Option<String> {
        if self.0.contains(&trigger) {
            Some("it came of a run that this trigger had started: it would go on for ever".into())
        } else if self.0.len() >= LONGEST_CHAIN {
            Some(format!(
                "{LONGEST_CHAIN} triggers have led to each other: this one does not go on"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use shared_models::EvaluationId;

    use super::*;

    #[test]
    fn a_trigger_hears_the_subjects_and_agents_it_names() {
        let agent = AgentId::mint();
        let all = NatsOptions { subjects: vec!["run.finished".into()], agent_ids: Vec::new() };
        let some = NatsOptions { agent_ids: vec![agent], ..all.clone() };
        let (own, other) = (json!({ "agent_id": agent }), json!({ "agent_id": AgentId::mint() }));

        assert!(all.hears("run.finished", &other) && !all.hears("run.started", &own));
        assert!(some.hears("run.finished", &own) && !some.hears("run.finished", &other));
        assert!(!some.hears("run.finished", &json!({ "agent_id": 7 })));
        assert!(!all.hears("run.finished", &json!({ "agent_id": agent, "mode": "dry" })));
        let tried = json!({ "agent_id": agent, "evaluation_id": EvaluationId::mint() });
        assert!(!all.hears("run.finished", &tried));
    }

    #[test]
    fn what_cannot_be_heard_is_refused_by_name() {
        let wrong = json!({ "subjects": ["run.finished", "run.>"] });

        assert_eq!(NatsOptions::parse(&wrong).unwrap_err()[0].pointer, "/options/subjects/1");
        let none = json!({ "subjects": [] });
        assert_eq!(NatsOptions::parse(&none).unwrap_err()[0].pointer, "/options/subjects");
    }

    #[test]
    fn a_chain_ends_where_it_would_close_or_becomes_too_long() {
        let ids: Vec<TriggerId> = (0..8).map(|_| TriggerId::mint()).collect();
        let mut chain = Chain::of(ids[0], None);
        assert!(chain.closes_with(ids[0]).unwrap().contains("for ever"));
        for id in &ids[1..] {
            assert_eq!(chain.closes_with(*id), None);
            chain = Chain::of(*id, Some(&chain.to_json()));
        }

        assert!(chain.closes_with(ids[0]).unwrap().contains("for ever"));
        assert!(chain.closes_with(TriggerId::mint()).unwrap().contains("8 triggers"));
        assert_eq!(Chain::of(ids[0], Some(&json!(["x", 7]))), Chain::of(ids[0], None));
    }
}
