//! Keys put under newer keys while secrets are leased, killed half-way and run again; and keys destroyed.

use credsvc::{
    audit::{Verdict, verify},
    rotation::{Keyring, make_root_key},
};
use futures::future::join_all;
use serde_json::json;
use shared_models::AgentId;
use testkit::{Api, Person, eventually};

use crate::{
    connect::Connected,
    harness::{SECRET, TestApp, ask, at, config, of, resolve_path},
};

async fn keyring(app: &TestApp, roots: &str) -> anyhow::Result<Keyring> {
    Keyring::open(&config(&[("SWITCHYARD_ROOT_KEYS", roots)]), app.store.clone()).await
}

async fn many(app: &TestApp, owner: &Person, agent: AgentId, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let body =
            json!({ "name": format!("c{n}"), "credentials": { "token": format!("{SECRET}-{n}") } });
        let id = app.stored(owner, &body).await;
        app.granted(owner, &id, agent).await;
        ids.push(id);
    }
    ids
}

async fn all_open(api: &Api, ids: &[String], agent: AgentId, owner: &Person) {
    let body = ask(agent, owner.user);
    let leases =
        ids.iter().map(|id| async { api.post(&resolve_path(id), &body).await.expect(200) });
    for (n, lease) in join_all(leases).await.into_iter().enumerate() {
        assert_eq!(lease["credentials"]["token"], format!("{SECRET}-{n}"));
    }
}

