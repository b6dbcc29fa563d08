//! How deliveries that never came are found: what a hook's trigger says about it, whichever provider it is.

use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use utoipa::ToSchema;

use super::{FLOOR, hubspot::Subscription};
use crate::trigger::System;

const LONGEST_INTERVAL: u32 = 24 * 60 * 60;
const LONGEST_GRACE: u32 = 60 * 60;
const USUAL_GRACE: u32 = 120;
const MOST_SUBSCRIPTIONS: usize = 50;

/// How deliveries that did not come are found. Fields that the system does not use are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "hook": "repos/octocat/hello/hooks/42", "interval_seconds": 300 }))]
pub(crate) struct Reconcile {
    /// `github`: the webhook there, `repos/{owner}/{repo}/hooks/{id}` or `orgs/{org}/hooks/{id}`. The credential has, beside
    /// the `secret`, a `token` that may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// `hubspot`: what the app is subscribed to, such as `contact.creation`, `contact.propertyChange:email` and
    /// `contact.deletion`. The credential has, beside the `secret`, an `access_token` that may search. What was wiped for good
    /// (`contact.privacyDeletion`) cannot be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<String>,
    /// `hubspot`: how long it may take to deliver before that counts as lost; 0 to 3600, 120 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// Seconds between two looks: 30 to 86400, 300 unless said.
    #[serde(default = "usual")]
    pub interval_seconds: u32,
}

const fn usual() -> u32 {
    300
}

impl Reconcile {
    /// Names every field that makes no sense for a system.
    pub(crate) fn errors(&self, system: System) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: String| {
            errors.push(FieldError::new(format!("/options/reconcile/{field}"), why));
        };
        match (system, self.hook.as_deref()) {
            (System::Github, hook) if !hook.is_some_and(is_hook) => {
                let why = "say repos/{owner}/{repo}/hooks/{id} or orgs/{org}/hooks/{id}";
                refuse("hook", why.into());
            }
            (System::Github, _) | (_, None) => {}
            (other, Some(_)) => refuse("hook", format!("has no meaning with {other}")),
        }
        if system == System::Hubspot {
            if self.subscriptions.is_empty() || self.subscriptions.len() > MOST_SUBSCRIPTIONS {
                refuse("subscriptions", "name 1 to 50".into());
            }
            for (place, text) in self.subscriptions.iter().enumerate() {
                if let Err(why) = Subscription::parse(text) {
                    refuse(&format!("subscriptions/{place}"), why);
                }
            }
        } else if !self.subscriptions.is_empty() {
            refuse("subscriptions", format!("has no meaning with {system}"));
        }
        match self.grace_seconds {
            Some(_) if system != System::Hubspot => {
                refuse("grace_seconds", format!("has no meaning with {system}"));
            }
            Some(seconds) if seconds > LONGEST_GRACE => {
                refuse("grace_seconds", "must be between 0 and 3600".into());
            }
            _ => {}
        }
        if !(FLOOR..=LONGEST_INTERVAL).contains(&self.interval_seconds) {
            refuse("interval_seconds", "must be between 30 and 86400".into());
        }
        errors
    }

    /// How long the provider may take before what it has not told of counts as lost.
    pub(crate) fn grace(&self) -> chrono::Duration {
        chrono::Duration::seconds(self.grace_seconds.unwrap_or(USUAL_GRACE).into())
    }
}

fn is_hook(hook: &str) -> bool {
    let parts: Vec<&str> = hook.split('/').collect();
    let known = matches!(parts.as_slice(), ["repos", _, _, "hooks", _] | ["orgs", _, "hooks", _]);
    let plain = |part: &&str| {
        let mut letters = part.chars();
        !part.is_empty()
            && !part.starts_with('.')
            && letters.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    known && parts.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(system: System, reconcile: &Reconcile) -> Vec<String> {
        reconcile.errors(system).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_hook_is_a_place_at_github_and_nothing_else() {
        let refused = |hook: &str| {
            let hook = Some(hook.to_owned());
            let reconcile = Reconcile { hook, interval_seconds: 60, ..Reconcile::default() };
            !reconcile.errors(System::Github).is_empty()
        };

        assert!(!refused("repos/octocat/hello-world/hooks/42"));
        assert!(!refused("orgs/octo/hooks/1"));
        for hook in
            ["", "repos/a/b", "repos/../../hooks/1", "repos/a/b/hooks/1?x", "user/a/hooks/1"]
        {
            assert!(refused(hook), "{hook}");
        }
    }

    #[test]
    fn a_field_of_another_provider_is_refused_by_name() {
        let subscriptions = vec!["contact.creation".into(), "contact.privacyDeletion".into()];
        let both = Reconcile {
            hook: Some("orgs/octo/hooks/1".into()),
            subscriptions,
            grace_seconds: Some(3601),
            interval_seconds: 29,
        };
        let field = |name: &str| format!("/options/reconcile/{name}");

        assert_eq!(
            refused(System::Hubspot, &both),
            ["hook", "subscriptions/1", "grace_seconds", "interval_seconds"].map(field)
        );
        assert_eq!(
            refused(System::Github, &both),
            ["subscriptions", "grace_seconds", "interval_seconds"].map(field)
        );
        let nothing = Reconcile { interval_seconds: 60, ..Reconcile::default() };
        assert_eq!(refused(System::Hubspot, &nothing), [field("subscriptions")]);
        assert_eq!(refused(System::Github, &nothing), [field("hook")]);
    }
}
