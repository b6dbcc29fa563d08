//! A trigger fired: start a run, exactly one per firing and attempt.

use agentcore::Message;
use anyhow::anyhow;
use chrono::DateTime;
use futures::future::join_all;
use pubsub::{BatchListener, Consumer, DependencyDown, OutboxRow, Refusal, topology};
use serde_json::Value;
use shared_models::events::Envelope;
use shared_models::events::run::{RunRef, RunRefused};
use shared_models::events::trigger::{TargetKind, TriggerFired};
use shared_models::{AgentId, AgentStatus, MessageId, RunMode, SwarmId, TenantId};
use sqlx::types::Uuid;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::catalogue::{Pinned, Which};
use crate::create::{self, Firing, NewRun};
use crate::creator::{CreateError, Made, Order};
use crate::error::Error;
use crate::snapshot::RunSnapshot;
use crate::store;
use crate::swarm::plan;
use crate::template::{self, Variables};

/// Large payloads in memory at the same time: each may be ten megabytes, and is held as a value and as text.
const LARGE: usize = 8;
static ROOM: Semaphore = Semaphore::const_new(LARGE);

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

pub(crate) const CONSUMER: &Consumer = &topology::ENGINE_TRIGGER_FIRED;

impl BatchListener for TriggerFiredListener {
    type Event = TriggerFired;
    const CONSUMER: &'static Consumer = CONSUMER;

