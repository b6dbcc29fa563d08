//! Whose turn it is in a conversation, and what it remembers of those that had theirs.
//!
//! One run at a time is under way; what the ended ones said is taken up in the order of their turns, and only then the
//! next one begins, with all of it. Every decision is made under the lock of the conversation's row, and can be made again:
//! whoever ends a run does it, and the sweeper for whoever died before they could.

use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::{ConversationId, RunId, TenantId, UserId, WhenBusy};

use crate::app::App;
use crate::committer::printable;
use crate::create::Place;
use crate::error::Error;
use crate::snapshot::Recalled;
use crate::store::signal::{self, Signal};
use crate::store::turn::{self, Turn};
use crate::store::{conversation, conversation_message, queue, signal_many};
use crate::transcript;

/// A run's place in a conversation, what it is told, and which runs it interrupts.
pub(crate) struct Joined {
    pub(crate) place: Place,
    pub(crate) recalled: Recalled,
    /// To be woken after the commit.
    pub(crate) interrupted: Vec<RunId>,
}

/// Joins a conversation, as the caller wants it when another run is under way.
pub(crate) async fn join(
    tx: &mut TenantTx,
    id: ConversationId,
    by: UserId,
    when_busy: WhenBusy,
) -> Result<Joined, Error> {
    let messages = conversation::hold(tx, id).await?.ok_or(Error::ConversationNotFound(id))?;
    let settled = settle_held(tx, id, messages).await?;
    let busy = !settled.under_way.is_empty();
    let interrupted = match when_busy {
        WhenBusy::Reject if busy => return Err(Error::ConversationBusy),
        WhenBusy::Enqueue | WhenBusy::Reject => Vec::new(),
        WhenBusy::Interrupt | WhenBusy::Rollback => {
            let fate = if when_busy == WhenBusy::Rollback { Fate::Forgotten } else { Fate::Kept };
            stop(tx, &settled.under_way, (by, "somebody spoke over it"), fate).await?
        }
    };
    let turn = conversation::next_turn(tx, id).await?;
    let recalled = if busy {
        Recalled { conversation_id: id, range: None, summary: None }
    } else {
        conversation_message::recalled(tx, id, settled.messages).await?
    };
    Ok(Joined { place: Place { conversation: id, turn, waits: busy }, recalled, interrupted })
}

/// What becomes of what was said in a run that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Forgotten,
}

/// Cancels runs that are under way; gives those that have not ended meanwhile.
pub(crate) async fn stop(
    tx: &mut TenantTx,
    under_way: &[Turn],
    (by, reason): (UserId, &str),
    fate: Fate,
) -> Result<Vec<RunId>, Error> {
    let open = under_way.iter().filter(|turn| !turn.has_ended()).map(|turn| turn.run);
    let stopped = signal_many::hold_all(tx, open.collect()).await?;
    for run in &stopped {
        if fate == Fate::Forgotten {
            turn::roll_back(tx, *run).await?;
        }
        let reason = reason.to_owned();
        signal::insert(tx, *run, &Signal::Cancel { by: Some(by), reason }).await?;
        queue::rouse(tx, *run).await?;
    }
    Ok(stopped)
}

/// Takes up what has ended in a conversation and lets the next run begin.
pub(crate) async fn settle(app: &App, tenant: TenantId, id: ConversationId) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    let Some(messages) = conversation::hold(&mut tx, id).await? else { return Ok(()) };
    let settled = settle_held(&mut tx, id, messages).await?;
    tx.commit().await?;
    if let Some(run) = settled.begun {
        app.bell.ring_for(run).await;
        app.bell.ring().await;
    }
    Ok(())
}

struct Settled {
    /// How many messages the conversation remembers.
    messages: i64,
    /// In the order of their turns.
    under_way: Vec<Turn>,
    /// The run whose turn it has become.
    begun: Option<RunId>,
}

async fn settle_held(
    tx: &mut TenantTx,
    id: ConversationId,
    mut messages: i64,
) -> Result<Settled, Error> {
    let mut open = turn::open(tx, id).await?.into_iter().peekable();
    while let Some(ended) = open.next_if(Turn::has_ended) {
        if !ended.rolled_back {
            let said = said(tx, &ended).await?;
            if let Some((summary, upto)) = said.summary.filter(|_| said.told_upto == Some(messages))
            {
                conversation::sum_up(tx, id, &summary, upto).await?;
            }
            if !said.messages.is_empty() {
                messages = conversation_message::append(tx, id, ended.run, &said.messages).await?;
            }
        }
        turn::remembered(tx, ended.run).await?;
    }
    let next = open.peek().filter(|next| next.waits_for_its_turn()).map(|next| next.run);
    if let Some(next) = next {
        let recalled = conversation_message::recalled(tx, id, messages).await?;
        turn::begin(tx, next, &recalled).await?;
    }
    Ok(Settled {
        messages,
        under_way: open.filter(|turn| !turn.has_ended()).collect(),
        begun: next,
    })
}

/// What a run that has ended leaves to its conversation.
#[derive(Default)]
struct Said {
    /// Beyond what it was told of others.
    messages: Vec<Vec<u8>>,
    /// Of how many messages of the conversation it was told.
    told_upto: Option<i64>,
    /// What it has made of the oldest, and the number of the first message that this does not stand for.
    summary: Option<(String, i64)>,
}

/// What was said in a run that has ended. One that was given up because nobody could read it has said nothing.
async fn said(tx: &mut TenantTx, turn: &Turn) -> Result<Said, Error> {
    let (snapshot, told) = match transcript::read(tx, turn.run, turn.root).await {
        Ok(read) => read,
        Err(Error::RunPruned(_)) => return Ok(Said::default()),
        Err(Error::Internal(error)) => {
            tracing::warn!(%error, run.id = %turn.run, "what a run has said cannot be read");
            return Ok(Said::default());
        }
        Err(error) => return Err(error),
    };
    let history = snapshot.history.len();
    let told_upto = snapshot.recalled.and_then(|recalled| recalled.range).map(|(_, upto)| upto);
    let conversation = told.alone();
    let made = conversation.summary().filter(|summary| summary.messages > 0);
    // Its first message has the number of the oldest one that it was told of.
    let summary = made.zip(told_upto).map(|(summary, upto)| {
        (printable(&summary.text), upto - history as i64 + summary.messages as i64)
    });
    let own = told.messages().into_iter().skip(history);
    let messages = own.map(|message| serde_json::to_vec(&message).context("a message"));
    Ok(Said { messages: messages.collect::<Result<_, _>>()?, told_upto, summary })
}
