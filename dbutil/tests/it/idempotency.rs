//! The same key twice does the work once.

use std::borrow::Cow;

use dbutil::idempotency::{Key, Known, begin, remember};
use serde_json::json;
use shared_models::TenantId;
use sqlx::migrate::Migrator;
use testkit::TestDb;

static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

const KEY: Key<'_> =
    Key { principal: "usr_1", route: "POST /things", key: "k", body_hash: [1; 32] };

#[tokio::test]
async fn an_answer_is_given_again_once_its_transaction_committed() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let tenant = TenantId::mint();

    let mut tx = db.begin(tenant).await.unwrap();
    assert_eq!(begin(&mut tx, &KEY).await.unwrap(), Known::Fresh);
    remember(&mut tx, &KEY, 201, &json!({ "id": 1 })).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = db.begin(tenant).await.unwrap();
    let known = begin(&mut tx, &KEY).await.unwrap();
    assert_eq!(known, Known::Stored { status: 201, answer: json!({ "id": 1 }) });
    let other = Key { body_hash: [2; 32], ..KEY };
    assert_eq!(begin(&mut tx, &other).await.unwrap(), Known::OtherBody);
}

#[tokio::test]
async fn a_second_request_while_the_first_works_is_told_so_and_a_rolled_back_one_left_nothing() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let tenant = TenantId::mint();
    let (mut first, mut second) =
        (db.begin(tenant).await.unwrap(), db.begin(tenant).await.unwrap());

    assert_eq!(begin(&mut first, &KEY).await.unwrap(), Known::Fresh);
    remember(&mut first, &KEY, 201, &json!({})).await.unwrap();
    assert_eq!(begin(&mut second, &KEY).await.unwrap(), Known::InFlight);
    drop((first, second));

    let mut third = db.begin(tenant).await.unwrap();
    testkit::eventually("the rolled back transaction to let go", async || {
        (begin(&mut third, &KEY).await.unwrap() == Known::Fresh).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_of_tenants_people_and_routes_do_not_meet() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let tenant = TenantId::mint();
    let mut tx = db.begin(tenant).await.unwrap();
    begin(&mut tx, &KEY).await.unwrap();
    remember(&mut tx, &KEY, 201, &json!({})).await.unwrap();
    tx.commit().await.unwrap();

    let mut elsewhere = db.begin(TenantId::mint()).await.unwrap();
    assert_eq!(begin(&mut elsewhere, &KEY).await.unwrap(), Known::Fresh);
    let mut here = db.begin(tenant).await.unwrap();
    for other in [Key { principal: "usr_2", ..KEY }, Key { route: "POST /others", ..KEY }] {
        assert_eq!(begin(&mut here, &other).await.unwrap(), Known::Fresh);
    }
}

#[tokio::test]
async fn of_many_at_once_with_one_key_one_does_the_work_and_all_get_its_answer() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let tenant = TenantId::mint();
    let (mut requests, here) = (tokio::task::JoinSet::new(), tokio::task::LocalSet::new());
    let guard = here.enter();
    for _ in 0..40 {
        let db = db.clone();
        requests.spawn_local(async move {
            // As a client would: again while the first is at work.
            testkit::eventually("an answer", async || {
                let mut tx = db.begin(tenant).await.ok()?;
                match begin(&mut tx, &KEY).await.unwrap() {
                    Known::Fresh => {
                        remember(&mut tx, &KEY, 201, &json!({ "id": 1 })).await.unwrap();
                        tx.commit().await.unwrap();
                        Some(true)
                    }
                    Known::InFlight => None,
                    Known::Stored { answer, .. } => {
                        assert_eq!(answer, json!({ "id": 1 }));
                        Some(false)
                    }
                    Known::OtherBody => panic!("the body is the same"),
                }
            })
            .await
        });
    }

    drop(guard);
    let worked = here.run_until(requests.join_all()).await;
    let workers = worked.into_iter().filter(|worked| *worked).count();

    assert_eq!(workers, 1);
}

#[tokio::test]
async fn the_key_of_a_holder_that_dies_is_free_again() {
    let database = TestDb::new("credsvc", &NONE).await;
    let db = database.db("credsvc").await;
    let tenant = TenantId::mint();
    let (mut holder, mut other) =
        (db.begin(tenant).await.unwrap(), db.begin(tenant).await.unwrap());
    assert_eq!(begin(&mut holder, &KEY).await.unwrap(), Known::Fresh);
    remember(&mut holder, &KEY, 201, &json!({})).await.unwrap();
    let backend: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *holder).await.unwrap();
    assert_eq!(begin(&mut other, &KEY).await.unwrap(), Known::InFlight);

    // What becomes of a connection whose process was killed.
    sqlx::query("select pg_terminate_backend($1)")
        .bind(backend)
        .execute(&mut database.admin().await)
        .await
        .unwrap();

    testkit::eventually("the key to be free", async || {
        (begin(&mut other, &KEY).await.unwrap() == Known::Fresh).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_day_and_found_by_its_age() {
    let database = TestDb::new("credsvc", &NONE).await;
    let db = database.db("credsvc").await;
    let tenant = TenantId::mint();
    let mut tx = db.begin(tenant).await.unwrap();
    for key in ["old", "young"] {
        let key = Key { key, ..KEY };
        begin(&mut tx, &key).await.unwrap();
        remember(&mut tx, &key, 201, &json!({})).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut admin = database.admin().await;
    sqlx::query(
        "update credsvc.idempotency set created_at = now() - interval '25 hours' where key = 'old'",
    )
    .execute(&mut admin)
    .await
    .unwrap();

    let mut tx = db.begin(tenant).await.unwrap();
    let known = begin(&mut tx, &Key { key: "old", ..KEY }).await.unwrap();
    drop(tx);
    let mut tx = db.system("a test").await.unwrap();
    let gone = dbutil::idempotency::prune(&mut tx, 100).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!((known, gone), (Known::Fresh, 1));
    let mut tx = db.begin(tenant).await.unwrap();
    let young = begin(&mut tx, &Key { key: "young", ..KEY }).await.unwrap();
    assert!(matches!(young, Known::Stored { .. }), "{young:?}");
}
