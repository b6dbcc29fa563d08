//! Forgetting what the plumbing no longer needs, a little at a time and beside publishing, never instead of it.

use dbutil::{Batches, Db, SystemTx, idempotency};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{RelayConfig, Trouble};
use crate::{Bus, topology::StreamSpec};

const ROWS: i64 = 2_000;

/// Tidies until the token is cancelled. What is under way then is rolled back and due again.
pub(super) async fn run(
    db: Db,
    bus: Bus,
    (spec, config): (&'static StreamSpec, RelayConfig),
    token: CancellationToken,
) {
    let mut turns = interval(config.tidy);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let tidied = async {
            turns.tick().await;
            activate(&db, &bus, spec, &config).await
        };
        tokio::select! {
            tidied = tidied => if let Err(trouble) = tidied {
                tracing::info!(%trouble, "old events stay for now");
            },
            () = token.cancelled() => return,
        }
    }
}

async fn activate(
    db: &Db,
    bus: &Bus,
    spec: &StreamSpec,
    config: &RelayConfig,
) -> Result<(), Trouble> {
    // First what does not depend on the broker.
    let mut batches = Batches::default();
    while batches.more().await {
        let mut tx = db.system("forget old events of all tenants").await?;
        set_up(&mut tx).await?;
        batches.did(inbox(&mut tx, config.inbox_days).await?);
        batches.did(parked(&mut tx, config.parked_days).await?);
        batches.did(failures(&mut tx, config.inbox_days).await?);
        // Every service that takes an `Idempotency-Key` has a relay, so its answers are forgotten here.
        batches.did(idempotency::prune(&mut tx, ROWS).await?);
        tx.commit().await?;
    }
    let heard = bus.heard_up_to(spec).await?;
    let mut batches = Batches::default();
    while batches.more().await {
        let mut tx = db.system("forget published events of all tenants").await?;
        set_up(&mut tx).await?;
        batches.did(outbox(&mut tx, spec, heard, config).await?);
        tx.commit().await?;
    }
    Ok(())
}

/// Nobody waits for these commits, and a row that comes back is forgotten again.
async fn set_up(tx: &mut SystemTx) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "set local synchronous_commit = off; set local enable_seqscan = off; set local jit = off",
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Published events that every hearer has acknowledged. The oldest have the lowest sequences, so what is young or merely
/// waits is not looked through.
async fn outbox(
    tx: &mut SystemTx,
    spec: &StreamSpec,
    heard: i64,
    config: &RelayConfig,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from outbox where message_id = any (array(
             select message_id from (
                 select message_id, published_at from outbox
                 where stream = $1 and stream_seq <= $2 and published_at is not null
                 order by stream_seq limit $4 for update skip locked) oldest
             where published_at < now() - make_interval(secs => $3)))",
    )
    .bind(spec.stream.name())
    .bind(heard)
    .bind(config.keep.as_secs_f64())
    .bind(ROWS)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

async fn inbox(tx: &mut SystemTx, days: u32) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from inbox where ctid = any (array(
             select ctid from inbox where received_at < now() - make_interval(days => $1)
             order by received_at limit $2 for update skip locked))",
    )
    .bind(days.cast_signed())
    .bind(ROWS)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

async fn parked(tx: &mut SystemTx, days: u32) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from parked where ctid = any (array(
             select ctid from parked
             where parked_at < now() - make_interval(days => $1) and replay_requested_at is null
             order by parked_at limit $2 for update skip locked))",
    )
    .bind(days.cast_signed())
    .bind(ROWS)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

async fn failures(tx: &mut SystemTx, days: u32) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from listener_failure where ctid = any (array(
             select ctid from listener_failure where failed_at < now() - make_interval(days => $1)
             order by failed_at limit $2 for update skip locked))",
    )
    .bind(days.cast_signed())
    .bind(ROWS)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
