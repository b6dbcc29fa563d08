//! How long each tenant wants things kept.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use testkit::{Api, Person, eventually};

use crate::harness::TestApp;
use crate::scene;

const OFTEN: (&str, &str) = ("SWITCHYARD_PRUNE_MS", "50");
const PATH: &str = "/v1/settings/retention";

/// A run of the person's that ended so many days ago.
async fn ended(app: &TestApp, api: &Api, days: i32) -> String {
    let name = format!("{days} {}", shared_models::AgentId::mint());
    let agent = scene::scripted(api, &name, &json!([{ "text": "x" }])).await;
    let run = scene::start(api, &agent).await;
    scene::until(api, &run, "succeeded").await;
    sqlx::query(
        "update engine.run set finished_at = now() - make_interval(days => $2) where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .bind(days)
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    run
}

async fn set(api: &Api, patch: &Value) -> Value {
    api.patch(PATH, patch).await.expect(200)
}

async fn silent(api: &Api, run: &str) -> bool {
    scene::get(api, run).await["content_pruned_at"].is_string()
}

async fn until_silent(api: &Api, run: &str) {
    eventually("the content to be forgotten", async || silent(api, run).await.then_some(())).await;
}

async fn until_gone(api: &Api, run: &str) {
    eventually("the run to be forgotten", async || {
        (api.get(&format!("/v1/runs/{run}")).await.status == 404).then_some(())
    })
    .await;
}

/// Another tenant's owner.
fn neighbour(app: &TestApp) -> Person {
    app.trust.owner()
}

#[tokio::test]
async fn each_tenant_keeps_content_and_runs_as_long_as_it_has_said_and_the_others_as_the_platform_does()
 {
    let app = TestApp::start_with(&[OFTEN]).await;
    let (short, long) = (app.person(&app.trust.owner()), app.person(&neighbour(&app)));
    let usual = app.person(&neighbour(&app));
    set(&short, &json!({ "content_days": 5, "run_days": 10 })).await;
    set(&long, &json!({ "content_days": 100, "run_days": 1000 })).await;
    let (kept_short, kept_long) = (ended(&app, &short, 4).await, ended(&app, &long, 99).await);
    let kept_usual = ended(&app, &usual, 29).await;
    let (silent_short, gone_short) = (ended(&app, &short, 6).await, ended(&app, &short, 11).await);
    let (silent_long, gone_long) = (ended(&app, &long, 500).await, ended(&app, &long, 1001).await);
    let (silent_usual, gone_usual) =
        (ended(&app, &usual, 31).await, ended(&app, &usual, 401).await);

    for (api, silent, gone) in [
        (&short, &silent_short, &gone_short),
        (&long, &silent_long, &gone_long),
        (&usual, &silent_usual, &gone_usual),
    ] {
        until_silent(api, silent).await;
        until_gone(api, gone).await;
    }

    for (api, run) in [(&short, &kept_short), (&long, &kept_long), (&usual, &kept_usual)] {
        assert!(!silent(api, run).await, "{run}");
        api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    }
}

#[tokio::test]
async fn content_goes_with_its_run_when_only_runs_are_kept_shorter() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    let said = set(&api, &json!({ "run_days": 3 })).await;
    assert_eq!(said["in_force"]["content_days"], 3);

    let run = ended(&app, &api, 4).await;

    until_gone(&api, &run).await;
}

#[tokio::test]
async fn a_run_in_doubt_is_kept_whatever_the_tenant_says() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    set(&api, &json!({ "content_days": 1, "run_days": 1 })).await;
    let run = ended(&app, &api, 0).await;
    sqlx::query(
        "insert into engine.effect (run_id, call_id, tenant_id, tool_name, class, idempotency_key, timeout_ms, state)
         select run_id, 'c', tenant_id, 't', 'unsafe', gen_random_uuid(), 1, 'in_doubt' from engine.run where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    sqlx::query(
        "update engine.run set finished_at = now() - interval '50 days' where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    // Younger, so when it is gone the other one has been looked at.
    let plain = ended(&app, &api, 40).await;
    until_gone(&api, &plain).await;

    assert!(!silent(&api, &run).await);
}

/// How many rows of the tenant the table has.
async fn count(app: &TestApp, table: &str, tenant: uuid::Uuid) -> i64 {
    let sql = format!("select count(*) from engine.{table} where tenant_id = $1");
    let count = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant);
    count.fetch_one(&mut app.db.admin().await).await.unwrap()
}

const DATED: &str = "
    insert into engine.agent_memory (tenant_id, agent_id, subject, key, value, updated_at)
    select $1, gen_random_uuid(), 'user:' || n, 'k', 'v', now() - make_interval(days => n) from unnest($2::int[]) n;";
