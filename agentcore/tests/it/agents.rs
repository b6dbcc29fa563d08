//! What an agent can be given, row by row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agentcore::memory::{InMemory, Memory};
use agentcore::{
    Agent, Context, FailureCode, FinishReason, InstructionsCx, Message, ModelError, ModelErrorKind,
    RetryPolicy, RunError, RunOptions, ToolCx, run, run_with, tool,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake::{Fake, calls, says};

#[tool]
fn look() -> &'static str {
    "nothing"
}

fn asking(model: &Arc<Fake>) -> agentcore::AgentBuilder {
    Agent::builder("a").model("fake:model-1").provider(model.clone())
}

#[tokio::test]
async fn the_model_is_asked_as_the_agent_says() {
    let model = Fake::new([says("hi")]);
    let agent = asking(&model).instructions("Be brief.").tool(look).max_tokens(7).build().unwrap();
    run(&agent, "hello").await.unwrap();
    run(&agent.to_builder().temperature(0.2).build().unwrap(), "hello").await.unwrap();

    let [first, second] = &model.asked()[..] else { panic!("asked twice") };
    assert_eq!(first.model, "model-1");
    assert_eq!(first.messages, [Message::system("Be brief."), Message::user("hello")]);
    assert_eq!(first.tools.iter().map(|spec| &*spec.name).collect::<Vec<_>>(), ["look"]);
    assert_eq!((first.temperature, first.max_tokens), (Some(1.0), Some(7)));
    assert_eq!(second.temperature, Some(0.2));
}

