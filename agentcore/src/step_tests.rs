use proptest::prelude::*;

use serde_json::json;

use super::*;
use crate::window::Window;

pub(super) fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "look".into(), arguments: arguments.into() }
}

pub(super) fn says(text: &str) -> Happened {
    Happened::Replied(Reply { content: text.into(), ..Reply::default() })
}

pub(super) fn asks(calls: &[ToolCall]) -> Happened {
    Happened::Replied(Reply {
        content: "let me look".into(),
        tool_calls: calls.to_vec(),
        usage: Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() },
        ..Reply::default()
    })
}

pub(super) fn answers(call_id: &str, content: &str) -> Happened {
    Happened::Answered { call_id: call_id.into(), answer: Answer::ok(content) }
}

pub(super) fn started() -> Conversation {
    let mut state = Conversation::new("be brief");
    let commands = step(&mut state, Happened::Started { input: vec![Message::user("hi")] });
    assert_eq!(commands, [Command::CallModel]);
    state
}

pub(super) fn tool_results(state: &Conversation) -> Vec<(&str, &str, bool)> {
    let results = state.messages.iter().filter_map(|message| match message {
        Message::Tool { tool_call_id, content, error, .. } => {
            Some((tool_call_id.as_str(), content.as_str(), *error))
        }
        _ => None,
    });
    results.collect()
}

pub(super) fn the_end(commands: Vec<Command>) -> Outcome {
    match <[Command; 1]>::try_from(commands) {
        Ok([Command::Finish(outcome)]) => outcome,
        other => panic!("expected an end, got {other:?}"),
    }
}

#[test]
fn an_answer_without_tool_calls_ends_the_conversation() {
    let mut state = started();

    let outcome = the_end(step(&mut state, says("hello")));

    let stop = Outcome {
        output: "hello".into(),
        finish_reason: FinishReason::Stop,
        error: None,
        parsed: None,
    };
    assert_eq!(outcome, stop);
    assert_eq!(state.messages, [Message::user("hi"), Message::assistant("hello")]);
    assert_eq!(state.prompt().first(), Some(&Message::system("be brief")));
}

#[test]
fn the_model_is_asked_again_only_when_all_answers_are_there_and_reads_them_in_call_order() {
    let mut state = started();
    let calls = [call("a", "1"), call("b", "2"), call("c", "3")];
    assert_eq!(step(&mut state, asks(&calls)), [Command::CallTools(calls.to_vec())]);

    assert_eq!(step(&mut state, answers("c", "third")), []);
    assert_eq!(step(&mut state, answers("a", "first")), []);
    assert_eq!(due(&state), [Command::CallTools(vec![call("b", "2")])]);
    assert_eq!(step(&mut state, answers("b", "second")), [Command::CallModel]);

    let expected = [("a", "first", false), ("b", "second", false), ("c", "third", false)];
    assert_eq!(tool_results(&state), expected);
}

#[test]
fn a_second_answer_to_one_call_and_an_answer_to_no_call_are_ignored() {
    let mut state = started();
    step(&mut state, asks(&[call("a", "1"), call("b", "2")]));

    step(&mut state, answers("a", "first"));
    assert_eq!(step(&mut state, answers("a", "again")), []);
    assert_eq!(step(&mut state, answers("nobody", "?")), []);
    step(&mut state, answers("b", "second"));

    assert_eq!(tool_results(&state), [("a", "first", false), ("b", "second", false)]);
}

#[test]
fn used_up_steps_end_with_the_last_thing_said() {
    let mut state = started().with_max_steps(2);
    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", "x"));
    step(&mut state, asks(&[call("b", "2")]));

    let outcome = the_end(step(&mut state, answers("b", "y")));

    assert_eq!((outcome.output.as_str(), outcome.error), ("let me look", None));
    assert_eq!(outcome.finish_reason, FinishReason::MaxSteps);
    assert_eq!((state.steps, state.usage.total()), (2, 22));
}

#[test]
fn the_third_identical_turn_ends_the_conversation_before_its_tools_are_called() {
    let mut state = started();
    for (turn, spelling) in ["{\"q\":1}", "{ \"q\": 1 }"].into_iter().enumerate() {
        let id = format!("c{turn}");
        step(&mut state, asks(&[call(&id, spelling)]));
        assert_eq!(step(&mut state, answers(&id, "nothing")), [Command::CallModel]);
    }

    let outcome = the_end(step(&mut state, asks(&[call("c2", "{\"q\":1}")])));

    assert_eq!(outcome.finish_reason, FinishReason::LoopDetected);
    assert_eq!(outcome.error.unwrap().code, FailureCode::LoopDetected);
    assert!(tool_results(&state).last().unwrap().1.starts_with("not called"));
}

#[test]
fn a_cancelled_conversation_leaves_no_call_without_an_answer() {
    let mut state = started();
    step(&mut state, asks(&[call("a", "1"), call("b", "2")]));
    step(&mut state, answers("b", "second"));

    let outcome = the_end(step(&mut state, Happened::Cancelled { reason: "enough".into() }));

    assert_eq!(tool_results(&state), [("a", "cancelled", true), ("b", "second", false)]);
    assert_eq!(outcome.finish_reason, FinishReason::Cancelled);
    assert_eq!(outcome.error.unwrap().message, "enough");
    assert_eq!(step(&mut state, answers("a", "late")), []);
}

