//! A whole tree of conversations, driven like one.

use serde::{Deserialize, Serialize};
use shared_models::message::Message;
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use super::node::{Cx, Node, Out, SwarmNode};
use super::path::Path;
use super::plan::{Plan, Topology, Work};
use crate::conversation::{Conversation, Failure, Outcome};
use crate::step::{self, Command, Happened};

/// Everything [`step()`](crate::step()) needs to know beside the plan, and nothing else: serialise it, read it back, and go
/// on.
///
/// ```
/// use agentcore::swarm::SwarmState;
///
/// let state = SwarmState::new();
/// let kept = serde_json::to_string(&state)?;
/// assert_eq!(serde_json::from_str::<SwarmState>(&kept)?, state);
/// assert!(state.outcome().is_none() && state.conversations().is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SwarmState {
    root: Option<Node>,
}

/// Takes in what happened to the conversation at `path` and says what to do next, where.
///
/// Like [`step`](crate::step::step) for one agent, and the same for a plan that is one agent: pure, so whoever writes
/// down what happened can replay it. `Started` at the root begins the whole tree, `Cancelled` and `Aborted` end it. All else goes
/// to the conversations whose commands were given; what cannot be true of the state at hand is ignored.
///
/// Passing work on happens within: a `Finish` says that the conversation at that path is done, and whatever else is
/// under way there is to be given up; the tree is done with the `Finish` at the root, always the last one.
///
/// ```
/// use agentcore::swarm::{Path, SwarmState, step};
/// use agentcore::{Agent, Command, Happened, Message, Reply, Swarm};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let plan = Swarm::builder().agents([agent("a")?, agent("b")?]).build()?.plan()?;
/// let mut state = SwarmState::new();
/// let start = Happened::Started { input: vec![Message::user("go")] };
///
/// let due = step(&plan, &mut state, &Path::root(), start);
/// assert_eq!(due, [("a".parse()?, Command::CallModel)]);
///
/// let reply = Reply { content: "first".into(), ..Reply::default() };
/// let due = step(&plan, &mut state, &"a".parse()?, Happened::Replied(reply));
/// assert_eq!(due.last(), Some(&("b".parse()?, Command::CallModel)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn step(
    plan: &Plan,
    state: &mut SwarmState,
    path: &Path,
    happened: Happened,
) -> Vec<(Path, Command)> {
    let (root, mut out) = (Path::root(), Vec::new());
    match (&mut state.root, happened) {
        (None, Happened::Started { input }) if path.is_root() => {
            state.root = Some(Node::start(plan, &root, input, &mut out));
        }
        (Some(node), Happened::Cancelled { reason })
            if path.is_root() && node.outcome().is_none() =>
        {
            node.cancel(plan, &root, &reason, &mut out);
        }
        (Some(Node::Swarm(swarm)), Happened::Aborted(failure)) if path.is_root() => {
            if let (None, Work::Swarm(plan)) = (&swarm.outcome, &plan.work) {
                let cx = &mut Cx { plan, at: &root, out: &mut out };
                swarm.fail(cx, Path::root(), FinishReason::Error, failure);
                out.extend(swarm.outcome.clone().map(|outcome| (root, Command::Finish(outcome))));
            }
        }
        (Some(Node::Agent(conversation)), happened) if path.is_root() => {
            let commands = step::step(conversation, happened);
            out.extend(commands.into_iter().map(|command| (root.clone(), command)));
        }
        (Some(Node::Swarm(swarm)), happened) if swarm.outcome.is_none() => {
            if let Work::Swarm(plan) = &plan.work {
                swarm.deliver(
                    &mut Cx { plan, at: &root, out: &mut out },
                    path.segments(),
                    happened,
                );
                out.extend(swarm.outcome.clone().map(|outcome| (root, Command::Finish(outcome))));
            }
        }
        _ => {}
    }
    out
}

/// What is due in this state: the commands `step` gave, less those that have been carried out and those that say no more
/// than that a member is done. A driver that takes over from a dead one starts here.
///
/// ```
/// use agentcore::swarm::{Path, SwarmState, due, step};
/// use agentcore::{Agent, Happened, Message, Swarm};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let plan = Swarm::builder().agents([agent("a")?, agent("b")?]).flow("(a | b)").build()?.plan()?;
/// let mut state = SwarmState::new();
/// let start = Happened::Started { input: vec![Message::user("go")] };
/// let commands = step(&plan, &mut state, &Path::root(), start);
/// assert_eq!(due(&plan, &state), commands);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn due(plan: &Plan, state: &SwarmState) -> Vec<(Path, Command)> {
    let (Some(node), mut out) = (&state.root, Vec::new()) else { return Vec::new() };
    match node.outcome() {
        Some(outcome) => out.push((Path::root(), Command::Finish(outcome.clone()))),
        None => due_at(plan, node, &Path::root(), &mut out),
    }
    out
}

