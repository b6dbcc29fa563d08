//! What can go wrong, and what the client is told about it.

use servicekit::{FieldError, Problem, codes as shared};
use shared_models::{ApiKeyId, TeamId, UserId};

use crate::codes;

/// Everything a request can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no member {0}")]
    NoMember(UserId),
    #[error("there is no team {0}")]
    NoTeam(TeamId),
    #[error("there is no API key {0}")]
    NoKey(ApiKeyId),
    #[error("this would leave the tenant without an owner")]
    LastOwner,
    #[error("only owners make, change and remove owners")]
    OwnersOnly,
    #[error("only administrators of the tenant see and make other people's keys")]
    AdminsOnly,
    #[error("whoever is not shown content makes no key for a member who is")]
    ContentHidden,
    #[error("the person is a member already")]
    MemberExists,
    #[error("another tenant has the slug `{0}`")]
    SlugTaken(String),
    #[error("another team is named `{0}`")]
    TeamNameTaken(String),
    #[error("every member is in the default team")]
    DefaultTeam,
    #[error("fields were refused")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Db(#[from] sqlx::Error),
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
        let code = match error {
            Error::NoMember(_) | Error::NoTeam(_) | Error::NoKey(_) => &shared::NOT_FOUND,
            Error::LastOwner => &codes::LAST_OWNER,
            Error::OwnersOnly | Error::AdminsOnly | Error::ContentHidden => &shared::NOT_ALLOWED,
            Error::MemberExists => &codes::MEMBER_EXISTS,
            Error::SlugTaken(_) => &codes::SLUG_TAKEN,
            Error::TeamNameTaken(_) => &codes::TEAM_NAME_TAKEN,
            Error::DefaultTeam => &shared::CONFLICT,
            Error::Invalid(errors) => return Problem::validation(errors),
            Error::Db(error) => return error.into(),
            Error::Internal(error) => return Problem::internal(error),
        };
        Problem::new(code, error.to_string())
    }
}
