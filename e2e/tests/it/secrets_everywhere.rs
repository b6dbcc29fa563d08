//! A search for every kind of secret, after each has been used well and badly, through everything that is written down or
//! shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{Connector, Fleet, script, sign};
use serde_json::{Value, json};
use shared_models::Service;
use testkit::{
    Answer, Api, Idp, Stub, Stubbed, eventually_within,
    idp::{CLIENT_SECRET, Mood},
};

use crate::{
    needles::{Secrets, dump, files, id, logs, shown},
    transit::Transit,
};

const STATIC: &str = "sk-static-8f14e45fceea167a5a36dedd4bea2543";
const HONEY: &str = "sk-honey-c9f0f895fb98ab9159f51fd0297e236d";
const PROXIED: &str = "sk-proxied-1679091c5a880faf6fb5e6087eb1b2dc";
const STRANDED: &str = "sk-stranded-45c48cce2e2d7fbdea1afc51c7c6ad26";
const MODEL: &str = "sk-model-d3d9446802a44259755d38e6d163e820";
/// A name, and no secret: a search that does not find it where it should be proves nothing.
const MARKED: &str = "marked-6512bd43d9caa6e02c990b0a82652dca";
/// The trace of the last request to each service: what is searched goes that far.
const LAST: &str = "5cf92f3577b34da6a3ce929d0e0e4737";

/// Rude enough to send back what it was sent, whatever it answers.
fn outside(request: &Stubbed) -> Answer {
    let echo = format!("{} {}", request.header("x-key"), request.header("authorization"));
    match &*request.path {
        "/taken" => Answer::Json(202, json!("taken")),
        path if path.starts_with("/model/") => {
            Answer::Json(401, json!({ "error": { "message": format!("wrong key: {echo}") } }))
        }
        _ => Answer::Json(200, json!({ "echo": echo, "query": request.query })),
    }
}

/// Everything that takes part, and what has been made so far.
struct World {
    fleet: Fleet,
    api: Api,
    outside: Stub,
    transit: Transit,
    secrets: Secrets,
    /// By the name that the API's paths give them.
    made: BTreeMap<&'static str, Vec<String>>,
    /// Answers to people besides those that are asked for in the end.
    answers: Vec<String>,
}

