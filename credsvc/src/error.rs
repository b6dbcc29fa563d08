//! What can go wrong, and what the client is told about it.

use servicekit::{FieldError, Problem, codes as shared};
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
    /// One refused field.
    pub(crate) fn field(pointer: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, message)])
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(_) => &codes::CREDENTIAL_NOT_FOUND,
            Error::NameTaken(_) => &codes::CREDENTIAL_NAME_TAKEN,
            Error::InUse(_) => &codes::CREDENTIAL_IN_USE,
            Error::Changed => &codes::CREDENTIAL_CHANGED,
            Error::NotGranted { .. } => &codes::CREDENTIAL_NOT_GRANTED,
            Error::AdminsOnly | Error::ViewersDoNotWrite | Error::ServicesOnly => {
                &shared::NOT_ALLOWED
            }
            Error::KeyWithoutCredentials => &shared::SCOPE_MISSING,
            Error::SubjectRequired => &codes::SUBJECT_REQUIRED,
            Error::RunRequired => &codes::RUN_REQUIRED,
            Error::TooLarge => &shared::PAYLOAD_TOO_LARGE,
            Error::Unreadable(_) => &codes::CREDENTIAL_UNREADABLE,
            Error::Busy | Error::Invalid(_) | Error::Db(_) | Error::Internal(_) => {
                return without_code(error);
            }
        };
        Problem::new(code, error.to_string())
    }
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
