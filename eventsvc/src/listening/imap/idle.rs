//! IDLE (RFC 2177): a mail server that can says at once when there is something new, and only the bell is rung then: what is
//! new is found by looking, as ever. Mailboxes of servers that cannot, or that hang up, are looked at by their interval.
//!
//! A replica idles at the sources whose leases it holds, and at no others.

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
/// A server may hang up on who has idled for half an hour.
const LONGEST: Duration = Duration::from_secs(25 * 60);
/// Between two tries at a server that cannot, or that says nothing good.
const LATER: Duration = Duration::from_secs(60 * 60);
const SOON: Duration = Duration::from_secs(30);
/// How long a server may take to let us in, and to come to an end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two rings for one mailbox, however often its server says that there is something.
const BREATH: Duration = Duration::from_secs(3);

/// Idles until told to stop.
pub(crate) async fn watch(worker: &Worker, soft: &CancellationToken) {
    let mut watchers = JoinSet::new();
    let mut at: HashMap<SourceId, (Claimed, AbortHandle)> = HashMap::new();
    while !soft.is_cancelled() {
        match ours(worker).await {
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
        // Those that were told to stop are forgotten.
        while watchers.try_join_next().is_some() {}
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = soft.cancelled() => {}
        }
    }
}

async fn ours(worker: &Worker) -> Result<BTreeMap<SourceId, Claimed>, sqlx::Error> {
    let mut tx = worker.app().db.system("mailboxes of all tenants that this replica reads").await?;
    let most = worker.app().limits.idle_connections.into();
    let held = held::of_system(&mut tx, worker.replica().uuid(), "imap", most).await?;
    tx.commit().await?;
    Ok(held.into_iter().map(|source| (source.source_id, source)).collect())
}

/// Whether it is still the same mailbox, read in the same name.
fn same(one: &Claimed, other: &Claimed) -> bool {
    (&one.options, one.credential_id, one.epoch)
        == (&other.options, other.credential_id, other.epoch)
}

/// Idles at one mailbox for as long as it is ours.
async fn idle_at(worker: Worker, source: Claimed) {
    loop {
        let again = match idle(&worker, &source).await {
            Ok(()) | Err(LookError::Never(_) | LookError::Credential(_)) => LATER,
            Err(LookError::Later(why, _)) => {
                tracing::debug!(source.id = %source.source_id, why, "a mail server hung up");
                SOON
            }
        };
        tokio::time::sleep(again).await;
    }
}

/// Rings the bell whenever there is something, until the connection breaks. It is over at once where the server cannot.
async fn idle(worker: &Worker, source: &Claimed) -> Result<(), LookError> {
    let options: ImapOptions = serde_json::from_value(source.options.clone())
        .map_err(|error| LookError::Never(error.to_string()))?;
    let fields = worker.fields(source).await?;
    let opened = tokio::time::timeout(PATIENCE, opened(worker.app(), &options, fields)).await;
    let slow = |_| LookError::Later("the mail server takes too long to let us in".into(), None);
    let Some(mut session) = opened.map_err(slow)?? else { return Ok(()) };
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
        news = session.idle(LONGEST, PATIENCE).await?;
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
