//! What `#[tool]` makes of a function.

use std::fmt;
use std::thread;
use std::time::Duration;

use agentcore::{Effect, Tool, ToolCx, ToolError, ToolOutput, call_tool, tool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn cx() -> ToolCx {
    ToolCx::new("c1", "k1")
}

async fn answer(tool: &dyn Tool, arguments: &Value) -> Result<String, ToolError> {
    call_tool(tool, &cx(), &arguments.to_string()).await.map(|output| output.content)
}

/// Searches the web
/// for information.
///
/// Slowly, but nobody needs to know.
///
/// # Arguments
/// * `query` - The search query.
#[tool]
async fn search(
    query: String,
    /// How many results
    /// to return.
    #[tool(default = 5)]
    limit: u32,
    language: Option<String>,
    #[tool(default, name = "type", description = "Of what kind.")] kind: Vec<Kind>,
) -> String {
    tokio::task::yield_now().await;
    format!("{query} {limit} {language:?} {}", kind.len())
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    News,
    Images,
}

#[tokio::test]
async fn a_function_becomes_a_tool_with_a_name_a_description_and_a_schema() {
    let spec = search.spec();

    assert_eq!((&*spec.name, &*spec.description), ("search", "Searches the web for information."));
    assert_eq!((spec.effect, spec.timeout), (Effect::Unsafe, Duration::from_secs(60)));
    assert_eq!(
        spec.parameters,
        json!({
            "type": "object",
            "required": ["query"],
            "properties": {
                "query": { "type": "string", "description": "The search query." },
                "limit": { "type": "integer", "minimum": 0, "default": 5,
                    "description": "How many results to return." },
                "language": { "type": ["string", "null"] },
                "type": { "type": "array", "default": [], "description": "Of what kind.",
                    "items": { "type": "string", "enum": ["news", "images"] } },
            },
        })
    );
    let all = json!({ "query": "q", "limit": 2, "language": null, "type": ["news"] });
    assert_eq!(answer(&search, &all).await.unwrap(), "q 2 None 1");
    assert_eq!(answer(&search, &json!({ "query": "q" })).await.unwrap(), "q 5 None 0");
    assert_eq!(search::invoke("q".into(), 1, None, vec![Kind::Images]).await, "q 1 None 1");
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_in_words_a_model_understands() {
    for (arguments, why) in [
        (json!({}), "\"query\" is a required property"),
        (json!({ "query": 1 }), "/query: 1 is not of type \"string\""),
        (json!({ "query": "q", "type": ["smells"] }), "/type/0"),
    ] {
        let error = answer(&search, &arguments).await.unwrap_err();
        assert!(matches!(&error, ToolError::Tell(text) if text.contains(why)), "{error}");
    }
}

/// Written by hand.
#[tool(name = "custom-name", description = "Something else.", effect = read, timeout = "1500ms")]
fn overridden() {}

#[tokio::test]
async fn name_description_effect_and_timeout_can_be_overridden() {
    let spec = overridden.spec();

    assert_eq!((&*spec.name, &*spec.description), ("custom-name", "Something else."));
    assert_eq!((spec.effect, spec.timeout), (Effect::Read, Duration::from_millis(1500)));
    assert_eq!(spec.parameters, json!({ "type": "object", "properties": {} }));
    assert_eq!(answer(&overridden, &json!({})).await.unwrap(), "done");
}

/// Args:
///     text (str): What to look at.
#[tool()]
fn where_am_i(text: &str, numbers: &[u8], cx: &ToolCx) -> Result<ToolOutput, ToolError> {
    cx.context().set("seen", text);
    let thread = thread::current().name().unwrap_or_default().to_owned();
    Ok(format!("{text} {} {} on {thread}", numbers.len(), cx.call_id).into())
}

#[tokio::test]
async fn a_function_that_is_not_async_runs_off_the_threads_of_the_others() {
    let here = thread::current().name().unwrap_or_default().to_owned();
    let (cx, arguments) = (cx(), r#"{"text":"hi","numbers":[1,2]}"#);

    let output = call_tool(&where_am_i, &cx, arguments).await.unwrap();

    assert!(output.content.starts_with("hi 2 c1 on "), "{output:?}");
    assert!(!output.content.ends_with(&here), "{output:?}");
    assert_eq!(cx.context().get("seen"), Some("hi".into()));
    let parameters = &where_am_i.spec().parameters;
    assert_eq!(parameters["properties"]["text"]["description"], "What to look at.");
    assert_eq!(parameters["required"], json!(["text", "numbers"]), "and nothing of the context");
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not today")
    }
}

#[tool]
async fn structured(fail: bool, cx: ToolCx) -> Result<Point, Refused> {
    if fail { Err(Refused) } else { Ok(Point { x: 1, by: cx.call_id }) }
}

#[derive(Serialize)]
struct Point {
    x: u8,
    by: String,
}

#[tool]
fn in_doubt() -> Result<(), ToolError> {
    Err(ToolError::Unknown("the line went dead".into()))
}

#[tool]
fn number(mut n: f64) -> f64 {
    n *= 2.0;
    n
}

#[tokio::test]
async fn any_result_that_can_be_written_is_an_answer_and_any_error_is_told() {
    let point = answer(&structured, &json!({ "fail": false })).await.unwrap();
    assert_eq!(point, r#"{"x":1,"by":"c1"}"#);
    let refused = answer(&structured, &json!({ "fail": true })).await.unwrap_err();
    assert_eq!(refused, ToolError::tell("not today"));
    let unknown = answer(&in_doubt, &json!({})).await.unwrap_err();
    assert_eq!(unknown, ToolError::Unknown("the line went dead".into()));
    assert_eq!(answer(&number, &json!({ "n": 21 })).await.unwrap(), "42.0");
}

#[tool(timeout = 5)]
fn crashes() -> String {
    panic!("on purpose")
}

#[tokio::test]
async fn a_blocking_tool_that_crashes_says_so() {
    let error = answer(&crashes, &json!({})).await.unwrap_err();
    assert_eq!(error, ToolError::Unknown("the tool `crashes` crashed".into()));
}
