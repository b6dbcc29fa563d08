//! axum.

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use tokio::net::TcpListener;

use super::listening;

/// Reads the body and answers 202.
pub(super) fn bare() -> Router {
    Router::new().route("/hook", post(async |_body: Bytes| (StatusCode::ACCEPTED, "{}")))
}

pub(super) async fn serve(router: Router) -> anyhow::Result<()> {
    use axum::serve::ListenerExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr()?)?;
    // A connection on which this cannot be set is merely slower.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, router).await?)
}
