//! Counts a model call that no run makes, and charges it: to the budgets of the platform, of the tenant, and of whoever asks.
//!
//! The call is counted before it begins, as one whose cost is not known: one that is given up stays so. Its worst case is set
//! aside before it begins as well, and however it ends, what it took is charged. A caller who hangs up gets around no budget.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentcore::{ModelError, ModelRequest, Reply};
use servicekit::{Problem, codes as shared};
use shared_models::{TenantId, Usage, UserId};
use tokio::sync::oneshot;

use crate::{
    app::App,
    budgets::{
        Asker, Drawn, Grant, Key, ModelCall, Refused, Request, Says, Till, broke_off, slice,
    },
    error::Error,
    models::Bound,
    prices::Rates,
    store::{
        budget_spending,
        usage::{self, Added, Whose},
    },
};

/// Who pays for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payer {
    pub(super) tenant: TenantId,
    /// The person who asks, or for whom a service does.
    pub(super) user: Option<UserId>,
}

/// How long a process without a lease is waited for. One that has just begun has it at once.
const LEASE: Duration = Duration::from_secs(5);

pub(super) struct Meter {
    app: App,
    payer: Payer,
    bound: Bound,
    /// What the model costs, as far as that is known: read before it is asked, so that nothing keeps a reply from being charged.
    rates: Option<Rates>,
    lines: Vec<Key>,
    /// The tokens of output that were asked for.
    output: Option<u32>,
    grant: Grant,
    slip: Slip,
    /// Bytes that the model has said.
    heard: usize,
    ended: bool,
}

/// What is charged and not written down yet.
#[derive(Default)]
struct Slip(Mutex<Vec<Drawn>>);

impl Till for Slip {
    fn charge(&self, drawn: Drawn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(drawn);
    }
}

