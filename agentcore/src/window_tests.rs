use super::*;

fn turn(id: usize, words: usize) -> [Message; 2] {
    let call = ToolCall { id: format!("c{id}"), name: "look".into(), arguments: "{}".into() };
    let said = Message::Assistant {
        content: String::new(),
        tool_calls: vec![call],
        reasoning: None,
        replay: None,
    };
    let answer = Message::Tool {
        tool_call_id: format!("c{id}"),
        tool_name: "look".into(),
        content: "word ".repeat(words),
        error: false,
    };
    [said, answer]
}

fn conversation(turns: usize, words: usize) -> Vec<Message> {
    let turns = (0..turns).flat_map(|id| turn(id, words));
    [Message::user("find it")].into_iter().chain(turns).collect()
}

fn window(tokens: u64, keep_turns: usize) -> Window {
    Window { keep_turns, ..Window::new(tokens) }
}

#[test]
fn a_models_window_is_known_by_its_name() {
    assert_eq!(Window::of_model("openai:gpt-4o-mini").unwrap().tokens, 128_000);
    assert_eq!(Window::of_model("gpt-4").unwrap().tokens, 8_192);
    assert_eq!(Window::of_model("openai:gpt-4.1-nano").unwrap().tokens, 1_047_576);
    assert_eq!(Window::of_model("sim:echo"), None);
}

#[test]
fn the_oldest_turns_go_and_calls_stay_with_their_answers() {
    let messages = conversation(6, 100);

    assert_eq!(to_summarise(window(10_000, 2), "", None, &messages), None, "it fits");
    let upto = to_summarise(window(800, 2), "", None, &messages).unwrap();
    assert_eq!(upto, 1 + 4 * 2);
    assert!(matches!(messages[upto], Message::Assistant { .. }));
    let tight = to_summarise(window(500, 2), "", None, &messages);
    assert_eq!(tight, Some(1 + 5 * 2), "two would leave no room");
}

#[test]
fn what_cannot_be_spared_is_kept() {
    let one = conversation(0, 0);
    assert_eq!(to_summarise(window(1, 2), "", None, &one), None);

    let two = conversation(1, 1000);
    assert_eq!(to_summarise(window(100, 4), "", None, &two), None, "next to nothing is gained");
    let three = conversation(2, 1000);
    assert_eq!(to_summarise(window(100, 4), "", None, &three), Some(3), "the last turn is kept");
}

#[test]
fn a_second_summary_goes_on_from_the_first() {
    let messages = conversation(6, 100);
    let first = Summary { text: "so far".into(), messages: 5 };

    let upto = to_summarise(window(400, 1), "", Some(&first), &messages).unwrap();
    let prompt = summary_prompt(None, Some(&first), &messages, upto);

    assert_eq!(upto, 11);
    let Message::User { content } = &prompt[1] else { panic!("{prompt:?}") };
    assert!(content.text().starts_with("[summary of what came before] so far\n[assistant]"));
}

#[test]
fn the_users_own_words_outlive_a_summary() {
    let messages = conversation(3, 10);
    let summary = Summary { text: "nothing yet".into(), messages: 5 };

    let shown = shortened(&summary, &messages);

    assert!(
        matches!(&shown[0], Message::User { content } if content.text().ends_with("nothing yet"))
    );
    assert_eq!(shown[1], Message::user("find it"));
    assert_eq!(shown[2..], messages[5..]);
}

#[test]
fn the_request_for_a_summary_fits_as_well() {
    let messages = conversation(1, 10_000);

    let prompt = summary_prompt(Some(window(1000, 1)), None, &messages, 3);

    assert!(prompt.iter().map(tokens_of).sum::<u64>() < 1000);
}
