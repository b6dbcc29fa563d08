//! The life of runs, written into the timeline of the delivery that started them.
//!
//! Any word about a run proves that its firing arrived. Events may come out of order: an ended run stays ended.

use dbutil::TenantTx;
use pubsub::{Consumer, Listener, RawEvent, Refusal, topology};
use serde_json::{Value, json};
use shared_models::{
    RunStatus,
    events::{
        Envelope, Event,
        run::{RunCreated, RunFinished, RunRef, RunRefused, RunStarted, RunWaiting},
    },
};

use crate::store::{self, step::NewStep};

/// Hears of runs.
#[derive(Debug)]
pub(crate) struct RunLifecycle;

/// What an event says about a run.
struct Told {
    run: RunRef,
    step: &'static str,
    news: News,
    detail: Value,
}

enum News {
    Status(RunStatus),
    Refused(String),
}

impl Listener for RunLifecycle {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &topology::EVENTSVC_RUN_LIFECYCLE;

    async fn handle(&self, tx: &mut TenantTx, event: &Envelope<RawEvent>) -> Result<(), Refusal> {
        let told = read(event).map_err(|error| Refusal::Never(error.into()))?;
        let Some(told) = told else { return Ok(()) };
        let Some(event_id) = told.run.event_id else { return Ok(()) };
        let (attempt, run) = (told.run.attempt, told.run.run_id);
        let (delivery, run_id) = match &told.news {
            News::Status(status) => {
                let heard = store::firing::hear(tx, event_id, attempt, run, status.as_str());
                (heard.await?, Some(run))
            }
            // A refused firing has no run.
            News::Refused(why) => (store::firing::refuse(tx, event_id, attempt, why).await?, None),
        };
        let Some(delivery_id) = delivery else { return Ok(()) };
        let step = NewStep {
            delivery_id,
            event_id,
            attempt,
            step: told.step,
            run_id,
            detail: told.detail,
            at: Some(event.occurred_at),
        };
        Ok(store::step::insert(tx, &step).await?)
    }
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
                detail: json!({ "reason": heard.reason }),
                ..told(heard.run, "run_waiting", RunStatus::Waiting)
            },
            None => return Ok(None),
        },
        RunFinished::NAME => match RawEvent::read::<RunFinished>(event)? {
            Some(heard) => Told {
                detail: json!({ "status": heard.status, "error": heard.error, "usage": heard.usage, "cost": heard.cost }),
                ..told(heard.run, "run_finished", heard.status)
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
