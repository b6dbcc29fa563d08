//! Looks at sources when they are due, and commits what was found.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use chrono::Utc;
use secrecy::SecretString;
use servicekit::PeerError;
use shared_models::{DeliveryId, Service, SourceId, TriggerId, WorkerId};
use tokio_util::sync::CancellationToken;

use super::{Ask, Item, Look, LookError, imap};
use crate::{
    app::App,
    hooks::{self, HookTrigger},
    intake::{DedupeKey, Draft, Origin, Received, System, decide},
    payload,
    stats::Counted,
    store::{
        self, group,
        hook::Row,
        lease::{self, Claimed, Done},
        recovery::{self, NewRecovery},
    },
};

/// Sources looked at at the same time, in one process.
const LOOKERS: usize = 8;
/// The longest a replica sleeps.
const POLL: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(20);
/// The longest wait after failures.
const LONGEST_BACKOFF: f64 = 900.0;

/// Looks until told to stop, then lets go of what it holds.
pub(crate) async fn run(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    let worker = Worker::new(&app);
    let lookers = (0..LOOKERS).map(|_| worker.looker(&soft));
    let (keeping, idling) = (worker.keep(&soft), imap::watch(&worker, &soft));
    tokio::join!(futures::future::join_all(lookers), keeping, idling);
    let mut tx = app.db.system("leases of all tenants this replica lets go").await?;
    lease::release(&mut tx, worker.replica.uuid()).await?;
    tx.commit().await?;
    Ok(())
}

/// A replica, as far as sources are concerned. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    app: App,
    replica: WorkerId,
}

impl Worker {
    /// A replica that holds nothing yet.
    pub fn new(app: &App) -> Self {
        Self { app: app.clone(), replica: WorkerId::mint() }
    }

    /// The service's handles.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Its name in leases.
    pub fn replica(&self) -> WorkerId {
        self.replica
    }

    /// Looks at everything that is due and free now; says how many sources that were.
    pub async fn look_all(&self) -> anyhow::Result<u64> {
        let mut looked = 0;
        while self.look_one().await? {
            looked += 1;
        }
        Ok(looked)
    }

