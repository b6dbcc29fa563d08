//! Reading a body under a cap.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use servicekit::{Problem, codes};

use crate::error::TOO_SLOW;

/// A body that takes longer than this to arrive is given up.
const SLOWEST_BODY: Duration = Duration::from_secs(30);

/// Reads the raw body, giving up as soon as it is known to be too large.
pub(super) async fn read(headers: &HeaderMap, body: Body, cap: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            &codes::PAYLOAD_TOO_LARGE,
            format!("this hook takes bodies of up to {cap} bytes"),
        )
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            &codes::UNSUPPORTED_MEDIA_TYPE,
            "send the body without compression",
        ));
    }
    let said =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if said.is_some_and(|length: u64| length > cap as u64) {
        return Err(too_large());
    }
    let gather = async {
        let mut chunks = body.into_data_stream();
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|_| Problem::new(&codes::MALFORMED_REQUEST, "the body was cut off"))?;
            if whole.len() + chunk.len() > cap {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(SLOWEST_BODY, gather)
        .await
        .map_err(|_| Problem::new(&TOO_SLOW, "the body did not arrive within 30 s"))?
}
