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
