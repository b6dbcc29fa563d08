//! What people do with approvals, in any order and at once, beside a model of it: whatever they do, a call is made at most
//! once, with exactly the arguments that enough people have approved of, and never otherwise.
//!
//! They ask two engines, and what two of them do at once must be what one order of both makes of it. Meanwhile the tool
//! changes and the process that has asked them dies.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Api, Person, Reply, Stub, Stubbed, eventually};

use crate::approvals::{asked, expire, path, shop, turns};
use crate::harness::{Node, TestApp};
use crate::scene;

const VOTERS: usize = 3;
const CASES: usize = 40;
/// What the model writes.
const FIRST: i64 = 1;

/// What somebody does. `stale` names what was there first.
#[derive(Clone, Debug)]
enum Deed {
    Approve { who: usize, stale: bool },
    Edit { who: usize, amount: i64, stale: bool },
    Reject { who: usize, stale: bool },
    Expire,
}

#[derive(Clone, Debug)]
enum Step {
    One(Deed),
    /// The same request comes again.
    Twice(Deed),
    /// Two at once, each at another engine.
    Race(Deed, Deed),
    /// Somebody points the tool elsewhere.
    ChangeTool,
    /// The process that drives runs dies, and another one comes.
    Die,
}

fn deed() -> impl Strategy<Value = Deed> {
    let stale = || prop_oneof![4 => Just(false), 1 => Just(true)];
    let approve = (0..VOTERS, stale()).prop_map(|(who, stale)| Deed::Approve { who, stale });
    let edit = (0..VOTERS, FIRST..4, stale()).prop_map(|(who, amount, stale)| Deed::Edit {
        who,
        amount,
        stale,
    });
    let reject = (0..VOTERS, stale()).prop_map(|(who, stale)| Deed::Reject { who, stale });
    prop_oneof![6 => approve, 5 => edit, 1 => reject, 1 => Just(Deed::Expire)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => deed().prop_map(Step::One),
        1 => deed().prop_map(Step::Twice),
        4 => (deed(), deed()).prop_map(|(one, other)| Step::Race(one, other)),
        1 => deed().prop_map(|deed| Step::Race(deed.clone(), deed)),
        1 => Just(Step::ChangeTool),
        1 => Just(Step::Die),
    ]
}

/// A status and a code; nothing for who asks nobody.
type Said = Option<(u16, String)>;

fn said(reply: Option<&Reply>) -> Said {
    reply.map(|reply| (reply.status, reply.code().to_owned()))
}

/// How it should stand. What would be sent is told apart by its amount, and so is its binding.
#[derive(Clone, Debug)]
struct Model {
    votes: usize,
    status: &'static str,
    amount: i64,
    /// Whose yes counts.
    approved: BTreeSet<usize>,
}

impl Model {
    /// What the deed names by its binding.
    fn named(&self, deed: &Deed) -> i64 {
        match deed {
            Deed::Approve { stale: true, .. }
            | Deed::Edit { stale: true, .. }
            | Deed::Reject { stale: true, .. } => FIRST,
            _ => self.amount,
        }
    }

    /// What the deed is answered, and what it changes.
    fn expects(&mut self, deed: &Deed, named: i64) -> Said {
        let refused = |code: &str| Some((409, code.to_owned()));
        let is_open = self.status == "open";
        if let Deed::Expire = deed {
            self.status = if is_open { "expired" } else { self.status };
            return None;
        }
        if !is_open {
            return refused("approval_closed");
        }
        if named != self.amount {
            return refused("approval_changed");
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
                    return refused("approval_voted");
                }
                if self.approved.len() >= self.votes {
                    self.status = "approved";
                }
            }
            Deed::Expire => {}
        }
        Some((200, String::new()))
    }

    fn agrees(&self, seen: &Value, people: &[Person]) -> bool {
        seen["status"] == self.status
            && seen["arguments"]["amount"] == self.amount
            && seen["approvals"] == self.approved.len()
            && counted(seen, people) == self.approved
    }
}

