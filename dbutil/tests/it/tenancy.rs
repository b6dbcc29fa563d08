//! Two locks on tenancy, and logins that reach only their own schema.

use std::{borrow::Cow, future::poll_fn, task::Poll, time::Duration};

use dbutil::{Db, DbError};
use secrecy::ExposeSecret as _;
use shared_models::TenantId;
use sqlx::{
    Connection as _, PgConnection,
    migrate::{Migration, MigrationType, Migrator},
};
use testkit::{TestDb, eventually_within};

static NONE: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

async fn park(db: &Db, tenant: TenantId) {
    let mut tx = db.begin(tenant).await.unwrap();
    sqlx::query(
        "insert into parked (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ('c', gen_random_uuid(), $1, 's', '{}', 'r', 1)",
    )
    .bind(tenant)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn count(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from parked").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_transaction_sees_its_tenant_and_the_system_sees_all() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let (acme, rival) = (TenantId::mint(), TenantId::mint());
    park(&db, acme).await;
    park(&db, rival).await;

    assert_eq!(count(&mut db.begin(acme).await.unwrap()).await, 1);
    assert_eq!(count(&mut db.begin(TenantId::mint()).await.unwrap()).await, 0);
    assert_eq!(count(&mut db.system("count in a test").await.unwrap()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_nobody_waits_for_any_more_is_not_left_open() {
    let server = TestDb::new("credsvc", &NONE).await;
    let db = server.db("credsvc").await;
    let open = "select count(*) from pg_stat_activity
                where datname = current_database() and state like 'idle in transaction%'";

    // Given up after one look, two, and so on: some of them between the question and the answer.
    for looks in 0..500 {
        let mut begin = std::pin::pin!(db.begin(TenantId::mint()));
        for _ in 0..looks {
            let look = poll_fn(|cx| Poll::Ready(begin.as_mut().poll(cx)));
            if look.await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    let mut admin = server.admin().await;
    // Sooner than Postgres would end them.
    let soon = Duration::from_secs(5);
    eventually_within(soon, "no transaction to be open", async || {
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut admin).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_row_for_another_tenant_is_refused() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let mut tx = db.begin(TenantId::mint()).await.unwrap();

    let written = sqlx::query(
        "insert into parked (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ('c', gen_random_uuid(), gen_random_uuid(), 's', '{}', 'r', 1)",
    )
    .execute(&mut *tx)
    .await;

    assert!(written.unwrap_err().to_string().contains("row-level security"));
}

#[tokio::test]
async fn a_transaction_whose_process_is_suspended_lets_go_of_its_rows() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    let tenant = TenantId::mint();
    park(&db, tenant).await;
    let mut suspended = db.begin(tenant).await.unwrap();
    sqlx::query("update parked set reason = 'x'").execute(&mut *suspended).await.unwrap();

    let mut other = db.begin(tenant).await.unwrap();
    sqlx::query("set local lock_timeout = '30s'").execute(&mut *other).await.unwrap();
    sqlx::query("update parked set reason = 'y'").execute(&mut *other).await.unwrap();
    other.commit().await.unwrap();

    assert!(suspended.commit().await.is_err());
}

#[tokio::test]
async fn forgetting_the_tenant_is_an_error_and_not_an_empty_page() {
    let db = TestDb::new("credsvc", &NONE).await.db("credsvc").await;
    park(&db, TenantId::mint()).await;

    // Fresh and reused connections alike.
    for _ in 0..20 {
        let seen = sqlx::query_scalar::<_, i64>("select count(*) from parked")
            .fetch_one(db.app_pool())
            .await;
        assert!(seen.is_err(), "{seen:?}");
        drop(db.begin(TenantId::mint()).await.unwrap());
    }
}

#[tokio::test]
async fn one_services_login_cannot_read_anothers_tables() {
    let test = TestDb::with(&[("credsvc", &NONE), ("engine", &NONE)]).await;

    for login in ["engine_app", "engine_system", "engine_owner"] {
        let url = test.url_as(login);
        let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
        let read =
            sqlx::query("select 1 from credsvc.outbox").fetch_optional(&mut connection).await;
        let refusal = read.unwrap_err().to_string();
        assert!(refusal.contains("permission denied for schema credsvc"), "{login}: {refusal}");
    }
}

#[tokio::test]
async fn the_owner_is_held_by_row_level_security_too() {
    let test = TestDb::new("credsvc", &NONE).await;
    park(&test.db("credsvc").await, TenantId::mint()).await;

    let mut owner =
        PgConnection::connect(test.url_as("credsvc_owner").expose_secret()).await.unwrap();
    let seen: i64 = sqlx::query_scalar("select count(*) from credsvc.parked")
        .fetch_one(&mut owner)
        .await
        .unwrap();

    assert_eq!(seen, 0);
}

#[tokio::test]
async fn a_schema_that_is_behind_is_refused_and_one_ahead_is_not() {
    let test = TestDb::new("credsvc", &NONE).await;
    let db = test.db("credsvc").await;
    let one_more = Migrator::with_migrations(vec![Migration::new(
        7,
        "add a thing".into(),
        MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str("create table credsvc.thing (id int)"),
        false,
    )]);

    let behind = db.check_migrated(&one_more).await;
    assert!(matches!(behind, Err(DbError::Behind { schema: "credsvc", missing: 7 })), "{behind:?}");

    dbutil::migrate::migrate(&test.url_as("credsvc_owner"), "credsvc", &one_more).await.unwrap();
    db.check_migrated(&one_more).await.unwrap();
    db.check_migrated(&NONE).await.unwrap();
}
