//! The state of a tree: conversations at its leaves, and between them who has worked, in which order, on what.

use serde::{Deserialize, Serialize};
use shared_models::message::Message;
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use super::path::{self, Path};
use super::plan::{Plan, SwarmPlan, Topology, Work};
use crate::conversation::{Conversation, Failure, FailureCode, Outcome};
use crate::step::{Command, Happened, step};

pub(super) type Out = Vec<(Path, Command)>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Node {
    Agent(Box<Conversation>),
    Swarm(Box<SwarmNode>),
}

/// Members at work. `turns` are in the order in which they began, which does not depend on who was faster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SwarmNode {
    /// What it was asked, with any history.
    pub(super) input: Vec<Message>,
    pub(super) turns: Vec<Turn>,
    /// Handoff: how often control has moved.
    #[serde(default)]
    pub(super) handoffs: u32,
    /// Handoff: who gets control when the turn at hand has ended.
    #[serde(default)]
    pub(super) next: Option<String>,
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    /// Whose failure ended it, and what it was in its own words.
    #[serde(default)]
    pub(super) failed: Option<(Path, Failure)>,
}

/// One time that a member works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) segment: String,
    /// Workflow: the stage of the flow.
    #[serde(default)]
    pub(super) stage: usize,
    /// Team: the lead's call that this turn answers.
    #[serde(default)]
    pub(super) call_id: Option<String>,
    pub(super) node: Node,
}

/// Where in the tree something goes on, and what comes of it.
pub(super) struct Cx<'a> {
    pub(super) plan: &'a SwarmPlan,
    pub(super) at: &'a Path,
    pub(super) out: &'a mut Out,
}

impl Node {
    pub(super) fn start(plan: &Plan, at: &Path, input: Vec<Message>, out: &mut Out) -> Self {
        match &plan.work {
            Work::Agent(agent) => {
                let mut conversation = Box::new(agent.opening.clone());
                let commands = step(&mut conversation, Happened::Started { input });
                out.extend(commands.into_iter().map(|command| (at.clone(), command)));
                Self::Agent(conversation)
            }
            Work::Swarm(plan) => {
                let mut swarm = Box::new(SwarmNode::new(input));
                swarm.begin(&mut Cx { plan, at, out });
                Self::Swarm(swarm)
            }
        }
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Agent(conversation) => conversation.outcome(),
            Self::Swarm(swarm) => swarm.outcome.as_ref(),
        }
    }

    /// Ends it and everything in it.
    pub(super) fn cancel(&mut self, plan: &Plan, at: &Path, reason: &str, out: &mut Out) {
        match (self, &plan.work) {
            (Self::Agent(conversation), _) => {
                let commands =
                    step(conversation, Happened::Cancelled { reason: reason.to_owned() });
                out.extend(commands.into_iter().map(|command| (at.clone(), command)));
            }
            (Self::Swarm(swarm), Work::Swarm(plan)) => {
                swarm.cancel(&mut Cx { plan, at, out }, reason);
            }
            (Self::Swarm(_), Work::Agent(_)) => {}
        }
    }

    /// What was said last, finished or not.
    pub(super) fn last_output(&self) -> String {
        match self {
            Self::Agent(conversation) => match conversation.outcome() {
                Some(outcome) => outcome.output.clone(),
                None => conversation.last_output.clone(),
            },
            Self::Swarm(swarm) => swarm.last_output(),
        }
    }

    pub(super) fn conversations<'a>(
        &'a self,
        at: Path,
        visit: &mut impl FnMut(Path, &'a Conversation),
    ) {
        match self {
            Self::Agent(conversation) => visit(at, conversation),
            Self::Swarm(swarm) => {
                for (index, turn) in swarm.turns.iter().enumerate() {
                    turn.node.conversations(swarm.path(&at, index), visit);
                }
            }
        }
    }

    fn steps(&self) -> u32 {
        let mut steps = 0_u32;
        self.conversations(Path::root(), &mut |_, conversation| {
            steps = steps.saturating_add(conversation.steps);
        });
        steps
    }

    pub(super) fn used(&self) -> (u32, Usage) {
        let mut usage = Usage::default();
        self.conversations(Path::root(), &mut |_, conversation| usage += conversation.usage);
        (self.steps(), usage)
    }
}

impl SwarmNode {
    fn new(input: Vec<Message>) -> Self {
        Self { input, turns: Vec::new(), handoffs: 0, next: None, outcome: None, failed: None }
    }

    fn begin(&mut self, cx: &mut Cx<'_>) {
        let input = self.input.clone();
        match (&cx.plan.topology, cx.plan.members.first()) {
            (Topology::Workflow { flow, .. }, _) => self.begin_stage(cx, flow, 0, &input),
            (Topology::Handoff { .. } | Topology::Team, Some(first)) => {
                self.begin_turn(cx, first, input, 0, None);
            }
            (Topology::Handoff { .. } | Topology::Team, None) => {}
        }
    }

