//! What people do with approvals, in any order and at once, beside a model of it: whatever they do, a call is made at most
//! once, with exactly the arguments that enough people have approved of, and never otherwise.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Api, Person, Reply, eventually};

use crate::approvals::{asked, expire, path, refund, shop, turns};
use crate::harness::TestApp;
use crate::scene;

const VOTERS: usize = 3;

/// What somebody does. `stale` names the binding that was there first.
#[derive(Clone, Debug)]
enum Deed {
    Approve {
        who: usize,
        stale: bool,
    },
    Edit {
        who: usize,
        amount: i64,
        stale: bool,
    },
    Reject {
        who: usize,
        stale: bool,
    },
    Expire,
    /// Two at once.
    Race(Box<Deed>, Box<Deed>),
}

fn deed() -> impl Strategy<Value = Deed> {
    let stale = || prop_oneof![4 => Just(false), 1 => Just(true)];
    let approve = (0..VOTERS, stale()).prop_map(|(who, stale)| Deed::Approve { who, stale });
    let edit = (0..VOTERS, 1..4i64, stale()).prop_map(|(who, amount, stale)| Deed::Edit {
        who,
        amount,
        stale,
    });
    let reject = (0..VOTERS, stale()).prop_map(|(who, stale)| Deed::Reject { who, stale });
    let one = prop_oneof![6 => approve, 5 => edit, 1 => reject, 1 => Just(Deed::Expire)].boxed();
    let race = (one.clone(), one.clone()).prop_map(|(a, b)| Deed::Race(Box::new(a), Box::new(b)));
    prop_oneof![3 => one, 2 => race]
}

/// How it should stand.
#[derive(Clone, Debug)]
struct Model {
    votes: usize,
    status: &'static str,
    first: String,
    binding: String,
    amount: i64,
    /// Whose yes counts.
    approved: BTreeSet<usize>,
}

impl Model {
    /// What the deed is answered, and what it changes.
    fn expects(&mut self, deed: &Deed) -> (u16, &'static str) {
        let stale = match deed {
            Deed::Approve { stale, .. } | Deed::Edit { stale, .. } | Deed::Reject { stale, .. } => {
                *stale
            }
            Deed::Expire | Deed::Race(..) => false,
        };
        if self.status != "open" {
            return (409, "approval_closed");
        }
        if stale && self.first != self.binding {
            return (409, "approval_changed");
        }
        match deed {
            Deed::Reject { .. } => self.status = "rejected",
            Deed::Approve { who, .. } | Deed::Edit { who, .. } => {
                if let Deed::Edit { amount, .. } = deed
                    && *amount != self.amount
                {
                    self.amount = *amount;
                    self.approved.clear();
                }
                if !self.approved.insert(*who) {
                    return (409, "approval_voted");
                }
                if self.approved.len() >= self.votes {
                    self.status = "approved";
                }
            }
            Deed::Expire => self.status = "expired",
            Deed::Race(..) => {}
        }
        (200, "")
    }
}

struct Case<'a> {
    app: &'a TestApp,
    voters: Vec<Api>,
    approval: Value,
    model: Model,
}

