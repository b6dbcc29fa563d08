//! Who sees what of a tenant's agents. What somebody may not see answers 404, as if it were not there.

use servicekit::{Caller, Subject};
use shared_models::{AgentScope, TeamId, UserId};
use uuid::Uuid;

/// A person looking at agents and runs.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) user: Option<UserId>,
    /// Administers the tenant, or is a service that answers for itself.
    pub(crate) admin: bool,
    pub(crate) teams: Vec<TeamId>,
}

impl Viewer {
    pub(crate) fn of<S>(caller: &Caller<S>) -> Self {
        Self { user: caller.user(), admin: caller.is_admin(), teams: caller.teams.clone() }
    }

    /// The person a service acts for; a service that acts for nobody sees all of the tenant.
    pub(crate) fn of_subject(subject: Option<&Subject>) -> Self {
        match subject {
            Some(person) => Self {
                user: Some(person.user()),
                admin: person.is_admin(),
                teams: person.teams().to_vec(),
            },
            None => Self { user: None, admin: true, teams: Vec::new() },
        }
    }

    pub(crate) fn sees(&self, scope: AgentScope, owner: UserId, team: Option<TeamId>) -> bool {
        self.owns(owner)
            || (scope == AgentScope::Team && team.is_some_and(|team| self.teams.contains(&team)))
    }

    /// May do what only an owner may: delete, share, take away.
    pub(crate) fn owns(&self, owner: UserId) -> bool {
        self.admin || self.user == Some(owner)
    }

    /// The teams, as SQL takes them.
    pub(crate) fn team_ids(&self) -> Vec<Uuid> {
        self.teams.iter().map(|team| team.uuid()).collect()
    }

    /// The person, as SQL takes them; nobody owns anything under the nil id.
    pub(crate) fn user_id(&self) -> Uuid {
        self.user.map_or_else(Uuid::nil, UserId::uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_seen_by_its_owner_its_team_and_administrators() {
        let (owner, team) = (UserId::mint(), TeamId::mint());
        let viewer = |user, admin, teams: &[TeamId]| Viewer {
            user: Some(user),
            admin,
            teams: teams.to_vec(),
        };
        let stranger = UserId::mint();

        let table = [
            (viewer(owner, false, &[]), true, true),
            (viewer(stranger, false, &[team]), false, true),
            (viewer(stranger, false, &[TeamId::mint()]), false, false),
            (viewer(stranger, true, &[]), true, true),
        ];
        for (viewer, sees_user, sees_team) in table {
            assert_eq!(viewer.sees(AgentScope::User, owner, None), sees_user);
            assert_eq!(viewer.sees(AgentScope::Team, owner, Some(team)), sees_team);
        }
    }
}
