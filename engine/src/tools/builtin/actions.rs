//! Actions of well-known services: HTTP tools that are already written down.

use serde_json::{Value, json};
use shared_models::Effect;

use super::Builtin;
use crate::tools::http::{CredentialPlace, Encoding, HttpConfig, Method, Place};

pub(crate) struct Action {
    pub(super) description: &'static str,
    pub(super) effect: Effect,
    pub(super) parameters: fn() -> Value,
    method: Method,
    url: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Option<fn() -> Value>,
}

impl Action {
    pub(super) fn of(builtin: Builtin) -> Option<Self> {
        slack(builtin)
            .or_else(|| github(builtin))
            .or_else(|| hubspot(builtin))
            .or_else(|| gmail(builtin))
    }

    /// The request; every one of these services takes a bearer token.
    pub(super) fn config(&self) -> HttpConfig {
        let headers = self.headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        HttpConfig {
            method: self.method,
            url: self.url.into(),
            headers: headers.collect(),
            body: self.body.map(|body| body()),
            encoding: Encoding::Json,
            join: std::collections::BTreeMap::new(),
            allowed_hosts: Vec::new(),
            credential: Some(CredentialPlace {
                place: Place::Bearer,
                name: None,
                prefix: String::new(),
                field: None,
                username_field: None,
            }),
            max_response_bytes: 64 * 1024,
            success: Vec::new(),
            callback: None,
            idempotency_header: "Idempotency-Key".into(),
        }
    }
}

fn reads(
    description: &'static str,
    url: &'static str,
    headers: &'static [(&'static str, &'static str)],
    parameters: fn() -> Value,
) -> Action {
    Action {
        description,
        effect: Effect::Read,
        parameters,
        method: Method::Get,
        url,
        headers,
        body: None,
    }
}

fn posts(
    description: &'static str,
    url: &'static str,
    headers: &'static [(&'static str, &'static str)],
    parameters: fn() -> Value,
    body: fn() -> Value,
) -> Action {
    let (effect, method) = (Effect::Unsafe, Method::Post);
    Action { description, effect, parameters, method, url, headers, body: Some(body) }
}

/// The schema of an object with these members, all strings unless they say otherwise.
fn object(required: &[&str], members: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": members, "additionalProperties": false })
}

fn slack(builtin: Builtin) -> Option<Action> {
    Some(match builtin {
        Builtin::SlackPostMessage => posts(
            "Posts a message to a Slack channel.",
            "https://slack.com/api/chat.postMessage",
            &[],
            || {
                object(
                    &["channel", "text"],
                    json!({
                    "channel": { "type": "string", "description": "Its id, or #name." },
                    "text": { "type": "string" },
                    "thread_ts": { "type": "string", "description": "The message it answers." } }),
                )
            },
            || json!({ "channel": "{channel}", "text": "{text}", "thread_ts": "{thread_ts}" }),
        ),
        Builtin::SlackListChannels => reads(
            "Lists the channels of a Slack workspace.",
            "https://slack.com/api/conversations.list?exclude_archived=true&limit={limit}&cursor={cursor}",
            &[],
            || {
                object(
                    &[],
                    json!({ "limit": { "type": "integer", "minimum": 1, "maximum": 200 },
                    "cursor": { "type": "string" } }),
                )
            },
        ),
        _ => return None,
    })
}

const GITHUB: &[(&str, &str)] =
    &[("Accept", "application/vnd.github+json"), ("X-GitHub-Api-Version", "2022-11-28")];

fn repository(required: &[&str], more: Value) -> Value {
    let mut members = json!({ "owner": { "type": "string" }, "repo": { "type": "string" } });
    json_patch::merge(&mut members, &more);
    object(&[&["owner", "repo"], required].concat(), members)
}

fn github(builtin: Builtin) -> Option<Action> {
    Some(match builtin {
        Builtin::GithubSearchIssues => reads(
            "Searches issues and pull requests on GitHub.",
            "https://api.github.com/search/issues?q={query}&per_page={limit}",
            GITHUB,
            || {
                object(
                    &["query"],
                    json!({
                    "query": { "type": "string", "description": "As in GitHub's search: `repo:o/r is:open bug`." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 50 } }),
                )
            },
        ),
        Builtin::GithubCreateIssue => posts(
            "Opens an issue on GitHub.",
            "https://api.github.com/repos/{owner}/{repo}/issues",
            GITHUB,
            || {
                repository(
                    &["title"],
                    json!({ "title": { "type": "string" }, "body": { "type": "string" },
                    "tags": { "type": "array", "items": { "type": "string" } } }),
                )
            },
            || json!({ "title": "{title}", "body": "{body}", "labels": "{tags}" }),
        ),
        Builtin::GithubCommentIssue => posts(
            "Comments on an issue or pull request on GitHub.",
            "https://api.github.com/repos/{owner}/{repo}/issues/{number}/comments",
            GITHUB,
            || {
                repository(
                    &["number", "body"],
                    json!({ "number": { "type": "integer" },
                    "body": { "type": "string" } }),
                )
            },
            || json!({ "body": "{body}" }),
        ),
        _ => return None,
    })
}