#[tokio::test]
async fn without_a_provider_the_error_says_what_is_missing() {
    let agent = Agent::builder("lost").model("martian:large").build().unwrap();

    let error = run(&agent, "hi").await.unwrap_err();

    assert!(matches!(error, RunError::NoProvider { .. }));
    let text = error.to_string();
    for part in ["`martian:large`", "`lost`", "`.provider(..)`"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_run_may_bring_its_own_model_provider_and_history() {
    let (own, other) = (Fake::new([says("own")]), Fake::new([says("other")]));
    let agent = asking(&own).build().unwrap();
    let history = vec![Message::user("one"), Message::assistant("two")];

    let options = RunOptions::new().provider(other.clone()).model("fake:big").messages(history);
    let result = run_with(&agent, "three", options).await.unwrap();

    assert_eq!(result.output, "other");
    assert_eq!(other.asked()[0].model, "big");
    assert_eq!(other.asked()[0].messages.len(), 3);
    assert_eq!(result.messages.len(), 4);
    assert!(own.asked().is_empty());
}

#[tokio::test]
async fn instructions_may_be_written_anew_for_each_run() {
    let model = Fake::new([says("hi")]);
    let context = Context::new();
    context.set("day", "Monday");
    let by_function = asking(&model).context(context).instructions_with(|cx: &InstructionsCx| {
        let day: Option<String> = cx.context.get_as("day");
        format!("You are {}. Today is {}.", cx.agent_name, day.unwrap_or_default())
    });
    let by_async_function = asking(&model).instructions_async(async |cx: InstructionsCx| {
        tokio::task::yield_now().await;
        format!("Answer {:?}.", &*cx.input)
    });

    run(&by_function.build().unwrap(), "hi").await.unwrap();
    run(&by_async_function.build().unwrap(), "hi").await.unwrap();

    let told: Vec<Message> =
        model.asked().into_iter().map(|mut asked| asked.messages.remove(0)).collect();
    let expected = ["You are a. Today is Monday.", "Answer \"hi\"."].map(Message::system);
    assert_eq!(told, expected);
}

fn busy() -> ModelError {
    ModelError::from_status(503, "busy".into(), None)
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_as_often_as_the_run_says() {
    let replies = || [Err(busy()), Err(busy()), Ok(says("at last"))];
    let agent = |model: &Arc<Fake>| asking(model).build().unwrap();

    let patient = Fake::named("fake", replies());
    assert_eq!(run(&agent(&patient), "hi").await.unwrap().output, "at last");
    assert_eq!(patient.asked().len(), 3);

    let hasty = Fake::named("fake", replies());
    let error = run_with(&agent(&hasty), "hi", RunOptions::new().max_retries(1)).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, FailureCode::ModelUnavailable);
    assert_eq!(hasty.asked().len(), 2);
}

#[tokio::test]
async fn what_will_not_get_better_is_not_tried_again_but_the_fallback_is_asked() {
    for (kind, code) in [
        (ModelErrorKind::ContextLength, FailureCode::ContextLength),
        (ModelErrorKind::Invalid, FailureCode::ModelRejected),
        (ModelErrorKind::Auth, FailureCode::ModelAuth),
    ] {
        let model = Fake::named("fake", [Err(ModelError::new(kind, "no"))]);
        let error = run(&asking(&model).build().unwrap(), "hi").await.unwrap_err();
        assert_eq!((error.failure().unwrap().code, model.asked().len()), (code, 1));

        let reserve = Fake::named("reserve", [Ok(says("here"))]);
        let agent = asking(&model).fallback_model(reserve).build().unwrap();
        assert_eq!(run(&agent, "hi").await.unwrap().output, "here", "{kind:?}");
    }
}

#[tokio::test]
async fn a_fallback_by_name_is_the_same_providers_when_the_name_is() {
    let model =
        Fake::named("fake", [Err(ModelError::new(ModelErrorKind::Quota, "")), Ok(says("small"))]);
    let agent = asking(&model).fallback_model("fake:model-2").build().unwrap();

    assert_eq!(run(&agent, "hi").await.unwrap().output, "small");

    let names: Vec<String> = model.asked().into_iter().map(|asked| asked.model).collect();
    assert_eq!(names, ["model-1", "model-2"]);
    let missing = asking(&model).fallback_model("martian:x").build().unwrap();
    assert!(matches!(run(&missing, "hi").await, Err(RunError::NoProvider { .. })));
}

#[tokio::test]
async fn the_bare_loop_does_not_notice_circles_but_ends_with_its_steps() {
    let model = Fake::new([calls(&[("look", json!({}))])]);
    let agent = asking(&model).tool(look).retries(RetryPolicy::default()).build().unwrap();

    let bare = agent.run("go", RunOptions::new()).await.unwrap();
    assert_eq!((bare.finish_reason, bare.steps), (FinishReason::MaxSteps, 10));

    let short = run_with(&agent, "go", RunOptions::new().max_steps(2)).await.unwrap();
    assert_eq!((short.finish_reason, short.steps), (FinishReason::MaxSteps, 2));

    let strict = run_with(&agent, "go", RunOptions::new().loop_threshold(2)).await.unwrap_err();
    assert_eq!(strict.result().unwrap().steps, 2);
}

#[derive(Debug, PartialEq, Deserialize, schemars::JsonSchema)]
struct Weather {
    /// In degrees.
    celsius: f64,
    sunny: bool,
}

#[tokio::test]
async fn an_output_type_is_told_checked_repaired_and_parsed() {
    let fits = r#"{"celsius": 21.5, "sunny": true}"#;
    let model = Fake::new([says("It is nice."), says(fits)]);
    let agent = asking(&model).output_type::<Weather>().build().unwrap();

    let result = run(&agent, "How is it?").await.unwrap();

    assert_eq!(result.output, fits);
    assert_eq!(result.parsed, Some(json!({ "celsius": 21.5, "sunny": true })));
    assert_eq!(result.parse::<Weather>().unwrap(), Weather { celsius: 21.5, sunny: true });
    let asked = model.asked();
    assert_eq!(asked[0].output.as_ref().unwrap().schema["required"], json!(["celsius", "sunny"]));
    let Some(Message::User { content }) = asked[1].messages.last() else { panic!("no complaint") };
    assert!(content.text().starts_with("Your answer was not accepted"), "{content:?}");

    let stubborn = Fake::new([says("It is nice.")]);
    let agent = asking(&stubborn).output_type::<Weather>().build().unwrap();
    let error = run(&agent, "How is it?").await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, FailureCode::OutputInvalid);
    assert_eq!(stubborn.asked().len(), 2, "one repair turn");
}

#[tokio::test]
async fn an_output_schema_does_what_a_type_does_and_a_text_can_be_parsed_without() {
    let model = Fake::new([says("[1, 2]")]);
    let schema = json!({ "type": "array", "items": { "type": "integer" } });
    let agent = asking(&model).output_schema(schema).build().unwrap();
    assert_eq!(run(&agent, "count").await.unwrap().parsed, Some(json!([1, 2])));

    let plain = run(&asking(&model).build().unwrap(), "count").await.unwrap();
    assert_eq!((plain.parsed.as_ref(), plain.parse::<Vec<u8>>().unwrap()), (None, vec![1, 2]));
}

#[tokio::test]
async fn memory_keeps_conversations_and_lets_the_model_remember_and_recall() {
    let memory = Arc::new(InMemory::new());
    let model = Fake::new([
        calls(&[("remember", json!({ "fact": "Ada likes tea" }))]),
        says("Noted."),
        calls(&[("recall", json!({ "query": "Ada" }))]),
        says("Tea."),
    ]);
    let agent = asking(&model).memory(memory.clone()).build().unwrap();
    let conversation = || RunOptions::new().conversation("c1");

    run_with(&agent, "Ada likes tea", conversation()).await.unwrap();
    let second = run_with(&agent, "What does Ada like?", conversation()).await.unwrap();

    assert_eq!(second.output, "Tea.");
    assert_eq!(second.messages.len(), 8, "four of each run");
    assert!(
        matches!(&second.messages[6], Message::Tool { content, .. } if content == "Ada likes tea")
    );
    assert_eq!(memory.history("c1").await.unwrap(), second.messages);
    assert_eq!(memory.history("c2").await.unwrap(), []);
}

#[tokio::test]
async fn a_failed_run_leaves_memory_and_context_as_they_were() {
    let (memory, context) = (Arc::new(InMemory::new()), Context::new());
    let wrong = ModelError::new(ModelErrorKind::Invalid, "no");
    let model = Fake::named("fake", [Ok(calls(&[("note", json!({}))])), Err(wrong)]);
    let agent = asking(&model).tool(note).memory(memory.clone()).context(context.clone());

    let options = RunOptions::new().conversation("c1");
    run_with(&agent.build().unwrap(), "hi", options).await.unwrap_err();

    assert_eq!(memory.history("c1").await.unwrap(), []);
    assert_eq!(context.get("noted"), None);
}

#[tool]
fn note(cx: &ToolCx) -> &'static str {
    let noted: u32 = cx.context().get_as("noted").unwrap_or_default();
    cx.context().set("noted", noted + 1);
    "noted"
}

