//! What a trigger hands over, how fast it fires, what is parked, and systems that are paused.

use serde_json::{Value, json};
use shared_models::{
    MicroUsd, RunStatus, TenantId, Usage,
    events::{run::RunFinished, trigger::TriggerFired},
};
use testkit::eventually;

use crate::harness::{FakeEngine, World, run_of};

async fn finish(engine: &FakeEngine, tenant: TenantId, fired: &TriggerFired) {
    let ended = RunFinished {
        run: run_of(fired),
        status: RunStatus::Succeeded,
        error: None,
        error_code: None,
        usage: Usage::default(),
        cost: Some(MicroUsd(0)),
    };
    engine.tell(tenant, &ended).await;
}

/// The statuses of a trigger's firings, oldest first.
async fn statuses(world: &World) -> Vec<String> {
    let sql = "select status from eventsvc.firing order by event_id";
    sqlx::query_scalar(sql).fetch_all(&mut world.db.admin().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_given_what_the_template_makes_of_a_delivery() {
    let world = World::start().await;
    let input = json!({ "ask": "Who is {{payload.who}}?", "n": "{{payload.n}}" });
    let hook = world.open_trigger(json!({ "input": input })).await;
    let engine = world.engine().await;

    let accepted = world.send(hook, &json!({ "who": "Ann", "n": 7 })).await.expect(202);
    let broken = world.send(hook, &json!({ "n": 7 })).await.expect(202);

    let given = json!({ "ask": "Who is Ann?", "n": 7 });
    assert_eq!(engine.take(1).await[0].data.payload, Some(given.clone()));
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["payload"], json!({ "who": "Ann", "n": 7 }), "the ledger keeps what came");
    assert_eq!(broken["outcome"], "failed");
    let firing = world.delivery(&broken).await["firings"][0].take();
    assert_eq!(
        (&firing["reason_class"], &firing["reason"]),
        (&json!("input"), &json!("there is no `who`"))
    );

    let path = format!("/v1/deliveries/{}/replay", accepted["delivery_id"].as_str().unwrap());
    world.mine().post(&path, &json!({})).await.expect(202);
    assert_eq!(engine.take(1).await[0].data.payload, Some(given), "a replay is given the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_about_input_and_flow_is_refused_by_name() {
    let world = World::start().await;
    let refused = async |more: Value| {
        let mut body = json!({ "system": "webhook", "agent_id": world.agent });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = world.mine().post("/v1/triggers", &body).await;
        assert_eq!(reply.status, 422, "{more}");
        reply.body["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };

    assert_eq!(refused(json!({ "input": "{{payload." })).await, "/input");
    assert_eq!(refused(json!({ "flow": { "concurrency": 0 } })).await, "/flow/concurrency");
    assert_eq!(refused(json!({ "respond_seconds": 5 })).await, "/respond_seconds");
    let both = json!({ "respond": "result", "flow": { "concurrency": 1 } });
    assert_eq!(refused(both).await, "/respond");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_key_come_one_after_another_and_other_keys_do_not_wait() {
    let world = World::start().await;
    let flow = json!({ "key": "payload.k", "concurrency": 1 });
    let hook = world.open_trigger(json!({ "flow": flow })).await;
    let (engine, tenant) = (world.engine().await, world.owner.tenant);

    for (k, n) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
        let accepted = world.send(hook, &json!({ "k": k, "n": n })).await.expect(202);
        assert_eq!(accepted["outcome"], "queued");
    }
    let mut first = engine.take(2).await;
    first.sort_by_key(|event| event.data.payload.as_ref().unwrap()["n"].as_i64());
    let numbers: Vec<_> =
        first.iter().map(|e| e.data.payload.as_ref().unwrap()["n"].clone()).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(statuses(&world).await, ["fired", "queued", "fired", "queued"]);

    finish(&engine, tenant, &first[0].data).await;
    let second = engine.take(1).await.remove(0).data;
    assert_eq!(second.payload, Some(json!({ "k": "a", "n": 2 })));
    finish(&engine, tenant, &second).await;
    assert_eq!(engine.take(1).await[0].data.payload, Some(json!({ "k": "a", "n": 4 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_of_one_key_is_not_in_the_way_of_another() {
    let world = World::start().await;
    let flow = json!({ "key": "payload.k", "concurrency": 1 });
    let hook = world.open_trigger(json!({ "flow": flow })).await;
    let (engine, tenant) = (world.engine().await, world.owner.tenant);
    let payload = |event: &TriggerFired| event.payload.clone().unwrap();

    for n in 0..450 {
        world.send(hook, &json!({ "k": "a", "n": n })).await.expect(202);
    }
    world.send(hook, &json!({ "k": "b" })).await.expect(202);

    let first = engine.take(2).await;
    let payloads: Vec<_> = first.iter().map(|event| payload(&event.data)).collect();
    assert_eq!(payloads, [json!({ "k": "a", "n": 0 }), json!({ "k": "b" })]);
    // Those that were passed over have their turn all the same, in their order.
    let mut last = first.into_iter().next().unwrap().data;
    for n in 1..4 {
        finish(&engine, tenant, &last).await;
        last = engine.take(1).await.remove(0).data;
        assert_eq!(payload(&last), json!({ "k": "a", "n": n }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_beyond_the_rate_waits() {
    let world = World::start().await;
    let flow = json!({ "rate": { "limit": 2, "per_seconds": 3600 } });
    let hook = world.open_trigger(json!({ "flow": flow })).await;

    for n in 0..3 {
        world.send(hook, &json!({ "n": n })).await.expect(202);
    }

    world.engine().await.take(2).await;
    eventually("the third to wait alone", async || {
        (statuses(&world).await == ["fired", "fired", "queued"]).then_some(())
    })
    .await;
    // Without its flow control it is free to go.
    let path = format!("/v1/triggers/{hook}");
    world.mine().patch(&path, &json!({ "flow": null })).await.expect(200);
    eventually("the third to go", async || {
        (statuses(&world).await == ["fired", "fired", "fired"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flurry_only_the_last_fires() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "flow": { "debounce_seconds": 3600 } })).await;
    let mut accepted = Vec::new();
    for n in 0..3 {
        accepted.push(world.send(hook, &json!({ "n": n })).await.expect(202));
    }
    let quiet = "update eventsvc.delivery set received_at = received_at - interval '2 hours'";
    sqlx::raw_sql(quiet).execute(&mut world.db.admin().await).await.unwrap();

    let fired = world.engine().await.take(1).await.remove(0).data;

    assert_eq!(fired.payload, Some(json!({ "n": 2 })));
    assert_eq!(statuses(&world).await, ["merged", "merged", "fired"]);
    let merged = world.delivery(&accepted[0]).await;
    assert_eq!(merged["status"], "merged");
    assert_eq!(merged["firings"][0]["reason"], format!("it went along with {}", fired.event_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_flurry_only_the_last_fires_and_another_key_does_not_wait_for_it() {
    let world = World::start().await;
    let flow = json!({ "key": "payload.k", "debounce_seconds": 3600 });
    let hook = world.open_trigger(json!({ "flow": flow })).await;
    for n in 0..450 {
        world.send(hook, &json!({ "k": "a", "n": n })).await.expect(202);
    }
    world.send(hook, &json!({ "k": "b" })).await.expect(202);
    let (mut admin, engine) = (world.db.admin().await, world.engine().await);
    let mut quiet = async |k: &str| {
        let sql = "update eventsvc.delivery set received_at = received_at - interval '2 hours'
            where convert_from(body, 'UTF8')::jsonb->>'k' = $1";
        sqlx::query(sql).bind(k).execute(&mut admin).await.unwrap();
        engine.take(1).await.remove(0).data.payload.unwrap()
    };

    // In front of what is quiet stands more than is looked at together of what is not.
    assert_eq!(quiet("b").await, json!({ "k": "b" }));
    assert_eq!(quiet("a").await, json!({ "k": "a", "n": 449 }));
    eventually("the others to have gone along", async || {
        let merged = "select count(*) from eventsvc.firing where status = 'merged'";
        (world.count(merged).await == 449).then_some(())
    })
    .await;
    assert_eq!(world.count("select count(*) from eventsvc.outbox").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_fill_slowly_hide_no_other() {
    let world = World::start().await;
    let flow = json!({ "key": "payload.k", "batch": { "max": 100, "seconds": 3600 } });
    let hook = world.open_trigger(json!({ "flow": flow })).await;
    for n in 0..270 {
        world.send(hook, &json!({ "k": format!("{}", n % 3) })).await.expect(202);
    }

    for _ in 0..100 {
        world.send(hook, &json!({ "k": "full" })).await.expect(202);
    }

    let fired = world.engine().await.take(1).await.remove(0).data.payload.unwrap();
    assert_eq!(fired.as_array().unwrap().len(), 100);
    assert!(fired.as_array().unwrap().iter().all(|one| one["k"] == "full"));
    let queued = "select count(*) from eventsvc.firing where status = 'queued'";
    assert_eq!(world.count(queued).await, 270);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_goes_as_a_list() {
    let world = World::start().await;
    let batch = json!({ "batch": { "max": 2, "seconds": 3600 } });
    let hook =
        world.open_trigger(json!({ "flow": batch, "input": { "all": "{{payload}}" } })).await;

    for n in 0..3 {
        world.send(hook, &json!({ "n": n })).await.expect(202);
    }

    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!(fired.payload, Some(json!({ "all": [{ "n": 0 }, { "n": 1 }] })));
    assert_eq!(statuses(&world).await, ["fired", "merged", "queued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_routed_is_parked_until_the_trigger_has_a_target() {
    let world = World::start().await;
    let body = json!({ "system": "webhook", "target": { "kind": "route" },
        "options": { "verify": { "scheme": "none" } } });
    let made = world.mine().post("/v1/triggers", &body).await.expect(201);
    let hook = made["id"].as_str().unwrap();

    let accepted = world.send(hook, &json!({ "n": 1 })).await.expect(202);

    assert_eq!(accepted["outcome"], "parked");
    let delivery = world.delivery(&accepted).await;
    assert_eq!(
        (&delivery["status"], &delivery["reason_class"]),
        (&json!("parked"), &json!("route"))
    );
    assert!(delivery["reason"].as_str().unwrap().contains("there is no router"));
    let path = format!("/v1/deliveries/{}/replay", accepted["delivery_id"].as_str().unwrap());
    let refused = world.mine().post(&path, &json!({})).await;
    assert_eq!(refused.refusal(), (409, "not_replayable"));
    let patch = json!({ "agent_id": world.agent });
    world.mine().patch(&format!("/v1/triggers/{hook}"), &patch).await.expect(200);
    world.mine().post(&path, &json!({})).await.expect(202);
    assert_eq!(world.engine().await.take(1).await[0].data.payload, Some(json!({ "n": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_paused_holds_everything_back_until_it_is_resumed() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({})).await;
    let (timer, _) =
        world.trigger(json!({ "system": "timer", "options": { "interval_seconds": 1 } })).await;
    let switch = |system: &str, paused: bool| json!({ "system": system, "paused": paused, "why": "maintenance" });
    let path = "/v1/triggers/systems";

    let systems = world.mine().put(path, &switch("webhook", true)).await.expect(200);
    world.mine().put(path, &switch("timer", true)).await.expect(200);

    let webhook = systems["items"].as_array().unwrap().iter().find(|s| s["system"] == "webhook");
    assert_eq!(
        (&webhook.unwrap()["paused"], &webhook.unwrap()["why"]),
        (&json!(true), &json!("maintenance"))
    );
    let held = world.send(hook, &json!({ "n": 1 })).await.expect(202);
    assert_eq!(held["outcome"], "held");
    world.status_of(timer, "the timer to wait", |s| s["timer"]["next_due_at"].is_null()).await;
    // Whoever looks at a trigger is told.
    let why = "everything of `webhook` is paused: maintenance";
    world
        .status_of(hook, "it to say so", |s| s["state"] == "paused" && s["paused_why"] == why)
        .await;

    world.mine().put(path, &switch("webhook", false)).await.expect(200);
    world.mine().put(path, &switch("timer", false)).await.expect(200);
    eventually("it to be released", async || {
        (world.delivery(&held).await["status"] == "fired").then_some(())
    })
    .await;
    let again = |s: &Value| s["state"] == "listening" && s["paused_why"].is_null();
    world.status_of(hook, "it to listen again", again).await;
    let before =
        world.count("select count(*) from eventsvc.delivery where verified_by = 'schedule'");
    let before = before.await;
    eventually("the timer to fire again", async || {
        let sql = "select count(*) from eventsvc.delivery where verified_by = 'schedule'";
        (world.count(sql).await > before).then_some(())
    })
    .await;
    let fax = world.mine().put(path, &switch("fax", true)).await;
    assert_eq!(fax.refusal(), (422, "validation_failed"));
    let member = world.owner.colleague(shared_models::Role::Member);
    let refused = world.api(&member).put(path, &switch("webhook", true)).await;
    assert_eq!(refused.refusal(), (403, "scope_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_replayed_goes_as_the_batch_it_was() {
    let world = World::start().await;
    let batch = json!({ "batch": { "max": 2, "seconds": 3600 } });
    let hook = world.open_trigger(json!({ "flow": batch })).await;
    let first = world.send(hook, &json!({ "n": 0 })).await.expect(202);
    world.send(hook, &json!({ "n": 1 })).await.expect(202);
    let engine = world.engine().await;
    let whole = Some(json!([{ "n": 0 }, { "n": 1 }]));
    assert_eq!(engine.take(1).await[0].data.payload, whole);

    let path = format!("/v1/deliveries/{}/replay", first["delivery_id"].as_str().unwrap());
    world.mine().post(&path, &json!({})).await.expect(202);
    let again = engine.take(1).await.remove(0).data;
    assert_eq!((again.attempt, &again.payload), (2, &whole));
    let many = json!({ "status": "fired", "trigger_id": hook, "dry_run": false });
    world.mine().post("/v1/deliveries/replay", &many).await.expect(202);
    let third = engine.take(1).await.remove(0).data;
    assert_eq!((third.attempt, &third.payload), (3, &whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_trigger_leaves_nothing_running_behind() {
    let world = World::start().await;
    let hook = world.open_trigger(json!({ "flow": { "concurrency": 1 } })).await;
    world.send(hook, &json!({})).await.expect(202);
    world.engine().await.take(1).await;
    let running = "select count(*) from eventsvc.flow_running";
    assert_eq!(world.count(running).await, 1);

    world.mine().delete(&format!("/triggers/{hook}")).await;
    assert_eq!(world.count(running).await, 0);
    // One that was started at the same moment is found later.
    let mut admin = world.db.admin().await;
    let late = "insert into eventsvc.flow_running (event_id, tenant_id, trigger_id, key)
        select gen_random_uuid(), tenant_id, trigger_id, '' from eventsvc.trigger";
    sqlx::raw_sql(late).execute(&mut admin).await.unwrap();
    eventsvc::forget_old(&world.app).await.unwrap();
    assert_eq!(world.count(running).await, 0);
}
