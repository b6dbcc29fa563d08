//! Whose triggers and deliveries a caller sees: their own, those of their teams' agents, all for administrators.

use servicekit::Caller;
use shared_models::UserId;
use uuid::Uuid;

/// A caller, as the SQL that decides needs them.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// Sees the whole tenant.
    pub admin: bool,
    /// The person; a service sees nothing this way.
    pub user: Option<UserId>,
    /// Their teams.
    pub teams: Vec<Uuid>,
}

impl Viewer {
    pub(crate) fn of<S>(caller: &Caller<S>) -> Self {
        Self {
            admin: caller.is_admin(),
            user: caller.user(),
            teams: caller.teams.iter().map(|team| team.uuid()).collect(),
        }
    }
}
