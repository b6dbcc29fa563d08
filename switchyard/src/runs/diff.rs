//! `switchyard runs diff`.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;
use shared_models::RunId;

use super::{NOT_SO, print};
use crate::api::{Api, Door, Form, text};

/// Which runs are compared.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The one.
    a: RunId,
    /// The other, a fork of it for example.
    b: RunId,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    door: Door,
}

/// Compares them.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let api = Api::new(options.door)?;
    let path = format!("v1/runs/{}/diff?with={}", options.a, options.b);
    let diff = api.ask(Method::GET, &path, None).await?;
    options.form.say(&diff, || told(&diff))?;
    Ok(if is_same(&diff) { ExitCode::SUCCESS } else { ExitCode::from(NOT_SO) })
}

/// Whether the same was said and called, to the same end. What it took may differ.
fn is_same(diff: &Value) -> bool {
    diff["same"] == true && diff["status"]["a"] == diff["status"]["b"]
}

/// More of a text is not shown.
const LONGEST: usize = 160;

fn told(diff: &Value) -> String {
    let mut lines: Vec<String> = ["a", "b"].into_iter().map(|side| head(diff, side)).collect();
    let like = if diff["same_instructions"] == true { "the same" } else { "not the same" };
    lines.push(format!("instructions: {like}"));
    lines.push(String::new());
    list(&mut lines, "said", (&diff["messages"], &diff["more_messages"]), |lines, item| {
        lines.push(format!("{} {}", mark(item), text(&item["role"])));
        for (side, mark) in SIDES {
            if let Some(said) = item[side].as_object() {
                let calls = said.get("calls").and_then(Value::as_array);
                let names: Vec<&str> = calls.into_iter().flatten().map(text).collect();
                let calls = names.iter().map(|name| format!("{name}(…)")).collect::<Vec<_>>();
                let said = [excerpt(&item[side]), calls.join(" ")];
                let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
                lines.push(format!("    {mark} {}", print::line(&said.join(" "), 2 * LONGEST)));
            }
        }
    });
    list(&mut lines, "called", (&diff["tools"], &diff["more_tools"]), |lines, item| {
        let path: Vec<&str> = item["path"].as_array().into_iter().flatten().map(text).collect();
        let by = if path.is_empty() { String::new() } else { format!(" by {}", path.join("/")) };
        lines.push(format!("{} {}{by}", mark(item), text(&item["tool_name"])));
        for (side, mark) in SIDES {
            if item[side].is_object() {
                lines.push(format!("    {mark} {}", call(&item[side])));
            }
        }
    });
    lines.extend(took(diff));
    lines.join("\n") + "\n"
}

/// The sides of a change, as they are marked.
const SIDES: [(&str, char); 2] = [("a", '-'), ("b", '+')];

fn head(diff: &Value, side: &str) -> String {
    let agent = &diff["agent"][side];
    let (name, model) = (text(&agent["name"]), text(&agent["model"]));
    let (mode, status) = (text(&diff["mode"][side]), text(&diff["status"][side]));
    let run = text(&diff[side]);
    format!("{side} {run}  {name} {}, {model}, {mode}, {status}", agent["version"])
}

/// How many of a list there are of each change, and those that are not the same.
fn list(
    lines: &mut Vec<String>,
    what: &str,
    (items, more): (&Value, &Value),
    show: impl Fn(&mut Vec<String>, &Value),
) {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |change: &&str| items.iter().filter(|item| item["change"] == **change).count();
    let counts = CHANGES.iter().filter(|(change, _)| of(change) > 0);
    let mut counts: Vec<String> =
        counts.map(|(change, word)| format!("{} {word}", of(change))).collect();
    if counts.is_empty() {
        counts.push("nothing".into());
    }
    let beginning = if *more == true { " (there is more; this is how it begins)" } else { "" };
    lines.push(format!("{what}: {}{beginning}", counts.join(", ")));
    for item in items.iter().filter(|item| item["change"] != "same") {
        show(lines, item);
    }
    lines.push(String::new());
}

const CHANGES: [(&str, &str); 6] = [
    ("same", "the same"),
    ("changed", "changed"),
    ("arguments", "with other arguments"),
    ("result", "with another result"),
    ("removed", "only in a"),
    ("added", "only in b"),
];

fn mark(item: &Value) -> char {
    match text(&item["change"]) {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    }
}

/// A text, how it begins, or how long it is for somebody who may not see it.
fn excerpt(shown: &Value) -> String {
    let Some(said) = shown["text"].as_str() else {
        return format!("({} bytes withheld)", shown["bytes"]);
    };
    let line = print::line(said, LONGEST);
    if shown["cut"] == true && !line.ends_with('…') { line + "…" } else { line }
}

