//! Models that say nothing, too much, or not what they should; and conversations that grow too long.

use serde_json::json;

use super::tests::{answers, asks, call, says, started, the_end, tool_results};
use super::*;
use crate::window::Window;

#[test]
fn a_model_that_says_nothing_is_asked_twice_more_and_then_has_failed() {
    let mut state = started();
    let prompt = state.prompt();

    assert_eq!(step(&mut state, says("")), [Command::CallModel]);
    assert_eq!(state.prompt(), prompt, "silence is not sent");
    assert_eq!(step(&mut state, says("")), [Command::CallModel]);
    let outcome = the_end(step(&mut state, says("")));

    assert_eq!(outcome.finish_reason, FinishReason::Error);
    assert_eq!(outcome.error.unwrap().code, FailureCode::EmptyReply);
    assert_eq!(state.steps, 3);
}

#[test]
fn a_word_in_between_forgives_the_silence_and_steps_bound_it() {
    let mut state = started().with_max_steps(4);
    step(&mut state, says(""));
    step(&mut state, says(""));
    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", "x"));
    let outcome = the_end(step(&mut state, says("")));
    assert_eq!(outcome.finish_reason, FinishReason::MaxSteps);
    assert_eq!(outcome.output, "let me look");
}

#[test]
fn a_pause_goes_on_with_what_was_said_so_far() {
    let mut state = started();
    let pause = Reply { content: "first".into(), finish: ReplyFinish::Pause, ..Reply::default() };

    assert_eq!(step(&mut state, Happened::Replied(pause)), [Command::CallModel]);
    assert_eq!(state.prompt().last(), Some(&Message::assistant("first")));
    assert_eq!(the_end(step(&mut state, says("second"))).output, "second");
}

fn wants_a_number() -> Conversation {
    let schema = json!({ "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" } } });
    let mut state =
        Conversation::new("be brief").with_output_schema(Some(schema)).with_max_steps(1);
    step(&mut state, Happened::Started { input: vec![Message::user("hi")] });
    state
}

#[test]
fn an_output_that_fits_its_type_comes_parsed_as_well() {
    let mut state = wants_a_number();
    let Some(Message::System { content }) = state.prompt().first().cloned() else {
        panic!("no instructions")
    };
    assert!(content.starts_with("be brief\n\nGive your final answer as JSON"), "{content}");

    let outcome = the_end(step(&mut state, says("```json\n{\"n\":1}\n```")));

    assert_eq!(outcome.parsed, Some(json!({ "n": 1 })));
    assert_eq!((outcome.error, state.steps), (None, 1));
}

