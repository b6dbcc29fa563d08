//! Unwrapped keys leave the memory when their time is over, also while nobody asks for anything; and root keys on other
//! machines stay within reach.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::App;

const EVERY: Duration = Duration::from_secs(5);

/// Wipes and tends until the token is cancelled.
pub(crate) async fn run(app: App, token: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let tended = async {
            turn.tick().await;
            app.tend_keys().await;
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = tended => {}
        }
    }
}
