//! Runs that follow each other in a conversation, and what becomes of one that comes too early.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, Stubbed, eventually};

use crate::harness::TestApp;
use crate::scene;

/// A model that says how often the user has spoken, and takes its time over what begins with `slow`.
fn model(request: &Stubbed) -> Answer {
    let said = heard(request);
    let text = format!("answer {}", said.iter().filter(|said| said.starts_with("user ")).count());
    let choice = json!({ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": text } });
    let answer = Answer::Json(200, json!({ "choices": [choice] }));
    let slow = said.last().is_some_and(|last| last.starts_with("user slow"));
    if slow { Answer::After(std::time::Duration::from_secs(60), Box::new(answer)) } else { answer }
}

/// What a model was asked with, as `role text`.
fn heard(request: &Stubbed) -> Vec<String> {
    let body = request.json();
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let text = |message: &Value| {
        format!(
            "{} {}",
            message["role"].as_str().unwrap_or(""),
            message["content"].as_str().unwrap_or("")
        )
    };
    messages.iter().map(text).collect()
}

struct Scene {
    app: TestApp,
    api: Api,
    model: Stub,
    conversation: String,
}

impl Scene {
    async fn start() -> Self {
        let model = Stub::start(model).await;
        let url = format!("{}/v1", model.url());
        let app = TestApp::start_with(&[
            ("OPENAI_BASE_URL", &url),
            ("OPENAI_API_KEY", "k"),
            ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
            ("SWITCHYARD_PRUNE_MS", "50"),
        ])
        .await;
        let api = app.person(&app.trust.owner());
        scene::agent(&api, &json!({ "name": "a", "model": "openai:gpt-4o" })).await;
        let begun = json!({ "agent": "a", "end_user_id": "ada", "title": "Greetings" });
        let begun = api.post("/v1/conversations", &begun).await.expect(201);
        let conversation = begun["conversation_id"].as_str().unwrap().to_owned();
        Self { app, api, model, conversation }
    }

    /// Says something; gives the run as it is then.
    async fn say(&self, text: &str, more: &Value) -> testkit::Reply {
        let mut body = json!({ "conversation_id": self.conversation, "input": text });
        json_patch::merge(&mut body, more);
        self.api.post("/v1/runs", &body).await
    }

    /// Says something; gives what is answered.
    async fn ask(&self, text: &str) -> Value {
        let ended = self.say(text, &json!({ "wait": 30 })).await.expect(200);
        assert_eq!(ended["status"], "succeeded", "{ended}");
        ended["output"].clone()
    }

    /// Begins a run that takes long.
    async fn busy(&self) -> String {
        let slow = self.say("slow", &json!({})).await.expect(201);
        let run = slow["run_id"].as_str().unwrap().to_owned();
        eventually("the model to be asked", async || {
            let asked = self.model.requests();
            asked
                .last()
                .is_some_and(|last| heard(last).last().is_some_and(|said| said == "user slow"))
                .then_some(())
        })
        .await;
        run
    }

    async fn remembered(&self) -> Vec<String> {
        let path = format!("/v1/conversations/{}/messages", self.conversation);
        let page = self.api.get(&path).await.expect(200);
        let line = |item: &Value| {
            let message = &item["message"];
            format!(
                "{} {}",
                message["role"].as_str().unwrap(),
                message["content"].as_str().unwrap()
            )
        };
        page["items"].as_array().unwrap().iter().map(line).collect()
    }

    /// What the model was last asked with.
    fn last_heard(&self) -> Vec<String> {
        heard(self.model.requests().last().unwrap())
    }
}

#[tokio::test]
async fn a_run_is_told_what_was_said_in_those_before_it() {
    let scene = Scene::start().await;

    assert_eq!(scene.ask("one").await, "answer 1");
    assert_eq!(scene.ask("two\u{0}").await, "answer 2");

    assert_eq!(scene.last_heard(), ["user one", "assistant answer 1", "user two\u{0}"]);
    let remembered = eventually("both to be taken up", async || {
        let remembered = scene.remembered().await;
        (remembered.len() == 4).then_some(remembered)
    })
    .await;
    assert_eq!(
        remembered,
        ["user one", "assistant answer 1", "user two\u{0}", "assistant answer 2"]
    );
    let path = format!("/v1/conversations/{}", scene.conversation);
    let seen = scene.api.get(&path).await.expect(200);
    assert_eq!((&seen["turns"], &seen["messages"]), (&json!(2), &json!(4)));
    let runs = format!("/v1/runs?conversation_id={}", scene.conversation);
    let runs = scene.api.get(&runs).await.expect(200);
    let newest = &runs["items"][0];
    assert_eq!(
        (&newest["conversation_id"], &newest["end_user_id"]),
        (&json!(scene.conversation), &json!("ada"))
    );
    // Of each run, only its own part.
    let messages = format!("/v1/runs/{}/messages", newest["run_id"].as_str().unwrap());
    let own = scene.api.get(&messages).await.expect(200);
    assert_eq!(own["items"].as_array().unwrap().len(), 2, "{own}");
}

#[tokio::test]
async fn pages_of_what_is_remembered_follow_each_other_and_content_is_for_those_who_may_see_it() {
    let scene = Scene::start().await;
    scene.ask("one").await;
    scene.ask("two").await;
    let path = format!("/v1/conversations/{}/messages", scene.conversation);
    eventually("both to be taken up", async || (scene.remembered().await.len() == 4).then_some(()))
        .await;

    let first = scene.api.get(&format!("{path}?limit=3")).await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = scene.api.get(&format!("{path}?limit=3&cursor={cursor}")).await.expect(200);

    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|item| item["n"].as_i64().unwrap()).collect()
    };
    assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1, 2], vec![3]));
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_run_that_comes_too_early_waits_for_its_turn_and_then_knows_what_was_said() {
    let scene = Scene::start().await;
    scene.ask("one").await;
    let slow = scene.busy().await;

    let second = scene.say("second", &json!({})).await.expect(201);
    let third = scene.say("third", &json!({ "when_busy": "enqueue" })).await.expect(201);
    assert_eq!((&second["status"], &second["wait_reason"]), (&json!("waiting"), &json!("turn")));
    scene.api.post(&format!("/v1/runs/{slow}/cancel"), &json!({})).await.expect(202);
    scene::until(&scene.api, third["run_id"].as_str().unwrap(), "succeeded").await;

    assert_eq!(
        scene.last_heard(),
        [
            "user one",
            "assistant answer 1",
            "user slow",
            "user second",
            "assistant answer 3",
            "user third"
        ]
    );
    let second = scene::get(&scene.api, second["run_id"].as_str().unwrap()).await;
    assert_eq!((&second["status"], &second["output"]), (&json!("succeeded"), &json!("answer 3")));
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_can_be_cancelled_and_answered_for() {
    let scene = Scene::start().await;
    let slow = scene.busy().await;
    let early = scene.say("early", &json!({})).await.expect(201);
    let early = early["run_id"].as_str().unwrap();

    scene.api.post(&format!("/v1/runs/{early}/cancel"), &json!({})).await.expect(202);
    let ended = scene::until(&scene.api, early, "cancelled").await;
    let patience = json!({ "wait": 30 });
    let waited = scene.say("patient", &patience);
    let answered = async {
        scene.api.post(&format!("/v1/runs/{slow}/cancel"), &json!({})).await.expect(202);
    };
    let (waited, ()) = tokio::join!(waited, answered);

    assert_eq!(ended["steps"], 0);
    let waited = waited.expect(200);
    assert_eq!(waited["status"], "succeeded", "whoever waits, waits for the answer: {waited}");
    assert_eq!(scene.last_heard(), ["user slow", "user early", "user patient"]);
}

#[tokio::test]
async fn whoever_wants_to_be_refused_in_a_busy_conversation_is() {
    let scene = Scene::start().await;
    scene.busy().await;

    let refused = scene.say("x", &json!({ "when_busy": "reject" })).await;

    assert_eq!(refused.refusal(), (409, "conversation_busy"));
    let path = format!("/v1/conversations/{}", scene.conversation);
    assert_eq!(scene.api.get(&path).await.expect(200)["turns"], 1);
}

#[tokio::test]
async fn an_interrupted_run_is_cancelled_and_what_it_was_told_stays() {
    let scene = Scene::start().await;
    let slow = scene.busy().await;
    let waiting = scene.say("waiting", &json!({})).await.expect(201);

    let ended =
        scene.say("no, this", &json!({ "when_busy": "interrupt", "wait": 30 })).await.expect(200);

    assert_eq!(ended["output"], "answer 3", "{ended}");
    assert_eq!(scene.last_heard(), ["user slow", "user waiting", "user no, this"]);
    for run in [&slow, waiting["run_id"].as_str().unwrap()] {
        let ended = scene::get(&scene.api, run).await;
        assert_eq!(
            (&ended["status"], &ended["error"]["message"]),
            (&json!("cancelled"), &json!("somebody spoke over it"))
        );
    }
}

#[tokio::test]
async fn whoever_interrupts_several_runs_holds_none_of_them_while_they_wait_for_another_one() {
    let scene = Scene::start().await;
    let slow = scene.busy().await;
    let waiting = scene.say("waiting", &json!({})).await.expect(201);
    let mut holder = scene.app.db.admin().await;
    sqlx::raw_sql("begin").execute(&mut holder).await.unwrap();
    let pid = scene::pid(&mut holder).await;
    scene::lock(&mut holder, waiting["run_id"].as_str().unwrap()).await;

    let interrupt = json!({ "when_busy": "interrupt" });
    let others = async {
        scene::somebody_waits_for(&scene.app.db, pid).await;
        // In an order of its own, as a group of records does.
        scene::lock(&mut holder, &slow).await;
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    };
    let (interrupts, ()) = tokio::join!(scene.say("no, this", &interrupt), others);
    interrupts.expect(201);
    for run in [&slow, waiting["run_id"].as_str().unwrap()] {
        scene::until(&scene.api, run, "cancelled").await;
    }
}

#[tokio::test]
async fn a_run_that_is_rolled_back_is_cancelled_and_forgotten() {
    let scene = Scene::start().await;
    scene.ask("one").await;
    let slow = scene.busy().await;

    let ended =
        scene.say("instead", &json!({ "when_busy": "rollback", "wait": 30 })).await.expect(200);

    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(scene.last_heard(), ["user one", "assistant answer 1", "user instead"]);
    assert_eq!(scene::get(&scene.api, &slow).await["status"], "cancelled");
}

#[tokio::test]
async fn what_a_dead_process_left_behind_is_taken_up_by_a_sweep() {
    let scene = Scene::start().await;
    scene.ask("one").await;
    eventually("it to be taken up", async || (scene.remembered().await.len() == 2).then_some(()))
        .await;
    // As if whoever ended the run had died before the conversation heard of it.
    sqlx::raw_sql(
        "delete from engine.conversation_message; update engine.conversation set messages = 0;
         update engine.run set remembered = false",
    )
    .execute(&mut scene.app.db.admin().await)
    .await
    .unwrap();

    let taken_up = eventually("the sweep", async || {
        let remembered = scene.remembered().await;
        (remembered.len() == 2).then_some(remembered)
    })
    .await;

    assert_eq!(taken_up, ["user one", "assistant answer 1"]);
}

#[tokio::test]
async fn a_conversation_is_refused_for_another_agent_or_person_and_hidden_from_strangers() {
    let scene = Scene::start().await;
    let api = &scene.api;
    scene::agent(api, &json!({ "name": "b", "model": "sim:echo" })).await;
    let pointer = |refused: testkit::Reply| {
        assert_eq!(refused.refusal(), (422, "validation_failed"));
        refused.body["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };

    assert_eq!(pointer(scene.say("x", &json!({ "agent": "b" })).await), "/agent");
    assert_eq!(pointer(scene.say("x", &json!({ "end_user_id": "eve" })).await), "/end_user_id");
    assert_eq!(pointer(scene.say("x", &json!({ "end_user_id": "" })).await), "/end_user_id");
    let nowhere = json!({ "agent": "b", "input": "x", "when_busy": "reject" });
    assert_eq!(pointer(api.post("/v1/runs", &nowhere).await), "/when_busy");
    let odd = json!({ "agent": "b", "title": "" });
    assert_eq!(pointer(api.post("/v1/conversations", &odd).await), "/title");
    let nobody = json!({ "agent": "nobody" });
    assert_eq!(api.post("/v1/conversations", &nobody).await.refusal(), (404, "agent_not_found"));

    let owner = scene.app.trust.owner();
    let stranger = scene.app.person(&owner.colleague(Role::Member));
    let path = format!("/v1/conversations/{}", scene.conversation);
    assert_eq!(stranger.get(&path).await.refusal(), (404, "conversation_not_found"));
    let theirs = json!({ "conversation_id": scene.conversation, "input": "x" });
    assert_eq!(stranger.post("/v1/runs", &theirs).await.refusal(), (404, "conversation_not_found"));
    assert_eq!(scene.ask("still here").await, "answer 1");
}

#[tokio::test]
async fn conversations_are_listed_found_renamed_and_made_once_per_key() {
    let scene = Scene::start().await;
    let api = &scene.api;
    let begun = json!({ "agent": "a", "title": "Refund of Bob", "end_user_id": "bob" });
    let once = api.header("idempotency-key", "k1");
    let first = once.post("/v1/conversations", &begun).await.expect(201);
    let again = once.post("/v1/conversations", &begun).await.expect(201);
    assert_eq!(first["conversation_id"], again["conversation_id"]);

    let count = async |query: &str| {
        let page = api.get(&format!("/v1/conversations?{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(
        (count("").await, count("end_user_id=bob").await, count("q=refund").await),
        (2, 1, 1)
    );
    assert_eq!(count(&format!("agent_id={}", first["agent_id"].as_str().unwrap())).await, 2);
    let path = format!("/v1/conversations/{}", first["conversation_id"].as_str().unwrap());
    let renamed = api.patch(&path, &json!({ "title": "Done" })).await.expect(200);
    assert_eq!((&renamed["title"], count("q=refund").await), (&json!("Done"), 0));
    assert_eq!(api.patch(&path, &json!({ "turns": 7 })).await.status, 422);
}

#[tokio::test]
async fn a_deleted_conversation_takes_its_messages_and_its_runs_under_way_with_it() {
    let scene = Scene::start().await;
    scene.ask("one").await;
    let slow = scene.busy().await;
    let early = scene.say("early", &json!({})).await.expect(201);
    let path = format!("/v1/conversations/{}", scene.conversation);

    assert_eq!(scene.api.delete(&path).await.status, 204);

    scene::until(&scene.api, &slow, "cancelled").await;
    scene::until(&scene.api, early["run_id"].as_str().unwrap(), "cancelled").await;
    assert_eq!(scene.api.get(&path).await.refusal(), (404, "conversation_not_found"));
    assert_eq!(scene.say("x", &json!({})).await.refusal(), (404, "conversation_not_found"));
    let left: i64 = sqlx::query_scalar("select count(*) from engine.conversation_message")
        .fetch_one(&mut scene.app.db.admin().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_idle_conversation_is_forgotten_in_the_end_but_not_while_a_run_of_it_is_under_way() {
    let scene = Scene::start().await;
    let other = scene.api.post("/v1/conversations", &json!({ "agent": "a" })).await.expect(201);
    let other = format!("/v1/conversations/{}", other["conversation_id"].as_str().unwrap());
    scene.busy().await;
    sqlx::raw_sql("update engine.conversation set updated_at = now() - interval '181 days'")
        .execute(&mut scene.app.db.admin().await)
        .await
        .unwrap();

    eventually("the idle one to be forgotten", async || {
        (scene.api.get(&other).await.status == 404).then_some(())
    })
    .await;

    scene.api.get(&format!("/v1/conversations/{}", scene.conversation)).await.expect(200);
}
