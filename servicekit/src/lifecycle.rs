//! From start to stop: named tasks, a soft stop that lets them finish, a hard one that does not.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::lingering::Lingering;
use axum::Router;
use futures::FutureExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tasks of a process and the two ways to stop them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<String>>>,
}

impl Lifecycle {
    /// A lifecycle with no tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process should finish what it does and stop.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when it should stop at once.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Runs a task for the life of the process. Ending before the soft stop, with or without an error or by a panic,
    /// brings the process down: nothing may silently stop working.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let life = self.clone();
        let guarded = async move {
            let ended = tokio::select! {
                ended = AssertUnwindSafe(task).catch_unwind() => {
                    ended.unwrap_or_else(|panic| Err(anyhow::anyhow!("panic: {}", said(&*panic))))
                }
                () = life.hard.cancelled() => Ok(()),
            };
            if !life.soft.is_cancelled() {
                let why = ended.err().map_or("it ended".to_owned(), |error| format!("{error:#}"));
                life.fail(format!("task `{name}` stopped: {why}"));
            }
        };
        self.detach(guarded.instrument(tracing::info_span!("task", name)));
    }

    /// Runs a task that may end whenever it likes, such as one connection or one run.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tasks.track_future(task));
    }

    /// Stops softly on the first SIGTERM or SIGINT, hard on the second.
    #[allow(clippy::disallowed_methods, reason = "a task that a soft stop must not wait for")]
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let life = self.clone();
        tokio::spawn(async move {
            for stop in [&life.soft, &life.hard] {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                stop.cancel();
            }
        });
        Ok(())
    }

    /// Asks every task to finish.
    pub fn shutdown(&self) {
        self.soft.cancel();
    }

    /// Records why the process cannot go on, and asks every task to finish.
    pub fn fail(&self, why: String) {
        tracing::error!(why, "stopping");
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.soft.cancel();
    }

    /// Waits for the soft stop, then for the tasks, at most `grace`; then stops the rest hard. The error is why the
    /// process failed, if it did.
    pub async fn wait(&self, grace: Duration) -> Result<(), String> {
        self.soft.cancelled().await;
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = tokio::time::sleep(grace) => tracing::warn!("tasks did not finish in time"),
            () = self.hard.cancelled() => {}
        }
        self.hard.cancel();
        if tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks are left behind");
        }
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

/// Serves HTTP until the soft stop, then lets open requests end; endless ones (streams) end with the hard stop.
pub fn serve(name: &'static str, listener: TcpListener, router: Router, life: &Lifecycle) {
    let (soft, conns) = (life.soft(), life.clone());
    life.spawn(name, async move {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = soft.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors or a connection that died early: neither ends the service.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let linger = conns.clone();
            let service = TowerToHyperService::new(tower::ServiceExt::map_request(
                router.clone(),
                move |mut request: http::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
                    request.map(|body| axum::body::Body::new(Lingering::new(body, linger.clone())))
                },
            ));
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let connection =
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let watched = graceful.watch(connection);
            conns.detach(async move {
                // A client that hangs up is no event.
                let _ = watched.await;
            });
        }
        drop(listener);
        graceful.shutdown().await;
        Ok(())
    });
}
