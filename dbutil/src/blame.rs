//! Who is to blame for a failed statement, when it is neither the statement nor the data that is stored.

use std::{io::ErrorKind, time::Duration};

/// Whether the database cannot be used right now: a passing state.
pub fn is_down(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, too few resources, and shut-downs.
        error => has_code(error, |code| {
            code.starts_with("08") || code.starts_with("53") || code.starts_with("57P")
        }),
    }
}

/// Whether a value from outside is one that Postgres cannot hold: a text with NUL, or a time out of range.
pub fn is_unstorable(error: &sqlx::Error) -> bool {
    has_code(error, |code| matches!(code, "22021" | "22P05" | "22008"))
}

/// Whether Postgres refuses what a row says, now and whenever it is said again: data, constraints, a row of another
/// tenant, limits (a key too long for its index). Everything else passes with time: a restart, a deadlock, a full disk,
/// and a table or a right (class 42) that is missing while versions change. Of a group of rows, some one is at fault.
pub fn is_refused(error: &sqlx::Error) -> bool {
    const FINAL: [&str; 5] = ["21", "22", "23", "44", "54"];
    matches!(error, sqlx::Error::Encode(_))
        || has_code(error, |code| FINAL.iter().any(|class| code.starts_with(class)))
}

fn has_code(error: &sqlx::Error, fits: impl FnOnce(&str) -> bool) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| fits(&code))
}

/// Waits for the database no longer than this, and then says that it is away: a host that vanished is otherwise noticed
/// only when the kernel gives up, a quarter of an hour later. What had been sent may still happen; the connection must not
/// be used any more.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::Error::new(ErrorKind::TimedOut, "no answer in time"));
    tokio::time::timeout(limit, work).await.map_err(late)?
}
