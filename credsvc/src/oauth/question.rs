//! What a renewal asks of whom, and what an answer makes of the secret.

use dbutil::Db;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    answer::Tokens,
    client::{Endpoint, Form},
    provider::{ClientAuth, Provider},
};
use crate::{
    Error,
    fields::Fields,
    keys::Keys,
    store::{
        self,
        credential::{Connection, Credential},
        provider_config::ProviderConfig,
    },
};

/// What is asked of whom.
pub(super) struct Question {
    pub(super) endpoint: Endpoint,
    pub(super) form: Form<'static>,
    /// The secret as it is, to be changed by the answer.
    pub(super) fields: Fields,
    /// It is not asked with a refresh token, so there is none to lose.
    pub(super) own_client: bool,
}

/// What to send where.
pub(super) async fn question(db: &Db, keys: &Keys, from: &Credential) -> Result<Question, Error> {
    let fields = keys.unseal(from).await?;
    let Some(config) = from.provider_config_id else { return own_question(fields) };
    let mut tx = db.begin(from.tenant_id).await?;
    let config = store::provider_config::find(&mut tx, config).await?;
    drop(tx);
    let config = config.ok_or_else(|| Error::ProviderRefused("no_client".into()))?;
    let provider = Provider::of(&config.provider, &config.settings)?;
    let refresh = fields.text("refresh_token").ok_or(Error::NeedsReconnect(from.id))?;
    let mut form: Form<'static> =
        vec![("grant_type", "refresh_token".into()), ("refresh_token", refresh)];
    if provider.scope_on_refresh == Some(true) && !from.scopes.is_empty() {
        form.push(("scope", provider.joined(&from.scopes).into()));
    }
    let endpoint = endpoint(keys, &config, &provider).await?;
    Ok(Question { endpoint, form, fields, own_client: false })
}

/// A client's token endpoint.
pub(crate) async fn endpoint(
    keys: &Keys,
    config: &ProviderConfig,
    provider: &Provider,
) -> Result<Endpoint, Error> {
    let missing = || Error::ProviderRefused("no_token_url".into());
    Ok(Endpoint {
        url: provider.token_url.clone().ok_or_else(missing)?,
        auth: provider.client_auth.unwrap_or_default(),
        client_id: config.client_id.clone(),
        client_secret: keys.client_secret(config).await?,
    })
}

/// Of a credential that is a client itself.
fn own_question(fields: Fields) -> Result<Question, Error> {
    let missing = || Error::ProviderRefused("no_client".into());
    let url = fields.text("token_url").ok_or_else(missing)?;
    let mut form: Form<'static> = vec![("grant_type", "client_credentials".into())];
    for name in ["scope", "audience"] {
        form.extend(fields.text(name).map(|value| (name, value)));
    }
    let auth = match fields.text("client_auth") {
        Some(said) if said.expose_secret() == "body" => ClientAuth::Body,
        _ => ClientAuth::Basic,
    };
    let endpoint = Endpoint {
        url: url
            .expose_secret()
            .parse()
            .map_err(|_| Error::ProviderRefused("no_token_url".into()))?,
        auth,
        client_id: fields.text("client_id").ok_or_else(missing)?.expose_secret().to_owned(),
        client_secret: fields.text("client_secret").ok_or_else(missing)?,
    };
    Ok(Question { endpoint, form, fields, own_client: true })
}

pub(super) fn renewed(
    from: &Credential,
    question: &Question,
    tokens: &Tokens,
    lived: f64,
) -> Connection {
    // A client's own tokens are got anew whenever they end; one that says no end is asked again after an hour.
    let lives = tokens.lives.or(question.own_client.then_some(3600.0));
    let renewable = question.own_client
        || tokens.refresh.is_some()
        || question.fields.text("refresh_token").is_some();
    Connection {
        provider_config_id: None,
        account: tokens.account.clone(),
        scopes: tokens.scopes.clone().unwrap_or_else(|| from.scopes.clone()),
        lives: lives.map(|lives| (lives - lived).max(0.0)),
        renew_in: renewable.then(|| renew_in(lives, lived)),
        begun_at: None,
    }
}

/// At four fifths of its life, and at least daily: refresh tokens that nobody uses end as well.
pub(crate) fn renew_in(lives: Option<f64>, lived: f64) -> f64 {
    const DAY: f64 = 86_400.0;
    lives.map_or(DAY, |lives| (lives * 0.8).min(DAY) - lived).max(0.0)
}

/// Puts what was got into a connection's secret.
pub(crate) fn put_tokens(fields: &mut Fields, tokens: &Tokens) {
    let put =
        |fields: &mut Fields, name, token: &SecretString| fields.set(name, token.expose_secret());
    put(fields, "access_token", &tokens.access);
    if let Some(refresh) = &tokens.refresh {
        put(fields, "refresh_token", refresh);
    }
}
