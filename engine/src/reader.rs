//! Reads runs in groups: whoever waits for one reads it in the same moment as everybody else.

use std::collections::HashMap;
use std::time::Duration;

use dbutil::{Seat, within};
use shared_models::{RunId, TenantId};
use tokio::sync::{mpsc, oneshot};

use crate::app::App;
use crate::store::run::{self, Row};

/// Why a run was not read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the database is not available: {0}")]
pub(crate) struct ReadError(String);

type Answer = Result<Option<Row>, ReadError>;

struct Question {
    tenant: TenantId,
    run: RunId,
    done: oneshot::Sender<Answer>,
}

/// Where questions are left. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reader(mpsc::Sender<Question>);

/// Questions that [`run`] answers.
pub(crate) struct Questions(mpsc::Receiver<Question>);

const GROUP: usize = 256;
/// What takes longer than this was lost on its way to the database.
const LIMIT: Duration = Duration::from_secs(10);

impl Reader {
    pub(crate) fn new() -> (Self, Questions) {
        let (sender, queue) = mpsc::channel(GROUP * 4);
        (Self(sender), Questions(queue))
    }

    /// The run, if there is one in the tenant. Whether the caller may see it is for `Viewer` to say.
    pub(crate) async fn find(&self, tenant: TenantId, run: RunId) -> Answer {
        let ended = || ReadError("the process stops".into());
        let (done, answer) = oneshot::channel();
        self.0.send(Question { tenant, run, done }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Answers until the process stops and no run is waited for any more.
pub(crate) async fn run(app: App, Questions(mut queue): Questions) -> anyhow::Result<()> {
    let mut seat = Seat::new("engine", "engine reader", &app.db_config)?;
    let mut questions = Vec::with_capacity(GROUP);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut questions, GROUP) => taken,
            () = app.drained() => 0,
        };
        if taken == 0 {
            return Ok(());
        }
        let answers = within(LIMIT, read(&mut seat, &questions)).await;
        if answers.is_err() {
            seat.give_up();
        }
        for question in questions.drain(..) {
            let answer = match &answers {
                Ok(rows) => Ok(rows.get(&(question.tenant, question.run)).cloned()),
                Err(error) => Err(ReadError(error.to_string())),
            };
            let _ = question.done.send(answer);
        }
    }
}

async fn read(
    seat: &mut Seat,
    questions: &[Question],
) -> Result<HashMap<(TenantId, RunId), Row>, sqlx::Error> {
    let mut tenants: Vec<TenantId> = questions.iter().map(|question| question.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let runs: Vec<RunId> = questions.iter().map(|question| question.run).collect();
    let rows = run::find_many(seat.take(&tenants).await?, &tenants, &runs).await?;
    Ok(rows.into_iter().map(|row| ((row.tenant_id, row.run_id), row)).collect())
}
