//! Changes in HubSpot that no webhook told of, found by searching.

use http::Method;
use serde_json::{Value, json};
use shared_models::TriggerId;
use testkit::{
    Api, HUBSPOT_BATCH, HUBSPOT_PORTAL, HUBSPOT_TOKEN, Reply, eventually_within, hubspot_signature,
};

use crate::{
    harness::{APP_SECRET, PUBLIC_URL, World},
    listening::{listener, look, payloads, rest, run, until},
    losses::PATIENCE,
    mail::now,
};

pub(crate) const SUBSCRIPTIONS: [&str; 2] = ["contact.creation", "contact.propertyChange:email"];

/// A trigger at a hook of its own, whose listener has looked once.
async fn hubspot(world: &World, more: Value) -> TriggerId {
    let credential =
        world.credential(json!({ "secret": APP_SECRET, "access_token": HUBSPOT_TOKEN }));
    let reconcile =
        json!({ "subscriptions": SUBSCRIPTIONS, "grace_seconds": 0, "interval_seconds": 3600 });
    let mut body = json!({ "system": "hubspot", "credential_id": credential,
        "options": { "reconcile": reconcile } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.trigger(body).await.0
}

/// As if the listener had begun so long ago.
pub(crate) async fn began(world: &World, id: TriggerId, ago: &str) {
    rest(world, id).await;
    run(
        world,
        &format!(
            "update eventsvc.source_cursor set position = position || (
                 select jsonb_object_agg(part, (
                     select coalesce(jsonb_object_agg(kind, at), '{{}}') from jsonb_object_keys(position->part) kind))
                     || jsonb_build_object('begun_at', at)
                 from (select (position->>'begun_at')::timestamptz - interval '{ago}' as at) so,
                      unnest(array['read_until', 'deleted_until']) part
                 where position ? part
                 group by at)"
        ),
    )
    .await;
}

/// Delivers changes as HubSpot does, in batches.
pub(crate) async fn deliver(world: &World, hook: &str, changes: &[Value]) -> Vec<Reply> {
    deliver_at(world, hook, changes, now()).await
}

/// The same, at a moment.
pub(crate) async fn deliver_at(
    world: &World,
    hook: &str,
    changes: &[Value],
    now: i64,
) -> Vec<Reply> {
    let mut replies = Vec::new();
    for batch in changes.chunks(HUBSPOT_BATCH) {
        let body = Value::from(batch.to_vec()).to_string();
        let url = format!("{PUBLIC_URL}/v1/hooks/{hook}");
        let headers = hubspot_signature(APP_SECRET, &url, &body, now * 1000);
        let api = Api::router(world.router.clone()).header("content-type", "application/json");
        let api = headers.iter().fold(api, |api, (name, value)| api.header(name, value));
        replies.push(api.raw(Method::POST, &format!("/v1/hooks/{hook}"), body.into()).await);
    }
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_no_webhook_told_of_is_found_once_and_written_down() {
    let world = World::start().await;
    let id = hubspot(&world, json!({})).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    let made = world.hubspot.create(1, before);
    let changed = world.hubspot.set(1, "email", "a@example.com", before + 5);
    world.hubspot.set(1, "email", "b@example.com", before + 9);
    world.hubspot.set(1, "phone", "1", before + 10);

    deliver(&world, &id.to_string(), &[made]).await.remove(0).expect(202);
    look(&world, id).await;
    let after = until(&world, id, "what was lost", |l| l["recovered"] == 2).await;

    assert_eq!(after["note"], "2 events recovered");
    assert_eq!(after["cursor"]["account"], HUBSPOT_PORTAL.to_string());
    // Late, it is the same.
    let late = deliver(&world, &id.to_string(), std::slice::from_ref(&changed))
        .await
        .remove(0)
        .expect(202);
    assert_eq!((&late["duplicates"], &late["delivery_ids"]), (&json!(1), &json!([])));
    let found = payloads(&world).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[1]["propertyValue"], "a@example.com");
    for field in ["subscriptionType", "objectId", "propertyName", "occurredAt", "portalId"] {
        assert_eq!(found[1][field], changed[field], "{field}");
    }
    let path = format!("/v1/triggers/{id}/recoveries");
    let recoveries = world.mine().get(&path).await.expect(200);
    assert_eq!(recoveries["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&recoveries["items"][0]["recovered"], &recoveries["items"][0]["note"]),
        (&json!(2), &json!("2 events recovered"))
    );
    let engine = world.engine().await;
    assert_eq!(engine.take(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_is_read_page_by_page_and_a_limit_only_delays_it() {
    let world = World::start().await;
    let id = hubspot(&world, json!({})).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 0..700 {
        // Many at the same moment, as an import does it.
        world.hubspot.create(contact, before + contact / 350);
    }

    world.hubspot.fail_with(&[429]);
    look(&world, id).await;
    eventually_within(PATIENCE, "all of them", async || {
        let listener = listener(&world, id).await;
        if listener["state"] == "failing" {
            assert_eq!(listener["last_error"], "the provider answered HTTP 429");
            look(&world, id).await;
        }
        (listener["recovered"] == 700).then_some(())
    })
    .await;

    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 700);
    assert_eq!(world.count("select sum(recovered)::bigint from eventsvc.recovery").await, 700);
    assert!(world.hubspot.searches() >= 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reconciled_is_refused_by_name() {
    let world = World::start().await;
    let credential = world.credential(json!({ "secret": "k" }));
    let body = json!({ "system": "hubspot", "agent_id": world.agent, "credential_id": credential,
        "options": { "reconcile": { "subscriptions": ["contact.privacyDeletion"], "interval_seconds": 5 } } });

    let refused = world.mine().post("/v1/triggers", &body).await;

    let pointers: Vec<_> =
        refused.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(
        pointers,
        ["/options/reconcile/subscriptions/0", "/options/reconcile/interval_seconds"]
    );
    let without = world.credential(json!({ "secret": "k" }));
    let (id, _) = world
        .trigger(json!({ "system": "hubspot", "credential_id": without,
            "options": { "reconcile": { "subscriptions": SUBSCRIPTIONS } } }))
        .await;
    let failing = until(&world, id, "a failure", |l| l["failures"] == 1).await;
    assert!(failing["last_error"].as_str().unwrap().starts_with("the credential is refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_while_it_is_being_read_hides_nothing() {
    let world = World::start().await;
    let id = hubspot(&world, json!({})).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 0..230 {
        world.hubspot.create(contact, before + contact);
    }
    // Between the pages, what was read already moves to the end, and everything behind it a place forward.
    for (after, contact) in [(1, 3), (1, 4), (2, 60), (3, 110)] {
        world.hubspot.touch_after(after, contact, before + 1_800_000 + contact);
    }

    look(&world, id).await;
    eventually_within(PATIENCE, "all of them", async || {
        (listener(&world, id).await["recovered"] == 230).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_an_error_is_kept_and_the_error_is_told() {
    let world = World::start().await;
    let only = json!({ "subscriptions": ["contact.creation"], "grace_seconds": 0, "interval_seconds": 3600 });
    let id = hubspot(&world, json!({ "options": { "reconcile": only } })).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 0..120 {
        world.hubspot.create(contact, before + contact);
    }

    world.hubspot.fail_with(&[200, 503]);
    look(&world, id).await;
    let failing = until(&world, id, "an error", |l| l["failures"] == 1).await;
    assert_eq!(failing["last_error"], "the provider answered HTTP 503");
    assert_eq!((&failing["recovered"], &failing["state"]), (&json!(50), &json!("failing")));
    look(&world, id).await;

    let after = until(&world, id, "the rest", |l| l["recovered"] == 120).await;
    assert_eq!((&after["failures"], &after["last_error"]), (&json!(0), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_type_of_the_accounts_own_are_found_too() {
    let world = World::start().await;
    let own = json!({ "subscriptions": ["2-346.creation"], "grace_seconds": 0, "interval_seconds": 3600 });
    let id = hubspot(&world, json!({ "options": { "reconcile": own } })).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    let told = world.hubspot.create_own("2-346", 1, before);
    let lost = world.hubspot.create_own("2-346", 2, before + 5);

    deliver(&world, &id.to_string(), &[told]).await.remove(0).expect(202);
    look(&world, id).await;
    until(&world, id, "what was lost", |l| l["recovered"] == 1).await;

    let found = payloads(&world).await;
    assert_eq!(found.len(), 2);
    for field in ["subscriptionType", "objectTypeId", "objectId", "occurredAt", "portalId"] {
        assert_eq!(found[1][field], lost[field], "{field}");
    }
}

fn deletions(more: &[&str]) -> Value {
    let subscriptions: Vec<&str> = more.iter().copied().chain(["contact.deletion"]).collect();
    json!({ "options": { "reconcile": { "subscriptions": subscriptions, "grace_seconds": 0,
        "interval_seconds": 3600 } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_no_webhook_told_of_is_found_once_and_another_after_it_was_restored_is_another()
 {
    let world = World::start().await;
    let id = hubspot(&world, deletions(&[])).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 1..=4 {
        world.hubspot.create(contact, before - 86_400_000);
    }
    // Before the trigger was there, told of, lost, and lost again after it was brought back.
    world.hubspot.delete(1, before - 7_200_000);
    let told = world.hubspot.delete(2, before);
    let lost = world.hubspot.delete(3, before + 5);

    deliver(&world, &id.to_string(), &[told]).await.remove(0).expect(202);
    look(&world, id).await;
    let after = until(&world, id, "what was lost", |l| l["recovered"] == 1).await;

    assert_eq!(after["note"], "1 event recovered");
    let late = deliver(&world, &id.to_string(), std::slice::from_ref(&lost)).await.remove(0);
    assert_eq!(late.expect(202)["duplicates"], 1, "late, it is the same");
    rest(&world, id).await;
    world.hubspot.restore(3);
    let again = (now() - 1) * 1000;
    world.hubspot.delete(3, again);
    look(&world, id).await;
    until(&world, id, "the other", |l| l["recovered"] == 2).await;
    let found = payloads(&world).await;
    assert_eq!(found.len(), 3);
    for field in ["subscriptionType", "objectId", "occurredAt", "portalId"] {
        assert_eq!(found[1][field], lost[field], "{field}");
    }
    assert_eq!(found[2]["occurredAt"], again);
    assert_eq!(world.hubspot.searches(), 0, "nothing is searched for that nobody wants");
    assert_eq!(world.engine().await.take(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_told_of_once_also_where_a_minute_ends_between_what_is_said_of_it() {
    let world = World::start().await;
    let id = hubspot(&world, deletions(&[])).await;
    began(&world, id, "2 hours").await;
    let minute = (now() - 3600) / 60 * 60_000;
    for contact in 1..=3 {
        world.hubspot.create(contact, minute - 86_400_000);
    }
    let mut told = world.hubspot.delete(1, minute + 100);
    told["occurredAt"] = (minute - 100).into();
    let mut late = world.hubspot.delete(2, minute - 100);
    late["occurredAt"] = (minute + 100).into();
    world.hubspot.delete(3, minute);

    deliver(&world, &id.to_string(), &[told]).await.remove(0).expect(202);
    look(&world, id).await;
    until(&world, id, "what was lost", |l| l["recovered"] == 2).await;

    let late = deliver(&world, &id.to_string(), &[late]).await.remove(0).expect(202);
    assert_eq!(late["duplicates"], 1, "late, it is the same");
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deletions_are_read_page_by_page_and_an_error_costs_nothing_of_what_was_read() {
    let world = World::start().await;
    let id = hubspot(&world, deletions(&[])).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 0..250 {
        world.hubspot.create(contact, before - 86_400_000);
        // The list is not in the order of time.
        world.hubspot.delete(contact, before + 250 - contact);
    }

    let read = world.hubspot.sweeps();

    world.hubspot.fail_with(&[200, 503]);
    look(&world, id).await;
    let failing = until(&world, id, "an error", |l| l["failures"] == 1).await;
    assert_eq!((&failing["recovered"], &failing["state"]), (&json!(100), &json!("failing")));
    look(&world, id).await;

    until(&world, id, "the rest", |l| l["recovered"] == 250 && l["failures"] == 0).await;
    assert_eq!(world.hubspot.sweeps() - read, 3, "no page twice");
    // A long list is not read again at every look.
    let before = rest(&world, id).await["last_looked_at"].clone();
    look(&world, id).await;
    until(&world, id, "a look", |l| l["last_looked_at"] != before).await;
    assert_eq!(world.hubspot.sweeps() - read, 3);
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_list_that_hubspot_has_forgotten_costs_only_time() {
    let world = World::start().await;
    let id = hubspot(&world, deletions(&[])).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    for contact in 0..150 {
        world.hubspot.create(contact, before - 86_400_000);
        world.hubspot.delete(contact, before + contact);
    }

    world.hubspot.fail_with(&[200, 400]);
    look(&world, id).await;
    let failing = until(&world, id, "an error", |l| l["failures"] == 1).await;
    assert_eq!(failing["cursor"]["sweeps"], Value::Null, "it is begun anew");
    look(&world, id).await;

    until(&world, id, "all of them", |l| l["recovered"] == 150 && l["failures"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_deleted_between_two_looks_is_told_of_twice() {
    let world = World::start().await;
    let id = hubspot(&world, deletions(&["contact.creation"])).await;
    began(&world, id, "2 hours").await;
    let before = (now() - 3600) * 1000;
    world.hubspot.create(1, before);
    world.hubspot.delete(1, before + 5);

    look(&world, id).await;
    until(&world, id, "both", |l| l["recovered"] == 2).await;

    let found = payloads(&world).await;
    let told: Vec<&Value> = found.iter().map(|change| &change["subscriptionType"]).collect();
    assert_eq!(told, ["contact.creation", "contact.deletion"]);
}
