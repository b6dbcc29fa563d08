//! Calls that cannot be made before somebody connects a credential again. Nothing of them has left, so they are made anew
//! when the run is woken; see [`crate::reconnect`].

use std::collections::BTreeMap;

use super::{Cx, Run};
use crate::clients::credsvc::Needed;
use crate::error::Error;
use crate::reconnect;
use crate::store::auth_wait;

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
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    auth_wait::replace(&mut tx, cx.claimed.run, needs).await?;
    Ok(tx.commit().await?)
}

/// Looks once more when the run is at rest: what was connected again a moment before has woken nobody. Should that fail,
/// the sweep looks.
pub(super) async fn look_again(cx: &Cx<'_>, needs: &[Needed]) {
    for Needed { credential_id, .. } in needs {
        if let Err(error) = reconnect::look(cx.app, cx.claimed.tenant, *credential_id).await {
            tracing::warn!(%error, credential.id = %credential_id, "nobody says how the credential is; the sweep asks again");
        }
    }
}
