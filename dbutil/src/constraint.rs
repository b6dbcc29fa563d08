//! From a violated constraint's name to the error a client can act on.

/// Maps the violation of one named constraint to an error of the caller's.
pub trait OnConstraint<T> {
    /// `error()` when the statement failed because of the constraint `name`; anything else passes through.
    fn on_constraint<E: From<sqlx::Error>>(
        self,
        name: &str,
        error: impl FnOnce() -> E,
    ) -> Result<T, E>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint<E: From<sqlx::Error>>(
        self,
        name: &str,
        error: impl FnOnce() -> E,
    ) -> Result<T, E> {
        self.map_err(|cause| {
            let violated =
                cause.as_database_error().and_then(sqlx::error::DatabaseError::constraint);
            if violated == Some(name) { error() } else { cause.into() }
        })
    }
}
