//! What is expected of a run, and whether it is so.

use agentcore::validate::Schema;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;
use servicekit::FieldError;
use shared_models::MicroUsd;
use utoipa::ToSchema;

use super::Called;

const LONGEST_PATTERN: usize = 4096;
const LONGEST_RUBRIC: usize = 16 * 1024;
/// What a compiled pattern may take of memory.
const LARGEST_PATTERN: usize = 1024 * 1024;
const LONGEST_QUOTE: usize = 300;

/// Something that must be so when a run has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Expectation {
    /// The model has asked for a call of this tool.
    ToolCalled {
        tool: String,
        /// Of an object the fields said here, whatever others there are; of anything else all of it. Any arguments unless
        /// said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        arguments: Option<Value>,
        /// Exactly so often; at least once unless said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1)]
        times: Option<u32>,
    },
    /// The model has not asked for a call of this tool.
    ToolNotCalled { tool: String },
    /// The output is JSON that fits this JSON Schema.
    OutputSchema {
        #[schema(value_type = Object)]
        schema: Value,
    },
    /// This regular expression is found in the output.
    OutputMatches { pattern: String },
    /// The output is JSON, and what stands at this JSONPath (RFC 9535), which must be one thing, equals the value.
    OutputPath { path: String, equals: Value },
    /// The run and all that worked for it have cost less than this many millionths of a US dollar. A cost that is not known
    /// is not below anything.
    CostBelow { micro_usd: MicroUsd },
    /// From the run's first step to its end it took fewer milliseconds.
    DurationBelow { ms: u64 },
    /// A model says that the output satisfies the rubric.
    Judged {
        /// Any model that is configured: `provider:model`.
        model: String,
        rubric: String,
    },
}

/// What a run has come to.
pub(crate) struct Observed<'a> {
    pub(crate) calls: &'a [Called],
    pub(crate) output: &'a str,
    pub(crate) cost: Option<MicroUsd>,
    pub(crate) took_ms: u64,
}

/// Whether an expectation is met, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) passed: bool,
    pub(crate) detail: Option<String>,
}

impl Verdict {
    fn met() -> Self {
        Self { passed: true, detail: None }
    }

    fn unmet(why: impl Into<String>) -> Self {
        Self { passed: false, detail: Some(why.into()) }
    }

    fn of(passed: bool, why_not: impl FnOnce() -> String) -> Self {
        if passed { Self::met() } else { Self::unmet(why_not()) }
    }
}

impl Expectation {
    /// Everything that cannot be so.
    pub(crate) fn check(&self, pointer: &str) -> Vec<FieldError> {
        let wrong = |at: &str, why: String| vec![FieldError::new(format!("{pointer}{at}"), why)];
        match self {
            Self::ToolCalled { tool, .. } | Self::ToolNotCalled { tool } if tool.is_empty() => {
                wrong("/tool", "must not be empty".into())
            }
            Self::ToolCalled { times: Some(0), .. } => {
                wrong("/times", "at least 1; say `tool_not_called` for never".into())
            }
            Self::OutputSchema { schema } => match Schema::new(schema) {
                Ok(_) => Vec::new(),
                Err(why) => wrong("/schema", why),
            },
            Self::OutputMatches { pattern } => match compiled(pattern) {
                Ok(_) => Vec::new(),
                Err(why) => wrong("/pattern", why),
            },
            Self::OutputPath { path, .. } => match parsed(path) {
                Ok(_) => Vec::new(),
                Err(why) => wrong("/path", why),
            },
            Self::CostBelow { micro_usd } if micro_usd.0 < 1 => {
                wrong("/micro_usd", "at least 1".into())
            }
            Self::DurationBelow { ms: 0 } => wrong("/ms", "at least 1".into()),
            Self::Judged { model, .. } if model.is_empty() || model.len() > 200 => {
                wrong("/model", "1 to 200 bytes".into())
            }
            Self::Judged { rubric, .. } if rubric.is_empty() || rubric.len() > LONGEST_RUBRIC => {
                wrong("/rubric", "1 byte to 16 KiB".into())
            }
            _ => Vec::new(),
        }
    }

