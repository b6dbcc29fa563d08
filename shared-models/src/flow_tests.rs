use proptest::prelude::*;
use serde_json::json;

use super::*;

fn stages(text: &str) -> Vec<Vec<String>> {
    text.parse::<Flow>().unwrap().stages().to_vec()
}

fn error(text: &str) -> (usize, FlowErrorKind) {
    let error = Flow::parse_for(text, |name| name != "stranger").unwrap_err();
    (error.column, error.kind)
}

#[test]
fn stages_follow_each_other_and_members_of_one_stand_in_parentheses() {
    assert_eq!(stages("a >> b >> (c | d) >> e"), [vec!["a"], vec!["b"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(stages("(a|b)"), [vec!["a", "b"]]);
    assert_eq!(stages("\n (a)>>b_2-x \n"), [vec!["a"], vec!["b_2-x"]]);
    assert_eq!(
        stages("Support bot >> (Zürich\t|  Genf )"),
        [vec!["Support bot"], vec!["Zürich", "Genf"]]
    );
}

#[test]
fn what_is_wrong_is_named_with_its_column() {
    let syntax = |what: &str| FlowErrorKind::Syntax(what.into());
    let table = [
        ("a >> stranger", 6, FlowErrorKind::UnknownName("stranger".into())),
        ("é >> (b | stranger)", 11, FlowErrorKind::UnknownName("stranger".into())),
        ("a >> (b | b)", 11, FlowErrorKind::Duplicate("b".into())),
        ("a >> b >> a", 11, FlowErrorKind::Cycle("a".into())),
        ("a >> (b | a)", 11, FlowErrorKind::Cycle("a".into())),
        ("", 1, FlowErrorKind::EmptyStage),
        ("  ", 3, FlowErrorKind::EmptyStage),
        (">> a", 1, FlowErrorKind::EmptyStage),
        ("a >> >> b", 6, FlowErrorKind::EmptyStage),
        ("a >>", 5, FlowErrorKind::EmptyStage),
        ("a >> ()", 6, FlowErrorKind::EmptyStage),
        ("a > b", 3, syntax("`>` alone means nothing: write `>>`")),
        ("a >>> b", 5, syntax("`>` alone means nothing: write `>>`")),
        ("a | b", 3, syntax(parse_hint())),
        ("(a b", 1, syntax("this `(` is not closed")),
        ("x >> (a |", 6, syntax("this `(` is not closed")),
        ("(a | )", 6, syntax("a name is missing")),
        ("(| a)", 2, syntax("a name is missing")),
        ("(a | (b))", 6, syntax("parentheses do not nest")),
        ("(a >> b)", 4, syntax("`>>` has no place in parentheses")),
        ("(a) b", 5, syntax("`>>` is missing")),
        ("a)", 2, syntax("there is no `(` for this `)`")),
        ("a/b", 2, syntax("'/' cannot be part of a name")),
        ("a\nb", 2, syntax("'\\n' cannot be part of a name")),
    ];

    for (text, column, kind) in table {
        assert_eq!(error(text), (column, kind), "{text:?}");
    }
    assert_eq!("a >> >>".parse::<Flow>().unwrap_err().to_string(), "column 6: a stage is empty");
}

fn parse_hint() -> &'static str {
    "members that work at the same time are put in parentheses: `(a | b)`"
}

#[test]
fn a_flow_is_its_text_in_json() {
    let flow: Flow = "a>>( b|c )".parse().unwrap();

    assert_eq!(serde_json::to_value(&flow).unwrap(), json!("a >> (b | c)"));
    assert_eq!(serde_json::from_value::<Flow>(json!("a >> (b | c)")).unwrap(), flow);

    let error = serde_json::from_value::<Flow>(json!("a >> a")).unwrap_err().to_string();
    assert!(error.starts_with("column 6: `a` comes a second time"), "{error}");
    assert!(serde_json::from_value::<Flow>(json!(5)).is_err());
}

#[test]
fn a_list_is_a_flow() {
    assert_eq!(Flow::in_order(["a", "b"]).unwrap().to_string(), "a >> b");
    assert_eq!(Flow::all_at_once(["a", "b"]).unwrap().to_string(), "(a | b)");
    assert_eq!(Flow::in_order(["a", "a"]).unwrap_err().kind, FlowErrorKind::Cycle("a".into()));
    assert!(Flow::in_order(["a >> b"]).is_err() && Flow::all_at_once(["a", " "]).is_err());
    assert_eq!(Flow::in_order([]).unwrap_err().kind, FlowErrorKind::EmptyStage);
}

fn flows() -> impl Strategy<Value = Flow> {
    let name = "[^\\p{Cc}>|()/#]{1,6}".prop_map(|name| name.trim().to_owned());
    let names =
        prop::collection::hash_set(name.prop_filter("blank", |name| !name.is_empty()), 1..8);
    (names, prop::collection::vec(1..4_usize, 8)).prop_map(|(names, widths)| {
        let mut names: Vec<String> = names.into_iter().collect();
        let mut stages = Vec::new();
        for width in widths {
            let stage: Vec<String> = names.drain(..width.min(names.len())).collect();
            if !stage.is_empty() {
                stages.push(stage);
            }
        }
        Flow { stages }
    })
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(flow in flows()) {
        prop_assert!(flow.names().all(is_member_name));
        prop_assert_eq!(flow.to_string().parse::<Flow>(), Ok(flow));
    }

    #[test]
    fn any_text_is_a_flow_or_an_error_within_it(text in "(a|b|c|>|>>|\\||\\(|\\)| |/|\n|é){0,24}") {
        match text.parse::<Flow>() {
            Ok(flow) => {
                prop_assert!(flow.stages().iter().all(|stage| !stage.is_empty()));
                prop_assert_eq!(flow.to_string().parse::<Flow>(), Ok(flow));
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column)),
        }
    }

    #[test]
    fn no_text_whatever_stops_the_parser(text in any::<String>()) {
        let shown = text.parse::<Flow>().map(|flow| flow.to_string());
        prop_assert!(shown.is_err() || shown.unwrap().parse::<Flow>().is_ok());
    }
}
