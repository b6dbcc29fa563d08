//! The life of runs, for the endpoints that want to be told.
//!
//! Events are taken in groups a tenth of a second apart, so that a busy engine asks ten times a second whether any of the
//! tenants has an endpoint, and an idle one never.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::SecondsFormat;
use dbutil::tenants_setting;
use pubsub::{BatchListener, Consumer, RawEvent, Refusal, topology};
use serde_json::{Value, json};
use shared_models::events::Envelope;
use shared_models::{RunId, TenantId};
use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::store::webhook_delivery::{self, News};
use crate::store::webhook_endpoint;
use crate::webhooks::EVENT_TYPES;

const APART: Duration = Duration::from_millis(100);

pub(crate) struct RunEventsListener {
    pub(crate) app: App,
    /// Before when no group is taken.
    not_before: Mutex<Instant>,
}

type Heard = Envelope<RawEvent>;

impl RunEventsListener {
    pub(crate) fn new(app: App) -> Self {
        Self { app, not_before: Mutex::new(Instant::now()) }
    }

    /// Writes down what is to be told; what is there already stays as it is.
    async fn take(&self, batch: &[Heard]) -> Result<(), sqlx::Error> {
        let tenants: BTreeSet<TenantId> = batch.iter().map(|event| event.tenant).collect();
        let tenants: Vec<TenantId> = tenants.into_iter().collect();
        let begin = format!("begin; set local app.tenants = '{}'", tenants_setting(&tenants));
        let mut tx = self.app.db.app_pool().begin_with(AssertSqlSafe(begin)).await?;
        let told = webhook_endpoint::tenants_with_any(&mut tx, &tenants).await?;
        let wanted = batch.iter().filter(|event| {
            told.contains(&event.tenant)
                && EVENT_TYPES.contains(&event.kind.as_str())
                && !is_trial(event)
        });
        let news: Vec<News> = wanted.map(news).collect();
        if news.is_empty() {
            return Ok(());
        }
        webhook_delivery::insert(&mut tx, &news).await?;
        tx.commit().await?;
        self.app.webhooks.due.notify_one();
        Ok(())
    }
}

impl BatchListener for RunEventsListener {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &topology::ENGINE_WEBHOOKS;

    async fn handle_batch(&self, batch: Vec<Heard>) -> Vec<Result<(), Refusal>> {
        let mut not_before = self.not_before.lock().await;
        sleep_until(*not_before).await;
        let taken = self.take(&batch).await;
        *not_before = Instant::now() + APART;
        match taken {
            Ok(()) => batch.iter().map(|_| Ok(())).collect(),
            Err(error) => {
                tracing::warn!(%error, "events for webhooks could not be written down; they come again");
                let later = || Refusal::Later(anyhow::anyhow!(pubsub::DependencyDown("database")));
                batch.iter().map(|_| Err(later())).collect()
            }
        }
    }
}

/// Whether it is of a run that only tries its agent, or judges. What people are to decide on there is told nevertheless.
fn is_trial(event: &Heard) -> bool {
    event.kind.starts_with("run.") && event.data.0.get("evaluation_id").is_some()
}

fn news(event: &Heard) -> News {
    let data = &event.data.0;
    let run = data.get("run_id").and_then(Value::as_str).and_then(|id| id.parse::<RunId>().ok());
    let body = json!({
        "type": event.kind,
        "timestamp": event.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": data,
    });
    News {
        tenant: event.tenant,
        message: event.id,
        kind: event.kind.clone(),
        run,
        body: body.to_string(),
        at: event.occurred_at,
    }
}
