//! What happens on the platform, as deliveries for the triggers that fire on it.
//!
//! An event is one delivery at each source that hears it, told by its message's id, so a redelivery is a repetition.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use pubsub::{BatchListener, Consumer, DependencyDown, RawEvent, Refusal, topology};
use serde_json::{Map, Value, json};
use shared_models::{EventId, events::Envelope};
use uuid::Uuid;

use crate::{
    app::App,
    bus_hooks::{Chain, NatsOptions, SUBJECTS},
    hooks::{self, HookTrigger},
    intake::{DedupeKey, Draft, Origin, Outcome, Received, System, Verdict, decide},
    store::{self, hook::Row},
};

/// Hears what happens.
#[derive(Clone)]
pub(crate) struct BusEvents {
    pub(crate) app: App,
}

/// What hears an event, and what had led to it.
struct Known {
    rows: Vec<Row>,
    chains: HashMap<EventId, Chain>,
}

impl BatchListener for BusEvents {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &topology::EVENTSVC_BUS_TRIGGERS;

    async fn handle_batch(&self, batch: Vec<Envelope<RawEvent>>) -> Vec<Result<(), Refusal>> {
        let heard: Vec<&Envelope<RawEvent>> = batch.iter().filter(|event| heard(event)).collect();
        let known = if heard.is_empty() { None } else { Some(self.known(&heard).await) };
        let known = match known {
            None => return batch.iter().map(|_| Ok(())).collect(),
            Some(Ok(known)) => known,
            Some(Err(error)) => {
                let why = error.to_string();
                tracing::warn!(error = why, "who hears of an event could not be looked up");
                let down = || Refusal::Later(anyhow::anyhow!(DependencyDown("the database")));
                return batch.iter().map(|_| Err(down())).collect();
            }
        };
        let each = batch.iter().map(|event| async {
            if self::heard(event) { self.deliver(&known, event).await } else { Ok(()) }
        });
        futures::future::join_all(each).await
    }
}

/// Whether any trigger could fire on it. Runs within runs are part of those.
fn heard(event: &Envelope<RawEvent>) -> bool {
    let data = &event.data.0;
    SUBJECTS.contains(&event.kind.as_str()) && data.get("run_id") == data.get("root_run_id")
}

fn cause(event: &Envelope<RawEvent>) -> Option<EventId> {
    event.data.0.get("event_id")?.as_str()?.parse().ok()
}

impl BusEvents {
    async fn known(&self, events: &[&Envelope<RawEvent>]) -> Result<Known, sqlx::Error> {
        let mut tenants: Vec<Uuid> = events.iter().map(|event| event.tenant.uuid()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut tx = self.app.db.system("which triggers of some tenants hear the bus").await?;
        let rows = store::hook::on_bus(&mut tx, &tenants).await?;
        let mut chains = HashMap::new();
        if !rows.is_empty() {
            let ids = events.iter().filter_map(|event| cause(event)).map(EventId::uuid);
            let ids: Vec<Uuid> = ids.collect();
            for found in store::firing::causes(&mut tx, &tenants, &ids).await? {
                let chain = Chain::of(found.trigger_id, found.causes.as_ref());
                chains.insert(found.event_id, chain);
            }
        }
        tx.commit().await?;
        Ok(Known { rows, chains })
    }

    async fn deliver(&self, known: &Known, event: &Envelope<RawEvent>) -> Result<(), Refusal> {
        let chain = cause(event).and_then(|id| known.chains.get(&id));
        let mine = |row: &&Row| row.tenant_id == event.tenant && older(row, event.occurred_at);
        let rows: Vec<&Row> = known.rows.iter().filter(mine).collect();
        for source in rows.chunk_by(|one, other| one.source_id == other.source_id) {
            let options: NatsOptions = serde_json::from_value(source[0].source_options.clone())
                .map_err(|error| Refusal::Never(error.into()))?;
            if !options.hears(&event.kind, &event.data.0) {
                continue;
            }
            let received = self.received(source, event, chain).await?;
            match self.app.committer.submit(received).await {
                Outcome::Stored => self.app.flow.queued(),
                Outcome::Duplicate => {}
                Outcome::Unstorable(why) => return Err(Refusal::Never(anyhow::anyhow!(why))),
                Outcome::Busy => {
                    return Err(Refusal::Later(anyhow::anyhow!(DependencyDown("intake"))));
                }
            }
        }
        Ok(())
    }

    async fn received(
        &self,
        source: &[&Row],
        event: &Envelope<RawEvent>,
        chain: Option<&Chain>,
    ) -> Result<Received, Refusal> {
        let triggers: Vec<HookTrigger> = source
            .iter()
            .map(|row| hooks::trigger((*row).clone()))
            .collect::<Result<_, _>>()
            .map_err(|error| Refusal::Never(error.into()))?;
        let origin = Origin {
            tenant_id: event.tenant,
            source_id: source[0].source_id,
            system: System::Nats,
        };
        let mut received =
            decide(origin, &triggers, draft(event, chain, self.app.clock.now())).await;
        for firing in &mut received.firings {
            let goes_on = !matches!(
                firing.verdict,
                Verdict::Skipped | Verdict::Filtered | Verdict::Failed(..)
            );
            let closed = chain.and_then(|chain| chain.closes_with(firing.trigger_id));
            if let Some(why) = closed.filter(|_| goes_on) {
                firing.verdict = Verdict::Looped(why);
                firing.outbox = None;
            }
        }
        Ok(received)
    }
}

/// What had happened before a trigger was made is not for it.
fn older(row: &Row, than: DateTime<Utc>) -> bool {
    let made = row.trigger_id.uuid().get_timestamp().map(|time| time.to_unix());
    made.is_none_or(|(seconds, nanos)| {
        DateTime::from_timestamp(seconds.cast_signed(), nanos).is_none_or(|made| made <= than)
    })
}

fn draft(event: &Envelope<RawEvent>, chain: Option<&Chain>, now: DateTime<Utc>) -> Draft {
    let payload = json!({ "event": event.kind, "data": event.data.0 });
    let mut headers = Map::new();
    headers.insert("subject".into(), Value::from(event.kind.clone()));
    if let Some(chain) = chain {
        headers.insert("causes".into(), chain.to_json());
    }
    Draft {
        dedupe: Some(DedupeKey::of(event.id.to_string())),
        verified_by: "bus",
        content_type: Some("application/json".into()),
        headers,
        body: payload.to_string().into(),
        payload,
        occurred_at: event.occurred_at,
        now,
    }
}
