//! Calls that people are asked about, over REST: the inbox, and what they say.

mod get_approval;
mod list_approvals;
mod view;
mod vote;

use dbutil::TenantTx;
use servicekit::Caller;
use shared_models::{ApprovalId, RunId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::approvals;
use crate::error::Error;
use crate::http::runs;
use crate::store::approval::{self, Row};
use crate::store::run;
use crate::visibility::Viewer;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_approvals::list_approvals))
        .routes(routes!(get_approval::get_approval))
        .routes(routes!(vote::approve))
        .routes(routes!(vote::reject))
}

/// The approval and its run, if the caller sees the run or is named by the rules that ask.
async fn visible<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    id: ApprovalId,
) -> Result<(Row, run::Row), Error> {
    let found = approval::find(tx, id).await?.ok_or(Error::ApprovalNotFound(id))?;
    let run = run_of(tx, found.run_id).await?;
    let rank = caller.role.map(approvals::rank);
    let named = caller.user().is_some_and(|user| found.policy.users().contains(&user))
        || found.policy.role().map(approvals::rank).is_some_and(|least| rank >= Some(least));
    if named || runs::sees(&Viewer::of(caller), &run) {
        Ok((found, run))
    } else {
        Err(Error::ApprovalNotFound(id))
    }
}

async fn run_of(tx: &mut TenantTx, id: RunId) -> Result<run::Row, Error> {
    run::find(tx, id).await?.ok_or(Error::RunNotFound(id))
}
