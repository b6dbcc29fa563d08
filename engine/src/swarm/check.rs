//! What of a swarm is refused before anything is looked up.

use agentcore::Conversation;
use agentcore::swarm::{AgentPlan, Plan, PlanError, SwarmPlan, Topology, Work};
use servicekit::FieldError;
use shared_models::{AgentId, AgentScope, SwarmId, SwarmMode};

use super::grow::{self, Members};
use super::{MemberFields, SwarmFields};
use crate::definition::{is_name, unstorable};
use crate::models;
use crate::template;

/// Members of one swarm, those in its groups included.
const MOST_MEMBERS: usize = 64;
const DEEPEST_GROUPS: usize = 8;

impl SwarmFields {
    /// Lists every field that cannot be so. `own` are the models that the tenant has entries for.
    pub(crate) fn check(&self, own: &[String]) -> Vec<FieldError> {
        let mut errors = unstorable(&serde_json::to_value(self).unwrap_or_default(), "");
        errors.extend(self.wrong_fields());
        errors.extend(self.wrong_defaults(own));
        for (at, member) in self.everybody() {
            if let MemberFields::NewAgent { agent, .. } = member {
                let wrong = agent.check(own).err().unwrap_or_default().into_iter();
                errors.extend(wrong.map(|error| inside(&format!("{at}/agent"), error)));
                if agent.model_credential_id.is_some() {
                    let why = "make the agent by itself to give it a credential";
                    errors.push(FieldError::new(format!("{at}/agent/model_credential_id"), why));
                }
            }
        }
        errors
    }

    fn wrong_fields(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        let name = "1 to 100 characters, none of them control characters";
        refuse(!is_name(&self.name), "/name", name);
        refuse(self.title.chars().count() > 200, "/title", "at most 200 characters");
        refuse(self.description.len() > 4096, "/description", "at most 4096 bytes");
        refuse(self.separator.len() > 1024, "/separator", "at most 1024 bytes");
        refuse(self.max_handoffs > 1000, "/max_handoffs", "at most 1000");
        refuse(!(1..=10_000).contains(&self.max_steps), "/max_steps", "from 1 to 10000");
        let month = 31 * 24 * 3600;
        let wrong = self.deadline_seconds.is_some_and(|n| !(1..=month).contains(&n));
        refuse(wrong, "/deadline_seconds", "from 1 second to 31 days");
        let wrong = self.scope == AgentScope::User && self.team_id.is_some();
        refuse(wrong, "/team_id", "only for the scope `team`");
        let has_flow = self.flow.is_some();
        refuse(
            has_flow && self.mode != SwarmMode::Workflow,
            "/flow",
            "only in the mode `workflow`",
        );
        let long = self.flow.as_ref().is_some_and(|flow| flow.len() > 8192);
        refuse(long, "/flow", "at most 8192 bytes");
        let everybody = self.everybody();
        refuse(everybody.len() > MOST_MEMBERS, "/members", "at most 64, those in groups included");
        let depth = |at: &str| at.matches("/members/").count();
        let deep = everybody.iter().any(|(at, _)| depth(at) > DEEPEST_GROUPS);
        refuse(deep, "/members", "groups go 8 deep at most");
        errors
    }

    fn wrong_defaults(&self, own: &[String]) -> Vec<FieldError> {
        let defaults = &self.defaults;
        let mut errors = Vec::new();
        let named = [
            ("/defaults/model", &defaults.model),
            ("/defaults/fallback_model", &defaults.fallback_model),
        ];
        for (pointer, model) in named {
            if let Some(Err(why)) = model.as_ref().map(|model| models::check(model, own)) {
                errors.push(FieldError::new(pointer, why));
            }
        }
        if defaults.max_tokens == Some(0) {
            errors.push(FieldError::new("/defaults/max_tokens", "at least 1"));
        }
        if defaults.instructions.as_ref().is_some_and(|text| text.len() > 64 * 1024) {
            errors.push(FieldError::new("/defaults/instructions", "at most 64 KiB"));
        }
        if let Some(why) = defaults.instructions.as_deref().and_then(template::check) {
            errors.push(FieldError::new("/defaults/instructions", why));
        }
        if defaults.tools.len() > 32 {
            errors.push(FieldError::new("/defaults/tools", "at most 32"));
        }
        errors
    }

