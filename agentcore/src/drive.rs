//! Drives one agent's conversation, in memory, from input to result.

pub(crate) mod member;
mod model;
mod tools;

use std::sync::{Arc, OnceLock};

use shared_models::message::Message;
use shared_models::run::FinishReason;

use self::model::Models;
use self::tools::Offload;
use crate::agent::{Agent, Inner};
use crate::conversation::{Conversation, Failure, FailureCode, Outcome};
use crate::event::{EventKind, StatusChange};
use crate::hooks::{HookData, HookPoint};
use crate::instructions::InstructionsCx;
use crate::model::ToolSet;
use crate::options::{Input, RunOptions};
use crate::result::{RunError, RunResult};
use crate::retry::RetryPolicy;
use crate::run::RunCx;
use crate::step::{Command, Happened, step};
use crate::tool::ToolSpec;

/// One run of one agent.
struct Drive<'a> {
    handle: &'a Agent,
    agent: &'a Inner,
    models: Models,
    retries: RetryPolicy,
    cx: RunCx,
    conversation_id: Option<String>,
    /// Unguessable, so that no two runs ever share an idempotency key.
    key: u128,
    state: Conversation,
    /// Set as soon as there is a result too long to be read whole.
    offload: OnceLock<Offload>,
    /// Tools the model is offered and nobody here calls: those by which a member of a swarm passes work on.
    beside: Vec<ToolSpec>,
    /// Both together, as long as there are no others.
    with_beside: OnceLock<ToolSet>,
}

pub(crate) async fn drive(
    agent: &Agent,
    input: Input,
    options: RunOptions,
    cx: RunCx,
) -> Result<RunResult, RunError> {
    let models = Models::resolve(agent, &options)?;
    let inner = &*agent.inner;
    let mut retries = inner.retries;
    if let Some(max_retries) = options.max_retries {
        retries.max_retries = max_retries;
    }
    let mut drive = Drive {
        handle: agent,
        agent: inner,
        models,
        retries,
        cx: cx.enter(agent.name(), &options),
        conversation_id: options.conversation_id.clone(),
        key: rand::random(),
        state: Conversation::new(String::new()),
        offload: OnceLock::new(),
        beside: Vec::new(),
        with_beside: OnceLock::new(),
    };
    drive.cx.watch.emit(0, || EventKind::Status(StatusChange::Started));
    let mut remembered = 0;
    let ran = drive.run(input, options, &mut remembered).await;
    drive.end(ran, remembered).await
}