#[test]
fn a_failed_model_ends_the_conversation_with_what_was_said_so_far() {
    let mut state = started();
    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", "x"));
    let failure = Failure { code: FailureCode::ContextLength, message: "too long".into() };

    let outcome = the_end(step(&mut state, Happened::ModelFailed(failure.clone())));

    assert_eq!((outcome.output.as_str(), outcome.error), ("let me look", Some(failure)));
    assert_eq!(outcome.finish_reason, FinishReason::Error);
}

#[test]
fn ids_that_are_missing_or_used_twice_are_replaced() {
    let mut state = started();
    step(&mut state, asks(&[call("a", "1")]));
    step(&mut state, answers("a", "x"));

    step(&mut state, asks(&[call("a", "2"), call("", "3"), call("call_2_0", "4"), call("b", "5")]));

    let ids: Vec<&str> = state.unanswered().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_2_0", "call_2_1", "call_2_2", "b"]);
}

/// Anything at all, sensible or not, so that also nonsense replays.
fn any_happened() -> impl Strategy<Value = Happened> {
    let id = prop_oneof!["[abc]", Just(String::new())];
    let calls = prop::collection::vec((id.clone(), "[12]"), 0..4).prop_map(|calls| {
        calls.into_iter().map(|(id, arguments)| call(&id, &arguments)).collect::<Vec<_>>()
    });
    let failure = Failure { code: FailureCode::ModelUnavailable, message: "gone".into() };
    prop_oneof![
        1 => Just(Happened::Started { input: vec![Message::user("hi")] }),
        4 => calls.prop_map(|calls| asks(&calls)),
        6 => prop_oneof!["[abc]", "call_[1-4]_[0-3]"].prop_map(|id| answers(&id, "x")),
        1 => Just(says("done")),
        1 => Just(says("")),
        1 => Just(Happened::Replied(Reply { finish: ReplyFinish::Pause, ..Reply::default() })),
        1 => Just(Happened::Summarised { upto: 2, text: "short".into(), usage: Usage::default() }),
        1 => Just(Happened::NotSummarised),
        1 => Just(Happened::Aborted(failure.clone())),
        1 => Just(Happened::ModelFailed(failure)),
        1 => Just(Happened::Cancelled { reason: "enough".into() }),
    ]
}

fn every_call_is_answered(state: &Conversation) -> bool {
    let calls = state.messages.iter().map(|message| match message {
        Message::Assistant { tool_calls, .. } => tool_calls.len(),
        _ => 0,
    });
    calls.sum::<usize>() == tool_results(state).len() + state.pending.len()
}

proptest! {
    #[test]
    fn the_same_events_lead_to_the_same_state_even_through_storage_at_every_point(
        events in prop::collection::vec(any_happened(), 0..40),
    ) {
        let window = Window { keep_turns: 1, ..Window::new(100) };
        let schema = json!({ "type": "integer" });
        let begun = started().with_window(Some(window)).with_output_schema(Some(schema));
        let (mut kept, mut stored) = (begun.clone(), begun);
        for happened in events {
            let text = serde_json::to_string(&stored).unwrap();
            stored = serde_json::from_str(&text).unwrap();
            let replayed = serde_json::from_str(&serde_json::to_string(&happened).unwrap()).unwrap();

            let commands = step(&mut kept, happened);

            prop_assert_eq!(&step(&mut stored, replayed), &commands);
            prop_assert_eq!(&stored, &kept);
            prop_assert!(every_call_is_answered(&kept));
            if !commands.is_empty() {
                prop_assert_eq!(due(&kept), commands);
            }
        }
    }

    #[test]
    fn the_order_in_which_tools_answer_changes_nothing(
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        twice in 0..6_usize,
    ) {
        let calls: Vec<ToolCall> = (0..6).map(|n| call(&format!("c{n}"), &n.to_string())).collect();
        let (mut straight, mut shuffled) = (started(), started());
        step(&mut straight, asks(&calls));
        step(&mut shuffled, asks(&calls));
        let text = |n: usize| format!("answer {n}");

        for n in 0..6 {
            step(&mut straight, answers(&format!("c{n}"), &text(n)));
        }
        for &n in &order {
            step(&mut shuffled, answers(&format!("c{n}"), &text(n)));
            // Delivered again, with another text: ignored.
            if shuffled.status == Status::Acting {
                let seen = order.iter().position(|&seen| seen == twice);
                if seen <= order.iter().position(|&seen| seen == n) {
                    step(&mut shuffled, answers(&format!("c{twice}"), "again"));
                }
            }
        }

        prop_assert_eq!(straight, shuffled);
    }

    #[test]
    fn a_conversation_ends_within_its_steps(
        max_steps in 1..6_u32,
        turns in prop::collection::vec(1..4_usize, 6),
    ) {
        let mut state = started().with_max_steps(max_steps);
        for (turn, width) in turns.into_iter().enumerate() {
            let calls: Vec<ToolCall> =
                (0..width).map(|index| call("", &format!("[{turn},{index}]"))).collect();
            step(&mut state, asks(&calls));
            let ids: Vec<String> = state.unanswered().map(|call| call.id.clone()).collect();
            for id in ids.iter().rev() {
                step(&mut state, answers(id, "x"));
            }
        }
        prop_assert_eq!(state.outcome().unwrap().finish_reason, FinishReason::MaxSteps);
        prop_assert_eq!(state.steps, max_steps);
    }
}

#[test]
fn ids_that_cannot_be_kept_are_replaced() {
    let mut state = started();

    step(&mut state, asks(&[call(&"x".repeat(2000), "1"), call("a\u{0}b", "2"), call("ok", "3")]));

    let ids: Vec<&str> = state.unanswered().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_1_0", "call_1_1", "ok"]);
}
