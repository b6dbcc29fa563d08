//! An agent's hooks, called at their points, one after the other.
//!
//! That one has let the run go on is in the journal: whoever takes the run over does not ask it again. One that stops the
//! run does so for good: the run fails with `hook_failed`, and the hooks for errors are told.

use std::collections::HashSet;
use std::time::Duration;

use agentcore::{Command, Failure, FailureCode, Happened, Message, Outcome, ToolCall};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use servicekit::egress::{Call, HostPattern};
use shared_models::HookPoint;
use sqlx::types::Uuid;
use url::Url;

use super::{Cx, Run, dry};
use crate::error::Error;
use crate::hooks::{Hook, rule};
use crate::record::Record;
use crate::store::journal;

/// A point that the run has come to; `subject` tells it apart from others of its kind.
struct Moment {
    point: HookPoint,
    subject: String,
    data: Map<String, Value>,
}

/// Which hooks have been asked, and have let the run go on or stopped it.
pub(super) type Passed = HashSet<String>;

/// Calls the hooks that are due before the run does what is next. One that stops the run changes what is next.
pub(super) async fn fire(cx: &Cx<'_>, run: &mut Run, next: &Command) -> Result<(), Error> {
    let Some(failure) = ask(cx, run, next).await? else { return Ok(()) };
    cx.journal.note(Record::Aborted { failure: failure.clone() });
    if matches!(next, Command::Finish(_)) {
        run.vetoed = Some(failure);
    } else {
        run.step(Happened::Aborted(failure));
    }
    Ok(())
}

/// Tells the hooks of a tree's member that it has ended; gives why one of them is against it.
pub(super) async fn close(
    cx: &Cx<'_>,
    run: &mut Run,
    outcome: Outcome,
) -> Result<Option<Failure>, Error> {
    ask(cx, run, &Command::Finish(outcome)).await
}

async fn ask(cx: &Cx<'_>, run: &mut Run, next: &Command) -> Result<Option<Failure>, Error> {
    let mut passed = match run.passed.take() {
        Some(passed) => passed,
        None => load(cx).await?,
    };
    let stopped = at_all(cx, &moments(run, next), &mut passed).await;
    if let (Some(failure), Command::Finish(_)) = (&stopped, next) {
        // It had succeeded up to here.
        at_all(cx, &[errors(failure)], &mut passed).await;
    }
    run.passed = Some(passed);
    Ok(stopped)
}

async fn load(cx: &Cx<'_>) -> Result<Passed, Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    Ok(journal::hooks_passed(&mut tx, cx.claimed.run).await?.into_iter().collect())
}

/// The outcome of a run that a hook has stopped after its end.
pub(super) fn overruled(outcome: Outcome, vetoed: Option<&Failure>) -> Outcome {
    match vetoed {
        None => outcome,
        Some(failure) => Outcome {
            finish_reason: agentcore::FinishReason::Error,
            error: Some(failure.clone()),
            parsed: None,
            ..outcome
        },
    }
}

/// Why a hook stops the run, if one does. What hooks for errors say changes nothing any more.
async fn at_all(cx: &Cx<'_>, moments: &[Moment], passed: &mut Passed) -> Option<Failure> {
    for moment in moments {
        for (place, hook) in cx.snapshot.hooks.iter().enumerate() {
            let key = format!("{}|{place}:{}:{}", cx.journal.path(), moment.point, moment.subject);
            if hook.point != moment.point || passed.contains(&key) {
                continue;
            }
            // Whoever is told by HTTP would take it for something that has happened.
            if hook.url.is_some() && (dry::of(cx).is_some() || cx.snapshot.replay.is_some()) {
                continue;
            }
            let (point, name) = (moment.point, hook.title(place));
            match call(cx, hook, &key, moment).await {
                Ok(()) => {
                    cx.journal.note(Record::HookPassed { point, name, key: key.clone() });
                    passed.insert(key);
                }
                Err(why) => {
                    metrics::counter!("engine_hooks_failed_total").increment(1);
                    let message = format!("the hook `{name}` at {point} stopped the run: {why}");
                    cx.journal.note(Record::HookFailed { point, name, error: why });
                    // It has had its say.
                    passed.insert(key);
                    if point != HookPoint::Error {
                        return Some(Failure { code: FailureCode::HookFailed, message });
                    }
                }
            }
        }
    }
    None
}

