//! One renewal, from taking the lease to storing what came of it.
//!
//! Invariants: only the holder of the row's lease asks the provider; no transaction is open meanwhile; a token that was
//! got is stored by whoever got it as long as nobody stored another, and a failure counts only from who still holds the
//! lease. A refresh token is shown again when an answer was lost: within a provider's grace period that recovers what
//! was lost, and after it the provider says so at once.

use std::time::Duration;

use dbutil::Db;
use servicekit::egress::Egress;
use shared_models::{CredentialId, TenantId, events::credential::CredentialHealthChanged};
use tokio::time::{Instant, sleep};

use super::{
    answer::{Refusal, Tokens},
    client::{self, Failed},
    question::{self, Question, put_tokens, renewed},
};
use crate::{
    Error,
    audit::{self, Action, Entry},
    fields::Fields,
    keys::Keys,
    store::{
        self,
        credential::{Connection, Credential, Health},
        refresh::Settled,
    },
    vault::Whose,
};

/// How often a provider is asked in one go.
const ATTEMPTS: u32 = 3;
/// Between two looks at a renewal that another replica does.
const LOOK: Duration = Duration::from_millis(50);
/// A provider that is not well is left alone at first for a second, and at most for so long.
const LONGEST_PAUSE: f64 = 300.0;
/// Storing a token that was got is tried for about this many half seconds: nothing else has it.
const STORING: u32 = 40;

/// How a renewal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is a newer version.
    Renewed,
    /// The provider is not well.
    Down(String),
    /// The provider refuses our client.
    Refused(String),
    /// Somebody has to connect it again.
    NeedsReconnect,
    /// It was taken back.
    Revoked,
    /// There is no such credential any more.
    Gone,
    /// Nobody knows; ask again.
    Busy,
}

impl Outcome {
    /// For who asked.
    pub(crate) fn told(self, id: CredentialId) -> Result<(), Error> {
        match self {
            Self::Renewed => Ok(()),
            Self::Down(code) => Err(Error::ProviderDown(code)),
            Self::Refused(code) => Err(Error::ProviderRefused(code)),
            Self::NeedsReconnect => Err(Error::NeedsReconnect(id)),
            Self::Revoked => Err(Error::Revoked(id)),
            Self::Gone => Err(Error::NotFound(id)),
            Self::Busy => Err(Error::Busy),
        }
    }
}

/// What a renewal needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Renewer {
    pub(crate) db: Db,
    pub(crate) keys: Keys,
    pub(crate) egress: Egress,
    /// For one answer of a provider.
    pub(crate) timeout: Duration,
}

/// A renewal under way.
struct Held {
    from: Credential,
    fence: i64,
    failures: i32,
}

impl Renewer {
    /// Renews a credential that is at `version`, or waits for who does.
    pub(crate) async fn renew(&self, tenant: TenantId, id: CredentialId, version: i32) -> Outcome {
        match self.try_renew(tenant, id, version).await {
            Ok(outcome) => {
                let name = match &outcome {
                    Outcome::Renewed => "renewed",
                    Outcome::NeedsReconnect => "needs_reconnect",
                    _ => "failed",
                };
                metrics::counter!("credsvc_renewals_total", "outcome" => name).increment(1);
                outcome
            }
            Err(error) => {
                tracing::warn!(credential = %id, error = %error, "a token could not be renewed");
                Outcome::Busy
            }
        }
    }

    async fn try_renew(
        &self,
        tenant: TenantId,
        id: CredentialId,
        version: i32,
    ) -> Result<Outcome, Error> {
        let patience = Instant::now() + self.lease();
        let mut failures = None;
        loop {
            let mut tx = self.db.begin(tenant).await?;
            if let Some(fence) =
                store::refresh::claim(&mut tx, id, version, self.lease().as_secs_f64()).await?
            {
                let from =
                    store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
                let failures =
                    store::refresh::progress(&mut tx, id).await?.map_or(0, |p| p.failures);
                tx.commit().await?;
                return self.run(Held { from, fence, failures }).await;
            }
            let Some(now) = store::refresh::progress(&mut tx, id).await? else {
                return Ok(Outcome::Gone);
            };
            drop(tx);
            let before = *failures.get_or_insert(now.failures);
            match now.health {
                _ if now.version > version => return Ok(Outcome::Renewed),
                Health::Revoked => return Ok(Outcome::Revoked),
                Health::NeedsReconnect => return Ok(Outcome::NeedsReconnect),
                _ if now.cooling || now.failures > before => {
                    return Ok(Outcome::Down("it was asked a moment ago".into()));
                }
                _ if Instant::now() > patience => return Ok(Outcome::Down("too slow".into())),
                _ => sleep(LOOK).await,
            }
        }
    }

    /// Long enough for every attempt: a lease that ends earlier lets two ask with the same refresh token.
    fn lease(&self) -> Duration {
        self.timeout * ATTEMPTS + Duration::from_secs(10)
    }