const USED: &str = "
    insert into engine.usage (tenant_id, day, agent_id, model, slot, calls, unpriced_calls, input_tokens, cache_read_tokens,
        cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd)
    select $1, ((now() at time zone 'utc')::date - n), gen_random_uuid(), 'm', 0, 1, 0, 1, 0, 0, 1, 0, 1
    from unnest($2::int[]) n";
const USED_BY: &str = "
    insert into engine.user_usage (tenant_id, day, user_id, agent_id, model, slot, calls, unpriced_calls, input_tokens,
        cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_micro_usd)
    select $1, ((now() at time zone 'utc')::date - n), gen_random_uuid(), gen_random_uuid(), 'm', 0, 1, 0, 1, 0, 0, 1, 0, 1
    from unnest($2::int[]) n";
const TOLD: &str = "
    with e as (
        insert into engine.webhook_endpoint (endpoint_id, tenant_id, url, description, event_types, enabled, owner_id, credential_id)
        values (gen_random_uuid(), $1, 'https://example.com', '', '{}', true, gen_random_uuid(), gen_random_uuid())
        returning endpoint_id)
    insert into engine.webhook_delivery (endpoint_id, message_id, tenant_id, event_type, body, status, occurred_at, created_at, ended_at)
    select e.endpoint_id, gen_random_uuid(), $1, 'run.created', '{}', 'delivered', now(), now() - make_interval(days => n), now()
    from e, unnest($2::int[]) n";
const TALKED: &str = "
    insert into engine.conversation
    select (jsonb_populate_record(c, jsonb_build_object('conversation_id', gen_random_uuid(),
        'updated_at', now() - make_interval(days => n)))).*
    from engine.conversation c, unnest($2::int[]) n where c.tenant_id = $1";
const TRIED: &str = "
    insert into engine.evaluation (evaluation_id, tenant_id, agent_id, agent_name, agent_version, mode, concurrency,
        deadline_seconds, initiator_id, status, finished_at)
    select gen_random_uuid(), $1, gen_random_uuid(), 'a', 1, 'live', 1, 1, gen_random_uuid(), 'finished',
        now() - make_interval(days => n)
    from unnest($2::int[]) n";

#[tokio::test]
async fn memory_usage_deliveries_conversations_and_evaluations_have_terms_of_their_own() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let (mine, theirs) = (app.trust.owner(), neighbour(&app));
    for person in [&mine, &theirs] {
        let api = app.person(person);
        let agent = scene::scripted(&api, "talks", &json!([{ "text": "x" }])).await;
        api.post("/v1/conversations", &json!({ "agent_id": agent })).await.expect(201);
    }
    let said = json!({ "memory_days": 10, "usage_days": 70, "webhook_days": 5, "conversation_days": 20,
        "content_days": 2, "run_days": 15 });
    set(&app.person(&mine), &said).await;

    // The rows of each, in days: what stays by the tenant's term, what goes by it but not by the platform's, what goes.
    let table = [
        ("agent_memory", DATED, [9, 11, 731], (1, 3)),
        ("usage", USED, [69, 71, 1101], (1, 2)),
        ("user_usage", USED_BY, [69, 71, 1101], (1, 2)),
        ("webhook_delivery", TOLD, [4, 6, 31], (1, 2)),
        // One was there before.
        ("conversation", TALKED, [19, 21, 181], (2, 3)),
        ("evaluation", TRIED, [14, 16, 401], (1, 2)),
    ];
    for (_, sql, days, _) in &table {
        for person in [&mine, &theirs] {
            let insert =
                sqlx::query(AssertSqlSafe(*sql)).bind(person.tenant.uuid()).bind(days.to_vec());
            insert.execute(&mut app.db.admin().await).await.unwrap();
        }
    }

    for (name, _, _, (own, usual)) in table {
        eventually(&format!("{name} to be forgotten"), async || {
            let mine = count(&app, name, mine.tenant.uuid()).await;
            let theirs = count(&app, name, theirs.tenant.uuid()).await;
            ((mine, theirs) == (own, usual)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_words_of_an_evaluation_go_with_what_was_said_in_its_runs_and_its_outcome_stays() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "sesame" }])).await;
    let unmet = json!({ "kind": "output_matches", "pattern": "^open" });
    let case = json!({ "name": "n", "input": "go", "expectations": [unmet] });
    crate::cases::case(&api, &agent, &case).await;
    let made = api.post(&format!("/v1/agents/{agent}/evaluate"), &json!({})).await.expect(201);
    let path = format!("/v1/evaluations/{}", made["evaluation_id"].as_str().unwrap());
    let report = async || api.get(&path).await.expect(200);
    eventually("the evaluation to finish", async || {
        (report().await["status"] == "finished").then_some(())
    })
    .await;
    assert!(report().await.to_string().contains("sesame"));
    let old = "update engine.evaluation set finished_at = now() - interval '31 days'";
    sqlx::query(old).execute(&mut app.db.admin().await).await.unwrap();

    let seen = eventually("the words to be forgotten", async || {
        let seen = report().await;
        (!seen.to_string().contains("sesame")).then_some(seen)
    })
    .await;

    assert_eq!(seen["results"][0]["expectations"][0]["passed"], false);
    assert_eq!(seen["counts"]["failed"], 1);
}

