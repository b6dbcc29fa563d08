//! Models that are asked without a run: they draw on the budgets of the platform, the tenant and whoever asks.

use std::time::Duration;

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Reply, Stub, eventually};

use crate::budget_trees::LEASE;
use crate::budgets::{line, price, set};
use crate::harness::TestApp;
use crate::scene;

async fn ask(api: &Api, model: &str, more: &Value) -> Reply {
    let mut body =
        json!({ "model": model, "messages": [{ "role": "user", "content": "Hello there" }] });
    json_patch::merge(&mut body, more);
    api.post("/v1/chat/completions", &body).await
}

async fn embed(api: &Api, text: &str) -> Reply {
    api.post("/v1/embeddings", &json!({ "model": "sim:embed", "input": text })).await
}

/// The budget's only line, once nothing is set aside any more.
async fn settled(api: &Api, budget: &str) -> Value {
    eventually("nothing to be set aside", async || {
        let line = line(api, budget).await;
        (line["reserved"] == 0).then_some(line)
    })
    .await
}

/// Says these words, each an event of its own, and breaks off.
fn broken_off(words: &[&str]) -> Answer {
    let kind = ("content-type".to_owned(), "text/event-stream".to_owned());
    let event = |word: &&str| {
        let delta = json!({ "choices": [{ "index": 0, "delta": { "content": word } }] });
        format!("data: {delta}\n\n")
    };
    Answer::Raw(200, vec![kind], words.iter().map(event).collect::<String>().into_bytes())
}

#[tokio::test]
async fn a_chat_and_an_embedding_are_charged_to_the_tenant_and_to_whoever_asks() {
    let app = TestApp::start_with(&[LEASE]).await;
    let owner = app.trust.owner();
    let (api, mate) = (app.person(&owner), owner.teammate(Role::Member));
    price(&api).await;
    let tenant = set(&api, json!({ "level": "tenant", "max_cost_micro_usd": 1_000_000 })).await;
    let own = json!({ "level": "user", "user_id": mate.user, "max_tokens": 100_000 });
    let own = set(&api, own).await;
    let agents = json!({ "level": "user", "user_id": owner.user, "max_tokens": 100_000 });
    let others = set(&api, agents).await;

    let said = ask(&app.person(&mate), "sim:echo", &json!({})).await.expect(200);
    let streamed = ask(&app.person(&mate), "sim:echo", &json!({ "stream": true })).await;
    assert!(streamed.text.ends_with("data: [DONE]\n\n"), "{}", streamed.text);
    let made = embed(&app.person(&mate), "three plain words").await.expect(200);

    // Two words are heard and said, twice; a token of input is worth 1, one of output 2.
    assert_eq!(
        (&said["usage"]["prompt_tokens"], &said["usage"]["completion_tokens"]),
        (&json!(2), &json!(2))
    );
    let embedded = made["usage"]["total_tokens"].as_i64().unwrap();
    assert!(embedded > 0, "{made}");
    let of_tenant = settled(&api, &tenant).await;
    assert_eq!(
        (&of_tenant["spent"], &of_tenant["overshoot"]),
        (&json!(2 * 6 + embedded), &json!(0))
    );
    assert_eq!(settled(&api, &own).await["spent"], 2 * 4 + embedded);
    assert_eq!(settled(&api, &others).await["spent"], 0, "of somebody else");
}

