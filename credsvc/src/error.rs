//! What can go wrong, and what the client is told about it.

use servicekit::{Code, FieldError, Problem, codes as shared};
use shared_models::CredentialId;

use crate::{codes, grantee::Grantee, vault::VaultError};

/// Everything a request can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or not the caller's to see.
    #[error("there is no credential {0}")]
    NotFound(CredentialId),
    /// The name is used in that environment.
    #[error("a credential named `{0}` already exists in this environment")]
    NameTaken(String),
    /// Somebody depends on it.
    #[error("the credential is used by {}; add ?force=true to delete it anyway", list(.0))]
    InUse(Vec<Grantee>),
    /// Changed between reading and writing.
    #[error("the credential was changed at the same time")]
    Changed,
    /// Outside every grant.
    #[error("{grantee} was not given the credential {credential} by that owner")]
    NotGranted {
        /// Which credential.
        credential: CredentialId,
        /// Who asked.
        grantee: Grantee,
    },
    /// The tenant's credentials are for its administrators.
    #[error(
        "only administrators of the tenant may store, change or delete the tenant's credentials"
    )]
    AdminsOnly,
    /// A viewer does not become more by going through a service.
    #[error("a viewer cannot store or change credentials, nor let an agent or trigger use one")]
    ViewersDoNotWrite,
    /// An API key that was made for other things does not get at credentials through an agent.
    #[error(
        "to let an agent use a credential the person's token needs the scope `credentials:read`"
    )]
    KeyWithoutCredentials,
    /// A service came without the person it acts for.
    #[error("send the person's token in X-Subject-Token")]
    SubjectRequired,
    /// The engine came without a run.
    #[error("the engine gets secrets for a run, and its token names none")]
    RunRequired,
    /// Its time is over.
    #[error("the credential {0} has expired")]
    Expired(CredentialId),
    /// Somebody took it back.
    #[error("the credential {0} was revoked")]
    Revoked(CredentialId),
    /// The provider does not renew it any more.
    #[error("the connection {0} has to be connected again")]
    NeedsReconnect(CredentialId),
    /// It is bound to other hosts.
    #[error("the credential may only be sent to {allowed}, not to {host}")]
    HostNotAllowed {
        /// Where it was to be sent.
        host: String,
        /// Where it may be.
        allowed: String,
    },
    /// The type has no test, or the credential lacks what the test needs.
    #[error("this credential cannot be tested: {0}")]
    NotTestable(String),
    /// No calls can be made with it.
    #[error("no calls can be made with this credential: {0}")]
    NotCallable(String),
    /// No such type.
    #[error("there is no credential type `{0}`")]
    NoType(String),
    /// A platform's or own type has the name.
    #[error("a credential type named `{0}` already exists")]
    TypeTaken(String),
    /// Credentials have the type.
    #[error("{0} credentials have this type")]
    TypeInUse(i64),
    /// No such registered client.
    #[error("there is no OAuth client {0}")]
    NoConfig(String),
    /// The name is used.
    #[error("an OAuth client named `{0}` already exists")]
    ConfigTaken(String),
    /// Credentials are connected by it.
    #[error("{0} credentials are connected by this OAuth client")]
    ConfigInUse(i64),
    /// No such session, or it is used up.
    #[error("this link is not good, or not any more; ask for another")]
    NoSession,
    /// Connecting did not work out.
    #[error("the account was not connected: {0}")]
    ConnectRefused(String),
    /// The provider does not answer well.
    #[error("the provider does not answer well now ({0})")]
    ProviderDown(String),
    /// The provider refuses the client, not the person.
    #[error("the provider refuses our client ({0})")]
    ProviderRefused(String),
    /// The call may not be made.
    #[error("{0}")]
    OutgoingRefused(String),
    /// The call got no answer.
    #[error("{0}")]
    OutgoingFailed(String),
    /// For services only.
    #[error("only services may do this")]
    ServicesOnly,
    /// The secret is too large.
    #[error("credentials are at most {} KiB of JSON", crate::fields::LARGEST / 1024)]
    TooLarge,
    /// Fields were refused.
    #[error("{} fields were refused", .0.len())]
    Invalid(Vec<FieldError>),
    /// The secret does not open.
    #[error("the stored secret cannot be used: {0}")]
    Unreadable(#[from] VaultError),
    /// More wait for their audit entry than may, or the database is away.
    #[error("the audit cannot take this now")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    /// Anything else.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl Error {
    /// How the audit says it: the outcome and the reason.
    pub(crate) fn told(&self) -> (&'static str, &'static str) {
        match self {
            Self::NotFound(_) => ("refused", "not_found"),
            Self::NotGranted { .. } => ("refused", "not_granted"),
            Self::AdminsOnly => ("refused", "admins_only"),
            Self::ViewersDoNotWrite => ("refused", "viewer"),
            Self::KeyWithoutCredentials => ("refused", "scope_missing"),
            Self::SubjectRequired => ("refused", "no_subject"),
            Self::RunRequired => ("refused", "no_run"),
            Self::ServicesOnly => ("refused", "services_only"),
            Self::InUse(_) | Self::TypeInUse(_) | Self::ConfigInUse(_) => ("refused", "in_use"),
            Self::Changed => ("refused", "changed"),
            Self::Expired(_) => ("refused", "expired"),
            Self::Revoked(_) => ("refused", "revoked"),
            Self::NeedsReconnect(_) => ("refused", "needs_reconnect"),
            Self::HostNotAllowed { .. } => ("refused", "host_not_allowed"),
            Self::OutgoingRefused(_) => ("refused", "outgoing_refused"),
            Self::NameTaken(_)
            | Self::TooLarge
            | Self::Invalid(_)
            | Self::NotTestable(_)
            | Self::NotCallable(_)
            | Self::NoType(_)
            | Self::TypeTaken(_)
            | Self::NoConfig(_)
            | Self::ConfigTaken(_)
            | Self::NoSession => ("refused", "invalid"),
            Self::ConnectRefused(_) => ("failed", "not_connected"),
            Self::ProviderDown(_) => ("failed", "provider_down"),
            Self::ProviderRefused(_) => ("failed", "provider_refused"),
            Self::OutgoingFailed(_) => ("failed", "no_answer"),
            Self::Unreadable(VaultError::RootDown(_)) => ("failed", "root_key_down"),
            Self::Unreadable(_) => ("failed", "unreadable"),
            Self::Busy | Self::Db(_) | Self::Internal(_) => ("failed", "internal"),
        }
    }

    /// One refused field.
    pub(crate) fn field(pointer: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, message)])
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let Some(code) = code(&error) else { return without_code(error) };
        let problem = Problem::new(code, error.to_string());
        match error {
            Error::ProviderDown(_) | Error::Unreadable(VaultError::RootDown(_)) => {
                problem.retry_after(5)
            }
            _ => problem,
        }
    }
}