#[tokio::test]
async fn an_administrator_says_how_long_and_everybody_sees_it_and_each_change_is_written_down() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, member) =
        (app.person(&owner), app.person(&owner.colleague(shared_models::Role::Member)));
    let before = member.get(PATH).await.expect(200);
    let usual = json!({ "content_days": 30, "run_days": 400, "conversation_days": 180, "memory_days": null,
        "usage_days": 1100, "webhook_days": 30 });
    assert_eq!((&before["in_force"], &before["version"]), (&usual, &json!(0)));

    let said = set(&api, &json!({ "content_days": 7, "usage_days": 365 })).await;
    set(&api, &json!({ "content_days": null })).await;

    assert_eq!((&said["content_days"], &said["in_force"]["content_days"]), (&json!(7), &json!(7)));
    assert_eq!(said["updated_by"], owner.user.to_string());
    let now = member.get(PATH).await.expect(200);
    assert_eq!(
        (&now["content_days"], &now["in_force"]["content_days"]),
        (&Value::Null, &json!(30))
    );
    assert_eq!((&now["usage_days"], &now["version"]), (&json!(365), &json!(2)));
    let changes = api.get(&format!("{PATH}/changes?limit=1")).await.expect(200);
    let last = &changes["items"][0];
    assert_eq!(
        (&last["before"]["content_days"], &last["after"]["content_days"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(
        (&last["changed_by"], &last["version"]),
        (&json!(owner.user.to_string()), &json!(2))
    );
    let cursor = changes["next_cursor"].as_str().unwrap();
    let first = api.get(&format!("{PATH}/changes?cursor={cursor}")).await.expect(200);
    assert_eq!(first["items"][0]["after"]["content_days"], 7);

    let refused = member.patch(PATH, &json!({ "content_days": 1 })).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(member.get(&format!("{PATH}/changes")).await.status, 403);
    let stale = api.header("if-match", "\"1\"").patch(PATH, &json!({ "content_days": 1 })).await;
    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    let neighbour = app.person(&neighbour(&app)).get(PATH).await.expect(200);
    assert_eq!(neighbour["version"], 0);
}

#[tokio::test]
async fn terms_that_cannot_be_are_refused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    for (patch, pointer) in [
        (json!({ "content_days": 0 }), "/content_days"),
        (json!({ "run_days": 3651 }), "/run_days"),
        (json!({ "usage_days": 61 }), "/usage_days"),
        (json!({ "webhook_days": 401 }), "/webhook_days"),
        (json!({ "memory_days": -1 }), "/memory_days"),
        (json!({ "content_days": 401 }), "/content_days"),
        (json!({ "content_days": 20, "run_days": 10 }), "/content_days"),
    ] {
        let refused = api.patch(PATH, &patch).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{patch}");
        let problem: Value = serde_json::from_str(&refused.text).unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    assert_eq!(api.patch(PATH, &json!({ "days": 1 })).await.status, 422);
    assert_eq!(api.get(PATH).await.expect(200)["version"], 0);
}

#[tokio::test]
async fn a_stream_of_a_run_that_is_forgotten_meanwhile_ends_and_its_reader_is_told_why_when_it_comes_back()
 {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    let run = ended(&app, &api, 0).await;
    // The last record is missing to whoever reads on from here, as to a reader who is slow.
    sqlx::query("delete from engine.journal where run_id = $1::uuid and kind = 'finished'")
        .bind(scene::bare(&run))
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
    let path = format!("/v1/runs/{run}/events");
    let mut readers = tokio::task::JoinSet::new();
    let (reader, read) = (api.clone(), path.clone());
    readers.spawn(async move { reader.get(&read).await });
    sqlx::query(
        "update engine.run set finished_at = now() - interval '31 days' where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    until_silent(&api, &run).await;

    let limit = std::time::Duration::from_secs(30);
    let read = tokio::time::timeout(limit, readers.join_next()).await.expect("the stream ends");

    assert!(matches!(read.unwrap().unwrap().status, 200 | 410));
    assert_eq!(api.get(&path).await.refusal(), (410, "run_pruned"));
}
