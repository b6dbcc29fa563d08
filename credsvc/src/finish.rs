//! The end of connecting an account: tokens for a code, kept as a credential.

use dbutil::TenantTx;
use secrecy::SecretString;
use shared_models::{
    CredentialId,
    events::credential::{CredentialCreated, CredentialUpdated},
};
use tokio::time::Instant;

use crate::{
    App, Error,
    audit::{self, Action, Entry},
    fields::Fields,
    oauth::{
        answer::{Refusal, Tokens},
        client::{self, Failed, Form},
        connect,
        provider::Provider,
        question::{endpoint, put_tokens, renew_in},
        renew::well_again,
    },
    origin::Origin,
    store::{
        self,
        connect_session::ConnectSession,
        credential::{Connection, Credential, NewCredential, Terms},
        provider_config::ProviderConfig,
        refresh::Settled,
    },
    vault::{TenantKey, VaultError, Whose},
};

/// What came back from the provider.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) state: String,
}

/// Connects, and notes in the session and the audit how it went. The session's state is taken already.
pub(crate) async fn finish(
    app: &App,
    origin: &Origin,
    session: &ConnectSession,
    way: Way,
) -> Result<CredentialId, Error> {
    let entry =
        Entry::own(Action::Connect, "an account was connected").from(origin, session.created_by);
    let ended = match tokens(app, session, &way).await {
        Ok((config, tokens, lived)) => {
            let kept = keep(app, session, &config, &tokens, lived, entry.clone()).await;
            if matches!(kept, Err(Error::NoSession)) {
                drop_tokens(app, &config, &tokens).await;
            }
            kept
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &ended {
        let (_, reason) = error.told();
        let mut tx = app.db.begin(session.tenant_id).await?;
        store::connect_session::end(&mut tx, session.id, Err(reason)).await?;
        audit::append(&mut tx, entry.ended(error)).await?;
        tx.commit().await?;
    }
    ended
}

async fn tokens(
    app: &App,
    session: &ConnectSession,
    way: &Way,
) -> Result<(ProviderConfig, Tokens, f64), Error> {
    let refused = |why: &str| Error::ConnectRefused(why.to_owned());
    let mut tx = app.db.begin(session.tenant_id).await?;
    let config = store::provider_config::find(&mut tx, session.provider_config_id).await?;
    drop(tx);
    let config = config.ok_or_else(|| refused("the OAuth client is gone"))?;
    let provider = Provider::of(&config.provider, &config.settings)?;
    // Who answers must be who was asked (RFC 9207), when both say who that is.
    if let (Some(issuer), Some(said)) = (&provider.issuer, &way.issuer)
        && issuer != said
    {
        return Err(refused("the answer came from another issuer"));
    }
    if way.error.is_some() {
        return Err(refused("the provider, or the person, said no"));
    }
    let code = way.code.as_deref().ok_or_else(|| refused("there is no code"))?;
    let version = connect::key_of(&way.state).ok_or(Error::NoSession)?;
    // The key that its secrets are made of may have been retired while the person was away: they begin again.
    let key = app.keys.get(session.tenant_id, version).await.map_err(|error| match error {
        Error::Unreadable(VaultError::NoTenantKey(_)) => Error::NoSession,
        error => error,
    })?;
    let mut form: Form<'_> = vec![
        ("grant_type", "authorization_code".into()),
        ("code", code.into()),
        ("redirect_uri", app.callback_url()?.as_str().into()),
    ];
    if provider.uses_pkce() {
        form.push(("code_verifier", connect::verifier(&key, &way.state).into()));
    }
    let endpoint = endpoint(&app.keys, &config, &provider).await?;
    let asked = Instant::now();
    match client::ask(&app.egress, &endpoint, form, app.oauth_timeout).await {
        Ok(tokens) => Ok((config, tokens, asked.elapsed().as_secs_f64())),
        // A code is good once: what was lost is lost, and the person tries again.
        Err(Failed::Lost(code) | Failed::Refused(Refusal::Passing(code))) => {
            Err(Error::ProviderDown(code))
        }
        Err(Failed::Refused(Refusal::Client(code))) => Err(Error::ProviderRefused(code)),
        Err(Failed::Refused(Refusal::Dead(code))) => Err(Error::ConnectRefused(code)),
    }
}

/// The session was ended while its tokens were got: nobody has them, and nobody shall.
async fn drop_tokens(app: &App, config: &ProviderConfig, tokens: &Tokens) {
    let mut fields = Fields::none();
    put_tokens(&mut fields, tokens);
    if let Err(error) = app.renewer.take_back(config, &fields).await {
        tracing::info!(%error, "a provider was not told that its tokens are not used");
    }
}

/// Keeps the tokens as a new credential, or as the new secret of the one that is connected again.
async fn keep(
    app: &App,
    session: &ConnectSession,
    config: &ProviderConfig,
    tokens: &Tokens,
    lived: f64,
    entry: Entry,
) -> Result<CredentialId, Error> {
    // Sealed again when the tenant's key, or the credential, changed meanwhile.
    const ATTEMPTS: u32 = 5;
    let connection = Connection {
        provider_config_id: Some(config.id),
        account: tokens.account.clone(),
        scopes: tokens.scopes.clone().unwrap_or_else(|| session.scopes.clone()),
        lives: tokens.lives.map(|lives| (lives - lived).max(0.0)),
        renew_in: tokens.refresh.as_ref().map(|_| renew_in(tokens.lives, lived)),
        begun_at: Some(session.created_at),
    };
    let mut last = Error::Changed;
    for _ in 0..ATTEMPTS {
        let kept = match session.credential_id {
            Some(id) => again(app, session, id, tokens, &connection, entry.clone()).await,
            None => new(app, session, tokens, &connection, entry.clone()).await,
        };
        match kept {
            Err(error @ Error::Changed) => last = error,
            kept => return kept,
        }
    }
    Err(last)
}

/// A transaction to seal in, in which nobody ends the session; refused when somebody has. The session is held first, as
/// by whoever hears that its user has left.
async fn begin(app: &App, session: &ConnectSession) -> Result<(TenantTx, TenantKey), Error> {
    let key = app.keys.active(session.tenant_id).await?;
    let mut tx = app.db.begin(session.tenant_id).await?;
    if !store::connect_session::hold(&mut tx, session.id).await? {
        return Err(Error::NoSession);
    }
    app.keys.hold(&mut tx, &key).await?;
    Ok((tx, key))
}

async fn new(
    app: &App,
    session: &ConnectSession,
    tokens: &Tokens,
    connection: &Connection,
    entry: Entry,
) -> Result<CredentialId, Error> {
    let mut fields = Fields::none();
    put_tokens(&mut fields, tokens);
    let (mut tx, key) = begin(app, session).await?;
    let whose = Whose {
        tenant: session.tenant_id,
        credential: CredentialId::mint(),
        user: session.user_id,
        version: 1,
    };
    let sealed = key.seal(&whose, &fields.to_bytes()?)?;
    let row = NewCredential {
        whose,
        name: &session.name,
        kind: &session.kind,
        environment: session.environment,
        meta: &session.meta,
        mask: &fields.mask(),
        sealed: &sealed,
        created_by: session.created_by,
        terms: &Terms { allowed_hosts: session.allowed_hosts.clone(), ..Terms::default() },
        connection: Some(connection),
    };
    store::credential::insert(&mut tx, &row).await?;
    let (credential_id, user_id) = (whose.credential, whose.user);
    pubsub::emit(&mut tx, &CredentialCreated { credential_id, user_id, version: 1 }).await?;
    store::connect_session::end(&mut tx, session.id, Ok(credential_id)).await?;
    audit::append(&mut tx, entry.about(credential_id)).await?;
    tx.commit().await?;
    Ok(credential_id)
}

async fn again(
    app: &App,
    session: &ConnectSession,
    id: CredentialId,
    tokens: &Tokens,
    connection: &Connection,
    entry: Entry,
) -> Result<CredentialId, Error> {
    let mut tx = app.db.begin(session.tenant_id).await?;
    let from = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    drop(tx);
    let mut fields = Fields::none();
    keep_settings(app, &from, &mut fields).await;
    put_tokens(&mut fields, tokens);
    let (mut tx, key) = begin(app, session).await?;
    let whose = Whose { version: from.version + 1, ..from.whose() };
    let sealed = key.seal(&whose, &fields.to_bytes()?)?;
    let (mask, how) = (fields.mask(), Settled::Reconnected);
    let settled = store::refresh::settle(&mut tx, &from, &sealed, &mask, connection, how).await?;
    let before = settled.ok_or(Error::Changed)?;
    let (user_id, version) = (from.user_id, from.version + 1);
    pubsub::emit(&mut tx, &CredentialUpdated { credential_id: id, user_id, version }).await?;
    if how.heals(before) {
        pubsub::emit(&mut tx, &well_again(&from, "reconnected")).await?;
    }
    store::connect_session::end(&mut tx, session.id, Ok(id)).await?;
    audit::append(&mut tx, entry.about(id)).await?;
    tx.commit().await?;
    Ok(id)
}

/// What somebody set besides tokens stays. A secret that does not open any more is replaced all the same.
async fn keep_settings(app: &App, from: &Credential, fields: &mut Fields) {
    use secrecy::ExposeSecret as _;
    let Ok(before) = app.keys.unseal(from).await else { return };
    let base: Option<SecretString> = before.text("base_url");
    if let Some(base) = base {
        fields.set("base_url", base.expose_secret());
    }
}
