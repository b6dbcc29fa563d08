//! What the binary does before a platform has anybody in it.

use anyhow::Context as _;
use dbutil::Db;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use servicekit::PublicKey;
use shared_models::{TeamId, TenantId, UserId};

use crate::{
    Error,
    found_tenant::{Founding, is_slug, slug_of},
    key::{self, NewKey},
    origin::Origin,
    store::{self, audit::By},
};

/// The first administrator and their tenant.
#[derive(Clone, Debug)]
pub struct BootstrapRequest {
    /// The administrator's address.
    pub email: String,
    /// The tenant's name; its slug, made from this, tells whether it is there already.
    pub tenant: String,
}

/// What is there now.
#[derive(Debug)]
pub struct Bootstrapped {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The administrator, an owner of the tenant.
    pub user_id: UserId,
    /// The tenant's default team.
    pub team_id: TeamId,
    /// The administrator's first key; only when the tenant was made just now.
    pub api_key: Option<SecretString>,
}

/// Makes the services' public keys the ones their tokens are verified with. Other keys of the same services are
/// honoured for another hour.
pub async fn register_keys(db: &Db, keys: &[PublicKey]) -> anyhow::Result<()> {
    let mut tx = db.system("the services' public keys").await?;
    for key in keys {
        store::signing_key::put(&mut tx, key).await?;
        store::signing_key::retire_others(&mut tx, key).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Makes sure that there is a platform administrator with a tenant. Doing it again changes nothing.
pub async fn bootstrap(db: &Db, request: BootstrapRequest) -> anyhow::Result<Bootstrapped> {
    let email = request.email.trim().to_lowercase();
    let slug = slug_of(&request.tenant);
    anyhow::ensure!(is_slug(&slug), "the tenant's name needs a letter or digit of ASCII");
    anyhow::ensure!(email.contains('@'), "`{email}` is not an e-mail address");

    let called = email.split('@').next().unwrap_or(&email).to_owned();
    let mut tx = db.system("the first administrator").await?;
    let user_id = store::user::find_or_insert(&mut tx, &email, &called).await?;
    store::platform_admin::insert(&mut tx, user_id).await?;
    let existing = store::tenant::find_by_slug(&mut tx, &slug).await?;
    tx.commit().await?;
    if let Some(tenant) = existing {
        return known(db, tenant, user_id).await;
    }

    let id = TenantId::mint();
    let founding =
        Founding { kind: "organization", name: request.tenant, slug, owner_email: email };
    let mut tx = db.begin(id).await?;
    let by = By { actor: "platform", origin: &Origin::default() };
    match founding.carry_out(&mut tx, id, by).await {
        Ok(founded) => {
            tx.commit().await?;
            Ok(Bootstrapped {
                tenant_id: id,
                user_id,
                team_id: founded.team,
                api_key: Some(founded.key),
            })
        }
        // Somebody else was doing the same and was faster.
        Err(Error::SlugTaken(slug)) => {
            drop(tx);
            let mut tx = db.system("the first administrator").await?;
            let tenant = store::tenant::find_by_slug(&mut tx, &slug).await?;
            tx.commit().await?;
            known(db, tenant.context("the tenant is gone again")?, user_id).await
        }
        Err(error) => Err(error.into()),
    }
}

/// A key that acts as the administrator: the one that was kept, or another when that is lost or good no more.
pub async fn working_key(
    db: &Db,
    made: &Bootstrapped,
    kept: Option<SecretString>,
) -> anyhow::Result<SecretString> {
    if let Some(kept) = kept
        && let Some(hash) = key::parse(kept.expose_secret())
    {
        let mut tx = db.system("is the first administrator's key still good?").await?;
        let found = store::api_key::resolve(&mut tx, hash).await?;
        tx.commit().await?;
        if found.is_some_and(|of| (of.tenant, of.user) == (made.tenant_id, made.user_id)) {
            return Ok(kept);
        }
    }
    let new = NewKey::generate();
    let mut tx = db.begin(made.tenant_id).await?;
    let whose = (made.tenant_id, made.user_id);
    let key =
        store::api_key::insert(&mut tx, whose, "in place of a lost key", &new, None, None).await?;
    let by = By { actor: "platform", origin: &Origin::default() };
    let detail = json!({ "user_id": made.user_id, "prefix": key.prefix, "scopes": key.scopes });
    store::audit::append(&mut tx, made.tenant_id, by, "api_key.created", key.id, &detail).await?;
    tx.commit().await?;
    Ok(new.secret)
}

async fn known(db: &Db, tenant_id: TenantId, user_id: UserId) -> anyhow::Result<Bootstrapped> {
    let mut tx = db.begin(tenant_id).await?;
    let member = store::membership::find(&mut tx, user_id).await?;
    let team_id = store::team::find_default(&mut tx).await?;
    tx.commit().await?;
    anyhow::ensure!(
        member.is_some(),
        "the tenant exists, and the administrator is no member of it"
    );
    Ok(Bootstrapped { tenant_id, user_id, team_id, api_key: None })
}
