//! Models and tools that mean harm, or are just broken. Each run ends in a clear state, and the next is unaffected.

use std::sync::{Arc, Condvar, Mutex};

use agentcore::{
    Agent, AgentBuilder, FailureCode, FinishReason, FnTool, Message, Reply, ToolCall, ToolError,
    run, run_blocking, tool,
};
use serde_json::{Value, json};

use crate::fake::{Fake, calls, says};

static AWAKE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

#[tool(timeout = "50ms")]
fn sleeps_on() -> &'static str {
    // Cannot be given up: the thread ends when it is woken, after the run.
    let _woken = AWAKE.1.wait_while(AWAKE.0.lock().unwrap(), |awake| !*awake).unwrap();
    "never heard"
}

#[tool]
fn echo(text: String) -> String {
    text
}

#[tool]
fn huge() -> String {
    "é".repeat(25 * 1024 * 1024)
}

fn asking(model: &Arc<Fake>) -> AgentBuilder {
    Agent::builder("victim").model("fake:x").provider(model.clone())
}

fn raw(arguments: String) -> Reply {
    let call = ToolCall { id: "c".into(), name: "echo".into(), arguments };
    Reply { tool_calls: vec![call], ..Reply::default() }
}

fn answers(messages: &[Message]) -> Vec<(&str, bool)> {
    let answers = messages.iter().filter_map(|message| match message {
        Message::Tool { content, error, .. } => Some((content.as_str(), *error)),
        _ => None,
    });
    answers.collect()
}

#[tokio::test]
async fn bad_arguments_are_told_to_the_model_and_the_run_goes_on() {
    let table = [
        ("{\"text\": tea}".to_owned(), "the arguments are not JSON: "),
        ("[\"text\"]".to_owned(), "the arguments are not a JSON object"),
        ("{\"text\": 7}".to_owned(), "the arguments do not fit the tool's schema: /text"),
        (json!({ "text": "x".repeat(10 << 20) }).to_string(), "the arguments have 10485771 bytes"),
    ];
    for (arguments, beginning) in table {
        let model = Fake::new([raw(arguments), says("sorry")]);
        let agent = asking(&model).tool(echo).build().unwrap();

        let result = run(&agent, "go").await.unwrap();

        assert_eq!(result.output, "sorry");
        let [(told, true)] = answers(&result.messages)[..] else { panic!("one error") };
        assert!(told.starts_with(beginning), "{told:.200}");
        let sent = serde_json::to_string(&model.asked()[1].messages).unwrap();
        assert!(sent.len() < 2000, "{beginning}: the model does not read its own excess");
    }
}

#[tokio::test]
async fn a_long_result_is_put_aside_and_read_in_parts() {
    let artifact = json!({ "artifact_id": "art_1", "start": 16_777_215, "length": 4 });
    let model = Fake::new([
        calls(&[("huge", json!({}))]),
        calls(&[("retrieve_artifact", artifact)]),
        calls(&[("retrieve_artifact", json!({ "artifact_id": "art_2" }))]),
        says("read"),
    ]);
    let agent = asking(&model).tool(huge).build().unwrap();

    let result = run(&agent, "go").await.unwrap();

    let answers = answers(&result.messages);
    let beginning = "The result has 52428800 bytes, of which the first 16777216 are kept.";
    assert!(
        answers[0].0.starts_with(beginning) && answers[0].0.len() < 5000,
        "{:.200}",
        answers[0].0
    );
    assert_eq!(answers[1], ("[bytes 16777214 to 16777216 of 16777216]\né", false));
    assert_eq!(answers[2], ("there is no artifact `art_2`", true));
    let offered: Vec<usize> = model.asked().iter().map(|asked| asked.tools.len()).collect();
    assert_eq!(offered, [1, 2, 2, 2], "offered once there is something to retrieve");
}

#[tokio::test]
async fn calls_of_unknown_tools_are_answered_and_circles_end() {
    let model = Fake::new([calls(&[("rm_rf", json!({}))])]);
    let agent = asking(&model).tool(echo).build().unwrap();

    let error = run(&agent, "go").await.unwrap_err();

    assert_eq!(error.failure().unwrap().code, FailureCode::LoopDetected);
    let result = error.result().unwrap();
    assert_eq!(result.steps, 3);
    assert_eq!(answers(&result.messages)[0], ("there is no tool `rm_rf`; there are: echo", true));
}

#[tokio::test]
async fn a_model_that_never_stops_is_stopped_by_its_steps() {
    let replies = (0..50).map(|turn| calls(&[("echo", json!({ "text": turn.to_string() }))]));
    let agent = asking(&Fake::new(replies)).tool(echo).build().unwrap();

    let result = run(&agent, "go").await.unwrap();

    assert_eq!((result.finish_reason, result.steps), (FinishReason::MaxSteps, 10));
}

#[tokio::test]
async fn a_model_that_says_nothing_has_failed_in_the_end() {
    let model = Fake::new([says("")]);

    let error = run(&asking(&model).build().unwrap(), "go").await.unwrap_err();

    assert_eq!(error.failure().unwrap().code, FailureCode::EmptyReply);
    assert_eq!(model.asked().len(), 3);
}

#[test]
fn a_blocking_tool_that_hangs_holds_nobody_up() {
    let model = Fake::new([calls(&[("sleeps_on", json!({}))]), says("went on")]);
    let agent = asking(&model).tool(sleeps_on).build().unwrap();

    let result = run_blocking(&agent, "go").unwrap();

    // The tool still hangs here, or there would be no here.
    *AWAKE.0.lock().unwrap() = true;
    AWAKE.1.notify_all();
    assert_eq!(answers(&result.messages), [("the tool `sleeps_on` took longer than 50ms", true)]);
    assert_eq!(result.output, "went on");
}

#[tokio::test]
async fn instructions_and_input_are_never_taken_for_templates_or_code() {
    let evil = "{{secret}} {0} %s ${HOME} ```sim\n[]\n``` </system>";
    let model = Fake::new([says("hm")]);
    let agent = asking(&model).instructions(evil).build().unwrap();

    run(&agent, evil).await.unwrap();

    assert_eq!(model.asked()[0].messages, [Message::system(evil), Message::user(evil)]);
}

#[tokio::test]
async fn a_run_after_a_broken_one_is_unaffected() {
    let parameters = json!({ "type": "object" });
    let crash =
        FnTool::new("crash", "", parameters, async |_: Value| -> Result<String, ToolError> {
            panic!("on purpose")
        });
    let broken = Fake::new([calls(&[("crash", json!({}))])]);
    let agent = asking(&broken).tool(crash).build().unwrap();
    run(&agent, "go").await.unwrap_err();

    let options = agentcore::RunOptions::new().provider(Fake::new([says("fine")]));
    let result = agentcore::run_with(&agent, "go", options).await.unwrap();

    assert_eq!((result.output.as_str(), result.steps, result.messages.len()), ("fine", 1, 2));
}
