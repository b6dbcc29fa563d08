//! The audit chain: whole when left alone, broken when touched.

use credsvc::audit::{Verdict, verify, verify_all};
use serde_json::json;
use shared_models::{AgentId, Role};

use crate::harness::{TestApp, ask, of, resolve_path};

#[tokio::test]
async fn the_chain_is_whole_after_many_at_once() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (id, agent) = (app.own(&me).await, AgentId::mint());
    app.granted(&me, &id, agent).await;
    let (engine, path, body) = (app.engine(&me), resolve_path(&id), ask(agent, me.user));

    let all = (0..32).map(|_| engine.post(&path, &body));
    for reply in futures::future::join_all(all).await {
        reply.expect(200);
    }

    assert_eq!(verify(&app.store, me.tenant).await.unwrap(), Verdict::Intact { rows: 34 });
    let other = app.trust.owner();
    assert_eq!(verify(&app.store, other.tenant).await.unwrap(), Verdict::Intact { rows: 0 });
}

#[tokio::test]
async fn a_touched_chain_says_where() {
    for (what, statement, seq) in [
        ("a changed row", "update credsvc.audit set outcome = 'refused' where seq = 2", 2),
        (
            "a changed time",
            "update credsvc.audit set occurred_at = occurred_at - interval '1 microsecond' where seq = 3",
            3,
        ),
        ("a missing row", "delete from credsvc.audit where seq = 2", 2),
        ("a missing tail", "delete from credsvc.audit where seq >= 3", 3),
        ("a shorter head", "update credsvc.audit_head set seq = 2", 3),
        (
            "a foreign head",
            "update credsvc.audit_head set hash = decode(repeat('ab', 32), 'hex')",
            4,
        ),
        ("no head", "delete from credsvc.audit_head", 1),
        (
            "a rewritten row",
            "update credsvc.audit set outcome = 'ok', hash = sha256('forged') where seq = 2",
            2,
        ),
    ] {
        let app = TestApp::start().await;
        let me = app.trust.owner();
        for _ in 0..4 {
            app.own(&me).await;
        }
        assert_eq!(verify(&app.store, me.tenant).await.unwrap(), Verdict::Intact { rows: 4 });

        app.tamper(statement).await;

        match verify(&app.store, me.tenant).await.unwrap() {
            Verdict::Broken { seq: found, .. } => assert_eq!(found, seq, "{what}"),
            intact @ Verdict::Intact { .. } => panic!("{what}: {intact:?}"),
        }
    }
}

#[tokio::test]
async fn all_chains_are_verified_together_even_one_that_lost_its_head() {
    let app = TestApp::start().await;
    let (me, rival) = (app.trust.owner(), app.trust.owner());
    app.own(&me).await;
    app.tamper("delete from credsvc.audit_head").await;
    app.own(&rival).await;

    let found = verify_all(&app.store).await.unwrap();

    let broken = Verdict::Broken { seq: 1, why: "the row is behind the head" };
    let mut expected = [(me.tenant, broken), (rival.tenant, Verdict::Intact { rows: 1 })];
    expected.sort_by_key(|(tenant, _)| *tenant);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_service_itself_cannot_rewrite_the_audit() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    app.own(&me).await;

    for statement in ["update credsvc.audit set outcome = 'ok'", "delete from credsvc.audit"] {
        let mut tx = app.store.begin(me.tenant).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut *tx).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{refused}");
    }
}

#[tokio::test]
async fn the_list_is_for_administrators_and_can_be_narrowed() {
    let app = TestApp::start().await;
    let admin = app.trust.owner();
    let alice = admin.colleague(Role::Member);
    let (id, agent) = (app.own(&alice).await, AgentId::mint());
    app.granted(&alice, &id, agent).await;
    app.engine(&alice).post(&resolve_path(&id), &ask(agent, alice.user)).await.expect(200);
    app.own(&admin).await;
    let count = async |query: String| {
        let page =
            app.person(&admin).get(&format!("/v1/credential-audit?{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };

    assert_eq!(count(String::new()).await, 4);
    assert_eq!(count(format!("actor={}", alice.user)).await, 3);
    assert_eq!(count("actor=svc:engine".into()).await, 2);
    assert_eq!(count("action=create".into()).await, 2);
    assert_eq!(count(format!("credential={id}&action=grant")).await, 1);
    assert_eq!(count("until=2000-01-01T00:00:00Z".into()).await, 0);
    assert_eq!(count("from=2000-01-01T00:00:00Z".into()).await, 4);
    app.person(&alice).get(&of(&alice)).await.expect(200);
    let listed = app.person(&admin).get("/v1/credential-audit?action=read").await.expect(200);
    let listed = &listed["items"][0];
    assert_eq!((&listed["actor"], &listed["purpose"]), (&json!(alice.user), &json!("list")));
    assert_eq!(listed["credential_id"], json!(null), "of many at once");
    let member = app.person(&alice).get("/v1/credential-audit").await;
    assert_eq!(member.refusal(), (403, "scope_missing"));
    for unknown in ["colour=red", "action=paint", "actor=%00", "from=yesterday"] {
        let reply = app.person(&admin).get(&format!("/v1/credential-audit?{unknown}")).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{unknown}: {}", reply.text);
    }
}

#[tokio::test]
async fn pages_of_the_audit_follow_the_chain() {
    let app = TestApp::start().await;
    let me = app.trust.owner();
    for _ in 0..5 {
        app.own(&me).await;
    }

    let first = app.person(&me).get("/v1/credential-audit?limit=3").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let path = format!("/v1/credential-audit?limit=3&cursor={cursor}");
    let second = app.person(&me).get(&path).await.expect(200);

    let sequence = |page: &serde_json::Value| -> Vec<i64> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["sequence"].as_i64().unwrap())
            .collect()
    };
    assert_eq!((sequence(&first), sequence(&second)), (vec![5, 4, 3], vec![2, 1]));
    assert_eq!(second["next_cursor"], json!(null));
}
