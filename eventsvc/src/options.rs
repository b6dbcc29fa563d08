//! What a trigger may say about its source. A webhook: how a delivery proves where it comes from, how a repetition is
//! told, how large it may be, who may send it. A timer's are in [`crate::timer`].

mod guard;
mod verify;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use servicekit::FieldError;
use utoipa::ToSchema;

use crate::{
    bus_hooks::NatsOptions,
    filter::Filter,
    listening::{AppSource, GmailOptions, ImapOptions, PollOptions, Reconcile},
    timer::TimerOptions,
    trigger::System,
};

pub(crate) use guard::{Rate, network};
use verify::check_header;
pub use verify::{Algorithm, Encoding, Scheme, Verify};

/// The largest body any hook takes.
pub(crate) const BODY_CAP: u32 = 10 * 1024 * 1024;
/// The largest body a hook takes unless its options say more.
pub(crate) const BODY_DEFAULT: u32 = 1024 * 1024;
const WINDOW_CAP: u32 = 7 * 24 * 60 * 60;

/// The options of a trigger, as its system has them.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TriggerOptions {
    /// Of a `webhook`, and of the systems that deliver at hooks: `github`, `slack`, `stripe`, `hubspot`.
    Webhook(Box<WebhookOptions>),
    /// Of a `timer`.
    Timer(TimerOptions),
    /// Of a `poll`.
    Poll(PollOptions),
    /// Of a `gmail`.
    Gmail(GmailOptions),
    /// Of an `imap`.
    Imap(ImapOptions),
    /// Of a `nats`.
    Nats(NatsOptions),
}

impl TriggerOptions {
    /// Reads options; every refused field is named by its pointer within a trigger.
    pub(crate) fn parse(system: System, value: &Value) -> Result<Self, Vec<FieldError>> {
        match system {
            System::Webhook | System::Github | System::Slack | System::Stripe | System::Hubspot => {
                WebhookOptions::parse_of(system, value).map(Box::new).map(Self::Webhook)
            }
            System::Timer => TimerOptions::parse(value).map(Self::Timer),
            System::Poll => PollOptions::parse(value).map(Self::Poll),
            System::Gmail => GmailOptions::parse(value).map(Self::Gmail),
            System::Imap => ImapOptions::parse(value).map(Self::Imap),
            System::Nats => NatsOptions::parse(value).map(Self::Nats),
        }
    }
}

/// Reads the form of options; the field that does not fit is named.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string().replace('.', "/");
        let pointer = if path == "/" { "/options".into() } else { format!("/options/{path}") };
        vec![FieldError::new(pointer, error.inner().to_string())]
    })
}

/// The options of a `webhook` trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhookOptions {
    /// How a delivery is verified.
    pub verify: Verify,
    /// How a repetition is told; Standard Webhooks bring their own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
    /// The largest body taken, up to 10 MiB.
    pub max_body_bytes: u32,
    /// How the provider's handshake is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// Who may deliver: addresses and networks such as `192.0.2.0/24`; everybody unless said. Proxies are looked through as
    /// far as the operator trusts them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_ips: Vec<String>,
    /// How often, at most, in each process that takes deliveries; what comes faster is answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// `github`, `hubspot`: how deliveries that did not come are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
    /// `hubspot`, `slack`, `github`, `stripe`: the platform's own app there delivers, in place of a hook of the trigger's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppSource>,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            verify: Verify::default(),
            dedupe: None,
            max_body_bytes: BODY_DEFAULT,
            challenge: None,
            allow_ips: Vec::new(),
            rate: None,
            reconcile: None,
            app: None,
        }
    }
}

/// Where the provider's id of a delivery is. Exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dedupe {
    /// In this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// In the payload at this JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_pointer: Option<String>,
    /// What this CEL expression over `payload`, `headers` and `system` gives: a text, a number, or true or false. A delivery
    /// for which it gives anything else, or cannot be told, is no repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Nowhere: the same body within the window counts as the same delivery.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub body_hash: bool,
    /// With `body_hash`: for how long; 300 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
}