/// None for what says more than a code.
fn code(error: &Error) -> Option<&'static Code> {
    Some(match error {
        Error::NotFound(_) => &codes::CREDENTIAL_NOT_FOUND,
        Error::NameTaken(_) => &codes::CREDENTIAL_NAME_TAKEN,
        Error::InUse(_) => &codes::CREDENTIAL_IN_USE,
        Error::Changed => &codes::CREDENTIAL_CHANGED,
        Error::NotGranted { .. } => &codes::CREDENTIAL_NOT_GRANTED,
        Error::AdminsOnly | Error::ViewersDoNotWrite | Error::ServicesOnly => &shared::NOT_ALLOWED,
        Error::KeyWithoutCredentials => &shared::SCOPE_MISSING,
        Error::SubjectRequired => &codes::SUBJECT_REQUIRED,
        Error::RunRequired => &codes::RUN_REQUIRED,
        Error::TooLarge => &shared::PAYLOAD_TOO_LARGE,
        Error::Unreadable(VaultError::RootDown(_)) => &codes::ROOT_KEY_UNAVAILABLE,
        Error::Unreadable(_) => &codes::CREDENTIAL_UNREADABLE,
        Error::Expired(_) => &codes::CREDENTIAL_EXPIRED,
        Error::Revoked(_) => &codes::CREDENTIAL_REVOKED,
        Error::NeedsReconnect(_) => &codes::CREDENTIAL_NEEDS_RECONNECT,
        Error::HostNotAllowed { .. } => &codes::CREDENTIAL_HOST_NOT_ALLOWED,
        Error::NotTestable(_) => &codes::CREDENTIAL_NOT_TESTABLE,
        Error::NotCallable(_) => &codes::CREDENTIAL_NOT_CALLABLE,
        Error::NoType(_) => &codes::CREDENTIAL_TYPE_NOT_FOUND,
        Error::TypeTaken(_) => &codes::CREDENTIAL_TYPE_TAKEN,
        Error::TypeInUse(_) => &codes::CREDENTIAL_TYPE_IN_USE,
        Error::NoConfig(_) => &codes::OAUTH_CLIENT_NOT_FOUND,
        Error::ConfigTaken(_) => &codes::OAUTH_CLIENT_TAKEN,
        Error::ConfigInUse(_) => &codes::OAUTH_CLIENT_IN_USE,
        Error::NoSession => &codes::CONNECT_SESSION_NOT_FOUND,
        Error::ConnectRefused(_) => &codes::CONNECT_REFUSED,
        Error::ProviderDown(_) => &codes::PROVIDER_UNAVAILABLE,
        Error::ProviderRefused(_) => &codes::PROVIDER_REFUSED,
        Error::OutgoingRefused(_) => &codes::OUTGOING_REFUSED,
        Error::OutgoingFailed(_) => &codes::OUTGOING_FAILED,
        Error::Busy | Error::Invalid(_) | Error::Db(_) | Error::Internal(_) => return None,
    })
}

fn without_code(error: Error) -> Problem {
    match error {
        Error::Busy => Problem::new(&shared::UNAVAILABLE, error.to_string()).retry_after(1),
        Error::Invalid(errors) => Problem::validation(errors),
        Error::Db(error) => error.into(),
        error => Problem::internal(error),
    }
}

fn list(grantees: &[Grantee]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = grantees.iter().take(SHOWN).map(Grantee::to_string).collect();
    if grantees.len() > SHOWN {
        names.push(format!("{} more", grantees.len() - SHOWN));
    }
    names.join(", ")
}
