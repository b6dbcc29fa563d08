//! Changes in HubSpot that its webhooks did not tell of: objects are searched for by when they were last modified, and
//! what changed about them is read from the history of their properties; what was deleted is read from the list of it. What a
//! webhook says as well is told by what it is about (see [`about`]), so whichever comes second is a repetition.

mod archive;
mod change;
mod position;
mod search;
mod subscription;

use std::time::Duration;

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Ask, Listener, Look, LookError, Reconcile,
    account::{self, AppSource},
};
use crate::trigger::System;
use position::{Part, Position};
use subscription::wanted;
pub(crate) use subscription::{Subscription, about, nearby};

/// What of a source's options this listener reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hubspot {
    #[serde(default)]
    app: Option<AppSource>,
    #[serde(default)]
    reconcile: Option<Reconcile>,
}

impl Hubspot {
    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let before: Option<Position> =
            position.and_then(|at| serde_json::from_value(at.clone()).ok());
        let claimed = self.app.as_ref().map(|app| app.account.as_str());
        let mut position = match before {
            Some(mut before) => {
                if account::due(Some(&before.proof), ask.now) {
                    before.proof = account::prove(ask, System::Hubspot, claimed).await?;
                }
                before
            }
            None => Position::begun(account::prove(ask, System::Hubspot, claimed).await?, ask.now),
        };
        let mut look = Look::default();
        if let Some(reconcile) = &self.reconcile {
            self.reconcile(ask, reconcile, &mut position, &mut look).await?;
        } else {
            position.rest();
            look.again = Duration::from_secs(60 * 60);
        }
        look.position = serde_json::to_value(&position).unwrap_or_default();
        Ok(look)
    }

    /// What goes wrong on the way costs nothing of what was read until then.
    async fn reconcile(
        &self,
        ask: &Ask,
        reconcile: &Reconcile,
        position: &mut Position,
        look: &mut Look,
    ) -> Result<(), LookError> {
        look.again = Duration::from_secs(reconcile.interval_seconds.into());
        let all = wanted(&reconcile.subscriptions);
        position.want(&all, ask.now);
        let (begun, grace) = (position.clone(), reconcile.grace());
        let overdue =
            ask.now - grace - chrono::Duration::seconds(reconcile.interval_seconds.into());
        for (part, kind) in position.in_order(ask.now) {
            let (what, items) = ((kind.as_str(), &all[&kind]), &mut look.items);
            let read = match part {
                Part::Modified => search::walk(ask, what, grace, position, items).await,
                Part::Deleted => archive::sweep(ask, what, grace, position, items).await,
            };
            match read {
                Ok(true) => {}
                Ok(false) => look.again = Duration::ZERO,
                Err(error) if *position == begun && look.items.is_empty() => return Err(error),
                Err(error) => {
                    look.failed = Some(error);
                    break;
                }
            }
            // Whoever is left begins the next look.
            let late = |(part, kind): &(Part, String)| position.until(*part, kind) < overdue;
            if !ask.has_time() && position.in_order(ask.now).iter().any(late) {
                look.again = Duration::ZERO;
                break;
            }
        }
        Ok(())
    }
}

impl Listener for Hubspot {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}