    async fn run(&self, held: Held) -> Result<Outcome, Error> {
        let mut question = match question::question(&self.db, &self.keys, &held.from).await {
            Ok(question) => question,
            Err(Error::NeedsReconnect(_)) => return self.give_up(&held, "no_refresh_token").await,
            Err(error) => {
                self.put_off(&held, "unusable").await?;
                return Err(error);
            }
        };
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(Duration::from_millis(100 << (2 * attempt))).await;
            }
            let asked = Instant::now();
            let form = question.form.clone();
            match client::ask(&self.egress, &question.endpoint, form, self.timeout).await {
                Ok(tokens) => {
                    let lived = asked.elapsed().as_secs_f64();
                    return self.store(&held, &mut question, tokens, lived).await;
                }
                Err(Failed::Refused(Refusal::Dead(code))) => {
                    return self.give_up(&held, &code).await;
                }
                // The client is the credential's own: only its owner can help.
                Err(Failed::Refused(Refusal::Client(code))) if question.own_client => {
                    return self.give_up(&held, &code).await;
                }
                Err(Failed::Refused(Refusal::Client(code))) => {
                    self.put_off(&held, &code).await?;
                    return Ok(Outcome::Refused(code));
                }
                Err(Failed::Refused(Refusal::Passing(code)) | Failed::Lost(code)) => last = code,
            }
        }
        self.put_off(&held, &last).await?;
        Ok(Outcome::Down(last))
    }

    /// Stores what was got. Nothing else has it, so a database that is away is waited for.
    async fn store(
        &self,
        held: &Held,
        question: &mut Question,
        tokens: Tokens,
        lived: f64,
    ) -> Result<Outcome, Error> {
        let connection = renewed(&held.from, question, &tokens, lived);
        put_tokens(&mut question.fields, &tokens);
        let mut tries = 0;
        loop {
            match self.try_store(held, &question.fields, &connection).await {
                Ok(outcome) => {
                    if outcome == Outcome::Revoked {
                        self.drop_tokens(&held.from, &question.fields).await;
                    }
                    return Ok(outcome);
                }
                Err(error) if tries >= STORING => return Err(error),
                Err(error) => {
                    tracing::warn!(credential = %held.from.id, %error, "a new token waits to be stored");
                    tries += 1;
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    /// It was revoked while it was renewed: its provider was told of the tokens before these.
    async fn drop_tokens(&self, from: &Credential, fields: &Fields) {
        let taken = self.take_back_of(from.tenant_id, from.provider_config_id, fields).await;
        if let Err(error) = taken {
            tracing::info!(credential = %from.id, %error, "a provider was not told of a revocation");
        }
    }

    async fn try_store(
        &self,
        held: &Held,
        fields: &Fields,
        connection: &Connection,
    ) -> Result<Outcome, Error> {
        let from = &held.from;
        let (mut tx, key) = self.keys.begin(from.tenant_id).await?;
        let whose = Whose { version: from.version + 1, ..from.whose() };
        let sealed = key.seal(&whose, &fields.to_bytes()?)?;
        let how = Settled::Renewed;
        let settled =
            store::refresh::settle(&mut tx, from, &sealed, &fields.mask(), connection, how).await?;
        if let Some(before) = settled {
            if how.heals(before) {
                let event = well_again(from, "renewed");
                pubsub::emit(&mut tx, &event).await?;
            }
            let entry = Entry::own(Action::Refresh, "access token renewed").about(from.id);
            audit::append(&mut tx, entry).await?;
            tx.commit().await?;
            return Ok(Outcome::Renewed);
        }
        let now = store::refresh::progress(&mut tx, from.id).await?;
        match now {
            None => Ok(Outcome::Gone),
            Some(now) if now.version > from.version => Ok(Outcome::Renewed),
            Some(now) if now.health == Health::Revoked => Ok(Outcome::Revoked),
            // Deleted when it was to be stored, and restored since.
            Some(_) => Err(Error::Changed),
        }
    }

    /// The provider will not renew it. Unless somebody else did meanwhile, that is what everybody is told.
    async fn give_up(&self, held: &Held, code: &str) -> Result<Outcome, Error> {
        let from = &held.from;
        let mut tx = self.db.begin(from.tenant_id).await?;
        if store::refresh::give_up(&mut tx, from, held.fence, code).await? {
            let event = CredentialHealthChanged {
                credential_id: from.id,
                user_id: from.user_id,
                health: Health::NeedsReconnect.as_str().into(),
                reason: Some(code.to_owned()),
            };
            pubsub::emit(&mut tx, &event).await?;
            let entry = Entry::own(Action::Refresh, code).about(from.id).failed("needs_reconnect");
            audit::append(&mut tx, entry).await?;
            tx.commit().await?;
            tracing::warn!(credential = %from.id, code, "a connection needs to be connected again");
            return Ok(Outcome::NeedsReconnect);
        }
        let now = store::refresh::progress(&mut tx, from.id).await?;
        Ok(match now {
            None => Outcome::Gone,
            Some(now) if now.version > from.version => Outcome::Renewed,
            Some(now) if now.health == Health::Revoked => Outcome::Revoked,
            Some(now) if now.health == Health::NeedsReconnect => Outcome::NeedsReconnect,
            Some(_) => Outcome::Busy,
        })
    }

    async fn put_off(&self, held: &Held, code: &str) -> Result<(), Error> {
        let pause = 2_f64.powi(held.failures.clamp(0, 16)).min(LONGEST_PAUSE);
        let from = &held.from;
        let mut tx = self.db.begin(from.tenant_id).await?;
        if store::refresh::put_off(&mut tx, from, held.fence, code, pause).await? {
            let entry = Entry::own(Action::Refresh, code).about(from.id).failed("provider");
            audit::append(&mut tx, entry).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// What is told of a connection that did not work, and does.
pub(crate) fn well_again(credential: &Credential, reason: &str) -> CredentialHealthChanged {
    CredentialHealthChanged {
        credential_id: credential.id,
        user_id: credential.user_id,
        health: Health::Ok.as_str().into(),
        reason: Some(reason.to_owned()),
    }
}
