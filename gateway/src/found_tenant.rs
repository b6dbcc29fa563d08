//! How a tenant comes to be: with its default team, its first owner and that owner's first key, all in one transaction.

use dbutil::TenantTx;
use secrecy::SecretString;
use serde_json::json;
use shared_models::{Role, TeamId, TenantId, UserId, events::tenant::TenantCreated};

use crate::{
    Error,
    key::NewKey,
    store::{self, audit::By, tenant::NewTenant},
};

/// A tenant to be, with everything checked.
#[derive(Debug)]
pub(crate) struct Founding {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) owner_email: String,
}

/// What came to be.
pub(crate) struct Founded {
    pub(crate) owner: UserId,
    pub(crate) team: TeamId,
    pub(crate) key: SecretString,
}

impl Founding {
    /// Does it, in a transaction that sees the new tenant. Ring the relay after the commit.
    pub(crate) async fn carry_out(
        &self,
        tx: &mut TenantTx,
        id: TenantId,
        by: By<'_>,
    ) -> Result<Founded, Error> {
        let new = NewTenant {
            kind: self.kind,
            slug: &self.slug,
            name: &self.name,
            contact_email: &self.owner_email,
        };
        store::tenant::insert(tx, id, &new).await?;
        let called = self.owner_email.split('@').next().unwrap_or(&self.owner_email);
        let owner = store::user::find_or_insert(tx, &self.owner_email, called).await?;
        store::membership::insert(tx, id, owner, Role::Owner, true).await?;
        let team = store::team::insert(tx, id, "Everyone", true).await?.id;
        store::team_member::insert(tx, id, team, owner).await?;
        let key = NewKey::generate();
        store::api_key::insert(tx, (id, owner), "first key", &key, None, None).await?;
        let detail = json!({ "owner_id": owner, "key_prefix": key.prefix });
        store::audit::append(tx, id, by, "tenant.created", id, &detail).await?;
        store::tenant::announce(tx, &TenantCreated { tenant_id: id, owner }).await?;
        Ok(Founded { owner, team, key: key.secret })
    }
}

/// A slug made from a name; empty when nothing of the name can be used.
pub(crate) fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(63);
    slug.trim_end_matches('-').to_owned()
}

/// Whether a slug may be stored.
pub(crate) fn is_slug(slug: &str) -> bool {
    (1..=63).contains(&slug.len())
        && !slug.starts_with('-')
        && !slug.ends_with('-')
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_made_of_what_addresses_can_hold() {
        for (name, slug) in
            [("Acme, Inc.", "acme-inc"), ("  Home  ", "home"), ("Ünï 42", "n-42"), ("§§", "")]
        {
            assert_eq!(slug_of(name), slug, "{name}");
        }
        assert!(is_slug(&slug_of(&"long ".repeat(40))));
        assert!(!is_slug(""));
        assert!(!is_slug("-a"));
    }
}