/// A handshake: the provider sends a word and wants it back. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Challenge {
    /// In the verified payload at this JSON Pointer; answered as `{"challenge": …}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_pointer: Option<String>,
    /// In this query parameter, before anything is signed; answered as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl WebhookOptions {
    /// Reads options of a system; every refused field is named by its pointer within a trigger. A provider's system
    /// verifies as the provider signs, whether the scheme is said or not.
    pub(crate) fn parse_of(system: System, value: &Value) -> Result<Self, Vec<FieldError>> {
        let schemes = system.schemes();
        let mut value = value.clone();
        let unsaid = value.pointer("/verify/scheme").is_none();
        if let (Some(usual), true, Some(fields)) = (schemes.first(), unsaid, value.as_object_mut())
        {
            let verify = fields.entry("verify").or_insert_with(|| json!({}));
            if let Some(verify) = verify.as_object_mut() {
                verify.insert("scheme".into(), json!(usual));
            }
        }
        let options: Self = read(&value)?;
        let mut errors = options.errors();
        if !schemes.is_empty() && !schemes.contains(&options.verify.scheme) {
            let words: Vec<_> = schemes.iter().map(|scheme| format!("`{scheme}`")).collect();
            let message = format!("{system} signs as {}", words.join(" or "));
            errors.push(FieldError::new("/options/verify/scheme", message));
        }
        if !schemes.is_empty() && (options.dedupe.is_some() || options.challenge.is_some()) {
            let message = format!("{system} says itself what a repetition and a handshake are");
            errors.push(FieldError::new("/options", message));
        }
        match &options.reconcile {
            Some(reconcile) if matches!(system, System::Github | System::Hubspot) => {
                errors.extend(reconcile.errors(system));
            }
            Some(_) => {
                let message = format!("{system} keeps no record that could be asked");
                errors.push(FieldError::new("/options/reconcile", message));
            }
            None => {}
        }
        errors.extend(options.app_errors(system));
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: &str, message: &str| {
            errors.push(FieldError::new(format!("/options/{pointer}"), message));
        };
        if !(1..=BODY_CAP).contains(&self.max_body_bytes) {
            refuse("max_body_bytes", "must be between 1 and 10485760");
        }
        self.verify.check(&mut refuse);
        if let Some(dedupe) = &self.dedupe {
            dedupe.check(&mut refuse);
        }
        if let Some(challenge) = &self.challenge {
            challenge.check(&mut refuse);
        }
        guard::check_networks(&self.allow_ips, &mut refuse);
        if let Some((field, why)) = self.rate.and_then(Rate::problem) {
            refuse(&format!("rate/{field}"), why);
        }
        errors
    }

    /// What makes no sense together with the platform's own app: one address serves everybody.
    fn app_errors(&self, system: System) -> Vec<FieldError> {
        let Some(app) = &self.app else { return Vec::new() };
        let usual = system.schemes().first();
        let unused = [
            ("app", usual.is_none(), "there is no app of that system"),
            ("verify", usual != Some(&self.verify.scheme), "the app signs in the usual way"),
            ("verify/public_url", self.verify.public_url.is_some(), "the app has its own address"),
            ("allow_ips", !self.allow_ips.is_empty(), "the app's address is everybody's"),
            ("rate", self.rate.is_some(), "the app's address is everybody's: say `flow`"),
            (
                "reconcile/hook",
                system == System::Github && self.reconcile.is_some(),
                "the app's record of deliveries is not the trigger's to read",
            ),
        ];
        let unused = unused.iter().filter(|(_, said, _)| *said);
        unused
            .map(|(field, _, why)| FieldError::new(format!("/options/{field}"), *why))
            .chain(app.errors())
            .collect()
    }

    /// Whether a secret of the trigger's is needed to verify.
    pub(crate) fn needs_secret(&self) -> bool {
        self.app.is_none() && self.verify.needs_secret()
    }
}

impl Dedupe {
    /// For how long the same body counts as the same delivery, in seconds.
    pub(crate) fn window(&self) -> i64 {
        i64::from(self.window_seconds.unwrap_or(300))
    }

    fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        let said = [
            self.header.is_some(),
            self.json_pointer.is_some(),
            self.expression.is_some(),
            self.body_hash,
        ];
        if said.iter().filter(|said| **said).count() != 1 {
            refuse("dedupe", "say exactly one of header, json_pointer, expression, body_hash");
        }
        if let Some(Err(why)) = self.expression.as_deref().map(Filter::compile) {
            refuse("dedupe/expression", &why);
        }
        check_header("dedupe/header", self.header.as_deref(), refuse);
        check_pointer("dedupe/json_pointer", self.json_pointer.as_deref(), refuse);
        match self.window_seconds {
            Some(_) if !self.body_hash => {
                refuse("dedupe/window_seconds", "only used with body_hash");
            }
            Some(seconds) if !(1..=WINDOW_CAP).contains(&seconds) => {
                refuse("dedupe/window_seconds", "must be between 1 and 604800");
            }
            _ => {}
        }
    }
}

impl Challenge {
    fn check(&self, refuse: &mut impl FnMut(&str, &str)) {
        if self.json_pointer.is_some() == self.query.is_some() {
            refuse("challenge", "say exactly one of json_pointer, query");
        }
        check_pointer("challenge/json_pointer", self.json_pointer.as_deref(), refuse);
    }
}

fn check_pointer(pointer: &str, value: Option<&str>, refuse: &mut impl FnMut(&str, &str)) {
    if value.is_some_and(|value| !value.starts_with('/')) {
        refuse(pointer, "a JSON Pointer starts with a slash");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(value: &Value) -> Vec<String> {
        WebhookOptions::parse_of(System::Webhook, value)
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect()
    }

    #[test]
    fn nothing_said_means_standard_webhooks_of_a_mebibyte() {
        let options = WebhookOptions::parse_of(System::Webhook, &json!({})).unwrap();

        assert_eq!(options, WebhookOptions::default());
        assert_eq!(options.verify.scheme, Scheme::StandardWebhooks);
        assert!(options.needs_secret());
    }

    #[test]
    fn every_refused_field_is_named() {
        let table = [
            (json!({ "verify": { "schema": "hmac" } }), vec!["/options/verify/schema"]),
            (json!({ "verify": { "scheme": "magic" } }), vec!["/options/verify/scheme"]),
            (json!({ "verify": { "scheme": "hmac" } }), vec!["/options/verify/header"]),
            (
                json!({ "max_body_bytes": 0, "verify": { "scheme": "none", "prefix": "x" } }),
                vec!["/options/max_body_bytes", "/options/verify/prefix"],
            ),
            (json!({ "dedupe": {} }), vec!["/options/dedupe"]),
            (
                json!({ "dedupe": { "expression": "payload.id +" } }),
                vec!["/options/dedupe/expression"],
            ),
            (
                json!({ "dedupe": { "expression": "payload.id", "header": "x-id" } }),
                vec!["/options/dedupe"],
            ),
            (json!({ "dedupe": { "json_pointer": "id" } }), vec!["/options/dedupe/json_pointer"]),
            (
                json!({ "challenge": { "query": "a", "json_pointer": "/b" } }),
                vec!["/options/challenge"],
            ),
            (json!({ "max_body_bytes": 20_000_000 }), vec!["/options/max_body_bytes"]),
            (json!({ "allow_ips": ["10.0.0.0/8", "home"] }), vec!["/options/allow_ips/1"]),
            (json!({ "rate": { "limit": 0 } }), vec!["/options/rate/limit"]),
            (
                json!({ "verify": { "scheme": "google_oidc", "header": "x" } }),
                vec![
                    "/options/verify/header",
                    "/options/verify/audience",
                    "/options/verify/service_account",
                ],
            ),
            (
                json!({ "verify": { "scheme": "hubspot", "public_url": "example.com" } }),
                vec!["/options/verify/public_url"],
            ),
        ];
        for (value, expected) in table {
            assert_eq!(pointers(&value), expected, "{value}");
        }
    }

    #[test]
    fn a_providers_system_verifies_as_the_provider_signs() {
        let slack = WebhookOptions::parse_of(System::Slack, &json!({})).unwrap();
        let legacy = json!({ "verify": { "scheme": "hubspot_v1" } });
        let legacy = WebhookOptions::parse_of(System::Hubspot, &legacy).unwrap();
        let wrong = json!({ "verify": { "scheme": "none" } });
        let wrong = WebhookOptions::parse_of(System::Github, &wrong).unwrap_err();

        assert_eq!(slack.verify.scheme, Scheme::Slack);
        assert_eq!(legacy.verify.scheme, Scheme::HubspotV1);
        assert_eq!(wrong[0].message, "github signs as `github`");
    }
}
