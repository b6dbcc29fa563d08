//! Whole runs on the simulated model.

use std::sync::Arc;
use std::time::Duration;

use agentcore::models::sim::Sim;
use agentcore::{
    Agent, AgentBuilder, EventKind, FailureCode, FinishReason, FnTool, Message, RunError,
    RunOptions, StatusChange, StreamEvent, ToolError, run, run_blocking, run_stream,
    run_stream_with,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Barrier;

fn scripted(turns: &Value) -> AgentBuilder {
    Agent::builder("actor").model("sim:script").instructions(format!("```sim\n{turns}\n```"))
}

fn calls(names: &[&str]) -> Value {
    let calls: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({ "text": "calling", "tool_calls": calls })
}

fn tool<F, Fut>(name: &str, function: F) -> FnTool
where
    F: Fn(Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, ToolError>> + Send + 'static,
{
    let parameters = json!({ "type": "object", "additionalProperties": false });
    FnTool::new(name, "A tool.", parameters, function)
}

fn tool_results(messages: &[Message]) -> Vec<(&str, &str, bool)> {
    let results = messages.iter().filter_map(|message| match message {
        Message::Tool { tool_name, content, error, .. } => {
            Some((tool_name.as_str(), content.as_str(), *error))
        }
        _ => None,
    });
    results.collect()
}

#[tokio::test]
async fn a_history_goes_on_where_it_ended() {
    let agent = Agent::builder("parrot").model("sim:echo").build().unwrap();

    let first = run(&agent, "one").await.unwrap();
    let mut history = first.messages;
    history.push(Message::user("two"));
    let second = run(&agent, history).await.unwrap();

    assert_eq!(second.output, "two");
    assert_eq!(second.messages.len(), 4);
    assert_eq!((second.usage.input_tokens, second.usage.output_tokens), (3, 1));
    assert_eq!(second.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_run_works_without_and_within_a_runtime() {
    let agent = Agent::builder("parrot").model(Arc::new(Sim::new())).build().unwrap();
    let error = run_blocking(&agent, "hi").unwrap_err();
    assert!(error.to_string().contains("sim has no model `sim`"), "{error}");

    let agent = Agent::builder("parrot").model("sim:echo").build().unwrap();
    assert_eq!(run_blocking(&agent, "hi").unwrap().output, "hi");
}

#[tokio::test]
async fn the_tools_of_a_turn_run_at_the_same_time_and_answer_in_call_order() {
    // Each waits for the other, so that one after the other would never end.
    let both = Arc::new(Barrier::new(2));
    let waiting = |name: &'static str| {
        let both = both.clone();
        tool(name, move |_| {
            let both = both.clone();
            async move {
                both.wait().await;
                Ok(format!("{name} is done"))
            }
        })
    };
    let agent = scripted(&json!([calls(&["b", "a"]), { "text": "{{last_tool_result}}" }]))
        .tool(waiting("a"))
        .tool(waiting("b"))
        .build()
        .unwrap();

    let result = run(&agent, "go").await.unwrap();

    assert_eq!(
        tool_results(&result.messages),
        [("b", "b is done", false), ("a", "a is done", false)]
    );
    assert_eq!((result.output.as_str(), result.steps), ("a is done", 2));
}

#[tokio::test(start_paused = true)]
async fn whatever_a_tool_does_the_model_hears_of_it_and_the_run_goes_on() {
    let turn = json!({ "tool_calls": [
        { "name": "nothing" }, { "name": "strict", "arguments": { "x": 1 } }, { "name": "refuses" },
        { "name": "crashes" }, { "name": "hangs" }, { "name": "works" },
    ] });
    let agent = scripted(&json!([turn, { "text": "survived" }]))
        .tool(tool("strict", async |_| Ok("never".into())))
        .tool(tool("refuses", async |_| Err(ToolError::Tell("not on Sundays".into()))))
        .tool(tool("crashes", async |_| panic!("on purpose")))
        .tool(tool("hangs", async |_| std::future::pending().await).timeout(Duration::from_secs(9)))
        .tool(tool("works", async |_| Ok("fine".into())))
        .build()
        .unwrap();

    let result = run(&agent, "go").await.unwrap();

    assert_eq!(result.output, "survived");
    let results = tool_results(&result.messages);
    let expected = [
        ("nothing", "there is no tool `nothing`; there are: strict, refuses"),
        ("strict", "the arguments do not fit the tool's schema: "),
        ("refuses", "not on Sundays"),
        ("crashes", "the tool `crashes` crashed"),
        ("hangs", "the tool `hangs` took longer than 9s"),
    ];
    for ((name, content, error), (expected_name, beginning)) in results.iter().zip(expected) {
        assert!(*error && *name == expected_name, "{name}: {content}");
        assert!(content.starts_with(beginning), "{name}: {content}");
    }
    assert_eq!(results[5], ("works", "fine", false));
}

#[tokio::test]
async fn a_run_that_goes_round_in_circles_fails() {
    let turns: Vec<Value> = (0..9).map(|_| calls(&["look"])).collect();
    let look = tool("look", async |_| Ok("nothing new".into()));
    let agent = scripted(&turns.into()).tool(look).build().unwrap();

    let error = run(&agent, "go").await.unwrap_err();

    let RunError::Failed { failure, result, .. } = error else { panic!("{error}") };
    assert_eq!(failure.code, FailureCode::LoopDetected);
    assert_eq!((result.steps, result.finish_reason), (3, FinishReason::LoopDetected));
    let called = tool_results(&result.messages).into_iter().filter(|(_, _, error)| !error);
    assert_eq!(called.count(), 2);
}

#[tokio::test]
async fn used_up_steps_end_a_run_with_what_it_has() {
    let agent = scripted(&json!([calls(&["look"]), calls(&["look"])]))
        .tool(tool("look", async |_| Ok("x".into())))
        .max_steps(1)
        .build()
        .unwrap();

    let result = run(&agent, "go").await.unwrap();

    assert_eq!((result.output.as_str(), result.steps), ("calling", 1));
    assert_eq!(result.finish_reason, FinishReason::MaxSteps);
}

#[tokio::test]
async fn a_stream_shows_everything_in_order_and_ends_with_the_result() {
    let agent = scripted(&json!([calls(&["look"]), { "text": "it is {{last_tool_result}}" }]))
        .tool(tool("look", async |_| Ok("here".into())))
        .build()
        .unwrap();

    let detailed = RunOptions::new().detailed();
    let events: Vec<StreamEvent> =
        run_stream_with(&agent, "go", detailed).map(Result::unwrap).collect().await;
    let plain: Vec<StreamEvent> = run_stream(&agent, "go").map(Result::unwrap).collect().await;

    let result = Box::new(run(&agent, "go").await.unwrap());
    let text = |text: &str| EventKind::Text { text: text.into() };
    let (tool_name, tool_call_id) = ("look".to_owned(), "sim_0_0".to_owned());
    let call = EventKind::ToolCall {
        tool_name: tool_name.clone(),
        tool_call_id: tool_call_id.clone(),
        arguments: "{}".into(),
    };
    let content = "here".into();
    let answer = EventKind::ToolResult { tool_name, tool_call_id, content, error: false };
    let shown: Vec<EventKind> = plain.iter().map(|event| event.kind.clone()).collect();
    let finished = EventKind::Finished { result };
    let expected =
        [text("calling"), call.clone(), text("it "), text("is "), text("here"), finished.clone()];
    assert_eq!(shown, expected);

    let usage = |event: &EventKind| matches!(event, EventKind::Usage { .. });
    let seen: Vec<&EventKind> =
        events.iter().map(|event| &event.kind).filter(|event| !usage(event)).collect();
    let ended = StatusChange::Finished { finish_reason: FinishReason::Stop };
    let all = [
        EventKind::Status(StatusChange::Started),
        EventKind::Step,
        text("calling"),
        call,
        answer,
        EventKind::Step,
        text("it "),
        text("is "),
        text("here"),
        EventKind::Status(ended),
        finished,
    ];
    assert_eq!(seen, all.iter().collect::<Vec<_>>());
    assert!(events.iter().map(|event| event.seq).eq(1..=13));
    assert!(events.iter().all(|event| *event.path == ["actor".to_owned()]));
    assert!(events.iter().all(|event| &*event.agent_name == "actor"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_when_the_model_is_asked_again() {
    let fail = json!({ "status": 529, "times": 2 });
    let agent = scripted(&json!([{ "text": "at last", "fail": fail }])).build().unwrap();

    let events: Vec<StreamEvent> = run_stream(&agent, "go").map(Result::unwrap).collect().await;

    let retrying =
        |event: &EventKind| matches!(event, EventKind::Status(StatusChange::Retrying { .. }));
    assert_eq!(events.iter().filter(|event| retrying(&event.kind)).count(), 2);
    assert!(matches!(&events.last().unwrap().kind,
        EventKind::Finished { result } if result.output == "at last"));
}

#[tokio::test]
async fn a_run_can_be_moved_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let agent = Agent::builder("parrot").model("sim:echo").build().unwrap();
    assert_eq!(is_send(run(&agent, "hi")).await.unwrap().output, "hi");
}

#[tokio::test]
async fn circles_are_noticed_in_a_stream_before_the_third_turns_tools_are_called() {
    let turns: Vec<Value> = (0..9).map(|_| calls(&["look"])).collect();
    let called = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = called.clone();
    let look = tool("look", move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async { Ok("nothing new".into()) }
    });
    let agent = scripted(&turns.into()).tool(look).build().unwrap();

    let detailed = RunOptions::new().detailed();
    let mut events: Vec<_> = run_stream_with(&agent, "go", detailed).collect().await;

    let Some(Err(RunError::Failed { failure, .. })) = events.pop() else { panic!("no error") };
    assert_eq!(failure.code, FailureCode::LoopDetected);
    assert_eq!(called.load(std::sync::atomic::Ordering::Relaxed), 2);
    let kinds: Vec<EventKind> = events.into_iter().map(|event| event.unwrap().kind).collect();
    let shown = |kind: &&EventKind| matches!(kind, EventKind::ToolCall { .. });
    assert_eq!(kinds.iter().filter(shown).count(), 2);
    let [.., EventKind::Error { code, .. }, EventKind::Status(StatusChange::Finished { .. })] =
        &kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(*code, FailureCode::LoopDetected);
}

#[tokio::test]
async fn an_output_that_is_sent_back_is_seen_in_a_stream() {
    let agent = scripted(&json!([{ "text": "no" }])).output_schema(json!({ "type": "integer" }));
    let detailed = RunOptions::new().detailed();

    let agent = agent.build().unwrap();
    let events: Vec<_> = run_stream_with(&agent, "go", detailed).collect().await;

    let repairs = events.iter().filter(|event| {
        let kind = event.as_ref().ok().map(|event| &event.kind);
        matches!(kind, Some(EventKind::Status(StatusChange::Repairing { .. })))
    });
    assert_eq!(repairs.count(), 1);
    let error = events.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.failure().unwrap().code, FailureCode::OutputInvalid);
}

#[tokio::test]
async fn a_run_given_up_stops_its_tools() {
    struct Dropped(Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = gone.clone();
    let hangs = tool("hangs", move |_| {
        let dropped = Dropped(flag.clone());
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            Ok(String::new())
        }
    });
    let agent = scripted(&json!([calls(&["hangs"])])).tool(hangs).build().unwrap();

    let mut events = run_stream(&agent, "go");
    while let Some(event) = events.next().await {
        if matches!(event.unwrap().kind, EventKind::ToolCall { .. }) {
            break;
        }
    }
    futures::future::poll_immediate(events.next()).await;
    drop(events);

    assert!(gone.load(std::sync::atomic::Ordering::Relaxed));
}
