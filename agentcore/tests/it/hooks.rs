//! The seven points at which a program looks into a run, or stops it.

use std::sync::{Arc, Mutex};

use agentcore::{
    Agent, AgentBuilder, FailureCode, FinishReason, HookData, HookError, HookPoint, Message, run,
    tool,
};
use serde_json::json;

use crate::fake::{Fake, calls, says};

const ALL: [HookPoint; 7] = [
    HookPoint::Start,
    HookPoint::Finished,
    HookPoint::Error,
    HookPoint::PreLlmCall,
    HookPoint::PostLlmCall,
    HookPoint::PreToolCall,
    HookPoint::PostToolCall,
];

#[tool]
fn look(at: String) -> String {
    format!("saw {at}")
}

fn agent() -> AgentBuilder {
    let model = Fake::new([calls(&[("look", json!({ "at": "x" }))]), says("done")]);
    Agent::builder("watched").model("fake:x").provider(model).tool(look)
}

type Log = Arc<Mutex<Vec<String>>>;

fn logged(builder: AgentBuilder, log: &Log, points: &[HookPoint], name: &str) -> AgentBuilder {
    points.iter().fold(builder, |builder, point| {
        let (log, name) = (log.clone(), name.to_owned());
        builder.hook(*point, move |data: HookData| {
            log.lock().unwrap().push(format!("{name}{}", describe(&data)));
            async { Ok(()) }
        })
    })
}

fn describe(data: &HookData) -> String {
    let agent = data.agent().name();
    match data {
        HookData::PreLlmCall { messages, .. } => format!("{agent} asks with {}", messages.len()),
        HookData::PostLlmCall { response, .. } => format!("{agent} hears {:?}", response.content),
        HookData::PreToolCall { tool_name, arguments, .. } => {
            format!("{agent} calls {tool_name} {arguments}")
        }
        HookData::PostToolCall { tool_name, result, .. } => {
            format!("{agent} has {} of {tool_name}", result.content)
        }
        HookData::Error { failure, .. } => format!("{agent} failed: {:?}", failure.code),
        other => format!("{agent} {:?}", other.point()),
    }
}

async fn stops(_: HookData) -> Result<(), HookError> {
    Err("enough".into())
}

#[tokio::test]
async fn each_point_is_told_what_happens_there_in_the_order_of_the_loop() {
    let log = Log::default();
    let agent = logged(agent(), &log, &ALL, "").build().unwrap();

    run(&agent, "go").await.unwrap();

    assert_eq!(
        *log.lock().unwrap(),
        [
            "watched Start",
            "watched asks with 1",
            "watched hears \"\"",
            "watched calls look {\"at\":\"x\"}",
            "watched has saw x of look",
            "watched asks with 3",
            "watched hears \"done\"",
            "watched Finished",
        ]
    );
}

#[tokio::test]
async fn hooks_of_a_point_are_called_one_after_the_other_as_registered() {
    let log = Log::default();
    let slow = log.clone();
    let agent = agent().hook(HookPoint::Start, move |_| {
        let slow = slow.clone();
        async move {
            tokio::task::yield_now().await;
            slow.lock().unwrap().push("slow".into());
            Ok(())
        }
    });
    let agent = logged(agent, &log, &[HookPoint::Start], "then ").build().unwrap();

    run(&agent, "go").await.unwrap();

    assert_eq!(*log.lock().unwrap(), ["slow", "then watched Start"]);
}

#[tokio::test]
async fn a_failing_hook_aborts_the_run_at_every_point_and_then_error_fires() {
    for point in ALL.into_iter().filter(|point| *point != HookPoint::Error) {
        let log = Log::default();
        let agent = agent().hook(point, stops);
        let agent = logged(agent, &log, &[point, HookPoint::Error], "").build().unwrap();

        let error = run(&agent, "go").await.unwrap_err();

        let (failure, result) = (error.failure().unwrap(), error.result().unwrap());
        assert_eq!(failure.code, FailureCode::HookFailed, "{point:?}");
        assert_eq!(failure.message, format!("a hook at {point:?} stopped the run: enough"));
        assert_eq!(result.finish_reason, FinishReason::Error);
        assert_eq!(*log.lock().unwrap(), ["watched failed: HookFailed"], "{point:?}");
        let calls = result.messages.iter().filter(|m| matches!(m, Message::Tool { .. })).count();
        let asked = result.messages.iter().filter(
            |m| matches!(m, Message::Assistant { tool_calls, .. } if !tool_calls.is_empty()),
        );
        assert_eq!(calls, asked.count(), "{point:?}: no call is left without an answer");
    }
}

#[tokio::test]
async fn a_hook_that_crashes_aborts_the_run_and_one_that_fails_at_an_error_changes_nothing() {
    let crashing = agent().hook(HookPoint::Start, async |_| panic!("on purpose"));
    let crashing = crashing.hook(HookPoint::Error, stops).build().unwrap();

    let error = run(&crashing, "go").await.unwrap_err();

    assert_eq!(error.failure().unwrap().message, "a hook at Start crashed");
}
