//! What can go wrong here and how it is answered.

use servicekit::{Code, FieldError, Problem, codes};
use shared_models::Service;

/// The hook's credential cannot be had, so nothing can be verified.
pub(crate) const CREDENTIAL_UNAVAILABLE: Code = Code::new(
    "credential_unavailable",
    503,
    "The signing secret cannot be read right now; nothing was stored. Deliver it again.",
);
/// The credential is not the person's to use.
pub(crate) const CREDENTIAL_NOT_USABLE: Code = Code::new(
    "credential_not_usable",
    422,
    "The credential does not exist or is not yours to use.",
);
/// The proof of a delivery is wrong.
pub(crate) const BAD_SIGNATURE: Code =
    Code::new("bad_signature", 401, "The delivery's signature or token is missing or wrong.");
/// The sender's address is not among those the hook takes deliveries from.
pub(crate) const IP_NOT_ALLOWED: Code = Code::new(
    "ip_not_allowed",
    403,
    "The hook takes deliveries from certain addresses only, and this is none of them.",
);
/// More arrives than can be stored.
pub(crate) const BUSY: Code =
    Code::new("intake_busy", 503, "More arrives than can be stored; deliver it again later.");
/// A delivery cannot be fired again.
pub(crate) const NOT_REPLAYABLE: Code = Code::new(
    "not_replayable",
    409,
    "None of the delivery's triggers can fire now; the detail says why.",
);
/// Only the owner may change a trigger.
pub(crate) const NOT_OWNER: Code = Code::new(
    "not_owner",
    403,
    "Only the trigger's owner and administrators of the tenant may change it.",
);
/// There is no secret that could be replaced.
pub(crate) const NOTHING_TO_ROTATE: Code = Code::new(
    "nothing_to_rotate",
    409,
    "The trigger has no signing secret that could be replaced.",
);
/// Nobody goes and looks for the trigger.
pub(crate) const NO_LISTENER: Code = Code::new(
    "no_listener",
    409,
    "The trigger has no listener: it fires when something is delivered or due.",
);
/// Only a timer has slots.
pub(crate) const NOT_A_TIMER: Code =
    Code::new("not_a_timer", 409, "The trigger is no timer: it fires when something is delivered.");
/// Reading the body took too long.
pub(crate) const TOO_SLOW: Code =
    Code::new("request_timeout", 408, "The body did not arrive in time.");

/// This service's own codes.
pub const CODES: &[&Code] = &[
    &CREDENTIAL_UNAVAILABLE,
    &CREDENTIAL_NOT_USABLE,
    &BAD_SIGNATURE,
    &IP_NOT_ALLOWED,
    &BUSY,
    &NOT_REPLAYABLE,
    &NOT_OWNER,
    &NOT_A_TIMER,
    &NO_LISTENER,
    &NOTHING_TO_ROTATE,
    &TOO_SLOW,
];

/// What can go wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of a trigger were refused.
    #[error("{} fields were refused", .0.len())]
    Invalid(Vec<FieldError>),
    /// The thing does not exist, or not for this caller.
    #[error("there is no {0}")]
    NotFound(String),
    /// The caller sees the trigger but may not change it.
    #[error("only the owner of the trigger and administrators may change it")]
    NotOwner,
    /// The vault does not let the person use the credential.
    #[error("the credential {0} does not exist or is not yours to use")]
    CredentialNotUsable(shared_models::CredentialId),
    /// The vault does not answer, or has the secret no more.
    #[error("the signing secret cannot be read right now")]
    CredentialUnavailable,
    /// The proof is wrong.
    #[error("{0}")]
    BadSignature(crate::verify::VerifyError),
    /// The intake queue is full, or the database is away.
    #[error("more arrives than can be stored right now")]
    Busy,
    /// Postgres refused to store exactly this delivery.
    #[error("the delivery holds something that cannot be stored: {0}")]
    Unstorable(String),
    /// Nothing of a delivery can fire now.
    #[error("{0}")]
    NotReplayable(String),
    /// Another service cannot be asked.
    #[error("{0} is not available")]
    Unavailable(Service),
    /// A database error.
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    /// Anything else.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(errors) => Self::validation(errors),
            Error::NotFound(_) => Self::new(&codes::NOT_FOUND, detail),
            Error::NotOwner => Self::new(&NOT_OWNER, detail),
            Error::CredentialNotUsable(_) => Self::new(&CREDENTIAL_NOT_USABLE, detail).with_errors(
                vec![FieldError::new("/credential_id", "does not exist or is not yours to use")],
            ),
            Error::CredentialUnavailable => {
                Self::new(&CREDENTIAL_UNAVAILABLE, detail).retry_after(5)
            }
            Error::BadSignature(_) => Self::new(&BAD_SIGNATURE, detail),
            Error::Busy => Self::new(&BUSY, detail).retry_after(1),
            Error::Unstorable(_) => Self::new(&codes::VALIDATION, detail),
            Error::NotReplayable(_) => Self::new(&NOT_REPLAYABLE, detail),
            Error::Unavailable(_) => Self::new(&codes::UNAVAILABLE, detail).retry_after(1),
            Error::Db(error) => error.into(),
            Error::Internal(error) => Self::internal(error),
        }
    }
}
