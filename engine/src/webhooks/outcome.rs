//! What follows from an attempt. Pure: no clock, no chance but what it is given.

use std::time::Duration;

use super::WebhookConfig;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// An answer, whatever it says.
    Answered { status: u16, response: String, retry_after: Option<Duration> },
    /// No answer.
    Failed(String),
    /// It could not be tried, which is not the endpoint's fault.
    Untried(String),
}

/// What happens to the delivery now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Delivered,
    /// Another attempt, so much later.
    Again(Duration),
    /// No more attempts.
    Failed,
    /// The endpoint wants nothing any more.
    Gone,
    /// The attempt does not count; another one so much later.
    Postponed(Duration),
}

impl After {
    /// For metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again(_) => "again",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::Postponed(_) => "postponed",
        }
    }
}

/// How long to wait for what an attempt needs.
const POSTPONED: Duration = Duration::from_secs(5);
/// An endpoint may ask for no more patience than this.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// What follows from the attempt that was the `tries`th since the delivery was asked for. `chance` is between 0 and 1.
pub(crate) fn after(config: &WebhookConfig, tries: usize, sent: &Sent, chance: f64) -> After {
    let asked = match sent {
        Sent::Answered { status: 200..=299, .. } => return After::Delivered,
        Sent::Answered { status: 410, .. } => return After::Gone,
        Sent::Untried(_) => return After::Postponed(POSTPONED),
        Sent::Answered { retry_after, .. } => retry_after.unwrap_or_default().min(LONGEST_WAIT),
        Sent::Failed(_) => Duration::ZERO,
    };
    match config.schedule.get(tries) {
        // A tenth more or less, so that what failed together does not come back together.
        Some(delay) => After::Again(delay.mul_f64(0.9 + chance.clamp(0.0, 1.0) / 5.0).max(asked)),
        None => After::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> WebhookConfig {
        let schedule = [0, 5, 300].map(Duration::from_secs).to_vec();
        let second = Duration::from_secs(1);
        WebhookConfig { schedule, timeout: second, patience: second, days: 1 }
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Sent {
        let retry_after = retry_after.map(Duration::from_secs);
        Sent::Answered { status, response: String::new(), retry_after }
    }

    #[test]
    fn only_2xx_is_success_and_only_410_is_the_end() {
        for status in [200, 202, 204, 299] {
            assert_eq!(after(&config(), 1, &answered(status, None), 0.5), After::Delivered);
        }
        for status in [301, 302, 304, 400, 401, 404, 429, 500, 503] {
            let After::Again(_) = after(&config(), 1, &answered(status, None), 0.5) else {
                panic!("{status} is tried again");
            };
        }
        assert_eq!(after(&config(), 1, &answered(410, None), 0.5), After::Gone);
    }

    #[test]
    fn attempts_follow_the_schedule_with_a_tenth_of_chance_and_end_with_it() {
        let failed = Sent::Failed("reset".into());
        let delay = |tries, chance| match after(&config(), tries, &failed, chance) {
            After::Again(delay) => Some(delay.as_millis()),
            _ => None,
        };

        assert_eq!((delay(1, 0.0), delay(2, 1.0)), (Some(4_500), Some(330_000)));
        assert_eq!(after(&config(), 3, &failed, 0.5), After::Failed);
    }

    #[test]
    fn an_endpoint_may_ask_to_be_left_alone_for_a_day_and_no_longer() {
        let delay = |asked| match after(&config(), 1, &answered(429, Some(asked)), 0.5) {
            After::Again(delay) => delay.as_secs(),
            other => panic!("{other:?}"),
        };

        assert_eq!((delay(60), delay(u64::MAX)), (60, LONGEST_WAIT.as_secs()));
        assert!(delay(1) >= 4, "the schedule holds anyway");
    }

    #[test]
    fn an_attempt_that_could_not_be_made_does_not_count() {
        let untried = Sent::Untried("the vault is away".into());
        assert_eq!(after(&config(), 3, &untried, 0.5), After::Postponed(POSTPONED));
    }
}
