//! The agents, tools, hooks and events of the guide for users of the Python original, in Rust.

use std::sync::{Arc, Mutex};

use agentcore::{
    Agent, EventBus, EventKind, FnTool, HookData, HookPoint, InstructionsCx, Message, RunOptions,
    Tool, ToolCall, ToolCx, ToolError, ToolOutput, ToolSpec, Usage, call_tool, run, run_blocking,
    run_stream, tool,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};

use crate::fake::{Fake, calls, says};

/// Search the web for information.
///
/// Args:
///     query: The search query string.
#[tool]
async fn search(query: String) -> String {
    format!("Results for: {query}")
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct MyModel {
    answer: String,
}

#[tokio::test]
async fn an_agent_is_made_with_everything_it_may_be_given() {
    async fn my_hook(_: HookData) -> Result<(), agentcore::HookError> {
        Ok(())
    }
    let other_agent = Agent::builder("other-agent").build().unwrap();
    let agent = Agent::builder("my-agent")
        .model("openai:gpt-4o")
        .instructions("You are helpful.")
        .tool(search)
        .handoff(other_agent)
        .hook(HookPoint::Start, my_hook)
        .output_type::<MyModel>()
        .max_steps(10)
        .temperature(1.0)
        .build()
        .unwrap();

    let described = agent.describe();
    assert_eq!(described["name"], "my-agent");
    assert_eq!(described["model"], "openai:gpt-4o");
    assert_eq!(described["tools"][0]["name"], "search");
    assert_eq!(described["handoffs"], json!(["other-agent"]));
    assert_eq!(described["max_steps"], 10);
    assert_eq!(described["output_type"]["required"], json!(["answer"]));

    let model = Fake::new([says(r#"{"answer": "42"}"#)]);
    let result = agent.run("?", RunOptions::new().provider(model).max_retries(3)).await.unwrap();
    assert_eq!(result.parse::<MyModel>().unwrap().answer, "42");
}

#[tokio::test]
async fn dynamic_instructions_are_told_the_agents_name() {
    fn dynamic_instructions(cx: &InstructionsCx) -> String {
        format!("You are {}. Today is Monday.", cx.agent_name)
    }
    let model = Fake::new([says("hi")]);
    let agent = Agent::builder("assistant")
        .model("fake:x")
        .provider(model.clone())
        .instructions_with(dynamic_instructions)
        .build()
        .unwrap();

    run(&agent, "Hello!").await.unwrap();

    let told = Message::system("You are assistant. Today is Monday.");
    assert_eq!(model.asked()[0].messages[0], told);
}

#[test]
fn a_tools_schema_comes_from_its_function() {
    let agent = Agent::builder("a").tool(search).build().unwrap();

    assert_eq!(
        agent.tool_schemas(),
        [json!({ "type": "function", "function": {
            "name": "search",
            "description": "Search the web for information.",
            "parameters": { "type": "object", "required": ["query"], "properties": {
                "query": { "type": "string", "description": "The search query string." } } } } })]
    );
}

#[allow(clippy::implicit_hasher, clippy::too_many_arguments, reason = "one of each type")]
#[tool(name = "custom_name", description = "Custom description")]
fn my_tool(
    text: String,
    whole: i64,
    real: f64,
    flag: bool,
    list: Vec<String>,
    map: std::collections::BTreeMap<String, i64>,
    #[tool(default = 5)] with_default: i64,
) -> String {
    format!("{text}{whole}{real}{flag}{}{}{with_default}", list.len(), map.len())
}

#[test]
fn types_become_json_schema_types_and_defaults_make_an_argument_optional() {
    let spec = my_tool.spec();

    assert_eq!((&*spec.name, &*spec.description), ("custom_name", "Custom description"));
    let of = |name: &str| spec.parameters["properties"][name]["type"].clone();
    let names = ["text", "whole", "real", "flag", "list", "map", "with_default"];
    let types = ["string", "integer", "number", "boolean", "array", "object", "integer"];
    assert_eq!(names.map(of), types.map(Value::from));
    assert_eq!(spec.parameters["required"], json!(&names[..6]));
}

/// Read a file from disk.
#[tool]
fn read_file(path: String) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

#[tokio::test]
async fn a_blocking_tool_reads_a_file_and_says_when_it_is_not_there() {
    let cx = ToolCx::new("c", "k");
    let own = json!({ "path": concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml") }).to_string();

    let read = call_tool(&read_file, &cx, &own).await.unwrap();
    assert!(read.content.starts_with("[package]"));

    let missing = call_tool(&read_file, &cx, r#"{"path":"/no/such/file"}"#).await.unwrap_err();
    assert!(missing.to_string().starts_with("No such file"), "{missing}");
}

struct DatabaseTool {
    spec: ToolSpec,
    rows: Vec<String>,
}

impl DatabaseTool {
    fn new(rows: &[&str]) -> Self {
        let spec = ToolSpec {
            name: "query_db".into(),
            description: "Run a SQL query.".into(),
            parameters: json!({ "type": "object", "required": ["sql"], "properties": {
                "sql": { "type": "string", "description": "SQL query to execute" } } }),
            effect: agentcore::Effect::Read,
            timeout: ToolSpec::DEFAULT_TIMEOUT,
        };
        Self { spec, rows: rows.iter().map(|row| (*row).to_owned()).collect() }
    }
}

impl Tool for DatabaseTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _cx: &'a ToolCx,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        async move {
            let sql = arguments["sql"].as_str().unwrap_or_default();
            Ok(format!("{sql}: {:?}", self.rows).into())
        }
        .boxed()
    }
}

/// Divide a by b.
#[tool]
async fn divide(a: f64, b: f64) -> Result<String, ToolError> {
    if b == 0.0 {
        return Err(ToolError::tell("Cannot divide by zero"));
    }
    Ok((a / b).to_string())
}

#[tokio::test]
async fn a_tool_may_be_written_in_full_and_a_tool_error_does_not_crash_the_agent() {
    let both = [("query_db", json!({ "sql": "select 1" })), ("divide", json!({ "a": 1, "b": 0 }))];
    let model = Fake::new([calls(&both), says("done")]);
    let agent = Agent::builder("a")
        .model("fake:x")
        .provider(model)
        .tool(DatabaseTool::new(&["one"]))
        .tool(divide)
        .build()
        .unwrap();

    let result = run(&agent, "go").await.unwrap();

    let [
        Message::Tool { content: rows, error: false, .. },
        Message::Tool { content: told, error: true, .. },
    ] = &result.messages[2..4]
    else {
        panic!("{:?}", result.messages)
    };
    assert_eq!((rows.as_str(), told.as_str()), ("select 1: [\"one\"]", "Cannot divide by zero"));
    assert_eq!(result.output, "done");
}

#[tokio::test]
async fn an_agent_runs_async_blocking_and_as_a_stream() {
    let agent = Agent::builder("parrot").model("sim:echo").build().unwrap();

    assert_eq!(run(&agent, "Hello!").await.unwrap().output, "Hello!");
    assert_eq!(run_blocking(&agent, "Hello!").unwrap().output, "Hello!");
    let mut said = String::new();
    let mut events = run_stream(&agent, "Hello!");
    while let Some(event) = events.next().await {
        if let EventKind::Text { text } = event.unwrap().kind {
            said.push_str(&text);
        }
    }
    assert_eq!(said, "Hello!");
}

#[test]
fn messages_are_told_apart_by_their_role() {
    let call = ToolCall {
        id: "call_1".into(),
        name: "get_weather".into(),
        arguments: r#"{"city": "Tokyo"}"#.into(),
    };
    let messages = [
        Message::user("What's the weather?"),
        Message::system("You are a helpful assistant."),
        Message::Assistant {
            content: "Let me check the weather.".into(),
            tool_calls: vec![call],
            reasoning: None,
            replay: None,
        },
        Message::Tool {
            tool_call_id: "call_1".into(),
            tool_name: "get_weather".into(),
            content: "Sunny, 22 C in Tokyo.".into(),
            error: false,
        },
    ];

    let wire: Vec<Value> =
        messages.iter().map(|message| serde_json::to_value(message).unwrap()).collect();

    let roles: Vec<&str> = wire.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["user", "system", "assistant", "tool"]);
    assert_eq!(wire[2]["tool_calls"][0]["arguments"], r#"{"city": "Tokyo"}"#);
    assert_eq!(wire[3].get("error"), None, "none for a call that succeeded");
}

#[tokio::test]
async fn a_result_sums_usage_and_steps_over_the_run() {
    let usage = Usage { input_tokens: 75, output_tokens: 25, ..Usage::default() };
    let mut first = calls(&[("search", json!({ "query": "x" }))]);
    first.usage = usage;
    let mut second = says("found");
    second.usage = usage;
    let agent = Agent::builder("a").model("fake:x").provider(Fake::new([first, second]));

    let result = run(&agent.tool(search).build().unwrap(), "find x").await.unwrap();

    let tokens = (result.input_tokens(), result.output_tokens(), result.total_tokens());
    assert_eq!((tokens, result.steps), ((150, 50, 200), 2));
    assert_eq!(result.messages.len(), 4);
}

#[tokio::test]
async fn a_hook_sees_each_call_of_the_model() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let log_llm_call = move |data: HookData| {
        log.lock().unwrap().push(format!("LLM call on agent: {}", data.agent().name()));
        async { Ok(()) }
    };
    let agent = Agent::builder("my-agent").model("sim:echo");
    let agent = agent.hook(HookPoint::PreLlmCall, log_llm_call).build().unwrap();

    run(&agent, "hi").await.unwrap();

    assert_eq!(*seen.lock().unwrap(), ["LLM call on agent: my-agent"]);
}

#[tokio::test]
async fn a_bus_hands_an_applications_events_to_whoever_wants_them() {
    let (bus, seen) = (EventBus::new(), Arc::new(Mutex::new(Vec::new())));
    let kept = seen.clone();
    bus.on("step_complete", move |data| {
        kept.lock().unwrap().push(format!("Step completed: {data}"));
        async { Ok(()) }
    });

    bus.emit("step_complete", json!({ "agent_name": "bot", "step": 1 })).await;

    assert_eq!(*seen.lock().unwrap(), [r#"Step completed: {"agent_name":"bot","step":1}"#]);
}

#[tokio::test]
async fn a_closure_is_a_tool_as_well() {
    let shout = FnTool::typed("shout", "Shouts.", async |said: Said| Ok(said.text.to_uppercase()));
    assert_eq!(shout.spec().parameters["required"], json!(["text"]));

    let answer = call_tool(&shout, &ToolCx::new("c", "k"), r#"{"text":"hi"}"#).await;

    assert_eq!(answer, Ok("HI".into()));
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Said {
    text: String,
}