    /// Large payloads are fetched first, as nothing waits for the network later on; then each firing joins whatever
    /// group of new runs is next.
    async fn handle_batch(&self, batch: Vec<Heard>) -> Vec<Answer> {
        join_all(batch.into_iter().map(|envelope| self.take(envelope))).await
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

    async fn take(&self, envelope: Heard) -> Answer {
        let large = envelope.data.payload.is_none() && envelope.data.payload_in.is_some();
        // Held until the run is made; never closed.
        let _room = if large { ROOM.acquire().await.ok() } else { None };
        let prepared = self.prepare(envelope).await?;
        let cause = prepared.envelope.traceparent.as_deref();
        let started = pubsub::within_trace(cause, self.start(&prepared)).await;
        started.map_err(|error| match error {
            // Not the event's own fault.
            Error::Create(error @ (CreateError::Busy | CreateError::Unavailable(_))) => {
                Refusal::Later(anyhow!(DependencyDown("database")).context(error.to_string()))
            }
            error => Refusal::Later(error.into()),
        })
    }

    /// Makes the run, or writes down why there is none.
    async fn start(&self, Prepared { envelope, input }: &Prepared) -> Result<(), Error> {
        let (app, tenant, fired) = (&self.app, envelope.tenant, &envelope.data);
        let firing =
            Firing { trigger: fired.trigger_id, event: fired.event_id, attempt: fired.attempt };
        if let (TargetKind::Swarm, Some(id)) = (fired.target.kind, fired.target.id) {
            return self.start_swarm(envelope, input, firing, id.into()).await;
        }
        let Some(agent_id) = agent(fired) else {
            let nobody = fired.target.id.unwrap_or_else(Uuid::nil).into();
            let reason = format!("the engine does not run a {}", fired.target.kind);
            return self.refuse_alone(envelope, firing, nobody, reason).await;
        };
        let which = Which::Id(agent_id);
        let mut known = app.catalogue.get(&app.db, tenant, &which).await?;
        for _ in 0..TRIES {
            let Some(pinned) = known else {
                let reason = "there is no such agent".to_owned();
                return self.refuse_alone(envelope, firing, agent_id, reason).await;
            };
            let order = if let Some(reason) = not_runnable(app, &pinned) {
                refusal(tenant, &pinned, firing, reason, envelope.id)?
            } else {
                let new = new_run(envelope, input, firing);
                match create::order(tenant, &app.runs, (new, pinned.clone()), Some(envelope.id)) {
                    Ok(order) => order,
                    Err(Error::Invalid(errors)) => {
                        let reason = template::sentence(&errors);
                        refusal(tenant, &pinned, firing, reason, envelope.id)?
                    }
                    Err(error) => return Err(error),
                }
            };
            match app.creator.make(order).await? {
                Made::Run { .. } | Made::Nothing => return Ok(()),
                Made::Stale => known = app.catalogue.fresh(&app.db, tenant, &which).await?,
            }
        }
        // The event's own misfortune: others are not to wait for it.
        Err(anyhow!("the agent was edited each time its run was about to be made").into())
    }

    /// Runs of swarms are made one by one, each in a transaction that takes the event, too.
    async fn start_swarm(
        &self,
        envelope: &Heard,
        input: &Message,
        firing: Firing,
        swarm: SwarmId,
    ) -> Result<(), Error> {
        let app = &self.app;
        let mut tx = app.db.begin(envelope.tenant).await?;
        if !store::inbox::take(&mut tx, CONSUMER.durable, envelope.id).await? {
            return Ok(());
        }
        let made = match plan::build(&mut tx, swarm).await {
            Ok(Some(snapshot)) => match not_runnable(app, &snapshot) {
                None => Ok(snapshot),
                Some(why) => Err(why),
            },
            Ok(None) => Err("there is no such swarm".to_owned()),
            Err(error @ Error::SwarmNotRunnable(_)) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        let made = match made {
            Ok(snapshot) => {
                let new = new_run(envelope, input, firing);
                match create::create(&mut tx, &app.runs, &new, &snapshot).await {
                    Ok(_) => Ok(()),
                    Err(Error::Invalid(errors)) => Err(template::sentence(&errors)),
                    Err(error) => return Err(error),
                }
            }
            Err(why) => Err(why),
        };
        if let Err(why) = made {
            pubsub::emit(&mut tx, &refused(firing, swarm.uuid().into(), why)).await?;
        }
        tx.commit().await?;
        app.announce().await;
        Ok(())
    }

    /// A refusal that no agent stands for.
    async fn refuse_alone(
        &self,
        envelope: &Heard,
        firing: Firing,
        agent: AgentId,
        reason: String,
    ) -> Result<(), Error> {
        let mut tx = self.app.db.begin(envelope.tenant).await?;
        if store::inbox::take(&mut tx, CONSUMER.durable, envelope.id).await? {
            pubsub::emit(&mut tx, &refused(firing, agent, reason)).await?;
        }
        tx.commit().await?;
        self.app.relay.ring();
        Ok(())
    }
}

/// How often a run is tried to be made of an agent that is being edited meanwhile.
const TRIES: usize = 5;

fn new_run(envelope: &Heard, input: &Message, firing: Firing) -> NewRun {
    NewRun {
        run: firing.run(),
        principal: envelope.data.owner,
        initiator: None,
        firing: Some(firing),
        input: input.clone(),
        traceparent: envelope.traceparent.clone(),
        deadline: None,
        end_user: None,
        place: None,
        variables: Variables::new(),
        evaluation: None,
    }
}

/// Why the agent, or the swarm, starts no runs, if it does not.
fn not_runnable(app: &App, agent: &RunSnapshot) -> Option<String> {
    if agent.status != AgentStatus::Active {
        let what = if agent.swarm.is_some() { "swarm" } else { "agent" };
        return Some(format!("the {what} is {}", agent.status));
    }
    agent.check_models(&app.models).err().map(|error| error.to_string())
}

/// The firing is taken, and its own page says why nothing came of it.
fn refusal(
    tenant: TenantId,
    agent: &Pinned,
    firing: Firing,
    reason: String,
    heard: MessageId,
) -> anyhow::Result<Order> {
    let id = MessageId::mint().uuid();
    let event = refused(firing, agent.agent_id, reason);
    // The creator puts the database's time in.
    let event = OutboxRow::new(tenant, (id, 0), DateTime::UNIX_EPOCH, &event)?;
    let revision = agent.revision;
    Ok(Order { tenant, revision, heard: Some(heard), run: None, events: vec![event] })
}

fn refused(firing: Firing, agent_id: AgentId, reason: String) -> RunRefused {
    tracing::info!(%agent_id, reason, "a firing could not become a run");
    let run = RunRef {
        run_id: firing.run(),
        agent_id,
        root_run_id: firing.run(),
        trigger_id: Some(firing.trigger),
        event_id: Some(firing.event),
        attempt: firing.attempt,
        mode: RunMode::Live,
        evaluation_id: None,
    };
    RunRefused { run, reason }
}

fn agent(fired: &TriggerFired) -> Option<AgentId> {
    let target = (fired.target.kind == TargetKind::Agent).then_some(fired.target.id).flatten();
    fired.agent_id.or(target.map(AgentId::from))
}

/// What the agent is told.
fn opening(fired: &TriggerFired, payload: &Value) -> String {
    let payload = serde_json::to_string_pretty(payload).unwrap_or_default();
    let at = fired.occurred_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    format!("Event from {} at {at}:\n{payload}", fired.system)
}
