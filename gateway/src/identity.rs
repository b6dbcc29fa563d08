//! Who a request at the edge is from: an API key, resolved.

use servicekit::{
    Claims,
    scope::{self, PlatformAdmin, Scope as _},
    token,
};
use shared_models::{ApiKeyId, Role, Service, TeamId, TenantId, UserId};

/// The person behind a key, and what the key lets them do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) key: ApiKeyId,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) teams: Vec<TeamId>,
    pub(crate) role: Role,
    pub(crate) scopes: Vec<String>,
    pub(crate) payloads: bool,
}

impl Identity {
    /// What the person says of themselves to one service, signed by the gateway's key.
    pub(crate) fn claims(&self, aud: Service) -> Claims {
        let now = token::unix_now();
        Claims {
            iss: Service::Gateway,
            aud,
            sub: self.user.to_string(),
            exp: now + token::LIFETIME,
            iat: now,
            tenant: self.tenant,
            user: Some(self.user),
            key: Some(self.key),
            teams: self.teams.clone(),
            role: Some(self.role),
            scopes: self.scopes.clone(),
            payloads: self.payloads,
            svc: None,
            purpose: None,
            run: None,
        }
    }
}

/// Everything somebody may do at most.
pub(crate) fn scopes_of(role: Role, platform_admin: bool) -> Vec<String> {
    let mut scopes: Vec<String> = scope::of_role(role).into_iter().map(str::to_owned).collect();
    if platform_admin {
        scopes.push(PlatformAdmin::NAME.to_owned());
    }
    scopes
}

/// What a key allows now: what its user may do, as far as the key goes. A user who lost a role takes it from their keys.
pub(crate) fn effective_scopes(
    role: Role,
    platform_admin: bool,
    of_key: Option<&[String]>,
) -> Vec<String> {
    let mut scopes = scopes_of(role, platform_admin);
    if let Some(of_key) = of_key {
        scopes.retain(|scope| of_key.contains(scope));
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_allows_more_than_its_user_may() {
        let asked = ["runs:write".to_owned(), "members:write".to_owned(), "runs:read".to_owned()];

        let as_admin = effective_scopes(Role::Admin, false, Some(&asked));
        let as_viewer = effective_scopes(Role::Viewer, true, Some(&asked));

        assert_eq!(as_admin, ["runs:read", "runs:write", "members:write"]);
        assert_eq!(as_viewer, ["runs:read"]);
        assert!(effective_scopes(Role::Viewer, true, None).contains(&"platform:admin".to_owned()));
    }
}