/// Whose votes count, as the log of votes says.
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

/// Where people ask, and what else there is.
struct World {
    app: TestApp,
    edges: [Api; 2],
    people: Vec<Person>,
    shop: Stub,
    node: Option<Node>,
}

struct Case<'a> {
    world: &'a mut World,
    /// Of each person at each engine.
    voters: Vec<[Api; 2]>,
    tool: String,
    approval: Value,
    /// By amount.
    bindings: BTreeMap<i64, String>,
    model: Model,
}

impl Case<'_> {
    async fn see(&self) -> Value {
        self.voters[0][0].get(&path(&self.approval, "")).await.expect(200)
    }

    async fn act(&self, edge: usize, deed: &Deed, named: i64) -> Option<Reply> {
        let mut body = json!({ "binding": self.bindings[&named] });
        let (who, verb) = match deed {
            Deed::Approve { who, .. } => (*who, "/approve"),
            Deed::Edit { who, amount, .. } => {
                body["arguments"] = json!({ "amount": amount });
                (*who, "/approve")
            }
            Deed::Reject { who, .. } => (*who, "/reject"),
            Deed::Expire => {
                expire(&self.world.app, &self.approval).await;
                return None;
            }
        };
        Some(self.voters[who][edge].post(&path(&self.approval, verb), &body).await)
    }

    async fn play(&mut self, step: &Step) {
        match step {
            Step::One(deed) => self.one(deed, self.model.named(deed)).await,
            Step::Twice(deed) => {
                let named = self.model.named(deed);
                self.one(deed, named).await;
                self.one(deed, named).await;
            }
            Step::Race(one, other) => self.race([one, other]).await,
            Step::ChangeTool => {
                let url = format!("{}/elsewhere", self.world.shop.url());
                let patch = json!({ "config": { "method": "POST", "url": url } });
                let tool = format!("/v1/tools/{}", self.tool);
                self.voters[0][0].patch(&tool, &patch).await.expect(200);
            }
            // Once it is decided, the call may be under way, and would be in doubt.
            Step::Die if self.model.status == "open" => {
                if let Some(node) = self.world.node.take() {
                    node.kill();
                }
                self.world.node = Some(self.world.app.node().await);
            }
            Step::Die => {}
        }
    }

    async fn one(&mut self, deed: &Deed, named: i64) {
        let reply = self.act(0, deed, named).await;
        let before = self.model.clone();
        let expected = self.model.expects(deed, named);
        assert_eq!(said(reply.as_ref()), expected, "{deed:?} of {before:?}");
        let after = self.model.clone();
        self.compare(std::slice::from_ref(&after), &format!("{deed:?} of {before:?}")).await;
    }

    /// What came of it must be what one of both orders makes of it.
    async fn race(&mut self, deeds: [&Deed; 2]) {
        let named = deeds.map(|deed| self.model.named(deed));
        let (one, other) =
            tokio::join!(self.act(0, deeds[0], named[0]), self.act(1, deeds[1], named[1]));
        let replies = [said(one.as_ref()), said(other.as_ref())];
        let in_order = |first: usize| {
            let (mut model, mut expected) = (self.model.clone(), [None, None]);
            for n in [first, 1 - first] {
                expected[n] = model.expects(deeds[n], named[n]);
            }
            (expected == replies).then_some(model)
        };
        let possible: Vec<Model> = [0, 1].into_iter().filter_map(in_order).collect();
        self.compare(&possible, &format!("{deeds:?} of {:?}, answered {replies:?}", self.model))
            .await;
    }

    /// It stands as one of these says, which is how it goes on.
    async fn compare(&mut self, possible: &[Model], what: &str) {
        assert!(!possible.is_empty(), "in no order: {what}");
        if possible.iter().any(|model| model.status == "expired") {
            // What is over is closed by the next sweep.
            eventually("the sweep", async || (self.see().await["status"] != "open").then_some(()))
                .await;
        }
        let seen = self.see().await;
        let people = &self.world.people;
        let stands = possible.iter().find(|model| model.agrees(&seen, people));
        self.model = stands.unwrap_or_else(|| panic!("{what}: {seen}")).clone();
        let binding = seen["binding"].as_str().unwrap();
        let known = self.bindings.entry(self.model.amount).or_insert_with(|| binding.to_owned());
        assert_eq!(known, binding, "the same arguments are the same call");
    }
}