fn due_at(plan: &Plan, node: &Node, at: &Path, out: &mut Out) {
    match (node, &plan.work) {
        _ if node.outcome().is_some() => {}
        (Node::Agent(conversation), _) => {
            out.extend(step::due(conversation).into_iter().map(|command| (at.clone(), command)));
        }
        (Node::Swarm(swarm), Work::Swarm(plan)) => {
            for (index, turn) in swarm.turns.iter().enumerate() {
                let Some(member) = swarm.member(plan, index) else { continue };
                let before = out.len();
                due_at(member, &turn.node, &swarm.path(at, index), out);
                if index == 0 {
                    leave_out_delegated(swarm, before, out);
                }
            }
        }
        (Node::Swarm(_), Work::Agent(_)) => {}
    }
}

/// The calls that workers answer are no driver's business.
fn leave_out_delegated(swarm: &SwarmNode, before: usize, out: &mut Out) {
    let delegated = |id: &str| swarm.turns.iter().any(|turn| turn.call_id.as_deref() == Some(id));
    for (_, command) in out.iter_mut().skip(before) {
        if let Command::CallTools(calls) = command {
            calls.retain(|call| !delegated(&call.id));
        }
    }
    out.retain(|(_, command)| !matches!(command, Command::CallTools(calls) if calls.is_empty()));
}

impl SwarmState {
    pub fn new() -> Self {
        Self::default()
    }

    /// How the tree ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.root.as_ref()?.outcome()
    }

    /// Whose failure ended the tree, and what it was in its own words.
    pub fn failed(&self) -> Option<(&Path, &Failure)> {
        match self.root.as_ref()? {
            Node::Swarm(swarm) => swarm.failed.as_ref().map(|(path, failure)| (path, failure)),
            Node::Agent(_) => None,
        }
    }

    /// Every conversation so far, finished or not, in the order in which they began at each place.
    pub fn conversations(&self) -> Vec<(Path, &Conversation)> {
        let mut all = Vec::new();
        if let Some(root) = &self.root {
            root.conversations(Path::root(), &mut |path, conversation| {
                all.push((path, conversation));
            });
        }
        all
    }

    pub fn conversation(&self, path: &Path) -> Option<&Conversation> {
        let mut node = self.root.as_ref()?;
        let mut rest = path.segments();
        loop {
            match node {
                Node::Agent(conversation) if rest.is_empty() => return Some(conversation),
                Node::Agent(_) => return None,
                Node::Swarm(swarm) => {
                    let (index, left) = swarm.find(rest)?;
                    (node, rest) = (&swarm.turns.get(index)?.node, left);
                }
            }
        }
    }

    /// The same for a driver that has to say what the plan could not: instructions that are made when they are needed.
    pub fn conversation_mut(&mut self, path: &Path) -> Option<&mut Conversation> {
        let mut node = self.root.as_mut()?;
        let mut rest = path.segments();
        loop {
            match node {
                Node::Agent(conversation) if rest.is_empty() => return Some(conversation),
                Node::Agent(_) => return None,
                Node::Swarm(swarm) => {
                    let (index, left) = swarm.find(rest)?;
                    (node, rest) = (&mut swarm.turns.get_mut(index)?.node, left);
                }
            }
        }
    }

    /// Model replies of all conversations, and what they consumed.
    pub fn used(&self) -> (u32, Usage) {
        self.root.as_ref().map(Node::used).unwrap_or_default()
    }

    /// What was said, as one conversation that can go on: that of the member in control, or of the lead; in a workflow
    /// those of all members, one after the other. Of a swarm within it there is what went in and what came out.
    pub fn messages(&self, plan: &Plan) -> Vec<Message> {
        match (&self.root, &plan.work) {
            (Some(Node::Agent(conversation)), _) => conversation.messages.clone(),
            (Some(Node::Swarm(swarm)), Work::Swarm(plan)) => match plan.topology {
                Topology::Workflow { .. } => {
                    swarm.turns.iter().flat_map(SwarmNode::said_in).collect()
                }
                Topology::Handoff { .. } => swarm.said_in_control(),
                Topology::Team => swarm.turns.first().map(SwarmNode::said_in).unwrap_or_default(),
            },
            (Some(Node::Swarm(_)) | None, _) => Vec::new(),
        }
    }

    /// Who passed control to the conversation at `path`; none when it was not passed on.
    pub fn handed_over_by(&self, plan: &Plan, path: &Path) -> Option<Path> {
        let (mut node, mut work) = (self.root.as_ref()?, &plan.work);
        let (mut at, mut rest, mut by) = (Path::root(), path.segments(), None);
        while let (Node::Swarm(swarm), Work::Swarm(plan)) = (node, work) {
            let (index, left) = swarm.find(rest)?;
            let passes = matches!(plan.topology, Topology::Handoff { .. });
            by = index.checked_sub(1).filter(|_| passes).map(|before| swarm.path(&at, before));
            at = swarm.path(&at, index);
            work = &swarm.member(plan, index)?.work;
            (node, rest) = (&swarm.turns.get(index)?.node, left);
        }
        by
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