/// What the run has come to, in the order in which it happened.
fn moments(run: &Run, next: &Command) -> Vec<Moment> {
    let mut moments = Vec::new();
    let (steps, messages) = (run.state.steps, &run.state.messages);
    if steps == 0 && !matches!(next, Command::Finish(_)) {
        moments.push(Moment::new(HookPoint::Start, String::new(), json!({})));
    }
    let replied = messages.iter().rposition(|message| matches!(message, Message::Assistant { .. }));
    if let Some(at) = replied.filter(|_| steps > 0) {
        let response = json!({ "response": messages.get(at) });
        moments.push(Moment::new(HookPoint::PostLlmCall, steps.to_string(), response));
        for message in messages.iter().skip(at + 1) {
            let Message::Tool { tool_call_id, tool_name, content, error } = message else {
                continue;
            };
            let result =
                json!({ "tool_name": tool_name, "result": { "content": content, "error": error } });
            moments.push(Moment::new(HookPoint::PostToolCall, tool_call_id.clone(), result));
        }
    }
    match next {
        Command::CallModel => {
            let asked = json!({ "messages": run.state.prompt() });
            moments.push(Moment::new(HookPoint::PreLlmCall, (steps + 1).to_string(), asked));
        }
        Command::CallTools(_) => {
            moments.extend(run.callable().iter().map(|call| before_call(run, call)));
        }
        Command::Finish(Outcome { error: Some(failure), .. }) => moments.push(errors(failure)),
        Command::Finish(_) => {
            moments.push(Moment::new(HookPoint::Finished, String::new(), json!({})));
        }
        Command::Summarise { .. } => {}
    }
    moments
}

/// What people have put in place of the model's arguments is another call, which the hooks have not let pass yet.
fn before_call(run: &Run, call: &ToolCall) -> Moment {
    let edited = run
        .approved
        .get(&call.id)
        .and_then(|approved| Some((approved.arguments.clone()?, &approved.binding)));
    let (subject, arguments) = if let Some((arguments, binding)) = edited {
        (format!("{}:{binding}", call.id), arguments)
    } else {
        let read = serde_json::from_str(&call.arguments);
        (call.id.clone(), read.unwrap_or_else(|_| call.arguments.clone().into()))
    };
    let data = json!({ "tool_name": call.name, "arguments": arguments });
    Moment::new(HookPoint::PreToolCall, subject, data)
}

fn errors(failure: &Failure) -> Moment {
    Moment::new(HookPoint::Error, String::new(), json!({ "error": failure }))
}

impl Moment {
    fn new(point: HookPoint, subject: String, data: Value) -> Self {
        let data = if let Value::Object(data) = data { data } else { Map::new() };
        Self { point, subject, data }
    }
}

async fn call(cx: &Cx<'_>, hook: &Hook, key: &str, moment: &Moment) -> Result<(), String> {
    let agent = &cx.snapshot;
    let mut data = moment.data.clone();
    data.insert(
        "agent".into(),
        json!({ "agent_id": agent.agent_id, "name": agent.agent_name, "version": agent.agent_version }),
    );
    data.insert(
        "run".into(),
        json!({ "run_id": cx.claimed.run, "trigger_id": cx.claimed.trigger }),
    );
    let timeout = Duration::from_millis(hook.timeout_ms.into());
    if let Some(source) = &hook.rule {
        if rule::holds(source, data, timeout).await? {
            return Ok(());
        }
        return Err(hook.message.clone().unwrap_or_else(|| "its rule does not hold".into()));
    }
    data.insert("point".into(), json!(moment.point));
    let id = Uuid::new_v5(&cx.claimed.run.uuid(), key.as_bytes());
    tell(cx, hook.url.as_deref().unwrap_or_default(), &Value::Object(data), id, timeout).await
}

/// How much of an answer is read.
const MOST_BYTES: usize = 64 * 1024;

async fn tell(
    cx: &Cx<'_>,
    url: &str,
    data: &Value,
    id: Uuid,
    timeout: Duration,
) -> Result<(), String> {
    let url: Url = url.parse().map_err(|error| format!("its URL is broken: {error}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The same for every attempt at this call of the hook.
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("idempotency-key", id);
    }
    let call = Call {
        method: Method::POST,
        allowed_hosts: url.host_str().and_then(HostPattern::parse).into_iter().collect(),
        url,
        headers,
        body: data.to_string().into(),
        injection: None,
        timeout,
        max_response_bytes: MOST_BYTES,
    };
    let answer = cx.app.egress.send(call).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("it answered {}", answer.status));
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if said["allow"] == false {
        let reason = said["reason"].as_str().unwrap_or("it says no");
        return Err(reason.chars().take(500).collect());
    }
    Ok(())
}