    /// Whether it would be a plan, once every member has its name; what the members are is not looked at.
    pub(crate) fn check_shape(&self) -> Result<(), FieldError> {
        let plan = grow::swarm(self, &self.name, &mut Sketch)?;
        plan.check().map_err(|error| {
            let pointer = match &error {
                PlanError::Flow(_) => "/flow",
                PlanError::NoSteps => "/max_steps",
                _ => "/members",
            };
            FieldError::new(pointer, error.to_string())
        })
    }
}

/// Puts something in the place of each member.
struct Sketch;

impl Members<FieldError> for Sketch {
    fn agent(&mut self, _: Option<AgentId>, _: &str) -> Result<String, FieldError> {
        Ok(String::new())
    }

    fn swarm(&mut self, _: SwarmId, name: &str) -> Result<Plan, FieldError> {
        let agent = AgentPlan { opening: Conversation::new(""), handoffs: Vec::new() };
        let work = Work::Agent(Box::new(agent));
        let member = Plan { name: "member".into(), description: String::new(), work };
        let work = SwarmPlan { members: vec![member], topology: Topology::Team, max_steps: 1 };
        Ok(Plan { name: name.into(), description: String::new(), work: Work::Swarm(work) })
    }
}

fn inside(at: &str, error: FieldError) -> FieldError {
    FieldError::new(format!("{at}{}", error.pointer), error.message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn swarm(change: &Value) -> SwarmFields {
        let agent =
            |name: &str| json!({ "kind": "agent", "agent_id": AgentId::mint(), "name": name });
        let mut document = json!({ "name": "s", "members": [agent("a"), agent("b"), agent("c")] });
        json_patch::merge(&mut document, change);
        serde_json::from_value(document).unwrap()
    }

    fn why(change: &Value) -> (String, String) {
        let error = swarm(change).check_shape().unwrap_err();
        (error.pointer, error.message)
    }

    #[test]
    fn members_are_all_a_swarm_needs() {
        let fields = swarm(&json!({}));

        assert_eq!(fields.check(&[]), []);
        assert_eq!(fields.check_shape(), Ok(()));
        assert_eq!((fields.mode, fields.max_handoffs), (SwarmMode::Workflow, 10));
    }

    #[test]
    fn a_flow_is_refused_with_where_it_is_wrong() {
        for (flow, column) in [
            ("a >> nobody", 6),
            ("a >> >> b", 6),
            ("a >> (b | b)", 11),
            ("a >> b >> a", 11),
            ("a >> (b | ", 6),
            ("", 1),
        ] {
            let (pointer, message) = why(&json!({ "flow": flow }));
            assert_eq!(pointer, "/flow", "{flow}");
            assert!(message.starts_with(&format!("column {column}:")), "{flow}: {message}");
        }
    }

    #[test]
    fn what_cannot_be_driven_is_refused() {
        let agent =
            |name: &str| json!({ "kind": "agent", "agent_id": AgentId::mint(), "name": name });
        let twice = json!({ "members": [agent("a"), agent("a")] });
        let unnamed = json!({ "members": [{ "kind": "agent", "agent_id": AgentId::mint() }] });
        let odd = json!({ "members": [agent("a/b")] });
        let lead = json!({ "mode": "team", "members": [
            { "kind": "parallel", "name": "g", "members": [agent("x")] }, agent("b")] });
        let mut lost = agent("a");
        lost["handoffs"] = json!(["nobody"]);
        let lost = json!({ "mode": "handoff", "members": [lost, agent("b")] });
        let empty = json!({ "members": [{ "kind": "serial", "name": "g", "members": [] }] });

        assert_eq!(why(&twice).0, "/members/1/name");
        assert_eq!(why(&unnamed).0, "/members/0/name");
        assert_eq!(why(&odd).0, "/members/0/name");
        assert_eq!(why(&lead).0, "/members");
        assert!(why(&lost).1.contains("nobody"));
        assert_eq!(why(&empty).0, "/members/0/members");
        assert_eq!(why(&json!({ "members": [] })).0, "/members");
    }

    #[test]
    fn every_wrong_field_is_listed() {
        let fields = swarm(&json!({ "name": "", "mode": "team", "flow": "a", "max_steps": 0,
            "max_handoffs": 1001, "deadline_seconds": 0, "title": "a\u{0}",
            "defaults": { "model": "martian:x", "max_tokens": 0 } }));

        let pointers: Vec<String> = fields.check(&[]).into_iter().map(|e| e.pointer).collect();

        assert_eq!(
            pointers,
            [
                "/title",
                "/name",
                "/max_handoffs",
                "/max_steps",
                "/deadline_seconds",
                "/flow",
                "/defaults/model",
                "/defaults/max_tokens"
            ]
        );
    }
}
