//! Each output is the next input.

use shared_models::flow::Flow;
use shared_models::message::Message;
use shared_models::run::FinishReason;

use super::node::{Cx, SwarmNode, ended};
use crate::conversation::Outcome;

impl SwarmNode {
    pub(super) fn begin_stage(
        &mut self,
        cx: &mut Cx<'_>,
        flow: &Flow,
        stage: usize,
        input: &[Message],
    ) {
        let plan = cx.plan;
        let names = flow.stages().get(stage).map(Vec::as_slice).unwrap_or_default();
        for member in names.iter().filter_map(|name| plan.member(name)) {
            self.begin_turn(cx, member, input.to_vec(), stage, None);
        }
    }

    /// The stage has ended when all of its members have.
    pub(super) fn stage_ended(
        &mut self,
        cx: &mut Cx<'_>,
        flow: &Flow,
        separator: &str,
        index: usize,
    ) {
        let stage = self.turns.get(index).map(|turn| turn.stage).unwrap_or_default();
        let of_stage = self.turns.iter().filter(|turn| turn.stage == stage);
        let outcomes: Option<Vec<&Outcome>> = of_stage.map(|turn| turn.node.outcome()).collect();
        let Some(outcomes) = outcomes else { return };
        let outcome = joined(&outcomes, separator);
        if stage + 1 < flow.stages().len() {
            self.begin_stage(cx, flow, stage + 1, &[Message::user(outcome.output)]);
        } else {
            self.finish(outcome);
        }
    }
}

/// One outcome of several: not quite finished when one of them is not.
fn joined(outcomes: &[&Outcome], separator: &str) -> Outcome {
    if let [only] = outcomes {
        return (*only).clone();
    }
    let outputs: Vec<&str> = outcomes.iter().map(|outcome| outcome.output.as_str()).collect();
    let mut reasons = outcomes.iter().map(|outcome| outcome.finish_reason);
    let reason = reasons.find(|reason| *reason != FinishReason::Stop).unwrap_or(FinishReason::Stop);
    ended(outputs.join(separator), reason, None)
}
