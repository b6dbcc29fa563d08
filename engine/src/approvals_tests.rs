use serde_json::json;

use super::*;

fn rule(fields: Value) -> Rule {
    serde_json::from_value(fields).unwrap()
}

async fn asked(rules: &[Rule], arguments: Value) -> Option<Policy> {
    let call = Call { tool: "refund", agent: "desk", effect: "unsafe", arguments: &arguments };
    policy(rules, call).await
}

#[tokio::test]
async fn people_are_asked_when_a_rule_holds_or_cannot_be_decided() {
    let large = [rule(json!({ "when": "tool == 'refund' && args.amount > 100" }))];

    assert_eq!(asked(&large, json!({ "amount": 100 })).await, None);
    assert!(asked(&large, json!({ "amount": 101 })).await.is_some());
    assert!(asked(&large, json!({})).await.is_some(), "no amount is no small amount");
    assert!(asked(&large, json!({ "amount": "12" })).await.is_some());
    assert!(asked(&[rule(json!({}))], json!({})).await.is_some(), "without a condition always");
    assert_eq!(asked(&[], json!({})).await, None);
}

#[tokio::test]
async fn of_several_rules_the_strictest_of_each_thing_holds() {
    let (ann, bob) = (UserId::mint(), UserId::mint());
    let rules = [
        rule(json!({ "votes": 2, "users": [ann, bob], "expires_seconds": 60 })),
        rule(json!({ "role": "admin", "not_initiator": true, "expires_seconds": 600 })),
        rule(json!({ "when": "args.amount > 100", "votes": 9 })),
    ];

    let policy = asked(&rules, json!({ "amount": 1 })).await.unwrap();

    assert_eq!((policy.votes, policy.expires_seconds), (2, 60));
    let refusal = |user, role| policy.refusal(user, Some(role), Some(bob));
    assert_eq!(refusal(ann, Role::Admin), None);
    assert!(refusal(ann, Role::Member).is_some(), "named, but no administrator");
    assert!(refusal(UserId::mint(), Role::Owner).is_some(), "an administrator who is not named");
    assert!(refusal(bob, Role::Owner).is_some(), "who started the run");
}

#[test]
fn rules_that_nobody_could_follow_are_refused() {
    let pointers = |fields| -> Vec<String> {
        check(&[rule(fields)]).into_iter().map(|error| error.pointer).collect()
    };

    assert_eq!(pointers(json!({ "when": "tool == 'x' && args.n > 1" })), Vec::<String>::new());
    for (fields, pointer) in [
        (json!({ "when": "tool ==" }), "/approvals/0/when"),
        (json!({ "when": "secret == 1" }), "/approvals/0/when"),
        (json!({ "when": "tool_name == 'x'" }), "/approvals/0/when"),
        (json!({ "votes": 0 }), "/approvals/0/votes"),
        (json!({ "votes": 2, "users": [UserId::mint()] }), "/approvals/0/votes"),
        (json!({ "role": "viewer" }), "/approvals/0/role"),
        (json!({ "expires_seconds": 0 }), "/approvals/0/expires_seconds"),
    ] {
        assert_eq!(pointers(fields.clone()), [pointer], "{fields}");
    }
    assert_eq!(check(&vec![Rule { votes: 1, ..Rule::default() }; 17])[0].pointer, "/approvals");
}

#[tokio::test]
async fn a_policy_covers_another_one_when_it_wants_as_much_of_everything() {
    let (ann, bob) = (UserId::mint(), UserId::mint());
    let least = Policy::of(&rule(json!({})));
    let strict =
        json!({ "votes": 2, "role": "admin", "not_initiator": true, "expires_seconds": 60 });
    let strict = Policy::of(&rule(strict));

    assert!(strict.covers(&least) && strict.covers(&strict) && !least.covers(&strict));
    for more in [
        json!({ "votes": 2 }),
        json!({ "users": [ann] }),
        json!({ "not_initiator": true }),
        json!({ "expires_seconds": 60 }),
    ] {
        assert!(!least.covers(&Policy::of(&rule(more.clone()))), "{more}");
    }
    let voters = |users: [UserId; 1]| Policy::of(&rule(json!({ "users": users })));
    let (one, other) = (voters([ann]), voters([bob]));
    assert!(!one.covers(&other));
    let both = |one: &Policy, other: &Policy| one.clone().stricter(Some(other.clone()));
    assert!(both(&one, &other).covers(&both(&other, &one)), "in any order");
}