    /// Whether it is so; none when a model has to say.
    pub(crate) fn judge(&self, seen: &Observed<'_>) -> Option<Verdict> {
        Some(match self {
            Self::ToolCalled { tool, arguments, times } => {
                called(seen.calls, tool, arguments.as_ref(), *times)
            }
            Self::ToolNotCalled { tool } => {
                let call = seen.calls.iter().find(|call| call.tool == *tool);
                call.map_or_else(Verdict::met, |call| {
                    Verdict::unmet(format!("it was called with {}", short(&call.arguments)))
                })
            }
            Self::OutputSchema { schema } => fits(schema, seen.output),
            Self::OutputMatches { pattern } => match compiled(pattern) {
                Ok(regex) => Verdict::of(regex.is_match(seen.output), || {
                    format!("not found in: {}", cut(seen.output))
                }),
                Err(why) => Verdict::unmet(why),
            },
            Self::OutputPath { path, equals } => stands_at(path, equals, seen.output),
            Self::CostBelow { micro_usd } => match seen.cost {
                Some(cost) => Verdict::of(cost < *micro_usd, || format!("it cost {}", cost.0)),
                None => Verdict::unmet("it is not known: one of the models has no price"),
            },
            Self::DurationBelow { ms } => {
                Verdict::of(seen.took_ms < *ms, || format!("it took {} ms", seen.took_ms))
            }
            Self::Judged { .. } => return None,
        })
    }
}

fn called(calls: &[Called], tool: &str, wanted: Option<&Value>, times: Option<u32>) -> Verdict {
    let of_tool: Vec<&Called> = calls.iter().filter(|call| call.tool == tool).collect();
    let fits = |call: &&&Called| wanted.is_none_or(|wanted| contains(&call.arguments, wanted));
    let count = of_tool.iter().filter(fits).count();
    let enough = times.map_or(count > 0, |times| count == times as usize);
    Verdict::of(enough, || match of_tool.last() {
        None => "it was never called".into(),
        Some(last) => {
            let last = short(&last.arguments);
            let all = of_tool.len();
            format!("of {all} calls {count} were so; the last one was with {last}")
        }
    })
}

/// Whether everything of `wanted` is in `value`.
fn contains(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| value.get(name).is_some_and(|value| contains(value, wanted))),
        (Value::Array(value), Value::Array(wanted)) => {
            value.len() == wanted.len()
                && value.iter().zip(wanted).all(|(value, wanted)| contains(value, wanted))
        }
        (Value::Number(value), Value::Number(wanted)) => {
            value == wanted || value.as_f64() == wanted.as_f64()
        }
        (value, wanted) => value == wanted,
    }
}

fn json(output: &str) -> Result<Value, Verdict> {
    agentcore::output_json(output)
        .ok_or_else(|| Verdict::unmet(format!("the output is no JSON: {}", cut(output))))
}

fn fits(schema: &Value, output: &str) -> Verdict {
    let checked = json(output).and_then(|value| {
        Schema::new(schema).and_then(|schema| schema.check(&value)).map_err(Verdict::unmet)
    });
    checked.map_or_else(|unmet| unmet, |()| Verdict::met())
}

fn stands_at(path: &str, equals: &Value, output: &str) -> Verdict {
    let value = match json(output) {
        Ok(value) => value,
        Err(unmet) => return unmet,
    };
    let path = match parsed(path) {
        Ok(path) => path,
        Err(why) => return Verdict::unmet(why),
    };
    let found = path.query(&value).all();
    match found.as_slice() {
        [one] => {
            let same = contains(one, equals) && contains(equals, one);
            Verdict::of(same, || format!("it is {}", short(one)))
        }
        [] => Verdict::unmet("nothing is there"),
        more => Verdict::unmet(format!("{} things are there", more.len())),
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() || pattern.len() > LONGEST_PATTERN {
        return Err("1 to 4,096 bytes".into());
    }
    RegexBuilder::new(pattern)
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| cut(&error.to_string()))
}

fn parsed(path: &str) -> Result<JsonPath, String> {
    if path.len() > LONGEST_PATTERN {
        return Err("at most 4,096 bytes".into());
    }
    JsonPath::parse(path).map_err(|error| cut(&error.to_string()))
}

fn short(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    let mut start: String = text.chars().take(LONGEST_QUOTE).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

#[cfg(test)]
#[path = "expectation_tests.rs"]
mod tests;
