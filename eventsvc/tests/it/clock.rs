//! A clock that a test sets: the database's, by which everything in the service goes.

use chrono::{DateTime, Utc};
use eventsvc::Limits;
use serde_json::json;
use testkit::eventually;

use crate::{harness::World, listening::run, mail};

/// A world whose clock a test sets, and what it says.
pub(crate) struct Clock {
    ahead: i64,
}

/// What a world needs to follow the clock soon.
pub(crate) fn limits() -> Limits {
    Limits { timer_poll_ms: 20, ..Limits::default() }
}

impl Clock {
    /// One that is right.
    pub(crate) fn right() -> Self {
        Self { ahead: 0 }
    }

    /// What time it is, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        mail::now() + self.ahead
    }

    /// Puts it forward, and waits until the service goes by it.
    pub(crate) async fn forward(&mut self, world: &World, seconds: i64) {
        self.ahead += seconds;
        let ahead = self.ahead;
        run(
            world,
            &format!(
                "create or replace function eventsvc.db_now() returns timestamptz language sql stable parallel safe
                     return now() + interval '{ahead} seconds'"
            ),
        )
        .await;
        let body = json!({ "options": { "interval_seconds": 1 }, "limit": 1 });
        eventually("the service to go by the clock", async || {
            let told = world.mine().post("/v1/triggers/preview", &body).await.expect(200);
            let next: DateTime<Utc> =
                told["items"][0]["slot_at"].as_str().unwrap().parse().unwrap();
            // Seconds at most apart; it was put forward by minutes.
            ((next.timestamp() - self.now()).abs() < 30).then_some(())
        })
        .await;
    }
}