impl Drive<'_> {
    async fn run(
        &mut self,
        input: Input,
        options: RunOptions,
        remembered: &mut usize,
    ) -> Result<(), Failure> {
        self.fire(HookPoint::Start, || HookData::Start { agent: self.handle.clone() }).await?;
        self.open(&input, &options).await;
        let mut messages = self.history().await?;
        *remembered = messages.len();
        messages.extend(options.messages);
        messages.extend(input.0);
        self.go(Happened::Started { input: messages }).await
    }

    /// How the conversation begins.
    async fn open(&mut self, input: &Input, options: &RunOptions) {
        let agent = self.agent;
        let instructions = agent.instructions.resolve(|| InstructionsCx {
            agent_name: agent.name.clone(),
            context: self.cx.context.clone(),
            input: input.text().into(),
        });
        let schema = agent.output.as_ref().map(|output| output.form.schema.clone());
        self.state = Conversation::new(instructions.await)
            .with_max_steps(options.max_steps.unwrap_or(agent.max_steps))
            .with_loop_threshold(options.loop_threshold.unwrap_or(agent.loop_threshold))
            .with_output_schema(schema)
            .with_window(model::window(agent, options));
    }

    async fn history(&self) -> Result<Vec<Message>, Failure> {
        match (&self.agent.memory, &self.conversation_id) {
            (Some(memory), Some(id)) => memory.history(id).await.map_err(no_memory),
            _ => Ok(Vec::new()),
        }
    }

    async fn go(&mut self, happened: Happened) -> Result<(), Failure> {
        let mut commands = step(&mut self.state, happened);
        while let Some(command) = commands.pop() {
            commands = match command {
                Command::CallModel => {
                    let happened = self.call_model().await?;
                    self.told(happened)
                }
                Command::Summarise { upto } => {
                    let happened = self.summarise(upto).await;
                    self.told(happened)
                }
                Command::CallTools(calls) => {
                    let mut next = Vec::new();
                    for happened in self.call_tools(calls).await? {
                        next = self.told(happened);
                    }
                    next
                }
                Command::Finish(_) => return Ok(()),
            };
        }
        Ok(())
    }

    fn told(&mut self, happened: Happened) -> Vec<Command> {
        let before = self.state.repaired;
        let commands = step(&mut self.state, happened);
        if self.state.repaired && !before {
            self.cx.watch.emit(self.state.steps, || {
                let error = match self.state.messages.last() {
                    Some(Message::User { content }) => content.text(),
                    _ => String::new(),
                };
                EventKind::Status(StatusChange::Repairing { error })
            });
        }
        commands
    }

    /// Calls the hooks of a point.
    async fn fire(&self, point: HookPoint, data: impl FnOnce() -> HookData) -> Result<(), Failure> {
        self.agent.hooks.fire(point, data).await
    }

    async fn end(
        mut self,
        ran: Result<(), Failure>,
        remembered: usize,
    ) -> Result<RunResult, RunError> {
        if let Err(failure) = ran {
            step(&mut self.state, Happened::Aborted(failure));
        }
        let mut outcome = self.state.outcome().cloned().unwrap_or_else(cut_short);
        if outcome.error.is_none()
            && let Err(failure) = self.conclude(remembered).await
        {
            (outcome.finish_reason, outcome.error) = (FinishReason::Error, Some(failure));
        }
        if let Some(failure) = &outcome.error {
            self.lament(failure).await;
        }
        let (finish_reason, steps) = (outcome.finish_reason, self.state.steps);
        self.cx.watch.emit(steps, || EventKind::Status(StatusChange::Finished { finish_reason }));
        self.result(outcome)
    }

    /// What is left to do after a run that has succeeded.
    async fn conclude(&self, remembered: usize) -> Result<(), Failure> {
        if let (Some(memory), Some(id)) = (&self.agent.memory, &self.conversation_id) {
            let new = self.state.messages.get(remembered..).unwrap_or_default();
            memory.append(id, new).await.map_err(no_memory)?;
        }
        self.fire(HookPoint::Finished, || HookData::Finished { agent: self.handle.clone() }).await
    }

    /// Tells of a run that has failed. A hook that fails at this cannot make it worse.
    async fn lament(&self, failure: &Failure) {
        let Failure { code, message } = failure.clone();
        self.cx.watch.emit(self.state.steps, || EventKind::Error { code, message });
        let (agent, failure) = (self.handle.clone(), failure.clone());
        let told = self.fire(HookPoint::Error, || HookData::Error { agent, failure }).await;
        if let Err(error) = told {
            tracing::warn!(agent = self.handle.name(), %error, "a hook at the end of a failed run failed");
        }
    }

    fn result(self, outcome: Outcome) -> Result<RunResult, RunError> {
        let spent = self.cx.spent();
        let mut usage = self.state.usage;
        usage += spent.usage;
        let result = RunResult {
            output: outcome.output,
            messages: self.state.messages,
            usage,
            steps: self.state.steps.saturating_add(spent.steps),
            finish_reason: outcome.finish_reason,
            parsed: outcome.parsed,
        };
        match outcome.error {
            None => Ok(result),
            Some(failure) => {
                let (agent, result) = (self.handle.name().to_owned(), Box::new(result));
                Err(RunError::Failed { agent, failure, result })
            }
        }
    }
}

fn no_memory(error: crate::result::BoxError) -> Failure {
    Failure { code: FailureCode::Memory, message: format!("the memory failed: {error}") }
}

/// For a conversation that does not come to an end, which no driver lets happen.
fn cut_short() -> Outcome {
    let message = "the run stopped with nothing left to do".to_owned();
    let failure = Failure { code: FailureCode::Cancelled, message };
    Outcome {
        output: String::new(),
        finish_reason: FinishReason::Error,
        error: Some(failure),
        parsed: None,
    }
}

/// A tool's name or a call's arguments, for hooks.
fn shared(text: &str) -> Arc<str> {
    text.into()
}
