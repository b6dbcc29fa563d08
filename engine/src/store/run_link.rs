//! Which run is another one's retry, or a fork of it.

use dbutil::TenantTx;
use shared_models::RunId;

/// How a run comes of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Retry,
    Fork {
        /// The last record of the other run that stands.
        seq: i64,
    },
}

/// Notes what `run` is of `of`.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    run: RunId,
    of: RunId,
    link: Link,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let (kind, seq) = match link {
        Link::Retry => ("retry", None),
        Link::Fork { seq } => ("fork", Some(seq)),
    };
    sqlx::query!(
        "insert into engine.run_link (run_id, tenant_id, of_run_id, kind, from_seq) values ($1, $2, $3, $4, $5)",
        run as _,
        tenant as _,
        of as _,
        kind,
        seq,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The run that this one comes of, and how.
pub(crate) async fn of(
    tx: &mut TenantTx,
    run: RunId,
) -> Result<Option<(RunId, Link)>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select of_run_id as "of_run_id: RunId", from_seq from engine.run_link
           where tenant_id = $1 and run_id = $2"#,
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| (row.of_run_id, row.from_seq.map_or(Link::Retry, |seq| Link::Fork { seq }))))
}

/// The runs that come of this one, oldest first: 100 of each kind at most, its retries and its forks.
pub(crate) async fn all_of(
    tx: &mut TenantTx,
    of: RunId,
) -> Result<(Vec<RunId>, Vec<RunId>), sqlx::Error> {
    Ok((of_kind(tx, of, "retry").await?, of_kind(tx, of, "fork").await?))
}

async fn of_kind(tx: &mut TenantTx, of: RunId, kind: &str) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run_id: RunId" from engine.run_link
           where tenant_id = $1 and of_run_id = $2 and kind = $3 order by created_at, run_id limit 100"#,
        tenant as _,
        of as _,
        kind,
    )
    .fetch_all(&mut **tx)
    .await
}
