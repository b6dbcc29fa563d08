//! Counts a model call that no run makes.
//!
//! The call is counted before it begins, as one whose cost is not known: one that is given up stays so.

use shared_models::{MicroUsd, TenantId, Usage};

use crate::{
    app::App,
    error::Error,
    models::Bound,
    store::usage::{self, Added},
};

pub(super) struct Meter {
    app: App,
    tenant: TenantId,
    bound: Bound,
}

impl Meter {
    pub(super) async fn begin(app: &App, tenant: TenantId, bound: &Bound) -> Result<Self, Error> {
        let meter = Self { app: app.clone(), tenant, bound: bound.clone() };
        meter.add(&Added { calls: 1, unpriced: 1, ..Added::default() }).await?;
        Ok(meter)
    }

    /// The provider has said what it took.
    pub(super) async fn end(&self, usage: &Usage) {
        if let Err(error) = self.try_end(usage).await {
            tracing::error!(%error, "what a model call took could not be written down");
        }
    }

    async fn try_end(&self, usage: &Usage) -> Result<(), Error> {
        let names = self.bound.prices();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rates = self.app.prices.rates(&self.app.db, self.tenant, &names).await?;
        let cost = rates.and_then(|rates| rates.cost(usage));
        let unpriced = if cost.is_some() { -1 } else { 0 };
        let cost = cost.unwrap_or(MicroUsd(0));
        self.add(&Added { calls: 0, unpriced, usage: *usage, cost }).await
    }

    async fn add(&self, added: &Added) -> Result<(), Error> {
        let mut tx = self.app.db.begin(self.tenant).await?;
        usage::add(&mut tx, &self.bound.name, added).await?;
        Ok(tx.commit().await?)
    }
}
