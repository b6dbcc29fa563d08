use agentcore::Message;
use shared_models::{ConversationId, RunId, UserId};

use super::*;
use crate::create::Place;

fn new(input: &str, variables: &[(&str, &str)]) -> NewRun {
    NewRun {
        run: RunId::mint(),
        principal: UserId::mint(),
        initiator: None,
        firing: None,
        input: Message::user(input),
        traceparent: None,
        deadline: None,
        end_user: None,
        place: None,
        variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        evaluation: None,
    }
}

fn fill(text: &str, new: &NewRun) -> Result<String, Vec<(String, String)>> {
    let now = "2026-02-03T04:05:06Z".parse().unwrap();
    let filled = Values { agent: "desk", input: &text_of(&new.input), new, now }.fill(text);
    filled.map_err(|errors| errors.into_iter().map(|e| (e.pointer, e.message)).collect())
}

#[test]
fn every_name_stands_for_what_the_run_knows() {
    let mut run = new("Where is it?", &[("customer", "Ada"), ("_tone2", "dry")]);
    run.end_user = Some("ada-7".into());
    let conversation = ConversationId::mint();
    run.place = Some(Place { conversation, turn: 1, waits: false });

    let filled = fill(
        "{{date}} {{ now }} {{ agent.name }} {{input}} {{ end_user_id }} {{\n conversation_id }} {{ run_id }} \
         {{ variables.customer }}{{variables._tone2}} {one} }} {",
        &run,
    );

    assert_eq!(
        filled.unwrap(),
        format!(
            "2026-02-03 2026-02-03T04:05:06Z desk Where is it? ada-7 {conversation} {} Adadry {{one}} }}}} {{",
            run.run
        )
    );
}

#[test]
fn what_is_missing_is_named_at_once_unless_there_is_something_to_say_instead() {
    let text = r#"{{ variables.b }} {{ variables.a }} {{ variables.b }} {{ end_user_id }} {{ variables.c | default("}} no {{") }}"#;

    assert_eq!(
        fill(text, &new("x", &[])).unwrap_err(),
        [
            ("/end_user_id", "end_user_id"),
            ("/variables/a", "variables.a"),
            ("/variables/b", "variables.b")
        ]
        .map(|(pointer, name)| (
            pointer.to_owned(),
            format!("the instructions of `desk` need `{name}`")
        ))
    );
    assert_eq!(
        fill(r#"<{{ variables.c|default("}} no {{") }}>"#, &new("x", &[])).unwrap(),
        "<}} no {{>"
    );
    let given = new("x", &[("c", "")]);
    assert_eq!(fill(r#"<{{ variables.c | default("no") }}>"#, &given).unwrap(), "<>");
    assert_eq!(
        variables(text),
        [("a", false), ("b", false), ("c", true)].map(|(n, o)| (n.to_owned(), o)).into()
    );
}

#[test]
fn what_was_filled_in_is_not_looked_at_again() {
    let hostile = "{{ variables.secret }} {{ input }} \\{{ {{";
    let run = new(hostile, &[("secret", "s"), ("note", hostile)]);

    let filled = fill("{{ input }}|{{ variables.note }}", &run).unwrap();

    assert_eq!(filled, format!("{hostile}|{hostile}"));
    assert_eq!(fill("{{ input }}", &new("a\0b", &[])).unwrap(), "a\u{fffd}b");
}

#[test]
fn braces_are_text_when_they_are_said_to_be_and_scripts_of_the_simulated_model_are_left_alone() {
    let table = [
        (r"\{{ input }}", "{{ input }}"),
        (r"\\{{ input }}", r"\{{ input }}"),
        ("{ {input} } {%raw%} ${x} <%= y %>", "{ {input} } {%raw%} ${x} <%= y %>"),
        (
            "{{input}}\n```sim\n[{\"text\": \"{{input}} {{nobody}}\"}]\n```\n{{input}}",
            "go\n```sim\n[{\"text\": \"{{input}} {{nobody}}\"}]\n```\ngo",
        ),
        ("```sim {{input}}", "```sim {{input}}"),
        ("```simple\n{{input}}```", "```simple\ngo```"),
        ("é{{input}}ü", "égoü"),
        ("", ""),
    ];
    for (text, expected) in table {
        assert_eq!(fill(text, &new("go", &[])).unwrap(), expected, "{text}");
        assert_eq!(is_plain(text), text == expected, "{text}");
    }
}

#[test]
fn what_is_no_template_is_refused_with_its_place() {
    let table = [
        ("{{", "line 1, column 1: a name comes after `{{`"),
        ("a\né {{ }}", "line 2, column 3: a name comes after"),
        (
            "{{ nobody }}",
            "line 1, column 1: there is no `nobody`: there are date, now, agent.name,",
        ),
        ("{{ variables.1 }}", "there is no `variables.1`"),
        ("{{ variables }}", "there is no `variables`"),
        ("{{ variables.a.b }}", "there is no `variables.a.b`"),
        ("{{ 7*7 }}", "there is no `7`"),
        ("{{ input", "`input` is followed by neither"),
        ("{{ input } }", "`input` is followed by neither"),
        ("{{ input() }}", "`input` is followed by neither"),
        ("{{ input | upper }}", "after `|` comes `default(\"…\")`"),
        ("{{ input | default(\"x }}", "after `|` comes `default(\"…\")`"),
        ("{{{ input }}}", "a name comes after"),
    ];
    for (text, why) in table {
        let said = check(text).unwrap();
        assert!(said.contains(why), "{text}: {said}");
        assert_eq!(fill(text, &new("x", &[])).unwrap_err()[0].0, "/agent", "{text}");
    }
    assert_eq!(check("{{ input }} and } { {"), None);
}

#[test]
fn instructions_do_not_grow_without_end() {
    let text = "{{ input }}".repeat(20_000);

    let refused = fill(&text, &new(&"x".repeat(1024 * 1024), &[])).unwrap_err();

    assert!(refused[0].1.contains("longer than 1 MiB"), "{refused:?}");
}

#[test]
fn variables_that_cannot_be_kept_are_refused_each_by_its_name() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        check_variables(&pairs).into_iter().map(|error| error.pointer).collect::<Vec<_>>()
    };

    assert_eq!(of(&[("a", "x"), ("A_1", "")]), [""; 0]);
    assert_eq!(
        of(&[("", "x"), ("1a", "x"), ("a/b~", "x"), ("é", "x"), ("nul", "\0")]),
        ["/variables/", "/variables/1a", "/variables/a~1b~0", "/variables/nul", "/variables/é"]
    );
    assert_eq!(of(&[("a", &"x".repeat(65_536))]), ["/variables"]);
    let many: Variables = (0..65).map(|n| (format!("v{n}"), String::new())).collect();
    assert_eq!(check_variables(&many).len(), 1);
}
