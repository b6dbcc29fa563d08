//! The audit written in groups: one chain per tenant whoever writes, nothing answered that is not written, and what is
//! at fault fails alone.

use std::collections::BTreeSet;

use credsvc::audit::{Verdict, verify};
use futures::{FutureExt as _, StreamExt as _, future::join_all, stream::FuturesUnordered};
use serde_json::json;
use shared_models::{AgentId, Service};
use testkit::{Api, Person, eventually};

use crate::harness::{SECRET, TestApp, ask, at, grant, resolve_path};

/// A tenant with a credential that an agent may use.
struct Tenant {
    owner: Person,
    credential: String,
    agent: AgentId,
}

impl Tenant {
    async fn new(app: &TestApp) -> Self {
        let owner = app.trust.owner();
        let (credential, agent) = (app.own(&owner).await, AgentId::mint());
        app.granted(&owner, &credential, agent).await;
        Self { owner, credential, agent }
    }

    async fn resolve(&self, engine: &Api) -> u16 {
        engine.post(&resolve_path(&self.credential), &self.ask()).await.status
    }

    fn ask(&self) -> serde_json::Value {
        ask(self.agent, self.owner.user)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chains_stay_whole_when_groups_of_two_processes_and_single_changes_meet() {
    let app = TestApp::start().await;
    let (replica, _life) = app.replica().await;
    let tenants = [
        Tenant::new(&app).await,
        Tenant::new(&app).await,
        Tenant::new(&app).await,
        Tenant::new(&app).await,
    ];
    let mut work = FuturesUnordered::new();
    for tenant in &tenants {
        let engine = app.engine(&tenant.owner);
        let token = app.trust.service_token(
            Service::Engine,
            Service::Credsvc,
            tenant.owner.tenant,
            "a test",
            Some(shared_models::RunId::mint()),
        );
        let other = replica.token(&token);
        for n in 0..50 {
            let api = if n % 2 == 0 { engine.clone() } else { other.clone() };
            work.push(async move { assert_eq!(tenant.resolve(&api).await, 200) }.boxed());
        }
        for _ in 0..10 {
            let app = &app;
            work.push(
                async move {
                    let (api, mine) = (app.person(&tenant.owner), app.own(&tenant.owner).await);
                    let patch = json!({ "credentials": { "token": "another one" } });
                    api.patch(&at(&tenant.owner, &mine), &patch).await.expect(200);
                    app.granted(&tenant.owner, &mine, tenant.agent).await;
                    let path = format!("{}?force=true", at(&tenant.owner, &mine));
                    api.delete(&path).await.expect(204);
                }
                .boxed(),
            );
        }
    }
    while work.next().await.is_some() {}
    drop(work);

    for tenant in &tenants {
        // Two to begin with, 50 resolves, and ten times create, update, grant and delete.
        let verdict = verify(&app.store, tenant.owner.tenant).await.unwrap();
        assert_eq!(verdict, Verdict::Intact { rows: 92 });
    }
}

#[tokio::test]
async fn new_tenants_in_one_group_get_their_chains_beside_old_ones() {
    let (app, ledger) = TestApp::without_ledger(&[]).await;
    let old = Tenant::new(&app).await;
    let new = [app.trust.owner(), app.trust.owner()];
    let engines = [&old.owner, &new[0], &new[1]].map(|person| app.engine(person));
    let (path, body) = (resolve_path(&old.credential), old.ask());

    let all = join_all(engines.iter().map(|engine| engine.post(&path, &body)));
    let (replies, ran) = tokio::join!(all, within(ledger.run(app.life.soft()), &app));

    ran.unwrap();
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 404, 404]);
    for (person, rows) in [(&old.owner, 3), (&new[0], 1), (&new[1], 1)] {
        let verdict = verify(&app.store, person.tenant).await.unwrap();
        assert_eq!(verdict, Verdict::Intact { rows });
    }
}

/// Runs the ledger until everything that waits in it is answered: the soft stop makes it finish.
async fn within<T>(run: impl Future<Output = T>, app: &TestApp) -> T {
    app.life.shutdown();
    run.await
}

