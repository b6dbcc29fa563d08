//! Who is to blame for a failed statement, when it is neither the statement nor the data that is stored.

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

/// Whether Postgres refuses what the statement says, now and whenever it is said again: data, constraints, syntax, rights
/// and limits (a key too long for its index). Everything else passes with time: a restart, a deadlock, a full disk.
pub fn is_refused(error: &sqlx::Error) -> bool {
    const FINAL: [&str; 6] = ["21", "22", "23", "42", "44", "54"];
    matches!(error, sqlx::Error::Encode(_))
        || has_code(error, |code| FINAL.iter().any(|class| code.starts_with(class)))
}

fn has_code(error: &sqlx::Error, fits: impl FnOnce(&str) -> bool) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| fits(&code))
}