    async fn looker(&self, soft: &CancellationToken) {
        while !soft.is_cancelled() {
            let wait = match self.look_one().await {
                Ok(true) => continue,
                Ok(false) => self.idle().await,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a source could not be looked at");
                    POLL
                }
            };
            tokio::select! {
                () = self.app.listeners.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = soft.cancelled() => {}
            }
        }
    }

    /// How long nothing will be due.
    async fn idle(&self) -> Duration {
        let next = async {
            let mut tx = self.app.db.system("when the next source of any tenant is due").await?;
            let next = lease::next(&mut tx, self.replica.uuid()).await?;
            tx.commit().await?;
            Ok::<_, sqlx::Error>(next)
        };
        match next.await {
            Ok(Some(at)) => {
                (at - self.app.clock.now()).to_std().unwrap_or(POLL).clamp(BREATH, POLL)
            }
            Ok(None) | Err(_) => POLL,
        }
    }

    /// Keeps the leases of this replica while it lives.
    async fn keep(&self, soft: &CancellationToken) {
        let pause = Duration::from_secs(self.app.limits.lease_seconds.into()) / 3;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = soft.cancelled() => return,
            }
            let kept = async {
                let mut tx = self.app.db.system("leases of all tenants this replica keeps").await?;
                lease::renew(&mut tx, self.replica.uuid(), self.seconds()).await?;
                tx.commit().await
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "leases could not be kept");
            }
        }
    }

    fn seconds(&self) -> f64 {
        f64::from(self.app.limits.lease_seconds)
    }

    /// Looks at one source that is due, if there is one.
    async fn look_one(&self) -> anyhow::Result<bool> {
        let mut tx = self.app.db.system("the next source of any tenant that is due").await?;
        let claimed = lease::claim(&mut tx, self.replica.uuid(), self.seconds()).await?;
        tx.commit().await?;
        let Some(claimed) = claimed else { return Ok(false) };
        let found = self.look(&claimed).await;
        let wrong = found.as_ref().map_or_else(Some, |look| look.failed.as_ref());
        if let Some(error) = wrong {
            let (system, source) = (&claimed.system, claimed.source_id);
            tracing::info!(source.id = %source, %system, %error, "a look at a source broke off");
        }
        metrics::counter!("eventsvc_looks_total", "system" => claimed.system.clone(),
            "outcome" => if wrong.is_none() { "ok" } else { "failed" })
        .increment(1);
        self.commit(&claimed, found).await?;
        Ok(true)
    }

    /// Asks the outside. A look must be over while the lease is surely ours.
    async fn look(&self, claimed: &Claimed) -> Result<Look, LookError> {
        let later = |why: String| LookError::Later(why, None);
        let system: System =
            claimed.system.parse().map_err(|_| LookError::Never("the system is unknown".into()))?;
        let listener = super::of(system, &claimed.options);
        let listener = listener.ok_or_else(|| LookError::Never("nothing to look at".into()))?;
        let listener = listener.map_err(LookError::Never)?;
        let limit = Duration::from_secs(self.app.limits.lease_seconds.into()).mul_f32(0.8);
        // What is begun by then is two requests at most, and has the rest to end in.
        let until = Instant::now() + limit / 6;
        let work = async {
            let fields = self.fields(claimed).await?;
            let ask = Ask {
                egress: self.app.egress.clone(),
                providers: self.app.providers.clone(),
                imap: self.app.imap.clone(),
                fields,
                now: self.app.clock.now(),
                rung: claimed.rung,
                until,
            };
            listener.look(&ask, claimed.position.as_ref()).await
        };
        let done = tokio::time::timeout(limit, work).await;
        done.map_err(|_| later(format!("it took longer than {} s", limit.as_secs())))?
    }

    /// What opens the source: the fields of its credential, read in the name of its oldest trigger; none without one.
    pub(super) async fn fields(
        &self,
        claimed: &Claimed,
    ) -> Result<BTreeMap<String, SecretString>, LookError> {
        let later = |why: String| LookError::Later(why, None);
        let Some(credential) = claimed.credential_id else { return Ok(BTreeMap::new()) };
        let triggers = self.triggers(claimed).await.map_err(|error| later(error.to_string()))?;
        let first = triggers.first().ok_or_else(|| later("no trigger is left".into()))?;
        let whose = (claimed.tenant_id, first.owner_id, first.trigger_id, credential);
        let resolved = self.app.credsvc.resolve_for(whose, "listener.look").await;
        Ok(resolved.map_err(|error| refused(&error))?.credentials)
    }

    async fn triggers(&self, claimed: &Claimed) -> Result<Vec<Row>, sqlx::Error> {
        let mut tx = self.app.db.begin(claimed.tenant_id).await?;
        let rows = store::hook::of_source(&mut tx, claimed.source_id).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Deliveries, their events and the position are one commit, or nothing is: when the lease has changed hands, or the
    /// source was changed meanwhile, somebody looks again.
    async fn commit(
        &self,
        claimed: &Claimed,
        found: Result<Look, LookError>,
    ) -> anyhow::Result<()> {
        let replica = self.replica.uuid();
        let mut tx = self.app.db.begin(claimed.tenant_id).await?;
        let ours = lease::confirm(&mut tx, claimed, replica).await?;
        let (done, new) = match found {
            Ok(look) if ours => {
                let (rows, new) = self.store(&mut tx, claimed, &look).await?;
                lease::move_to(&mut tx, claimed.source_id, &look.position).await?;
                let recovered: Vec<&Received> = rows
                    .iter()
                    .filter(|row| row.verified_by == RECOVERED && new.contains(&row.delivery_id))
                    .collect();
                let note = record(&mut tx, claimed.source_id, &recovered, look.note).await?;
                let failed = look.failed.as_ref().map(|error| failed(claimed, error));
                let again = failed.as_ref().map_or(look.again.as_secs_f64(), |failed| failed.again);
                let done = Done {
                    again,
                    found: new.len() as i64,
                    recovered: recovered.len() as i64,
                    note,
                    renew_at: look.renew_at,
                    error: failed.and_then(|failed| failed.error),
                };
                (done, rows.into_iter().filter(|row| new.contains(&row.delivery_id)).collect())
            }
            Ok(_) => (Done::default(), Vec::new()),
            Err(error) => (failed(claimed, &error), Vec::new()),
        };
        lease::done(&mut tx, claimed, replica, &done).await?;
        tx.commit().await?;
        self.publish(&new);
        Ok(())
    }

    /// Stores what was found; says which of it was new.
    async fn store(
        &self,
        tx: &mut dbutil::TenantTx,
        claimed: &Claimed,
        look: &Look,
    ) -> anyhow::Result<(Vec<Received>, HashSet<DeliveryId>)> {
        if look.items.is_empty() {
            return Ok((Vec::new(), HashSet::new()));
        }
        let rows = store::hook::of_source(tx, claimed.source_id).await?;
        let triggers: Vec<HookTrigger> =
            rows.into_iter().map(hooks::trigger).collect::<Result<_, _>>()?;
        let origin = Origin {
            tenant_id: claimed.tenant_id,
            source_id: claimed.source_id,
            system: claimed.system.parse()?,
        };
        let now = self.app.clock.now();
        let mut received = Vec::with_capacity(look.items.len());
        for item in &look.items {
            received.push(decide(origin, &triggers, draft(item, now)).await);
        }
        let mut rows: Vec<&Received> = received.iter().collect();
        rows.sort_by(|one, other| group::order(one).cmp(&group::order(other)));
        let stored = group::insert(&mut *tx, &rows).await?;
        Ok((received, stored.new))
    }

    fn publish(&self, new: &[Received]) {
        for row in new {
            for firing in &row.firings {
                let what = Counted::Stored(firing.verdict.status());
                let trigger: TriggerId = firing.trigger_id;
                self.app.stats.count(row.tenant_id, trigger, what, row.received_at);
            }
        }
        if !new.is_empty() {
            self.app.relay.ring();
            self.app.flow.queued();
        }
    }
}

