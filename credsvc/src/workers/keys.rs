//! Unwrapped keys leave the memory when their time is over, also while nobody asks for anything.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::vault::Vault;

const EVERY: Duration = Duration::from_secs(5);

/// Wipes until the token is cancelled.
pub(crate) async fn run(vault: Vault, token: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = turn.tick() => vault.sweep(),
        }
    }
}