fn hubspot(builtin: Builtin) -> Option<Action> {
    Some(match builtin {
        Builtin::HubspotSearchContacts => Action {
            effect: Effect::Read,
            ..posts(
                "Searches contacts in HubSpot by name, e-mail or company.",
                "https://api.hubapi.com/crm/v3/objects/contacts/search",
                &[],
                || {
                    object(
                        &["query"],
                        json!({ "query": { "type": "string" },
                        "limit": { "type": "integer", "minimum": 1, "maximum": 50 } }),
                    )
                },
                || json!({ "query": "{query}", "limit": "{limit}" }),
            )
        },
        Builtin::HubspotCreateContact => posts(
            "Adds a contact to HubSpot.",
            "https://api.hubapi.com/crm/v3/objects/contacts",
            &[],
            || {
                object(
                    &["email"],
                    json!({ "email": { "type": "string" }, "firstname": { "type": "string" },
                    "lastname": { "type": "string" }, "company": { "type": "string" },
                    "phone": { "type": "string" } }),
                )
            },
            || {
                json!({ "properties": { "email": "{email}", "firstname": "{firstname}",
                    "lastname": "{lastname}", "company": "{company}", "phone": "{phone}" } })
            },
        ),
        Builtin::HubspotCreateNote => posts(
            "Adds a note to a contact in HubSpot.",
            "https://api.hubapi.com/crm/v3/objects/notes",
            &[],
            || {
                object(
                    &["contact_id", "body", "at"],
                    json!({ "contact_id": { "type": "string" },
                    "body": { "type": "string" },
                    "at": { "type": "string", "description": "When, as RFC 3339." } }),
                )
            },
            || {
                json!({ "properties": { "hs_note_body": "{body}", "hs_timestamp": "{at}" },
                    "associations": [{ "to": { "id": "{contact_id}" }, "types": [
                        { "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202 }] }] })
            },
        ),
        _ => return None,
    })
}

fn gmail(builtin: Builtin) -> Option<Action> {
    Some(match builtin {
        Builtin::GmailSearchMessages => reads(
            "Searches the mailbox; gives ids of messages.",
            "https://gmail.googleapis.com/gmail/v1/users/me/messages?q={query}&maxResults={limit}",
            &[],
            || {
                object(
                    &["query"],
                    json!({
                    "query": { "type": "string", "description": "As in Gmail's search: `from:ada is:unread`." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 50 } }),
                )
            },
        ),
        Builtin::GmailReadMessage => reads(
            "Reads one message of the mailbox.",
            "https://gmail.googleapis.com/gmail/v1/users/me/messages/{id}?format=full",
            &[],
            || object(&["id"], json!({ "id": { "type": "string" } })),
        ),
        Builtin::GmailSendMessage => posts(
            "Sends an e-mail from the mailbox.",
            "https://gmail.googleapis.com/gmail/v1/users/me/messages/send",
            &[],
            || {
                object(
                    &["raw"],
                    json!({ "raw": { "type": "string",
                    "description": "The whole message as RFC 5322 has it, in base64url." } }),
                )
            },
            || json!({ "raw": "{raw}" }),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_a_sound_request() {
        let all = [
            Builtin::SlackPostMessage,
            Builtin::SlackListChannels,
            Builtin::GithubSearchIssues,
            Builtin::GithubCreateIssue,
            Builtin::GithubCommentIssue,
            Builtin::HubspotSearchContacts,
            Builtin::HubspotCreateContact,
            Builtin::HubspotCreateNote,
            Builtin::GmailSearchMessages,
            Builtin::GmailReadMessage,
            Builtin::GmailSendMessage,
        ];
        for builtin in all {
            let action = Action::of(builtin).unwrap();
            let parameters = (action.parameters)();
            assert_eq!(agentcore::validate::check_schema(&parameters), Ok(()), "{builtin:?}");
            let named = action.config().check(&parameters);
            assert!(named.is_empty(), "{builtin:?}: {named:?}");
        }
    }
}
