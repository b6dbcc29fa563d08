//! One row by its key.

use std::time::{Duration, Instant};

use sqlx::Row as _;
use tokio::task::JoinSet;

use super::rows;
use crate::figure::{Figure, Sample};

const ROWS: i64 = 10_000;

pub(super) async fn by_key(
    database: &str,
    connections: u32,
    millis: u64,
) -> anyhow::Result<Figure> {
    let pool = rows::pool(database, connections).await?;
    let prepare = [
        "drop table if exists bench_secret",
        "create table bench_secret (secret_id bigint primary key, sealed bytea not null)",
        "insert into bench_secret select n, decode(repeat('ab', 256), 'hex') from generate_series(0, 9999) n",
        "analyze bench_secret",
    ];
    for statement in prepare {
        sqlx::query(statement).execute(&pool).await?;
    }
    let started = Instant::now();
    let until = started + Duration::from_millis(millis);
    let mut tasks = JoinSet::new();
    for place in 0..i64::from(connections) {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut sample = Sample::default();
            let mut key = place;
            while Instant::now() < until {
                key = (key + 7_919) % ROWS;
                let sent = Instant::now();
                let row = sqlx::query("select sealed from bench_secret where secret_id = $1")
                    .bind(key)
                    .fetch_one(&pool)
                    .await?;
                std::hint::black_box(row.try_get_raw(0)?);
                sample.answered(sent);
            }
            anyhow::Ok(sample)
        });
    }
    let mut sample = Sample::default();
    while let Some(seen) = tasks.join_next().await {
        sample.add(seen??);
    }
    sample.elapsed = started.elapsed();
    Ok(sample.figure())
}
