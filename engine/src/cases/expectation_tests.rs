use serde_json::json;

use super::*;

fn verdict(expectation: Value, output: &str) -> Verdict {
    let calls = [
        Called {
            tool: "look".into(),
            arguments: json!({ "at": { "city": "Ulm", "n": 1 }, "l": [1, 2] }),
        },
        Called { tool: "look".into(), arguments: json!({}) },
    ];
    let expectation: Expectation = serde_json::from_value(expectation).unwrap();
    assert_eq!(expectation.check(""), []);
    let seen = Observed { calls: &calls, output, cost: Some(MicroUsd(50)), took_ms: 50 };
    expectation.judge(&seen).unwrap()
}

#[test]
fn each_expectation_is_met_by_what_it_says_and_by_nothing_else() {
    let schema = json!({ "type": "object", "required": ["a"] });
    let table = [
        (json!({ "kind": "tool_called", "tool": "look" }), true),
        (json!({ "kind": "tool_called", "tool": "look", "times": 2 }), true),
        (json!({ "kind": "tool_called", "tool": "look", "times": 3 }), false),
        (json!({ "kind": "tool_called", "tool": "loo" }), false),
        (
            json!({ "kind": "tool_called", "tool": "look", "arguments": { "at": { "n": 1.0 } } }),
            true,
        ),
        (
            json!({ "kind": "tool_called", "tool": "look", "arguments": { "at": { "n": 2 } } }),
            false,
        ),
        (json!({ "kind": "tool_called", "tool": "look", "arguments": { "l": [1] } }), false),
        (
            json!({ "kind": "tool_called", "tool": "look", "arguments": { "l": [1, 2] }, "times": 1 }),
            true,
        ),
        (json!({ "kind": "tool_not_called", "tool": "look" }), false),
        (json!({ "kind": "tool_not_called", "tool": "pay" }), true),
        (json!({ "kind": "output_schema", "schema": schema }), true),
        (json!({ "kind": "output_schema", "schema": { "type": "array" } }), false),
        (json!({ "kind": "output_matches", "pattern": "\"b\": *[0-9]" }), true),
        (json!({ "kind": "output_matches", "pattern": "^b$" }), false),
        (json!({ "kind": "output_path", "path": "$.a[1].b", "equals": 2.0 }), true),
        (json!({ "kind": "output_path", "path": "$.a[1]", "equals": {} }), false),
        (json!({ "kind": "output_path", "path": "$.a[*]", "equals": 1 }), false),
        (json!({ "kind": "output_path", "path": "$.c", "equals": null }), false),
        (json!({ "kind": "cost_below", "micro_usd": 51 }), true),
        (json!({ "kind": "cost_below", "micro_usd": 50 }), false),
        (json!({ "kind": "duration_below", "ms": 51 }), true),
        (json!({ "kind": "duration_below", "ms": 50 }), false),
    ];
    for (expectation, passed) in table {
        let verdict = verdict(expectation.clone(), r#"{ "a": [1, { "b": 2 }] }"#);
        assert_eq!(verdict.passed, passed, "{expectation}: {verdict:?}");
        assert_eq!(verdict.detail.is_some(), !passed, "{expectation}");
    }
}

#[test]
fn an_output_that_is_no_json_fits_no_schema_and_has_no_paths() {
    for expectation in [
        json!({ "kind": "output_schema", "schema": {} }),
        json!({ "kind": "output_path", "path": "$", "equals": "no" }),
    ] {
        let verdict = verdict(expectation, "no");
        assert!(verdict.detail.unwrap().contains("no JSON: no"));
    }
}

#[test]
fn a_cost_that_is_not_known_is_not_below_anything() {
    let seen = Observed { calls: &[], output: "", cost: None, took_ms: 0 };
    let verdict = Expectation::CostBelow { micro_usd: MicroUsd(i64::MAX) }.judge(&seen).unwrap();
    assert!(!verdict.passed);
}

#[test]
fn what_cannot_be_expected_is_refused_with_its_place() {
    let table = [
        (json!({ "kind": "tool_called", "tool": "" }), "/x/tool"),
        (json!({ "kind": "tool_called", "tool": "a", "times": 0 }), "/x/times"),
        (json!({ "kind": "output_schema", "schema": { "type": 7 } }), "/x/schema"),
        (json!({ "kind": "output_matches", "pattern": "(" }), "/x/pattern"),
        (json!({ "kind": "output_matches", "pattern": "(\\w{1000}){1000}" }), "/x/pattern"),
        (json!({ "kind": "output_path", "path": "a.b", "equals": 1 }), "/x/path"),
        (json!({ "kind": "cost_below", "micro_usd": 0 }), "/x/micro_usd"),
        (json!({ "kind": "duration_below", "ms": 0 }), "/x/ms"),
        (json!({ "kind": "judged", "model": "", "rubric": "r" }), "/x/model"),
        (json!({ "kind": "judged", "model": "m", "rubric": "" }), "/x/rubric"),
    ];
    for (expectation, pointer) in table {
        let parsed: Expectation = serde_json::from_value(expectation.clone()).unwrap();
        let errors = parsed.check("/x");
        assert_eq!(errors.len(), 1, "{expectation}");
        assert_eq!(errors[0].pointer, pointer);
    }
    let unknown = json!({ "kind": "tool_called", "tool": "a", "often": 1 });
    assert!(serde_json::from_value::<Expectation>(unknown).is_err());
}
