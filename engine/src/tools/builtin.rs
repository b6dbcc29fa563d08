//! What the platform does itself.

pub(crate) mod actions;
mod ask;
mod calculator;
mod email;
mod fetch;
mod html;
mod memory;
mod time;
mod wait;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{FieldError, egress::HostPattern};
use shared_models::Effect;
use utoipa::ToSchema;

use super::{
    ToolFields,
    http::{self, CredentialPlace, Place},
};
use crate::{
    app::App,
    snapshot::SnapshotTool,
    toolbox::{CallCx, NotNow, Outcome},
};
use actions::Action;
pub(crate) use email::Smtp;
pub(crate) use memory::{About, MOST_FACTS};

/// Which one, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuiltinConfig {
    pub(crate) builtin: Builtin,
    /// `fetch_page`: the only hosts it may read; every public one when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_hosts: Vec<String>,
    /// `send_email`: the server, and who writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) smtp: Option<Smtp>,
    /// `memory_read` and `memory_write`: what the memory is about.
    #[serde(default)]
    pub(crate) about: About,
    /// `ask_human`: JSON Schema of the answer; any text unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) answer: Option<Value>,
}

/// The things the platform does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Builtin {
    /// What time it is, anywhere.
    Time,
    /// Arithmetic.
    Calculator,
    /// Lets time pass; the run holds nothing meanwhile.
    Wait,
    /// A web page as text.
    FetchPage,
    /// An e-mail by SMTP.
    SendEmail,
    /// A question to a person; the run waits for the answer.
    AskHuman,
    /// What was remembered.
    MemoryRead,
    /// Remembers something, or forgets it.
    MemoryWrite,
    SlackPostMessage,
    SlackListChannels,
    GithubSearchIssues,
    GithubCreateIssue,
    GithubCommentIssue,
    HubspotSearchContacts,
    HubspotCreateContact,
    HubspotCreateNote,
    GmailSearchMessages,
    GmailReadMessage,
    GmailSendMessage,
}

impl Builtin {
    pub(crate) fn effect(self) -> Effect {
        match self {
            Self::Time | Self::Calculator | Self::Wait | Self::FetchPage | Self::MemoryRead => {
                Effect::Read
            }
            // The question has one id, and is asked once.
            Self::AskHuman | Self::MemoryWrite => Effect::Idempotent,
            Self::SendEmail => Effect::Unsafe,
            action => Action::of(action).map_or(Effect::Unsafe, |action| action.effect),
        }
    }

    fn describe(self) -> (&'static str, Value) {
        match self {
            Self::Time => time::describe(),
            Self::Calculator => calculator::describe(),
            Self::Wait => wait::describe(),
            Self::FetchPage => fetch::describe(),
            Self::SendEmail => email::describe(),
            Self::AskHuman => ask::describe(),
            Self::MemoryRead => memory::describe_read(),
            Self::MemoryWrite => memory::describe_write(),
            action => match Action::of(action) {
                Some(action) => (action.description, (action.parameters)()),
                None => ("", super::no_parameters()),
            },
        }
    }
}

impl BuiltinConfig {
    /// The parameters are those of the builtin; the description is, unless somebody has a better one.
    pub(super) fn complete(&self, fields: &mut ToolFields) {
        let (description, parameters) = self.builtin.describe();
        fields.parameters = parameters;
        if fields.description.is_empty() {
            description.clone_into(&mut fields.description);
        }
    }

    pub(super) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, host) in self.allowed_hosts.iter().enumerate() {
            if HostPattern::parse(host).is_none() {
                let pointer = format!("/config/allowed_hosts/{index}");
                errors.push(FieldError::new(pointer, "a host such as `*.example.com`"));
            }
        }
        match (&self.smtp, self.builtin == Builtin::SendEmail) {
            (None, true) => errors.push(FieldError::new("/config/smtp", "which server sends it?")),
            (Some(_), false) => errors.push(FieldError::new("/config/smtp", "only for send_email")),
            (Some(smtp), true) => errors.extend(smtp.check()),
            (None, false) => {}
        }
        if let Some(Err(why)) = self.answer.as_ref().map(agentcore::validate::check_schema) {
            errors.push(FieldError::new("/config/answer", why));
        }
        errors
    }

    pub(super) fn hosts(&self) -> Vec<String> {
        if let Some(action) = self.action() {
            return action.hosts();
        }
        self.smtp.as_ref().map_or_else(|| self.allowed_hosts.clone(), |smtp| vec![smtp.place()])
    }

    pub(super) fn credential(&self) -> Option<CredentialPlace> {
        match self.builtin {
            Builtin::SendEmail => Some(CredentialPlace {
                place: Place::Basic,
                name: None,
                prefix: String::new(),
                field: Some("password".into()),
                username_field: Some("username".into()),
            }),
            _ => self.action().and_then(|config| config.credential),
        }
    }

    /// The request, for those that are one.
    fn action(&self) -> Option<http::HttpConfig> {
        Action::of(self.builtin).map(|action| action.config())
    }
}

/// Does it.
pub(crate) async fn call(
    app: &App,
    cx: &CallCx,
    tool: &SnapshotTool,
    arguments: Value,
    sent: impl AsyncFnOnce() -> Result<(), NotNow>,
) -> Outcome {
    let config: BuiltinConfig = match serde_json::from_value(tool.config.clone()) {
        Ok(config) => config,
        Err(error) => {
            return Outcome::Refused(format!("the tool's configuration is broken: {error}"));
        }
    };
    if let Some(action) = config.action() {
        let config = serde_json::to_value(action).unwrap_or_default();
        let tool = SnapshotTool { config, ..tool.clone() };
        return http::call(app, cx, &tool, arguments, sent).await;
    }
    match config.builtin {
        Builtin::Time => told(time::now(&arguments)),
        Builtin::Calculator => told(calculator::call(&arguments)),
        Builtin::Wait => wait::call(app, cx, &arguments).await,
        Builtin::FetchPage => fetch::call(app, &config, tool.timeout_ms, &arguments).await,
        Builtin::SendEmail => email::call(app, cx, tool, &config, &arguments, sent).await,
        Builtin::AskHuman => ask::call(&config, &arguments),
        Builtin::MemoryRead => memory::read(app, cx, config.about, &arguments).await,
        Builtin::MemoryWrite => memory::write(app, cx, config.about, &arguments).await,
        other => Outcome::Refused(format!("nobody here does {}", json!(other))),
    }
}

fn told(result: Result<String, String>) -> Outcome {
    result.map_or_else(Outcome::Failed, Outcome::Done)
}

/// One argument, as text.
fn text<'a>(arguments: &'a Value, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}
