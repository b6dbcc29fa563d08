//! What a call may use up, from when it is granted until it is charged.

use std::sync::Arc;
use std::time::Duration;

use agentcore::{ModelErrorKind, Reply};
use shared_models::{MicroUsd, Usage};
use tokio::time::Instant;

use super::{Draw, Drawn, Key, Quantity, Reserved, Want};

/// Where charges are noted until they are written down.
pub(crate) trait Till {
    fn charge(&self, drawn: Drawn);
}

/// What a call may use up. Empty when nothing limits it.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    draws: Vec<(Key, Arc<Draw>)>,
    /// Fewer tokens of output than it would like to have.
    pub(crate) clamped: bool,
    /// Since when time is counted, and until when there is some.
    time: Option<(Instant, Instant)>,
    /// The tokens of the request, estimated.
    pub(super) input: i64,
    /// What was asked for, for a reply that breaks off.
    pub(super) wants: Vec<Want>,
}

/// Bytes of output that are taken as a token when nobody says how many it was.
const PER_TOKEN: usize = 3;

/// Whether the provider may have read the request and begun to answer.
pub(crate) fn broke_off(kind: ModelErrorKind) -> bool {
    matches!(kind, ModelErrorKind::Cut | ModelErrorKind::Timeout | ModelErrorKind::Malformed)
}

/// Bytes that a model has written for a reply.
fn written(reply: &Reply) -> usize {
    let calls = reply.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    reply.content.len() + reply.reasoning.as_ref().map_or(0, String::len) + calls.sum::<usize>()
}

impl Grant {
    /// Of what was set aside just now. Its time begins.
    pub(crate) fn new(reserved: Reserved) -> Self {
        let now = Instant::now();
        let of_time = reserved.draws.iter().filter(|(key, _)| key.quantity == Quantity::ActiveMs);
        let least = of_time.map(|(_, draw)| draw.reserved()).min();
        let time = least.map(|millis| (now, now + Duration::from_millis(millis.max(0) as u64)));
        Self { draws: reserved.draws, time, ..Self::default() }
    }

    /// Until when there is time, if that is limited.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.time.map(|(_, until)| until)
    }

    /// Waits until the time that was set aside is over.
    pub(crate) async fn time_is_over(&self) {
        match self.until() {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Charges all budgets with what a call took of something; what is not known is charged as it was set aside.
    pub(crate) fn charge(&self, till: &impl Till, quantity: Quantity, amount: Option<i64>) {
        for (_, draw) in self.draws.iter().filter(|(key, _)| key.quantity == quantity) {
            till.charge(draw.settle(amount.unwrap_or_else(|| draw.reserved())));
        }
    }

    /// Charges what a reply took, by estimate when its provider does not say.
    pub(crate) fn charge_reply(&self, till: &impl Till, reply: &Reply, cost: Option<MicroUsd>) {
        if reply.usage == Usage::default() {
            return self.charge_broken(till, written(reply));
        }
        self.charge(till, Quantity::Cost, cost.map(|cost| cost.0));
        let tokens = i64::try_from(reply.usage.total()).unwrap_or(i64::MAX);
        self.charge(till, Quantity::Tokens, Some(tokens));
    }

    /// Charges what a reply may have taken that broke off after so many bytes, by estimate: nobody says what it took.
    pub(crate) fn charge_broken(&self, till: &impl Till, bytes: usize) {
        let output = u32::try_from(bytes.div_ceil(PER_TOKEN)).unwrap_or(u32::MAX);
        for want in self.wants.iter().filter(|want| want.quantity != Quantity::ActiveMs) {
            self.charge(till, want.quantity, Some(want.need(output)));
        }
    }

    /// Charges the time since it was last charged.
    pub(crate) fn charge_time(&mut self, till: &impl Till) {
        if let Some((since, _)) = self.time.take() {
            self.charge(till, Quantity::ActiveMs, Some(since.elapsed().as_millis() as i64));
        }
    }

    /// What a reply took that is ended after so many bytes, by estimate.
    pub(crate) fn usage(&self, bytes: usize) -> Usage {
        let input_tokens = u64::try_from(self.input).unwrap_or_default();
        let output_tokens = bytes.div_ceil(PER_TOKEN) as u64;
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    /// Charges the time that is over, and gives back what was set aside for it.
    pub(crate) fn end_time(&mut self, till: &impl Till) {
        self.charge_time(till);
        self.draws.retain(|(key, _)| key.quantity != Quantity::ActiveMs);
    }

    /// Takes more time.
    pub(crate) fn go_on(&mut self, more: Self) {
        self.draws.extend(more.draws);
        self.time = more.time;
    }
}
