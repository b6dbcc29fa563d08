//! All SQL, one file per table.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod membership;
pub(crate) mod platform_admin;
pub(crate) mod signing_key;
pub(crate) mod team;
pub(crate) mod team_member;
pub(crate) mod tenant;
pub(crate) mod user;

use shared_models::text_enum::UnknownWord;

/// A word in the database that this binary does not know: a newer one may have written it.
pub(crate) fn unknown(error: UnknownWord) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
