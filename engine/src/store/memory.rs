//! What agents remember, by subject: the agent itself, an end user, or a conversation.

use dbutil::TenantTx;
use serde::Serialize;
use shared_models::{AgentId, RunId};

use crate::tools::builtin::{About, MOST_FACTS};

/// One thing remembered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fact {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Under which name the run's memory is kept; none when the run has no such person or conversation. A conversation is held until
/// the transaction ends: whoever deletes it finds what is remembered about it meanwhile.
pub(crate) async fn subject(
    tx: &mut TenantTx,
    run: RunId,
    about: About,
) -> Result<Option<String>, sqlx::Error> {
    let tenant = tx.tenant();
    match about {
        About::Agent => Ok(Some(String::new())),
        About::EndUser => {
            let end_user = sqlx::query_scalar!(
                "select end_user_id from engine.run where tenant_id = $1 and run_id = $2",
                tenant as _,
                run as _,
            );
            let end_user = end_user.fetch_one(&mut **tx).await?;
            Ok(end_user.map(|id| format!("user:{id}")))
        }
        About::Conversation => {
            let conversation = sqlx::query_scalar!(
                "select c.conversation_id from engine.run r
                 join engine.conversation c on c.conversation_id = r.conversation_id and c.tenant_id = r.tenant_id
                 where r.tenant_id = $1 and r.run_id = $2 for key share of c",
                tenant as _,
                run as _,
            );
            let conversation = conversation.fetch_optional(&mut **tx).await?;
            Ok(conversation.map(|id| format!("conversation:{id}")))
        }
    }
}

/// Facts, newest first: one by its key, or those with a text in them.
pub(crate) async fn find(
    tx: &mut TenantTx,
    agent: AgentId,
    subject: &str,
    key: Option<&str>,
    search: Option<&str>,
    most: i64,
) -> Result<Vec<Fact>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Fact,
        "select key, value from engine.agent_memory
         where tenant_id = $1 and agent_id = $2 and subject = $3
           and ($4::text is null or key = $4)
           and ($5::text is null or strpos(lower(key), lower($5)) > 0 or strpos(lower(value), lower($5)) > 0)
         order by updated_at desc, key limit $6",
        tenant as _,
        agent as _,
        subject,
        key,
        search,
        most,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Remembers a fact in place of what was under its key. Says no when there are too many others.
pub(crate) async fn put(
    tx: &mut TenantTx,
    agent: AgentId,
    subject: &str,
    key: &str,
    value: &str,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "insert into engine.agent_memory (tenant_id, agent_id, subject, key, value)
         select $1, $2, $3, $4, $5
         where (select count(*) from engine.agent_memory
                where tenant_id = $1 and agent_id = $2 and subject = $3 and key <> $4) < $6
         on conflict (tenant_id, agent_id, subject, key) do update
         set value = excluded.value, updated_at = now()",
        tenant as _,
        agent as _,
        subject,
        key,
        value,
        MOST_FACTS,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets a fact.
pub(crate) async fn delete(
    tx: &mut TenantTx,
    agent: AgentId,
    subject: &str,
    key: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.agent_memory
         where tenant_id = $1 and agent_id = $2 and subject = $3 and key = $4",
        tenant as _,
        agent as _,
        subject,
        key,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
