//! Request bodies that are answered before they are read.
//!
//! A server that refuses a large body and closes at once makes the client's kernel throw the answer away with the
//! connection. So what a handler leaves unread is read and dropped, up to a limit, while the answer goes out.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::Lifecycle;

/// What is read of an unwanted body at most; whoever sends more sees the connection close.
const LIMIT: usize = 32 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that is read to its end even when its reader loses interest.
pub(crate) struct Lingering {
    body: Option<Incoming>,
    life: Lifecycle,
}

impl Lingering {
    pub(crate) fn new(body: Incoming, life: Lifecycle) -> Self {
        Self { body: Some(body), life }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.life.detach(async move {
                // Giving up closes the connection, which is what the limit is for.
                let _ = tokio::time::timeout(PATIENCE, discard(body)).await;
            });
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut seen = 0;
    while seen < LIMIT
        && let Some(Ok(frame)) = body.frame().await
    {
        seen += frame.data_ref().map_or(0, Bytes::len);
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
