//! One row by its key, and what it has sealed, opened: the least that a lease of a secret can be.

use std::time::{Duration, Instant};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use anyhow::Context as _;
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::rows;
use crate::figure::{Figure, Sample};

const ROWS: i64 = 10_000;
const NONCE: [u8; 12] = [7; 12];
/// As long as a usual secret.
const SECRET: [u8; 256] = [b's'; 256];

pub(super) async fn by_key(
    database: &str,
    connections: u32,
    millis: u64,
    open: bool,
) -> anyhow::Result<Figure> {
    let pool = rows::pool(database, connections).await?;
    let key = Aes256Gcm::new(&[9; 32].into());
    fill(&pool, &key).await?;
    let started = Instant::now();
    let until = started + Duration::from_millis(millis);
    let mut tasks = JoinSet::new();
    for place in 0..i64::from(connections) {
        let (pool, key) = (pool.clone(), open.then(|| key.clone()));
        tasks.spawn(async move {
            let mut sample = Sample::default();
            let mut id = place;
            while Instant::now() < until {
                id = (id + 7_919) % ROWS;
                let sent = Instant::now();
                let sealed: Vec<u8> =
                    sqlx::query_scalar("select sealed from bench_secret where secret_id = $1")
                        .bind(id)
                        .fetch_one(&pool)
                        .await?;
                let secret = match &key {
                    Some(key) => unsealed(key, &sealed)?,
                    None => sealed,
                };
                std::hint::black_box(secret);
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

async fn fill(pool: &PgPool, key: &Aes256Gcm) -> anyhow::Result<()> {
    let sealed = key.encrypt(&NONCE.into(), Payload { msg: &SECRET, aad: b"bench" });
    let sealed = sealed.ok().context("a secret cannot be sealed")?;
    let prepare = [
        "drop table if exists bench_secret",
        "create table bench_secret (secret_id bigint primary key, sealed bytea not null)",
    ];
    for statement in prepare {
        sqlx::query(statement).execute(pool).await?;
    }
    sqlx::query("insert into bench_secret select n, $1 from generate_series(0, $2::bigint) n")
        .bind(sealed)
        .bind(ROWS - 1)
        .execute(pool)
        .await?;
    sqlx::query("analyze bench_secret").execute(pool).await?;
    Ok(())
}

fn unsealed(key: &Aes256Gcm, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let opened = key.decrypt(&NONCE.into(), Payload { msg: sealed, aad: b"bench" });
    opened.ok().context("a secret does not open")
}
