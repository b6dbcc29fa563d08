//! What tests of processes that die at every moment begin with: a far end that counts, people and outsiders who do what is
//! theirs to do, and a run that is carried out once without a death, which tells the moments there are; then once for each
//! of them, all at the same time: each run is stopped at its own, then the process is killed, and another one takes all over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::CrashPoints;
use serde_json::{Value, json};
use shared_models::RunId;
use sqlx::types::Uuid;
use testkit::{Answer, Api, Person, Stub, eventually, eventually_within};

use crate::approvals::{path, yes};
use crate::crash_journal::{Story, story};
use crate::harness::TestApp;
use crate::scene;

/// A tool of the world: its name, how it is asked for and what a repeat does.
pub(crate) type Tool = (&'static str, &'static str, &'static str);

/// The world, and somebody who does something of every kind to it.
pub(crate) struct World {
    pub(crate) app: TestApp,
    owner: Person,
    server: Stub,
    tools: &'static [Tool],
    /// How a run is started, but for its input.
    start: Value,
    /// Processes that have died, as the database knows them.
    dead: Vec<Uuid>,
}

/// A run, told apart by what it is told.
pub(crate) struct Told {
    run: String,
    input: String,
}

impl Told {
    fn root(&self) -> RunId {
        self.run.parse().unwrap()
    }
}

pub(crate) async fn give(api: &Api, agent: &str, fields: Value) {
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

/// A turn that makes one call.
pub(crate) fn call(name: &str, arguments: Value) -> Value {
    json!({ "tool_calls": [{ "name": name, "arguments": arguments }] })
}

/// Arguments by which the far end tells runs apart.
fn marked() -> Value {
    json!({ "n": "{{input}}" })
}

impl World {
    /// One with these tools, in which nobody works yet.
    pub(crate) async fn begin(tools: &'static [Tool]) -> Self {
        let local = [
            ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
            ("SWITCHYARD_RUN_SLOTS", "0"),
            ("SWITCHYARD_TENANT_RUNS", "1000"),
        ];
        let app = TestApp::start_with(&local).await;
        let owner = app.trust.owner();
        // The far end takes some calls and answers them later.
        let server = Stub::start(|seen| match seen.path.as_str() {
            "/work" | "/fetch" => Answer::Json(202, json!("taken")),
            _ => Answer::Json(200, json!("fine")),
        })
        .await;
        Self { app, owner, server, tools, start: json!({}), dead: Vec::new() }
    }

    /// A tool of this name that asks the far end for something.
    fn http(&self, method: &str, name: &str, effect: &str) -> Value {
        let url = format!("{}/{name}?n={{n}}", self.server.url());
        json!({ "name": name, "kind": "http", "effect": effect, "timeout_ms": 60_000,
            "parameters": { "type": "object", "properties": { "n": { "type": "string" } } },
            "config": { "method": method, "url": url } })
    }

    /// An agent that calls these tools of the world, one a turn, then makes these turns.
    pub(crate) async fn worker(&self, name: &str, calls: &[&str], more: &[Value]) -> String {
        let api = self.api();
        let mut turns: Vec<Value> = calls.iter().map(|name| call(name, marked())).collect();
        turns.extend_from_slice(more);
        let agent = scene::scripted(&api, name, &turns.into()).await;
        for (name, method, effect) in self.tools.iter().filter(|tool| calls.contains(&tool.0)) {
            let mut tool = self.http(method, name, effect);
            match *name {
                "refund" => tool["approval"] = json!({}),
                "work" => tool["config"]["callback"] = json!({}),
                _ => {}
            }
            give(&api, &agent, tool).await;
        }
        agent
    }

    /// Gives the agent another one that works for it as the tool `delegate`, and is answered later by the far end.
    pub(crate) async fn delegate(&self, agent: &str) {
        let api = self.api();
        let turns = json!([call("fetch", marked()), { "text": "fetched for {{input}}" }]);
        let child = scene::scripted(&api, "child", &turns).await;
        let mut fetch = self.http("GET", "fetch", "read");
        fetch["config"]["callback"] = json!({});
        give(&api, &child, fetch).await;
        let delegate =
            json!({ "name": "delegate", "kind": "agent", "config": { "agent_id": child } });
        give(&api, agent, delegate).await;
    }

    /// From now on runs are started so.
    pub(crate) fn start_with(&mut self, body: Value) {
        self.start = body;
    }

    pub(crate) fn api(&self) -> Api {
        // A token lasts for a minute.
        self.app.person(&self.owner)
    }

    async fn start(&self, number: usize) -> Told {
        let input = format!("case-{number:03}");
        let mut body = self.start.clone();
        body["input"] = input.clone().into();
        let made = self.api().post("/v1/runs", &body).await.expect(201);
        Told { run: made["run_id"].as_str().unwrap().to_owned(), input }
    }

    /// How often the far end has been asked for something by a run.
    fn hits(&self, what: &str, of: &Told) -> usize {
        let query = format!("n={}", of.input);
        let path = format!("/{what}");
        let requests = self.server.requests();
        requests.iter().filter(|seen| seen.path == path && seen.query == query).count()
    }

    /// Does what people and the far end do for the runs, as soon as they wait for it, until `enough`.
    async fn accompany(&self, runs: &[Told], enough: impl Fn(&BTreeMap<String, Stand>) -> bool) {
        let limit = Duration::from_secs(400);
        eventually_within(limit, "all runs to come where they should", async || {
            let stands = self.stands().await;
            for told in runs {
                self.do_what_is_due(told, &stands).await;
            }
            enough(&stands).then_some(())
        })
        .await;
    }

    async fn do_what_is_due(&self, told: &Told, stands: &BTreeMap<String, Stand>) {
        let Some(stand) = stands.get(&told.run) else { return };
        match stand.reason.as_deref() {
            Some("approval") => self.approve(&told.run).await,
            Some("callback") => self.call_back("/work", told, "worked").await,
            // The child is let end when its parent waits for it, so that this is always in the same order.
            Some("child") => {
                let child = stands.values().find(|child| child.parent.as_ref() == Some(&told.run));
                if child.is_some_and(|child| child.reason.as_deref() == Some("callback")) {
                    self.call_back("/fetch", told, "fetched").await;
                }
            }
            Some("doubt") => self.answer(told).await,
            Some("timer") => self.let_time_pass(told).await,
            _ => {}
        }
    }

    async fn approve(&self, run: &str) {
        let api = self.api();
        let list = api.get(&format!("/v1/approvals?status=open&run_id={run}")).await.expect(200);
        for asked in list["items"].as_array().unwrap() {
            let reply = api.post(&path(asked, "/approve"), &yes(asked)).await;
            assert!(matches!(reply.status, 200 | 409), "{}", reply.text);
        }
    }

    /// Brings the moment that a run waits for: no sooner than it waits, or it would not always wait.
    async fn let_time_pass(&self, told: &Told) {
        let mut admin = self.app.db.admin().await;
        // What it is told by, and then what wakes it.
        for bring in [
            "update engine.journal set data = jsonb_set(data::jsonb, '{until}', to_jsonb(now()))::json
             where run_id = $1::uuid and kind = 'tool_waiting' and (data ->> 'until')::timestamptz > now()",
            "update engine.run_timer set due_at = now() where run_id = $1::uuid and name = 'wake' and due_at > now()",
        ] {
            sqlx::query(bring).bind(scene::bare(&told.run)).execute(&mut admin).await.unwrap();
        }
    }

    async fn call_back(&self, what: &str, told: &Told, result: &str) {
        let query = format!("n={}", told.input);
        let requests = self.server.requests();
        let taken = requests.iter().find(|seen| seen.path == what && seen.query == query);
        let token = taken.expect("it waits for this call").header("switchyard-callback-token");
        let reply = self
            .app
            .api
            .post(&format!("/v1/callbacks/{token}"), &json!({ "result": result }))
            .await;
        assert!(matches!(reply.status, 202 | 409), "{}", reply.text);
    }

    /// Says of calls in doubt what the far end knows: a call that it has taken it answers, as it would have.
    async fn answer(&self, told: &Told) {
        let seen = scene::get(&self.api(), &told.run).await;
        for doubt in seen["in_doubt"].as_array().into_iter().flatten() {
            let name = doubt["tool_name"].as_str().unwrap();
            let made = self.hits(name, told) > 0;
            if made && name == "work" {
                self.call_back("/work", told, "worked").await;
                continue;
            }
            let said = if made {
                json!({ "outcome": "happened", "result": "\"fine\"", "path": doubt["path"] })
            } else {
                json!({ "outcome": "did_not_happen", "path": doubt["path"] })
            };
            let call = doubt["call_id"].as_str().unwrap();
            let path = format!("/v1/runs/{}/effects/{call}/answer", told.run);
            let reply = self.api().post(&path, &said).await;
            assert!(matches!(reply.status, 202 | 409), "{}", reply.text);
        }
    }

    async fn stands(&self) -> BTreeMap<String, Stand> {
        sqlx::query("update engine.worker set lease_until = now() where worker_id = any($1)")
            .bind(&self.dead)
            .execute(&mut self.app.db.admin().await)
            .await
            .unwrap();
        let rows: Vec<(String, Option<String>, Option<String>, bool)> = sqlx::query_as(
            "select 'run_' || replace(run_id::text, '-', ''), 'run_' || replace(parent_run_id::text, '-', ''),
                    case when status = 'waiting' then wait_reason end, finished_at is not null
             from engine.run",
        )
        .fetch_all(&mut self.app.db.admin().await)
        .await
        .unwrap();
        let stand = |parent, reason, ended| Stand { parent, reason, ended };
        rows.into_iter()
            .map(|(run, parent, reason, ended)| (run, stand(parent, reason, ended)))
            .collect()
    }

    /// All that have ever lived have died, and an hour has passed since: their leases end, even those that somebody was just
    /// about to renew, and what they were asking has long been answered.
    async fn bury_all(&mut self) {
        let mut admin = self.app.db.admin().await;
        let workers = sqlx::query_scalar("select worker_id from engine.worker");
        self.dead = workers.fetch_all(&mut admin).await.unwrap();
        sqlx::query("update engine.effect set sent_at = sent_at - interval '1 hour'")
            .execute(&mut admin)
            .await
            .unwrap();
    }

    async fn story(&self, told: &Told) -> Story {
        story(&self.api(), &told.run, &told.input).await
    }
}

#[derive(Debug)]
struct Stand {
    parent: Option<String>,
    reason: Option<String>,
    ended: bool,
}

fn ended(stands: &BTreeMap<String, Stand>, told: &Told) -> bool {
    stands.get(&told.run).is_some_and(|stand| stand.ended)
}

/// What must be so of a run, whenever its process died.
async fn check(world: &World, told: &Told, moment: &str, undisturbed: &Story) {
    for (name, _, effect) in world.tools {
        let hits = world.hits(name, told);
        match *effect {
            "unsafe" => assert!(hits <= 1, "{name} happened {hits} times; died {moment}"),
            _ => assert!((1..=2).contains(&hits), "{name}: {hits} times; died {moment}"),
        }
    }
    let query = format!("n={}", told.input);
    let requests = world.server.requests();
    let charges = requests.iter().filter(|seen| seen.path == "/charge" && seen.query == query);
    let keys: BTreeSet<&str> = charges.map(|seen| seen.header("idempotency-key")).collect();
    assert!(keys.len() == 1 && !keys.contains(""), "one key for every attempt; died {moment}");

    let mut story = world.story(told).await;
    // Who was asked about a call that never went out has said so, and that is what the model was told.
    for (name, _, effect) in world.tools {
        if *effect == "unsafe" && world.hits(name, told) == 0 {
            assert!(
                story.was_doubted(name),
                "{name} was not made, and nobody asked; died {moment}"
            );
            story.undo_answer(name, undisturbed);
        }
    }
    assert_eq!(story.run, undisturbed.without_waiting_for(&story), "died {moment}");
    assert_eq!(story.child, undisturbed.child, "died {moment}");
    for (tool, state) in &story.effects {
        assert!(matches!(state.as_str(), "done" | "answered"), "{tool} is {state}; died {moment}");
    }
}

impl World {
    /// Carries one run out undisturbed, then one for each moment there was that is `worth` it, at which its process dies. Gives
    /// the moments.
    pub(crate) async fn prove(mut self, worth: impl Fn(&str) -> bool) -> Vec<String> {
        let points = CrashPoints::default();
        let node = self.app.node_watched(&points).await;
        let first = self.start(0).await;
        self.accompany(std::slice::from_ref(&first), |stands| ended(stands, &first)).await;
        // That it has ended is seen a little before it comes by the moment at which that was written.
        let passed = eventually("the last moment", async || {
            let passed = points.passed(first.root());
            passed.iter().flatten().any(|name| name == "run: wrote finished #1").then_some(passed)
        })
        .await;
        let undisturbed = self.story(&first).await;
        undisturbed.covered_by(&passed);
        check(&self, &first, "never", &undisturbed).await;
        node.drain().await;

        // A moment by its last name, as one process may write at once what another one writes in two commits.
        let moments = passed.iter().filter_map(|names| names.last().cloned());
        let moments: Vec<String> = moments.filter(|moment| worth(moment)).collect();
        let mut runs = Vec::new();
        for (number, moment) in moments.iter().enumerate() {
            let told = self.start(number + 1).await;
            points.arm(told.root(), moment);
            runs.push(told);
        }
        let node = self.app.node_watched(&points).await;
        // Until all have come to the moment they are to die at, and stand there.
        self.accompany(&runs, |_| runs.iter().all(|told| points.has_stopped(told.root()))).await;
        node.kill();
        self.bury_all().await;
        let _heir = self.app.node_watched(&CrashPoints::default()).await;
        self.accompany(&runs, |stands| runs.iter().all(|told| ended(stands, told))).await;

        for (told, moment) in runs.iter().zip(&moments) {
            check(&self, told, moment, &undisturbed).await;
        }
        moments
    }
}