impl World {
    async fn start(outside: Stub, collector: &Stub) -> Self {
        let (model, traces) = (format!("{}/model/v1", outside.url()), collector.url());
        let transit = Transit::start().await;
        let vault = transit.url();
        let usual = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", traces.as_str()),
            ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
            ("SWITCHYARD_LOG", "debug"),
            ("OPENAI_API_KEY", MODEL),
            ("OPENAI_BASE_URL", model.as_str()),
        ];
        let fleet = Fleet::start(&[&usual[..], &Transit::settings(&vault)].concat()).await;
        let mut secrets = Secrets::default();
        for (kind, secret) in
            [("static", STATIC), ("honey", HONEY), ("proxied", PROXIED), ("model's key", MODEL)]
        {
            secrets.add(kind, secret);
        }
        secrets.add("stranded", STRANDED);
        secrets.add("first API key", &fleet.key);
        for (name, secret) in fleet.secrets() {
            secrets.add(name, secret);
        }
        let made = BTreeMap::from([("tenant_id", vec![fleet.tenant.clone()])]);
        let api = fleet.api();
        Self { fleet, api, outside, transit, secrets, made, answers: Vec::new() }
    }

    fn note(&mut self, kind: &'static str, id: &str) {
        self.made.entry(kind).or_default().push(id.to_owned());
    }

    async fn store(&mut self, name: &str, body: Value) -> String {
        let mut body = body;
        body["name"] = json!(format!("{MARKED}-{name}"));
        let path = format!("/tenant/{}/credentials", self.fleet.tenant);
        let made = id(&self.api.post(&path, &body).await.expect(201), "credential_id");
        self.note("credential_id", &made);
        made
    }

    /// An agent with a tool that goes outside.
    async fn agent(&mut self, name: &str, config: Value, link: &Value) -> String {
        let tool_name = format!("send_{name}");
        let mut config = config;
        config["url"] = json!(format!("{}{}", self.outside.url(), config["url"].as_str().unwrap()));
        let tool = json!({
            "name": tool_name, "description": MARKED, "kind": "http", "effect": "idempotent",
            "timeout_ms": 5000, "config": config, "parameters": { "type": "object", "properties": {} },
        });
        let tool = id(&self.api.post("/v1/tools", &tool).await.expect(201), "tool_id");
        let call = json!({ "name": tool_name, "arguments": {} });
        let turns = json!([{ "tool_calls": [call] }, { "text": "It said {{last_tool_result}}" }]);
        let agent = json!({ "name": format!("{MARKED}-{name}"), "model": "sim:script",
            "instructions": script(&turns) });
        let agent = id(&self.api.post("/v1/agents", &agent).await.expect(201), "agent_id");
        self.api.put(&format!("/v1/agents/{agent}/tools/{tool}"), link).await.expect(200);
        self.note("tool_id", &tool);
        self.note("agent_id", &agent);
        agent
    }

    async fn run(&mut self, agent: &str) -> String {
        let start = json!({ "agent_id": agent, "input": "go" });
        let run = id(&self.api.post("/v1/runs", &start).await.body, "run_id");
        self.note("run_id", &run);
        run
    }

    async fn until(&self, run: &str, status: &str) -> Value {
        let what = format!("the run to be {status}");
        eventually_within(Duration::from_secs(60), &what, async || {
            let seen = self.api.get(&format!("/v1/runs/{run}")).await.body;
            (seen["status"] == status).then_some(seen)
        })
        .await
    }

    /// A run whose tool sends a credential's field.
    async fn sends(&mut self, name: &str, credential: &str, field: &str) {
        let config = json!({ "method": "GET", "url": format!("/{name}"),
            "credential": { "in": "header", "name": "x-key", "field": field } });
        let agent = self.agent(name, config, &json!({ "credential_id": credential })).await;
        let run = self.run(&agent).await;
        self.until(&run, "succeeded").await;
    }

    /// A call that the other side takes and answers later, with the token it was given.
    async fn called_back(&mut self) {
        let config = json!({ "method": "POST", "url": "/taken", "callback": {} });
        let agent = self.agent("later", config, &json!({})).await;
        let run = self.run(&agent).await;
        assert_eq!(self.until(&run, "waiting").await["wait_reason"], "callback");
        let taken = self.outside.requests().into_iter().find(|request| request.path == "/taken");
        let token = taken.unwrap().header("switchyard-callback-token").to_owned();
        let (anybody, path) = (Api::at(self.fleet.url()), format!("/v1/callbacks/{token}"));
        anybody.post(&path, &json!({ "result": "done" })).await.expect(202);
        self.until(&run, "succeeded").await;
        self.answers.push(anybody.post(&path, &json!({ "result": "again" })).await.text);
        self.secrets.add("callback token", &token);
    }

    /// A model that refuses our key and says which it was.
    async fn refused_by_the_model(&mut self) {
        let agent = json!({ "name": format!("{MARKED}-modelled"), "model": "openai:gpt-4o-mini" });
        let agent = id(&self.api.post("/v1/agents", &agent).await.expect(201), "agent_id");
        let run = self.run(&agent).await;
        self.until(&run, "failed").await;
        let hits = self.outside.requests();
        let key = format!("Bearer {MODEL}");
        assert!(hits.iter().any(|hit| hit.header("authorization") == key), "it was not asked");
    }

    /// Calls through the proxy with a secret in the address: answered, and not.
    async fn proxied(&mut self) {
        let kind = json!({
            "name": "by_query", "display_name": "By query", "category": "test",
            "schema": { "type": "object", "required": ["api_key"], "properties": {
                "api_key": { "type": "string", "writeOnly": true }, "base_url": { "type": "string" } } },
            "call": { "inject": { "in": "query", "name": "key", "value": "{api_key}" } },
        });
        self.api.post("/v1/credential-types", &kind).await.expect(201);
        let nobody = format!("http://127.0.0.1:{}", testkit::free_port());
        let fields = |secret: &str, url: String| json!({ "type": "by_query", "credentials": { "api_key": secret, "base_url": url } });
        let here = self.store("proxied", fields(PROXIED, self.outside.url())).await;
        let gone = self.store("stranded", fields(STRANDED, nobody)).await;
        let said = self.api.post(&format!("/v1/proxy/{here}/echo?x=1"), &json!({ "n": 1 })).await;
        assert!(said.status == 200 && said.text.contains("redacted"), "{}", said.text);
        let lost = self.api.get(&format!("/v1/proxy/{gone}/echo")).await;
        assert_eq!(lost.code(), "outgoing_failed", "{}", lost.text);
        self.answers.extend([said.text, lost.text]);
        let seen = self.outside.requests().into_iter().filter(|request| request.path == "/echo");
        assert!(seen.map(|request| request.query).any(|query| query.contains(PROXIED)));
    }

    /// API keys: used, and cut short.
    async fn keyed(&mut self) {
        let asked = json!({ "name": MARKED });
        let made = self.api.post("/v1/api-keys", &asked).await.expect(201);
        let key = id(&made, "secret");
        let anybody = Api::at(self.fleet.url());
        anybody.token(&key).get("/v1/me").await.expect(200);
        let short = anybody.token(&key[..key.len() - 1]).get("/v1/me").await;
        assert_eq!(short.status, 401, "{}", short.text);
        self.answers.push(short.text);
        self.secrets.add("API key", &key);
    }

    /// A trigger that is fired under both of its secrets, and an endpoint that hears of every run, under both of its.
    async fn hooked(&mut self) -> usize {
        let hook = json!({ "url": format!("{}/told", self.outside.url()), "event_types": ["run.finished"] });
        let hook = self.api.post("/v1/webhook-endpoints", &hook).await.expect(201);
        let endpoint = id(&hook, "endpoint_id");
        let path = format!("/v1/webhook-endpoints/{endpoint}");
        let etag = self.api.get(&path).await.header("etag").unwrap().to_owned();
        let rotated = self.api.header("if-match", &etag);
        let rotated = rotated.post(&format!("{path}/rotate-secret"), &json!({})).await.expect(200);
        self.secrets.add("endpoint's signing", &id(&hook, "secret"));
        self.secrets.add("endpoint's next signing", &id(&rotated, "secret"));
        self.note("endpoint_id", &endpoint);

        let agent = json!({ "name": format!("{MARKED}-hooked"), "model": "sim:echo" });
        let agent = id(&self.api.post("/v1/agents", &agent).await.expect(201), "agent_id");
        let asked = json!({ "system": "webhook", "options": {} });
        let trigger = self.api.post(&format!("/agent/{agent}/trigger"), &asked).await.expect(201);
        let (trigger_id, url) = (id(&trigger, "id"), id(&trigger, "hook_url"));
        let rotate = format!("/v1/triggers/{trigger_id}/rotate-secret");
        let rotated = self.api.post(&rotate, &json!({})).await.expect(200);
        let signing = [id(&trigger, "signing_secret"), id(&rotated, "signing_secret")];
        let anybody = Api::at(self.fleet.url());
        for (n, secret) in signing.iter().enumerate() {
            let fired = sign(secret, &format!("msg_{n}"), "{}").send(&anybody, &url).await;
            self.note("delivery_id", &id(&fired.expect(202), "delivery_id"));
        }
        let forged = sign("whsec_c29tZXRoaW5nIGVsc2UgZW50aXJlbHk=", "msg_9", "{}");
        let forged = forged.send(&anybody, &url).await;
        assert_eq!(forged.status, 401, "{}", forged.text);
        self.answers.push(forged.text);
        self.secrets.add_all("trigger's signing", 2, &signing);
        self.note("trigger_id", &trigger_id);
        signing.len()
    }

    /// Waits until the endpoint was told of so many runs.
    async fn told(&self, runs: usize) {
        eventually_within(Duration::from_secs(60), "the endpoint to be told of all", async || {
            // One may come twice.
            let told = self.outside.requests().into_iter().filter(|hit| hit.path == "/told");
            let ids = told.map(|request| request.header("webhook-id").to_owned());
            (ids.collect::<BTreeSet<_>>().len() == runs).then_some(())
        })
        .await;
    }

    /// The last request to each service, which has a trace of its own.
    async fn say_goodbye(&self) {
        let api = self.api.header("traceparent", &format!("00-{LAST}-00f067aa0ba902b7-01"));
        for path in ["/v1/credential-audit", "/v1/deliveries", "/v1/runs", "/v1/me"] {
            api.get(path).await.expect(200);
        }
    }
}