#[tokio::test]
async fn a_row_that_postgres_refuses_fails_alone() {
    let (app, ledger) = TestApp::without_ledger(&[]).await;
    let tenant = Tenant::new(&app).await;
    app.tamper("alter table credsvc.audit add constraint t check (purpose <> 'bad')").await;
    let engine = app.engine(&tenant.owner);
    let body = |n: usize| {
        let mut body = tenant.ask();
        body["purpose"] = if n == 5 { json!("bad") } else { json!(format!("good {n}")) };
        body
    };

    let path = resolve_path(&tenant.credential);
    let bodies: Vec<_> = (0..9).map(body).collect();
    let all = join_all(bodies.iter().map(|body| engine.post(&path, body)));
    let (replies, ran) = tokio::join!(all, within(ledger.run(app.life.soft()), &app));

    ran.unwrap();
    for (n, reply) in replies.iter().enumerate() {
        let expected = if n == 5 { (500, "internal") } else { (200, "") };
        assert_eq!(reply.refusal(), expected, "{n}: {}", reply.text);
        assert_eq!(reply.text.contains(SECRET), n != 5, "{n}: {}", reply.text);
    }
    let verdict = verify(&app.store, tenant.owner.tenant).await.unwrap();
    assert_eq!(verdict, Verdict::Intact { rows: 10 });
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_loses_nobody_who_waits() {
    let (app, ledger) = TestApp::without_ledger(&[("SWITCHYARD_AUDIT_QUEUE", "2")]).await;
    let tenant = Tenant::new(&app).await;
    let engine = app.engine(&tenant.owner);
    let (path, body) = (resolve_path(&tenant.credential), tenant.ask());

    let mut waiting = Box::pin(join_all((0..2).map(|_| engine.post(&path, &body))));
    let refused = tokio::select! {
        _ = &mut waiting => panic!("nobody writes yet"),
        // Polled second: both of the others are in the queue by then.
        reply = async { tokio::task::yield_now().await; engine.post(&path, &body).await } => reply,
    };
    let (replies, ran) = tokio::join!(waiting, within(ledger.run(app.life.soft()), &app));

    ran.unwrap();
    assert_eq!(refused.refusal(), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(!refused.text.contains(SECRET));
    assert!(replies.iter().all(|reply| reply.status == 200));
    let verdict = verify(&app.store, tenant.owner.tenant).await.unwrap();
    assert_eq!(verdict, Verdict::Intact { rows: 4 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_is_in_the_audit_when_the_ledger_is_killed() {
    let app = TestApp::start().await;
    let tenant = Tenant::new(&app).await;
    let (replica, life) = app.replica().await;
    let person = &tenant.owner;
    let run = Some(shared_models::RunId::mint());
    let token =
        app.trust.service_token(Service::Engine, Service::Credsvc, person.tenant, "a test", run);
    let replica = replica.token(&token);
    let mut answered = BTreeSet::new();
    let mut work: FuturesUnordered<_> = (0..200)
        .map(|n| {
            let (id, tenant, replica) = (format!("request-{n}"), &tenant, &replica);
            async move { (tenant.resolve(&replica.header("x-request-id", &id)).await, id) }
        })
        .collect();

    let mut busy = 0;
    while let Some((status, id)) = work.next().await {
        match status {
            200 => assert!(answered.insert(id)),
            503 => busy += 1,
            other => panic!("{other}"),
        }
        if answered.len() == 20 {
            life.hard().cancel();
        }
    }

    assert!(answered.len() >= 20 && answered.len() + busy == 200);
    assert_eq!(tenant.resolve(&replica).await, 503, "nobody writes, so nobody is answered");
    let mut admin = app.db.admin().await;
    let written = eventually("Postgres to notice that the ledger is gone", async || {
        let sql = "select count(*) from pg_stat_activity
                   where datname = current_database() and application_name = 'credsvc-ledger'";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
        let sql =
            "select request_id from credsvc.audit where outcome = 'ok' and action = 'resolve'";
        let written: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut admin).await.unwrap();
        (left <= 1).then_some(written)
    })
    .await;
    let written: BTreeSet<String> = written.into_iter().collect();
    assert!(answered.is_subset(&written), "{:?}", answered.difference(&written));
    let verdict = verify(&app.store, person.tenant).await.unwrap();
    assert_eq!(verdict, Verdict::Intact { rows: 2 + written.len() as i64 });
    // The other process goes on where this one stopped.
    assert_eq!(tenant.resolve(&app.engine(person)).await, 200);
}

#[tokio::test]
async fn a_broken_connection_costs_nobody_an_answer() {
    let app = TestApp::start().await;
    let tenant = Tenant::new(&app).await;
    let engine = app.engine(&tenant.owner);
    assert_eq!(tenant.resolve(&engine).await, 200);

    app.tamper(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and application_name = 'credsvc-ledger'",
    )
    .await;

    assert_eq!(tenant.resolve(&engine).await, 200);
    let verdict = verify(&app.store, tenant.owner.tenant).await.unwrap();
    assert_eq!(verdict, Verdict::Intact { rows: 4 });
}

#[tokio::test]
async fn who_holds_the_end_of_one_chain_keeps_only_that_tenant_waiting() {
    let (app, ledger) = TestApp::without_ledger(&[]).await;
    let (held, free) = (Tenant::new(&app).await, Tenant::new(&app).await);
    let mut tx = app.store.begin(held.owner.tenant).await.unwrap();
    sqlx::query("select from credsvc.audit_head where tenant_id = $1 for update")
        .bind(held.owner.tenant)
        .execute(&mut *tx)
        .await
        .unwrap();
    let engines = [app.engine(&held.owner), app.engine(&free.owner)];

    let both = async { tokio::join!(held.resolve(&engines[0]), free.resolve(&engines[1])) };
    let (statuses, ran) = tokio::join!(both, within(ledger.run(app.life.soft()), &app));

    ran.unwrap();
    assert_eq!(statuses, (503, 200));
    drop(tx);
    for (tenant, rows) in [(&held, 2), (&free, 3)] {
        let verdict = verify(&app.store, tenant.owner.tenant).await.unwrap();
        assert_eq!(verdict, Verdict::Intact { rows });
    }
}

#[tokio::test]
async fn what_is_revoked_or_changed_is_so_for_the_next_resolve() {
    let app = TestApp::start().await;
    let tenant = Tenant::new(&app).await;
    let (me, engine) = (&tenant.owner, app.engine(&tenant.owner));
    let path = resolve_path(&tenant.credential);
    let resolve = async || engine.post(&path, &tenant.ask()).await;
    let service = app.service(Service::Engine, me, None);
    for round in 0..20 {
        let patch = json!({ "credentials": { "token": format!("secret number {round}") } });
        let api = app.person(me);
        api.patch(&at(me, &tenant.credential), &patch).await.expect(200);
        let found = resolve().await.expect(200);
        assert_eq!(found["credentials"], patch["credentials"]);

        service.delete(&format!("/internal/grants/agent/{}", tenant.agent)).await.expect(204);
        assert_eq!(resolve().await.refusal(), (403, "credential_not_granted"));
        app.granted(me, &tenant.credential, tenant.agent).await;
    }

    // A key that is gone makes what is under it unreadable, although it was in memory.
    resolve().await.expect(200);
    app.tamper("update credsvc.tenant_key set state = 'retired'").await;
    assert_eq!(resolve().await.refusal(), (500, "credential_unreadable"));
    app.tamper("update credsvc.tenant_key set state = 'active'").await;
    resolve().await.expect(200);
    app.person(me).delete(&format!("{}?force=true", at(me, &tenant.credential))).await.expect(204);
    assert_eq!(resolve().await.refusal(), (404, "credential_not_found"));
}

#[tokio::test]
async fn the_last_use_is_noted_to_the_minute_and_never_waits_for_anybody() {
    let app = TestApp::start().await;
    let tenant = Tenant::new(&app).await;
    let engine = app.engine(&tenant.owner);
    let mut admin = app.db.admin().await;
    let mut used = async || {
        let sql = "select last_used_at::text from credsvc.credential";
        sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(&mut admin).await.unwrap()
    };

    let mut tx = app.store.begin(tenant.owner.tenant).await.unwrap();
    sqlx::query("update credsvc.credential set updated_at = now() where tenant_id = $1")
        .bind(tenant.owner.tenant)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(tenant.resolve(&engine).await, 200);
    assert_eq!(used().await, None);
    drop(tx);
    assert_eq!(tenant.resolve(&engine).await, 200);
    let first = used().await.unwrap();
    assert_eq!(tenant.resolve(&engine).await, 200);
    assert_eq!(used().await, Some(first));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_answered() {
    let (app, ledger) = TestApp::without_ledger(&[]).await;
    let tenant = Tenant::new(&app).await;
    let (me, path) = (&tenant.owner, resolve_path(&tenant.credential));
    let stranger = app.on_behalf(Service::Engine, &app.trust.owner());
    let service = app.service(Service::Engine, me, None);
    drop(ledger);

    for (what, reply) in [
        ("a masked read", app.person(me).get(&at(me, &tenant.credential)).await),
        ("a resolve", app.engine(me).post(&path, &tenant.ask()).await),
        ("a refused resolve", app.engine(me).post(&path, &ask(AgentId::mint(), me.user)).await),
        ("a resolve without a run", service.post(&path, &tenant.ask()).await),
        (
            "a refused grant",
            stranger
                .post("/internal/grants", &grant(&tenant.credential, tenant.agent, me.user))
                .await,
        ),
    ] {
        assert_eq!(reply.refusal(), (503, "unavailable"), "{what}: {}", reply.text);
        assert_eq!(reply.header("retry-after"), Some("1"), "{what}");
    }
}
