//! Drives a whole tree in memory: whatever is due at the same time goes on at the same time.

mod contexts;

use std::collections::HashMap;

use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use shared_models::message::Message;
use shared_models::run::FinishReason;

use self::contexts::Contexts;
use super::build::{Member, Swarm};
use super::group::{ParallelGroup, SerialGroup};
use super::path::{Path, member_of};
use super::plan::{Plan, PlanError, Work};
use super::state::{SwarmState, step};
use crate::agent::Agent;
use crate::conversation::{Conversation, Failure, Outcome};
use crate::drive::member::{self, Member as Driven};
use crate::event::EventKind;
use crate::options::{Input, RunOptions};
use crate::result::{RunError, RunResult};
use crate::run::{RunCx, Runnable};
use crate::step::{Command, Happened};

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        Self::Setup(error.to_string())
    }
}

impl Runnable for Swarm {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn run_in(
        &self,
        input: Input,
        options: RunOptions,
        cx: RunCx,
    ) -> BoxFuture<'_, Result<RunResult, RunError>> {
        run(self, input, options, cx).boxed()
    }
}

impl Runnable for ParallelGroup {
    fn name(&self) -> &str {
        self.swarm.name()
    }

    fn run_in(
        &self,
        input: Input,
        options: RunOptions,
        cx: RunCx,
    ) -> BoxFuture<'_, Result<RunResult, RunError>> {
        self.swarm.run_in(input, options, cx)
    }
}

impl Runnable for SerialGroup {
    fn name(&self) -> &str {
        self.swarm.name()
    }

    fn run_in(
        &self,
        input: Input,
        options: RunOptions,
        cx: RunCx,
    ) -> BoxFuture<'_, Result<RunResult, RunError>> {
        self.swarm.run_in(input, options, cx)
    }
}

async fn run(
    swarm: &Swarm,
    input: Input,
    options: RunOptions,
    cx: RunCx,
) -> Result<RunResult, RunError> {
    if options.conversation_id.is_some() {
        let what = "a swarm keeps no conversation: hand over the history with `.messages(..)`";
        return Err(RunError::Setup(what.into()));
    }
    swarm.plan()?;
    let shared = options.for_child();
    let mut plan = swarm.plan_with(&|agent| member::opening(agent, &shared))?;
    if let (Work::Swarm(plan), Some(max_steps)) = (&mut plan.work, options.max_steps) {
        plan.max_steps = max_steps.max(1);
    }
    let input = options.messages.into_iter().chain(input.into_messages()).collect();
    let tree = Tree {
        swarm,
        plan,
        state: SwarmState::new(),
        contexts: Contexts::new(cx, &shared),
        options: shared,
        idle: HashMap::new(),
        jobs: FuturesUnordered::new(),
        flights: HashMap::new(),
    };
    tree.run(input).await
}

/// A run of a tree.
struct Tree<'a> {
    swarm: &'a Swarm,
    plan: Plan,
    state: SwarmState,
    options: RunOptions,
    contexts: Contexts,
    /// Members with nothing to do at the moment.
    idle: HashMap<Path, Driven<'a>>,
    jobs: FuturesUnordered<BoxFuture<'a, Result<Done<'a>, Aborted>>>,
    /// Members with something to do. One that is done with has it taken away.
    flights: HashMap<Path, AbortHandle>,
}

/// What a member has done.
struct Done<'a> {
    path: Path,
    driven: Driven<'a>,
    /// For one that has just begun.
    instructions: Option<String>,
    happened: Vec<Happened>,
}

impl<'a> Tree<'a> {
    async fn run(mut self, input: Vec<Message>) -> Result<RunResult, RunError> {
        let root = Path::root();
        let mut commands = step(&self.plan, &mut self.state, &root, Happened::Started { input });
        loop {
            let mut vetoed = None;
            for (path, command) in commands {
                match command {
                    _ if vetoed.is_some() => {}
                    Command::Finish(outcome) if path.is_root() => return self.result(outcome),
                    Command::Finish(outcome) => vetoed = self.ended(&path, &outcome).await.err(),
                    command => self.begin(path, command)?,
                }
            }
            if let Some(failure) = vetoed {
                return self.vetoed(failure);
            }
            let Some(done) = self.jobs.next().await else {
                return Err(RunError::Setup("the swarm stopped with nothing left to do".into()));
            };
            commands = done.map(|done| self.told(done)).unwrap_or_default();
        }
    }

    /// Lets a member do something.
    fn begin(&mut self, path: Path, command: Command) -> Result<(), RunError> {
        let Some(conversation) = self.state.conversation(&path).cloned() else { return Ok(()) };
        let (handle, registration) = AbortHandle::new_pair();
        let job = if let Some(driven) = self.idle.remove(&path) {
            go_on(path.clone(), driven, conversation, command).boxed()
        } else {
            let Some(driven) = self.enter(&path)? else { return Ok(()) };
            set_out(path.clone(), driven, conversation, command).boxed()
        };
        self.flights.insert(path, handle);
        self.jobs.push(Abortable::new(job, registration).boxed());
        Ok(())
    }

