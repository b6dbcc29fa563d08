//! The same rows, written by one task: all that wait in one statement.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{mpsc, oneshot};

use super::{rows, web};

const LARGEST: usize = 256;

struct Row {
    id: String,
    headers: String,
    body: Bytes,
    done: oneshot::Sender<bool>,
}

pub(super) async fn serve(database: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query(rows::TABLE).execute(&mut connection).await?;
    let (sender, waiting) = mpsc::channel(4_096);
    let router = Router::new().route("/hook", post(take)).with_state(sender);
    tokio::select! {
        served = web::serve(router) => served,
        ended = commit(connection, waiting) => ended,
    }
}

async fn take(
    State(sender): State<mpsc::Sender<Row>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let Some((id, headers)) = rows::wanted(&headers) else { return StatusCode::BAD_REQUEST };
    let (done, stored) = oneshot::channel();
    if sender.try_send(Row { id, headers, body, done }).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match stored.await {
        Ok(true) => StatusCode::ACCEPTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn commit(
    mut connection: PgConnection,
    mut waiting: mpsc::Receiver<Row>,
) -> anyhow::Result<()> {
    let mut group = Vec::with_capacity(LARGEST);
    while waiting.recv_many(&mut group, LARGEST).await > 0 {
        let ids: Vec<&str> = group.iter().map(|row: &Row| row.id.as_str()).collect();
        let headers: Vec<&str> = group.iter().map(|row| row.headers.as_str()).collect();
        let bodies: Vec<&[u8]> = group.iter().map(|row| &row.body[..]).collect();
        let done = sqlx::query(
            "insert into bench_delivery (dedupe_key, headers, body)
             select * from unnest($1::text[], $2::text[], $3::bytea[])
             on conflict (dedupe_key) do nothing",
        )
        .bind(ids)
        .bind(headers)
        .bind(bodies)
        .execute(&mut connection)
        .await;
        for row in group.drain(..) {
            // Whoever has hung up does not want to know.
            let _ = row.done.send(done.is_ok());
        }
    }
    Ok(())
}
