//! Calls that cannot be made before somebody connects a credential again. Nothing of them has left, so they are made anew
//! when it may be asked for: by a run at rest when it is woken, and by a member of a tree that others work beside when it is
//! told; see [`crate::reconnect`].

use std::collections::BTreeMap;

use agentcore::ToolCall;
use shared_models::CredentialId;

use super::{Cx, Run};
use crate::clients::credsvc::Needed;
use crate::error::Error;
use crate::reconnect;
use crate::store::{auth_wait, queue};

/// Where the model's need is kept among those of calls, none of which has an empty id.
pub(super) const MODEL: &str = "";

/// The credentials that these conversations wait for, each once.
pub(super) fn needs<'r>(runs: impl Iterator<Item = &'r Run>) -> Vec<Needed> {
    let all = runs.flat_map(|run| run.needs.values());
    let once: BTreeMap<_, _> = all.map(|needed| (needed.credential_id.uuid(), needed)).collect();
    once.into_values().cloned().collect()
}

/// Writes down what the run is about to wait for, before it does: whoever connects a credential again finds the run.
pub(super) async fn remember(cx: &Cx<'_>, needs: &[Needed]) -> Result<(), Error> {
    if needs.is_empty() {
        return Ok(());
    }
    write(cx, needs).await
}

/// Writes down what some of a tree wait for while others work. Looks once more then: what was connected again a moment
/// before has told nobody. Should that fail, the sweep looks.
pub(super) async fn remember_beside(cx: &Cx<'_>, needs: &[Needed]) -> Result<(), Error> {
    write(cx, needs).await?;
    look(cx, needs).await;
    Ok(())
}

/// Takes away what was written down of a run that waits for no credential any more.
pub(super) async fn forget(cx: &Cx<'_>) -> Result<(), Error> {
    write(cx, &[]).await
}

async fn write(cx: &Cx<'_>, needs: &[Needed]) -> Result<(), Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    auth_wait::replace(&mut tx, cx.claimed.run, needs).await?;
    Ok(tx.commit().await?)
}

/// Looks once more when the run is at rest: what was connected again a moment before has found it at work, if anything.
pub(super) async fn look_again(cx: &Cx<'_>, needs: &[Needed]) {
    if !look(cx, needs).await {
        return;
    }
    let woken = async {
        let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
        queue::wake(&mut tx, cx.claimed.run).await?;
        tx.commit().await
    };
    match woken.await {
        Ok(()) => cx.app.bell.ring_for(cx.claimed.run).await,
        Err(error) => tracing::warn!(%error, "the run is not woken; the sweep sees to it"),
    }
}

/// Whether one of them can be asked for again; tells everybody who waits for it.
async fn look(cx: &Cx<'_>, needs: &[Needed]) -> bool {
    let mut any = false;
    for Needed { credential_id, .. } in needs {
        match reconnect::look(cx.app, cx.claimed.tenant, *credential_id).await {
            Ok(works) => any |= works,
            Err(error) => {
                tracing::warn!(%error, credential.id = %credential_id, "nobody says how the credential is; the sweep asks again");
            }
        }
    }
    any
}

impl Run {
    /// A call that has been begun, and of which nothing has left, waits for a credential.
    pub(super) fn wait_for(&mut self, call_id: &str, needed: Needed) {
        self.begun.insert(call_id.to_owned());
        self.needs.insert(call_id.to_owned(), needed);
    }

    /// Whether the ledger has the call already, from us or from an owner before us.
    pub(super) fn was_begun(&self, cx: &Cx<'_>, call: &ToolCall) -> bool {
        self.begun.contains(&call.id) || self.known.contains_key(&cx.journal.key(&call.id))
    }

    /// Asks again for what needs this credential.
    pub(super) fn ask_again(&mut self, credential: CredentialId) {
        self.needs.retain(|_, needed| needed.credential_id.uuid() != credential.uuid());
    }
}
