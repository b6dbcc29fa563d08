//! A model that answers at once: OpenAI's `chat/completions`, streaming and not, and a tool's far end.
//!
//! Asked with tools it calls the first of them; told what the tool said, or asked without tools, it answers with text. A
//! model named `drip-<tokens>-<milliseconds>` takes its time instead: it says the time of day in microseconds, again and
//! again, so that a viewer can tell how old each word is.

pub(crate) mod drip;
mod reply;

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};

use drip::Drip;
use reply::Asked;

type Answer = Response<Either<Full<Bytes>, Drip>>;

/// Answers until its connections and the caller are gone.
pub(crate) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A client that hangs up is no failure of ours.
        connections.spawn(async { serving.await.ok() });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(problem(StatusCode::BAD_REQUEST, "the body ended early"));
    };
    Ok(match (parts.method, parts.uri.path()) {
        (Method::POST, "/v1/chat/completions") => match serde_json::from_slice::<Asked>(&body) {
            Ok(asked) => complete(&asked),
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        (Method::POST, "/tool") => whole("application/json", r#"{"ok":true}"#),
        (Method::POST, path) if path.starts_with("/page/") => {
            match path["/page/".len()..].parse() {
                Ok(bytes) => whole("text/plain", page(&body, bytes)),
                Err(_) => problem(StatusCode::NOT_FOUND, "how long is the page?"),
            }
        }
        _ => problem(StatusCode::NOT_FOUND, "there is nothing here"),
    })
}

/// Words of so many bytes, other ones for everything that is asked.
fn page(asked: &[u8], bytes: usize) -> String {
    let mut seed =
        asked.iter().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add((*byte).into()));
    let mut text = String::with_capacity(bytes + 8);
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letters = seed.to_be_bytes();
        let word = letters[..3 + usize::from(letters[7] % 5)]
            .iter()
            .map(|byte| char::from(b'a' + byte % 26));
        text.extend(word.chain([' ']));
    }
    text.truncate(bytes);
    text
}

fn complete(asked: &Asked<'_>) -> Answer {
    match (Drip::of(&asked.model), asked.stream) {
        (Some(drip), true) => with(StatusCode::OK, "text/event-stream", Either::Right(drip)),
        (_, true) => whole("text/event-stream", asked.chunks()),
        (_, false) => whole("application/json", asked.object()),
    }
}

fn problem(status: StatusCode, message: &str) -> Answer {
    let body = serde_json::json!({ "error": { "message": message, "type": "invalid_request" } });
    with(status, "application/json", Either::Left(Full::from(body.to_string())))
}

fn whole(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, kind, Either::Left(Full::new(body.into())))
}

fn with(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Drip>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
