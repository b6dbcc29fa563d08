//! Calls that people are asked about before they are made: which those are, who may say yes, and what a yes is worth.
//!
//! A rule is the tool's own or its agent's. A rule that cannot be decided asks. Of several that ask the strictest of each
//! thing holds, and who votes must be let by all of them. What a decision is bound to is in [`binding`].

pub(crate) mod binding;
pub(crate) mod expiry;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servicekit::FieldError;
use shared_models::{Role, UserId};
use utoipa::ToSchema;

use crate::hooks::rule;

/// When people are asked, and which people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// A CEL expression over `tool`, the name the model calls; `args`; `agent`, the agent's name; and `effect`. People are
    /// asked when it is true or cannot be decided; always without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048, example = "tool == 'refund' && args.amount > 100")]
    pub(crate) when: Option<String>,
    /// How many different people must approve. One who rejects is enough to refuse the call.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10)]
    pub(crate) votes: u32,
    /// Who may vote: members with this role or a higher one, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<Role>,
    /// … and these people. Everybody who sees the run and may write, when neither is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub(crate) users: Vec<UserId>,
    /// Whether the person who started the run may not vote.
    #[serde(default)]
    pub(crate) not_initiator: bool,
    /// When the call is refused if nobody has decided: after three days unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub(crate) expires_seconds: Option<u32>,
}

fn one() -> u32 {
    1
}

const THREE_DAYS: u32 = 3 * 24 * 3600;
const LONGEST: u32 = 30 * 24 * 3600;
const MOST_RULES: usize = 16;
/// How long a rule may take to be decided.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a rule may name.
const NAMES: &[&str] = &["tool", "args", "agent", "effect"];

impl Rule {
    /// Everything that cannot be so.
    pub(crate) fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse =
            |at: &str, why: String| errors.push(FieldError::new(format!("{pointer}{at}"), why));
        if let Some(Err(why)) = self.when.as_deref().map(|source| rule::compile_over(source, NAMES))
        {
            refuse("/when", why);
        }
        if !(1..=10).contains(&self.votes) {
            refuse("/votes", "from 1 to 10".into());
        }
        if self.users.len() > 64 {
            refuse("/users", "at most 64".into());
        }
        if self.role == Some(Role::Viewer) {
            refuse("/role", "viewers decide nothing".into());
        }
        if self.role.is_none() && !self.users.is_empty() && self.users.len() < self.votes as usize {
            refuse("/votes", "more than there are people who may vote".into());
        }
        if self.expires_seconds.is_some_and(|seconds| !(1..=LONGEST).contains(&seconds)) {
            refuse("/expires_seconds", "from 1 second to 30 days".into());
        }
        errors
    }

    async fn asks(&self, call: &Call<'_>) -> bool {
        let Some(source) = &self.when else { return true };
        match rule::holds_over(source, NAMES, call.seen(), PATIENCE).await {
            Ok(asks) => asks,
            Err(why) => {
                tracing::info!(why, tool = call.tool, "a rule that cannot be decided asks");
                true
            }
        }
    }
}

/// Everything that cannot be so in an agent's rules.
pub(crate) fn check(rules: &[Rule]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if rules.len() > MOST_RULES {
        errors.push(FieldError::new("/approvals", format!("at most {MOST_RULES}")));
    }
    let each = rules.iter().enumerate();
    errors.extend(each.flat_map(|(place, rule)| rule.check(&format!("/approvals/{place}"))));
    errors
}

/// A call, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) tool: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) effect: &'a str,
    pub(crate) arguments: &'a Value,
}

impl Call<'_> {
    fn seen(&self) -> Map<String, Value> {
        let fields = [
            ("tool", self.tool.into()),
            ("agent", self.agent.into()),
            ("effect", self.effect.into()),
            ("args", self.arguments.clone()),
        ];
        fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into_iter().collect()
    }
}

/// What the rules that ask come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Policy {
    /// How many different people must approve.
    pub(crate) votes: u32,
    /// Who votes must be let by each of these.
    pub(crate) voters: Vec<Voters>,
    /// Whether the person who started the run may not vote.
    pub(crate) not_initiator: bool,
    /// How long they have for it.
    pub(crate) expires_seconds: u32,
}

/// Some of a tenant's people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Voters {
    /// With this role or a higher one.
    pub(crate) role: Option<Role>,
    pub(crate) users: Vec<UserId>,
}

impl Voters {
    fn lets(&self, user: UserId, role: Option<Role>) -> bool {
        let by_role = self.role.is_some_and(|least| role.is_some_and(|role| role >= least));
        by_role || self.users.contains(&user)
    }
}

/// The strictest of the rules that ask about a call; none when no rule does.
pub(crate) async fn policy(rules: &[Rule], call: Call<'_>) -> Option<Policy> {
    let mut policy: Option<Policy> = None;
    for rule in rules {
        if rule.asks(&call).await {
            policy = Some(Policy::of(rule).stricter(policy));
        }
    }
    policy
}

impl Policy {
    fn of(rule: &Rule) -> Self {
        let limited = rule.role.is_some() || !rule.users.is_empty();
        let voters = Voters { role: rule.role, users: rule.users.clone() };
        Self {
            votes: rule.votes,
            voters: if limited { vec![voters] } else { Vec::new() },
            not_initiator: rule.not_initiator,
            expires_seconds: rule.expires_seconds.unwrap_or(THREE_DAYS),
        }
    }

    /// This one and another one at once.
    pub(crate) fn stricter(mut self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        self.votes = self.votes.max(other.votes);
        let more: Vec<Voters> =
            other.voters.into_iter().filter(|voters| !self.voters.contains(voters)).collect();
        self.voters.extend(more);
        self.not_initiator |= other.not_initiator;
        self.expires_seconds = self.expires_seconds.min(other.expires_seconds);
        self
    }

    /// Whether what satisfies this one satisfies the other one too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.votes >= other.votes
            && other.voters.iter().all(|voters| self.voters.contains(voters))
            && self.not_initiator >= other.not_initiator
            && self.expires_seconds <= other.expires_seconds
    }

    /// Why this person may not vote, if they may not.
    pub(crate) fn refusal(
        &self,
        user: UserId,
        role: Option<Role>,
        initiator: Option<UserId>,
    ) -> Option<&'static str> {
        if self.not_initiator && initiator == Some(user) {
            return Some("who started the run does not vote on its calls");
        }
        let let_by_all = self.voters.iter().all(|voters| voters.lets(user, role));
        (!let_by_all).then_some("you are not among those who vote on this call")
    }

    /// Everybody who is named.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.voters.iter().flat_map(|voters| voters.users.iter().copied()).collect()
    }

    /// The lowest role that is named.
    pub(crate) fn role(&self) -> Option<Role> {
        self.voters.iter().filter_map(|voters| voters.role).min()
    }
}

/// A role as a number, lowest first.
pub(crate) fn rank(role: Role) -> i32 {
    match role {
        Role::Viewer => 0,
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

#[cfg(test)]
#[path = "approvals_tests.rs"]
mod tests;
