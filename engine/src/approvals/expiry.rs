//! What nobody has decided in time is refused, never made.

use shared_models::events::approval::ApprovalExpired;
use shared_models::{ApprovalId, TenantId};

use crate::app::App;
use crate::error::Error;
use crate::store::approval;
use crate::store::signal::{self, Signal};
use crate::store::{queue, run};

/// How many at once; the next sweep sees the rest.
const MOST: i64 = 500;

/// Refuses what is overdue. Done by one process of all at each sweep, and harmless when two do it.
pub(crate) async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    for (tenant, id) in approval::overdue(&app.db, MOST).await? {
        if let Err(error) = expire(app, tenant, id).await {
            tracing::warn!(%error, approval.id = %id, "an approval stays open for now; the next sweep sees it");
        }
    }
    Ok(())
}

async fn expire(app: &App, tenant: TenantId, id: ApprovalId) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    let Some(seen) = approval::find(&mut tx, id).await? else { return Ok(()) };
    // In the order in which everybody holds them.
    run::hold(&mut tx, seen.run_id).await?;
    approval::hold(&mut tx, id).await?;
    let Some(row) = approval::find(&mut tx, id).await? else { return Ok(()) };
    match row.status.as_str() {
        "open" if row.is_over => {}
        "withdrawn" => {
            approval::settle(&mut tx, id, "withdrawn", (false, None)).await?;
            return Ok(tx.commit().await?);
        }
        _ => return Ok(()),
    }
    approval::settle(&mut tx, id, "expired", (false, None)).await?;
    let told = Signal::Decided { call_id: row.call_key, approval_id: id.uuid() };
    signal::insert(&mut tx, row.run_id, &told).await?;
    queue::wake(&mut tx, row.run_id).await?;
    let of = run::find(&mut tx, row.run_id).await?.ok_or(Error::RunNotFound(row.run_id))?;
    let event = ApprovalExpired { run: of.reference(), approval_id: id, tool_name: row.tool_name };
    pubsub::emit(&mut tx, &event).await?;
    tx.commit().await?;
    metrics::counter!("engine_approvals_expired_total").increment(1);
    app.announce_with(&[row.run_id]).await;
    Ok(())
}