#[test]
fn an_output_that_does_not_fit_is_sent_back_once() {
    let mut state = wants_a_number();

    assert_eq!(step(&mut state, says("one")), [Command::CallModel]);
    let Some(Message::User { content }) = state.messages.last() else { panic!("no complaint") };
    assert!(content.text().contains("the answer is not JSON"), "{content:?}");
    let outcome = the_end(step(&mut state, says(r#"{"n":1}"#)));

    assert_eq!(outcome.parsed, Some(json!({ "n": 1 })));
    assert_eq!(state.steps, 2, "although one was all it had");
}

#[test]
fn an_output_that_does_not_fit_the_second_time_is_an_error() {
    let mut state = wants_a_number();
    step(&mut state, says("one"));

    let outcome = the_end(step(&mut state, says(r#"{"n":"one"}"#)));

    let error = outcome.error.unwrap();
    assert_eq!(error.code, FailureCode::OutputInvalid);
    assert!(error.message.contains("/n"), "{error}");
    assert_eq!((outcome.output.as_str(), outcome.parsed), (r#"{"n":"one"}"#, None));
}

#[test]
fn a_conversation_that_grows_too_long_is_summarised_before_the_next_reply() {
    let window = Window { keep_turns: 1, ..Window::new(200) };
    let mut state = started().with_window(Some(window));
    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", &"x".repeat(400)));
    step(&mut state, asks(&[call("b", "2")]));

    let commands = step(&mut state, answers("b", &"y".repeat(400)));

    assert_eq!(commands, [Command::Summarise { upto: 3 }]);
    assert_eq!(due(&state), commands, "a driver that takes over goes on from here");
    let usage = Usage { input_tokens: 7, ..Usage::default() };
    let summarised = Happened::Summarised { upto: 3, text: "looked twice".into(), usage };
    assert_eq!(step(&mut state, summarised), [Command::CallModel]);
    let prompt = state.prompt();
    assert!(
        matches!(&prompt[1], Message::User { content } if content.text().ends_with("looked twice"))
    );
    assert_eq!(prompt[2], Message::user("hi"));
    assert_eq!(prompt.len(), 5);
    assert_eq!(state.messages.len(), 5, "nothing is lost");
    assert_eq!(state.usage.input_tokens, 27);
}

#[test]
fn without_a_summary_the_conversation_goes_on_as_long_as_it_is() {
    let mut state = Conversation::new("").with_window(Some(Window::new(10)));
    let history = vec![Message::user("x".repeat(100)), Message::assistant("y"), Message::user("z")];

    let commands = step(&mut state, Happened::Started { input: history });
    assert_eq!(commands, [Command::Summarise { upto: 2 }]);

    assert_eq!(step(&mut state, Happened::NotSummarised), [Command::CallModel]);
    assert_eq!(state.prompt().len(), 3);
}

#[test]
fn arguments_that_are_too_long_do_not_stay_in_the_conversation() {
    let mut state = started();
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(10_000_000));

    let commands = step(&mut state, asks(&[call("a", &long)]));

    let [Command::CallTools(calls)] = &commands[..] else { panic!("{commands:?}") };
    assert!(calls[0].arguments.len() < 300);
    assert!(serde_json::to_string(&state).unwrap().len() < 3000);
}

#[test]
fn a_driver_that_cannot_go_on_leaves_no_call_without_an_answer() {
    let mut state = started();
    step(&mut state, asks(&[call("a", "1")]));
    let failure = Failure { code: FailureCode::HookFailed, message: "no".into() };

    let outcome = the_end(step(&mut state, Happened::Aborted(failure.clone())));

    assert_eq!((outcome.error, outcome.finish_reason), (Some(failure), FinishReason::Error));
    assert_eq!(tool_results(&state), [("a", "not called", true)]);
}

#[test]
fn a_conversation_kept_by_an_older_version_is_read() {
    let mut kept = serde_json::to_value(started()).unwrap();
    let fields = kept.as_object_mut().unwrap();
    for new in ["repaired", "empty_replies"] {
        assert!(fields.remove(new).is_some(), "{new}");
    }
    assert_eq!(serde_json::from_value::<Conversation>(kept).unwrap(), started());
}

#[test]
fn names_that_providers_refuse_are_not_sent_back_to_them() {
    let mut state = started();
    let named = |name: &str| ToolCall { name: name.into(), ..call("", "1") };
    let long = "x".repeat(10_000);

    step(&mut state, asks(&[named("functions.look"), named(""), named(&long), named("a-b_1")]));

    let names: Vec<&str> = state.unanswered().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["functions_look", "_", &long[..64], "a-b_1"]);
}

#[test]
fn a_refusal_without_a_word_is_not_asked_about_again() {
    let mut state = started();
    let refusal = Reply { finish: ReplyFinish::ContentFilter, ..Reply::default() };

    let outcome = the_end(step(&mut state, Happened::Replied(refusal)));

    assert_eq!(outcome.error.unwrap().code, FailureCode::ModelRejected);
}

#[test]
fn a_conversation_goes_on_from_the_summary_of_another_and_adds_to_it() {
    let window = Window { keep_turns: 1, ..Window::new(200) };
    let mut state =
        Conversation::new("be brief").with_summary("they have met").with_window(Some(window));
    step(&mut state, Happened::Started { input: vec![Message::user("hi")] });

    let prompt = state.prompt();
    assert!(
        matches!(&prompt[1], Message::User { content } if content.text().ends_with("they have met"))
    );
    assert_eq!(prompt[2..], [Message::user("hi")]);

    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", &"x".repeat(400)));
    step(&mut state, asks(&[call("b", "2")]));
    let commands = step(&mut state, answers("b", &"y".repeat(400)));
    assert_eq!(commands, [Command::Summarise { upto: 3 }]);
    let asked = format!("{:?}", state.summary_prompt(3));
    assert!(asked.contains("[summary of what came before] they have met"), "{asked}");
}
