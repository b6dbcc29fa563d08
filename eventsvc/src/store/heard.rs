//! What is heard of runs, taken in by the group.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared_models::{EventId, MessageId, RunId, RunStatus, TenantId, TriggerId};
use sqlx::PgConnection;

use crate::intake::ReasonClass;

/// A word about the run of a firing's attempt.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub message_id: MessageId,
    pub tenant: TenantId,
    pub event_id: EventId,
    pub attempt: i32,
    pub step: &'static str,
    pub run: RunId,
    pub news: News,
    pub detail: Value,
    pub at: DateTime<Utc>,
}

/// What it says.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// How far the run is.
    Status(RunStatus),
    /// It has ended, and not well, or waits for what went wrong to be mended: how far it is, what is to blame, and why.
    Hindered(RunStatus, ReasonClass, String),
    /// Why there will be none.
    Refused(String),
}

impl Word {
    /// Whether nothing will follow.
    pub(crate) fn is_the_end(&self) -> bool {
        match self.news {
            News::Status(status) | News::Hindered(status, ..) => status.terminal(),
            News::Refused(_) => true,
        }
    }

    fn status(&self) -> Option<&'static str> {
        match &self.news {
            News::Status(status) | News::Hindered(status, ..) => Some(status.as_str()),
            News::Refused(_) => None,
        }
    }

    /// What is to blame, and why, where something is.
    fn failure(&self) -> Option<(ReasonClass, &str)> {
        match &self.news {
            News::Status(_) => None,
            News::Hindered(_, class, why) => Some((*class, why)),
            News::Refused(why) => Some((ReasonClass::Engine, why)),
        }
    }
}

/// Takes the words in; those heard before are dropped, and so are those about firings that are not ours. Gives the trigger of
/// each firing that has failed with that.
pub(crate) async fn take(
    connection: &mut PgConnection,
    consumer: &str,
    words: &[&Word],
) -> Result<Vec<(TenantId, TriggerId)>, sqlx::Error> {
    let failures: Vec<_> = words.iter().map(|word| word.failure()).collect();
    if failures.iter().any(Option::is_some) {
        one_by_one(&mut *connection, words).await?;
    }
    let failed = sqlx::query_file!(
        "src/store/heard.sql",
        consumer,
        &words.iter().map(|word| word.message_id.uuid()).collect::<Vec<_>>(),
        &words.iter().map(|word| word.tenant.uuid()).collect::<Vec<_>>(),
        &words.iter().map(|word| word.event_id.uuid()).collect::<Vec<_>>(),
        &words.iter().map(|word| word.attempt).collect::<Vec<_>>(),
        &words.iter().map(|word| word.step.to_owned()).collect::<Vec<_>>(),
        // A refused firing has no run.
        &words.iter().map(|word| word.status().map(|_| word.run.uuid())).collect::<Vec<_>>() as _,
        &words.iter().map(|word| word.status().map(str::to_owned)).collect::<Vec<_>>() as _,
        &failures.iter().map(|found| found.map(|(_, why)| why.to_owned())).collect::<Vec<_>>() as _,
        &words.iter().map(|word| word.detail.clone()).collect::<Vec<_>>(),
        &words.iter().map(|word| word.at).collect::<Vec<_>>(),
        &failures
            .iter()
            .map(|found| found.map(|(class, _)| class.as_str().to_owned()))
            .collect::<Vec<_>>() as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(failed.into_iter().map(|row| (row.tenant, row.trigger)).collect())
}

/// Whether a delivery has failed is told by all of its firings, of which two groups may each hear of one: whoever comes second
/// waits here, and its next statement sees what the first has written. Firings before deliveries, as everybody locks them, and
/// all firings of the group: what else of it was locked only afterwards would be so in another order.
async fn one_by_one(connection: &mut PgConnection, words: &[&Word]) -> Result<(), sqlx::Error> {
    let failed = words.iter().filter(|word| word.failure().is_some());
    let failed: Vec<_> = failed.map(|word| word.event_id.uuid()).collect();
    let (tenants, events): (Vec<_>, Vec<_>) =
        words.iter().map(|word| (word.tenant.uuid(), word.event_id.uuid())).unzip();
    let firings = sqlx::query!(
        r#"select f.delivery_id, f.event_id = any($3) as "failed!" from eventsvc.firing f
         where f.tenant_id = any($1) and f.event_id = any($2)
         order by f.event_id
         for no key update"#,
        &tenants,
        &events,
        &failed,
    )
    .fetch_all(&mut *connection)
    .await?;
    let deliveries: Vec<_> =
        firings.into_iter().filter(|firing| firing.failed).map(|one| one.delivery_id).collect();
    sqlx::query!(
        "select from eventsvc.delivery d
         where d.tenant_id = any($1) and d.delivery_id = any($2)
         order by d.delivery_id
         for no key update",
        &tenants,
        &deliveries,
    )
    .execute(connection)
    .await
    .map(drop)
}
