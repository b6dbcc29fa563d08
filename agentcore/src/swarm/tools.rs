//! The tools by which members pass work on. They are no tools that run: the tree answers them itself.

use serde_json::{Value, json};
use shared_models::effect::Effect;

use super::plan::{Plan, Topology};
use crate::tool::ToolSpec;
use crate::validate::check_arguments;

/// No provider takes longer names.
const LONGEST: usize = 64;

/// Somebody work can be passed to, and the tool that does it.
pub(super) struct Target<'a> {
    pub(super) tool: String,
    pub(super) plan: &'a Plan,
}

impl Target<'_> {
    pub(super) fn spec(&self, topology: &Topology) -> ToolSpec {
        let Plan { name, description, .. } = self.plan;
        let (what, parameters) = match topology {
            Topology::Team => (
                format!("Gives a task to `{name}`, who works on it alone and reports back."),
                task(),
            ),
            Topology::Handoff { .. } | Topology::Workflow { .. } => {
                let nothing = json!({ "type": "object", "properties": {} });
                (format!("Hands the conversation over to `{name}`."), nothing)
            }
        };
        ToolSpec {
            name: self.tool.clone(),
            description: format!("{what} {description}").trim_end().to_owned(),
            parameters,
            effect: Effect::Read,
            timeout: ToolSpec::DEFAULT_TIMEOUT,
        }
    }
}

fn task() -> Value {
    json!({ "type": "object", "required": ["task"], "properties": { "task": { "type": "string",
        "description": "What to do, with everything there is to know: nothing else is passed on." } } })
}

/// The task of a call of `delegate_to_…`, or what is wrong with it.
pub(super) fn task_of(arguments: &str) -> Result<String, String> {
    let arguments = check_arguments(&task(), arguments)?;
    Ok(arguments.get("task").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// A tool for each, with a name that providers take and no other here has.
pub(super) fn targets<'a>(prefix: &str, plans: impl Iterator<Item = &'a Plan>) -> Vec<Target<'a>> {
    let mut targets: Vec<Target<'a>> = Vec::new();
    for plan in plans {
        let is_free = |tool: &String| targets.iter().all(|target| target.tool != *tool);
        let numbers = (2..).map(|number| format!("_{number}"));
        let names = std::iter::once(String::new()).chain(numbers);
        let mut names = names.map(|suffix| tool_name(prefix, &plan.name, &suffix));
        if let Some(tool) = names.find(is_free) {
            targets.push(Target { tool, plan });
        }
    }
    targets
}

fn tool_name(prefix: &str, name: &str, suffix: &str) -> String {
    let fitting = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let room = LONGEST.saturating_sub(suffix.len());
    let name: String = prefix.chars().chain(name.chars().map(fitting)).take(room).collect();
    name + suffix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Conversation;
    use crate::swarm::plan::{AgentPlan, Work};

    fn plan(name: &str) -> Plan {
        let agent = AgentPlan { opening: Conversation::new(""), handoffs: Vec::new() };
        Plan { name: name.into(), description: String::new(), work: Work::Agent(Box::new(agent)) }
    }

    #[test]
    fn each_member_has_a_tool_name_that_providers_take() {
        let plans =
            [plan("billing"), plan("Zürich bot"), plan("Z_rich_bot"), plan(&"x".repeat(99))];

        let targets = targets("transfer_to_", plans.iter());

        let names: Vec<&str> = targets.iter().map(|target| target.tool.as_str()).collect();
        let long = format!("transfer_to_{}", "x".repeat(52));
        let expected =
            ["transfer_to_billing", "transfer_to_Z_rich_bot", "transfer_to_Z_rich_bot_2", &long];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_delegated_task_is_a_text() {
        assert_eq!(task_of(r#"{"task":"find it","tone":"calm"}"#), Ok("find it".into()));
        assert!(task_of("{}").unwrap_err().contains("task"));
        assert!(task_of("find it").unwrap_err().starts_with("the arguments are not JSON"));
    }
}