    /// Sets a member to work. Only a text goes into a swarm.
    pub(super) fn begin_turn(
        &mut self,
        cx: &mut Cx<'_>,
        member: &Plan,
        mut input: Vec<Message>,
        stage: usize,
        call_id: Option<String>,
    ) {
        let is_members = |turn: &&Turn| path::member_of(&turn.segment) == member.name;
        let time = self.turns.iter().filter(is_members).count() + 1;
        let segment = path::segment(&member.name, time);
        if let Work::Swarm(_) = member.work {
            input = vec![Message::user(input.last().map(text_of).unwrap_or_default())];
        }
        let at = self.path_of(cx.at, self.turns.len(), call_id.is_some(), &segment);
        let node = Node::start(member, &at, input, cx.out);
        self.turns.push(Turn { segment, stage, call_id, node });
    }

    /// Where the turn at `index` is: workers are below their lead.
    pub(super) fn path(&self, at: &Path, index: usize) -> Path {
        match self.turns.get(index) {
            Some(turn) => self.path_of(at, index, turn.call_id.is_some(), &turn.segment),
            None => at.clone(),
        }
    }

    fn path_of(&self, at: &Path, index: usize, is_worker: bool, segment: &str) -> Path {
        match self.turns.first() {
            Some(lead) if is_worker && index > 0 => at.child(&lead.segment).child(segment),
            _ => at.child(segment),
        }
    }

    /// The turn a path leads to, and what is left of the path.
    pub(super) fn find<'p>(&self, path: &'p [String]) -> Option<(usize, &'p [String])> {
        let (segment, rest) = path.split_first()?;
        let is = |turn: &Turn| turn.call_id.is_none() && turn.segment == *segment;
        let index = self.turns.iter().position(is)?;
        let has_workers = self.turns.iter().any(|turn| turn.call_id.is_some());
        match rest.split_first() {
            Some((worker, rest)) if has_workers => {
                let is = |turn: &Turn| turn.call_id.is_some() && turn.segment == *worker;
                Some((self.turns.iter().position(is)?, rest))
            }
            _ => Some((index, rest)),
        }
    }

    pub(super) fn member<'a>(&self, plan: &'a SwarmPlan, index: usize) -> Option<&'a Plan> {
        plan.member(path::member_of(&self.turns.get(index)?.segment))
    }

    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Ends the swarm because of what happened at `path`, whatever else goes on in it.
    pub(super) fn fail(
        &mut self,
        cx: &mut Cx<'_>,
        path: Path,
        reason: FinishReason,
        error: Failure,
    ) {
        self.close(cx, "another member failed");
        let message = if path.is_root() {
            error.message.clone()
        } else {
            format!("`{path}` failed: {}", error.message)
        };
        let failure = Failure { message, ..error.clone() };
        self.failed = Some((path, error));
        self.outcome = Some(ended(self.last_output(), reason, Some(failure)));
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, reason: &str) {
        if self.outcome.is_some() {
            return;
        }
        self.close(cx, reason);
        let error = Failure { code: FailureCode::Cancelled, message: reason.to_owned() };
        let outcome = ended(self.last_output(), FinishReason::Cancelled, Some(error));
        cx.out.push((cx.at.clone(), Command::Finish(outcome.clone())));
        self.outcome = Some(outcome);
    }

    fn close(&mut self, cx: &mut Cx<'_>, reason: &str) {
        for index in 0..self.turns.len() {
            let (at, member) = (self.path(cx.at, index), self.member(cx.plan, index));
            if let (Some(turn), Some(member)) = (self.turns.get_mut(index), member) {
                turn.node.cancel(member, &at, reason, cx.out);
            }
        }
    }

    pub(super) fn steps(&self) -> u32 {
        self.turns.iter().fold(0, |steps, turn| steps.saturating_add(turn.node.steps()))
    }

    /// What a member's turn adds to the conversation of all.
    pub(super) fn said_in(turn: &Turn) -> Vec<Message> {
        match &turn.node {
            Node::Agent(conversation) => conversation.messages.clone(),
            Node::Swarm(swarm) => {
                let output = Message::assistant(turn.node.last_output());
                swarm.input.iter().cloned().chain([output]).collect()
            }
        }
    }

    /// The conversation that moves along with control.
    pub(super) fn said_in_control(&self) -> Vec<Message> {
        let before = self.turns.len().checked_sub(2).map(|index| self.handed_over(index));
        match self.turns.last() {
            Some(Turn { node: Node::Agent(conversation), .. }) => conversation.messages.clone(),
            Some(turn) => {
                let before = before.unwrap_or_else(|| self.input.clone());
                before.into_iter().chain([Message::assistant(turn.node.last_output())]).collect()
            }
            None => Vec::new(),
        }
    }

    fn last_output(&self) -> String {
        let is_workers = |turn: &&Turn| turn.call_id.is_none();
        self.turns.iter().rfind(is_workers).map(|turn| turn.node.last_output()).unwrap_or_default()
    }
}

pub(super) fn ended(
    output: String,
    finish_reason: FinishReason,
    error: Option<Failure>,
) -> Outcome {
    Outcome { output, finish_reason, error, parsed: None }
}

fn text_of(message: &Message) -> String {
    match message {
        Message::User { content } => content.text(),
        Message::System { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}
