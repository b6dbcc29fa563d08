//! Starting and stopping: nothing stops working silently, open requests end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use servicekit::{Lifecycle, serve};
use testkit::Api;
use tokio::{net::TcpListener, sync::oneshot};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_task_that_ends_early_brings_the_process_down_with_its_reason() {
    let life = Lifecycle::new();

    life.spawn("worker", async { anyhow::bail!("out of luck") });

    assert_eq!(life.wait(LONG).await, Err("task `worker` stopped: out of luck".to_owned()));
}

#[tokio::test]
async fn a_task_that_panics_brings_the_process_down_too() {
    let life = Lifecycle::new();

    life.spawn("worker", async { panic!("a bug") });

    let ended = tokio::time::timeout(LONG, life.wait(LONG)).await.unwrap();
    assert_eq!(ended, Err("task `worker` stopped: panic: a bug".to_owned()));
}

#[tokio::test]
async fn a_soft_stop_lets_tasks_finish_and_is_no_failure() {
    let life = Lifecycle::new();
    let (finished, seen) = oneshot::channel();
    let soft = life.soft();
    life.spawn("worker", async move {
        soft.cancelled().await;
        finished.send(()).unwrap();
        Ok(())
    });

    life.shutdown();

    assert_eq!(life.wait(LONG).await, Ok(()));
    seen.await.unwrap();
}

#[tokio::test]
async fn a_task_that_never_ends_is_cut_off() {
    let life = Lifecycle::new();
    life.spawn("stubborn", std::future::pending());

    life.shutdown();

    assert_eq!(life.wait(Duration::from_millis(20)).await, Ok(()));
}

#[tokio::test]
async fn an_open_request_is_answered_before_the_server_stops() {
    let life = Lifecycle::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (entered, inside) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel::<()>();
    let gates = Arc::new(Mutex::new(Some((entered, released))));
    let slow = move || {
        let (entered, released) = gates.lock().unwrap().take().unwrap();
        async move {
            entered.send(()).unwrap();
            released.await.unwrap();
            "done"
        }
    };
    serve("http", listener, Router::new().route("/slow", get(slow)), &life);

    let (stopped, reply, ()) =
        tokio::join!(life.wait(LONG), async { Api::at(url.clone()).get("/slow").await }, async {
            inside.await.unwrap();
            life.shutdown();
            release.send(()).unwrap();
        });

    assert_eq!((stopped, reply.text.as_str()), (Ok(()), "done"));
}

#[tokio::test]
async fn a_body_that_is_refused_unread_does_not_cost_the_client_its_answer() {
    let life = Lifecycle::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let refuse = || async { (http::StatusCode::PAYLOAD_TOO_LARGE, "too large") };
    serve("http", listener, Router::new().route("/", post(refuse)), &life);
    let api = Api::at(url);

    for _ in 0..20 {
        let reply = api.raw(http::Method::POST, "/", vec![b'x'; 8 * 1024 * 1024]).await;
        assert_eq!((reply.status, reply.text.as_str()), (413, "too large"));
    }
}
