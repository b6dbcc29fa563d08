//! Drives a conversation in memory, from input to result. Nothing is kept: a run that must outlive its process is
//! driven elsewhere, by the same [`step`].

use std::future::ready;

use futures::channel::mpsc;
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use shared_models::message::{Content, Message, ToolCall};
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::agent::Agent;
use crate::conversation::{Answer, Conversation, Failure, Outcome};
use crate::model::{ModelEvent, ModelRequest};
use crate::retry::{Progress, complete_with_retries};
use crate::step::{Command, Happened, step};
use crate::tool::{ToolCx, call_tool};

/// What a run came to. Also carried by [`RunError::Failed`], as far as it got.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    pub output: String,
    /// The whole conversation, input and tool results included; hand it back with a new message to go on.
    pub messages: Vec<Message>,
    pub usage: Usage,
    /// Replies the model gave.
    pub steps: u32,
    pub finish_reason: FinishReason,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model failed for good, or went round in circles.
    #[error("the agent `{agent}` failed: {failure}")]
    Failed { agent: String, failure: Failure, result: Box<RunResult> },
    #[error("no thread to run the agent on")]
    Thread(#[from] std::io::Error),
}

/// What a run shows while it goes on. Each carries what a viewer of several agents needs to tell them apart.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    Text {
        agent_name: String,
        step: u32,
        text: String,
    },
    Reasoning {
        agent_name: String,
        step: u32,
        text: String,
    },
    /// The model failed for now; the text of this step so far is void.
    Retrying {
        agent_name: String,
        step: u32,
        attempt: u32,
        error: String,
    },
    ToolCall {
        agent_name: String,
        step: u32,
        tool_name: String,
        tool_call_id: String,
    },
    ToolResult {
        agent_name: String,
        step: u32,
        tool_call_id: String,
        content: String,
        error: bool,
    },
    /// Always the last one.
    Finished(RunResult),
}

/// What a run begins with: a text, or a history that ends with the new message.
pub struct Input(Vec<Message>);

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<Content> for Input {
    fn from(content: Content) -> Self {
        Self(vec![Message::User { content }])
    }
}

impl From<Vec<Message>> for Input {
    fn from(messages: Vec<Message>) -> Self {
        Self(messages)
    }
}

/// Runs the agent to its end. Dropping the future gives up the run.
pub async fn run(agent: &Agent, input: impl Into<Input>) -> Result<RunResult, RunError> {
    drive(agent, input.into(), |_| ()).await
}

/// Like [`run`], for callers without an async runtime; blocks this thread until the end.
pub fn run_blocking(agent: &Agent, input: impl Into<Input>) -> Result<RunResult, RunError> {
    let input = input.into();
    // A thread of its own, because a runtime cannot be started on one that already belongs to a runtime.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("agent".into());
        let run = thread.spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drive(agent, input, |_| ()))
        })?;
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Like [`run`], showing what happens as it happens. The last item is [`RunEvent::Finished`] or an error; dropping the
/// stream gives up the run.
pub fn run_stream(
    agent: &Agent,
    input: impl Into<Input>,
) -> BoxStream<'static, Result<RunEvent, RunError>> {
    let (agent, input) = (agent.clone(), input.into());
    let (sender, events) = mpsc::unbounded();
    let work = async move {
        // A send fails only when nobody looks any more, and then this future is dropped too.
        let end = drive(&agent, input, |event| drop(sender.unbounded_send(Ok(event)))).await;
        drop(sender.unbounded_send(end.map(RunEvent::Finished)));
    };
    // The work sends its own end, so that no event is overtaken by it.
    stream::select(events, work.into_stream().filter_map(|()| ready(None))).boxed()
}