impl Case<'_> {
    async fn see(&self) -> Value {
        self.voters[0].get(&path(&self.approval, "")).await.expect(200)
    }

    async fn act(&self, deed: &Deed) -> Option<Reply> {
        let of = |stale: bool| json!({ "binding": if stale { &self.model.first } else { &self.model.binding } });
        let (who, verb, body) = match deed {
            Deed::Approve { who, stale } => (*who, "/approve", of(*stale)),
            Deed::Edit { who, amount, stale } => {
                let mut body = of(*stale);
                body["arguments"] = json!({ "amount": amount });
                (*who, "/approve", body)
            }
            Deed::Reject { who, stale } => (*who, "/reject", of(*stale)),
            Deed::Expire => {
                expire(self.app, &self.approval).await;
                return None;
            }
            Deed::Race(..) => unreachable!("races are not nested"),
        };
        Some(self.voters[who].post(&path(&self.approval, verb), &body).await)
    }

    async fn play(&mut self, deed: &Deed) {
        if let Deed::Race(one, other) = deed {
            let (one, other) = tokio::join!(self.act(one), self.act(other));
            for reply in [one, other].into_iter().flatten() {
                assert!(matches!(reply.status, 200 | 409), "{}", reply.text);
            }
            // Which of them was first is not known: the model begins anew from what came of it.
            self.learn().await;
            return;
        }
        let reply = self.act(deed).await;
        let expected = self.model.expects(deed);
        if let Some(reply) = reply {
            let refusal = if reply.status == 200 { (200, "") } else { reply.refusal() };
            assert_eq!(refusal, expected, "{deed:?} of {:?}: {}", self.model, reply.text);
        }
        if self.model.status == "expired" {
            self.until_closed().await;
        }
        let seen = self.see().await;
        seen["binding"].as_str().unwrap().clone_into(&mut self.model.binding);
        assert_eq!(seen["status"], self.model.status, "{deed:?}: {seen}");
        assert_eq!(seen["arguments"]["amount"], self.model.amount, "{deed:?}: {seen}");
        if self.model.status != "expired" {
            assert_eq!(seen["approvals"], self.model.approved.len(), "{deed:?}: {seen}");
        }
    }

    /// What is over is closed by the next sweep.
    async fn until_closed(&self) {
        eventually("the sweep", async || (self.see().await["status"] != "open").then_some(()))
            .await;
    }

    async fn learn(&mut self) {
        let over: bool = sqlx::query_scalar(
            "select expires_at <= now() from engine.approval where approval_id = $1::uuid",
        )
        .bind(scene::bare(self.approval["approval_id"].as_str().unwrap()))
        .fetch_one(&mut self.app.db.admin().await)
        .await
        .unwrap();
        if over {
            self.until_closed().await;
        }
        let seen = self.see().await;
        let model = &mut self.model;
        model.status = ["open", "approved", "rejected", "expired"]
            .into_iter()
            .find(|status| seen["status"] == *status)
            .unwrap();
        seen["binding"].as_str().unwrap().clone_into(&mut model.binding);
        model.amount = seen["arguments"]["amount"].as_i64().unwrap();
        model.approved.clear();
    }
}

/// After a race: whose votes count, as the log of votes says.
fn counted(seen: &Value, voters: &[Person]) -> BTreeSet<usize> {
    let votes = seen["votes"].as_array().unwrap().iter();
    let valid = votes.filter(|vote| vote["void"] == false && vote["kind"] != "reject");
    valid
        .map(|vote| {
            assert_eq!(vote["binding"], seen["binding"], "a vote counts for what it was cast on");
            voters.iter().position(|voter| vote["user_id"] == voter.user.to_string()).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn whatever_people_do_only_what_enough_of_them_approved_of_is_executed() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let people: Vec<Person> = (0..VOTERS).map(|_| owner.colleague(Role::Admin)).collect();
    let mut agents = Vec::new();
    for votes in [1, 2, 3] {
        let server = shop().await;
        let agent = scene::scripted(&api, &format!("a{votes}"), &turns(&[1])).await;
        refund(&api, &agent, &server.url(), Some(json!({ "votes": votes }))).await;
        agents.push((agent, server));
    }
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (0..3usize, prop::collection::vec(deed(), 1..10));

    for _ in 0..40 {
        let (which, deeds) = strategy.new_tree(&mut runner).unwrap().current();
        let (agent, server) = &agents[which];
        let api = app.person(&owner);
        let before = server.requests().len();
        let run = scene::start(&api, agent).await;
        let approval = asked(&api, &run).await;
        let binding = approval["binding"].as_str().unwrap().to_owned();
        let model = Model {
            votes: which + 1,
            status: "open",
            first: binding.clone(),
            binding,
            amount: 1,
            approved: BTreeSet::new(),
        };
        let voters = people.iter().map(|person| app.person(person)).collect();
        let mut case = Case { app: &app, voters, approval, model };

        for deed in &deeds {
            case.play(deed).await;
            case.model.approved = counted(&case.see().await, &people);
        }
        if case.model.status == "open" {
            case.play(&Deed::Expire).await;
        }

        scene::until(&api, &run, "succeeded").await;
        let seen = case.see().await;
        let made: Vec<Value> =
            server.requests()[before..].iter().map(testkit::Stubbed::json).collect();
        if seen["status"] == "approved" {
            assert_eq!(made, [seen["arguments"].clone()], "{deeds:?}");
            assert!(counted(&seen, &people).len() > which, "{deeds:?}: {seen}");
        } else {
            assert_eq!(made, Vec::<Value>::new(), "{deeds:?}: {seen}");
        }
    }
}
