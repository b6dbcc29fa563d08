//! When to ask a model again: transient failures only, later each time, never sooner than the provider asked for.
//!
//! A call that is made again begins from nothing: what the failed attempt said is void, be it half an answer or half a
//! tool call, and nothing of it reaches the conversation. [`Progress::Retrying`] tells whoever showed it.

use std::time::Duration;

use crate::model::{Model, ModelError, ModelEvent, ModelRequest, Reply, complete};

/// How often, and how long after a failure, a model is asked again.
///
/// ```
/// use std::time::Duration;
/// use agentcore::{ModelError, ModelErrorKind, RetryPolicy};
///
/// let policy = RetryPolicy { max_retries: 1, ..RetryPolicy::default() };
/// let busy = ModelError::new(ModelErrorKind::Overloaded, "busy");
/// let wrong = ModelError::new(ModelErrorKind::Invalid, "wrong");
///
/// assert_eq!(policy.delay(0, &busy, 1.0), Some(Duration::from_millis(500)));
/// assert_eq!(policy.delay(1, &busy, 1.0), None, "that was the last one");
/// assert_eq!(policy.delay(0, &wrong, 1.0), None, "it would be wrong again");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max_retries: u32,
    /// The first pause; each further one is up to twice as long.
    pub base: Duration,
    /// No pause is longer. A provider that asks for more gets no further attempt.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, base: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// The pause before the next attempt after `attempt` (from 0) failed with `error`; none to give up. `random` is
    /// from 0 to 1 and spreads callers that failed together over the upper half of the pause.
    pub fn delay(&self, attempt: u32, error: &ModelError, random: f64) -> Option<Duration> {
        if attempt >= self.max_retries || !error.is_transient() {
            return None;
        }
        let full = self.base.saturating_mul(2_u32.saturating_pow(attempt)).min(self.longest);
        let ours = full.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        match error.retry_after {
            Some(theirs) if theirs > self.longest => None,
            Some(theirs) => Some(ours.max(theirs)),
            None => Some(ours),
        }
    }
}

/// What a caller may want to show while a reply is on its way.
///
/// ```
/// use agentcore::{ModelEvent, Progress};
///
/// let progress = Progress::Event(ModelEvent::TextDelta("Hel".into()));
/// assert!(!matches!(progress, Progress::Retrying { .. }));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    Event(ModelEvent),
    /// The attempt failed: what it streamed is void, and the next one follows after `delay`.
    Retrying {
        attempt: u32,
        delay: Duration,
        error: ModelError,
    },
}

/// Like [`complete`], asking again as the policy says.
///
/// ```
/// use std::time::Duration;
/// use agentcore::models::sim::{Sim, Turn};
/// use agentcore::{ModelErrorKind, ModelRequest, Progress, RetryPolicy, complete_with_retries};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agentcore::ModelError> {
/// let sim = Sim::script([Turn::fail(ModelErrorKind::Overloaded), Turn::text("at last")]);
/// let policy = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
/// let mut retries = 0;
///
/// let count = |progress| retries += u32::from(matches!(progress, Progress::Retrying { .. }));
/// let reply = complete_with_retries(&sim, &ModelRequest::default(), policy, count).await?;
/// assert_eq!((reply.content.as_str(), retries), ("at last", 1));
/// # Ok(())
/// # }
/// ```
pub async fn complete_with_retries(
    model: &dyn Model,
    request: &ModelRequest,
    policy: RetryPolicy,
    mut on_progress: impl FnMut(Progress),
) -> Result<Reply, ModelError> {
    let mut attempt = 0;
    loop {
        let on_event = |event| on_progress(Progress::Event(event));
        let error = match complete(model, request, on_event).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let Some(delay) = policy.delay(attempt, &error, rand::random()) else { return Err(error) };
        attempt += 1;
        tracing::debug!(attempt, ?delay, %error, "asking the model again");
        on_progress(Progress::Retrying { attempt, delay, error });
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelErrorKind;

    fn busy(retry_after: Option<u64>) -> ModelError {
        ModelError::from_status(429, "busy".into(), retry_after.map(Duration::from_secs))
    }

    #[test]
    fn pauses_double_and_end() {
        let policy = RetryPolicy::default();
        let delays = [0, 1, 2, 3].map(|attempt| policy.delay(attempt, &busy(None), 1.0));
        let expected = [Some(500), Some(1000), Some(2000), None];
        assert_eq!(delays, expected.map(|ms| ms.map(Duration::from_millis)));
        assert_eq!(policy.delay(0, &busy(None), 0.0), Some(Duration::from_millis(250)));
    }

    #[test]
    fn the_provider_may_ask_for_a_longer_pause_but_not_for_any() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(0, &busy(Some(7)), 0.3), Some(Duration::from_secs(7)));
        assert_eq!(policy.delay(0, &busy(Some(0)), 1.0), Some(Duration::from_millis(500)));
        assert_eq!(policy.delay(0, &busy(Some(3600)), 1.0), None);
    }

    #[test]
    fn what_will_not_get_better_is_not_tried_again() {
        let policy = RetryPolicy::default();
        for kind in
            [ModelErrorKind::ContextLength, ModelErrorKind::Quota, ModelErrorKind::Malformed]
        {
            assert_eq!(policy.delay(0, &ModelError::new(kind, ""), 0.5), None, "{kind:?}");
        }
        assert_eq!(policy.delay(0, &ModelError::from_status(400, "no".into(), None), 0.5), None);
    }

    #[test]
    fn no_setting_overflows() {
        let policy = RetryPolicy { max_retries: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.delay(u32::MAX - 1, &busy(None), f64::INFINITY), Some(policy.longest));
    }
}