async fn drive(
    agent: &Agent,
    input: Input,
    mut show: impl FnMut(RunEvent),
) -> Result<RunResult, RunError> {
    let mut state = agent.opening.clone();
    // Unguessable, so that no two runs ever share an idempotency key.
    let run_key = format!("{:032x}", rand::random::<u128>());
    let mut happened = vec![Happened::Started { input: input.0 }];
    loop {
        let commands: Vec<Command> =
            happened.drain(..).flat_map(|happened| step(&mut state, happened)).collect();
        for command in commands {
            match command {
                Command::CallModel => happened.push(call_model(agent, &state, &mut show).await),
                Command::CallTools(calls) => {
                    happened.extend(call_tools(agent, &state, &run_key, calls, &mut show).await);
                }
                Command::Finish(outcome) => return end(agent, state, outcome),
            }
        }
    }
}

async fn call_model(
    agent: &Agent,
    state: &Conversation,
    show: &mut impl FnMut(RunEvent),
) -> Happened {
    let request = ModelRequest {
        model: agent.model.clone(),
        messages: state.prompt(),
        tools: agent.tool_specs().cloned().collect(),
        temperature: Some(agent.temperature),
        max_tokens: agent.max_tokens,
    };
    let step = state.steps + 1;
    let agent_name = || agent.name().to_owned();
    let on_progress = |progress| match progress {
        Progress::Event(ModelEvent::TextDelta(text)) => {
            show(RunEvent::Text { agent_name: agent_name(), step, text });
        }
        Progress::Event(ModelEvent::ReasoningDelta(text)) => {
            show(RunEvent::Reasoning { agent_name: agent_name(), step, text });
        }
        // A call is shown when it is complete.
        Progress::Event(ModelEvent::ToolCallDelta { .. } | ModelEvent::Done(_)) => {}
        Progress::Retrying { attempt, error, delay: _ } => {
            let error = error.to_string();
            show(RunEvent::Retrying { agent_name: agent_name(), step, attempt, error });
        }
    };
    match complete_with_retries(&*agent.provider, request, agent.retries, on_progress).await {
        Ok(reply) => Happened::Replied(reply),
        Err(error) => Happened::ModelFailed(error.into()),
    }
}

async fn call_tools(
    agent: &Agent,
    state: &Conversation,
    run_key: &str,
    calls: Vec<ToolCall>,
    show: &mut impl FnMut(RunEvent),
) -> Vec<Happened> {
    let (step, agent_name) = (state.steps, || agent.name().to_owned());
    for ToolCall { id, name, .. } in &calls {
        let (tool_name, tool_call_id) = (name.clone(), id.clone());
        show(RunEvent::ToolCall { agent_name: agent_name(), step, tool_name, tool_call_id });
    }
    let calls = calls.into_iter().map(|call| async move {
        let answer = answer(agent, run_key, &call).await;
        (call.id, answer)
    });
    let mut answers = calls.collect::<FuturesUnordered<_>>();
    let mut happened = Vec::new();
    while let Some((call_id, answer)) = answers.next().await {
        let (tool_call_id, content, error) =
            (call_id.clone(), answer.content.clone(), answer.error);
        show(RunEvent::ToolResult { agent_name: agent_name(), step, tool_call_id, content, error });
        happened.push(Happened::Answered { call_id, answer });
    }
    happened
}

async fn answer(agent: &Agent, run_key: &str, call: &ToolCall) -> Answer {
    let Some(tool) = agent.tool(&call.name) else {
        let names: Vec<&str> = agent.tool_specs().map(|spec| spec.name.as_str()).collect();
        let known = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Answer::error(format!("there is no tool `{}`; there are: {known}", call.name));
    };
    let cx = ToolCx { call_id: call.id.clone(), idempotency_key: format!("{run_key}:{}", call.id) };
    call_tool(&**tool, &cx, &call.arguments).await.into()
}

fn end(agent: &Agent, state: Conversation, outcome: Outcome) -> Result<RunResult, RunError> {
    let result = RunResult {
        output: outcome.output,
        messages: state.messages,
        usage: state.usage,
        steps: state.steps,
        finish_reason: outcome.finish_reason,
    };
    match outcome.error {
        None => Ok(result),
        Some(failure) => {
            let (agent, result) = (agent.name().to_owned(), Box::new(result));
            Err(RunError::Failed { agent, failure, result })
        }
    }
}