/// Writes down what was found that the provider had not told of; says what a person should know of the look.
async fn record(
    tx: &mut dbutil::TenantTx,
    source: SourceId,
    recovered: &[&Received],
    note: Option<String>,
) -> Result<Option<String>, sqlx::Error> {
    let times = || recovered.iter().map(|row| row.occurred_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(note) };
    let count = recovered.len();
    let said = format!("{count} {} recovered", if count == 1 { "event" } else { "events" });
    let note = note.map_or(said.clone(), |note| format!("{note}; {said}"));
    let found = NewRecovery { source, recovered: count as i64, first, last, note: &note };
    recovery::insert(tx, &found).await?;
    Ok(Some(note))
}

/// How what was found by looking is marked, where the provider should have said so itself.
const RECOVERED: &str = "reconciled";
const LOOKED: &str = "listener";

fn draft(item: &Item, now: chrono::DateTime<Utc>) -> Draft {
    let payload = payload::without_nul(item.payload.clone());
    let key = item.key.replace('\0', "\u{fffd}");
    Draft {
        dedupe: Some(DedupeKey::of(key).telling_of(item.about.clone())),
        verified_by: if item.recovered { RECOVERED } else { LOOKED },
        content_type: Some("application/json".into()),
        headers: item.headers.clone(),
        body: payload.to_string().into(),
        payload,
        occurred_at: item.occurred_at.unwrap_or(now),
        now,
    }
}

/// After a failure each wait is twice as long as the one before, unless the provider says how long.
fn failed(claimed: &Claimed, error: &LookError) -> Done {
    let doubled = f64::from(super::FLOOR) * 2_f64.powi(claimed.failures.clamp(0, 10));
    let again = match error {
        LookError::Later(_, Some(wait)) => wait.as_secs_f64(),
        _ => doubled.min(LONGEST_BACKOFF),
    };
    Done { again, error: Some(error.to_string()), ..Done::default() }
}

fn refused(error: &PeerError) -> LookError {
    match error.status() {
        Some(403 | 404) => LookError::Credential("it is gone, or no longer granted".into()),
        _ => LookError::Later(format!("{} does not answer", Service::Credsvc), None),
    }
}
