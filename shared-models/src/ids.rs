//! Ids: UUIDv7 inside, a prefixed string on the wire (`run_0190…`), one type per entity so that they cannot be mixed up.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A string that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like `{prefix}_<32 hex digits>`")]
pub struct BadId {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

fn show(f: &mut fmt::Formatter<'_>, prefix: &str, id: Uuid) -> fmt::Result {
    write!(f, "{prefix}_{}", id.simple())
}

fn read(prefix: &'static str, text: &str) -> Result<Uuid, BadId> {
    let hex = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .filter(|hex| {
            hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
        .ok_or(BadId { prefix })?;
    Uuid::try_parse(hex).map_err(|_| BadId { prefix })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(transparent))]
        pub struct $name(Uuid);

        impl $name {
            /// The word before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ids sort after earlier ones.
            #[allow(clippy::disallowed_methods, reason = "the one place where ids are made")]
            pub fn mint() -> Self {
                Self(Uuid::now_v7())
            }

            /// The bare UUID, as stored.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(f, $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                read($prefix, text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "_[0-9a-f]{32}$"),
                })
            }
        }
    )+};
}

ids! {
    /// The isolation boundary: an organization or one person. Every row, subject and span carries one.
    TenantId = "ten";
    /// A group of users within a tenant.
    TeamId = "team";
    /// A person.
    UserId = "usr";
    /// A key that acts as the user who made it.
    ApiKeyId = "key";
    /// Instructions, model, tools and limits under one name.
    AgentId = "agt";
    /// Agents that work together under one name.
    SwarmId = "swm";
    /// Something an agent may call.
    ToolId = "tool";
    /// One durable execution of an agent.
    RunId = "run";
    /// Runs of one agent that follow each other and remember.
    ConversationId = "cnv";
    /// What starts runs from outside.
    TriggerId = "trg";
    /// Where events come from; what a listener listens to.
    SourceId = "src";
    /// One thing received, raw.
    DeliveryId = "dlv";
    /// One delivery firing one trigger; each makes exactly one run per attempt.
    EventId = "evt";
    /// One publication of an event on the bus: event and attempt.
    MessageId = "msg";
    /// A stored secret.
    CredentialId = "crd";
    /// The right of one agent or trigger to use one credential.
    GrantId = "grt";
    /// A client that was registered with an OAuth provider.
    ProviderConfigId = "pvc";
    /// A link by which somebody connects an account.
    ConnectSessionId = "cns";
    /// An engine process that owns runs.
    WorkerId = "wrk";
    /// One intended call to the outside world.
    EffectId = "eff";
    /// A model as a tenant's agents name it.
    ModelId = "mdl";
    /// A price of a model from a date on.
    PriceId = "prc";
    /// A Model Context Protocol server whose tools agents may call.
    McpServerId = "mcp";
    /// An API's description that tools were made of.
    ToolImportId = "imp";
    /// Where a tenant wants to be told of its runs.
    WebhookEndpointId = "whe";
    /// A call that people are asked about before it is made.
    ApprovalId = "apr";
    /// How much somebody or something may use up.
    BudgetId = "bud";
    /// A test case of an agent.
    CaseId = "cas";
    /// All cases of an agent, run against one of its versions.
    EvaluationId = "evl";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text_form(bytes: [u8; 16]) {
            let id = RunId::from(Uuid::from_bytes(bytes));
            prop_assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
            prop_assert!(id.to_string().parse::<AgentId>().is_err());
        }

        #[test]
        fn no_other_text_is_an_id(text in "(run_)?[0-9a-zA-Z_{}-]{0,40}") {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let (first, second) = (RunId::mint(), RunId::mint());
        assert!(first < second);
    }
}
