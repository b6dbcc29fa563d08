//! Whose what a provider's app says is: the sources, of all tenants, whose cursor shows an account or a mailbox.

use dbutil::SystemTx;
use shared_models::{SourceId, TenantId};

/// A source that gets what is said of an account.
#[derive(Clone, Debug)]
pub(crate) struct OfAccount {
    pub account: String,
    pub source: SourceId,
    /// The app of the provider's that the account was shown with, where that matters.
    pub app: Option<String>,
}

/// The sources of all tenants whose owners have shown, within the last day, that one of these accounts is theirs. At Slack,
/// where it was not asked with which app, within the hours after which it would have been shown anew.
pub(crate) async fn of_app(
    tx: &mut SystemTx,
    system: &str,
    accounts: &[String],
) -> Result<Vec<OfAccount>, sqlx::Error> {
    sqlx::query_as!(
        OfAccount,
        r#"select c.position->>'account' as "account!", c.source_id as "source: SourceId", c.position->>'app' as app
           from eventsvc.source_cursor c join eventsvc.source s on s.source_id = c.source_id
           where s.system = $1 and c.position->>'account' = any($2)
             and s.options->'app'->>'account' = c.position->>'account'
             and (c.position->>'proven_at')::timestamptz > eventsvc.db_now()
                 - case when $1 = 'slack' and not c.position ? 'app' then interval '6 hours' else interval '1 day' end
           order by c.source_id"#,
        system,
        accounts,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The sources of all tenants whose cursor is at this mailbox.
pub(crate) async fn of_mailbox(
    tx: &mut SystemTx,
    email: &str,
) -> Result<Vec<(TenantId, SourceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select c.tenant_id as "tenant: TenantId", c.source_id as "source: SourceId"
           from eventsvc.source_cursor c join eventsvc.source s on s.source_id = c.source_id
           where s.system = 'gmail' and c.position->>'email' = $1"#,
        email,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.source)).collect())
}
