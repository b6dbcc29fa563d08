//! An e-mail by SMTP. The server is fixed by whoever made the tool, and passes the same checks as every other host.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{
    FieldError,
    egress::{EgressError, HostPattern, Redactor},
};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{BuiltinConfig, text};
use crate::{
    app::App,
    snapshot::SnapshotTool,
    toolbox::{CallCx, NotNow, Outcome, Unready},
    tools::http::secret,
};

const MOST_RECIPIENTS: usize = 50;

/// The server that takes the mail, and who writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smtp {
    pub(crate) host: String,
    #[serde(default = "submission")]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) security: Security,
    /// Such as `Ada <ada@example.com>`.
    pub(crate) from: String,
    /// The only recipients: addresses, or `@example.com` for everybody there; anybody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_recipients: Vec<String>,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Security {
    /// Plain at first, then TLS or nothing.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Tls,
    /// None, for a server next door that the operator has allowed; never with a credential.
    None,
}

fn submission() -> u16 {
    587
}

impl Smtp {
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if HostPattern::parse(&self.place()).is_none() || self.host.starts_with('*') {
            errors.push(FieldError::new("/config/smtp/host", "a host such as `smtp.example.com`"));
        }
        if self.from.parse::<Mailbox>().is_err() {
            errors.push(FieldError::new("/config/smtp/from", "such as `Ada <ada@example.com>`"));
        }
        errors
    }

    fn allows(&self, recipient: &Mailbox) -> bool {
        let address = recipient.email.to_string().to_ascii_lowercase();
        let allowed = |entry: &String| {
            let entry = entry.to_ascii_lowercase();
            if entry.starts_with('@') { address.ends_with(&entry) } else { address == entry }
        };
        self.allowed_recipients.is_empty() || self.allowed_recipients.iter().any(allowed)
    }
}

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false,
        "required": ["to", "subject", "body"], "properties": {
            "to": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": MOST_RECIPIENTS },
            "cc": { "type": "array", "items": { "type": "string" }, "maxItems": MOST_RECIPIENTS },
            "reply_to": { "type": "string" },
            "subject": { "type": "string", "minLength": 1, "maxLength": 998 },
            "body": { "type": "string", "description": "Plain text." } } });
    ("Sends an e-mail.", parameters)
}

pub(super) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    config: &BuiltinConfig,
    arguments: &Value,
    sent: impl AsyncFnOnce() -> Result<(), NotNow>,
) -> Outcome {
    let until = Instant::now() + Duration::from_millis(tool.timeout_ms.into());
    let Some(smtp) = &config.smtp else {
        return Outcome::Refused("the tool names no server".into());
    };
    let message = match message(smtp, &cx.idempotency_key, arguments) {
        Ok(message) => message,
        Err(why) => return Outcome::Refused(why),
    };
    let (transport, redactor) = match prepare(app, cx, tool, smtp).await {
        Ok(prepared) => prepared,
        Err(why) => return why.into(),
    };
    if sent().await.is_err() {
        return Outcome::Refused("not sent: this worker no longer owns the run".into());
    }
    match tokio::time::timeout_at(until, transport.send(message)).await {
        Ok(Ok(answer)) if answer.is_positive() => Outcome::Done("sent".into()),
        Ok(Ok(answer)) => Outcome::Failed(format!("the server answered {}", answer.code())),
        // A refusal is an answer; so nothing was sent.
        Ok(Err(error)) if error.status().is_some() || error.is_client() => {
            Outcome::Failed(redactor.text(&error.to_string()))
        }
        Ok(Err(error)) => Outcome::Unknown(redactor.text(&error.to_string())),
        Err(_) => Outcome::Unknown("the mail server did not answer in time".into()),
    }
}