/// What was exported, after it was seen to go as far as the last request to each service.
fn traces(collector: &Stub) -> String {
    let last: Vec<u8> =
        (0..16).map(|n| u8::from_str_radix(&LAST[n * 2..n * 2 + 2], 16).unwrap()).collect();
    let exported = collector.requests();
    for service in Service::ALL {
        let parts = [service.name().as_bytes(), &last];
        let mut bodies = exported.iter().map(|request| &request.body);
        let has = |body: &[u8], part: &[u8]| body.windows(part.len()).any(|window| window == part);
        let goes_on = bodies.any(|body| parts.iter().all(|part| has(body, part)));
        assert!(goes_on, "{service} has not exported its last request");
    }
    let bytes: Vec<u8> = exported.into_iter().flat_map(|request| request.body).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Accounts connected, refused on the way back, renewed with each lease, and taken back.
async fn accounts(world: &mut World, idp: &Idp) {
    let connector = Connector::register(&world.api, &world.fleet.url(), idp).await;
    let account = connector.connect(&json!({})).await;
    world.note("credential_id", &account);
    world.sends("account", &account, "access_token").await;
    // A provider that is unwell, and says what it was sent.
    let newest = idp.newest();
    idp.will([Mood::Says(500, json!({ "error": "server_error", "error_description": newest }))]);
    world.sends("renewed", &account, "access_token").await;
    let refused = connector.refused(&json!({})).await;
    world.answers.push(refused.text);
    let second = connector.connect(&json!({})).await;
    let path = format!("/v1/credentials/{second}/revoke");
    world.answers.push(world.api.post(&path, &json!({})).await.expect(200).to_string());
    assert!(idp.revoked() > 0, "the provider was not told");
    assert!(idp.refreshes() > 0, "no token was renewed");
    world.secrets.add("OAuth client", CLIENT_SECRET);
    world.secrets.add_all("link, state or browser", 9, &connector.passed());
    world.secrets.add_all("PKCE verifier", 3, &idp.verifiers());
    world.secrets.add_all("code or token", 6, &idp.secrets());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_kind_is_in_logs_traces_tables_messages_journals_or_answers_to_people() {
    let collector = Stub::start(|_| Answer::Raw(200, vec![], vec![])).await;
    let idp = Idp::start().await;
    // Each lease renews the token first.
    idp.set_expires_in(5);
    let mut world = World::start(Stub::start(outside).await, &collector).await;
    let fires = world.hooked().await;
    accounts(&mut world, &idp).await;
    let key = |secret: &str| json!({ "credentials": { "api_key": secret } });
    let fixed = world.store("fixed", key(STATIC)).await;
    let mut bait = key(HONEY);
    bait["honey"] = json!(true);
    let bait = world.store("bait", bait).await;
    world.sends("fixed", &fixed, "api_key").await;
    world.sends("bait", &bait, "api_key").await;
    world.proxied().await;
    world.called_back().await;
    world.refused_by_the_model().await;
    world.keyed().await;
    world.told(world.made["run_id"].len() + fires).await;

    world.transit.add_to(&mut world.secrets);
    let sent: Vec<Stubbed> = world.outside.requests();
    let sent: String =
        sent.iter().map(|request| request.header("x-key").to_owned() + " ").collect();
    for kind in ["static", "honey", "code or token"] {
        assert!(world.secrets.within(&sent).contains(&kind), "{kind} was not used: {sent}");
    }
    // The server writes in its own time.
    let streams = world.fleet.nats_store().join("jetstream");
    let messages = eventually_within(Duration::from_secs(30), "the bus to write", async || {
        let messages = files(&streams, "");
        messages.contains("credential.honey_used").then_some(messages)
    })
    .await;
    let (shown, answers) = shown(&world.fleet, &world.made).await;
    assert!(answers > 60, "{answers}");
    world.say_goodbye().await;
    world.fleet.stop();
    let World { fleet, secrets, answers, .. } = world;
    let places: [(&str, String, &str); 6] = [
        ("logs", logs(&fleet), "/v1/proxy/"),
        ("traces", traces(&collector), "/v1/proxy/"),
        ("tables and journals", dump(&fleet), MARKED),
        ("messages", messages, "credential.honey_used"),
        ("answers to people", shown, MARKED),
        ("answers to what went wrong", answers.join("\n"), "outgoing_failed"),
    ];
    for (place, text, known) in places {
        assert!(text.contains(known), "the search of {place} proves nothing");
        assert_eq!(secrets.within(&text), Vec::<&str>::new(), "found in {place}");
    }
}
