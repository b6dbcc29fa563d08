//! The row that stands for a delivery, and one insert of it per request.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// What the rows are put in; made anew by each part.
pub(super) const TABLE: &str = "
    create table if not exists bench_delivery (
        delivery_id bigint generated always as identity primary key,
        dedupe_key  text not null unique,
        headers     text not null,
        body        bytea not null,
        received_at timestamptz not null default now()
    )";

pub(super) async fn pool(database: &str, connections: u32) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = database.parse()?;
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        // As our own pools: it would be a round trip more for each.
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    Ok(pool)
}

pub(super) async fn router(database: &str) -> anyhow::Result<Router> {
    let pool = pool(database, 32).await?;
    sqlx::query(TABLE).execute(&pool).await?;
    Ok(Router::new().route("/hook", post(insert)).with_state(pool))
}

async fn insert(State(pool): State<PgPool>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some((id, kept)) = wanted(&headers) else { return StatusCode::BAD_REQUEST };
    let done = sqlx::query(
        "insert into bench_delivery (dedupe_key, headers, body) values ($1, $2, $3)
         on conflict (dedupe_key) do nothing",
    )
    .bind(id)
    .bind(kept)
    .bind(&body[..])
    .execute(&pool)
    .await;
    if done.is_ok() { StatusCode::ACCEPTED } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// The delivery's id, and the headers as they are kept.
pub(super) fn wanted(headers: &HeaderMap) -> Option<(String, String)> {
    let id = headers.get("webhook-id")?.to_str().ok()?.to_owned();
    let kept =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let kept: Vec<_> = kept.collect();
    Some((id, serde_json::to_string(&kept).ok()?))
}
