//! Long conversations made shorter: what is said of the oldest messages in their place.

use agentcore::{
    Happened, Message, ModelError, ModelRequest, Progress, Reply, RetryPolicy,
    complete_with_retries,
};

use super::{Said, Unanswered, resolve, spend};
use crate::drive::budget::{self, broke_off};
use crate::drive::{Cx, Run, reconnect};
use crate::error::Error;
use crate::record::Record;

/// Has the oldest messages summarised. Without a summary the run goes on with all of them.
pub(super) async fn summarise(cx: &Cx<'_>, run: &mut Run, upto: usize) -> Result<(), Error> {
    let messages = run.state.summary_prompt(upto);
    match summary(cx, messages).await {
        Err(Unanswered::Short(short)) => {
            run.short.insert(reconnect::MODEL.to_owned(), short);
        }
        Err(Unanswered::Broken(error)) => return Err(error),
        Ok((reply, bound, grant)) if !reply.content.trim().is_empty() => {
            let cost = spend(cx, &bound, &reply, &grant).await;
            let Reply { content: text, usage, .. } = reply;
            let kept = cx.journal.keep(&Message::assistant(&text)).map_err(anyhow::Error::from)?;
            cx.journal.note(Record::Summarised { upto, message: kept, usage, cost });
            run.step(Happened::Summarised { upto, text, usage });
        }
        other => {
            let error = other.err().map_or_else(|| "it is empty".into(), |error| error.to_string());
            cx.journal.note(Record::NotSummarised { error });
            run.step(Happened::NotSummarised);
        }
    }
    Ok(())
}

async fn summary(cx: &Cx<'_>, messages: Vec<Message>) -> Result<Said, Unanswered> {
    let (model, bound) = resolve(cx, &cx.snapshot.model).await?;
    let name = bound.model.clone();
    let mut request = ModelRequest { model: name, messages, ..ModelRequest::default() };
    let mut grant = budget::for_model(cx, &bound, &mut request).await?;
    let failed = |error: &ModelError| {
        if broke_off(error.kind) {
            grant.charge_broken(cx, 0);
        }
    };
    let heard = |progress: Progress| {
        if let Progress::Retrying { error, .. } = &progress {
            failed(error);
        }
    };
    let reply = complete_with_retries(&*model, &request, RetryPolicy::default(), heard).await;
    if let Err(error) = &reply {
        failed(error);
    }
    grant.charge_time(cx);
    Ok((reply?, bound, grant))
}
