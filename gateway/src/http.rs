//! The handlers, one file per thing that can be done.

pub(crate) mod add_member;
pub(crate) mod add_team_member;
pub(crate) mod create_api_key;
pub(crate) mod create_team;
pub(crate) mod create_tenant;
pub(crate) mod find_member;
pub(crate) mod get_me;
pub(crate) mod get_member;
pub(crate) mod get_team;
pub(crate) mod get_tenant;
pub(crate) mod list_api_keys;
pub(crate) mod list_audit;
pub(crate) mod list_keys;
pub(crate) mod list_members;
pub(crate) mod list_team_members;
pub(crate) mod list_teams;
pub(crate) mod list_tenants;
pub(crate) mod remove_member;
pub(crate) mod remove_team_member;
pub(crate) mod revoke_api_key;
pub(crate) mod update_member;
pub(crate) mod update_team;
pub(crate) mod update_tenant;

use servicekit::{Caller, FieldError};
use shared_models::{Role, UserId};

use crate::{Error, origin::Origin, store::membership::Member};

/// A name that may be stored, trimmed.
fn name(pointer: &str, text: &str, errors: &mut Vec<FieldError>) -> String {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.contains('\0') {
        errors.push(FieldError::new(pointer, "1 to 200 characters without NUL"));
    }
    text.to_owned()
}

/// An e-mail address in the one form that is stored: lowercase. Whether mail arrives there, only mail tells.
fn email(pointer: &str, text: &str, errors: &mut Vec<FieldError>) -> String {
    let text = text.trim().to_lowercase();
    let printable = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    let good = match text.split_once('@') {
        Some((local, domain)) => {
            printable && !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        }
        None => false,
    };
    if !good || text.chars().count() > 254 {
        errors.push(FieldError::new(pointer, "an e-mail address of at most 254 characters"));
    }
    text
}

/// A person's name when none is given: what is before the @.
fn name_of_email(email: &str) -> String {
    email.split('@').next().unwrap_or(email).chars().take(200).collect()
}

/// All that was found wrong, or nothing.
fn all_right(errors: Vec<FieldError>) -> Result<(), Error> {
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// Only owners make, change and remove owners.
fn check_may_change<S>(caller: &Caller<S>, present: Role, wanted: Role) -> Result<(), Error> {
    let about_owners = present == Role::Owner || wanted == Role::Owner;
    if about_owners && caller.role != Some(Role::Owner) { Err(Error::OwnersOnly) } else { Ok(()) }
}

/// A member, or a 404 that names them.
fn found(member: Option<Member>, user: UserId) -> Result<Member, Error> {
    member.ok_or(Error::NoMember(user))
}

/// Who changes something, for the audit.
struct Changer {
    actor: String,
    origin: Origin,
}

impl Changer {
    fn new<S>(caller: &Caller<S>, origin: Origin) -> Self {
        Self { actor: caller.principal(), origin }
    }

    fn by(&self) -> crate::store::audit::By<'_> {
        crate::store::audit::By { actor: &self.actor, origin: &self.origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_stored_in_one_form_or_refused() {
        let mut errors = Vec::new();
        assert_eq!(email("/email", " Ann@Example.COM ", &mut errors), "ann@example.com");
        assert_eq!(errors, []);

        for text in ["", "ann", "@x", "ann@", "a@b@c", "a b@c", "a\0@c"] {
            let mut errors = Vec::new();
            email("/email", text, &mut errors);
            assert_eq!(errors.len(), 1, "{text}");
        }
    }
}