#[tokio::test]
async fn a_root_key_is_exchanged_and_the_old_one_is_not_needed_any_more() {
    let app = TestApp::start().await;
    let (owner, agent) = (app.trust.owner(), AgentId::mint());
    let ids = many(&app, &owner, agent, 3).await;
    let (old, new) = (app.root_key(), format!("{}.2", app.root_key()));
    let (both, alone) = (format!("2=file:{new},1=file:{old}"), format!("2=file:{new}"));

    let absent = keyring(&app, &both).await.unwrap_err().to_string();
    make_root_key(new.as_ref()).unwrap();
    assert!(make_root_key(new.as_ref()).is_err());
    let too_early = keyring(&app, &alone).await.unwrap_err().to_string();
    let rotated = keyring(&app, &both).await.unwrap().rotate_root().await.unwrap();
    let again = keyring(&app, &both).await.unwrap().rotate_root().await.unwrap();
    let found = keyring(&app, &alone).await.unwrap().verify().await.unwrap();
    let wrong = keyring(&app, &format!("2=file:{old}")).await.unwrap_err().to_string();

    assert!(absent.contains("is missing"), "{absent}");
    assert!(too_early.contains("root key version 1"), "{too_early}");
    assert_eq!((rotated.rewrapped, again.rewrapped), (1, 0));
    assert_eq!((found.opened, found.broken.len()), (ids.len() as u64, 0));
    assert!(wrong.contains("the root key is not the one"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tenant_key_is_exchanged_under_load_and_every_secret_stays_readable() {
    let app = TestApp::start().await;
    let (owner, agent) = (app.trust.owner(), AgentId::mint());
    let ids = many(&app, &owner, agent, 20).await;
    let (engine, api) = (app.engine(&owner), app.person(&owner));
    let keyring = keyring(&app, &format!("1=file:{}", app.root_key())).await.unwrap();

    let load = async {
        for n in 0..10 {
            all_open(&engine, &ids, agent, &owner).await;
            let new = json!({ "name": format!("new{n}"), "credentials": { "token": SECRET } });
            api.post(&of(&owner), &new).await.expect(201);
        }
    };
    let turns = async {
        for _ in 0..3 {
            keyring.rotate_tenant(owner.tenant).await.unwrap();
        }
    };
    tokio::join!(load, turns);

    all_open(&engine, &ids, agent, &owner).await;
    let found = keyring.verify().await.unwrap();
    assert_eq!((found.opened, found.broken.len()), (30, 0));
    let left = "select string_agg(distinct tenant_key_version::text, ',') from credsvc.credential";
    assert_eq!(app.peek(left).await.as_deref(), Some("4"));
    let bytes = "select string_agg(wrapped, '') from credsvc.tenant_key where state = 'retired'";
    assert_eq!(app.peek(bytes).await.as_deref(), Some(""));
    let verdict = verify(&app.store, owner.tenant).await.unwrap();
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_while_a_key_is_exchanged_goes_under_the_newer_one() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    app.own(&owner).await;
    // With nothing to put under it, a rotation is over at once.
    app.tamper("delete from credsvc.credential").await;
    let keyring = keyring(&app, &format!("1=file:{}", app.root_key())).await.unwrap();
    let mut admin = app.db.admin().await;
    let held = "begin; select from credsvc.tenant_key for update";
    sqlx::raw_sql(held).execute(&mut admin).await.unwrap();
    let waiting = async |count: &str| {
        eventually("them to wait", async || {
            let waiting = "select count(*)::text from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            (app.peek(waiting).await.as_deref() == Some(count)).then_some(())
        })
        .await;
    };

    // The rotation comes first, so whoever stores has seen the older key as the active one and gets its turn after.
    let (app, owner) = (&app, &owner);
    let (rotated, id, ()) = tokio::join!(
        keyring.rotate_tenant(owner.tenant),
        async {
            waiting("1").await;
            app.own(owner).await
        },
        async {
            waiting("2").await;
            sqlx::raw_sql("commit").execute(&mut admin).await.unwrap();
        }
    );

    assert_eq!(rotated.unwrap().retired, 1);
    let versions = "select string_agg(tenant_key_version::text, ',') from credsvc.credential";
    assert_eq!(app.peek(versions).await.as_deref(), Some("2"));
    let path = format!("{}?user_id={}", at(owner, &id), owner.user);
    app.person(owner).get(&path).await.expect(200);
    assert_eq!(keyring.verify().await.unwrap().opened, 1);
}

#[tokio::test]
async fn a_repetition_is_known_again_after_the_tenants_key_was_exchanged_and_another_body_is_not() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let keyring = keyring(&app, &format!("1=file:{}", app.root_key())).await.unwrap();
    let api = app.person(&owner).header("idempotency-key", "k");
    let credential = json!({ "name": "c", "credentials": { "token": SECRET } });
    let client =
        json!({ "name": "c", "provider": "github", "client_id": "id", "client_secret": SECRET });
    let requests = [
        (of(&owner), credential, vec![("credentials", json!({ "token": "another" }))]),
        (
            "/v1/oauth-clients".to_owned(),
            client,
            vec![("client_secret", json!("another")), ("provider", json!("slack"))],
        ),
    ];
    let mut made = Vec::new();
    for (path, body, _) in &requests {
        made.push(api.post(path, body).await.expect(201));
    }

    // One that wraps no key for fingerprints is of before there were any.
    for after in ["select", "select", "update credsvc.tenant_key set print_key = null"] {
        keyring.rotate_tenant(owner.tenant).await.unwrap();
        for ((path, body, others), made) in requests.iter().zip(&made) {
            let again = api.post(path, body).await;
            assert_eq!((again.status, &again.body), (201, made));
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
            for (field, other) in others {
                let mut body = body.clone();
                body[*field] = other.clone();
                assert_eq!(api.post(path, &body).await.refusal(), (422, "idempotency_key_reused"));
            }
        }
        app.tamper(after).await;
    }
    let (anew, too) = (api.header("idempotency-key", "l"), api.header("idempotency-key", "m"));
    let (path, body) = (of(&owner), json!({ "credentials": { "token": SECRET } }));
    let (one, two) = tokio::join!(anew.post(&path, &body), too.post(&path, &body));
    let again = anew.post(&path, &body).await;
    two.expect(201);
    assert_eq!((again.status, &again.body), (201, &one.expect(201)));
    let wrapping =
        "select string_agg(state, ',') from credsvc.tenant_key where print_key is not null";
    assert_eq!(app.peek(wrapping).await.as_deref(), Some("active"));
}

#[tokio::test]
async fn a_rotation_that_is_killed_anywhere_goes_on_where_it_was() {
    let app = TestApp::start().await;
    let (owner, agent) = (app.trust.owner(), AgentId::mint());
    let ids = many(&app, &owner, agent, 8).await;
    let roots = format!("1=file:{}", app.root_key());
    let engine = app.engine(&owner);

    // Dropping the future is what a kill leaves behind: open transactions roll back, the rest is as it was.
    for polls in 1..40 {
        let keyring = keyring(&app, &roots).await.unwrap();
        let mut rotation = Box::pin(keyring.rotate_tenant(owner.tenant));
        for _ in 0..polls {
            if tokio::time::timeout(std::time::Duration::from_micros(200), &mut rotation)
                .await
                .is_ok()
            {
                break;
            }
        }
        drop(rotation);
        if polls % 8 == 0 {
            all_open(&engine, &ids, agent, &owner).await;
        }
    }
    keyring(&app, &roots).await.unwrap().rotate_tenant(owner.tenant).await.unwrap();

    all_open(&engine, &ids, agent, &owner).await;
    let states = "select string_agg(distinct state, ',' order by state) from credsvc.tenant_key";
    assert_eq!(app.peek(states).await.as_deref(), Some("active,retired"));
    let verdict = verify(&app.store, owner.tenant).await.unwrap();
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
}

#[tokio::test]
async fn what_does_not_open_is_listed_with_the_reason() {
    let app = TestApp::start().await;
    let (owner, agent) = (app.trust.owner(), AgentId::mint());
    let ids = many(&app, &owner, agent, 4).await;
    app.tamper(
        "update credsvc.credential set sealed = case name
            when 'c0' then left(sealed, 22) when 'c1' then overlay(sealed placing 'AAAA' from 30)
            when 'c2' then 'sy:v9:AAAA' else sealed end",
    )
    .await;

    let roots = format!("1=file:{}", app.root_key());
    let found = keyring(&app, &roots).await.unwrap().verify().await.unwrap();

    assert_eq!(found.opened, 1);
    for (id, why) in ids.iter().zip([
        "the sealed text is cut short",
        "was changed",
        "is of version 9, its row says 1",
    ]) {
        let broken = found.broken.iter().find(|broken| broken.what == *id).unwrap();
        assert!(broken.why.contains(why), "{}", broken.why);
    }
}

#[tokio::test]
async fn a_registered_clients_secret_is_opened_and_listed_like_any_other() {
    let this = Connected::ready().await;
    let keyring = keyring(&this.app, &format!("1=file:{}", this.app.root_key())).await.unwrap();

    let before = keyring.verify().await.unwrap();
    this.app.tamper("update credsvc.provider_config set sealed = left(sealed, 22)").await;
    let after = keyring.verify().await.unwrap();

    assert_eq!((before.opened, before.broken.len()), (1, 0));
    assert_eq!((after.opened, after.broken.len()), (0, 1));
    assert_eq!((after.broken[0].tenant, &after.broken[0].what), (this.owner.tenant, &this.client));
    assert!(after.broken[0].why.contains("cut short"), "{}", after.broken[0].why);

    // Of more than any list shows, too.
    this.app
        .tamper(
            "insert into credsvc.provider_config
             select (jsonb_populate_record(p, jsonb_build_object(
                 'provider_config_id', gen_random_uuid(), 'name', 'copy ' || n))).*
             from credsvc.provider_config p, generate_series(1, 600) as n",
        )
        .await;
    assert_eq!(keyring.verify().await.unwrap().broken.len(), 601);
}

#[tokio::test]
async fn a_tenant_whose_keys_are_destroyed_has_no_secrets_and_others_do() {
    let app = TestApp::start().await;
    let (owner, other, agent) = (app.trust.owner(), app.trust.owner(), AgentId::mint());
    let (gone, kept) = (many(&app, &owner, agent, 1).await, many(&app, &other, agent, 1).await);
    all_open(&app.engine(&owner), &gone, agent, &owner).await;

    let roots = format!("1=file:{}", app.root_key());
    let destroyed = keyring(&app, &roots).await.unwrap().destroy(owner.tenant).await.unwrap();

    assert_eq!(destroyed, 1);
    let lease = app.engine(&owner).post(&resolve_path(&gone[0]), &ask(agent, owner.user)).await;
    assert_eq!(lease.refusal(), (500, "credential_unreadable"));
    all_open(&app.engine(&other), &kept, agent, &other).await;
    let anew = json!({ "credentials": { "token": SECRET } });
    let refused = app.person(&owner).post(&of(&owner), &anew).await;
    assert_eq!(refused.refusal(), (500, "credential_unreadable"));
}
