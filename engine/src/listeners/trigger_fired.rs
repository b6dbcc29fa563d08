//! A trigger fired: start a run, exactly one per firing and attempt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use agentcore::Message;
use anyhow::anyhow;
use dbutil::TenantTx;
use futures::future::join_all;
use pubsub::{BatchListener, Consumer, DependencyDown, Refusal, topology};
use serde_json::Value;
use shared_models::events::Envelope;
use shared_models::events::run::{RunRef, RunRefused};
use shared_models::events::trigger::{TargetKind, TriggerFired};
use shared_models::{AgentId, AgentStatus, TenantId};
use sqlx::types::Uuid;

use crate::app::App;
use crate::create::{self, Firing, NewRun};
use crate::error::Error;
use crate::snapshot::{self, RunSnapshot};
use crate::store;

pub(crate) struct TriggerFiredListener {
    pub(crate) app: App,
}

type Heard = Envelope<TriggerFired>;
type Answer = Result<(), Refusal>;

/// A firing and what its run will be told.
struct Prepared {
    envelope: Heard,
    input: Message,
}

impl BatchListener for TriggerFiredListener {
    type Event = TriggerFired;
    const CONSUMER: &'static Consumer = &topology::ENGINE_TRIGGER_FIRED;

    /// Large payloads are fetched first, as no transaction waits for the network; then all firings of a tenant are one
    /// commit, or, when that fails, each is one of its own.
    async fn handle_batch(&self, batch: Vec<Heard>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = batch.iter().map(|_| None).collect();
        let mut tenants: HashMap<TenantId, Vec<(usize, Prepared)>> = HashMap::new();
        let prepared = join_all(batch.into_iter().map(|envelope| self.prepare(envelope))).await;
        for (place, prepared) in prepared.into_iter().enumerate() {
            match prepared {
                Ok(prepared) => {
                    tenants.entry(prepared.envelope.tenant).or_default().push((place, prepared));
                }
                Err(refusal) => answers[place] = Some(Err(refusal)),
            }
        }
        for (tenant, firings) in tenants {
            for (place, answer) in self.start(tenant, firings).await {
                answers[place] = Some(answer);
            }
        }
        self.app.announce().await;
        let unanswered = || Err(Refusal::Later(anyhow!("the firing was not looked at")));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }
}

impl TriggerFiredListener {
    async fn prepare(&self, envelope: Heard) -> Result<Prepared, Refusal> {
        let fired = &envelope.data;
        let payload = match (&fired.payload, fired.payload_in) {
            (Some(payload), _) => payload.clone(),
            (None, Some(delivery)) => {
                let fetched = self.app.eventsvc.payload(envelope.tenant, delivery).await;
                fetched.map_err(|error| match error {
                    Error::Peer(error) if error.passing() => Refusal::Later(
                        anyhow!(DependencyDown("eventsvc")).context(error.to_string()),
                    ),
                    error => Refusal::Later(error.into()),
                })?
            }
            (None, None) => Value::Null,
        };
        let input = Message::user(opening(fired, &payload));
        Ok(Prepared { envelope, input })
    }

    async fn start(
        &self,
        tenant: TenantId,
        firings: Vec<(usize, Prepared)>,
    ) -> Vec<(usize, Answer)> {
        let together: Vec<&Prepared> = firings.iter().map(|(_, prepared)| prepared).collect();
        if let Err(error) = self.commit(tenant, &together).await {
            tracing::debug!(%error, "a group of firings failed; taking them one by one");
            let mut answers = Vec::with_capacity(firings.len());
            for (place, prepared) in &firings {
                let alone = self.commit(tenant, &[prepared]).await;
                answers.push((*place, alone.map_err(|error| Refusal::Later(error.into()))));
            }
            return answers;
        }
        firings.into_iter().map(|(place, _)| (place, Ok(()))).collect()
    }

    async fn commit(&self, tenant: TenantId, firings: &[&Prepared]) -> Result<(), Error> {
        let mut tx = self.app.db.begin(tenant).await?;
        let mut agents = HashMap::new();
        for prepared in firings {
            let consumer = Self::CONSUMER.durable;
            if store::inbox::take(&mut tx, consumer, prepared.envelope.id).await? {
                self.take(&mut tx, &mut agents, prepared).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    async fn take(
        &self,
        tx: &mut TenantTx,
        agents: &mut HashMap<AgentId, Option<RunSnapshot>>,
        Prepared { envelope, input }: &Prepared,
    ) -> Result<(), Error> {
        let fired = &envelope.data;
        let firing =
            Firing { trigger: fired.trigger_id, event: fired.event_id, attempt: fired.attempt };
        let Some(agent_id) = agent(fired) else {
            let nobody = fired.target.id.unwrap_or_else(Uuid::nil).into();
            let reason = format!("the engine does not run a {}", fired.target.kind);
            return refuse(tx, firing, nobody, reason).await;
        };
        let known = match agents.entry(agent_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(snapshot::build(tx, agent_id, None).await?),
        };
        let snapshot = match known.clone() {
            None => return refuse(tx, firing, agent_id, "there is no such agent".into()).await,
            Some(snapshot) if snapshot.status != AgentStatus::Active => {
                let reason = format!("the agent is {}", snapshot.status);
                return refuse(tx, firing, agent_id, reason).await;
            }
            Some(snapshot) => snapshot,
        };
        let new = NewRun {
            run: firing.run(),
            snapshot,
            principal: fired.owner,
            initiator: None,
            firing: Some(firing),
            input: input.clone(),
            traceparent: envelope.traceparent.clone(),
            deadline: None,
        };
        let making = create::create(tx, &self.app.runs, &new);
        pubsub::within_trace(envelope.traceparent.as_deref(), making).await?;
        Ok(())
    }
}

fn agent(fired: &TriggerFired) -> Option<AgentId> {
    let target = (fired.target.kind == TargetKind::Agent).then_some(fired.target.id).flatten();
    fired.agent_id.or(target.map(AgentId::from))
}

/// The firing's own page says why nothing came of it; the event itself has done its duty.
async fn refuse(
    tx: &mut TenantTx,
    firing: Firing,
    agent_id: AgentId,
    reason: String,
) -> Result<(), Error> {
    tracing::info!(%agent_id, reason, "a firing could not become a run");
    let run = RunRef {
        run_id: firing.run(),
        agent_id,
        root_run_id: firing.run(),
        trigger_id: Some(firing.trigger),
        event_id: Some(firing.event),
        attempt: firing.attempt,
    };
    pubsub::emit(tx, &RunRefused { run, reason }).await?;
    Ok(())
}

/// What the agent is told.
fn opening(fired: &TriggerFired, payload: &Value) -> String {
    let payload = serde_json::to_string_pretty(payload).unwrap_or_default();
    let at = fired.occurred_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    format!("Event from {} at {at}:\n{payload}", fired.system)
}
