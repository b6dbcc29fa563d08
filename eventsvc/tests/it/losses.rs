//! Gmail and HubSpot end to end over a bad way: of what is sent 5 % are lost, 10 % come twice and 20 % are overtaken, and for
//! an hour nothing comes at all and nobody answers. Afterwards each message and each change has fired each trigger once.
//!
//! The hours are simulated: what happens is dated in the past, and the cursor begins there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use shared_models::TriggerId;
use testkit::{Courier, HUBSPOT_PORTAL, HUBSPOT_TOKEN, eventually_within};

use crate::{
    harness::World,
    hubspot::{SUBSCRIPTIONS, began, deliver},
    listening::{listener, look, rest, run, until},
    mail::{mailbox, now, push},
};

/// What takes many requests may take a while on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often each thing, told by a field of its payload, has fired each trigger.
async fn fired(
    world: &World,
    count: usize,
    name: impl Fn(&Value) -> String,
) -> BTreeMap<(TriggerId, String), usize> {
    let mut times = BTreeMap::new();
    for event in world.engine().await.take(count).await {
        let thing = name(event.data.payload.as_ref().unwrap());
        *times.entry((event.data.trigger_id, thing)).or_default() += 1;
    }
    times
}

/// Lets a look begin whose commit fails, waits for that, and lets the next one in.
pub(crate) async fn killed_before_its_commit(world: &World, id: TriggerId) {
    run(
        world,
        "create sequence eventsvc.tried;
         create function eventsvc.broken() returns trigger language plpgsql security definer as $$
             begin perform nextval('eventsvc.tried'); raise 'killed'; end $$;
         create trigger broken before update on eventsvc.source_cursor
             for each row execute function eventsvc.broken()",
    )
    .await;
    let stored = "select count(*) from eventsvc.delivery";
    let before = world.count(stored).await;
    look(world, id).await;
    eventually_within(PATIENCE, "a look that cannot be committed", async || {
        let tried = "select case when is_called then last_value else 0 end from eventsvc.tried";
        (world.count(tried).await > 0).then_some(())
    })
    .await;
    assert_eq!(world.count(stored).await, before, "nothing of it is taken");
    mended(world).await;
}

