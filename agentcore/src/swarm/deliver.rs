//! What happened to one conversation, carried down to it, and what follows from it on the way up.

use shared_models::message::ToolCall;
use shared_models::run::FinishReason;

use super::node::{Cx, Node, SwarmNode};
use super::path::Path;
use super::plan::{Topology, Work};
use crate::conversation::{Failure, FailureCode};
use crate::step::{Command, Happened, step};

impl SwarmNode {
    /// `path` leads on from here.
    pub(super) fn deliver(&mut self, cx: &mut Cx<'_>, path: &[String], happened: Happened) {
        let Some((index, rest)) = self.find(path) else { return };
        let at = self.path(cx.at, index);
        let Some(member) = self.member(cx.plan, index) else { return };
        let is_workers = index == 0 && rest.is_empty() && self.is_workers(&happened);
        let Some(turn) = self.turns.get_mut(index) else { return };
        if self.outcome.is_some() || turn.node.outcome().is_some() || is_workers {
            return;
        }
        let before = cx.out.len();
        match (&mut turn.node, &member.work, happened) {
            (node, _, Happened::Cancelled { reason }) if rest.is_empty() => {
                node.cancel(member, &at, &reason, cx.out);
                self.turn_ended(cx, index);
            }
            (Node::Agent(conversation), _, happened) if rest.is_empty() => {
                let commands = step(conversation, happened);
                self.said(cx, index, commands);
            }
            (Node::Swarm(swarm), Work::Swarm(plan), happened) => {
                swarm.deliver(&mut Cx { plan, at: &at, out: cx.out }, rest, happened);
                if let Some(outcome) = swarm.outcome.clone() {
                    cx.out.push((at, Command::Finish(outcome)));
                    self.turn_ended(cx, index);
                }
            }
            (Node::Agent(_) | Node::Swarm(_), _, _) => {}
        }
        self.guard(cx, before);
    }

    /// What a member's conversation wants done, less what the swarm does itself.
    pub(super) fn said(&mut self, cx: &mut Cx<'_>, index: usize, commands: Vec<Command>) {
        let at = self.path(cx.at, index);
        for command in commands {
            match command {
                Command::CallTools(calls) => {
                    let calls = self.called(cx, index, calls);
                    if !calls.is_empty() {
                        cx.out.push((at.clone(), Command::CallTools(calls)));
                    }
                }
                Command::CallModel | Command::Summarise { .. } if self.next.is_some() => {
                    self.give_up_control(cx, index);
                }
                Command::Finish(outcome) => {
                    cx.out.push((at.clone(), Command::Finish(outcome)));
                    self.turn_ended(cx, index);
                }
                other => cx.out.push((at.clone(), other)),
            }
        }
    }

    /// Takes the calls that are the swarm's own business; gives the others back.
    fn called(&mut self, cx: &mut Cx<'_>, index: usize, calls: Vec<ToolCall>) -> Vec<ToolCall> {
        match &cx.plan.topology {
            Topology::Workflow { .. } => calls,
            Topology::Handoff { .. } => self.transfer(cx, index, calls),
            Topology::Team => self.delegate(cx, index, calls),
        }
    }

    /// A turn has its outcome.
    fn turn_ended(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(turn) = self.turns.get(index) else { return };
        let Some(outcome) = turn.node.outcome().cloned() else { return };
        match (&cx.plan.topology, outcome.error.clone()) {
            (Topology::Team, _) if turn.call_id.is_some() => self.report(cx, index, outcome),
            (_, Some(error)) => self.member_failed(cx, index, outcome.finish_reason, error),
            (Topology::Workflow { flow, separator }, None) => {
                self.stage_ended(cx, flow, separator, index);
            }
            (Topology::Handoff { max_handoffs }, None) => {
                self.pass_control(cx, *max_handoffs, index, outcome);
            }
            (Topology::Team, None) => self.finish(outcome),
        }
    }

    /// The failure of a swarm's member is that of the swarm; within swarms, that of the innermost member.
    fn member_failed(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        reason: FinishReason,
        error: Failure,
    ) {
        let innermost = match self.turns.get(index).map(|turn| &turn.node) {
            Some(Node::Swarm(swarm)) => swarm.failed.clone(),
            Some(Node::Agent(_)) | None => None,
        };
        let (path, error) = innermost.unwrap_or_else(|| (self.path(cx.at, index), error));
        self.fail(cx, path, reason, error);
    }

    /// No model call begins once the swarm has had its replies.
    fn guard(&mut self, cx: &mut Cx<'_>, before: usize) {
        let begins = |(_, command): &(Path, Command)| {
            !matches!(command, Command::CallTools(_) | Command::Finish(_))
        };
        let begins = cx.out.get(before..).is_some_and(|out| out.iter().any(begins));
        if self.outcome.is_some() || !begins || self.steps() < cx.plan.max_steps {
            return;
        }
        let mut index = 0;
        cx.out.retain(|(_, command)| {
            index += 1;
            index <= before || matches!(command, Command::Finish(_))
        });
        let message = format!("the members have used up their {} steps", cx.plan.max_steps);
        let error = Failure { code: FailureCode::TooManySteps, message };
        self.fail(cx, cx.at.clone(), FinishReason::Error, error);
    }

    /// An answer to a call that a worker is to answer comes from nobody else.
    fn is_workers(&self, happened: &Happened) -> bool {
        match happened {
            Happened::Answered { call_id, .. } => {
                let of = |turn: &super::node::Turn| {
                    turn.call_id.as_ref() == Some(call_id) && turn.node.outcome().is_none()
                };
                self.turns.iter().any(of)
            }
            _ => false,
        }
    }
}
