//! Settings, each with its default beside it.

use servicekit::{Env, ServiceConfig};
use shared_models::Service;
use url::Url;

/// How eventsvc is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// The vault.
    pub credsvc_url: Url,
    /// The engine.
    pub engine_url: Url,
    /// What intake and housekeeping may use.
    pub limits: Limits,
}

/// What intake and housekeeping may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries that may wait to be stored before 503 is answered.
    pub queue: usize,
    /// Mebibytes of deliveries that may wait.
    pub queue_mib: usize,
    /// Days that deliveries are kept.
    pub retention_days: u32,
    /// Minutes without a word of a run after which an acknowledged firing is published again.
    pub unheard_minutes: u32,
    /// Seconds between two looks at what is lost or old.
    pub housekeeping_seconds: u32,
    /// Milliseconds after which the scheduler looks at the timers anew when nothing wakes it earlier.
    pub timer_poll_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 4096,
            queue_mib: 64,
            retention_days: 30,
            unheard_minutes: 10,
            housekeeping_seconds: 60,
            timer_poll_ms: 1000,
        }
    }
}

impl Config {
    /// Reads the settings; problems stay in `env`.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            service: ServiceConfig::read(env, Service::Eventsvc),
            credsvc_url: env.parse("SWITCHYARD_CREDSVC_URL", "http://127.0.0.1:8081"),
            engine_url: env.parse("SWITCHYARD_ENGINE_URL", "http://127.0.0.1:8083"),
            limits: Limits {
                queue: env.parse("SWITCHYARD_INTAKE_QUEUE", "4096"),
                queue_mib: env.parse("SWITCHYARD_INTAKE_QUEUE_MIB", "64"),
                retention_days: env.parse("SWITCHYARD_DELIVERY_RETENTION_DAYS", "30"),
                unheard_minutes: env.parse("SWITCHYARD_UNHEARD_MINUTES", "10"),
                housekeeping_seconds: env.parse("SWITCHYARD_HOUSEKEEPING_SECONDS", "60"),
                timer_poll_ms: env.parse("SWITCHYARD_TIMER_POLL_MS", "1000"),
            },
        };
        if config.limits.queue == 0 {
            env.refuse("SWITCHYARD_INTAKE_QUEUE", "must be at least 1");
        }
        if config.limits.queue_mib < 32 {
            env.refuse(
                "SWITCHYARD_INTAKE_QUEUE_MIB",
                "must be at least 32, or the largest delivery never fits",
            );
        }
        if !(1..=3650).contains(&config.limits.retention_days) {
            env.refuse("SWITCHYARD_DELIVERY_RETENTION_DAYS", "must be between 1 and 3650");
        }
        if config.limits.housekeeping_seconds == 0 {
            env.refuse("SWITCHYARD_HOUSEKEEPING_SECONDS", "must be at least 1");
        }
        if !(1..=1440).contains(&config.limits.unheard_minutes) {
            env.refuse("SWITCHYARD_UNHEARD_MINUTES", "must be between 1 and 1440");
        }
        if !(10..=60_000).contains(&config.limits.timer_poll_ms) {
            env.refuse("SWITCHYARD_TIMER_POLL_MS", "must be between 10 and 60000");
        }
        config
    }
}