#[tokio::test]
async fn without_room_a_chat_and_an_embedding_are_refused_in_openais_form_and_no_one_is_asked() {
    let server = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    price(&api).await;
    let tenant = set(&api, json!({ "level": "tenant", "period": "total", "max_tokens": 20 })).await;

    let chat = ask(&api, "openai:gpt-4o", &json!({})).await;
    let keyed = ask(&api.header("idempotency-key", "k"), "openai:gpt-4o", &json!({})).await;
    let streamed = ask(&api, "openai:gpt-4o", &json!({ "stream": true })).await;
    let embedding = embed(&api, &"word ".repeat(100)).await;

    for reply in [&chat, &keyed, &streamed, &embedding] {
        assert_eq!((reply.status, &reply.body["code"]), (429, &json!("budget_exhausted")));
        let error = &reply.body["error"];
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("insufficient_quota"), &json!("budget_exhausted"))
        );
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("a budget of the tenant has 20 tokens left"),
            "{error}"
        );
        assert_eq!(reply.header("x-should-retry"), Some("false"), "nothing of it comes back");
    }
    assert!(server.requests().is_empty());
    assert_eq!(settled(&api, &tenant).await["spent"], 0);
    assert_eq!(api.get("/v1/usage").await.expect(200)["total"]["calls"], 0, "nothing was called");
    // Near the end the answer is as long as there is room for; `Hello there` is estimated as 12 tokens.
    let more = json!({ "max_tokens": 40 });
    api.patch(&format!("/v1/budgets/{tenant}"), &more).await.expect(200);
    ask(&api, "openai:gpt-4o", &json!({})).await;
    let asked = server.requests()[0].json();
    let most = asked["max_completion_tokens"].as_i64().or(asked["max_tokens"].as_i64()).unwrap();
    assert_eq!(most, 40 - 12);
}