/// One after the other: together they would take their locks in another order than a look does.
async fn mended(world: &World) {
    run(world, "drop trigger broken on eventsvc.source_cursor").await;
    let due =
        "update eventsvc.source_lease set until_at = now() - interval '1 second', due_at = now()";
    run(world, due).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_in_hubspot_fires_once_whatever_becomes_of_its_webhook() {
    let world = World::start().await;
    let credential = world.credential(json!({ "access_token": HUBSPOT_TOKEN }));
    let options = json!({ "app": { "account": HUBSPOT_PORTAL.to_string() },
        "reconcile": { "subscriptions": SUBSCRIPTIONS, "grace_seconds": 0, "interval_seconds": 3600 } });
    let body = json!({ "system": "hubspot", "credential_id": credential, "options": options });
    let (first, _) = world.trigger(body.clone()).await;
    let (second, _) = world.trigger(body).await;
    began(&world, second, "2 hours").await;
    let begin = (now() - 7000) * 1000;

    // An hour in which most of it comes.
    let mut sent = Vec::new();
    for n in 0..100 {
        sent.push(world.hubspot.create(n, begin + n * 30_000));
        sent.push(world.hubspot.set(
            n,
            "email",
            &format!("{n}@example.com"),
            begin + n * 30_000 + 7,
        ));
    }
    let arriving = Courier::new(1).carry(&sent);
    for reply in deliver(&world, "hubspot", &arriving).await {
        reply.expect(200);
    }
    let came = world.count("select count(*) from eventsvc.delivery").await;
    assert_eq!(came, 190, "ten are lost, and what came twice is one");
    // An hour in which nothing does.
    world.hubspot.set_away(true);
    for n in 0..50 {
        world.hubspot.create(1000 + n, begin + 3_600_000 + n * 60_000);
        world.hubspot.set(
            n,
            "email",
            &format!("new{n}@example.com"),
            begin + 3_600_000 + n * 60_000,
        );
    }
    look(&world, first).await;
    until(&world, first, "nobody to answer", |l| l["failures"].as_i64() > Some(0)).await;
    world.hubspot.set_away(false);
    // And when it is back, whoever looks first dies before the commit.
    killed_before_its_commit(&world, first).await;

    let after = eventually_within(PATIENCE, "all that was lost", async || {
        let listener = listener(&world, first).await;
        (listener["recovered"] == 110).then_some(listener)
    })
    .await;

    assert_eq!(after["found"], 110);
    assert_eq!(world.count("select count(*) from eventsvc.delivery").await, 300);
    let recorded = world.count("select sum(recovered)::bigint from eventsvc.recovery").await;
    assert_eq!(recorded, 110);
    // What was on its way all the time comes as well, and is known.
    for reply in deliver(&world, "hubspot", &sent).await {
        reply.expect(200);
    }
    let name =
        |p: &Value| format!("{}:{}:{}", p["subscriptionType"], p["objectId"], p["propertyValue"]);
    let times = fired(&world, 600, name).await;
    assert_eq!(times.len(), 600);
    let triggers: BTreeSet<TriggerId> = times.keys().map(|(trigger, _)| *trigger).collect();
    assert_eq!(triggers, BTreeSet::from([first, second]));
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_in_gmail_fires_once_whatever_becomes_of_its_push() {
    let world = World::start().await;
    world.gmail.set_page(100);
    let options =
        json!({ "options": { "topic": "projects/p/topics/t", "interval_seconds": 3600 } });
    let first = mailbox(&world, options.clone()).await;
    let credential = world.credential_of(first).await;
    let (second, _) = world
        .trigger(json!({ "system": "gmail", "credential_id": credential, "options": options["options"] }))
        .await;
    let shared = rest(&world, first).await;
    assert_eq!(shared["source_id"], listener(&world, second).await["source_id"]);

    // An hour in which most pushes come, at whatever point in time that is.
    let begin = now() - 7000;
    let mut sent = Vec::new();
    for n in 0..40 {
        sent.push(world.gmail.receive(&format!("m{n:03}"), "INBOX", (begin + n * 80) * 1000));
    }
    for news in Courier::new(2).carry(&sent) {
        push(&world, &news).await.expect(200);
    }
    eventually_within(PATIENCE, "the first hour", async || {
        (listener(&world, first).await["found"] == 40).then_some(())
    })
    .await;
    rest(&world, first).await;
    // An hour in which nobody answers, at the end of which the history is gone.
    run(
        &world,
        "update eventsvc.source_cursor set position = jsonb_set(position, '{synced_at}',
             to_jsonb((position->>'synced_at')::timestamptz - interval '1 hour'))",
    )
    .await;
    world.gmail.fail_with(&[503; 6]);
    for n in 0..40 {
        world.gmail.receive(&format!("n{n:03}"), "INBOX", (begin + 3600 + n * 80) * 1000);
    }
    look(&world, first).await;
    until(&world, first, "nobody to answer", |l| l["failures"].as_i64() > Some(0)).await;
    world.gmail.forget_history();
    world.gmail.fail_with(&[]);
    world.gmail.receive("last", "INBOX", now() * 1000);
    killed_before_its_commit(&world, first).await;

    let found = "select count(*) from eventsvc.delivery";
    eventually_within(PATIENCE, "all of it", async || {
        run(&world, "update eventsvc.source_lease set due_at = least(due_at, now()), until_at = null, owner = null
             where looking_since is null or until_at < now()").await;
        (world.count(found).await == 81).then_some(())
    })
    .await;
    let times = fired(&world, 162, |payload| payload["id"].to_string()).await;
    assert_eq!(times.len(), 162);
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 162);
    let recovered = world.count("select sum(recovered)::bigint from eventsvc.recovery").await;
    assert!(recovered >= 41, "{recovered}");
}
