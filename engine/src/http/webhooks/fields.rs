//! An endpoint as people write and read it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use shared_models::{WebhookEndpointId, wire_time};
use url::Url;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint::{Fields, Row};
use crate::webhooks::EVENT_TYPES;

const LONGEST_URL: usize = 2048;
const LONGEST_DESCRIPTION: usize = 1000;

/// Where a tenant wants to be told of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointFields {
    /// Where messages are posted to: http or https, at a public address.
    #[schema(max_length = 2048)]
    pub(super) url: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(super) description: String,
    /// Which events: any of `run.created`, `run.started`, `run.waiting`, `run.paused`, `run.resumed`, `run.finished`,
    /// `run.refused`, `approval.requested`, `approval.decided`, `approval.expired`, `budget.warned`,
    /// `budget.exhausted`; all when none is named.
    #[serde(default)]
    pub(super) event_types: Vec<String>,
    /// Whether anything is sent.
    #[serde(default = "yes")]
    pub(super) enabled: bool,
}

fn yes() -> bool {
    true
}

impl EndpointFields {
    /// Every field, and whether its URL may be reached from here as far as that can be said before its name is looked up.
    pub(super) fn check(&self, app: &App) -> Result<(), Error> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: String, why: &str| errors.push(FieldError::new(pointer, why));
        match self.url.parse::<Url>() {
            _ if self.url.len() > LONGEST_URL => refuse("/url".into(), "at most 2048 bytes"),
            Err(error) => refuse("/url".into(), &error.to_string()),
            Ok(url) => {
                if let Err(error) = app.egress.client_for(&url) {
                    refuse("/url".into(), &error.to_string());
                }
            }
        }
        if self.description.chars().count() > LONGEST_DESCRIPTION {
            refuse("/description".into(), "at most 1000 characters");
        }
        if self.description.contains('\0') {
            refuse("/description".into(), "the character U+0000 is not allowed");
        }
        if self.event_types.len() > EVENT_TYPES.len() {
            refuse("/event_types".into(), "each at most once");
        }
        for (index, kind) in self.event_types.iter().enumerate() {
            if !EVENT_TYPES.contains(&kind.as_str()) {
                let why = format!("must be one of {}", EVENT_TYPES.join(", "));
                refuse(format!("/event_types/{index}"), &why);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }

    pub(super) fn of(row: &Row) -> Self {
        Self {
            url: row.url.clone(),
            description: row.description.clone(),
            event_types: row.event_types.clone(),
            enabled: row.enabled,
        }
    }

    pub(super) fn stored(&self) -> Fields<'_> {
        let Self { url, description, event_types, enabled } = self;
        Fields { url, description, event_types, enabled: *enabled }
    }
}

/// An endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the id's name in JSON")]
pub(super) struct Endpoint {
    pub(super) endpoint_id: WebhookEndpointId,
    #[serde(flatten)]
    pub(super) fields: EndpointFields,
    /// Why it is disabled.
    disabled_reason: Option<String>,
    /// Since when every attempt has failed.
    #[serde(serialize_with = "wire_time::maybe")]
    failing_since: Option<DateTime<Utc>>,
    /// Until when the secret before the present one signs as well.
    #[serde(serialize_with = "wire_time::maybe")]
    previous_secret_until: Option<DateTime<Utc>>,
    /// Rises with each edit; the `ETag`.
    pub(super) version: i32,
    #[serde(serialize_with = "wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::time")]
    updated_at: DateTime<Utc>,
    /// What its messages are signed with: shown when it is made and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
}

impl From<Row> for Endpoint {
    fn from(row: Row) -> Self {
        Self {
            endpoint_id: row.endpoint_id,
            fields: EndpointFields::of(&row),
            disabled_reason: row.disabled_reason,
            failing_since: row.failing_since,
            previous_secret_until: row.previous_until,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            secret: None,
        }
    }
}