    /// A member that has not worked before; none when there is no agent at that path.
    fn enter(&mut self, path: &Path) -> Result<Option<Driven<'a>>, RunError> {
        let Some(agent) = agent_at(self.swarm, path) else { return Ok(None) };
        let cx = self.contexts.enter(path);
        if let Some(from) = self.state.handed_over_by(&self.plan, path) {
            let name = |path: &Path| path.name().unwrap_or_default().to_owned();
            let (from, to) = (name(&from), name(path));
            cx.watch().emit(0, || EventKind::Handoff { from, to });
        }
        Driven::new(agent, &self.options, cx, self.plan.tools_at(path)).map(Some)
    }

    fn told(&mut self, done: Done<'a>) -> Vec<(Path, Command)> {
        let Done { path, driven, instructions, happened } = done;
        self.flights.remove(&path);
        if let (Some(text), Some(state)) = (instructions, self.state.conversation_mut(&path)) {
            state.instructions = text;
        }
        let repaired = |state: &SwarmState| state.conversation(&path).is_some_and(|of| of.repaired);
        let before = repaired(&self.state);
        let mut commands = Vec::new();
        for happened in happened {
            commands.extend(step(&self.plan, &mut self.state, &path, happened));
        }
        if let Some(state) = self.state.conversation(&path).filter(|of| of.repaired && !before) {
            driven.repairs(state);
        }
        self.idle.insert(path, driven);
        commands
    }

    /// A member is done. One that is taken from its work hears no more of it.
    async fn ended(&mut self, path: &Path, outcome: &Outcome) -> Result<(), Failure> {
        if let Some(flight) = self.flights.remove(path) {
            flight.abort();
        }
        let state = self.state.conversation(path).cloned();
        let mut agreed = Ok(());
        if let (Some(mut driven), Some(state)) = (self.idle.remove(path), state) {
            agreed = driven.end(state, outcome).await;
        }
        self.contexts.ended(path, outcome.error.is_none() && agreed.is_ok());
        agreed.map_err(|failure| Failure {
            message: format!("`{path}` failed: {}", failure.message),
            ..failure
        })
    }

    /// A hook did not let a member end well: that is the end of all.
    fn vetoed(mut self, failure: Failure) -> Result<RunResult, RunError> {
        let root = Path::root();
        step(&self.plan, &mut self.state, &root, Happened::Aborted(failure.clone()));
        let output = self.state.outcome().map(|outcome| outcome.output.clone());
        self.result(Outcome {
            output: output.unwrap_or_default(),
            finish_reason: FinishReason::Error,
            error: Some(failure),
            parsed: None,
        })
    }

    fn result(self, outcome: Outcome) -> Result<RunResult, RunError> {
        let (mut steps, mut usage) = self.state.used();
        let spent = self.contexts.spent();
        usage += spent.usage;
        steps = steps.saturating_add(spent.steps);
        let result = RunResult {
            output: outcome.output,
            messages: self.state.messages(&self.plan),
            usage,
            steps,
            finish_reason: outcome.finish_reason,
            parsed: outcome.parsed,
        };
        let Some(failure) = outcome.error else { return Ok(result) };
        let (agent, failure) = match self.state.failed() {
            Some((path, failure)) if !path.is_root() => (path.to_string(), failure.clone()),
            Some(_) | None => (self.swarm.name().to_owned(), failure),
        };
        Err(RunError::Failed { agent, failure, result: Box::new(result) })
    }
}

/// The conversation goes on with what is asked for.
async fn go_on(
    path: Path,
    mut driven: Driven<'_>,
    conversation: Conversation,
    command: Command,
) -> Done<'_> {
    let happened = driven.perform(conversation, command).await;
    Done { path, driven, instructions: None, happened }
}

/// The conversation begins.
async fn set_out(
    path: Path,
    driven: Driven<'_>,
    mut conversation: Conversation,
    command: Command,
) -> Done<'_> {
    let input = Input::from(conversation.messages.clone());
    match driven.begin(&input).await {
        Err(failure) => {
            Done { path, driven, instructions: None, happened: vec![Happened::Aborted(failure)] }
        }
        Ok(instructions) => {
            conversation.instructions.clone_from(&instructions);
            let done = go_on(path, driven, conversation, command).await;
            Done { instructions: Some(instructions), ..done }
        }
    }
}

fn agent_at<'a>(swarm: &'a Swarm, path: &Path) -> Option<&'a Agent> {
    let (mut members, mut agent) = (swarm.members(), None);
    for segment in path.segments() {
        let name = member_of(segment);
        match members.iter().find(|member| member.name() == name)? {
            Member::Agent(found) => agent = Some(found),
            Member::Swarm(swarm) => (members, agent) = (swarm.members(), None),
        }
    }
    agent
}
