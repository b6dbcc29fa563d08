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
            "max_steps": 10, "tools": [{ "name": "look", "description": "Does nothing." }] })
    );
    assert_eq!(
        agent.get_tool_schemas(),
        [json!({ "type": "function", "function": {
            "name": "look", "description": "Does nothing.", "parameters": { "type": "object" } } })]
    );
}

#[test]
fn a_model_without_a_colon_is_openais_and_needs_a_provider() {
    assert_eq!(split_model_name("gpt-4o"), ("openai", "gpt-4o"));
    assert_eq!(split_model_name("ollama:qwen3:8b"), ("ollama", "qwen3:8b"));

    let error = Agent::builder("a").model("gpt-4o").build().unwrap_err();
    assert_eq!(error, BuildError::NoProvider("gpt-4o".into()));
    assert!(error.to_string().contains("no provider for the model `gpt-4o`"));

    let agent = Agent::builder("a").model("gpt-4o").provider(Arc::new(Sim::new())).build().unwrap();
    assert_eq!(agent.model, "gpt-4o");
}

#[test]
fn what_cannot_work_is_refused_when_it_is_built() {
    let sim = |name: &str| Agent::builder(name).model("sim:echo");
    let twice = sim("a").tool(tool("x", anything())).tool(tool("x", anything()));
    let broken = sim("a").tool(tool("x", json!({ "type": "strin" })));

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
