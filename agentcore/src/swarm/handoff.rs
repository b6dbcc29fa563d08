//! One member at a time has control, and may pass it on.

use shared_models::message::{Message, ToolCall};
use shared_models::run::FinishReason;

use super::node::{Cx, Node, SwarmNode, ended};
use crate::conversation::{Answer, Failure, FailureCode, Outcome, Status};
use crate::step::{Command, Happened, step};

impl SwarmNode {
    /// Answers the calls that pass control on. Control moves when the other calls of the turn have their answers too.
    pub(super) fn transfer(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        calls: Vec<ToolCall>,
    ) -> Vec<ToolCall> {
        let plan = cx.plan;
        let targets = self.member(plan, index).map(|member| plan.targets(&member.name));
        let targets = targets.unwrap_or_default();
        let mut others = Vec::new();
        for call in calls {
            let Some(target) = targets.iter().find(|target| target.tool == call.name) else {
                others.push(call);
                continue;
            };
            let answer = match &self.next {
                None => {
                    self.next = Some(target.plan.name.clone());
                    Answer::ok(format!("`{}` goes on from here.", target.plan.name))
                }
                Some(next) => Answer::error(format!("control goes to `{next}` already")),
            };
            let Some(turn) = self.turns.get_mut(index) else { continue };
            if let Node::Agent(conversation) = &mut turn.node {
                let commands = step(conversation, Happened::Answered { call_id: call.id, answer });
                self.said(cx, index, commands);
            }
        }
        others
    }

    /// Ends the turn of a member that would go on, had it not passed control on.
    pub(super) fn give_up_control(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(turn) = self.turns.get_mut(index) else { return };
        let Node::Agent(conversation) = &mut turn.node else { return };
        let outcome = ended(conversation.last_output.clone(), FinishReason::Stop, None);
        conversation.status = Status::Finished(outcome.clone());
        self.said(cx, index, vec![Command::Finish(outcome)]);
    }

    /// A member has ended its turn: by a call that passes control on, by saying nothing but the name of somebody it may
    /// hand off to, or with the swarm's output.
    pub(super) fn pass_control(
        &mut self,
        cx: &mut Cx<'_>,
        max_handoffs: u32,
        index: usize,
        outcome: Outcome,
    ) {
        let plan = cx.plan;
        let Some(member) = self.member(plan, index) else { return };
        let named = || {
            let targets = plan.targets(&member.name).into_iter();
            targets.map(|target| target.plan).find(|plan| plan.name == outcome.output.trim())
        };
        let next = self.next.take();
        let target = next.and_then(|name| plan.member(&name)).or_else(named);
        let Some(target) = target else { return self.finish(outcome) };
        self.handoffs += 1;
        if self.handoffs > max_handoffs {
            let (from, to) = (&member.name, &target.name);
            let message =
                format!("more than {max_handoffs} handoffs: the last was from `{from}` to `{to}`");
            let error = Failure { code: FailureCode::TooManyHandoffs, message };
            return self.fail(cx, cx.at.clone(), FinishReason::Error, error);
        }
        let input = self.handed_over(index);
        self.begin_turn(cx, target, input, 0, None);
    }

    /// What was said so far, and the original input once more, so that it is what the next one answers.
    pub(super) fn handed_over(&self, index: usize) -> Vec<Message> {
        let history = match self.turns.get(index).map(|turn| &turn.node) {
            Some(Node::Agent(conversation)) => conversation.messages.clone(),
            Some(Node::Swarm(_)) | None => Vec::new(),
        };
        history.into_iter().chain(self.input.last().cloned()).collect()
    }
}
