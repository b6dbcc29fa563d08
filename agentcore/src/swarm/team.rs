//! A lead delegates; workers work on their own, at the same time, and report back.

use shared_models::message::{Message, ToolCall};

use super::node::{Cx, Node, SwarmNode};
use super::tools::task_of;
use crate::conversation::{Answer, Outcome};
use crate::step::{Happened, step};

impl SwarmNode {
    /// Sets a worker to work for each call that delegates.
    pub(super) fn delegate(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        calls: Vec<ToolCall>,
    ) -> Vec<ToolCall> {
        let plan = cx.plan;
        let lead = self.member(plan, index).filter(|_| index == 0);
        let targets = lead.map(|lead| plan.targets(&lead.name)).unwrap_or_default();
        let mut others = Vec::new();
        let mut refused = Vec::new();
        for call in calls {
            let Some(target) = targets.iter().find(|target| target.tool == call.name) else {
                others.push(call);
                continue;
            };
            match task_of(&call.arguments) {
                Ok(task) => {
                    self.begin_turn(cx, target.plan, vec![Message::user(task)], 0, Some(call.id));
                }
                Err(why) => refused.push((call.id, Answer::error(why))),
            }
        }
        for (call_id, answer) in refused {
            self.answer_lead(cx, call_id, answer);
        }
        others
    }

    /// A worker has ended: its output, or what went wrong, is the answer to the lead's call.
    pub(super) fn report(&mut self, cx: &mut Cx<'_>, index: usize, outcome: Outcome) {
        let Some(turn) = self.turns.get(index) else { return };
        let answer = match outcome.error {
            None => Answer::ok(outcome.output),
            Some(error) => Answer::error(format!("`{}` failed: {}", turn.segment, error.message)),
        };
        if let Some(call_id) = turn.call_id.clone() {
            self.answer_lead(cx, call_id, answer);
        }
    }

    fn answer_lead(&mut self, cx: &mut Cx<'_>, call_id: String, answer: Answer) {
        let Some(lead) = self.turns.first_mut() else { return };
        if let Node::Agent(conversation) = &mut lead.node {
            let commands = step(conversation, Happened::Answered { call_id, answer });
            self.said(cx, 0, commands);
        }
    }
}
