//! Gmail and HubSpot end to end over a bad way: of what is sent 5 % are lost, 10 % come twice and 20 % are overtaken, and for
//! an hour nothing comes at all and nobody answers. Afterwards each message and each change has fired each trigger once.
//!
//! The hours are simulated: a test puts the database's clock forward, and everything in the service goes by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use shared_models::TriggerId;
use testkit::{Courier, HUBSPOT_PORTAL, HUBSPOT_TOKEN, eventually_within};

use crate::{
    clock::{self, Clock},
    harness::World,
    hubspot::{SUBSCRIPTIONS, deliver_at},
    listening::{listener, look, rest, run, until},
    mail::{mailbox, push_at},
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

/// Quarters of an hour in an hour.
const QUARTERS: i64 = 4;
const QUARTER: i64 = 15 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn each_change_in_hubspot_fires_once_whatever_becomes_of_its_webhook() {
    let (world, mut clock) = (World::with(clock::limits()).await, Clock::right());
    let credential = world.credential(json!({ "access_token": HUBSPOT_TOKEN }));
    let options = json!({ "app": { "account": HUBSPOT_PORTAL.to_string() },
        "reconcile": { "subscriptions": SUBSCRIPTIONS, "grace_seconds": 600, "interval_seconds": 300 } });
    let body = json!({ "system": "hubspot", "credential_id": credential, "options": options });
    let (first, _) = world.trigger(body.clone()).await;
    let (second, _) = world.trigger(body).await;
    rest(&world, second).await;

    // An hour in which most of it comes.
    let (mut sent, mut courier) = (Vec::new(), Courier::new(1));
    for quarter in 0..QUARTERS {
        let begin = clock.now() * 1000;
        let mut told = Vec::new();
        for n in 0..25 {
            let (id, at) = (quarter * 25 + n, begin + n * 30_000);
            told.push(world.hubspot.create(id, at));
            told.push(world.hubspot.set(id, "email", &format!("{id}@example.com"), at + 7));
        }
        clock.forward(&world, QUARTER).await;
        for reply in deliver_at(&world, "hubspot", &courier.carry(&told), clock.now()).await {
            reply.expect(200);
        }
        sent.extend(told);
    }
    // An hour in which nothing does, and nobody answers.
    rest(&world, first).await;
    world.hubspot.set_away(true);
    for quarter in 0..QUARTERS {
        let begin = clock.now() * 1000;
        for n in 0..12 {
            let (id, at) = (1000 + quarter * 12 + n, begin + n * 60_000);
            world.hubspot.create(id, at);
            world.hubspot.set(id, "email", &format!("new{id}@example.com"), at);
        }
        clock.forward(&world, QUARTER).await;
        let fails = |l: &Value| l["failures"].as_i64() > Some(quarter);
        until(&world, first, "nobody to answer", fails).await;
    }
    // And when it is back, whoever looks first dies before the commit.
    world.hubspot.set_away(false);
    killed_before_its_commit(&world, first).await;
    clock.forward(&world, QUARTER).await;

    let all = "select count(*) from eventsvc.delivery";
    eventually_within(PATIENCE, "all that was lost", async || {
        (world.count(all).await == 296).then_some(())
    })
    .await;
    let after = rest(&world, first).await;
    assert!(after["recovered"].as_i64() >= Some(96 + 8), "{after}");
    let recorded = world.count("select sum(recovered)::bigint from eventsvc.recovery").await;
    assert_eq!(after["recovered"], recorded);
    // What was on its way all the time comes as well, and is known.
    for reply in deliver_at(&world, "hubspot", &sent, clock.now()).await {
        reply.expect(200);
    }
    assert_eq!(world.count(all).await, 296);
    let name =
        |p: &Value| format!("{}:{}:{}", p["subscriptionType"], p["objectId"], p["propertyValue"]);
    let times = fired(&world, 592, name).await;
    assert_eq!(times.len(), 592);
    let triggers: BTreeSet<TriggerId> = times.keys().map(|(trigger, _)| *trigger).collect();
    assert_eq!(triggers, BTreeSet::from([first, second]));
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 592);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_in_gmail_fires_once_whatever_becomes_of_its_push() {
    let (world, mut clock) = (World::with(clock::limits()).await, Clock::right());
    world.gmail.set_page(100);
    let options = json!({ "options": { "topic": "projects/p/topics/t", "interval_seconds": 600 } });
    let first = mailbox(&world, options.clone()).await;
    let credential = world.credential_of(first).await;
    let (second, _) = world
        .trigger(json!({ "system": "gmail", "credential_id": credential, "options": options["options"] }))
        .await;
    let shared = rest(&world, first).await;
    assert_eq!(shared["source_id"], listener(&world, second).await["source_id"]);

    // An hour in which most pushes come.
    let mut courier = Courier::new(2);
    for quarter in 0..QUARTERS {
        let begin = clock.now();
        let received = |n: i64| {
            world.gmail.receive(&format!("m{quarter}-{n}"), "INBOX", (begin + n * 80) * 1000)
        };
        let news: Vec<Value> = (0..10).map(received).collect();
        clock.forward(&world, QUARTER).await;
        for news in courier.carry(&news) {
            push_at(&world, &news, clock.now()).await.expect(200);
        }
    }
    let found = "select count(*) from eventsvc.delivery";
    eventually_within(PATIENCE, "the first hour", async || {
        (world.count(found).await == 40).then_some(())
    })
    .await;
    // An hour in which nobody answers, at the end of which the history is gone.
    rest(&world, first).await;
    world.gmail.fail_with(&[503; 1000]);
    for quarter in 0..QUARTERS {
        for n in 0..10 {
            let at = (clock.now() + n * 80) * 1000;
            world.gmail.receive(&format!("n{quarter}-{n}"), "INBOX", at);
        }
        clock.forward(&world, QUARTER).await;
        let fails = |l: &Value| l["failures"].as_i64() > Some(quarter);
        until(&world, first, "nobody to answer", fails).await;
    }
    world.gmail.forget_history();
    world.gmail.fail_with(&[]);
    world.gmail.receive("last", "INBOX", clock.now() * 1000);
    killed_before_its_commit(&world, first).await;
    clock.forward(&world, QUARTER).await;

    eventually_within(PATIENCE, "all of it", async || {
        (world.count(found).await == 81).then_some(())
    })
    .await;
    let times = fired(&world, 162, |payload| payload["id"].to_string()).await;
    assert_eq!(times.len(), 162);
    assert_eq!(world.count("select count(*) from eventsvc.firing").await, 162);
    let recovered = world.count("select sum(recovered)::bigint from eventsvc.recovery").await;
    assert!(recovered >= 41, "{recovered}");
}
