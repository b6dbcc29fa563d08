//! One conversation of several: what is to be done next is said from outside.

use std::sync::OnceLock;

use shared_models::message::Message;

use super::Drive;
use super::model::{Models, window};
use crate::agent::Agent;
use crate::conversation::{Conversation, Failure, Outcome};
use crate::event::{EventKind, StatusChange};
use crate::hooks::{HookData, HookPoint};
use crate::instructions::InstructionsCx;
use crate::options::{Input, RunOptions};
use crate::result::RunError;
use crate::run::RunCx;
use crate::step::{Command, Happened};
use crate::tool::ToolSpec;

pub(crate) struct Member<'a> {
    drive: Drive<'a>,
}

/// How a conversation with the agent begins, but for its instructions.
pub(crate) fn opening(agent: &Agent, options: &RunOptions) -> Result<Conversation, RunError> {
    Models::resolve(agent, options)?;
    let inner = &*agent.inner;
    let schema = inner.output.as_ref().map(|output| output.form.schema.clone());
    Ok(Conversation::new("")
        .with_max_steps(inner.max_steps)
        .with_loop_threshold(options.loop_threshold.unwrap_or(inner.loop_threshold))
        .with_output_schema(schema)
        .with_window(window(inner, options)))
}

impl<'a> Member<'a> {
    /// `cx` is the member's own; `beside` are the tools it has because of its place.
    pub(crate) fn new(
        agent: &'a Agent,
        options: &RunOptions,
        cx: RunCx,
        beside: Vec<ToolSpec>,
    ) -> Result<Self, RunError> {
        let mut retries = agent.inner.retries;
        if let Some(max_retries) = options.max_retries {
            retries.max_retries = max_retries;
        }
        let drive = Drive {
            handle: agent,
            agent: &agent.inner,
            models: Models::resolve(agent, options)?,
            retries,
            cx,
            conversation_id: None,
            key: rand::random(),
            state: Conversation::new(String::new()),
            offload: OnceLock::new(),
            beside,
            with_beside: OnceLock::new(),
        };
        Ok(Self { drive })
    }

    /// Tells that it begins, and says what its instructions are.
    pub(crate) async fn begin(&self, input: &Input) -> Result<String, Failure> {
        let drive = &self.drive;
        drive.cx.watch.emit(0, || EventKind::Status(StatusChange::Started));
        let agent = || HookData::Start { agent: drive.handle.clone() };
        drive.fire(HookPoint::Start, agent).await?;
        let instructions = drive.agent.instructions.resolve(|| InstructionsCx {
            agent_name: drive.agent.name.clone(),
            context: drive.cx.context.clone(),
            input: input.text().into(),
        });
        Ok(instructions.await)
    }

    /// Carries out what the conversation, as it is now, asks for.
    pub(crate) async fn perform(&mut self, state: Conversation, command: Command) -> Vec<Happened> {
        self.drive.state = state;
        let performed = match command {
            Command::CallModel => self.drive.call_model().await.map(|happened| vec![happened]),
            Command::Summarise { upto } => Ok(vec![self.drive.summarise(upto).await]),
            Command::CallTools(calls) => self.drive.call_tools(calls).await,
            Command::Finish(_) => Ok(Vec::new()),
        };
        performed.unwrap_or_else(|failure| vec![Happened::Aborted(failure)])
    }

    /// The model has been asked to correct its output.
    pub(crate) fn repairs(&self, state: &Conversation) {
        self.drive.cx.watch.emit(state.steps, || {
            let error = match state.messages.last() {
                Some(Message::User { content }) => content.text(),
                _ => String::new(),
            };
            EventKind::Status(StatusChange::Repairing { error })
        });
    }

    /// Tells that it has ended; fails when a hook does not agree.
    pub(crate) async fn end(
        &mut self,
        state: Conversation,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        self.drive.state = state;
        let agreed = match &outcome.error {
            None => self.drive.conclude(0).await,
            Some(failure) => {
                self.drive.lament(failure).await;
                Ok(())
            }
        };
        let (finish_reason, steps) = (outcome.finish_reason, self.drive.state.steps);
        let watch = &self.drive.cx.watch;
        watch.emit(steps, || EventKind::Status(StatusChange::Finished { finish_reason }));
        agreed
    }
}