fn call(call: &Value) -> String {
    let answer = match &call["result"] {
        Value::Null => "no answer".to_owned(),
        result if call["error"] == true => format!("error: {}", excerpt(result)),
        result => excerpt(result),
    };
    format!("{} -> {answer}", excerpt(&call["arguments"]))
}

/// What both took, beside each other.
fn took(diff: &Value) -> Vec<String> {
    let row = |name: &str, of: &dyn Fn(&str) -> String| {
        format!("{name:14} {:>14} {:>14}", of("a"), of("b"))
    };
    let usd = |value: &Value| match value.as_i64() {
        Some(micro) => format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000),
        None => "unknown".into(),
    };
    vec![
        row("", &str::to_owned),
        row("steps", &|side| diff["steps"][side].to_string()),
        row("input tokens", &|side| diff["usage"][side]["input_tokens"].to_string()),
        row("output tokens", &|side| diff["usage"][side]["output_tokens"].to_string()),
        row("cost", &|side| usd(&diff["cost_micro_usd"][side])),
        row("spent itself", &|side| usd(&diff["spent_micro_usd"][side])),
        row("time", &|side| {
            diff["seconds"][side].as_f64().map_or("-".into(), |took| format!("{took:.3} s"))
        }),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn both(a: impl Into<Value>, b: impl Into<Value>) -> Value {
        json!({ "a": a.into(), "b": b.into() })
    }

    fn shown(text: Option<&str>, bytes: usize, cut: bool) -> Value {
        json!({ "text": text, "bytes": bytes, "cut": cut })
    }

    fn diff() -> Value {
        let said = |n: usize, text: &str, calls: &[&str]| json!({ "n": n, "text": text, "bytes": text.len(), "cut": false, "calls": calls });
        let call = |arguments: &str, result: Value, error: bool| json!({ "call_id": "c", "arguments": shown(Some(arguments), 7, false), "result": result, "error": error });
        let agent = json!({ "name": "desk", "version": 2, "model": "sim:script" });
        json!({
            "a": "run_1", "b": "run_2", "agent": both(agent.clone(), agent), "same": false, "same_instructions": false,
            "mode": both("live", "dry"), "status": both("succeeded", "waiting"),
            "messages": [
                { "change": "same", "role": "user", "a": said(0, "go", &[]), "b": said(0, "go", &[]) },
                { "change": "changed", "role": "assistant", "a": said(1, "I pay\nnow", &["pay"]), "b": said(1, "no", &[]) },
                { "change": "added", "role": "user", "a": null, "b": said(2, "why", &[]) },
            ],
            "more_messages": false,
            "tools": [
                { "change": "result", "tool_name": "look", "path": ["lead", "eyes"],
                  "a": call("{\"n\":1}", shown(Some("fine"), 5000, true), false), "b": call("{\"n\":1}", shown(None, 9, false), true) },
                { "change": "removed", "tool_name": "pay", "path": [], "a": call("{}", Value::Null, false), "b": null },
            ],
            "more_tools": true,
            "steps": both(4, 1), "usage": both(json!({ "input_tokens": 10, "output_tokens": 5 }), json!({ "input_tokens": 3, "output_tokens": 1 })),
            "cost_micro_usd": both(1_000_020, Value::Null), "spent_micro_usd": both(1_000_020, 7),
            "seconds": both(1.5, Value::Null), "redacted": false,
        })
    }

    #[test]
    fn what_differs_is_told_line_by_line() {
        assert_eq!(
            told(&diff()),
            "a run_1  desk 2, sim:script, live, succeeded\n\
             b run_2  desk 2, sim:script, dry, waiting\n\
             instructions: not the same\n\
             \n\
             said: 1 the same, 1 changed, 1 only in b\n\
             ~ assistant\n    - I pay\\nnow pay(…)\n    + no\n\
             + user\n    + why\n\
             \n\
             called: 1 with another result, 1 only in a (there is more; this is how it begins)\n\
             ~ look by lead/eyes\n    - {\"n\":1} -> fine…\n    + {\"n\":1} -> error: (9 bytes withheld)\n\
             - pay\n    - {} -> no answer\n\
             \n\x20                           a              b\n\
             steps                       4              1\n\
             input tokens               10              3\n\
             output tokens               5              1\n\
             cost                $1.000020        unknown\n\
             spent itself        $1.000020      $0.000007\n\
             time                  1.500 s              -\n"
        );
    }

    #[test]
    fn two_runs_are_the_same_when_they_say_and_call_the_same_and_end_alike() {
        let mut same = diff();
        same["same"] = true.into();
        assert!(!is_same(&same), "one of them waits");
        same["status"]["b"] = "succeeded".into();
        assert!(is_same(&same));
        same["same"] = false.into();
        assert!(!is_same(&same));
    }
}