#[tokio::test]
async fn context_is_kept_from_run_to_run_and_a_run_may_bring_its_own() {
    let model = || Fake::new([calls(&[("note", json!({}))]), says("ok")]);
    let (kept, brought) = (Context::new(), Context::new());
    let agent = |model: &Arc<Fake>| asking(model).tool(note).context(kept.clone()).build().unwrap();

    run(&agent(&model()), "hi").await.unwrap();
    run(&agent(&model()), "hi").await.unwrap();
    run_with(&agent(&model()), "hi", RunOptions::new().context(brought.clone())).await.unwrap();

    assert_eq!((kept.get("noted"), brought.get("noted")), (Some(2.into()), Some(1.into())));
}

#[tokio::test]
async fn near_the_window_the_oldest_turns_are_summarised_and_nothing_is_lost() {
    let turns = AtomicU32::new(0);
    let long =
        agentcore::FnTool::new("read", "Reads.", json!({ "type": "object" }), move |_: Value| {
            let page = turns.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(format!("page {page}: {}", "word ".repeat(350))))
        });
    let read = |page: u32| calls(&[("read", json!({ "page": page }))]);
    let model = Fake::new([read(0), read(1), says("pages 0 was read"), read(2), says("all read")]);
    let agent = asking(&model).tool(long).context_window(1000).build().unwrap();

    let result = run(&agent, "Read it all.").await.unwrap();

    assert_eq!(result.output, "all read");
    let asked = model.asked();
    let Message::User { content } = &asked[2].messages[1] else { panic!("no request") };
    assert!(content.text().starts_with("[user] Read it all."), "{content:?}");
    assert!(asked[2].tools.is_empty());
    let Message::User { content } = &asked[3].messages[0] else { panic!("no summary") };
    assert!(content.text().ends_with("pages 0 was read"));
    assert_eq!(asked[3].messages[1], Message::user("Read it all."), "in the user's own words");
    let answers = result.messages.iter().filter(|m| matches!(m, Message::Tool { .. })).count();
    assert_eq!(answers, 3);
}