#[tokio::test]
async fn a_model_without_a_price_is_not_asked_by_anybody_where_money_is_limited() {
    let server = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let owner = app.trust.owner();
    let (api, platform) = (app.person(&owner), app.person(&owner.platform_admin()));
    let budget = json!({ "period": "day", "limits": { "max_cost_micro_usd": 1_000_000 } });
    platform.post("/v1/platform/budgets", &budget).await.expect(201);

    let reply = ask(&api, "openai:nobody-knows", &json!({})).await;

    assert_eq!(reply.refusal(), (422, "model_unpriced"));
    let sql = "revoke select on engine.price from engine_app";
    sqlx::query(sql).execute(&mut app.db.admin().await).await.unwrap();
    // Another tenant, of which no price book has been read.
    let stranger = app.person(&app.trust.owner());
    let unknown = ask(&stranger, "openai:gpt-4o", &json!({})).await;
    assert!(unknown.status >= 500, "{}", unknown.text);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_charged_for_what_was_said() {
    let server = Stub::start(|_| broken_off(&["word "; 60])).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let tenant = set(&api, json!({ "level": "tenant", "max_tokens": 1_000_000 })).await;

    let reply = ask(&api, "openai:gpt-4o", &json!({ "stream": true })).await;

    assert!(reply.text.contains("model_failed"), "{}", reply.text);
    // 12 for what was asked, and a token for three of 300 bytes.
    assert_eq!(settled(&api, &tenant).await["spent"], 12 + 100);
    assert_eq!(api.get("/v1/usage").await.expect(200)["total"]["unpriced_calls"], 1);
}

#[tokio::test]
async fn a_model_that_breaks_off_before_its_first_word_is_asked_again_only_while_there_is_room() {
    let server = Stub::start(|_| broken_off(&[])).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let budget = json!({ "level": "tenant", "period": "total", "max_tokens": 40 });
    let tenant = set(&api, budget).await;

    let reply = ask(&api, "openai:gpt-4o", &json!({})).await;

    // Each takes 12 for what was asked, and wants 16 more at least for what it says.
    assert_eq!(reply.refusal(), (429, "budget_exhausted"));
    let asked: Vec<Value> = server.requests().iter().map(testkit::Stubbed::json).collect();
    let most =
        |asked: &Value| asked["max_completion_tokens"].as_i64().or(asked["max_tokens"].as_i64());
    assert_eq!(asked.iter().map(most).collect::<Vec<_>>(), [Some(28), Some(16)]);
    let line = settled(&api, &tenant).await;
    assert_eq!((&line["spent"], &line["overshoot"]), (&json!(24), &json!(0)));
}

#[tokio::test]
async fn a_reply_of_which_nobody_says_what_it_took_is_charged_by_its_length_and_has_no_cost() {
    let message = json!({ "role": "assistant", "content": "word ".repeat(60) });
    let body = json!({ "choices": [{ "index": 0, "message": message }] });
    let server = Stub::start(move |_| Answer::Json(200, body.clone())).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let tenant = set(&api, json!({ "level": "tenant", "max_tokens": 1_000_000 })).await;

    ask(&api, "openai:gpt-4o", &json!({})).await.expect(200);
    assert_eq!(settled(&api, &tenant).await["spent"], 12 + 100);
    scene::agent(&api, &json!({ "name": "a", "model": "openai:gpt-4o" })).await;
    let asked = json!({ "agent": "a", "input": "hi", "wait": 30 });
    let ended = api.post("/v1/runs", &asked).await.expect(200);

    assert_eq!((&ended["status"], &ended["cost_micro_usd"]), (&json!("succeeded"), &Value::Null));
    let spent = settled(&api, &tenant).await["spent"].as_i64().unwrap();
    assert!((2 * 100..1_000).contains(&spent), "{spent}");
    let total = &api.get("/v1/usage").await.expect(200)["total"];
    assert_eq!((&total["calls"], &total["unpriced_calls"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_charged_all_the_same() {
    let server =
        Stub::start(|_| Answer::After(Duration::from_secs(600), Box::new(Answer::Never))).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let tenant = set(&api, json!({ "level": "tenant", "max_tokens": 1_000_000 })).await;

    for more in [json!({}), json!({ "stream": true })] {
        let so_far = server.requests().len();
        tokio::select! {
            early = ask(&api, "openai:gpt-4o", &more) => panic!("answered: {}", early.text),
            () = testkit::eventually_within(Duration::from_secs(120), "the model to be asked", async || {
                (server.requests().len() > so_far).then_some(())
            }) => {}
        }
    }

    eventually("both to be charged", async || {
        (line(&api, &tenant).await["spent"] == 2 * 12).then_some(())
    })
    .await;
    assert_eq!(settled(&api, &tenant).await["overshoot"], 0);
}

#[tokio::test]
async fn an_answer_ends_when_there_is_no_more_time() {
    let app = TestApp::start_with(&[LEASE]).await;
    let api = app.person(&app.trust.owner());
    let budget = json!({ "level": "tenant", "period": "total", "max_active_seconds": 8 });
    let tenant = set(&api, budget).await;
    let endless = json!([{ "text": "one two", "pace_ms": 600_000 }]);
    let asked = json!({ "messages": [{ "role": "system", "content": scene::script(&endless) },
        { "role": "user", "content": "go" }] });

    let said = ask(&api, "sim:script", &asked).await.expect(200);
    let late = ask(&api, "sim:script", &asked).await;

    let choice = &said["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("one "), &json!("length"))
    );
    assert_eq!(late.refusal(), (429, "budget_exhausted"));
    assert!(settled(&api, &tenant).await["spent"].as_i64().unwrap() >= 8);
}

#[tokio::test]
async fn many_at_once_keep_to_a_budget_between_them() {
    let app = TestApp::start_with(&[LEASE]).await;
    let api = app.person(&app.trust.owner());
    price(&api).await;
    let cap = 2_000;
    let tenant =
        set(&api, json!({ "level": "tenant", "period": "total", "max_cost_micro_usd": cap })).await;
    let turn = json!([{ "text": "done", "usage": { "input_tokens": 40, "output_tokens": 20 }, "delay_ms": 5 }]);
    let asked = json!({ "max_tokens": 20, "messages": [{ "role": "system", "content": scene::script(&turn) },
        { "role": "user", "content": "go" }] });

    let replies = futures::future::join_all((0..60).map(|_| ask(&api, "sim:script", &asked))).await;

    let answered = replies.iter().filter(|reply| reply.status == 200).count() as i64;
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        let (soon, never) = (reply.header("retry-after"), reply.header("x-should-retry"));
        match reply.refusal() {
            // What others have set aside may come back; what is spent does not.
            (429, "budget_exhausted") => assert_ne!(soon.is_some(), never == Some("false")),
            // It got no connection to the database in time. No model was asked, or more would have been spent.
            (503, "unavailable") => assert_eq!(soon, Some("1")),
            _ => panic!("{}", reply.text),
        }
    }
    let line = settled(&api, &tenant).await;
    assert_eq!((&line["spent"], &line["overshoot"]), (&json!(answered * 80), &json!(0)));
    assert!(answered > 0 && answered * 80 <= cap, "{answered}");
}
