//! What conversations remember. Only ever appended to, so that "the first n" is the same for ever.

use agentcore::Message;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use shared_models::{ConversationId, RunId};

use crate::error::Error;
use crate::snapshot::Recalled;

/// Of a longer conversation a run is told the newest messages. What does not fit into its model's window is summarised
/// by the run itself.
const MOST_MESSAGES: i64 = 1000;
const MOST_BYTES: i64 = 4 * 1024 * 1024;

/// A message as it was said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) n: i64,
    pub(crate) run: RunId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) body: Vec<u8>,
}

/// What the next run of a conversation is told, of the `upto` messages there are: what an earlier run has made of the
/// oldest, and the others.
pub(crate) async fn recalled(
    tx: &mut TenantTx,
    conversation_id: ConversationId,
    upto: i64,
) -> Result<Recalled, sqlx::Error> {
    let tenant = tx.tenant();
    let told = sqlx::query!(
        r#"with summed_up as (
               select summary, summary_upto from engine.conversation where tenant_id = $1 and conversation_id = $2)
           select (select summary from summed_up), (
               select min(n) from (
                   select n, sum(octet_length(body)) over (order by n desc) as size
                   from engine.conversation_message
                   where tenant_id = $1 and conversation_id = $2 and n < $3
                     and n >= coalesce((select summary_upto from summed_up), 0)
                   order by n desc limit $4) newest
               where size <= $5) as "from""#,
        tenant as _,
        conversation_id as _,
        upto,
        MOST_MESSAGES,
        MOST_BYTES as _,
    )
    .fetch_one(&mut **tx)
    .await?;
    let range = Some((told.from.unwrap_or(upto), upto));
    Ok(Recalled { conversation_id, range, summary: told.summary })
}

/// What a run was told of what was said before. It begins with something the user said, whatever was cut off before it, or
/// behind a summary with a whole turn. Nothing once the conversation is gone.
pub(crate) async fn recall(tx: &mut TenantTx, recalled: &Recalled) -> Result<Vec<Message>, Error> {
    let Some((from, upto)) = recalled.range.filter(|(from, upto)| from < upto) else {
        return Ok(Vec::new());
    };
    let said = list(tx, recalled.conversation_id, from, upto - from).await?;
    let read = |said: Said| serde_json::from_slice(&said.body).context("a remembered message");
    let said = said.into_iter().map(read).collect::<anyhow::Result<Vec<Message>>>()?;
    let begins = |message: &Message| match message {
        Message::User { .. } => true,
        Message::Assistant { .. } => recalled.summary.is_some(),
        Message::System { .. } | Message::Tool { .. } => false,
    };
    Ok(said.into_iter().skip_while(|message| !begins(message)).collect())
}

/// Messages from one on, in order.
pub(crate) async fn list(
    tx: &mut TenantTx,
    conversation_id: ConversationId,
    from: i64,
    limit: i64,
) -> Result<Vec<Said>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Said,
        r#"select n, run_id as "run: RunId", at, body from engine.conversation_message
           where tenant_id = $1 and conversation_id = $2 and n >= $3 order by n limit $4"#,
        tenant as _,
        conversation_id as _,
        from,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Adds what was said in a run to a conversation that the caller holds; gives how many messages there are now.
pub(crate) async fn append(
    tx: &mut TenantTx,
    conversation_id: ConversationId,
    run: RunId,
    bodies: &[Vec<u8>],
) -> Result<i64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "with said as (
             insert into engine.conversation_message (conversation_id, n, tenant_id, run_id, body)
             select c.conversation_id, c.messages + b.place - 1, c.tenant_id, $3, b.body
             from engine.conversation c, unnest($4::bytea[]) with ordinality as b (body, place)
             where c.tenant_id = $1 and c.conversation_id = $2
         )
         update engine.conversation set messages = messages + cardinality($4::bytea[]), updated_at = now()
         where tenant_id = $1 and conversation_id = $2 returning messages",
        tenant as _,
        conversation_id as _,
        run as _,
        bodies,
    )
    .fetch_one(&mut **tx)
    .await
}
