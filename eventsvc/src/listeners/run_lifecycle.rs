//! The life of runs, written into the timeline of the delivery that started them.
//!
//! Any word about a run proves that its firing arrived. Events may come out of order: an ended run stays ended, and of the
//! others what happened last counts. Runs that no firing started are none of ours.

use std::sync::Arc;

use dbutil::{Db, tenants_setting};
use pubsub::{BatchListener, Consumer, RawEvent, Refusal, topology};
use serde_json::{Value, json};
use shared_models::{
    RunStatus, TenantId, WaitReason,
    events::{
        Envelope, Event,
        run::{
            RunCreated, RunFinished, RunPaused, RunRef, RunRefused, RunResumed, RunStarted,
            RunWaiting,
        },
    },
};
use sqlx::AssertSqlSafe;

use crate::{
    flow::Bell,
    intake::{Patience, ReasonClass},
    stats::Stats,
    store::heard::{self, News, Word},
};

/// Hears of runs.
#[derive(Debug)]
pub(crate) struct RunLifecycle {
    pub(crate) db: Db,
    /// An end makes room for what waits.
    pub(crate) flow: Arc<Bell>,
    /// Senders that wait for an end.
    pub(crate) patience: Patience,
    /// What fails is counted.
    pub(crate) stats: Stats,
}

/// What an event says about a run.
struct Told {
    run: RunRef,
    step: &'static str,
    news: News,
    detail: Value,
}

type Answer = Result<(), Refusal>;

impl BatchListener for RunLifecycle {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &topology::EVENTSVC_RUN_LIFECYCLE;

    /// All of a batch is one commit; when that fails, each word is one of its own.
    async fn handle_batch(&self, batch: Vec<Envelope<RawEvent>>) -> Vec<Answer> {
        let words: Vec<_> = batch.iter().map(word).collect();
        let good: Vec<&Word> = words.iter().flatten().flatten().collect();
        let together = self.take(&good).await;
        let mut answers = Vec::with_capacity(words.len());
        for word in &words {
            answers.push(match word {
                Ok(None) => Ok(()),
                Ok(Some(_)) if together.is_ok() => Ok(()),
                Ok(Some(word)) => {
                    self.take(&[word]).await.map_err(|error| Refusal::Later(error.into()))
                }
                Err(error) => Err(Refusal::Never(anyhow::anyhow!("{error}"))),
            });
        }
        answers
    }
}

impl RunLifecycle {
    async fn take(&self, words: &[&Word]) -> Result<(), sqlx::Error> {
        if words.is_empty() {
            return Ok(());
        }
        let mut tenants: Vec<TenantId> = words.iter().map(|word| word.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        // On fast-growing tables the planner would read all of them until statistics catch up.
        let begin = format!(
            "begin; set local app.tenants = '{}'; set local enable_seqscan = off;
             set local enable_nestloop = off; set local enable_bitmapscan = off",
            tenants_setting(&tenants)
        );
        let mut tx = self.db.app_pool().begin_with(AssertSqlSafe(begin)).await?;
        let failed = heard::take(&mut tx, Self::CONSUMER.durable, words).await?;
        tx.commit().await?;
        for (tenant, trigger) in failed {
            self.stats.count_failure(tenant, trigger);
        }
        self.flow.heard();
        let ended = words.iter().filter(|word| word.is_the_end());
        self.patience.heard(ended.map(|word| word.event_id));
        Ok(())
    }
}

/// The event as a word about a firing, if it is one.
fn word(event: &Envelope<RawEvent>) -> Result<Option<Word>, serde_json::Error> {
    let Some(Told { run, step, news, detail }) = read(event)? else { return Ok(None) };
    let word = |event_id| Word {
        message_id: event.id,
        tenant: event.tenant,
        event_id,
        attempt: run.attempt,
        step,
        run: run.run_id,
        news,
        detail,
        at: event.occurred_at,
    };
    Ok(run.event_id.map(word))
}

/// Events of other types are none of ours.
fn read(event: &Envelope<RawEvent>) -> Result<Option<Told>, serde_json::Error> {
    let told =
        |run, step, status| Told { run, step, news: News::Status(status), detail: json!({}) };
    Ok(Some(match event.kind.as_str() {
        RunCreated::NAME => match RawEvent::read::<RunCreated>(event)? {
            Some(heard) => told(heard.run, "run_created", RunStatus::Queued),
            None => return Ok(None),
        },
        RunStarted::NAME => match RawEvent::read::<RunStarted>(event)? {
            Some(heard) => told(heard.run, "run_started", RunStatus::Running),
            None => return Ok(None),
        },
        RunWaiting::NAME => match RawEvent::read::<RunWaiting>(event)? {
            Some(heard) => Told {
                run: heard.run,
                step: "run_waiting",
                news: wait(heard.reason),
                detail: json!({ "reason": heard.reason }),
            },
            None => return Ok(None),
        },
        RunPaused::NAME => match RawEvent::read::<RunPaused>(event)? {
            Some(heard) => Told {
                detail: json!({ "by": heard.by }),
                ..told(heard.run, "run_paused", RunStatus::Paused)
            },
            None => return Ok(None),
        },
        // It says anew when it waits again.
        RunResumed::NAME => match RawEvent::read::<RunResumed>(event)? {
            Some(heard) => Told {
                detail: match heard.after {
                    Some(after) => json!({ "after": after }),
                    None => json!({ "by": heard.by }),
                },
                ..told(heard.run, "run_resumed", RunStatus::Running)
            },
            None => return Ok(None),
        },
        RunFinished::NAME => match RawEvent::read::<RunFinished>(event)? {
            Some(heard) => Told {
                run: heard.run,
                step: "run_finished",
                news: end(&heard),
                detail: json!({ "status": heard.status, "error": heard.error, "error_code": heard.error_code,
                    "usage": heard.usage, "cost": heard.cost }),
            },
            None => return Ok(None),
        },
        RunRefused::NAME => match RawEvent::read::<RunRefused>(event)? {
            Some(heard) => Told {
                run: heard.run,
                step: "run_refused",
                detail: json!({ "reason": heard.reason }),
                news: News::Refused(heard.reason),
            },
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// What a run waits for; some of it is there to be mended.
fn wait(reason: WaitReason) -> News {
    let class = match reason {
        WaitReason::Auth => ReasonClass::Credential,
        WaitReason::Budget => ReasonClass::Budget,
        WaitReason::Doubt => ReasonClass::Tool,
        _ => return News::Status(RunStatus::Waiting),
    };
    News::Hindered(RunStatus::Waiting, class, format!("the run waits: `{reason}`"))
}

/// How a run has ended. The reason quotes nothing: what the run's error says is content, and stands in the timeline.
fn end(heard: &RunFinished) -> News {
    let status = heard.status;
    if !matches!(status, RunStatus::Failed | RunStatus::TimedOut) {
        return News::Status(status);
    }
    let code = heard.error_code.as_deref().unwrap_or_default();
    let class = match code {
        "model_auth" => ReasonClass::Credential,
        // What is called on the way, as tools are.
        "hook_failed" => ReasonClass::Tool,
        _ => ReasonClass::Engine,
    };
    let how = if status == RunStatus::TimedOut { "ran out of time" } else { "failed" };
    let why = if code.is_empty() { String::new() } else { format!(": `{code}`") };
    News::Hindered(status, class, format!("the run {how}{why}"))
}
