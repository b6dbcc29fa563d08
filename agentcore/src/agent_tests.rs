use super::*;
use crate::tool::{FnTool, ToolError};

fn tool(name: &str, parameters: Value) -> FnTool {
    FnTool::new(name, "Does nothing.", parameters, async |_| Ok::<_, ToolError>("done"))
}

fn anything() -> Value {
    json!({ "type": "object" })
}

#[test]
fn an_agent_says_what_it_is() {
    let agent = Agent::builder("triage")
        .model("sim:echo")
        .instructions("Be kind.")
        .tool(tool("look", anything()))
        .build()
        .unwrap();

    assert_eq!(
        agent.describe(),
        json!({ "name": "triage", "model": "sim:echo", "instructions": "Be kind.",
            "max_steps": 10, "handoffs": [], "output_type": null,
            "tools": [{ "name": "look", "description": "Does nothing." }] })
    );
    assert_eq!(
        agent.tool_schemas(),
        [json!({ "type": "function", "function": {
            "name": "look", "description": "Does nothing.", "parameters": { "type": "object" } } })]
    );
}

#[test]
fn a_model_without_a_colon_is_openais() {
    assert_eq!(split_model_name("gpt-4o"), ("openai", "gpt-4o"));
    assert_eq!(split_model_name("ollama:qwen3:8b"), ("ollama", "qwen3:8b"));

    assert_eq!(Agent::builder("a").build().unwrap().model_name(), "openai:gpt-4o");
    let mini = Agent::builder("a").model("gpt-4o-mini").build().unwrap();
    assert_eq!(mini.model_name(), "openai:gpt-4o-mini");
}

#[test]
fn what_cannot_work_is_refused_when_it_is_built() {
    let sim = |name: &str| Agent::builder(name).model("sim:echo");
    let twice = sim("a").tool(tool("x", anything())).tool(tool("x", anything()));
    let broken = sim("a").tool(tool("x", json!({ "type": "strin" })));

    let to_two = sim("a").handoffs(["b", "c"]).handoff("b");

    assert_eq!(to_two.build().unwrap_err(), BuildError::DuplicateHandoff("b".into()));
    let broken_output = sim("a").output_schema(json!({ "type": 1 }));
    assert!(matches!(broken_output.build().unwrap_err(), BuildError::OutputSchema(_)));
    assert_eq!(sim(" ").build().unwrap_err(), BuildError::NoName);
    assert_eq!(sim("a").max_steps(0).build().unwrap_err(), BuildError::NoSteps);
    assert_eq!(twice.build().unwrap_err(), BuildError::DuplicateTool("x".into()));
    assert!(
        matches!(broken.build().unwrap_err(), BuildError::ToolSchema { tool, .. } if tool == "x")
    );
    for name in ["", "with space", "é", &"x".repeat(65)] {
        let error = sim("a").tool(tool(name, anything())).build().unwrap_err();
        assert_eq!(error, BuildError::ToolName(name.into()));
    }
}

#[test]
fn a_copy_can_be_changed_without_touching_the_agent() {
    let memory = Arc::new(crate::memory::InMemory::new());
    let agent = Agent::builder("a")
        .model("gpt-4o")
        .tool(tool("x", anything()))
        .memory(memory)
        .handoff("b")
        .build()
        .unwrap();

    let copy = agent.to_builder().tool(tool("y", anything())).model("sim:echo").build().unwrap();

    let names = |agent: &Agent| -> Vec<String> {
        agent.tool_specs().map(|spec| spec.name.clone()).collect()
    };
    assert_eq!(names(&agent), ["x", "remember", "recall"]);
    assert_eq!(names(&copy), ["x", "y", "remember", "recall"]);
    assert_eq!(copy.handoffs()[0].name(), "b");
    assert!(agent.inner.window.is_some() && copy.inner.window.is_none());
}
