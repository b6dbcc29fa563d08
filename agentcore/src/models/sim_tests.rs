use std::time::Duration;

use serde_json::json;
use shared_models::effect::Effect;
use shared_models::message::Message;

use super::*;
use crate::model::complete;
use crate::tool::ToolSpec;

async fn ask(sim: &Sim, model: &str, messages: &[Message]) -> Result<Reply, ModelError> {
    let look = ToolSpec {
        name: "look".into(),
        description: "Looks.".into(),
        parameters: json!({ "type": "object", "properties": { "for": { "type": "string" } } }),
        effect: Effect::Read,
        timeout: Duration::from_secs(1),
    };
    let (model, messages) = (model.to_owned(), messages.to_vec());
    let request =
        ModelRequest { model, messages, tools: vec![look].into(), ..ModelRequest::default() };
    complete(sim, &request, |_| ()).await
}

fn result(content: &str) -> Message {
    Message::Tool {
        tool_call_id: "sim_0_0".into(),
        tool_name: "look".into(),
        content: content.into(),
        error: false,
    }
}

#[tokio::test]
async fn echo_repeats_the_user_word_by_word() {
    let mut pieces = 0;
    let messages =
        vec![Message::user("first"), Message::assistant("x"), Message::user("one two\nthree")];
    let request = ModelRequest { model: "echo".into(), messages, ..ModelRequest::default() };

    let on_event = |_| pieces += 1;
    let reply = complete(&Sim::new(), &request, on_event).await.unwrap();

    assert_eq!(reply.content, "one two\nthree");
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (5, 3));
    assert_eq!(pieces, 3);
}

#[tokio::test]
async fn demo_calls_the_first_tool_once_and_owns_up_to_being_simulated() {
    let sim = Sim::new();
    let mut messages = vec![Message::user("the cat")];

    let first = ask(&sim, "demo", &messages).await.unwrap();
    let arguments = r#"{"for":"the cat"}"#.to_owned();
    let call = ToolCall { id: "sim_0_0".into(), name: "look".into(), arguments };
    assert_eq!(first.tool_calls, [call]);

    messages.extend([Message::assistant(""), result("on the mat")]);
    let second = ask(&sim, "demo", &messages).await.unwrap();
    assert_eq!(second.content, "I am a simulated model. The tool `look` answered: on the mat");
    assert_eq!(second.tool_calls, []);

    messages.extend([Message::assistant(""), Message::user("the dog")]);
    let third = ask(&sim, "demo", &messages).await.unwrap();
    assert_eq!(third.tool_calls.len(), 1, "a new question calls the tool again");
    assert_eq!(third.tool_calls[0].id, "sim_2_0");
}

#[tokio::test]
async fn a_script_is_played_turn_by_turn() {
    let script = r#"```sim
        [{ "text": "looking", "tool_calls": [{ "name": "look", "arguments": { "for": "{{input}}" } }] },
         { "text": "it is {{last_tool_result}}" }]
        ```"#;
    let sim = Sim::new();
    let mut messages = vec![Message::system(script), Message::user("the cat")];

    let first = ask(&sim, "script", &messages).await.unwrap();
    assert_eq!((first.content.as_str(), first.finish), ("looking", ReplyFinish::ToolCalls));
    assert_eq!(first.tool_calls[0].arguments, r#"{"for":"the cat"}"#);

    messages.extend([Message::assistant("looking"), result("on the mat")]);
    assert_eq!(ask(&sim, "script", &messages).await.unwrap().content, "it is on the mat");

    messages.push(Message::assistant("it is on the mat"));
    let past = ask(&sim, "script", &messages).await.unwrap();
    assert!(past.content.contains("simulated model") && past.tool_calls.is_empty());
}

#[tokio::test]
async fn a_scripted_failure_passes_after_its_times() {
    let sim = Sim::new();
    let script = r#"```sim
        [{ "text": "at last", "fail": { "status": 429, "times": 2, "retry_after": 3 } }]```"#;
    let messages = [Message::system(script), Message::user("hi")];

    for _ in 0..2 {
        let error = ask(&sim, "script", &messages).await.unwrap_err();
        assert_eq!((error.is_transient(), error.retry_after), (true, Some(Duration::from_secs(3))));
    }
    assert_eq!(ask(&sim, "script", &messages).await.unwrap().content, "at last");
    assert!(
        ask(&sim, "script", &messages).await.is_err(),
        "the next such conversation fails again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_scripted_delay_takes_its_time() {
    let messages = [Message::system("```sim\n[{\"delay_ms\": 5000}]\n```"), Message::user("hi")];
    let begin = tokio::time::Instant::now();

    ask(&Sim::new(), "script", &messages).await.unwrap();

    assert!(begin.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn what_sim_cannot_do_is_refused_for_good() {
    let sim = Sim::new();
    for (model, part) in [("gpt-9", "no model `gpt-9`"), ("script", "needs a ```sim block")] {
        let error = ask(&sim, model, &[Message::user("hi")]).await.unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_program_plays_what_it_wrote() {
    let sim = Sim::script([
        Turn::text("two calls")
            .reasoning("let me see")
            .and_call("look", json!({ "for": "{{input}}" }))
            .and_raw_call("look", "{oops"),
        Turn::fail(ModelErrorKind::RateLimited),
        Turn::text("done")
            .usage(Usage { cache_read_tokens: 7, ..Usage::default() })
            .finish(ReplyFinish::Length),
        Turn::text("half a sentence").cut_after(2),
    ]);
    let messages = [Message::user("cat")];

    let first = ask(&sim, "any", &messages).await.unwrap();
    let arguments: Vec<&str> =
        first.tool_calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, [r#"{"for":"cat"}"#, "{oops"]);
    assert_eq!((first.reasoning.as_deref(), first.usage.reasoning_tokens), (Some("let me see"), 3));

    let second = ask(&sim, "any", &messages).await.unwrap_err();
    assert_eq!(second.kind, ModelErrorKind::RateLimited);

    let third = ask(&sim, "any", &messages).await.unwrap();
    assert_eq!((third.finish, third.usage.total()), (ReplyFinish::Length, 7));

    let mut said = String::new();
    let request = ModelRequest::default();
    let see = |event| {
        if let ModelEvent::TextDelta(text) = event {
            said.push_str(&text);
        }
    };
    let error = complete(&sim, &request, see).await.unwrap_err();
    assert_eq!((error.kind, said.as_str()), (ModelErrorKind::Cut, "half a "));

    let ended = ask(&sim, "any", &messages).await.unwrap_err();
    assert_eq!((ended.kind, sim.asked().len()), (ModelErrorKind::Invalid, 5));
}

#[tokio::test]
async fn a_last_turn_may_be_repeated_without_end() {
    let sim = Sim::script([Turn::text("once"), Turn::call("look", json!({})).repeat()]);
    ask(&sim, "any", &[]).await.unwrap();
    for _ in 0..50 {
        assert_eq!(ask(&sim, "any", &[]).await.unwrap().tool_calls.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scripted_pace_is_kept_word_by_word() {
    let sim = Sim::script([Turn { pace_ms: 1000, ..Turn::text("one two three") }]);
    let begin = tokio::time::Instant::now();
    ask(&sim, "any", &[]).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3);
}
