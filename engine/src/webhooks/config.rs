//! What the operator says about telling tenants of runs.

use std::time::Duration;

use servicekit::Env;

const RETRIES: &str = "SWITCHYARD_WEBHOOK_RETRY_SECONDS";
/// The schedule that Standard Webhooks publishes.
const SCHEDULE: &str = "0,5,300,1800,7200,18000,36000,50400,72000,86400";

/// How tenants are told of runs.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// What passes before each attempt: the first, the second and so on. There are no more.
    pub schedule: Vec<Duration>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How long every attempt at an endpoint may fail before it is disabled.
    pub patience: Duration,
    /// Days that the log of deliveries is kept.
    pub days: i32,
}

impl WebhookConfig {
    pub(crate) fn read(env: &mut Env) -> Self {
        let text = env.text(RETRIES, SCHEDULE);
        let schedule = schedule(&text).unwrap_or_else(|| {
            env.refuse(
                RETRIES,
                "1 to 20 numbers of seconds, at most a week each, separated by commas",
            );
            Vec::new()
        });
        let timeout: u64 = env.parse("SWITCHYARD_WEBHOOK_TIMEOUT_MS", "20000");
        let patience: u32 = env.parse("SWITCHYARD_WEBHOOK_GIVE_UP_SECONDS", "432000");
        let days: u32 = env.parse("SWITCHYARD_WEBHOOK_DAYS", "30");
        if !(1..=60_000).contains(&timeout) {
            env.refuse("SWITCHYARD_WEBHOOK_TIMEOUT_MS", "must be between 1 and 60000");
        }
        if !(1..=400).contains(&days) {
            env.refuse("SWITCHYARD_WEBHOOK_DAYS", "must be between 1 and 400");
        }
        Self {
            schedule,
            timeout: Duration::from_millis(timeout),
            patience: Duration::from_secs(patience.into()),
            days: days as i32,
        }
    }

    /// How long an attempt is somebody's before it is anybody's again: longer than it can take.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout + Duration::from_secs(15)
    }
}

fn schedule(text: &str) -> Option<Vec<Duration>> {
    const WEEK: f64 = 604_800.0;
    let delay = |entry: &str| {
        let seconds = entry.trim().parse::<f64>().ok()?;
        (0.0..=WEEK).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
    };
    let delays = text.split(',').map(delay).collect::<Option<Vec<_>>>()?;
    (1..=20).contains(&delays.len()).then_some(delays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_schedule_is_the_published_one() {
        let published = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        assert_eq!(schedule(SCHEDULE).unwrap(), published.map(Duration::from_secs));
    }

    #[test]
    fn a_schedule_that_makes_no_sense_is_refused() {
        for text in ["", "soon", "5,,5", "-1", "NaN", "1e99", "604801"] {
            assert_eq!(schedule(text), None, "{text}");
        }
        assert_eq!(schedule(&["1"; 21].join(",")), None);
    }
}
