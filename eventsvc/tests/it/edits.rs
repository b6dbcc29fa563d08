//! Editing triggers: merge patches, entity tags, and what an edit changes at the hook.

use serde_json::{Value, json};
use shared_models::{AgentId, Role};
use testkit::eventually;

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let world = World::start().await;
    let id = world.open_trigger(json!({ "name": "A", "filter": "true" })).await;
    let path = format!("/agent/{}/triggers/{id}", world.agent);

    let patched = world.mine().patch(&path, &json!({ "active": false, "filter": null })).await;

    assert_eq!((patched.status, patched.header("etag")), (200, Some("\"2\"")));
    assert_eq!(patched.body["active"], false);
    assert_eq!(patched.body["filter"], Value::Null);
    assert_eq!(patched.body["name"], "A");
    assert_eq!(patched.body["version"], 2);
    let accepted = world.send(id, &json!({})).await.expect(202);
    assert_eq!(accepted["outcome"], "skipped", "an edit is seen at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_version_that_is_gone_is_refused() {
    let world = World::start().await;
    let id = world.open_trigger(json!({})).await;
    let path = format!("/v1/triggers/{id}");
    let with = |tag: &str| world.mine().header("if-match", tag);

    with("\"1\"").patch(&path, &json!({ "name": "A" })).await.expect(200);
    let stale = with("\"1\"").patch(&path, &json!({ "name": "B" })).await;

    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    with("*").patch(&path, &json!({ "name": "C" })).await.expect(200);
    assert_eq!(world.mine().get(&path).await.expect(200)["name"], "C");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_checked_like_a_new_trigger() {
    let world = World::start().await;
    let id = world.open_trigger(json!({})).await;
    let path = format!("/v1/triggers/{id}");
    for (patch, pointer) in [
        (json!({ "filter": "payload.a ==" }), "/filter"),
        (json!({ "options": { "max_body_bytes": 0 } }), "/options/max_body_bytes"),
        (json!({ "version": 7 }), "/version"),
        (json!({ "agent_id": AgentId::mint() }), "/target/id"),
        (json!({ "active": "yes" }), "/active"),
    ] {
        let refused = world.mine().patch(&path, &patch).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"), "{patch}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{patch}");
    }
    let elsewhere = format!("/agent/{}/triggers/{id}", AgentId::mint());
    assert_eq!(world.mine().patch(&elsewhere, &json!({})).await.refusal(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_hook_still_knows_what_it_has_seen() {
    let world = World::start().await;
    let (id, secret) = world.trigger(json!({})).await;
    world.deliver(id, &secret, "msg_1", "{}").await.expect(202);

    let patch = json!({ "options": { "max_body_bytes": 2048 } });
    let patched = world.mine().patch(&format!("/v1/triggers/{id}"), &patch).await.expect(200);

    assert_eq!(patched["signing_secret"], Value::Null, "the secret stays");
    world.deliver(id, &secret, "msg_1", "{}").await.expect(200);
    world.deliver(id, &secret, "msg_2", "{}").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_credential_makes_a_new_secret() {
    let world = World::start().await;
    let (id, old) = world.trigger(json!({})).await;
    world.deliver(id, &old, "msg_1", "{}").await.expect(202);

    let patch = json!({ "credential_id": null });
    let patched = world.mine().patch(&format!("/v1/triggers/{id}"), &patch).await.expect(200);

    let new = patched["signing_secret"].as_str().unwrap();
    assert_eq!(world.deliver(id, &old, "msg_2", "{}").await.status, 401);
    world.deliver(id, new, "msg_2", "{}").await.expect(202);
    world.mine().patch(&format!("/v1/triggers/{id}"), &patch).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_trigger_holds_what_comes_and_fires_it_later() {
    let world = World::start().await;
    let id = world.open_trigger(json!({ "paused": true })).await;
    let accepted = world.send(id, &json!({ "n": 1 })).await.expect(202);
    assert_eq!((&accepted["outcome"], &accepted["event_ids"]), (&json!("held"), &json!([])));

    world
        .mine()
        .patch(&format!("/v1/triggers/{id}"), &json!({ "paused": false }))
        .await
        .expect(200);

    let fired = world.engine().await.take(1).await.remove(0).data;
    assert_eq!((fired.attempt, fired.payload), (1, Some(json!({ "n": 1 }))));
    let delivery = world.delivery(&accepted).await;
    assert_eq!(delivery["status"], "fired");
    let steps: Vec<_> =
        delivery["timeline"].as_array().unwrap().iter().map(|s| &s["step"]).collect();
    assert_eq!(steps, ["received", "verified", "deduped", "matched", "held", "released"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_change_a_members_trigger_and_it_stays_theirs() {
    let world = World::start().await;
    let member = world.owner.colleague(Role::Member);
    let agent = AgentId::mint();
    world.show_agent(agent, &member, "user");
    world.show_agent(agent, &world.owner, "user");
    let made = world
        .api(&member)
        .post("/v1/triggers", &json!({ "system": "webhook", "agent_id": agent }))
        .await
        .expect(201);
    let path = format!("/v1/triggers/{}", made["id"].as_str().unwrap());

    let patched = world.mine().patch(&path, &json!({ "active": false })).await.expect(200);

    assert_eq!(patched["owner"], json!(member.user));
    let for_them = world.mine().patch(&path, &json!({ "credential_id": null })).await;
    assert_eq!(for_them.refusal(), (403, "not_owner"), "a secret is only made for its owner");
    eventually("the member to see it", async || {
        let seen = world.api(&member).get(&path).await.expect(200);
        (seen["active"] == false).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_can_be_stopped_although_its_agent_is_gone_or_nobody_can_be_asked() {
    let world = World::start().await;
    let id = world.open_trigger(json!({})).await;
    let path = format!("/v1/triggers/{id}");

    world.agents.lock().unwrap().down = true;
    world.mine().patch(&path, &json!({ "paused": true })).await.expect(200);
    let other = world.mine().patch(&path, &json!({ "agent_id": AgentId::mint() })).await;
    assert_eq!(other.refusal(), (503, "unavailable"));

    world.agents.lock().unwrap().down = false;
    world.agents.lock().unwrap().known.clear();
    let stopped = world.mine().patch(&path, &json!({ "active": false })).await.expect(200);
    assert_eq!((&stopped["scope"], &stopped["agent_id"]), (&json!("user"), &json!(world.agent)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_made_for_a_trigger_goes_when_it_is_used_no_more() {
    let world = World::start().await;
    let (hook, _) = world.trigger(json!({})).await;
    let stored = || world.vault.lock().unwrap().credentials.len();
    assert_eq!(stored(), 1);

    let path = format!("/v1/triggers/{hook}");
    world.mine().post(&format!("{path}/rotate-secret"), &json!({})).await.expect(200);
    assert_eq!(stored(), 1, "the new one, which holds the old");
    let own = world.credential(json!({ "secret": "whsec_bXk=" }));
    let patched = world.mine().patch(&path, &json!({ "credential_id": own })).await.expect(200);
    assert_eq!((stored(), &patched["credential_id"]), (1, &json!(own)));
    world.mine().patch(&path, &json!({ "credential_id": null })).await.expect(200);
    assert_eq!(stored(), 2, "a new one, and the person's own");
    assert_eq!(world.mine().delete(&path).await.status, 204);

    let left = world.vault.lock().unwrap().credentials.keys().cloned().collect::<Vec<_>>();
    assert_eq!(left, [own], "what the person brought stays");
    // Without the vault the trigger goes all the same.
    let (hook, _) = world.trigger(json!({})).await;
    world.vault.lock().unwrap().down = true;
    assert_eq!(world.mine().delete(&format!("/triggers/{hook}")).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_another_trigger_was_given_as_well_stays_when_its_first_one_goes() {
    let world = World::start().await;
    let (first, secret) = world.trigger(json!({})).await;
    let made = world.mine().get(&format!("/v1/triggers/{first}")).await.expect(200);
    let shared = &made["credential_id"];
    let (second, _) = world.trigger(json!({ "credential_id": shared })).await;
    let kept = || world.vault.lock().unwrap().credentials.contains_key(shared.as_str().unwrap());

    let path = format!("/v1/triggers/{first}/rotate-secret");
    world.mine().post(&path, &json!({})).await.expect(200);
    assert!(kept());
    world.mine().delete(&format!("/v1/triggers/{first}")).await.expect(204);
    assert!(kept());
    world.deliver(second, &secret, "m1", "{}").await.expect(202);

    let (third, _) = world.trigger(json!({})).await;
    let made = world.mine().get(&format!("/v1/triggers/{third}")).await.expect(200);
    let also = world.trigger(json!({ "credential_id": made["credential_id"] })).await.0;
    let stored = world.vault.lock().unwrap().credentials.len();
    world.mine().delete(&format!("/v1/triggers/{third}")).await.expect(204);
    assert_eq!(world.vault.lock().unwrap().credentials.len(), stored);
    world.mine().delete(&format!("/v1/triggers/{also}")).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_an_agent_was_given_as_well_stays_the_agents() {
    let world = World::start().await;
    for way in ["delete", "rotate", "patch"] {
        let (hook, _) = world.trigger(json!({})).await;
        let own = world.credential_of(hook).await.as_str().unwrap().to_owned();
        let agents = (world.agent.to_string(), own.clone());
        world.vault.lock().unwrap().grants.insert(agents.clone());

        let path = format!("/v1/triggers/{hook}");
        match way {
            "delete" => drop(world.mine().delete(&path).await.expect(204)),
            "rotate" => {
                let rotate = format!("{path}/rotate-secret");
                drop(world.mine().post(&rotate, &json!({})).await.expect(200));
            }
            _ => {
                let patch = json!({ "credential_id": null });
                drop(world.mine().patch(&path, &patch).await.expect(200));
            }
        }

        let vault = world.vault.lock().unwrap();
        assert!(vault.credentials.contains_key(&own), "{way}");
        assert!(vault.grants.contains(&agents), "{way}");
        let triggers = (hook.to_string(), own);
        assert!(!vault.grants.contains(&triggers), "{way}: it was taken back from the trigger");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_seen_at_once_also_where_the_trigger_was_being_looked_up() {
    let world = World::start().await;
    let id = world.open_trigger(json!({})).await;
    let mut admin = world.db.admin().await;
    // What looks a hook up stops here, with what it sees already decided.
    let stop = "insert into eventsvc.system_pause (tenant_id, system, paused_by)
            select tenant_id, system, 'test' from eventsvc.trigger;
        alter policy system on eventsvc.system_pause using (pg_advisory_xact_lock(7) is not null);
        select pg_advisory_lock(7)";
    sqlx::raw_sql(stop).execute(&mut admin).await.unwrap();

    let (api, path, payload) = (world.mine(), format!("/v1/triggers/{id}"), json!({}));
    let edit = async {
        eventually("the look-up to stop", async || {
            let stopped = "select count(*) from pg_stat_activity where datname = current_database()
                 and query like '%from eventsvc.source s%' and wait_event_type = 'Lock'";
            (world.count(stopped).await > 0).then_some(())
        })
        .await;
        api.patch(&path, &json!({ "active": false })).await.expect(200);
        sqlx::raw_sql("select pg_advisory_unlock(7)").execute(&mut admin).await.unwrap();
    };
    let (before, ()) = tokio::join!(world.send(id, &payload), edit);

    assert_eq!(before.expect(202)["outcome"], "held");
    assert_eq!(world.send(id, &payload).await.expect(202)["outcome"], "skipped");
}