/// An agent with a tool of its own that needs so many votes. Gives both.
async fn asker(api: &Api, number: usize, url: &str, votes: usize) -> (String, String) {
    let agent = scene::scripted(api, &format!("a{number}"), &turns(&[FIRST])).await;
    let tool = json!({ "name": format!("refund_{number}"), "kind": "http", "effect": "unsafe",
        "approval": { "votes": votes },
        "parameters": { "type": "object", "properties": { "amount": { "type": "integer" } } },
        "config": { "method": "POST", "url": url } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let tool = tool["tool_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/agents/{agent}/tools/{tool}");
    api.put(&path, &json!({ "name": "refund" })).await.expect(200);
    (agent, tool)
}

impl World {
    async fn begin(owner: &Person, app: TestApp) -> Self {
        let edges = [app.api.clone(), app.beside().await];
        let people = (0..VOTERS).map(|_| owner.colleague(Role::Admin)).collect();
        let node = Some(app.node().await);
        Self { edges, people, shop: shop().await, node, app }
    }

    fn voters(&self) -> Vec<[Api; 2]> {
        let of = |person: &Person| {
            let token = person.token(shared_models::Service::Engine);
            [self.edges[0].token(&token), self.edges[1].token(&token)]
        };
        self.people.iter().map(of).collect()
    }
}

#[tokio::test]
async fn whatever_people_do_only_what_enough_of_them_approved_of_is_executed() {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let mut world = World::begin(&owner, app).await;
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (1..=VOTERS, prop::collection::vec(step(), 1..10));

    for number in 0..CASES {
        let (votes, steps) = strategy.new_tree(&mut runner).unwrap().current();
        let api = world.app.person(&owner);
        let place = format!("/case-{number}");
        let url = format!("{}{place}", world.shop.url());
        let (agent, tool) = asker(&api, number, &url, votes).await;
        let run = scene::start(&api, &agent).await;
        let approval = asked(&api, &run).await;
        let bindings = [(FIRST, approval["binding"].as_str().unwrap().to_owned())].into();
        let model = Model { votes, status: "open", amount: FIRST, approved: BTreeSet::new() };
        let voters = world.voters();
        let mut case = Case { world: &mut world, voters, tool, approval, bindings, model };

        for step in &steps {
            case.play(step).await;
        }
        if case.model.status == "open" {
            case.play(&Step::One(Deed::Expire)).await;
        }

        scene::until(&api, &run, "succeeded").await;
        let (seen, model) = (case.see().await, case.model.clone());
        assert!(model.agrees(&seen, &world.people), "{steps:?} of {model:?}: {seen}");
        let requests = world.shop.requests();
        let made = requests.iter().filter(|seen| seen.path == place).map(Stubbed::json);
        let made: Vec<Value> = made.collect();
        let kinds = scene::kinds(&world.app.db, &run).await;
        let place = |kind: &str| kinds.iter().position(|other| other == kind);
        if model.status == "approved" {
            assert_eq!(made, [json!({ "amount": model.amount })], "{steps:?}");
            assert!(model.approved.len() >= votes, "{steps:?}: {seen}");
            let (decided, intended) = (place("approval_decided"), place("tool_intended"));
            assert!(decided.is_some() && decided < intended, "{kinds:?}");
        } else {
            assert_eq!(made, Vec::<Value>::new(), "{steps:?}: {seen}");
            assert_eq!(place("tool_intended"), None, "{kinds:?}");
        }
    }
    assert_eq!(world.shop.hits("/elsewhere"), 0, "what nobody has approved of");
}