fn message(smtp: &Smtp, id: &str, arguments: &Value) -> Result<Message, String> {
    let from: Mailbox = smtp.from.parse().map_err(|_| "the tool's sender is no address")?;
    let domain = from.email.domain().to_owned();
    let mut builder = Message::builder()
        .from(from)
        // The same for every attempt: a mail server that knows it delivers once.
        .message_id(Some(format!("<{id}@{domain}>")))
        .subject(text(arguments, "subject").unwrap_or_default().replace(['\r', '\n'], " "));
    let mut count = 0;
    for field in ["to", "cc"] {
        for recipient in arguments.get(field).and_then(Value::as_array).into_iter().flatten() {
            let address = recipient.as_str().unwrap_or_default();
            let mailbox: Mailbox =
                address.parse().map_err(|_| format!("`{address}` is no e-mail address"))?;
            if !smtp.allows(&mailbox) {
                return Err(format!("`{address}` is not among the allowed recipients"));
            }
            count += 1;
            builder = if field == "to" { builder.to(mailbox) } else { builder.cc(mailbox) };
        }
    }
    if count == 0 || count > MOST_RECIPIENTS {
        return Err(format!("1 to {MOST_RECIPIENTS} recipients"));
    }
    if let Some(address) = text(arguments, "reply_to") {
        let mailbox = address.parse().map_err(|_| format!("`{address}` is no e-mail address"))?;
        builder = builder.reply_to(mailbox);
    }
    let body = arguments.get("body").and_then(Value::as_str).unwrap_or_default().to_owned();
    builder.header(ContentType::TEXT_PLAIN).body(body).map_err(|error| error.to_string())
}

/// The connection to a checked address, with the credential if there is one.
async fn prepare(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    smtp: &Smtp,
) -> Result<(AsyncSmtpTransport<Tokio1Executor>, Redactor), Unready> {
    let attached = tool.credential_id;
    let place = smtp.place();
    if attached.is_some() && !tool.credential_hosts.contains(&place) {
        return Err(format!("{place} is not among the allowed hosts").into());
    }
    if attached.is_some() && smtp.security == Security::None {
        return Err("no credential over a connection that is not protected".into());
    }
    let address = match app.egress.resolve(&smtp.host, smtp.port).await {
        Ok(address) => address,
        Err(
            EgressError::Denied(why)
            | EgressError::Unreachable(why)
            | EgressError::Misdirected(why)
            | EgressError::Unknown(why),
        ) => return Err(why.into()),
    };
    let tls = || TlsParameters::new(smtp.host.clone()).map_err(|error| error.to_string());
    let tls = match smtp.security {
        Security::Starttls => Tls::Required(tls()?),
        Security::Tls => Tls::Wrapper(tls()?),
        Security::None => Tls::None,
    };
    // Connects to the address that was checked; the certificate is still the host's.
    let mut builder =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(smtp.port)
            .tls(tls)
            .timeout(Some(Duration::from_millis(tool.timeout_ms.into())));
    let mut redactor = Redactor::default();
    if let Some(credential) = attached {
        let purpose = format!("tool:{}", tool.name);
        let patience = Duration::from_millis(tool.timeout_ms.into()) / 2;
        let host = Some(smtp.host.clone());
        let secret = secret(app, &cx.wants(credential), &purpose, host, patience).await?;
        let field = |name: &str| {
            secret.field(name).ok_or_else(|| format!("the credential has no field `{name}`"))
        };
        let (username, password) = (field("username")?, field("password")?);
        redactor = Redactor::new(&[&password]);
        builder = builder.credentials(Credentials::new(
            username.expose_secret().to_owned(),
            password.expose_secret().to_owned(),
        ));
    }
    Ok((builder.build(), redactor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp() -> Smtp {
        let smtp = json!({ "host": "smtp.example.com", "from": "Ada <ada@example.com>",
            "allowed_recipients": ["@example.com", "bob@other.org"] });
        serde_json::from_value(smtp).unwrap()
    }

    fn written(arguments: Value) -> Result<String, String> {
        message(&smtp(), "k1", &arguments)
            .map(|message| String::from_utf8(message.formatted()).unwrap())
    }

    #[test]
    fn a_message_goes_to_allowed_recipients_and_no_header_is_smuggled_in() {
        let mail = written(json!({ "to": ["Eve <eve@Example.com>", "bob@other.org"],
            "subject": "Hi\r\nBcc: all@evil.org", "body": "Grüezi\n.\nBcc: x@evil.org" }))
        .unwrap();

        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("Message-ID: <k1@example.com>") && head.contains("eve@Example.com"),
            "{head}"
        );
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    }

    #[test]
    fn other_recipients_and_nonsense_are_refused() {
        for to in [
            json!(["eve@evil.org"]),
            json!(["no address"]),
            json!([]),
            json!(["a@evil-example.com"]),
        ] {
            let refused = written(json!({ "to": to, "subject": "s", "body": "b" }));
            assert!(refused.is_err(), "{to}");
        }
    }
}
