//! IDLE (RFC 2177): a mail server that can says at once when there is something new, and only the bell is rung then: what is
//! new is found by looking, as ever. Mailboxes of servers that cannot, or that hang up, are looked at by their interval.
//!
//! A replica idles at the sources whose leases it holds, and at no others. Where it makes no sense for a while, another has the
//! room meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use shared_models::SourceId;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{ImapOptions, Login, Session};
use crate::{
    app::App,
    listening::{Ask, LookError, Worker},
    store::{
        held,
        lease::{self, Claimed},
    },
};

/// Between two looks at which sources are this replica's.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two tries at a server that cannot.
const LATER: Duration = Duration::from_secs(60 * 60);
/// Before one that hung up is tried again; each time in a row twice as long.
const SOON: Duration = Duration::from_secs(30);
/// How long a server may take to let us in, to say a line, and to come to an end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two rings for one mailbox, however often its server says that there is something.
const BREATH: Duration = Duration::from_secs(3);

/// Idles until told to stop.
pub(crate) async fn watch(worker: &Worker, soft: &CancellationToken) {
    let mut watchers = JoinSet::<(Claimed, Ended)>::new();
    let mut at: HashMap<SourceId, (Claimed, AbortHandle)> = HashMap::new();
    let mut resting = Resting::default();
    while !soft.is_cancelled() {
        // One that was told to stop has ended as well, and says nothing.
        while let Some(ended) = watchers.try_join_next() {
            let Ok((source, ended)) = ended else { continue };
            if at.get(&source.source_id).is_some_and(|(now, _)| same(now, &source)) {
                at.remove(&source.source_id);
            }
            resting.add(source, ended, Instant::now());
        }
        match ours(worker, &resting.now(Instant::now())).await {
            Ok(held) => {
                at.retain(|id, (source, watcher)| {
                    let still = held.get(id).is_some_and(|now| same(source, now));
                    if !still {
                        watcher.abort();
                    }
                    still
                });
                for (id, source) in held {
                    at.entry(id).or_insert_with(|| {
                        let watcher = idle_at(worker.clone(), source.clone());
                        (source, watchers.spawn(watcher))
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "it is not known where to idle"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = soft.cancelled() => {}
        }
    }
}

/// Why nobody idles at a mailbox any more.
enum Ended {
    /// The server cannot, or does not let us in.
    Cannot,
    /// It hung up, perhaps before anybody idled.
    HungUp { idled: bool },
}

/// Where it makes no sense to idle now.
#[derive(Default)]
struct Resting(HashMap<SourceId, Rest>);

struct Rest {
    source: Claimed,
    until: Instant,
    /// How often in a row nobody could idle there.
    failures: u32,
}

impl Resting {
    fn add(&mut self, source: Claimed, ended: Ended, now: Instant) {
        let before = self.0.get(&source.source_id).filter(|rest| same(&rest.source, &source));
        let failures = before.map_or(0, |rest| rest.failures);
        let (failures, wait) = match ended {
            Ended::Cannot => (failures, LATER),
            Ended::HungUp { idled: true } => (0, SOON),
            Ended::HungUp { idled: false } => {
                (failures + 1, SOON.saturating_mul(1 << failures.min(10)).min(LATER))
            }
        };
        self.0.insert(source.source_id, Rest { source, until: now + wait, failures });
    }

    /// Those of now. What rested long ago is forgotten, with how often it failed.
    fn now(&mut self, now: Instant) -> Vec<&Claimed> {
        self.0.retain(|_, rest| now < rest.until + LATER);
        self.0.values().filter(|rest| now < rest.until).map(|rest| &rest.source).collect()
    }
}

async fn ours(
    worker: &Worker,
    resting: &[&Claimed],
) -> Result<BTreeMap<SourceId, Claimed>, sqlx::Error> {
    let mut tx = worker.app().db.system("mailboxes of all tenants that this replica reads").await?;
    let most = worker.app().limits.idle_connections.into();
    let held = held::of_system(&mut tx, worker.replica().uuid(), "imap", resting, most).await?;
    tx.commit().await?;
    Ok(held.into_iter().map(|source| (source.source_id, source)).collect())
}

/// Whether it is still the same mailbox, read in the same name.
fn same(one: &Claimed, other: &Claimed) -> bool {
    (&one.options, one.credential_id, one.epoch)
        == (&other.options, other.credential_id, other.epoch)
}

/// Idles at one mailbox for as long as it is ours, and that goes well.
async fn idle_at(worker: Worker, source: Claimed) -> (Claimed, Ended) {
    let mut idled = false;
    let ended = match idle(&worker, &source, &mut idled).await {
        Ok(()) | Err(LookError::Never(_) | LookError::Credential(_)) => Ended::Cannot,
        Err(LookError::Later(why, _)) => {
            tracing::debug!(source.id = %source.source_id, why, "a mail server hung up");
            Ended::HungUp { idled }
        }
    };
    (source, ended)
}

/// Rings the bell whenever there is something, until the connection breaks. It is over at once where the server cannot.
async fn idle(worker: &Worker, source: &Claimed, idled: &mut bool) -> Result<(), LookError> {
    let options: ImapOptions = serde_json::from_value(source.options.clone())
        .map_err(|error| LookError::Never(error.to_string()))?;
    let fields = worker.fields(source).await?;
    let opened = tokio::time::timeout(PATIENCE, opened(worker.app(), &options, fields)).await;
    let slow = |_| LookError::Later("the mail server takes too long to let us in".into(), None);
    let Some(mut session) = opened.map_err(slow)?? else { return Ok(()) };
    let longest = Duration::from_secs(worker.app().limits.idle_seconds.into());
    // What came before this connection was there is found by looking once.
    let mut news = true;
    let mut rung_at: Option<Instant> = None;
    loop {
        if news {
            // Whatever is said meanwhile is found by the same look.
            if let Some(before) = rung_at {
                tokio::time::sleep(BREATH.saturating_sub(before.elapsed())).await;
            }
            rung_at = Some(Instant::now());
            ring(worker.app(), source).await?;
        }
        news = session.idle(longest, PATIENCE).await?;
        *idled = true;
    }
}

/// A session at the mailbox, where the server can idle.
async fn opened(
    app: &App,
    options: &ImapOptions,
    fields: BTreeMap<String, SecretString>,
) -> Result<Option<Session>, LookError> {
    let login = Login::of(&fields)?;
    let ask = Ask {
        egress: app.egress.clone(),
        providers: app.providers.clone(),
        imap: app.imap.clone(),
        fields: BTreeMap::new(),
        now: app.clock.now(),
        rung: false,
        until: Instant::now(),
    };
    let mut session = Session::open_to_idle(&ask, &options.host, options.port).await?;
    session.log_in(&login).await?;
    if !session.can_idle().await? {
        session.log_out().await;
        return Ok(None);
    }
    session.examine(&options.mailbox).await?;
    Ok(Some(session))
}

async fn ring(app: &App, source: &Claimed) -> Result<(), LookError> {
    let rung = async {
        let mut tx = app.db.begin(source.tenant_id).await?;
        lease::ring(&mut tx, source.source_id).await?;
        tx.commit().await
    };
    rung.await.map_err(|error| LookError::Later(error.to_string(), None))?;
    app.listeners.notify_waiters();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared_models::TenantId;

    use super::*;

    fn source() -> Claimed {
        Claimed {
            source_id: SourceId::mint(),
            tenant_id: TenantId::mint(),
            epoch: 1,
            system: "imap".into(),
            options: Value::Null,
            credential_id: None,
            position: None,
            failures: 0,
            rung: false,
            looking_since: None,
        }
    }

    #[test]
    fn a_server_that_cannot_idle_or_hangs_up_is_left_alone_for_longer_and_longer() {
        let (source, begun) = (source(), Instant::now());
        let mut resting = Resting::default();
        let mut rested = |ended: Ended, at: Instant| {
            resting.add(source.clone(), ended, at);
            let times = (1..=7200_u64).map(|seconds| at + Duration::from_secs(seconds));
            times.take_while(|time| resting.now(*time).len() == 1).count() + 1
        };

        let failed = || Ended::HungUp { idled: false };
        let waits: Vec<usize> = (0..9).map(|_| rested(failed(), begun)).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(rested(Ended::HungUp { idled: true }, begun), 30);
        assert_eq!(rested(failed(), begun), 30, "what went well is not held against it");
        assert_eq!(rested(Ended::Cannot, begun), 3600);
    }

    #[test]
    fn another_mailbox_at_the_same_source_is_tried_at_once_and_old_failures_are_forgotten() {
        let (mut resting, mut source, begun) = (Resting::default(), source(), Instant::now());
        for _ in 0..20 {
            resting.add(source.clone(), Ended::HungUp { idled: false }, begun);
        }

        assert_eq!(resting.now(begun + LATER * 3).len(), 0);
        assert!(resting.0.is_empty());
        resting.add(source.clone(), Ended::HungUp { idled: false }, begun);
        source.epoch = 2;
        resting.add(source, Ended::HungUp { idled: false }, begun);
        assert!(resting.0.values().all(|rest| rest.failures == 1));
    }
}
