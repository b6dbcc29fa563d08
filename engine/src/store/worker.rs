//! Processes that own runs.

use std::time::Duration;

use dbutil::Db;
use shared_models::WorkerId;

/// Makes the worker's lease last for another `lease` from now, by the database's clock.
pub(crate) async fn heartbeat(
    db: &Db,
    worker: WorkerId,
    lease: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into engine.worker (worker_id, lease_until)
         values ($1, now() + make_interval(secs => $2))
         on conflict (worker_id) do update set lease_until = excluded.lease_until",
        worker as _,
        lease.as_secs_f64(),
    )
    .execute(db.system_pool())
    .await
    .map(drop)
}

/// Gives the lease up, so that whatever is left of the worker's runs is found at once.
pub(crate) async fn leave(db: &Db, worker: WorkerId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from engine.worker where worker_id = $1", worker as _)
        .execute(db.system_pool())
        .await
        .map(drop)
}