impl Slip {
    fn take(&self) -> Vec<Drawn> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Meter {
    /// Sets aside what the call may take, and has it ask for no more than that.
    pub(super) async fn begin(
        app: &App,
        payer: Payer,
        bound: &Bound,
        asked: &mut ModelRequest,
    ) -> Result<Self, Error> {
        let accounts = app.budgets.accounts(&app.db, payer.tenant).await?;
        let names = bound.prices();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rates = app.prices.rates(&app.db, payer.tenant, &names).await;
        let rates =
            rates.inspect_err(|error| tracing::warn!(%error, "the price book cannot be read"));
        let mut meter = Self {
            app: app.clone(),
            payer,
            bound: bound.clone(),
            rates: rates.ok().flatten(),
            lines: accounts.of(payer.user, None).collect(),
            output: asked.max_tokens,
            grant: Grant::default(),
            slip: Slip::default(),
            heard: 0,
            ended: true,
        };
        meter.reserve(asked).await?;
        let first = Added { calls: 1, unpriced: 1, ..Added::default() };
        meter.entry(Some(first)).write().await?;
        meter.ended = false;
        Ok(meter)
    }

    async fn reserve(&mut self, asked: &mut ModelRequest) -> Result<(), Error> {
        if self.lines.is_empty() {
            return Ok(());
        }
        asked.max_tokens = self.output;
        let book = (&*self.app.prices, &self.app.db, self.payer.tenant);
        let call =
            ModelCall::estimate(&self.lines, (&self.bound, asked), Says::AllAtOnce, book).await?;
        let (output, grant) = self.ask(&call.request).await?;
        self.grant = call.grant(output, grant, asked);
        Ok(())
    }

    async fn ask(&self, request: &Request) -> Result<(u32, Grant), Error> {
        let lease = &self.app.lease;
        if !lease.holds_soon(LEASE).await {
            // Nothing that is set aside now would last.
            let why = "this process cannot draw on budgets just now";
            return Err(Problem::new(&shared::UNAVAILABLE, why).retry_after(1).into());
        }
        let asker = Asker { tenant: self.payer.tenant, own: None, lapses: lease.lapses() };
        let of = (self.lines.as_slice(), [].as_slice());
        let answer = self.app.budgets.reserve(&self.app.db, &asker, of, request).await?;
        self.app.rouse(answer.rouse).await;
        let reserved = answer.reserved.map_err(Refused::Short)?;
        Ok((reserved.output, Grant::new(reserved)))
    }

    /// Waits for the model as long as there is time.
    pub(super) async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.grant.time_is_over() => {
                    self.grant.end_time(&self.slip);
                    let (_, more) = self.ask(&Request::fixed(vec![slice()])).await?;
                    self.grant.go_on(more);
                }
            }
        }
    }

    /// The model has said something.
    pub(super) fn hear(&mut self, bytes: usize) {
        self.heard += bytes;
    }

    /// What the model has taken so far, by estimate.
    pub(super) fn estimate(&self) -> Usage {
        self.grant.usage(self.heard)
    }

    /// The model has failed before its first word, and is asked again after a pause. What it may have taken is charged, nothing
    /// is set aside during the pause, and then again what the next attempt may take: there may be no room for it any more.
    pub(super) async fn again(
        &mut self,
        (error, pause): (&ModelError, Duration),
        asked: &mut ModelRequest,
    ) -> Result<(), Error> {
        self.charge_failed(error);
        self.grant.charge_time(&self.slip);
        self.grant = Grant::default();
        // What was set aside comes back with that.
        let _ = self.write(None).await;
        tokio::time::sleep(pause).await;
        self.reserve(asked).await
    }

    fn charge_failed(&self, error: &ModelError) {
        if broke_off(error.kind) {
            self.grant.charge_broken(&self.slip, 0);
        }
    }

    /// There is a reply.
    pub(super) async fn end(&mut self, reply: &Reply) {
        let usage = reply.usage;
        // A provider that does not say what it took leaves the cost open.
        let told = usage != Usage::default();
        let cost = self.rates.filter(|_| told).and_then(|rates| rates.cost(&usage));
        self.grant.charge_reply(&self.slip, reply, cost);
        let told = told.then(|| Added {
            calls: 0,
            unpriced: if cost.is_some() { -1 } else { 0 },
            usage,
            cost: cost.unwrap_or_default(),
        });
        // It is written also when nobody waits for that any more.
        let _ = self.close(told).await;
    }

    /// The model has failed before its first word, and is not asked again. One that has refused has taken nothing but time.
    pub(super) async fn failed(&mut self, error: &ModelError) {
        self.charge_failed(error);
        let _ = self.close(None).await;
    }

    /// Has everything written down that is to be.
    fn close(&mut self, added: Option<Added>) -> oneshot::Receiver<()> {
        self.grant.charge_time(&self.slip);
        self.ended = true;
        self.write(added)
    }

    /// Has it written down what was charged so far, also when nobody waits for that.
    fn write(&self, added: Option<Added>) -> oneshot::Receiver<()> {
        let (entry, (done, written)) = (self.entry(added), oneshot::channel());
        self.app.life.detach(async move {
            entry.write_surely().await;
            // What it drew on is given back before anybody goes on.
            drop(entry);
            let _ = done.send(());
        });
        written
    }

    fn entry(&self, added: Option<Added>) -> Entry {
        let (app, payer, model) = (self.app.clone(), self.payer, self.bound.name.clone());
        Entry { app, payer, model, added, drawn: self.slip.take() }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if !self.ended {
            self.grant.charge_broken(&self.slip, self.heard);
            drop(self.close(None));
        }
    }
}

/// A part of a call's account. What it draws on stays set aside until it is written.
struct Entry {
    app: App,
    payer: Payer,
    model: String,
    added: Option<Added>,
    drawn: Vec<Drawn>,
}

impl Entry {
    async fn write(&self) -> Result<(), Error> {
        if self.added.is_none() && self.drawn.is_empty() {
            return Ok(());
        }
        let mut tx = self.app.db.begin(self.payer.tenant).await?;
        if let Some(added) = &self.added {
            let whose = Whose { user: self.payer.user, model: &self.model };
            usage::add(&mut tx, &whose, added).await?;
        }
        budget_spending::insert(&mut tx, &self.drawn).await?;
        Ok(tx.commit().await?)
    }

    /// Again and again: rather twice, when only the answer of a commit was lost, than not at all.
    async fn write_surely(&self) {
        for pause in [1, 2, 4, 8, 16] {
            match self.write().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "what a model call took is written down in a moment");
                }
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        if let Err(error) = self.write().await {
            tracing::error!(%error, "what a model call took could not be written down");
        }
    }
}
