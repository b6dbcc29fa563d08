//! The task that renews access tokens: one renewal per credential at a time, whoever asks and however often.
//!
//! It lives outside the handlers, so a client that hangs up cancels no renewal half-way: the answer may hold the only
//! refresh token that is still good.

use std::collections::BTreeMap;

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use shared_models::{CredentialId, TenantId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::renew::{Outcome, Renewer};
use crate::Error;

/// How many may wait to be seen by the task.
const QUEUE: usize = 4096;

/// The handlers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Renewals(mpsc::Sender<Wanted>);

/// Somebody saw this version, and it was not good enough.
#[derive(Debug)]
struct Wanted {
    tenant: TenantId,
    credential: CredentialId,
    version: i32,
    reply: oneshot::Sender<Outcome>,
}

impl Renewals {
    pub(crate) fn new(renewer: Renewer) -> (Self, RenewalsTask) {
        let (sender, wanted) = mpsc::channel(QUEUE);
        let task = RenewalsTask { wanted, renewer, waiting: BTreeMap::new() };
        (Self(sender), task)
    }

    /// Waits until the credential has a newer version than this one, or is known not to get one now.
    pub(crate) async fn renew(
        &self,
        tenant: TenantId,
        credential: CredentialId,
        version: i32,
    ) -> Result<(), Error> {
        let (reply, outcome) = oneshot::channel();
        let wanted = Wanted { tenant, credential, version, reply };
        self.0.try_send(wanted).map_err(|_| Error::Busy)?;
        outcome.await.unwrap_or(Outcome::Busy).told(credential)
    }
}

/// The task that renews.
#[derive(Debug)]
pub struct RenewalsTask {
    wanted: mpsc::Receiver<Wanted>,
    renewer: Renewer,
    waiting: BTreeMap<(CredentialId, i32), Vec<oneshot::Sender<Outcome>>>,
}

type Running = FuturesUnordered<BoxFuture<'static, ((CredentialId, i32), Outcome)>>;

impl RenewalsTask {
    /// Renews until told to stop, and then finishes what it began.
    pub async fn run(mut self, soft: CancellationToken) -> anyhow::Result<()> {
        let mut running = Running::new();
        loop {
            tokio::select! {
                () = soft.cancelled() => break,
                Some((key, outcome)) = running.next() => self.answer(key, &outcome),
                wanted = self.wanted.recv() => match wanted {
                    Some(wanted) => self.begin(wanted, &running),
                    None => break,
                },
            }
        }
        self.wanted.close();
        while let Some((key, outcome)) = running.next().await {
            self.answer(key, &outcome);
        }
        Ok(())
    }

    fn begin(&mut self, wanted: Wanted, running: &Running) {
        let key = (wanted.credential, wanted.version);
        let waiting = self.waiting.entry(key).or_default();
        waiting.push(wanted.reply);
        if waiting.len() == 1 {
            let (renewer, tenant) = (self.renewer.clone(), wanted.tenant);
            running.push(Box::pin(async move { (key, renewer.renew(tenant, key.0, key.1).await) }));
        }
    }

    fn answer(&mut self, key: (CredentialId, i32), outcome: &Outcome) {
        for reply in self.waiting.remove(&key).unwrap_or_default() {
            // Who hung up does not hear it; the token is stored.
            let _ = reply.send(outcome.clone());
        }
    }
}
