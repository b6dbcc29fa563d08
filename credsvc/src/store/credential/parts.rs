//! What a credential's row says besides its secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared_models::ProviderConfigId;

/// Where a credential is good for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(crate) enum Environment {
    /// For trying out.
    Development,
    /// For rehearsing.
    Staging,
    /// For real.
    Production,
}

/// What a credential is good for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Health {
    /// As far as we know it works.
    Ok,
    /// It expires within a week.
    Expiring,
    /// Its provider does not renew it any more: somebody has to connect it again.
    NeedsReconnect,
    /// Its last test failed.
    FailedTest,
    /// Somebody took it back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl Health {
    /// As it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expiring => "expiring",
            Self::NeedsReconnect => "needs_reconnect",
            Self::FailedTest => "failed_test",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// Until when, where to and what for a credential may be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) honey: bool,
}

/// The state of an OAuth connection besides its secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) provider_config_id: Option<ProviderConfigId>,
    pub(crate) account: Option<String>,
    pub(crate) scopes: Vec<String>,
    /// Seconds from now that the access token lives; none when it does not expire.
    pub(crate) lives: Option<f64>,
    /// Seconds from now until it is renewed; none when it cannot be.
    pub(crate) renew_in: Option<f64>,
    /// When connecting it was begun; none when nobody connects it now.
    pub(crate) begun_at: Option<DateTime<Utc>>,
}
