//! The account: reads the database as its superuser, and asks the counting server.

use std::time::{Duration, Instant};

use serde_json::json;
use shared_models::{RunId, Service, TriggerId};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions, types::Uuid};
use testkit::{Api, Stub};

use super::{
    Verdict,
    sender::Mail,
    stage::{self, Stage},
};
use crate::Fleet;

const ENDED: &str = "('succeeded', 'failed', 'cancelled', 'timed_out')";

pub(super) struct Audit<'a> {
    db: PgPool,
    outside: &'a Stub,
    accepted: Vec<String>,
    triggers: Vec<Uuid>,
}

impl<'a> Audit<'a> {
    pub(super) async fn new(fleet: &Fleet, stage: &Stage, mail: &Mail, outside: &'a Stub) -> Self {
        let db = PgPoolOptions::new().max_connections(2);
        let db = db.connect(&fleet.postgres.admin_url()).await.unwrap();
        let triggers = stage.triggers.iter().map(|id| id.parse::<TriggerId>().unwrap().uuid());
        Self { db, outside, accepted: mail.accepted(), triggers: triggers.collect() }
    }

    /// Answers doubts until nothing is left to do; says how many, and how long that took.
    pub(super) async fn settle(&self, api: &Api, limit: Duration) -> (usize, Duration) {
        let (began, mut answered) = (Instant::now(), 0);
        while began.elapsed() < limit {
            answered += self.answer_doubts(api).await;
            if self.unrest().await.is_empty() && self.miscounted().await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        (answered, began.elapsed())
    }

    async fn answer_doubts(&self, api: &Api) -> usize {
        let doubts: Vec<(Uuid, String)> = sqlx::query_as(
            "select run_id, call_id from engine.run join engine.effect using (run_id)
             where status = 'waiting' and wait_reason = 'doubt' and state = 'in_doubt'",
        )
        .fetch_all(&self.db)
        .await
        .unwrap();
        let mut answered = 0;
        for (run, call) in doubts {
            let path = format!("/v1/runs/{}/effects/{call}/answer", RunId::from(run));
            let reply = api.post(&path, &json!({ "outcome": "happened" })).await;
            // A second answer to the same doubt is refused: the run has not drained the first yet.
            answered += usize::from((200..300).contains(&reply.status));
        }
        answered
    }

    pub(super) async fn verdict(&self) -> Verdict {
        let mut verdict = Verdict { stuck: self.unrest().await, ..Verdict::default() };
        for (runs, what) in self.miscounted().await {
            if runs == 0 { &mut verdict.lost } else { &mut verdict.doubled }.push(what);
        }
        let calls = stage::calls(self.outside);
        for ((path, delivery), times) in calls.iter().filter(|(_, times)| **times > 1) {
            verdict
                .doubled
                .push(format!("the unsafe call {path} of {delivery} arrived {times} times"));
        }
        let expected = self.accepted.len() * self.triggers.len();
        let runs = self
            .count(
                "select coalesce(status || ': ' || error_code, status), count(*) from engine.run",
            )
            .await;
        let effects = self
            .count("select coalesce(state || ': ' || reason, state), count(*) from engine.effect")
            .await;
        let total: i64 = runs.iter().map(|(_, count)| count).sum();
        if total > expected as i64 {
            verdict.doubled.push(format!("{total} runs, where {expected} were asked for"));
        }
        verdict.notes.push(format!("runs, {expected} asked for: {}", listed(&runs)));
        verdict.notes.push(format!("calls: {} arrived; {}", calls.len(), listed(&effects)));
        verdict
    }

    async fn count(&self, select: &str) -> Vec<(String, i64)> {
        let sql = format!("{select} group by 1 order by 2 desc");
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&self.db).await.unwrap()
    }

    /// Deliveries and triggers with another number of runs than one.
    async fn miscounted(&self) -> Vec<(i64, String)> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select accepted.key, count(run.run_id)
             from unnest($1::text[]) as accepted (key)
             cross join unnest($2::uuid[]) as trigger (trigger_id)
             left join eventsvc.delivery on dedupe_key = accepted.key
             left join eventsvc.firing using (delivery_id, trigger_id)
             left join engine.run on run.event_id = firing.event_id and run.trigger_id = trigger.trigger_id
             group by accepted.key, trigger.trigger_id having count(run.run_id) <> 1",
        )
        .bind(&self.accepted)
        .bind(&self.triggers)
        .fetch_all(&self.db)
        .await
        .unwrap();
        rows.into_iter()
            .map(|(key, runs)| (runs, format!("{key} has {runs} runs of a trigger")))
            .collect()
    }

    /// Everything that has not come to rest.
    async fn unrest(&self) -> Vec<String> {
        let mut checks = vec![
            ("a run is under way", format!("select run_id::text || ' ' || status from engine.run where status not in {ENDED}")),
            (
                "a journal has a gap",
                "select run_id::text from engine.run left join engine.journal using (run_id) group by run_id, next_seq
                 having min(seq) <> 1 or max(seq) <> count(*) or max(seq) + 1 <> next_seq or count(*) = 0".into(),
            ),
            (
                "a call has no end",
                "select run_id::text from engine.effect where state in ('intended', 'sent', 'in_doubt')".into(),
            ),
            ("a signal was not taken in", "select run_id::text from engine.run_signal where drained_at is null".into()),
            (
                "a timeline lacks its end",
                format!("select event_id::text || ' ' || coalesce(run_status, 'unheard') from eventsvc.firing
                         where run_id is null or run_status is null or run_status not in {ENDED}"),
            ),
            ("an event was not heard", unheard("eventsvc", "engine", "engine_trigger_fired")),
            ("an event was not heard", unheard("engine", "eventsvc", "eventsvc_run_lifecycle")),
        ];
        for service in Service::ALL {
            checks.push(("an event was not published",
                format!("select message_id::text || ' {service}' from {service}.outbox where published_at is null")));
            checks.push((
                "an event is parked",
                format!("select message_id::text || ' {service}' from {service}.parked"),
            ));
        }
        let mut found = Vec::new();
        for (what, sql) in checks {
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.db).await.unwrap();
            found.extend(rows.into_iter().map(|row| format!("{what}: {row}")));
        }
        found
    }
}

fn listed(counts: &[(String, i64)]) -> String {
    let listed: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    listed.join(", ")
}

/// Events of one service that another has no inbox row of.
fn unheard(from: &str, to: &str, consumer: &str) -> String {
    format!(
        "select message_id::text || ' ' || subject from {from}.outbox where not exists (
             select from {to}.inbox where inbox.message_id = outbox.message_id and consumer = '{consumer}')"
    )
}
